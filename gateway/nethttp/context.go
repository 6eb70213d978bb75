package nethttp

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

// requestContext is the Context of a request. It forwards to that of the Environ, which its first use makes:
// most handlers never use it.
type requestContext struct {
	x        *exchange
	stopping <-chan struct{} // of the server

	mu  sync.Mutex       // a handler may use the Context on other goroutines
	env *gateway.Environ // nil when the handler has returned
	ctx context.Context  // of env; nil before its first use
}

// endedContext is the Context of a request whose first use comes after the handler has returned.
var endedContext = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// context returns the Context of the Environ.
func (e *requestContext) context() context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.ctx != nil:
	case e.env != nil:
		e.ctx = e.env.Context()
	default:
		e.ctx = endedContext
	}
	return e.ctx
}

// withEnviron calls do with the Environ, for methods that a handler may call from any goroutine, also while a
// Write waits.
func (e *requestContext) withEnviron(do func(*gateway.Environ) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.env == nil {
		return errHandlerReturned
	}
	return asNotSupported(do(e.env))
}

// end drops the Environ. Its Context, if it was used, ends with the response.
func (e *requestContext) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.env = nil
}

func (e *requestContext) Deadline() (time.Time, bool) { return e.context().Deadline() }
func (e *requestContext) Done() <-chan struct{}       { return e.context().Done() }
func (e *requestContext) Err() error                  { return e.context().Err() }

// Value returns the values of net/http's own Context, http.ServerContextKey and http.LocalAddrContextKey. By
// the last line package context finds the cancelCtx of the Environ, so that children need no goroutine.
func (e *requestContext) Value(key any) any {
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

// Stopping returns a channel that is closed when the server of a request begins to stop. ctx is the Context of
// the request, or derived from it; it is not cancelled then: requests that finish in time are answered. The
// channel is for handlers that do not end by themselves: server-sent events, long polls, WebSockets. Shutdown
// waits for them, within its time limit.
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
// The channel is the same for all requests of a server. It is nil, which is never closed, for a request of
// another server, such as net/http's: there a function for RegisterOnShutdown can close one.
func Stopping(ctx context.Context) <-chan struct{} {
	stopping, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return stopping
}

// stoppingKey is the key of Stopping.
type stoppingKey struct{}

// String is for contexts that are printed.
func (e *requestContext) String() string { return "nethttp.App" }
