package server

import (
	"bytes"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/isbjorn/isbjorn/loop"
)

// With Dispatch: Auto an application runs on the loop, and nothing tells beforehand whether
// it will come back. The monitor samples where the loops are. A call that two looks have
// found is taken from its loop, at once if its goroutine waits for something, else when it
// has not come back for a longer time: the loop goes on with another goroutine, and the one
// in the call goes on as a worker, with the job of its exchange, and ends with it. Now and
// then a call is sampled at the first sight, too: an application that waits, however
// shortly, keeps its loop from the others. One that was seen to wait runs on workers from
// then on, until it is tried on the loops again (trial.go).
//
// The monitor sleeps while no loop begins a call.

const (
	// sampleEvery is the time between two looks. A loop is held for at most two of them by
	// an application that waits, and what it takes to begin with another goroutine.
	sampleEvery = 4 * time.Millisecond

	// samplesMax is for how many looks a call may go on that does not wait, or waits for a
	// lock, or of which nothing is known.
	samplesMax = 5

	// stackEvery is the least time between two stacks at the first sight.
	stackEvery = 50 * time.Millisecond

	// goroutinesMax is how many there may be for a stack: all of them stand still
	// meanwhile, some 50 us with few, milliseconds with hundreds of deep ones.
	goroutinesMax = 512

	// traceShare is the share of time that stacks may take, one in so many. Without it an
	// application that computes 18 ms, with 450 goroutines parked 40 frames deep, would pay
	// for a stack of 1 to 5 ms every 4 ms. firstStackDebt and confirmDebt are how much of it may
	// have been spent ahead when a call is sampled at the first sight, and when it was seen
	// before: that one is to be known when it is taken.
	traceShare = 100

	// traceCostMax is what one stack may cost of it: four times what was measured with 450
	// goroutines, 40 calls deep. What is beyond is time that a busy machine gave to others,
	// and would keep the monitor from looking for minutes.
	traceCostMax   = 20 * time.Millisecond
	firstStackDebt = time.Millisecond
	confirmDebt    = 20 * time.Millisecond

	// waitsMax is how many times more often a loop may be seen to wait in the application
	// than to run in it: a channel may be full by chance. A wait for a lock counts an
	// eighth: what holds it may merely want a processor, as in package log under load.
	waitsMax         = 3
	lockWaitsPerWait = 8

	// retakesMax is how many times in retakesWindow loops may be taken from calls that do not
	// wait, as from those that compute for samplesMax looks: then workers are cheaper.
	retakesMax    = 10
	retakesWindow = 10 * time.Second
)

// monitor samples the loops, until they have ended.
type monitor struct {
	s     *Server
	timer *time.Timer // the next look; it does not run while asleep, but for a trial

	// asleep says that no loop has begun a call since the last look: the first that does
	// starts the timer.
	asleep  atomic.Bool
	samples atomic.Uint64

	stackAt    time.Time
	budget     traceBudget
	waitScore  int                   // times that a loop was seen to wait, less those that it ran, in parts of lockWaitsPerWait
	retakes    [retakesMax]time.Time // the last ones that count
	nextRetake int                   // of takes, where the next goes

	trial
}

func newMonitor(s *Server) *monitor {
	return &monitor{s: s, timer: time.NewTimer(sampleEvery)}
}

func (w *monitor) run() {
	for {
		select {
		case <-w.s.reactor.Done():
			w.timer.Stop()
			return
		case <-w.timer.C:
		}
		w.asleep.Store(false)
		w.samples.Add(1)
		quiet := true
		for _, l := range w.s.reactor.Loops() {
			quiet = w.sample(l) && quiet
		}
		w.reconsider(time.Now(), !quiet)
		if !quiet || !w.sleep() {
			w.timer.Reset(sampleEvery)
		}
	}
}

// sleep reports whether the timer is left to wake, which the next call on a loop calls. It
// does not lose one that begins at the same time: wake sees asleep, or sleep that looked is
// not set.
func (w *monitor) sleep() bool {
	if left := w.untilTrial(time.Now()); left > 0 {
		w.timer.Reset(left)
	}
	w.asleep.Store(true)
	for _, l := range w.s.reactor.Loops() {
		if l.Handler().(*shard).calls.flags.Load()&sampledFlag == 0 {
			return !w.asleep.CompareAndSwap(true, false)
		}
	}
	return true
}

// wake starts the timer. From a loop that begins a call.
func (w *monitor) wake() {
	if w.asleep.CompareAndSwap(true, false) {
		w.timer.Reset(sampleEvery)
	}
}

// look reports whether l is in no call of the application, and has begun none since the
// last look.
func (w *monitor) sample(l *loop.Loop) (quiet bool) {
	h := l.Handler().(*shard)
	quiet = h.calls.flags.Or(sampledFlag)&sampledFlag != 0
	at, busy, looks := h.observe()
	switch {
	case at == nil:
		return quiet && !busy
	case looks > 0:
		w.confirm(h, at, looks)
	case !w.s.appBlocks.Load() && time.Since(w.stackAt) >= stackEvery:
		w.sampleStack(h, at)
	}
	return false
}

