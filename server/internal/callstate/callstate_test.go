package callstate

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func (s State) String() string {
	return [...]string{"None", "InApp", "Observed", "InServer", "HandedOff"}[s]
}

// Every event in every state: what comes of it, and what the caller is told.
func TestTransitions(t *testing.T) {
	type outcome struct {
		to   State
		told string
	}
	events := map[string]struct {
		do   func(l *Loop, c *Call) string
		want [5]outcome // by the state before
	}{
		"ExitApp": {
			func(l *Loop, c *Call) string { return fmt.Sprint(l.ExitApp(c)) },
			[5]outcome{{None, "false"}, {None, "false"}, {None, "false"}, {None, "false"}, {HandedOff, "true"}},
		},
		"EnterServer": {
			func(l *Loop, c *Call) string { return fmt.Sprint(l.EnterServer(c)) },
			[5]outcome{{None, "None"}, {InServer, "InApp"}, {InServer, "Observed"}, {InServer, "None"}, {HandedOff, "HandedOff"}},
		},
		"ReturnToApp(InApp)": {
			func(_ *Loop, c *Call) string { c.ReturnToApp(InApp); return "" },
			[5]outcome{{None, ""}, {InApp, ""}, {Observed, ""}, {InApp, ""}, {HandedOff, ""}},
		},
		"ReturnToApp(Observed)": {
			func(_ *Loop, c *Call) string { c.ReturnToApp(Observed); return "" },
			[5]outcome{{None, ""}, {InApp, ""}, {Observed, ""}, {Observed, ""}, {HandedOff, ""}},
		},
		"ReturnToApp(None)": {
			func(_ *Loop, c *Call) string { c.ReturnToApp(None); return "" },
			[5]outcome{{None, ""}, {InApp, ""}, {Observed, ""}, {InServer, ""}, {HandedOff, ""}},
		},
		"Observe": {
			func(l *Loop, c *Call) string { return fmt.Sprint(l.Observe() == c, l.Observations()) },
			[5]outcome{{None, "false 0"}, {Observed, "true 1"}, {Observed, "true 0"}, {InServer, "false 0"}, {HandedOff, "false 0"}},
		},
		"HandOff(Observed)": {
			func(l *Loop, c *Call) string { return fmt.Sprint(l.HandOff(c, Observed)) },
			[5]outcome{{None, "false"}, {InApp, "false"}, {HandedOff, "true"}, {InServer, "false"}, {HandedOff, "false"}},
		},
		"Reset": {
			func(_ *Loop, c *Call) string { c.Reset(); return "" },
			[5]outcome{{None, ""}, {InApp, ""}, {Observed, ""}, {InServer, ""}, {None, ""}},
		},
	}
	for name, e := range events {
		for before, want := range e.want {
			l, c := &Loop{}, &Call{}
			l.latest.Store(c)
			c.state.Store(uint32(before))
			if told := e.do(l, c); c.State() != want.to || told != want.told {
				t.Errorf("%s in %v: %v, told %q; want %v, %q", name, State(before), c.State(), told, want.to, want.told)
			}
		}
	}
}

