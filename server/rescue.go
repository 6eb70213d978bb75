package server

import (
	"bytes"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
	"golang.org/x/sys/unix"
)

// With Dispatch(Auto) an application runs on the loop, and nobody knows whether it will
// come back. A watchman looks where the loops are. Where he finds the same call again,
// and its goroutine waits for something, or has not come back for a longer time, he gives
// the loop another goroutine; the one in the call goes on as a worker, with the job of
// its exchange, and ends with it. Now and then he looks at the first sight, too: an
// application that waits, however shortly, keeps its loop from the others. Once it was
// seen to wait, workers run all its requests. One that computes is left on the loops:
// nobody can tell it from one that a busy machine does not let run.

const (
	// lookEvery is the time between two looks. A loop is held for at most two of them by
	// an application that waits, and what it takes to begin with another goroutine.
	lookEvery = 4 * time.Millisecond

	// lookEveryIdle is the same while there is no connection, and once workers run all
	// requests: bodies that have begun on the loops are left then.
	lookEveryIdle = 50 * time.Millisecond

	// looksMost is for how many looks a call may go on that does not wait, or of which that
	// is not known.
	looksMost = 5

	// peekEvery is the least time between two stacks at the first sight: all goroutines
	// stand still for them, some 50 us.
	peekEvery = 50 * time.Millisecond

	// goroutinesMost is how many there may be for a stack: it takes time for each.
	goroutinesMost = 512

	// waitsMost is how many times more often a loop may be seen to wait in the application
	// than to run in it: a lock may be busy by chance.
	waitsMost = 3

	// unknownMost is how many times a loop may be taken from a call of which nothing else
	// is known.
	unknownMost = 10

	// windowLooks is for how many looks the time of processors is added up. A loop that
	// was in calls at windowBusy of them, while the process used less than half a
	// processor, has waited in them, though each time for too short to be seen.
	windowLooks = 25
	windowBusy  = 22
)

// watchman looks where the loops are, until they have ended.
type watchman struct {
	s       *Server
	peeked  time.Time
	waits   int // times that a loop was seen to wait, less those that it ran
	unknown int // times that a loop was taken, and nobody knows why

	looks int           // of this window
	busy  []int         // at how many of them each loop was in a call
	began time.Time     // of the window
	used  time.Duration // of processors, before it
}

func (w *watchman) run() {
	every := lookEvery
	w.looks, w.busy = windowLooks, make([]int, len(w.s.reactor.Loops()))
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-w.s.reactor.Done():
			return
		case <-t.C:
		}
		pools, idle := w.s.pools(), true
		w.window()
		for i, l := range w.s.reactor.Loops() {
			idle = w.look(i, l) && idle
		}
		want := lookEvery
		if pools && idle || w.s.reactor.Len() == 0 {
			want = lookEveryIdle
		}
		if want != every {
			every = want
			t.Reset(every)
		}
	}
}

// window begins another when the last one is over.
func (w *watchman) window() {
	if w.looks++; w.looks > windowLooks {
		w.looks = 1
		clear(w.busy)
		w.began, w.used = time.Now(), processorTime()
	}
}

// processorTime is what this process has used of all processors; 0 if nobody knows.
func processorTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// look reports whether the loop, the i-th, was in no call of the application.
func (w *watchman) look(i int, l *loop.Loop) (idle bool) {
	h := l.Handler().(*handler)
	at, busy, looks := h.look()
	if at != nil {
		w.busy[i]++
	}
	switch {
	case at == nil:
		return !busy
	case looks > 0:
		w.again(h, at, looks)
	case w.looks == windowLooks && w.busy[i] >= windowBusy && processorTime()-w.used < time.Since(w.began)/2:
		w.waited(h, at)
	case !w.s.blocks.Load() && time.Since(w.peeked) >= peekEvery:
		w.first(h, at)
	}
	return false
}

