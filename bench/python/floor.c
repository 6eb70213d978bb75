// The floor under a server that has Python in a process of its own: a front that accepts connections, receives, wakes
// the worker, is woken by it and sends. It reads no HTTP: what one receive brings is a request, and all answers are the
// same bytes. The worker is floor.py.
//
//	cc -O2 -o floor floor.c && ./floor 8080 /usr/bin/python3 floor.py bare
#define _GNU_SOURCE // accept4
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signal.h>
#include <sys/socket.h>
#include <unistd.h>

enum { QUEUE_FD = 100, ANSWERS_FD = 101, MESSAGE = 700, ANSWER = 64, BATCH = 256, WAITING = 1 << 16 };

static const char response[] = "HTTP/1.1 200 OK\r\nServer: floor\r\nDate: Tue, 01 Dec 2026 11:00:00 GMT\r\n"
	"Content-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";

static void fail(const char *what) {
	perror(what);
	exit(1);
}

static void add(int epoll, int fd, unsigned events) {
	struct epoll_event e = {.events = events, .data.fd = fd};
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0)
		fail("epoll_ctl");
}

int main(int argc, char **argv) {
	if (argc < 4) {
		fprintf(stderr, "usage: floor PORT PYTHON FILE [ARGUMENT]\n");
		return 2;
	}
	int one = 1, queue[2], answers[2];
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (void *)&address, sizeof address) < 0)
		fail("bind");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, queue) < 0 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, answers) < 0)
		fail("socketpair");
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(queue[1], QUEUE_FD);
		dup2(answers[1], ANSWERS_FD);
		execv(argv[2], argv + 2);
		fail(argv[2]);
	}
	char ready;
	if (recv(answers[0], &ready, 1, 0) != 1) // it has loaded the application
		fail("worker");
	listen(listener, 511);

	int epoll = epoll_create1(EPOLL_CLOEXEC);
	add(epoll, listener, EPOLLIN);
	add(epoll, answers[0], EPOLLIN | EPOLLET);
	static int waiting[WAITING]; // connections, in the order of their requests
	unsigned first = 0, next = 0;
	static char buffer[1 << 16];
	struct epoll_event events[BATCH];
	for (;;) {
		int n = epoll_wait(epoll, events, BATCH, -1);
		if (n < 0 && errno != EINTR)
			fail("epoll_wait");
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd == listener) {
				for (int c; (c = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
					setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
					add(epoll, c, EPOLLIN | EPOLLET);
				}
				continue;
			}
			ssize_t size = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
			if (fd == answers[0]) {
				for (; size >= ANSWER; size -= ANSWER)
					send(waiting[first++ % WAITING], response, sizeof response - 1, MSG_NOSIGNAL);
			} else if (size > 0) {
				waiting[next++ % WAITING] = fd;
				send(queue[0], buffer, MESSAGE, 0);
			} else if (size == 0) {
				close(fd);
			}
		}
	}
}
