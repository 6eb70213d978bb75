package server

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// work is a call of the application on the goroutine of a loop.
type appCall struct {
	x          *exchange
	canHandOff bool // the loop can go on without it (rescue.go)
	state      atomic.Uint32
}

// The states of work. The goroutine that makes the call goes in and comes back, also
// around the server's own code that the application calls meanwhile: each is one
// atomic step. Who looks from another goroutine makes inside observed. A call that finds
// that says so under callTracker.mu: as long as observed stays the goroutine is in the
// application, and who holds mu may read what the call is about, or take the loop. The
// server's own code leaves it observed: only another call means that the loop gets on.
const (
	noCall uint32 = iota
	inApp
	observed
	inServer  // the call is in the server's own code, and comes back from it
	handedOff // the loop was taken; the call is a worker's now
)

// hold is what is known of the call of the application that a loop is in, for the
// rescue and the report of a loop that does not go on.
type callTracker struct {
	latest  atomic.Pointer[appCall] // call that has begun; it may have ended
	flags   atomic.Uint32           // who is to know of the next call that begins: looked, none
	monitor *monitor                // nil unless Dispatch: Auto

	mu                 sync.Mutex
	observations       uint64    // how often inside was made observed
	stallCall          *appCall  // what Late has found; nil if the loop was in no call
	stallObservation   uint64    // marks then
	sampledObservation uint64    // marks at the last look
	samples            int       // how often it was the same then
	retakeFailedAt     time.Time // the last line about a loop that could not be taken
	stalledSince       time.Time // of the hold that was reported; zero while there is none

	stalledRequest []any // that was named then
}

// The bits of callTracker.flags. The next call that begins clears all of them.
const (
	sampledFlag uint32 = 1 << iota // no call has begun since the monitor's last look
	idleFlag                       // the loop was in no call when Late came, and has begun none since
)

// enter says that a call of the application begins.
func (h *callTracker) enterApp(w *appCall) {
	if h.latest.Load() != w {
		h.latest.Store(w)
	}
	if h.flags.Load() != 0 {
		h.clearFlags()
	}
	w.state.Store(inApp)
}

// tellNews clears news, and wakes the monitor if it waits for that. That is once a look at
// most.
func (h *callTracker) clearFlags() {
	if h.flags.Swap(0)&sampledFlag != 0 {
		h.monitor.wake()
	}
}

// exit says that it has ended. If it was taken away the loop belongs to another
// goroutine now.
func (h *callTracker) exitApp(w *appCall) (isAway bool) {
	return !w.state.CompareAndSwap(inApp, noCall) && h.leaveApp(w, noCall) == handedOff
}

// surface is what the server's own code begins with where the application may be the
// caller: the loop is not taken before dive. It returns the state that was, outside where
// the caller is in no call.
func (h *callTracker) enterServer(w *appCall) (was uint32) {
	if w.state.CompareAndSwap(inApp, inServer) {
		return inApp
	}
	return h.leaveApp(w, inServer)
}

// leave is exit or surface, which end in the state to, where it is not the most common one.
func (h *callTracker) leaveApp(w *appCall, to uint32) (was uint32) {
	if w.state.Load() == noCall {
		return noCall
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch was = w.state.Load(); was {
	case observed:
		w.state.Store(to)
	case inServer: // the server's own code has panicked, or another goroutine calls it, too
		if to == noCall {
			w.state.Store(noCall)
		}
		return noCall
	}
	return was
}

// dive ends surface.
func (w *appCall) returnToApp(was uint32) {
	if was == inApp || was == observed {
		w.state.CompareAndSwap(inServer, was) // else the call has ended, which another goroutine of the application has not waited for
	}
}

// mark makes the call that the loop is in observed; nil if it is in none. With mu.
func (h *callTracker) observe() *appCall {
	w := h.latest.Load()
	if w == nil {
		return nil
	}
	if w.state.CompareAndSwap(inApp, observed) {
		h.observations++
	}
	if w.state.Load() != observed {
		return nil
	}
	return w
}

// A call that the application makes of the server takes a system call at most, and on a busy
// machine some turns of other processes: these are 20 ms in the end, when a loop is held
// anyway.
const (
	stallTries = 20
	stallPause = time.Millisecond
)

// Late takes the call that the loop is in under suspicion.
func (h *shard) StallSuspected() {
	for try := 1; !h.tryObserveStall() && try < stallTries; try++ { // it may be in the server's own code, for a moment
		time.Sleep(stallPause) // without mu, which the loop may want
	}
}

// markLate is one try. It reports whether there is a call, or was none ever.
func (h *shard) tryObserveStall() bool {
	h.calls.mu.Lock()
	defer h.calls.mu.Unlock()
	h.calls.stallCall = h.calls.observe()
	h.calls.stallObservation = h.calls.observations
	if h.calls.stallCall == nil {
		h.calls.flags.Or(idleFlag)
	} else {
		h.calls.flags.And(^idleFlag)
	}
	return h.calls.stallCall != nil || h.calls.latest.Load() == nil
}

// Held reports a loop that does not go on, and the request that holds it.
func (h *shard) Stalled(d time.Duration, stack func() []byte) (reported bool) {
	h.calls.mu.Lock()
	defer h.calls.mu.Unlock()
	w := h.calls.stallCall
	if w == nil && h.calls.flags.Load()&idleFlag == 0 || w != nil && (w.state.Load() != observed || h.calls.observations != h.calls.stallObservation) {
		return false // busy: with one request after the other
	}
	h.count(loopStalls)
	h.calls.stalledSince = time.Now().Add(-d)
	h.calls.stalledRequest = nil
	msg := "a loop is held, and its connections wait; no application is at work: the stack tells what is"
	if w != nil {
		h.calls.stalledRequest = w.x.describe()
		msg = "an application holds its loop, and the other connections of the loop wait; it must neither block nor compute for as long as the option StallWarning"
	}
	h.cfg.log.Warn(msg, append([]any{slog.Duration("held", d), slog.String("stack", string(stack()))}, h.calls.stalledRequest...)...)
	return true
}

// named is what a report of the request says.
func (x *exchange) describe() []any {
	method, target := x.requestLine()
	return []any{slog.String("method", method), slog.String("target", target), slog.Any("remote", x.sock.RemoteAddr())}
}

// letGo reports that a loop goes on that was held.
func (h *shard) reportStallEnd() {
	h.calls.mu.Lock()
	defer h.calls.mu.Unlock()
	if h.calls.stalledSince.IsZero() {
		return
	}
	h.cfg.log.Warn("a loop that was held goes on", append([]any{slog.Duration("held", time.Since(h.calls.stalledSince))}, h.calls.stalledRequest...)...)
	h.calls.stalledSince = time.Time{}
}
