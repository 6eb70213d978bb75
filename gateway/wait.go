package gateway

import "errors"

// ErrWait is what Next returns, with or without a chunk, when the Body goes on but
// has nothing yet: it waits for an event, and its server for it, without a goroutine
// and without holding other connections. It is no part of PEP 3333's idea; a server
// of event loops needs it for what it must not block in.
//
// Before that the application has taken the function that wakes it from
// [Environ.Waker]. After each call of it Next is called again, if the response waits
// then. What Next looks at is therefore changed first, and wake called after:
//
//	wake := env.Waker()
//	events := subscribe(wake)              // which calls wake when it has put one in
//	return gateway.Stream(func(yield func([]byte, error) bool) {
//		defer events.unsubscribe()
//		for {
//			select {
//			case event := <-events.C:      // has room, so that nobody waits for a slow client
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
// Next may find nothing, and say ErrWait again. It is also called once when the server begins
// to stop, so that a Body which looks at [Environ.Stopping] can end. While a response waits no time
// runs; a client that has left shows when something is sent to it, so a Body that may
// wait for long sends something from time to time.
//
// A Body that wraps another passes ErrWait on, and at once: one that keeps a chunk for a
// later Next keeps no ErrWait with it, since there may have been a wake meanwhile. It
// asks again.
var ErrWait = errors.New("gateway: Next has nothing yet; a server that can wait goes on when the function of Environ.Waker is called")

// Waker returns a function that makes the server call Next again after [ErrWait].
// wake may be called from any goroutine, as often as one likes, and for as long: before
// Next waits it is not lost, and after the response it does nothing. It does not
// block. Waker itself is for the goroutine of the Environ, like the rest of it.
//
// A server that cannot wait gives a function that does nothing, and takes ErrWait as
// any other error.
func (e *Environ) Waker() (wake func()) {
	e.check()
	for g := e.guard; g != nil; g = g.of.guard {
		g.wakerTaken = true
	}
	return e.serverConn().Waker()
}
