package loop

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// Urgent data makes a connection read to the end, but is no hangup of the peer. FIN is.
func TestUrgentDataIsNoHangup(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	c := s.dial()
	c.send("stop\n") // input is paused
	raw, err := c.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = unix.Sendto(int(fd), []byte("!"), unix.MSG_OOB, nil) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	l := s.r.Loops()[0]
	l.await(t, func(lc *Conn) bool {
		if lc.HungUp() {
			t.Error("HungUp after urgent data")
		}
		return lc.readToEnd
	})
	if n := s.hungUp.Load(); n != 0 {
		t.Errorf("Handler.HungUp was called %d times", n)
	}
	c.closeWrite()
	l.await(t, (*Conn).HungUp)
}
