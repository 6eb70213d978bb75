package gateway

import "errors"

// ErrWait is the error of a Next, with or without a chunk, that has nothing yet: the response waits
// for an event, without a goroutine, and other connections of the loop go on. PEP 3333 has nothing
// like it; an application on an event loop needs it, since it must not block there.
//
// The application takes a function from [Environ.Waker] before. After each call of that function Next
// is called again, if the response waits then. So change first what Next reads, and then call wake:
//
//	wake := env.Waker()
//	events := subscribe(wake) // calls wake after it has sent an event
//	return gateway.Stream(func(yield func([]byte, error) bool) {
//		defer events.unsubscribe()
//		for {
//			select {
//			case event := <-events.C: // buffered: the sender does not wait for a slow client
//				if !yield(event, nil) {
//					return
//				}
//			default:
//				if !yield(nil, gateway.ErrWait) {
//					return
//				}
//			}
//		}
//	}), nil
//
// Next may find nothing, and return ErrWait again. It is also called once when the server begins to
// stop, so that a Body that reads [Environ.Stopping] can end. While a response waits no timeout runs.
// A client that has disconnected may show only when something is sent to it, so a Body that may wait
// for long sends something from time to time.
//
// A Body that wraps another returns its ErrWait at once. One that keeps a chunk for a later Next must
// not keep an ErrWait with it: there may have been a wake since. It calls Next of the inner Body
// again.
var ErrWait = errors.New("gateway: Next has nothing yet; " +
	"a server that can wait goes on when the function of Environ.Waker is called")

// Waker returns a function that makes the server call Next again after [ErrWait]. wake may be called
// from any goroutine, any number of times, at any time: a call before Next returns ErrWait is not
// lost, and one after the response does nothing. It does not block. Waker itself is called on the
// goroutine of the Environ.
//
// Under a server that cannot wait the function does nothing, and ErrWait is an error like any other.
func (e *Environ) Waker() (wake func()) {
	e.check()
	for g := e.guard; g != nil; g = g.of.guard {
		g.wakerTaken = true
	}
	return e.serverConn().Waker()
}