// look makes the call that the loop is in observed, and returns how many looks have
// found it before. at is nil if there is none, or one that keeps its loop.
func (h *shard) observe() (at *appCall, busy bool, looks int) {
	h.calls.mu.Lock()
	defer h.calls.mu.Unlock()
	at = h.calls.observe()
	if h.calls.samples++; h.calls.sampledObservation != h.calls.observations {
		h.calls.samples, h.calls.sampledObservation = 0, h.calls.observations
	}
	if at == nil {
		last := h.calls.latest.Load()
		return nil, last != nil && last.state.Load() == inServer, 0
	}
	if !at.canHandOff {
		return nil, true, 0
	}
	return at, true, h.calls.samples
}

// still reports whether the loop is in the call that the last look has found. Caller holds
// callTracker.mu.
func (h *shard) stillObserved(at *appCall) bool {
	return at.state.Load() == observed && h.calls.sampledObservation == h.calls.observations
}

// first is for a call that was not seen before.
func (w *monitor) sampleStack(h *shard, at *appCall) {
	stack := w.trace(h, firstStackDebt) // without mu, which the loop may want
	h.calls.mu.Lock()
	defer h.calls.mu.Unlock()
	if stack == nil || waitsForTracker(stack) {
		return
	}
	var request []any
	if h.stillObserved(at) {
		w.stackAt = time.Now()
		request = at.x.describe()
	} else if !bytes.Contains(stack, []byte(inAsk)) {
		return
	} // else the call has ended meanwhile, as a short sleep does whose timer has woken the monitor too: it counts, but its request is gone
	if w.weigh(stack) {
		w.promote("the application blocks its loop", stack, request)
	}
}

// weigh counts a sample of a call, and reports whether the application blocks.
func (w *monitor) weigh(stack []byte) (blocks bool) {
	switch does := state(stack); {
	case waits(does) || justWoken(stack):
		w.waitScore += lockWaitsPerWait
	case waitsForLock(does):
		w.waitScore++
	default:
		w.waitScore = max(w.waitScore-lockWaitsPerWait, 0)
	}
	return w.waitScore >= waitsMax*lockWaitsPerWait
}

// again is for a call that looks have seen before.
func (w *monitor) confirm(h *shard, at *appCall, looks int) {
	stack := w.trace(h, confirmDebt)
	waiting := waits(state(stack))
	h.calls.mu.Lock()
	defer h.calls.mu.Unlock()
	if !h.stillObserved(at) || waitsForTracker(stack) || !waiting && looks < samplesMax {
		return
	}
	request := h.retakeLoop(at.x, observed)
	switch {
	case request == nil:
	case waiting:
		w.promote("the application has held its loop", stack, request)
	case w.retakesTooOften(time.Now()):
		w.promote("the application has held its loops ten times in ten seconds", stack, request)
	}
}

// takesTooOften counts a loop that was taken, and reports whether it was the last of
// retakesMax in retakesWindow.
func (w *monitor) retakesTooOften(now time.Time) bool {
	w.retakes[w.nextRetake] = now
	w.nextRetake = (w.nextRetake + 1) % retakesMax
	oldest := w.retakes[w.nextRetake]
	return !oldest.IsZero() && now.Sub(oldest) < retakesWindow
}

// trace is what the goroutine of the loop does; nil if it would take too long to ask, or if
// more than debt was spent ahead on that.
func (w *monitor) trace(h *shard, debt time.Duration) []byte {
	began := time.Now()
	if !w.budget.allows(began, debt) || runtime.NumGoroutine() > goroutinesMax {
		return nil
	}
	stack := h.loop.Tracer()()
	w.budget.debt += min(time.Since(began), traceCostMax)
	return stack
}

// traceBudget is what of the time for stacks was spent ahead.
type traceBudget struct {
	debt time.Duration
	at   time.Time // when that was
}

// allows reports whether no more than debt was.
func (b *traceBudget) allows(now time.Time, debt time.Duration) bool {
	if !b.at.IsZero() {
		b.debt = max(b.debt-now.Sub(b.at)/traceShare, 0)
	}
	b.at = now
	return b.debt <= debt
}

// state is what the first line of a trace says that the goroutine does, as in
// "goroutine 7 [chan receive, 2 minutes]:".
func state(stack []byte) string {
	_, text, _ := bytes.Cut(stack, []byte("["))
	return string(text[:max(bytes.IndexAny(text, ",]"), 0)])
}

// waitsForLock reports whether that is to wait for a lock.
func waitsForLock(state string) bool {
	return strings.HasPrefix(state, "sync.Mutex.") || strings.HasPrefix(state, "sync.RWMutex.")
}

// waits reports whether an application does that which waits, for something else than a
// lock. The runtime's own reasons are not meant: the collector's, or that of a goroutine
// that others stand still for.
func waits(state string) bool {
	for _, kind := range []string{"chan ", "select", "sleep", "IO wait", "sync."} {
		if strings.HasPrefix(state, kind) {
			return !waitsForLock(state)
		}
	}
	return false
}

// wakes reports whether the goroutine has waited until now: with one processor the
// monitor may run only when the application's timer is over, like its own.
func justWoken(stack []byte) bool {
	_, frames, _ := bytes.Cut(stack, []byte("]:\n"))
	return bytes.HasPrefix(frames, []byte("time.Sleep(")) || bytes.HasPrefix(frames, []byte("internal/poll.runtime_pollWait("))
}

// waitsForTracker reports whether the goroutine waits for callTracker.mu only.
func waitsForTracker(stack []byte) bool { return bytes.Contains(stack, []byte(inLeave)) }
