package server

import (
	"log/slog"
	"time"

	"github.com/isbjorn/isbjorn/server/internal/callstate"
)

// A loop that does not make progress for StallWarning is reported, with the request and the stack that block
// it. The check has two steps, a tick apart, so that neither a process that was stopped as a whole (SIGSTOP, a
// suspended machine) nor a loop that is merely busy is reported: the first takes its tick in between, and the
// second has begun another call, or is in none.

// stallState is what is known of a loop that misses its ticks. The lock of shard.calls guards it.
type stallState struct {
	missed missedTick

	call        *callstate.Call // in which the loop was found; nil if it was in none
	observation uint64          // of it
	since       time.Time       // when the loop stalled that was reported; zero while none is
	request     []any           // that was named then

	retakeFailed time.Time // the last line about a loop that could not be retaken
}

// missedTick is how far the check of a tick is that the loop has not taken.
type missedTick struct {
	suspected time.Duration // how long the tick was missed at the first step; 0 before it
	progress  time.Duration // how long at the last second step that found the loop busy
	reported  bool
}

// TickMissed checks a loop that has not taken the tick of d ago. It implements loop.Handler, on the goroutine
// of the ticker.
func (sh *shard) TickMissed(d time.Duration) {
	switch sh.nextStallStep(d) {
	case suspectStep:
		sh.suspectStall()
	case reportStep:
		sh.endStallCheck(d, sh.reportStall(d))
	}
}

type stallStep uint8

const (
	noStep stallStep = iota
	suspectStep
	reportStep
)

func (sh *shard) nextStallStep(d time.Duration) stallStep {
	sh.calls.Lock()
	defer sh.calls.Unlock()
	m := &sh.stall.missed
	if d < m.suspected { // another tick: the loop has taken the one that was suspected
		*m = missedTick{}
	}
	switch {
	case sh.cfg.stallWarning < 0 || m.reported || d-m.progress < sh.cfg.stallWarning:
		return noStep
	case m.suspected == 0:
		m.suspected = d
		return suspectStep
	}
	return reportStep
}

func (sh *shard) endStallCheck(d time.Duration, reported bool) {
	sh.calls.Lock()
	defer sh.calls.Unlock()
	if reported {
		sh.stall.missed.reported = true
	} else {
		sh.stall.missed = missedTick{progress: d} // the loop has another StallWarning
	}
}

// The server's own code that an application calls takes a system call at most, and on a busy machine some time
// slices of other processes: together these are 20 ms, where the loop stands still anyway.
const (
	stallTries = 20
	stallPause = time.Millisecond
)

// suspectStall notes in which call the loop is.
func (sh *shard) suspectStall() {
	for try := 1; !sh.tryObserveStall() && try < stallTries; try++ { // it may be in the server's own code, for a moment
		time.Sleep(stallPause) // without the lock, which the loop may want
	}
}

// tryObserveStall reports whether the loop is in a call, or has never been.
func (sh *shard) tryObserveStall() bool {
	sh.calls.Lock()
	defer sh.calls.Unlock()
	sh.stall.call = sh.calls.Observe()
	sh.stall.observation = sh.calls.Observations()
	if sh.stall.call == nil {
		sh.calls.SetMark(callstate.Idle)
	} else {
		sh.calls.ClearMark(callstate.Idle)
	}
	return sh.stall.call != nil || sh.calls.Latest() == nil
}

// reportStall reports a loop that stalls, and the request whose application blocks it. It reports false for a
// loop that has begun another call since suspectStall.
func (sh *shard) reportStall(d time.Duration) (reported bool) {
	stack := sh.loop.Tracer()() // without the lock: all goroutines stand still for milliseconds
	sh.calls.Lock()
	defer sh.calls.Unlock()
	c := sh.stall.call
	if c == nil && !sh.calls.Marked(callstate.Idle) ||
		c != nil && (c.State() != callstate.Observed || sh.calls.Observations() != sh.stall.observation) {
		return false
	}
	sh.count(loopStalls)
	sh.stall.since = time.Now().Add(-d)
	sh.stall.request = nil
	msg := "a loop is blocked, and its connections wait; no application is at work: the stack tells what blocks it"
	if c != nil {
		sh.stall.request = c.Owner.(*exchange).describe()
		msg = "an application blocks its loop, and the other connections of the loop wait; it must neither block nor compute for as long as the option StallWarning"
	}
	sh.cfg.log.Warn(msg, append([]any{slog.Duration("blocked", d), slog.String("stack", string(stack))}, sh.stall.request...)...)
	return true
}

// describe names the request in a report. Caller holds the lock of shard.calls, and the call is
// observed.
func (x *exchange) describe() []any {
	method, target := x.requestLine()
	return []any{slog.String("method", method), slog.String("target", target), slog.Any("remote", x.sock.RemoteAddr())}
}

// reportStallEnd reports that a loop that was reported continues. On the loop, at each tick.
func (sh *shard) reportStallEnd() {
	sh.calls.Lock()
	defer sh.calls.Unlock()
	sh.stall.missed = missedTick{}
	if sh.stall.since.IsZero() {
		return
	}
	sh.cfg.log.Warn("a loop that was blocked continues", append([]any{slog.Duration("blocked", time.Since(sh.stall.since))}, sh.stall.request...)...)
	sh.stall.since = time.Time{}
}
