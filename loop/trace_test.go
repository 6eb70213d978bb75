package loop

import (
	"bytes"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/testrun"
)

// blocksTheLoop is the function that a stack must show.
//
//go:noinline
func blocksTheLoop(until <-chan bool) { <-until }

// A loop that a task blocks misses ticks, and the trace is that of its goroutine meanwhile, however many
// others there are. The other loop misses none.
func TestTickMissed(t *testing.T) {
	testrun.Slow(t, "waits for timers")
	end := make(chan bool)
	defer close(end)
	for range 2000 { // their stacks fill the first buffer
		go func() { <-end }()
	}
	type report struct {
		l     *Loop
		d     time.Duration
		stack []byte
	}
	reports := make(chan report, 1000)
	blocks := []byte(runtime.FuncForPC(reflect.ValueOf(blocksTheLoop).Pointer()).Name() + "(")
	s := newLines(t, Options{Loops: 2})
	s.tickMissed = func(l *Loop, d time.Duration) {
		if stack := l.Tracer()(); bytes.Contains(stack, blocks) { // otherwise the machine is busy
			reports <- report{l, d, stack}
		}
	}
	s.r.Start()
	l := s.r.loops[0]
	for range 2 {
		until := make(chan bool)
		began := time.Now()
		l.Do(func() { blocksTheLoop(until) })
		last := time.Duration(0)
		for range 3 {
			r := <-reports
			if took := time.Since(began) + s.r.opt.Tick; r.l != l || r.d <= last || r.d > took {
				t.Errorf("a tick is missed for %v, want more than %v and at most %v, by the loop that is blocked", r.d, last, took)
			}
			if bytes.Contains(r.stack, []byte("\n\n")) {
				t.Errorf("the stack is %s", r.stack)
			}
			last = r.d
		}
		for seen := s.ticks.Load(); s.ticks.Load() < seen+20; { // of the other loop
			time.Sleep(time.Millisecond)
		}
		close(until)
		done := make(chan bool)
		l.Do(func() { close(done) })
		<-done
		for seen := s.ticks.Load(); s.ticks.Load() < seen+20; { // a trace may be under way
			time.Sleep(time.Millisecond)
		}
		for len(reports) > 0 {
			<-reports
		}
		for seen := s.ticks.Load(); s.ticks.Load() < seen+20; {
			time.Sleep(time.Millisecond)
		}
		if n := len(reports); n > 0 {
			t.Errorf("%d ticks are missed by a loop that goes on", n)
		}
	}
}