// look makes the call that the loop is in suspect, and returns how many looks have
// found it before. at is nil if there is none, or one that keeps its loop.
func (h *handler) look() (at *work, busy bool, looks int) {
	h.hold.mu.Lock()
	defer h.hold.mu.Unlock()
	at = h.hold.mark()
	if h.hold.looks++; h.hold.looked != h.hold.marks {
		h.hold.looks, h.hold.looked = 0, h.hold.marks
	}
	if at != nil && !at.takeable {
		return nil, true, 0
	}
	return at, at != nil, h.hold.looks
}

// still reports whether the loop is in the call that the last look has found. With
// hold.mu.
func (h *handler) still(at *work) bool {
	return at.state.Load() == suspect && h.hold.looked == h.hold.marks
}

// first is for a call that was not seen before.
func (w *watchman) first(h *handler, at *work) {
	w.peeked = time.Now()
	stack := trace(h) // without mu, which the loop may want
	h.hold.mu.Lock()
	defer h.hold.mu.Unlock()
	switch {
	case stack == nil || !h.still(at) || comesBack(stack):
	case !waits(state(stack)):
		w.waits = max(w.waits-1, 0)
	default:
		if w.waits++; w.waits == waitsMost {
			w.s.promote("the application blocks its loop", stack, at.x.named())
		}
	}
}

// waited is for the last call of a window that the loop has waited through.
func (w *watchman) waited(h *handler, at *work) {
	stack := trace(h)
	h.hold.mu.Lock()
	defer h.hold.mu.Unlock()
	if h.still(at) {
		w.s.promote("the application blocks its loop", stack, at.x.named())
	} else { // it has ended just now: the next window will tell
		w.looks = windowLooks + 1
	}
}

// again is for a call that looks have seen before.
func (w *watchman) again(h *handler, at *work, looks int) {
	stack := trace(h)
	does := state(stack)
	waiting, long := waits(does), looks >= looksMost
	h.hold.mu.Lock()
	defer h.hold.mu.Unlock()
	if !h.still(at) || comesBack(stack) || !waiting && !long {
		return
	}
	request := h.takeLoop(at.x, suspect)
	if request == nil {
		return
	}
	if does == "" || does == "coroutine" { // of iter.Pull: what runs there is another goroutine
		w.unknown++
	}
	if waiting || does == "syscall" || w.unknown == unknownMost {
		w.s.promote("the application has held its loop", stack, request)
	}
}

// trace is what the goroutine of the loop does; nil if it would take too long to ask.
func trace(h *handler) []byte {
	if runtime.NumGoroutine() > goroutinesMost {
		return nil
	}
	return h.loop.Tracer()()
}

// state is what the first line of a trace says that the goroutine does, as in
// "goroutine 7 [chan receive, 2 minutes]:".
func state(stack []byte) string {
	_, text, _ := bytes.Cut(stack, []byte("["))
	return string(text[:max(bytes.IndexAny(text, ",]"), 0)])
}

// waits reports whether an application does that which waits. The runtime's own reasons
// are not meant: the collector's, or that of a goroutine that others stand still for.
func waits(state string) bool {
	for _, kind := range []string{"chan ", "select", "sleep", "IO wait", "sync."} {
		if strings.HasPrefix(state, kind) {
			return true
		}
	}
	return false
}

// comesBack reports whether the goroutine waits for hold.mu only.
func comesBack(stack []byte) bool { return bytes.Contains(stack, []byte("(*hold).surface(")) }

// promote has workers run the application from now on, for what it does with a request.
func (s *Server) promote(why string, stack []byte, request []any) {
	if s.blocks.Swap(true) {
		return
	}
	s.config.log.Warn(why+": from now on workers run all requests; the option Dispatch(Pool) says so from the start, Dispatch(Inline) keeps them on the loop", append([]any{slog.String("stack", string(stack))}, request...)...)
}

