package gateway

import (
	"context"
	"errors"
	"net"
	"sync"
)

// ending is the Context of a request. The application asks for it while the server
// may cancel it from elsewhere.
type ending struct {
	mu     sync.Mutex
	ctx    context.Context // nil until it was asked for
	cancel context.CancelCauseFunc
	cause  error    // of the first Cancel
	after  []func() // called at the end, if there is a context
}

// Context is cancelled when the response is finished, after Close of its Body. A
// server that learns earlier that nobody waits for the response, or that it takes
// too long, cancels it then, and context.Cause says why: ErrClientGone, ErrStopped
// or ErrTimeout; context.Canceled for a response that is finished. It may go to
// other goroutines. Its cancellation stops nothing by itself.
func (e *Environ) Context() context.Context {
	e.check()
	n := &e.ending
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx == nil {
		parent := context.Background()
		if e.lease != nil {
			parent = e.lease.of.Context()
		}
		n.ctx, n.cancel = context.WithCancelCause(parent)
		if n.cause != nil {
			n.cancel(n.cause)
		}
	}
	return n.ctx
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
	return e.host.Stopping
}

// Cancel cancels Context for a reason, the first of which counts. For servers, from
// any goroutine, between Begin and End. It makes no context that nobody asked for.
func (e *Environ) Cancel(cause error) {
	n := &e.ending
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cause == nil {
		n.cause = cause
	}
	if n.ctx != nil {
		n.cancel(cause)
	}
}

// end makes it ready for the next request.
func (n *ending) end() {
	if n.cancel != nil {
		n.cancel(nil)
		for _, f := range n.after {
			f()
		}
	}
	n.ctx, n.cancel, n.cause, n.after = nil, nil, nil, nil
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
