package loop

import "golang.org/x/sys/unix"

func readinessOf(events uint32) (r readiness) {
	if events&unix.EPOLLIN != 0 {
		r = readable
	}
	if events&unix.EPOLLPRI != 0 {
		// Urgent data: a read stops at its mark although more bytes follow, so a read
		// that did not fill its buffer has not emptied the socket.
		r |= readable | readToEnd
	}
	if events&unix.EPOLLOUT != 0 {
		r |= writable
	}
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		r |= readToEnd | peerEnded
	}
	return r
}
