package server

import (
	"bytes"
	"runtime"
	"strings"
	"time"

	"github.com/isbjorn/isbjorn/server/internal/callstate"
)

// trace returns the stack of the goroutine of the loop; nil if it would take too long to ask for it, or
// if more than debt was spent ahead on stacks.
func (w *monitor) trace(sh *shard, debt time.Duration) []byte {
	began := time.Now()
	if !w.budget.allows(began, debt) || runtime.NumGoroutine() > goroutinesMax {
		return nil
	}
	stack := sh.loop.Tracer()()
	w.budget.debt += min(time.Since(began), traceCostMax)
	return stack
}

// traceBudget is how much of the time for stacks was spent ahead.
type traceBudget struct {
	debt time.Duration
	at   time.Time // when debt was computed
}

// allows reports whether no more than debt was spent ahead.
func (b *traceBudget) allows(now time.Time, debt time.Duration) bool {
	if !b.at.IsZero() {
		b.debt = max(b.debt-now.Sub(b.at)/traceShare, 0)
	}
	b.at = now
	return b.debt <= debt
}

// goroutineState is the state in the first line of a trace, as in "goroutine 7 [chan receive, 2 minutes]:".
func goroutineState(stack []byte) string {
	_, text, _ := bytes.Cut(stack, []byte("["))
	return string(text[:max(bytes.IndexAny(text, ",]"), 0)])
}

// waitsForLock reports whether that is a wait for a lock.
func waitsForLock(state string) bool {
	return strings.HasPrefix(state, "sync.Mutex.") || strings.HasPrefix(state, "sync.RWMutex.")
}

// isBlocked reports whether an application in that state waits for something else than a lock. The
// runtime's own reasons do not count: the collector's, or a stack that is taken of all goroutines.
func isBlocked(state string) bool {
	for _, kind := range []string{"chan ", "select", "sleep", "IO wait", "sync."} {
		if strings.HasPrefix(state, kind) {
			return !waitsForLock(state)
		}
	}
	return false
}

// justWoken reports whether the goroutine has been blocked until now: with one processor the monitor
// may get it only when the application's timer has fired, like the monitor's own.
func justWoken(stack []byte) bool {
	_, frames, _ := bytes.Cut(stack, []byte("]:\n"))
	return bytes.HasPrefix(frames, []byte("time.Sleep(")) || bytes.HasPrefix(frames, []byte("internal/poll.runtime_pollWait("))
}

// returning reports whether the goroutine has left the application and waits for the lock of
// shard.calls, which the monitor has.
func returning(stack []byte) bool { return bytes.Contains(stack, []byte(callstate.SlowPath+"(")) }
