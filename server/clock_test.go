package server

import (
	"testing"
	"time"
	"unsafe"
)

// stepped is t after the wall clock was set by d: the monotonic reading stays. The
// layout is that of time.Time with a monotonic reading: seconds in wall, above 30 bits
// of nanoseconds. TestStepped checks it.
func stepped(t time.Time, d time.Duration) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += uint64(int64(d/time.Second)) << 30
	return t
}

func TestStepped(t *testing.T) {
	now := time.Now()
	for _, d := range []time.Duration{time.Hour, -time.Hour} {
		if s := stepped(now, d); s.Sub(now) != 0 || s.Unix()-now.Unix() != int64(d/time.Second) {
			t.Fatalf("stepped by %v: %v later by the monotonic clock, %d s by the wall clock", d, s.Sub(now), s.Unix()-now.Unix())
		}
	}
}

// The wall clock is set by an hour, and 10 s pass: 10 s count, for every time that the
// server measures itself.
func TestClockSteps(t *testing.T) {
	for _, d := range []time.Duration{time.Hour, -time.Hour} {
		for name, left := range map[string]func(x *exchange) time.Duration{
			"idle":    func(x *exchange) time.Duration { return x.sh.idleTime() - time.Duration(x.sh.now-x.session.lastActive) },
			"content": func(x *exchange) time.Duration { _, left := x.bodyDeadline(); return left },
			"request": func(x *exchange) time.Duration { return x.requestTimeLeft() },
		} {
			t.Run(name+" "+d.String(), func(t *testing.T) {
				s, err := New(appFunc(hello), Options{Loops: 1, IdleTimeout: time.Minute, BodyTimeout: time.Minute, RequestTimeout: time.Minute})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				sh := s.reactor.Loops()[0].Handler().(*shard)
				began := time.Now()
				sh.Tick(began)
				x := &exchange{sh: sh, session: &session{lastActive: sh.now}}
				x.in.clock.start(sh.now)
				x.app.workerStart = sh.now
				before := left(x)
				sh.Tick(stepped(began.Add(10*time.Second), d))
				if passed := before - left(x); passed != 10*time.Second {
					t.Errorf("%v of the time have passed after 10 s", passed)
				}
			})
		}
	}
}

// An idle connection and an upload live as long as their options say when the wall clock
// is set back or forth meanwhile.
func TestClockStepsUnderConnections(t *testing.T) {
	for _, d := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(d.String(), func(t *testing.T) {
			s, err := New(appFunc(hello), Options{Loops: 1, IdleTimeout: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			sh := s.reactor.Loops()[0].Handler().(*shard)
			m := s.openMemory()
			m.Feed([]byte(get))
			began := time.Now()
			for _, tt := range []struct {
				after time.Duration
				ended bool
			}{{50 * time.Second, false}, {61 * time.Second, true}} {
				sh.Tick(stepped(began.Add(tt.after), d))
				if sh.Timeout(m.Conn); m.Conn.Alive() == tt.ended {
					t.Errorf("after %v: alive %v", tt.after, !tt.ended)
				}
				if tt.ended {
					break
				}
			}
		})
	}
}
