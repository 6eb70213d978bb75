package gateway

import (
	"context"
	"errors"
	"net"
	"sync"
)

// ending is the Context of a request. The application asks for it while the server
// may cancel it from elsewhere.
type requestContext struct {
	mu     sync.Mutex
	ctx    context.Context // nil until it was asked for
	cancel context.CancelCauseFunc
	cause  error    // of the first Cancel
	atEnd  []func() // called at the end, if there is a context
}

// Context is cancelled when the response is finished, after Close of its Body. A
// server that learns earlier that nobody waits for the response, or that it takes
// too long, cancels it then, and context.Cause says why: ErrClientGone, ErrStopped
// or ErrTimeout; context.Canceled for a response that is finished. It may go to
// other goroutines. Its cancellation stops nothing by itself.
func (e *Environ) Context() context.Context {
	e.check()
	c := &e.ctx
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		parent := context.Background()
		if e.guard != nil {
			parent = e.guard.of.Context()
		}
		c.ctx, c.cancel = context.WithCancelCause(parent)
		if c.cause != nil {
			c.cancel(c.cause)
		}
	}
	return c.ctx
}

// Stopping returns a channel that is closed when the server begins to stop. Context goes on
// then, since what can be answered in time is. This is for what does not end by itself: an
// event stream, a long poll, a connection taken over by [Environ.Hijack]. A response that
// waits ([ErrWait]) is asked once more then, so it needs no goroutine for that:
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
// The channel is the same for all requests of a server, and may be kept. It is nil, which
// is never closed, where the server does not say when it stops, as net/http does not.
func (e *Environ) Stopping() <-chan struct{} {
	e.check()
	return e.info.Stopping
}

// end makes it ready for the next request.
func (c *requestContext) end() {
	if c.cancel != nil {
		c.cancel(nil)
		for _, f := range c.atEnd {
			f()
		}
	}
	c.ctx, c.cancel, c.cause, c.atEnd = nil, nil, nil, nil
}

// Why a server cancels a request's Context before its response is finished. To write to
// a client that is gone, or to flush or hijack then, is ErrClientGone too; it is
// net.ErrClosed for errors.Is.
var (
	ErrClientGone = error(clientGone{})
	ErrStopped    = errors.New("gateway: the server stops")
	ErrTimeout    = errors.New("gateway: the request took too long")
)

type clientGone struct{}

func (clientGone) Error() string { return "gateway: the client is gone" }

func (clientGone) Is(target error) bool { return target == net.ErrClosed }
