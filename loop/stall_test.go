package loop

import (
	"bytes"
	"reflect"
	"runtime"
	"testing"
	"time"
)

// blocksTheLoop is the function that a stack must show.
//
//go:noinline
func blocksTheLoop(until <-chan bool) { <-until }

// A loop that a task blocks is reported meanwhile, once for each stall, with the stack of
// its goroutine, however many others there are.
func TestStalled(t *testing.T) {
	const limit = 30 * time.Millisecond
	end := make(chan bool)
	defer close(end)
	for range 2000 { // their stacks fill the first buffer
		go func() { <-end }()
	}
	type report struct {
		d     time.Duration
		stack []byte
	}
	reports := make(chan report, 10)
	blocks := []byte(runtime.FuncForPC(reflect.ValueOf(blocksTheLoop).Pointer()).Name() + "(")
	s := newLines(t, Options{Loops: 2, StallWarning: limit})
	s.stalled = func(d time.Duration, stack []byte) bool {
		if bytes.Contains(stack, blocks) { // otherwise the machine is busy
			reports <- report{d, stack}
		}
		return true
	}
	s.r.Start()
	l := s.r.loops[0]
	for range 2 {
		until := make(chan bool)
		began := time.Now()
		l.Do(func() { blocksTheLoop(until) })
		r := <-reports
		if took := time.Since(began); r.d < limit || r.d > took {
			t.Errorf("blocked for %v, want %v to %v", r.d, limit, took)
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

// A limit that is just reached, nearly reached, and none; and a loop that makes progress.
func TestStallWarning(t *testing.T) {
	for _, tt := range []struct {
		limit            time.Duration
		taken            bool // the tick, just before the second check
		progress         bool
		suspected, calls int64
	}{
		{time.Hour, false, false, 1, 1},
		{time.Hour, true, false, 1, 0},
		{time.Hour, false, true, 1, 1}, // and another hour
		{time.Hour + time.Minute, false, false, 0, 0},
		{-1, false, false, 0, 0},
	} {
		s := newLines(t, Options{Loops: 1, StallWarning: tt.limit})
		calls := int64(0)
		s.stalled = func(time.Duration, []byte) bool { calls++; return !tt.progress }
		l := s.r.loops[0]
		l.stallWatch.since = time.Now().Add(-time.Hour)
		l.tickPending.Store(!tt.taken)
		l.checkStall()
		if calls > 0 {
			t.Errorf("limit %v: Stalled was called by the first check", tt.limit)
		}
		for range 3 {
			l.checkStall()
		}
		if suspected := s.suspected.Load(); suspected != tt.suspected || calls != tt.calls {
			t.Errorf("limit %v, progress %v: %d calls of StallSuspected and %d of Stalled, want %d and %d",
				tt.limit, tt.progress, suspected, calls, tt.suspected, tt.calls)
		}
		if tt.progress {
			l.stallWatch.since = l.stallWatch.since.Add(-time.Hour)
			l.checkStall()
			l.checkStall()
			if suspected := s.suspected.Load(); suspected != 2 || calls != 2 {
				t.Errorf("an hour later: %d calls of StallSuspected and %d of Stalled, want 2 and 2", suspected, calls)
			}
		}
	}
}
