package server

import (
	"log/slog"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
)

// timer says what a connection's timeout is for.
type timer uint8

const (
	noTimer      timer = iota
	idleTimer          // between two requests; stays while requests come and go
	headTimer          // from the first byte of a head, absolute
	bodyTimer          // since the last progress of the content
	rateTimer          // since the head, for content that comes too slowly
	requestTimer       // since the worker was given the request
)

// idleTime is how long a connection may be idle, from now on.
func (h *handler) idleTime() time.Duration {
	if h.stopping {
		return stopIdleTime
	}
	return h.c.idleTime
}

// arm sets the timeout of the phase. Between two requests this only notes the
// time: Timeout looks how long it was, so that a busy connection costs no timer.
// Where it is not the client that we wait for there is none: the loop watches
// whether a full socket empties.
func (h *handler) arm(c *loop.Conn, cn *conn) {
	if x := cn.x; x != nil && (x.streams || cn.phase == readingBody || cn.phase == skipping) {
		x.leaveOut()
	}
	switch {
	case cn.phase == writing && cn.x.job != nil:
		var left time.Duration
		cn.timer, left = cn.x.patience()
		c.SetTimeout(left)
	case c.Full() || c.Yielded() || cn.phase == writing:
		cn.timer = noTimer
		c.SetTimeout(0)
	case cn.phase == readingBody, cn.phase == skipping:
		var left time.Duration
		cn.timer, left = cn.x.contentTime()
		if h.stopping && cn.phase == skipping { // as between two requests: the answer has not said close, and a request may be behind
			left = min(left, stopIdleTime)
		}
		c.SetTimeout(left)
	case cn.phase == readingHead:
		if cn.x != nil && cn.x.req.Started() {
			if cn.timer != headTimer { // however the head drips
				cn.timer = headTimer
				cn.active = h.now
				c.SetTimeout(h.c.headTime)
			}
			return
		}
		cn.active = h.now
		h.crowd.none = false
		if cn.timer != idleTimer {
			cn.timer = idleTimer
			c.SetTimeout(h.idleTime())
		}
	}
}

// Timeout: the client was too slow in the phase it is in.
func (h *handler) Timeout(c *loop.Conn) {
	cn := c.Context.(*conn)
	if cn.phase == skipping {
		h.skipNoMore(c, cn) // it has its answer, and no other
		return
	}
	switch cn.timer {
	case headTimer:
		h.count(headTimeouts)
		h.refuse(c, cn, errHeadTime, nil)
	case bodyTimer:
		h.count(bodyTimeouts)
		cn.x.breakOff(errBodyTime)
	case rateTimer:
		h.count(rateTimeouts)
		cn.x.breakOff(errBodyRate)
	case requestTimer:
		cn.x.outOfTime()
	case idleTimer:
		left := h.idleTime() - time.Duration(h.now-cn.active)
		if left <= 0 {
			if !c.Unread() {
				if !h.stopping {
					h.count(idleTimeouts)
				}
				c.CloseIdle()
				return
			}
			left = h.idleTime() // the event is on its way
		}
		c.SetTimeout(left)
	}
}

// contentTime is how long to wait for more content, and by which timer: BodyTimeout;
// or less, for content that comes however steadily, but slower than BodyRate.
func (x *exchange) contentTime() (timer, time.Duration) {
	c := x.h.c
	if c.bodyRate >= 0 {
		paid := time.Duration(float64(x.came) / float64(c.bodyRate) * float64(time.Second))
		if total := c.bodyTime + paid - time.Duration(x.h.now-x.since); total < c.bodyTime {
			return rateTimer, max(total, 1) // 0 would be for ever
		}
	}
	return bodyTimer, c.bodyTime
}

// measure begins the client's time for content anew, when it has waited for us.
func (x *exchange) measure() {
	x.since, x.came, x.filled = x.h.now, 0, 0
	x.h.arm(x.c, x.conn)
}

// leaveOut leaves out of the client's time for content that in which answers fill the output:
// nothing is read then, so the client cannot send, however long it takes to read them.
func (x *exchange) leaveOut() {
	switch full := x.c.Full(); {
	case full && x.filled == 0:
		x.filled = max(x.h.now, 1)
	case !full && x.filled != 0:
		x.since += x.h.now - x.filled
		x.filled = 0
	}
}

// patience is how long to wait for the worker, or the content that it may wait for,
// and by which timer; 0 is for ever.
func (x *exchange) patience() (t timer, left time.Duration) {
	asked := !x.expects || x.resp.sent // behind an answer no 100 Continue comes, and the client knows
	if x.streams && asked && !x.c.Full() && !x.c.Paused() {
		t, left = x.contentTime()
	}
	if x.h.c.requestTime > 0 && x.job.atWork() {
		if request := x.requestTime(); t == noTimer || request < left {
			t, left = requestTimer, max(request, 1)
		}
	}
	return t, left
}

// requestTime is what is left of RequestTimeout.
func (x *exchange) requestTime() time.Duration {
	return x.h.c.requestTime - time.Duration(x.h.now-x.began)
}

// outOfTime answers for an application that does not.
func (x *exchange) outOfTime() {
	if !x.job.atWork() {
		return // it has left just now, and its wake is on the way
	}
	x.h.count(requestTimeouts)
	if x.job.withdraw() {
		x.log(slog.LevelError, "the request waited for a worker longer than the option RequestTimeout: look at what the others wait for, or raise the option Workers",
			slog.Duration("age", time.Duration(x.h.now-x.began)))
		x.breakOff(errQueueTime)
		return
	}
	attrs := []slog.Attr{slog.Duration("age", time.Duration(x.h.now-x.began))}
	if x.h.looked != x.h.second { // all goroutines stand still for it
		x.h.looked = x.h.second
		attrs = append(attrs, slog.String("stack", x.job.stack()))
	}
	x.log(slog.LevelError, "the application took longer than the option RequestTimeout; it goes on, and nobody waits for it", attrs...)
	x.sendsInstead(errRequestTime.Status) // before the application hears of it
	x.job.cancel(gateway.ErrTimeout)
	x.breakOff(errRequestTime)
}

// stopIdleTime is the idle time from Shutdown on. Within it a next request may be on
// the way, of a client that is busy or has just connected: it does not know yet.
const stopIdleTime = time.Second