// Every order in which two scripts can run, step by step, ends in a state that the table allows: the
// goroutine of the loop is told of a hand-off exactly once, and a call that has ended is never handed
// off.
func TestInterleavings(t *testing.T) {
	type world struct {
		l       Loop
		c       Call
		was     State
		handed  bool // the other goroutine has handed the loop over
		told    bool // the goroutine of the call was told
		ended   bool
		sampled *Call
		at      uint64
	}
	loops := [][]func(w *world){
		{
			func(w *world) { w.l.EnterApp(&w.c) },
			func(w *world) { w.told = w.l.ExitApp(&w.c); w.ended = true },
		},
		{
			func(w *world) { w.l.EnterApp(&w.c) },
			func(w *world) { w.was = w.l.EnterServer(&w.c); w.told = w.was == HandedOff },
			func(w *world) { w.c.ReturnToApp(w.was) },
			func(w *world) { w.told = w.l.ExitApp(&w.c); w.ended = true },
		},
		{ // the server's own code panics
			func(w *world) { w.l.EnterApp(&w.c) },
			func(w *world) { w.was = w.l.EnterServer(&w.c) },
			func(w *world) { w.told = w.l.ExitApp(&w.c); w.ended = true },
		},
	}
	monitor := []func(w *world){
		func(w *world) { w.sampled, w.at = w.l.Observe(), w.l.Observations() },
		func(w *world) { w.sampled = w.l.Observe() },
		func(w *world) {
			if w.sampled != nil && w.at == w.l.Observations() {
				ended := w.ended
				if w.handed = w.l.HandOff(w.sampled, Observed); w.handed && ended {
					t.Error("a call that has ended was handed off")
				}
			}
		},
	}
	runs := 0
	for n, script := range loops {
		var run func(order []bool, a, b int)
		run = func(order []bool, a, b int) {
			if a < len(script) {
				run(append(order[:len(order):len(order)], true), a+1, b)
			}
			if b < len(monitor) {
				run(append(order[:len(order):len(order)], false), a, b+1)
			}
			if a < len(script) || b < len(monitor) {
				return
			}
			runs++
			var w world
			a, b = 0, 0
			for _, loop := range order {
				if loop {
					script[a](&w)
					a++
				} else {
					monitor[b](&w)
					b++
				}
			}
			if state := w.c.State(); w.told != w.handed || (state == HandedOff) != w.handed || !w.handed && state != None {
				t.Errorf("script %d, order %v: handed off %v, told %v, in %v", n, order, w.handed, w.told, state)
			}
		}
		run(nil, 0, 0)
	}
	if runs < 50 {
		t.Errorf("%d orders were run", runs)
	}
}

// What a call leaves behind is not touched by the goroutine that holds the lock while the call is
// Observed: the race detector looks on.
func TestLockHoldsObserved(t *testing.T) {
	l := Loop{Wake: func() {}}
	request := 0 // of the call; the observer reads it under the lock
	c := Call{Owner: &request}
	done := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for reads := 0; ; reads++ {
			select {
			case <-done:
				return
			default:
			}
			l.SetMark(Sampled)
			l.Lock()
			if l.Observe() != nil && request < 0 {
				t.Error("the request has ended")
			}
			l.Unlock()
		}
	})
	for i := range 20_000 {
		request = i
		l.EnterApp(&c)
		was := l.EnterServer(&c)
		c.ReturnToApp(was)
		l.ExitApp(&c)
		request = -1
	}
	close(done)
	all.Wait()
}

// A goroutine that an application leaves behind in the server's own code does not make the call look
// as if it were under way when it comes back.
func TestReturnBehindTheCall(t *testing.T) {
	for _, observed := range []bool{false, true} {
		var l Loop
		var c Call
		l.EnterApp(&c)
		if observed {
			l.Lock()
			l.Observe()
			l.Unlock()
		}
		was := l.EnterServer(&c)
		if l.ExitApp(&c) {
			t.Fatal("the loop was handed off")
		}
		c.ReturnToApp(was)
		if got := c.State(); got != None {
			t.Errorf("observed %v: the state is %v, want None", observed, got)
		}
	}
}

// A mark stays until the next call, and Wake is called once for it.
func TestMarks(t *testing.T) {
	woken := 0
	l := Loop{Wake: func() { woken++ }}
	var c Call
	if l.SetMark(Sampled) || !l.SetMark(Sampled) || !l.Marked(Sampled) || l.Marked(Idle) {
		t.Error("the mark is not set once")
	}
	l.SetMark(Idle)
	l.EnterApp(&c)
	l.EnterApp(&c)
	if l.Marked(Sampled) || l.Marked(Idle) || woken != 1 {
		t.Errorf("the marks are still set, or Wake was called %d times", woken)
	}
	l.SetMark(Idle)
	l.ClearMark(Idle)
	if l.Marked(Idle) {
		t.Error("the mark is not cleared")
	}
}

// A call that waits for the lock is found in its trace by SlowPath.
func TestSlowPathInTrace(t *testing.T) {
	var l Loop
	var c Call
	c.state.Store(uint32(Observed))
	l.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.ExitApp(&c)
	}()
	b := make([]byte, 1<<20)
	for began := time.Now(); !strings.Contains(string(b[:runtime.Stack(b, true)]), SlowPath+"("); {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%s is in no trace:\n%s", SlowPath, b)
		}
	}
	l.Unlock()
	<-done
	if want := runtime.FuncForPC(reflect.ValueOf((*Loop).exitSlow).Pointer()).Name(); SlowPath != want {
		t.Errorf("SlowPath is %q, want %q", SlowPath, want)
	}
}
