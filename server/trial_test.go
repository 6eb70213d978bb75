package server

import (
	"fmt"
	"io"
	"log"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// where answers with what runs it: "loop" or "worker".
func where(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	_, err := start("200 OK", nil, nil)
	if strings.Contains(string(debug.Stack()), inWork) {
		return env.Text("worker"), err
	}
	return env.Text("loop"), err
}

// wantRunsOn asks some times what runs a request.
func (s *testServer) wantRunsOn(want string) {
	s.t.Helper()
	c := s.dial()
	c.send(strings.Repeat(get, 16))
	for range 16 {
		c.want("GET", 200, want)
	}
}

// A request that waits for its own client, or hijacks its connection, is handed off, and does not promote the
// application: other requests stay on the loop, also if that happens often.
func TestOneLeavesTheLoop(t *testing.T) {
	testrun.Slow(t, "waits for timers")
	large := []byte(pattern(32 << 20))
	for name, app := range map[string]appFunc{
		"a slow reader": func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", nil, nil)
			if err == nil {
				_, err = w.Write(large)
			}
			return nil, err
		},
		"Hijack": takesOver(t),
		"deadlines": func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if err := env.SetWriteDeadline(time.Now().Add(time.Hour)); err != nil {
				t.Error(err)
			}
			return hello(env, start)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := startOn(Auto, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				if env.Path() == "/stuck" {
					return app(env, start)
				}
				return where(env, start)
			}), Options{Loops: 1})
			for n := range 20 {
				c := s.dial()
				_ = c.SetReadBuffer(64 << 10)
				c.send(stuck)
				s.untilHandedOff(uint64(n + 1))
				s.wantRunsOn("loop")
				c.reset()
			}
			if lines := s.lines(promoted); len(lines) > 0 {
				t.Errorf("the log says %s", lines)
			}
		})
	}
}

// One wait for a lock is no reason, long or short.
func TestOneWaitForALock(t *testing.T) {
	var mu sync.Mutex
	s := startAuto(t, func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		mu.Lock()
		defer mu.Unlock()
		return where(env, start)
	}, Options{})
	for _, d := range []time.Duration{6 * time.Millisecond, 12 * time.Millisecond, 60 * time.Millisecond} {
		mu.Lock()
		c := s.dial()
		c.send(stuck)
		time.Sleep(d)
		mu.Unlock()
		c.read("GET")
		if s.allOnWorkers.Load() {
			t.Errorf("promoted by a wait of %v; the log:\n%s", d, s.log)
		}
	}
}

// An application that logs each request shares a lock with everything else that the program logs, and waits for it at
// times: it stays on the loops. The log is a pipe with a reader, as of a container.
func TestLogOfEachRequest(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 2 s")
	}
	const (
		clients = 16
		pause   = 4 * time.Millisecond // 4,000 requests/s
		most    = 2 * time.Second
	)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, r); _ = r.Close() }()
	logger := log.New(w, "", log.LstdFlags)
	var others, all sync.WaitGroup
	defer w.Close()
	defer others.Wait()
	done := make(chan struct{})
	defer close(done)
	others.Go(func() { // what else logs: the lock is always busy
		for {
			select {
			case <-done:
				return
			default:
				logger.Print("something else")
			}
		}
	})
	s := startOn(Auto, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		logger.Printf("%s %s", env.Method(), env.Path())
		return hello(env, start)
	}), Options{Loops: 2})
	for range clients {
		all.Go(func() {
			c := s.dial()
			for began := time.Now(); time.Since(began) < most && !s.allOnWorkers.Load(); time.Sleep(pause) {
				c.send(get)
				c.want("GET", 200, "Hello, World!")
			}
		})
	}
	all.Wait()
	if s.allOnWorkers.Load() {
		t.Errorf("it was promoted; the log:\n%s", s.log)
	}
}

// A lock that is busy now and then, as that of package log, is no reason, but a channel
// that is waited for is, and so is a lock that is always waited for.
func TestWeigh(t *testing.T) {
	stack := func(state string) []byte {
		return []byte("goroutine 7 [" + state + "]:\nmain.f()\n")
	}
	for _, tt := range []struct {
		of     []string // as often as they come in turn
		blocks bool
	}{
		{[]string{"sleep"}, true},
		{[]string{"chan receive", "select", "IO wait", "running"}, true},
		{[]string{"sync.WaitGroup.Wait"}, true},
		{[]string{"sync.Mutex.Lock"}, true},
		{[]string{"running"}, false},
		{[]string{"sleep", "running"}, false},
		{[]string{"sync.Mutex.Lock", "sync.RWMutex.RLock", "sync.Mutex.Lock", "syscall"}, false},
	} {
		w, blocks := monitor{}, false
		for i := range 1000 {
			blocks = w.weigh(stack(tt.of[i%len(tt.of)])) || blocks
		}
		if blocks != tt.blocks {
			t.Errorf("%v blocks: %v, want %v", tt.of, blocks, tt.blocks)
		}
	}
}

// rest makes trials come soon.
func rest(d time.Duration) func(*config) { return func(c *config) { c.trialDelay = d } }

// An application that blocks no more is back on the loops after a while; the log says both,
// once.
func TestReturn(t *testing.T) {
	testrun.Slow(t, "trials for 0.5 s")
	var blocks atomic.Bool
	blocks.Store(true)
	s := startOn(Auto, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if blocks.Load() {
			time.Sleep(30 * time.Millisecond)
		}
		return where(env, start)
	}), Options{Loops: 1, tune: rest(100 * time.Millisecond)})
	c := s.dial()
	ask := func() string {
		c.send(get)
		_, got := c.read("GET")
		return got
	}
	eventually(t, "workers run it", func() bool { return ask() == "worker" && s.allOnWorkers.Load() })
	s.wantLine(1, promoted, "the application has blocked its loop", "level=WARN")
	blocks.Store(false)
	eventually(t, "the loop runs it", func() bool { return ask() == "loop" })
	eventually(t, returnedLine, func() bool { ask(); return len(s.lines(returnedLine)) == 1 })
	for range 100 {
		if got := ask(); got != "loop" {
			t.Fatalf("a %s runs it", got)
		}
	}
	if n := len(s.lines(promoted)); n != 1 {
		t.Errorf("%d lines: %s", n, s.log)
	}
}

