package server

import (
	"bytes"
	"log/slog"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
)

// With Dispatch(Auto) an application runs on the loop, and nobody knows whether it will
// come back. A watchman looks where the loops are. One that he finds twice in the same
// call is given another goroutine; the one in the call goes on as a worker, with the
// job of its exchange, and ends with it. Now and then he looks at what the goroutine of
// a loop does, too: an application that waits, however shortly, keeps its loop from the
// others. Once it was seen to block, workers run all its requests.

const (
	// lookEvery is the time between two looks. A loop is held for at most two of them,
	// and what it takes to begin with another goroutine.
	lookEvery = 4 * time.Millisecond

	// lookEveryIdle is the same while there is no connection.
	lookEveryIdle = 50 * time.Millisecond

	// peekEvery is the least time between two looks at stacks, for which all goroutines
	// stand still, some 50 us.
	peekEvery = 50 * time.Millisecond

	// peekGoroutines is how many there may be: it takes time for each.
	peekGoroutines = 256

	// waitsMost is how many times more often a loop may be seen to wait in the application
	// than to run in it: a lock may be busy by chance.
	waitsMost = 3

	// takenMost is how many times within takenTime a loop may be taken from an
	// application that computes, or that a busy machine does not let run.
	takenMost = 10
	takenTime = 10 * time.Second
)

// watchman looks where the loops are, until they have ended.
type watchman struct {
	s      *Server
	peeked time.Time
	waits  int // times that a loop was seen to wait, less those that it ran
	since  time.Time
	taken  int       // since then
	failed time.Time // the last line about that
}

func (w *watchman) run() {
	every := lookEvery
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-w.s.reactor.Done():
			return
		case <-t.C:
		}
		pools, idle := w.s.pools(), true
		for _, l := range w.s.reactor.Loops() {
			idle = w.look(l) && idle
		}
		if pools && idle {
			return // nothing will run on the loops
		}
		want := lookEvery
		if w.s.reactor.Len() == 0 {
			want = lookEveryIdle
		}
		if want != every {
			every = want
			t.Reset(every)
		}
	}
}

// look reports whether l was in no call of the application.
func (w *watchman) look(l *loop.Loop) (idle bool) {
	h := l.Handler().(*handler)
	h.hold.mu.Lock()
	defer h.hold.mu.Unlock()
	at := h.hold.mark()
	again := h.hold.looked == h.hold.marks
	h.hold.looked = h.hold.marks
	switch {
	case at == nil:
		return true
	case !at.takeable:
	case again:
		w.rescue(h, at)
	case !w.s.blocks.Load():
		w.peek(h, at)
	}
	return false
}

// rescue gives the loop another goroutine. With hold.mu.
func (w *watchman) rescue(h *handler, at *work) {
	request, trace := at.x.named(), h.loop.Tracer()
	if err := h.takeLoop(at.x); err != nil {
		if now := time.Now(); now.Sub(w.failed) > time.Second {
			w.failed = now
			h.c.log.Error(takeFailed, append([]any{slog.Any("error", err)}, request...)...)
		}
		return
	}
	stack := trace()
	if waits(stack) && !comesBack(stack) {
		w.s.promote("the application has held its loop", stack, request)
		return
	}
	if now := time.Now(); now.Sub(w.since) > takenTime {
		w.since, w.taken = now, 0
	}
	if w.taken++; w.taken == takenMost {
		w.s.promote("the application has held its loop", stack, request)
	}
}

// peek looks whether the goroutine of the loop waits for something in the call. With
// hold.mu.
func (w *watchman) peek(h *handler, at *work) {
	now := time.Now()
	if now.Sub(w.peeked) < peekEvery || runtime.NumGoroutine() > peekGoroutines {
		return
	}
	w.peeked = now
	stack := h.loop.Tracer()()
	switch {
	case comesBack(stack):
	case !waits(stack):
		w.waits = max(w.waits-1, 0)
	default:
		if w.waits++; w.waits == waitsMost {
			w.s.promote("the application blocks its loop", stack, at.x.named())
		}
	}
}

// waits reads from the first line of a trace, "goroutine 7 [chan receive, 2 minutes]:",
// whether the goroutine waits for something: it does not run, nor wait for a core, nor
// work for the collector, and is not in a system call, which may be short.
func waits(stack []byte) bool {
	_, text, _ := bytes.Cut(stack, []byte("["))
	text = text[:max(bytes.IndexAny(text, ",]"), 0)]
	switch string(text) {
	case "", "running", "runnable", "syscall", "copystack", "preempted":
		return false
	}
	return !bytes.HasPrefix(text, []byte("GC "))
}

