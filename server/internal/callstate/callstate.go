// Package callstate tells, from any goroutine, whether the goroutine of an event loop is in a call of
// the application: a lock-free state machine in the way of the Go scheduler's entersyscall and sysmon.
//
// The goroutine that makes the call changes the state by one atomic step, also around the server's own
// code that the application calls meanwhile. Another goroutine, which samples the loops, changes InApp
// to Observed. To leave Observed the call needs the lock. So whoever holds the lock and finds Observed
// knows that the goroutine of the loop is in the application, and may read the request, or hand the
// loop over to another goroutine.
//
//	from       event              to
//	None       EnterApp           InApp
//	InApp      ExitApp            None
//	InApp      EnterServer        InServer
//	InServer   ReturnToApp        InApp, or Observed if it was
//	InApp      Observe            Observed    with the lock
//	Observed   ExitApp            None        with the lock
//	Observed   EnterServer        InServer    with the lock
//	InServer   ExitApp            None        with the lock: the server's own code has panicked
//	InApp, Observed, InServer     HandOff     HandedOff, with the lock
//
// ReturnToApp restores Observed: that the application called the server is no sign that its call will end,
// only another call is.
package callstate

import (
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
)

// State is where a call is.
type State uint32

const (
	None      State = iota // no call
	InApp                  // in the application
	Observed               // the same, and another goroutine has seen it
	InServer               // in the server's own code, called by the application; it returns soon
	HandedOff              // the loop has another goroutine; this one is a worker
)

// Call is a call of the application. Its owner uses it for one call after the other, of one loop.
type Call struct {
	Owner      any  // what the call is for: the exchange
	CanHandOff bool // the loop may be handed off in this call
	state      atomic.Uint32
}

// State is the state now. From any goroutine.
func (c *Call) State() State { return State(c.state.Load()) }

// Reset makes a call that was handed off usable again, when its worker has ended.
func (c *Call) Reset() {
	if c.State() == HandedOff {
		c.state.Store(uint32(None))
	}
}

func (c *Call) swap(from, to State) bool { return c.state.CompareAndSwap(uint32(from), uint32(to)) }

// Mark is a bit that the next call clears.
type Mark uint32

const (
	Sampled Mark = 1 << iota // set by the sampling goroutine; the call that clears it calls Loop.Wake
	Idle                     // the loop was in no call
)

// Loop is what is known of the calls of a loop. The zero value has none.
type Loop struct {
	// Wake is called by the first call after Sampled was set. It must not block.
	Wake func()

	latest atomic.Pointer[Call] // the call that began last; it may have ended
	marks  atomic.Uint32

	mu           sync.Mutex
	observations uint64 // how often InApp has become Observed
}

// Lock holds the calls of the loop in Observed: see the package comment.
func (l *Loop) Lock() { l.mu.Lock() }

// Unlock ends Lock.
func (l *Loop) Unlock() { l.mu.Unlock() }

// SetMark sets m, and reports whether it was set.
func (l *Loop) SetMark(m Mark) (was bool) { return Mark(l.marks.Or(uint32(m)))&m != 0 }

// ClearMark clears m.
func (l *Loop) ClearMark(m Mark) { l.marks.And(^uint32(m)) }

// Marked reports whether m is set: no call has begun since.
func (l *Loop) Marked(m Mark) bool { return Mark(l.marks.Load())&m != 0 }

// EnterApp begins a call. On the goroutine of the loop.
func (l *Loop) EnterApp(c *Call) {
	if l.latest.Load() != c || l.marks.Load() != 0 {
		l.enterSlow(c)
	}
	c.state.Store(uint32(InApp))
}

func (l *Loop) enterSlow(c *Call) {
	l.latest.Store(c)
	if Mark(l.marks.Swap(0))&Sampled != 0 {
		l.Wake()
	}
}

// ExitApp ends a call. If it reports handedOff the loop has another goroutine, and the caller must not
// touch it.
func (l *Loop) ExitApp(c *Call) (handedOff bool) {
	return !c.state.CompareAndSwap(uint32(InApp), uint32(None)) && l.exitSlow(c, None) == HandedOff
}

// EnterServer is what the server's own code begins with where the application may be the caller: the
// loop is not handed over before ReturnToApp, unless the code itself does. It returns the state before,
// for ReturnToApp: None where there is no call, and HandedOff where the caller is a worker.
func (l *Loop) EnterServer(c *Call) (was State) {
	if c.state.CompareAndSwap(uint32(InApp), uint32(InServer)) {
		return InApp
	}
	return l.exitSlow(c, InServer)
}

// exitSlow is ExitApp or EnterServer where the state is not InApp.
func (l *Loop) exitSlow(c *Call, to State) (was State) {
	if c.State() == None {
		return None
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch was = c.State(); was {
	case Observed:
		c.state.Store(uint32(to))
	case InServer: // the server's own code has panicked, or another goroutine of the application calls it too
		if to == None {
			c.state.Store(uint32(None))
		}
		return None
	}
	return was
}

// ReturnToApp ends EnterServer, which has returned was.
func (c *Call) ReturnToApp(was State) {
	if was == InApp || was == Observed {
		c.swap(InServer, was) // else the call has ended: another goroutine of the application was here
	}
}

// Observe makes the call that the loop is in Observed, and returns it: nil if the loop is in none, or
// in the server's own code. Caller holds the lock.
func (l *Loop) Observe() *Call {
	c := l.latest.Load()
	if c == nil {
		return nil
	}
	if c.swap(InApp, Observed) {
		l.observations++
	}
	if c.State() != Observed {
		return nil
	}
	return c
}

// Observations is how often Observe has found another call than before. Caller holds the lock.
func (l *Loop) Observations() uint64 { return l.observations }

// Latest is the call that began last, nil before the first. It may have ended.
func (l *Loop) Latest() *Call { return l.latest.Load() }

// HandOff makes the goroutine of the call a worker, if the state is still was: ExitApp will report that to it.
// Caller holds the lock.
func (l *Loop) HandOff(c *Call, was State) bool { return c.swap(was, HandedOff) }

// TakeBack undoes HandOff, where the loop could not be given another goroutine. Caller holds the lock
// since HandOff.
func (l *Loop) TakeBack(c *Call, was State) { c.state.Store(uint32(was)) }

// SlowPath is the function, as a stack trace names it, in which a call waits for the lock: a goroutine
// that is found there is about to return from the application.
var SlowPath = runtime.FuncForPC(reflect.ValueOf((*Loop).exitSlow).Pointer()).Name()
