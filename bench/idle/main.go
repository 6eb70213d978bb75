//go:build linux

// Idle measures what an idle keep-alive connection costs a server in resident
// memory. It starts a server command, opens connections, sends one request on
// each, and divides the growth of VmRSS by their number. Linux only.
//
//	make build
//	go run ./bench/idle -n 10000 bin/hello -addr 127.0.0.1:0
//	go run ./bench/idle -n 10000 bin/bridge -addr 127.0.0.1:0
//	go run ./bench/idle -n 10000 bin/bridge -server nethttp -addr 127.0.0.1:0
//
// The command must print "listening on http://HOST:PORT" on its standard output.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	n := flag.Int("n", 10_000, "connections")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: idle [-n N] COMMAND [ARGUMENT ...]")
		os.Exit(2)
	}
	if err := measure(*n, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "idle:", err)
		os.Exit(1)
	}
}

func measure(n int, command []string) error {
	if err := allowDescriptors(n + 100); err != nil {
		return err
	}
	server := exec.Command(command[0], command[1:]...)
	server.Stderr = os.Stderr
	stdout, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	defer func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
	}()
	lines := bufio.NewScanner(stdout)
	lines.Scan()
	addr, ok := strings.CutPrefix(lines.Text(), "listening on http://")
	if !ok {
		return fmt.Errorf("the server printed %q, want its address", lines.Text())
	}

	first, err := request(addr) // what the first request allocates is not per connection
	if err != nil {
		return err
	}
	defer first.Close()
	before, err := resident(server.Process.Pid)
	if err != nil {
		return err
	}
	for range n {
		c, err := request(addr)
		if err != nil {
			return err
		}
		defer c.Close()
	}
	time.Sleep(2 * time.Second) // timers, collector: as it is when nothing happens
	after, err := resident(server.Process.Pid)
	if err != nil {
		return err
	}
	fmt.Printf("BenchmarkIdle/conns=%d 1 %d rss-before-KiB %d rss-after-KiB %.0f B/conn\n",
		n, before>>10, after>>10, float64(after-before)/float64(n))
	return nil
}

// request opens a connection, has one request answered on it and keeps it open.
func request(addr string) (net.Conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return nil, err
	}
	b := make([]byte, 1000)
	k, err := c.Read(b)
	if err == nil && !bytes.HasPrefix(b[:k], []byte("HTTP/1.1 200 ")) {
		err = fmt.Errorf("answered %q", b[:k])
	}
	return c, err
}

var rss = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// resident is the resident memory of a process in bytes.
func resident(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	m := rss.FindSubmatch(b)
	if m == nil {
		return 0, errors.New("no VmRSS in /proc/PID/status")
	}
	kib, err := strconv.Atoi(string(m[1]))
	return kib << 10, err
}

// allowDescriptors raises the limit of open files for this process and its child.
func allowDescriptors(n int) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	if l.Cur = l.Max; l.Cur < uint64(n) {
		return fmt.Errorf("%d connections need %d descriptors, the limit is %d", n, n, l.Max)
	}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
}
