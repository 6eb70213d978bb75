package gateway

import (
	"context"
	"errors"
	"net"
	"sync"
)

// requestContext is the Context of a request. mu is for the server, which may cancel it on another
// goroutine while the application calls Context.
type requestContext struct {
	mu     sync.Mutex
	ctx    context.Context // nil until Context was called
	cancel context.CancelCauseFunc
	cause  error    // of the first Cancel
	atEnd  []func() // called by end, if there is a context
}

// Context is cancelled when the response is finished, after Close of its Body, with the cause
// context.Canceled. The server cancels it earlier when the client has disconnected, the request has
// taken too long, or the server stops: context.Cause is then ErrClientGone, ErrTimeout or
// ErrStopped. It may be used on other goroutines. The cancellation stops nothing by itself.
func (e *Environ) Context() context.Context {
	e.check()
	c := &e.ctx
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		parent := context.Background()
		if e.guard != nil { // under Debug or Validate: the server cancels the Context of its own Environ
			parent = e.guard.of.Context()
		}
		c.ctx, c.cancel = context.WithCancelCause(parent)
		if c.cause != nil { // Cancel came before
			c.cancel(c.cause)
		}
	}
	return c.ctx
}

// Stopping returns a channel that is closed when the server begins to stop. Context is not cancelled
// then: requests that finish in time are answered. The channel is for responses that do not end by
// themselves: an event stream, a long poll, a connection taken over by [Environ.Hijack]. Next of a
// response that waits ([ErrWait]) is called once more then, so it needs no goroutine to watch the
// channel:
//
//	select {
//	case event := <-events:
//		...
//	case <-stopping: // env.Stopping(), taken in Serve
//		return // the end of the stream
//	default:
//		... gateway.ErrWait
//	}
//
// The channel is the same for all requests of a server, and may be kept. It is nil, which is never
// closed, under a server that does not announce its stop, such as net/http's.
func (e *Environ) Stopping() <-chan struct{} {
	e.check()
	return e.info.Stopping
}

// Cancelled reports whether Context is cancelled, or would be, and makes no Context: for an application that looks from
// time to time whether the client is still there. It may be called from any goroutine until the response is finished.
func (e *Environ) Cancelled() bool {
	for g := e.guard; g != nil; g = e.guard { // the server cancels its own Environ
		e = g.of
	}
	e.ctx.mu.Lock()
	defer e.ctx.mu.Unlock()
	return e.ctx.cause != nil
}

// end cancels the context and resets c for the next request. It takes no lock: ServerEnviron.End
// runs after the last Cancel.
func (c *requestContext) end() {
	if c.cancel != nil {
		c.cancel(nil)
		for _, f := range c.atEnd {
			f()
		}
	}
	c.ctx, c.cancel, c.cause, c.atEnd = nil, nil, nil, nil
}

// The causes for which a server cancels the Context of a request before its response is finished.
// ErrClientGone is also the error of a Write, Flush or Hijack after the client has disconnected;
// errors.Is takes it for net.ErrClosed.
var (
	ErrClientGone = error(clientGone{})
	ErrStopped    = errors.New("gateway: the server stops")
	ErrTimeout    = errors.New("gateway: the request took too long")
)

type clientGone struct{}

func (clientGone) Error() string { return "gateway: the client is gone" }

func (clientGone) Is(target error) bool { return target == net.ErrClosed }
