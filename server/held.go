package server

import (
	"log/slog"
	"sync"
	"time"
)

// hold is what is known of the application at work on a loop, for the report of a
// loop that does not go on. The loop publishes the request (serving) when its
// application begins, and takes it back when the request is over or waits. Late,
// on the ticker's goroutine, takes it too, and with it the right to read it: a loop
// that finds it taken waits for mu before it changes anything, and says that it has
// got on. So each is one exchange of a pointer, neither needs to know how far the
// other is, and what Held names has been at work since Late.
type hold struct {
	mu      sync.Mutex
	suspect *exchange // that Late has taken, and the loop not yet given up
	gotOn   bool      // a request has ended since Late
	since   time.Time // of the hold that was reported; zero while there is none
	request []any     // that was named then
}

// publish says that the application works on x from now on.
func (h *handler) publish(x *exchange) { h.serving.Store(x) }

// takeBack ends publish. Where nothing was published it does no harm.
func (h *handler) takeBack() {
	if h.serving.Swap(nil) == nil {
		h.hold.giveUp()
	}
}

// giveUp takes the suspect back, when Held does not read it any more.
func (h *hold) giveUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.suspect, h.gotOn = nil, true
}

// Late takes the request at work under suspicion.
func (h *handler) Late() {
	h.hold.mu.Lock()
	defer h.hold.mu.Unlock()
	if x := h.serving.Swap(nil); x != nil {
		h.hold.suspect = x
	}
	h.hold.gotOn = false
}

// Held reports a loop that does not go on, and the request that holds it.
func (h *handler) Held(d time.Duration, stack func() []byte) (reported bool) {
	h.hold.mu.Lock()
	defer h.hold.mu.Unlock()
	if h.hold.gotOn || h.serving.Load() != nil {
		return false // busy: with one request after the other
	}
	h.count(holds)
	h.hold.since = time.Now().Add(-d)
	h.hold.request = nil
	msg := "a loop is held, and its connections wait; no application is at work: the stack tells what is"
	if x := h.hold.suspect; x != nil {
		method, target := x.requestLine()
		h.hold.request = []any{slog.String("method", method), slog.String("target", target), slog.Any("remote", x.c.RemoteAddr())}
		msg = "an application holds its loop, and the other connections of the loop wait; it must neither block nor compute for as long as the option HoldLimit"
	}
	h.c.log.Warn(msg, append([]any{slog.Duration("held", d), slog.String("stack", string(stack()))}, h.hold.request...)...)
	return true
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
