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
	inside   bool // one that is takeable has begun, and not ended; of the goroutine that makes it
}

// hold is what is known of the call of the application that a loop is in, for the
// rescue and the report of a loop that does not go on. The loop says where it is by one
// exchange of a pointer (at) when it goes in and one when it comes back, and again
// around the server's own code that the application calls meanwhile. Who looks, on
// another goroutine, puts suspected in its place: a loop that finds that has got
// on, and says so under mu. As long as suspected stays the goroutine of the loop is in
// that call, and who holds mu may read what the call is about, or take the loop.
type hold struct {
	at atomic.Pointer[work] // nil in the server

	mu      sync.Mutex
	suspect *work // what suspected has replaced
	looked  bool  // by look, for the last time or before

	since   time.Time // of the hold that was reported; zero while there is none
	request []any     // that was named then
}

var suspected = new(work)

// enter says that a call of the application begins.
func (h *hold) enter(w *work) {
	w.inside = w.takeable
	h.at.Store(w)
}

// exit says that it has ended. If it was taken away the loop belongs to another
// goroutine now.
func (h *hold) exit(w *work) (away bool) {
	if !h.at.CompareAndSwap(w, nil) && h.isAway(w) {
		return true
	}
	w.inside = false
	return false
}

// surface is what the server's own code begins with if the application calls it: the
// loop is not taken away before dive. It may be called in vain.
func (h *hold) surface(w *work) (away bool) {
	return w.inside && !h.at.CompareAndSwap(w, nil) && h.isAway(w)
}

// dive ends surface.
func (h *hold) dive(w *work) {
	if w.inside {
		h.at.Store(w)
	}
}

func (h *hold) isAway(w *work) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.suspect == w {
		h.clear()
	}
	return w.x.away
}

// forget is exit for a call that has panicked.
func (h *hold) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clear()
}

// clear forgets a call that has ended. With mu.
func (h *hold) clear() {
	h.at.Store(nil)
	h.suspect = nil
}

// Late takes the call that the loop is in under suspicion.
func (h *handler) Late() {
	h.hold.mu.Lock()
	defer h.hold.mu.Unlock()
	if w := h.hold.at.Swap(suspected); w != suspected {
		h.hold.suspect, h.hold.looked = w, false
	}
}

// Held reports a loop that does not go on, and the request that holds it.
func (h *handler) Held(d time.Duration, stack func() []byte) (reported bool) {
	h.hold.mu.Lock()
	defer h.hold.mu.Unlock()
	if h.hold.at.Load() != suspected {
		return false // busy: with one request after the other
	}
	h.count(holds)
	h.hold.since = time.Now().Add(-d)
	h.hold.request = nil
	msg := "a loop is held, and its connections wait; no application is at work: the stack tells what is"
	if w := h.hold.suspect; w != nil {
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
