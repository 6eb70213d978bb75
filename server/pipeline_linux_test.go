package server

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The answers to one read are sent in one write: one segment on the loopback.
func TestPipelinedAnswersInOneWrite(t *testing.T) {
	s := start(t, appFunc(hello), Options{})
	answers, segments := 0, uint32(0)
	for range 20 { // a loop or a worker that waits for a processor sends what it has
		c := s.dial()
		c.send(strings.Repeat(get, 16))
		b := make([]byte, 64<<10)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		answers, segments = strings.Count(string(b[:n]), "Hello, World!"), c.dataSegments()
		if answers == 16 && segments == 1 {
			return
		}
	}
	t.Errorf("the first read of the last of 20 clients got %d of 16 answers, in %d segments; want all of them, in 1", answers, segments)
}

// dataSegments is how many segments with data the client has received.
func (c *client) dataSegments() (n uint32) {
	c.t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	controlErr := raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = info.Data_segs_in
		}
	})
	if controlErr != nil || err != nil {
		c.t.Fatal(controlErr, err)
	}
	return n
}