// takeLoop gives the loop another goroutine than the one that is in a call for x, if its
// state is still was, and says of which request: nil if the state is another. If it fails,
// for want of descriptors, nothing has changed but the log. With hold.mu.
func (h *handler) takeLoop(x *exchange, was uint32) (request []any) {
	if !x.asks.state.CompareAndSwap(was, away) {
		return nil
	}
	request = x.named()
	if x.job == nil {
		x.job = newJob(x)
	}
	x.job.adopt()
	if err := h.loop.TakeOver(x.c, x.unused, x.taken); err != nil {
		x.job.disown()
		x.asks.state.Store(was)
		if now := time.Now(); now.Sub(h.hold.failed) > time.Second {
			h.hold.failed = now
			h.c.log.Error(takeFailed, append([]any{slog.Any("error", err)}, request...)...)
		}
		return nil
	}
	h.s.crew.adopt()
	h.count(rescued)
	return request
}

const takeFailed = "a loop that is held cannot be given another goroutine; raise the limit of open files (ulimit -n, LimitNOFILE)"

// taken goes on with the loop where a call of the application was, on its new
// goroutine.
func (x *exchange) taken() {
	x.body, x.ready, x.waits = x.job, true, true
	x.hold()
	x.h.arm(x.c, x.conn)
}

// handOff is takeLoop before the call itself waits for something. It reports false if
// that cannot be, or the state was another. With hold.mu.
func (x *exchange) handOff(was uint32, why string) bool {
	if !x.asks.takeable {
		return false
	}
	request := x.h.takeLoop(x, was)
	if request != nil {
		x.h.s.promote(why, debug.Stack(), request)
	}
	return request != nil
}

// leaveLoop is handOff for the server's own code, after surface.
func (x *exchange) leaveLoop(was uint32, why string) bool {
	if was == outside {
		return false
	}
	x.h.hold.mu.Lock()
	defer x.h.hold.mu.Unlock()
	return x.handOff(outside, why)
}

// asJob is the job of an application that is to go on as a worker, if it is not one
// already; nil if it cannot. Other goroutines of the application may call it, too: they
// wait until that of the loop is not in the server's own code.
func (x *exchange) asJob(why string) *job {
	for try := range asJobTries {
		if j, again := x.tryJob(why); !again {
			return j
		}
		if try < asJobTries/10 {
			runtime.Gosched()
		} else {
			time.Sleep(asJobPause)
		}
	}
	return nil
}

// The server's own code takes a system call at most, so these are 20 ms in the end.
const (
	asJobTries = 1000
	asJobPause = 20 * time.Microsecond
)

func (x *exchange) tryJob(why string) (j *job, again bool) {
	x.h.hold.mu.Lock()
	defer x.h.hold.mu.Unlock()
	switch state := x.asks.state.Load(); {
	case state == away, (state == inside || state == suspect) && x.handOff(state, why):
		return x.job, false
	}
	return nil, x.asks.takeable
}

// ask calls the application. If the loop is taken away meanwhile this goroutine is the
// worker of x's job, and what it has got is the job's.
func (x *exchange) ask() (body gateway.Body, isAway bool, err error) {
	ended := false
	defer func() {
		if !ended {
			isAway, err = x.emerge(nil, recover())
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
		x.job.goOn(func() (_ gateway.Body, failure error) {
			defer x.job.close(body)
			defer x.job.catch(&failure)
			more, failure := x.job.bring(body, b, err)
			if more {
				failure = x.job.pull(body)
			}
			return nil, failure
		})
	}
	return b, err
}

func (x *exchange) askNext(body gateway.Body) (b []byte, isAway bool, err error) {
	ended := false
	defer func() {
		if !ended {
			isAway, err = x.emerge(body, recover())
		}
	}()
	x.h.hold.enter(&x.asks)
	b, err = body.Next()
	ended = true
	return b, x.h.hold.exit(&x.asks), err
}

// emerge ends a call of the application, of body if that is not nil, that has panicked
// with p, or is ending its goroutine.
func (x *exchange) emerge(body gateway.Body, p any) (isAway bool, err error) {
	if p == nil {
		if was := x.h.hold.surface(&x.asks); was == away || x.leaveLoop(was, "the application has ended its goroutine") {
			defer x.h.s.crew.next()
			x.job.work(func() (gateway.Body, error) {
				if body != nil {
					x.job.close(body)
				}
				return nil, errGoexit
			})
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