// An application that keeps blocking is tried less and less often, and not logged again.
func TestTrialsOfWhatBlocks(t *testing.T) {
	testrun.Slow(t, "trials for 0.7 s")
	const first = 20 * time.Millisecond
	s := startOn(Auto, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		time.Sleep(15 * time.Millisecond)
		return hello(env, start)
	}), Options{Loops: 1, tune: rest(first)})
	c := s.dial()
	c.hello()
	for began := time.Now(); time.Since(began) < 700*time.Millisecond; { // 20 + 40 + 80 + 160 + 320 and the trials
		c.hello()
	}
	s.wantLine(1, promoted)
	if n := s.Stats().LoopHandoffs; n < 2 || n > 6 {
		t.Errorf("the loop was taken %d times", n)
	}
	if len(s.lines(returnedLine)) > 0 {
		t.Errorf("the log says %s", s.log)
	}
}

// Loops are handed off ten times in ten seconds at most for an application that computes.
func TestHandoffOfRepeatedComputing(t *testing.T) {
	testrun.Slow(t, "it computes for 0.5 s")
	s := startAuto(t, func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		spin(40 * time.Millisecond)
		return hello(env, start)
	}, Options{})
	c := s.dial()
	for began := time.Now(); !s.allOnWorkers.Load() && time.Since(began) < retakesWindow/2; { // a busy machine may not see each
		c.send(stuck)
		c.want("GET", 200, "Hello, World!")
	}
	for range 3 {
		c.send(stuck)
		c.want("GET", 200, "Hello, World!")
	}
	if n := s.Stats().LoopHandoffs; n != retakesMax {
		t.Errorf("the loop was taken %d times", n)
	}
	s.wantLine(1, promoted, "ten times in ten seconds", "target=/stuck")
}

// Times that lie apart do not add up.
func TestRetakesTooOften(t *testing.T) {
	for _, tt := range []struct {
		apart time.Duration
		want  int // the take that is too much, from 1; 0 for none
	}{{time.Millisecond, 10}, {time.Second, 10}, {retakesWindow/9 + 1, 0}} {
		w, got := monitor{}, 0
		for i := range 50 {
			if w.retakesTooOften(time.Unix(0, 0).Add(time.Duration(i)*tt.apart)) && got == 0 {
				got = i + 1
			}
		}
		if got != tt.want {
			t.Errorf("every %v: take %d is too much, want %d", tt.apart, got, tt.want)
		}
	}
}

// Stacks take one part in a hundred of the time at most, also if each takes long.
func TestStacksHaveABudget(t *testing.T) {
	for _, one := range []time.Duration{50 * time.Microsecond, 5 * time.Millisecond, 100 * time.Millisecond} {
		w, began := monitor{}, time.Now()
		var took, spent time.Duration
		for ; took < 100*time.Second; took += sampleEvery {
			if w.budget.allows(began.Add(took), confirmDebt) {
				w.budget.debt += one
				spent += one
				took += one
			}
		}
		if most := took/traceShare + confirmDebt + one; spent > most || spent < took/traceShare/2 && one > time.Millisecond {
			t.Errorf("stacks of %v take %v of %v, want at most %v", one, spent, took, most)
		}
		if w.budget.allows(began.Add(took), firstStackDebt) && one > time.Millisecond {
			t.Errorf("a peek at once, although stacks take %v", one)
		}
	}
}

// While no loop begins a call the monitor sleeps, with any number of connections. The first call that blocks is found
// as soon as by a running monitor.
func TestIdleConnectionsCostNothing(t *testing.T) {
	release := make(chan bool)
	s := startAuto(t, func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		<-release
		return hello(env, start)
	}, Options{})
	c, d := s.dial(), s.dial()
	c.hello()
	for n := range testrun.Rounds(3, 1) {
		eventually(t, "the monitor sleeps", func() bool {
			before := s.monitor.samples.Load()
			time.Sleep(10 * sampleEvery)
			return s.monitor.samples.Load() == before
		})
		before := s.monitor.samples.Load()
		c.hello()
		eventually(t, "the monitor sleeps again", s.monitor.asleep.Load)
		if looks := s.monitor.samples.Load() - before; looks > 5 {
			t.Errorf("%d looks for one request", looks)
		}
		d.send(stuck)
		s.untilHandedOff(uint64(n + 1))
		c.hello()
		release <- true
		d.want("GET", 200, "Hello, World!")
		s.allOnWorkers.Store(false)
	}
}

// A call that begins when the monitor goes to sleep wakes it.
func TestNoCallIsSleptThrough(t *testing.T) {
	testrun.Slow(t, "200 times two samples of the monitor")
	t.Parallel()
	s := startAuto(t, func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		return hello(env, start)
	}, Options{Loops: 2})
	clients := []*client{s.dial(), s.dial(), s.dial()}
	for i := range 200 {
		time.Sleep(2*sampleEvery + time.Duration(i%20)*50*time.Microsecond - 500*time.Microsecond)
		before := s.monitor.samples.Load()
		clients[i%3].hello()
		eventually(t, fmt.Sprintf("look %d", i), func() bool { return s.monitor.samples.Load() > before })
	}
}
