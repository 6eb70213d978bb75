package server

import (
	"bytes"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"github.com/isbjorn/isbjorn/loop"
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
)

// watchman looks where the loops are, until they have ended.
type watchman struct {
	s       *Server
	peeked  time.Time
	waits   int // times that a loop was seen to wait, less those that it ran
	unknown int // times that a loop was taken, and nobody knows why
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

// look reports whether l was in no call of the application.
func (w *watchman) look(l *loop.Loop) (idle bool) {
	h := l.Handler().(*handler)
	at, busy, looks := h.look()
	switch {
	case at == nil:
		return !busy
	case looks > 0:
		w.again(h, at, looks)
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
	case !waits(state(stack)) && !wakes(stack):
		w.waits = max(w.waits-1, 0)
	default:
		if w.waits++; w.waits == waitsMost {
			w.s.promote("the application blocks its loop", stack, at.x.named())
		}
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
	switch does {
	case "", "coroutine", "syscall": // of iter.Pull: what runs there is another goroutine; short, or that of a slow disk
		w.unknown++
	}
	if waiting || w.unknown == unknownMost {
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

// wakes reports whether the goroutine has waited until now: with one processor the
// watchman may run only when the application's timer is over, like his own.
func wakes(stack []byte) bool {
	_, frames, _ := bytes.Cut(stack, []byte("]:\n"))
	return bytes.HasPrefix(frames, []byte("time.Sleep(")) || bytes.HasPrefix(frames, []byte("internal/poll.runtime_pollWait("))
}

// comesBack reports whether the goroutine waits for hold.mu only.
func comesBack(stack []byte) bool { return bytes.Contains(stack, []byte("(*hold).surface(")) }

// promote has workers run the application from now on, for what it does with a request.
// The log may wait, and is not waited for: who calls has hold.mu.
func (s *Server) promote(why string, stack []byte, request []any) {
	if s.blocks.Swap(true) {
		return
	}
	go s.config.log.Warn(why+": from now on workers run all requests; the option Dispatch(Pool) says so from the start, Dispatch(Inline) keeps them on the loop", append([]any{slog.String("stack", string(stack))}, request...)...)
}
