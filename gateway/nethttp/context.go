package nethttp

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

// ending is the Context of a request: that of its Environ, which is made when
// somebody first asks what it has, as most handlers never do.
type ending struct {
	x        *exchange
	stopping <-chan struct{} // of the server

	mu  sync.Mutex       // a handler may ask from other goroutines
	env *gateway.Environ // nil when the handler has returned
	ctx context.Context  // of env; nil until it was asked for
}

// over is the Context of a request that ended before anybody asked for one.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// context makes what was not asked for before.
func (e *ending) context() context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.ctx != nil:
	case e.env != nil:
		e.ctx = e.env.Context()
	default:
		e.ctx = over
	}
	return e.ctx
}

// with does something with the Environ that a handler may do from any goroutine, also
// while a Write waits.
func (e *ending) with(do func(*gateway.Environ) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.env == nil {
		return errOver
	}
	return supported(do(e.env))
}

// end takes the Environ back. Its Context ends with the response.
func (e *ending) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.env = nil
}

func (e *ending) Deadline() (time.Time, bool) { return e.context().Deadline() }
func (e *ending) Done() <-chan struct{}       { return e.context().Done() }
func (e *ending) Err() error                  { return e.context().Err() }

// Value has the server and its address. Package context asks by a key of its own for what
// its contexts are cancelled by, and so children need no goroutine.
func (e *ending) Value(key any) any {
	switch key {
	case http.ServerContextKey:
		return e.x.app.server
	case http.LocalAddrContextKey:
		return e.x.response.localAddr()
	case stoppingKey{}:
		return e.stopping
	}
	return e.context().Value(key)
}

// Stopping returns a channel that is closed when the server of a request begins to stop. ctx
// is the request's Context, or comes from it; it goes on then, since what can be answered in
// time is. For handlers that do not end by themselves: server-sent events, long polls,
// WebSockets. Shutdown waits for them as long as it may take.
//
//	select {
//	case event := <-events:
//		...
//	case <-nethttp.Stopping(r.Context()):
//		return
//	case <-r.Context().Done():
//		return
//	}
//
// The channel is the same for all requests of a server. It is nil, which is never closed,
// for a request of another server, net/http's for example: there a function for
// RegisterOnShutdown has to close one.
func Stopping(ctx context.Context) <-chan struct{} {
	stopping, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return stopping
}

// stoppingKey is the key of Stopping.
type stoppingKey struct{}

// String is for those who print a context.
func (e *ending) String() string { return "nethttp.App" }
