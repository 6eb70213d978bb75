package server

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// work is a call of the application on the goroutine of a loop.
type work struct {
	x        *exchange
	takeable bool // the loop can go on without it (rescue.go)
	state    atomic.Uint32
}

// The states of work. The goroutine that makes the call goes in and comes back, also
// around the server's own code that the application calls meanwhile: each is one
// atomic step. Who looks from another goroutine makes inside suspect. A call that finds
// that says so under hold.mu: as long as suspect stays the goroutine is in the
// application, and who holds mu may read what the call is about, or take the loop. The
// server's own code leaves it suspect: only another call means that the loop gets on.
const (
	outside uint32 = iota
	inside
	suspect
	calling // the call is in the server's own code, and comes back from it
	away    // the loop was taken; the call is a worker's now
)

// hold is what is known of the call of the application that a loop is in, for the
// rescue and the report of a loop that does not go on.
type hold struct {
	last  atomic.Pointer[work] // call that has begun; it may have ended
	news  atomic.Uint32        // who is to know of the next call that begins: looked, none
	watch *watchman            // nil unless Dispatch(Auto)

	mu     sync.Mutex
	marks  uint64    // how often inside was made suspect
	late   *work     // what Late has found; nil if the loop was in no call
	lateOf uint64    // marks then
	seen   uint64    // marks at the last look
	looks  int       // how often it was the same then
	failed time.Time // the last line about a loop that could not be taken
	since  time.Time // of the hold that was reported; zero while there is none

	request []any // that was named then
}

// The bits of hold.news. The next call that begins clears all of them.
const (
	looked uint32 = 1 << iota // no call has begun since the watchman's last look
	none                      // the loop was in no call when Late came, and has begun none since
)

// enter says that a call of the application begins.
func (h *hold) enter(w *work) {
	if h.last.Load() != w {
		h.last.Store(w)
	}
	if h.news.Load() != 0 {
		h.tellNews()
	}
	w.state.Store(inside)
}

// tellNews clears news, and wakes the watchman if it waits for that. That is once a look at
// most.
func (h *hold) tellNews() {
	if h.news.Swap(0)&looked != 0 {
		h.watch.wake()
	}
}

// exit says that it has ended. If it was taken away the loop belongs to another
// goroutine now.
func (h *hold) exit(w *work) (isAway bool) {
	return !w.state.CompareAndSwap(inside, outside) && h.leave(w, outside) == away
}

// surface is what the server's own code begins with where the application may be the
// caller: the loop is not taken before dive. It returns the state that was, outside where
// the caller is in no call.
func (h *hold) surface(w *work) (was uint32) {
	if w.state.CompareAndSwap(inside, calling) {
		return inside
	}
	return h.leave(w, calling)
}

// leave is exit or surface, which end in the state to, where it is not the most common one.
func (h *hold) leave(w *work, to uint32) (was uint32) {
	if w.state.Load() == outside {
		return outside
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch was = w.state.Load(); was {
	case suspect:
		w.state.Store(to)
	case calling: // the server's own code has panicked, or another goroutine calls it, too
		if to == outside {
			w.state.Store(outside)
		}
		return outside
	}
	return was
}

// dive ends surface.
func (w *work) dive(was uint32) {
	if was == inside || was == suspect {
		w.state.CompareAndSwap(calling, was) // else the call has ended, which another goroutine of the application has not waited for
	}
}

// mark makes the call that the loop is in suspect; nil if it is in none. With mu.
func (h *hold) mark() *work {
	w := h.last.Load()
	if w == nil {
		return nil
	}
	if w.state.CompareAndSwap(inside, suspect) {
		h.marks++
	}
	if w.state.Load() != suspect {
		return nil
	}
	return w
}

// A call that the application makes of the server takes a system call at most, and on a busy
// machine some turns of other processes: these are 20 ms in the end, when a loop is held
// anyway.
const (
	lateTries = 20
	latePause = time.Millisecond
)

// Late takes the call that the loop is in under suspicion.
func (h *handler) Late() {
	for try := 1; !h.markLate() && try < lateTries; try++ { // it may be in the server's own code, for a moment
		time.Sleep(latePause) // without mu, which the loop may want
	}
}

// markLate is one try. It reports whether there is a call, or was none ever.
func (h *handler) markLate() bool {
	h.hold.mu.Lock()
	defer h.hold.mu.Unlock()
	h.hold.late = h.hold.mark()
	h.hold.lateOf = h.hold.marks
	if h.hold.late == nil {
		h.hold.news.Or(none)
	} else {
		h.hold.news.And(^none)
	}
	return h.hold.late != nil || h.hold.last.Load() == nil
}

// Held reports a loop that does not go on, and the request that holds it.
func (h *handler) Held(d time.Duration, stack func() []byte) (reported bool) {
	h.hold.mu.Lock()
	defer h.hold.mu.Unlock()
	w := h.hold.late
	if w == nil && h.hold.news.Load()&none == 0 || w != nil && (w.state.Load() != suspect || h.hold.marks != h.hold.lateOf) {
		return false // busy: with one request after the other
	}
	h.count(holds)
	h.hold.since = time.Now().Add(-d)
	h.hold.request = nil
	msg := "a loop is held, and its connections wait; no application is at work: the stack tells what is"
	if w != nil {
		h.hold.request = w.x.named()
		msg = "an application holds its loop, and the other connections of the loop wait; it must neither block nor compute for as long as the option HoldLimit"
	}
	h.c.log.Warn(msg, append([]any{slog.Duration("held", d), slog.String("stack", string(stack()))}, h.hold.request...)...)
	return true
}

// named is what a report of the request says.
func (x *exchange) named() []any {
	method, target := x.requestLine()
	return []any{slog.String("method", method), slog.String("target", target), slog.Any("remote", x.c.RemoteAddr())}
}

// letGo reports that a loop goes on that was held.
func (h *handler) letGo() {
	h.hold.mu.Lock()
	defer h.hold.mu.Unlock()
	if h.hold.since.IsZero() {
		return
	}
	h.c.log.Warn("a loop that was held goes on", append([]any{slog.Duration("held", time.Since(h.hold.since))}, h.hold.request...)...)
	h.hold.since = time.Time{}
}
