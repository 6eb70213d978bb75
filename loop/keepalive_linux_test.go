package loop

import (
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Accepted connections are probed after 15 s, every 15 s, 9 times.
func TestKeepAliveTimes(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	c := s.dial()
	c.send("echo x\n")
	c.want("x\n")
	done := make(chan bool)
	l := s.r.loops[0]
	l.Do(func() {
		defer close(done)
		for option, want := range map[int]int{unix.TCP_KEEPIDLE: 15, unix.TCP_KEEPINTVL: 15, unix.TCP_KEEPCNT: 9} {
			if got, err := unix.GetsockoptInt(int(l.conns[0].fd), unix.IPPROTO_TCP, option); got != want || err != nil {
				t.Errorf("TCP option %d is %d, %v; want %d", option, got, err, want)
			}
		}
	})
	<-done
}

// A peer vanishes without FIN or reset while the connection is paused and has no output, as
// during a long poll: the connection ends.
func TestPeerVanishes(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a probe of the kernel: a second")
	}
	defer func(was struct{ idle, interval, count int }) { keepAlive = was }(keepAlive)
	keepAlive.idle, keepAlive.interval, keepAlive.count = 1, 1, 2
	s := startLines(t, Options{}, "")
	c := s.dial()
	c.send("echo x\nstop\n")
	c.want("x\n")
	raw, err := c.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var repair error
	if err := raw.Control(func(fd uintptr) {
		// A socket in repair mode is closed without a word to its peer: tcp(7), CAP_NET_ADMIN.
		repair = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1)
	}); err != nil {
		t.Fatal(err)
	}
	if repair != nil {
		t.Skip("TCP_REPAIR is not allowed here: ", repair)
	}
	_ = c.Close()
	if err := s.waitClosed(1)[0]; err != syscall.ECONNRESET && err != syscall.ETIMEDOUT {
		t.Errorf("Closed(%v), want a reset or a timeout by the probe", err)
	}
}
