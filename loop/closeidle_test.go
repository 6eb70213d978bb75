package loop

import (
	"fmt"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// CloseIdle lingers only while the peer has not acknowledged all output: what the peer sends
// then must not reset the connection.
func TestCloseIdle(t *testing.T) {
	s := startLines(t, Options{Loops: 1, HighWaterBytes: 4 << 20, LingerTime: time.Hour}, "")
	closeIdle := func() {
		_ = s.r.onLoop(s.r.loops[0], func(l *Loop) error { l.Conns((*Conn).CloseIdle); return nil })
	}
	quiet := s.dial()
	quiet.send("echo x\n")
	quiet.want("x\n")
	closeIdle()
	quiet.wantEOF()
	if err := s.waitClosed(1)[0]; err != nil {
		t.Errorf("Closed(%v), want nil", err)
	}
	slow := s.dial()
	_ = slow.Conn.(*net.TCPConn).SetReadBuffer(32 << 10)
	const size = 400_000 // fits in the send buffer of the kernel
	slow.send(fmt.Sprintf("big %d\n", size))
	slow.want("a") // the answer has begun
	closeIdle()
	slow.send("more\n")
	slow.wantBytes(pattern(size)[1:])
	slow.wantEOF()
}

// The kernel reports a reset once. If Unread gets that report the connection ends, also while
// it is paused.
func TestUnreadMeetsAReset(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	c := s.dial()
	c.send("stop\n") // input is paused
	var on *Conn
	for on == nil {
		s.stopped.Range(func(k, _ any) bool { on = k.(*Conn); return false })
		runtime.Gosched()
	}
	_ = s.r.onLoop(s.r.loops[0], func(*Loop) error { // no event is handled meanwhile
		c.reset()
		for began := time.Now(); on.state == open && time.Since(began) < 5*time.Second; {
			if on.Unread() {
				t.Error("there are bytes")
			}
		}
		return nil
	})
	if err := s.waitClosed(1)[0]; err != syscall.ECONNRESET {
		t.Errorf("Closed(%v), want %v", err, syscall.ECONNRESET)
	}
}
