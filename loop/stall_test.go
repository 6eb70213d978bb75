package loop

import (
	"bytes"
	"testing"
	"time"
)

// holdsTheLoop is what a stack must show.
//
//go:noinline
func holdsTheLoop(until <-chan bool) { <-until }

// A loop that is held is reported while it is, once for each hold, with the stack
// of its goroutine, however many others there are.
func TestHeld(t *testing.T) {
	const limit = 30 * time.Millisecond
	end := make(chan bool)
	defer close(end)
	for range 2000 { // their stacks come first, and fill the first buffer
		go func() { <-end }()
	}
	type report struct {
		d     time.Duration
		stack []byte
	}
	reports := make(chan report, 10)
	s := newLines(t, Options{Loops: 2, StallWarning: limit})
	s.held = func(d time.Duration, stack []byte) bool {
		if bytes.Contains(stack, []byte("holdsTheLoop")) { // else the machine is busy
			reports <- report{d, stack}
		}
		return true
	}
	s.r.Start()
	l := s.r.loops[0]
	for range 2 {
		until := make(chan bool)
		began := time.Now()
		l.Do(func() { holdsTheLoop(until) })
		r := <-reports
		if took := time.Since(began); r.d < limit || r.d > took {
			t.Errorf("held for %v, want %v to %v", r.d, limit, took)
		}
		if bytes.Contains(r.stack, []byte("\n\n")) {
			t.Errorf("the stack is %s", r.stack)
		}
		for seen := s.ticks.Load(); s.ticks.Load() < seen+20; { // of the other loop
			time.Sleep(time.Millisecond)
		}
		close(until)
		done := make(chan bool)
		l.Do(func() { close(done) })
		<-done
	}
	if n := len(reports); n > 0 {
		t.Errorf("%d reports too many", n)
	}
}

// The limit just met, nearly, and none; and a loop that has got on.
func TestHoldLimit(t *testing.T) {
	for _, tt := range []struct {
		limit       time.Duration
		taken       bool // the tick, just before
		gotOn       bool
		late, calls int64
	}{
		{time.Hour, false, false, 1, 1},
		{time.Hour, true, false, 1, 0},
		{time.Hour, false, true, 1, 1}, // and another hour
		{time.Hour + time.Minute, false, false, 0, 0},
		{-1, false, false, 0, 0},
	} {
		s := newLines(t, Options{Loops: 1, StallWarning: tt.limit})
		calls := int64(0)
		s.held = func(time.Duration, []byte) bool { calls++; return !tt.gotOn }
		l := s.r.loops[0]
		l.watch.since = time.Now().Add(-time.Hour)
		l.ticking.Store(!tt.taken)
		l.checkHold()
		if calls > 0 {
			t.Errorf("limit %v: Held was called at the first look", tt.limit)
		}
		for range 3 {
			l.checkHold()
		}
		if late := s.late.Load(); late != tt.late || calls != tt.calls {
			t.Errorf("limit %v, got on %v: %d calls of Late and %d of Held, want %d and %d", tt.limit, tt.gotOn, late, calls, tt.late, tt.calls)
		}
		if tt.gotOn {
			l.watch.since = l.watch.since.Add(-time.Hour)
			l.checkHold()
			l.checkHold()
			if late := s.late.Load(); late != 2 || calls != 2 {
				t.Errorf("an hour later: %d calls of Late and %d of Held, want 2 and 2", late, calls)
			}
		}
	}
}
