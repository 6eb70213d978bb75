package server

import "time"

// outlet runs calls that may block, in order, on a goroutine of its own: a write to
// a pipe whose reader hangs, a message to systemd. The goroutine that
// handles signals hands them over and never waits for them.
type outlet chan func()

const (
	// outletCalls is how many calls wait behind one that blocks; more are dropped. It is
	// more than a process prints from its start to its end, signals that repeat left out.
	outletCalls = 64

	// outletTime is how long a process waits, at its start and its end, for what it has
	// printed to be written. A reader that reads takes it in microseconds; the rest is for
	// a machine that is busy.
	outletTime = time.Second
)

func newOutlet() outlet {
	o := make(outlet, outletCalls)
	go func() {
		for call := range o {
			call()
		}
	}()
	return o
}

// do hands call over. It is dropped if too many are waiting.
func (o outlet) do(call func()) {
	select {
	case o <- call:
	default:
	}
}

// flush waits until the calls so far are done, but not longer than outletTime.
func (o outlet) flush() {
	done := make(chan struct{})
	late := time.After(outletTime)
	select {
	case o <- func() { close(done) }:
	case <-late:
		return
	}
	select {
	case <-done:
	case <-late:
	}
}

// end flushes o and ends its goroutine, which may not be while a call blocks.
func (o outlet) end() {
	o.flush()
	close(o)
}
