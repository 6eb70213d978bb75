package server

import (
	"log/slog"
	"time"

	"github.com/isbjorn/isbjorn/server/internal/callstate"
)

// stallState is what is known of a loop that does not get on. The lock of shard.calls guards it.
type stallState struct {
	call        *callstate.Call // in which the loop was found; nil if it was in none
	observation uint64          // of it
	since       time.Time       // when the loop stalled that was reported; zero while none is
	request     []any           // that was named then

	retakeFailed time.Time // the last line about a loop that could not be retaken
}

// The server's own code that an application calls takes a system call at most, and on a busy machine
// some time slices of other processes: together these are 20 ms, where the loop stands still anyway.
const (
	stallTries = 20
	stallPause = time.Millisecond
)

// StallSuspected notes in which call the loop is.
func (h *shard) StallSuspected() {
	for try := 1; !h.tryObserveStall() && try < stallTries; try++ { // it may be in the server's own code, for a moment
		time.Sleep(stallPause) // without the lock, which the loop may want
	}
}

// tryObserveStall reports whether the loop is in a call, or has never been.
func (h *shard) tryObserveStall() bool {
	h.calls.Lock()
	defer h.calls.Unlock()
	h.stall.call = h.calls.Observe()
	h.stall.observation = h.calls.Observations()
	if h.stall.call == nil {
		h.calls.SetMark(callstate.Idle)
	} else {
		h.calls.ClearMark(callstate.Idle)
	}
	return h.stall.call != nil || h.calls.Latest() == nil
}

// Stalled reports a loop that does not get on, and the request whose application holds it. A loop that
// has begun another call since StallSuspected is busy, not stalled.
func (h *shard) Stalled(d time.Duration, stack func() []byte) (reported bool) {
	h.calls.Lock()
	defer h.calls.Unlock()
	c := h.stall.call
	if c == nil && !h.calls.Marked(callstate.Idle) ||
		c != nil && (c.State() != callstate.Observed || h.calls.Observations() != h.stall.observation) {
		return false
	}
	h.count(loopStalls)
	h.stall.since = time.Now().Add(-d)
	h.stall.request = nil
	msg := "a loop is held, and its connections wait; no application is at work: the stack tells what is"
	if c != nil {
		h.stall.request = c.Owner.(*exchange).describe()
		msg = "an application holds its loop, and the other connections of the loop wait; it must neither block nor compute for as long as the option StallWarning"
	}
	h.cfg.log.Warn(msg, append([]any{slog.Duration("held", d), slog.String("stack", string(stack()))}, h.stall.request...)...)
	return true
}

// describe names the request in a report. Caller holds the lock of shard.calls, and the call is
// observed.
func (x *exchange) describe() []any {
	method, target := x.requestLine()
	return []any{slog.String("method", method), slog.String("target", target), slog.Any("remote", x.sock.RemoteAddr())}
}

// reportStallEnd reports that a loop that was reported gets on. On the loop, at each tick.
func (h *shard) reportStallEnd() {
	h.calls.Lock()
	defer h.calls.Unlock()
	if h.stall.since.IsZero() {
		return
	}
	h.cfg.log.Warn("a loop that was held goes on", append([]any{slog.Duration("held", time.Since(h.stall.since))}, h.stall.request...)...)
	h.stall.since = time.Time{}
}
