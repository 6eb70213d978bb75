package server

import (
	"fmt"
	"os"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

// deadline is when calls of a worker stop to wait. job.mu guards it.
type deadline struct {
	timer  *time.Timer // nil if none runs
	passed bool
}

// errWriteTime ends the response, also if the application sets a later deadline: a part of it is missing,
// and the client must not take it for complete.
var errWriteTime = fmt.Errorf("server: the time of SetWriteDeadline is over: %w: %w", os.ErrDeadlineExceeded, gateway.ErrAbort)

// SetReadDeadline implements gateway.Conn on the loop, by a handoff: only on a worker a call can wait.
func (x *exchange) SetReadDeadline(t time.Time) error {
	if j := x.requireJob(); j != nil {
		return j.SetReadDeadline(t)
	}
	return errInline
}

// SetWriteDeadline implements gateway.Conn on the loop, by a handoff.
func (x *exchange) SetWriteDeadline(t time.Time) error {
	if j := x.requireJob(); j != nil {
		return j.SetWriteDeadline(t)
	}
	return errInline
}

// SetReadDeadline implements gateway.Conn on a worker.
func (j *job) SetReadDeadline(t time.Time) error { return j.setDeadline(&j.in.deadline, t) }

// SetWriteDeadline implements gateway.Conn on a worker.
func (j *job) SetWriteDeadline(t time.Time) error { return j.setDeadline(&j.out.deadline, t) }

// CloseInput implements gateway.Conn on the loop, where all content has come and so no Read waits.
func (x *exchange) CloseInput() {}

// CloseInput implements gateway.Conn on a worker: it acts as a read deadline that has passed.
func (j *job) CloseInput() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.in.deadline.stop()
	// Read would set broken too, but perhaps after the loop has taken the head, which must say close.
	j.in.deadline.passed, j.in.broken = true, true
	j.cond.Broadcast()
}

// setDeadline sets d to t, or to none if t is zero. A deadline in the past ends calls that wait now.
func (j *job) setDeadline(d *deadline, t time.Time) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.abandonCause != nil || j.exited {
		return writerError(j.abandonCause)
	}
	d.stop()
	switch left := time.Until(t); {
	case t.IsZero():
	case left <= 0:
		d.passed = true
		j.cond.Broadcast()
	default:
		var timer *time.Timer
		timer = time.AfterFunc(left, func() {
			j.mu.Lock()
			defer j.mu.Unlock()
			if d.timer == timer { // else another deadline was set while this one waited for mu
				d.passed = true
				j.cond.Broadcast()
			}
		})
		d.timer = timer
	}
	return nil
}

// stop sets d to none. Caller holds mu, or no worker has begun.
func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
	*d = deadline{}
}
