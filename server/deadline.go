package server

import (
	"fmt"
	"os"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

// deadline is when calls of a worker wait no more. With job.mu.
type deadline struct {
	timer  *time.Timer // nil if none runs
	passed bool
}

// errWriteTime sticks: something is missing from the response, which must not look whole.
var errWriteTime = fmt.Errorf("server: the time of SetWriteDeadline is over: %w: %w", os.ErrDeadlineExceeded, gateway.ErrAbort)

// SetReadDeadline implements gateway.Conn. Nothing waits on a loop, so the application goes on
// as a worker.
func (x *exchange) SetReadDeadline(t time.Time) error {
	if j := x.requireJob(); j != nil {
		return j.SetReadDeadline(t)
	}
	return errInline
}

// SetWriteDeadline implements gateway.Conn.
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

// CloseInput implements gateway.Conn. On a loop all content has come before the call, so no Read
// waits.
func (x *exchange) CloseInput() {}

// CloseInput implements gateway.Conn on a worker: it acts as a read deadline that has passed.
func (j *job) CloseInput() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.in.deadline.stop()
	j.in.deadline.passed, j.in.broken = true, true // broken now: Read may say so when the head is on its way
	j.cond.Broadcast()
}

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
			if d.timer == timer { // and not one that came after it
				d.passed = true
				j.cond.Broadcast()
			}
		})
		d.timer = timer
	}
	return nil
}

// stop makes it none.
func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
	*d = deadline{}
}
