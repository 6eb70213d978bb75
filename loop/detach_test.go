package loop

import (
	"io"
	"net"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// A detached connection continues without its loop, with the bytes that were read; only Go's
// own poller has it registered.
func TestDetach(t *testing.T) {
	for name, address := range map[string]string{"tcp": "", "unix": "unix " + filepath.Join(t.TempDir(), "s")} {
		t.Run(name, func(t *testing.T) {
			s := startLines(t, Options{Loops: 1}, address)
			c := s.dial()
			c.send("stop\nunused")
			l := s.r.Loops()[0]
			var conn net.Conn
			var unused []byte
			var err error
			l.await(t, func(lc *Conn) bool {
				if lc.Unused() < len("unused") {
					return false
				}
				conn, unused, err = lc.Detach()
				if conn, _, err := lc.Detach(); conn != nil || err == nil {
					t.Errorf("detached twice: %v", err)
				}
				return true
			})
			if err != nil || string(unused) != "unused" {
				t.Fatalf("Detach: %q, %v", unused, err)
			}
			defer conn.Close()
			if errs := s.waitClosed(1); errs[0] != ErrDetached {
				t.Errorf("Closed with %v, want %v", errs[0], ErrDetached)
			}
			if l.connCount.Load() != 0 {
				t.Errorf("the loop has %d connections", l.connCount.Load())
			}
			raw, err := conn.(syscall.Conn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			_ = raw.Control(func(fd uintptr) {
				if n := registrations(t, int(fd)); runtime.GOOS == "linux" && n != 1 {
					t.Errorf("it is registered with %d pollers, want 1", n)
				}
			})
			go func() { _, _ = io.Copy(conn, conn) }()
			c.send("echo")
			c.want("echo")
		})
	}
}

// Detach is refused while output is unsent; the loop sends it.
func TestDetachUnsent(t *testing.T) {
	const size = 16 << 20
	s := startLines(t, Options{Loops: 1}, "")
	c := s.dial()
	c.send("big 16777216\n")
	s.r.Loops()[0].await(t, func(lc *Conn) bool {
		if lc.Unsent() == 0 {
			return false
		}
		if conn, _, err := lc.Detach(); conn != nil || err != errUnsent {
			t.Errorf("Detach: %v, want %v", err, errUnsent)
		}
		return true
	})
	c.wantBytes(pattern(size))
	c.send("echo x\n")
	c.want("x\n")
}

// await calls f for the connection of l until it returns true.
func (l *Loop) await(t *testing.T, f func(*Conn) bool) {
	t.Helper()
	for done := make(chan bool); ; {
		l.Do(func() {
			ok := false
			l.Conns(func(c *Conn) { ok = ok || f(c) })
			done <- ok
		})
		if <-done {
			return
		}
	}
}