// comesBack reports whether the goroutine waits for hold.mu only.
func comesBack(stack []byte) bool { return bytes.Contains(stack, []byte("(*hold).surface(")) }

// promote has workers run the application from now on.
func (s *Server) promote(why string, stack []byte, request []any) {
	if s.blocks.Swap(true) {
		return
	}
	s.config.log.Warn(why+": from now on workers run all requests; the option Dispatch(Pool) says so from the start, Dispatch(Inline) keeps them on the loop", append([]any{slog.String("stack", string(stack))}, request...)...)
}

// takeLoop gives the loop another goroutine than the one that is in a call for x. If it
// fails, for want of descriptors, nothing has changed. With hold.mu.
func (h *handler) takeLoop(x *exchange) error {
	if x.job == nil {
		x.job = newJob(x)
	}
	x.job.adopt()
	was := x.asks.state.Swap(away)
	if err := h.loop.TakeOver(x.c, x.unused, x.taken); err != nil {
		x.asks.state.Store(was)
		x.job.disown()
		return err
	}
	h.s.crew.adopt()
	h.count(rescued)
	return nil
}

// taken goes on with the loop where a call of the application was, on its new
// goroutine.
func (x *exchange) taken() {
	x.body, x.ready, x.waits = x.job, true, true
	x.hold()
	x.h.arm(x.c, x.conn)
}

// handOff is takeLoop for the goroutine in the call itself, before it waits for
// something and after surface. It reports false if that cannot be.
func (x *exchange) handOff(was uint32, why string) bool {
	if was != inside || !x.asks.takeable {
		return false
	}
	h := x.h
	h.hold.mu.Lock()
	request := x.named()
	err := h.takeLoop(x)
	h.hold.mu.Unlock()
	if err != nil {
		h.c.log.Error(takeFailed, append([]any{slog.Any("error", err)}, request...)...)
		return false
	}
	h.s.promote(why, debug.Stack(), request)
	return true
}

// asJob is the job of an application that is to go on as a worker, if it is not one
// already; nil if it cannot.
func (x *exchange) asJob(why string) *job {
	was := x.h.hold.surface(&x.asks)
	if was == away || x.handOff(was, why) {
		return x.job
	}
	x.asks.dive(was)
	return nil
}

const takeFailed = "a loop that is held cannot be given another goroutine; raise the limit of open files (ulimit -n, LimitNOFILE)"

// ask calls the application. If the loop is taken away meanwhile this goroutine is the
// worker of x's job, and what it has got is the job's.
func (x *exchange) ask() (body gateway.Body, isAway bool, err error) {
	ended := false
	defer func() {
		if !ended {
			isAway, err = x.emerge(recover())
		}
	}()
	x.h.hold.enter(&x.asks)
	body, err = x.h.s.app.Serve(&x.env, x.start)
	ended = true
	return body, x.h.hold.exit(&x.asks), err
}

// next asks the body for its next chunk, in the same way.
func (x *exchange) next() ([]byte, error) {
	if x.ready {
		return x.body.Next()
	}
	body := x.body
	b, isAway, err := x.askNext(body)
	if isAway {
		x.job.goOn(func() (gateway.Body, error) {
			defer x.job.close(body)
			more, err := x.job.bring(body, b, err)
			if more {
				err = x.job.pull(body)
			}
			return nil, err
		})
	}
	return b, err
}

func (x *exchange) askNext(body gateway.Body) (b []byte, isAway bool, err error) {
	ended := false
	defer func() {
		if !ended {
			isAway, err = x.emerge(recover())
		}
	}()
	x.h.hold.enter(&x.asks)
	b, err = body.Next()
	ended = true
	return b, x.h.hold.exit(&x.asks), err
}

// emerge ends a call of the application that has panicked with p, or is ending its
// goroutine.
func (x *exchange) emerge(p any) (isAway bool, err error) {
	if p == nil {
		if was := x.h.hold.surface(&x.asks); was == away || x.handOff(was, "the application has ended its goroutine") {
			defer x.h.s.crew.next()
			x.job.leave(nil, errGoexit)
		} // else the loop ends
		return true, errGoexit
	}
	isAway = x.h.hold.exit(&x.asks)
	if err = abortOf(p); err != nil {
		return isAway, err
	}
	attrs := []slog.Attr{slog.Any("panic", p), slog.String("stack", string(debug.Stack()))}
	if isAway {
		x.job.log(slog.LevelError, panicked, attrs...)
	} else {
		x.log(slog.LevelError, panicked, attrs...)
	}
	return isAway, errPanic
}

const panicked = "the application panicked"
