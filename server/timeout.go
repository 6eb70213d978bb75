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
func (h *shard) idleTime() time.Duration {
	if h.stopping {
		return stopIdleTime
	}
	return h.cfg.idleTime
}

// arm sets the timeout of the phase. Between two requests this only notes the
// time: Timeout looks how long it was, so that a busy connection costs no timer.
// Where it is not the client that we wait for there is none: the loop watches
// whether a full socket empties.
func (h *shard) arm(c *loop.Conn, cn *session) {
	if x := cn.x; x != nil && (x.in.streaming || cn.phase == readingBody || cn.phase == skipping) {
		x.excludeFullOutput()
	}
	switch {
	case cn.phase == writing && cn.x.app.job != nil:
		var left time.Duration
		cn.timer, left = cn.x.workerDeadline()
		c.SetTimeout(left)
	case c.Full() || c.Yielded() || cn.phase == writing:
		cn.timer = noTimer
		c.SetTimeout(0)
	case cn.phase == readingBody, cn.phase == skipping:
		var left time.Duration
		cn.timer, left = cn.x.bodyDeadline()
		if h.stopping && cn.phase == skipping { // as between two requests: the answer has not said close, and a request may be behind
			left = min(left, stopIdleTime)
		}
		c.SetTimeout(left)
	case cn.phase == readingHead:
		if cn.x != nil && cn.x.in.req.Started() {
			if cn.timer != headTimer { // however the head drips
				cn.timer = headTimer
				cn.lastActive = h.now
				c.SetTimeout(h.cfg.headTime)
			}
			return
		}
		cn.lastActive = h.now
		h.limit.noneIdle = false
		if cn.timer != idleTimer {
			cn.timer = idleTimer
			c.SetTimeout(h.idleTime())
		}
	}
}

// Timeout: the client was too slow in the phase it is in.
func (h *shard) Timeout(c *loop.Conn) {
	cn := c.Context.(*session)
	if cn.phase == skipping {
		h.endSkipping(c, cn) // it has its answer, and no other
		return
	}
	switch cn.timer {
	case headTimer:
		h.count(headTimeouts)
		h.refuse(c, cn, errHeadTime, nil)
	case bodyTimer:
		h.count(bodyTimeouts)
		cn.x.abortWith(errBodyTime)
	case rateTimer:
		h.count(rateTimeouts)
		cn.x.abortWith(errBodyRate)
	case requestTimer:
		cn.x.onRequestTimeout()
	case idleTimer:
		left := h.idleTime() - time.Duration(h.now-cn.lastActive)
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
func (x *exchange) bodyDeadline() (timer, time.Duration) {
	c := x.sh.cfg
	if c.bodyRate >= 0 {
		paid := time.Duration(float64(x.in.clock.bytes) / float64(c.bodyRate) * float64(time.Second))
		if total := c.bodyTime + paid - time.Duration(x.sh.now-x.in.clock.since); total < c.bodyTime {
			return rateTimer, max(total, 1) // 0 would be for ever
		}
	}
	return bodyTimer, c.bodyTime
}

// measure begins the client's time for content anew, when it has waited for us.
func (x *exchange) restartBodyClock() {
	x.in.clock.since, x.in.clock.bytes, x.in.clock.fullSince = x.sh.now, 0, 0
	x.sh.arm(x.sock, x.session)
}

// leaveOut leaves out of the client's time for content that in which answers fill the output:
// nothing is read then, so the client cannot send, however long it takes to read them.
func (x *exchange) excludeFullOutput() {
	switch full := x.sock.Full(); {
	case full && x.in.clock.fullSince == 0:
		x.in.clock.fullSince = max(x.sh.now, 1)
	case !full && x.in.clock.fullSince != 0:
		x.in.clock.since += x.sh.now - x.in.clock.fullSince
		x.in.clock.fullSince = 0
	}
}

// patience is how long to wait for the worker, or the content that it may wait for,
// and by which timer; 0 is for ever.
func (x *exchange) workerDeadline() (t timer, left time.Duration) {
	asked := !x.in.expect100 || x.out.Response.HeadSent // behind an answer no 100 Continue comes, and the client knows
	if x.in.streaming && asked && !x.sock.Full() && !x.sock.Paused() {
		t, left = x.bodyDeadline()
	}
	if x.sh.cfg.requestTime > 0 && x.app.job.running() {
		if request := x.requestTimeLeft(); t == noTimer || request < left {
			t, left = requestTimer, max(request, 1)
		}
	}
	return t, left
}

// requestTime is what is left of RequestTimeout.
func (x *exchange) requestTimeLeft() time.Duration {
	return x.sh.cfg.requestTime - time.Duration(x.sh.now-x.app.workerStart)
}

// outOfTime answers for an application that does not.
func (x *exchange) onRequestTimeout() {
	if !x.app.job.running() {
		return // it has left just now, and its wake is on the way
	}
	x.sh.count(requestTimeouts)
	if x.app.job.unqueue() {
		x.log(slog.LevelError, "the request waited for a worker longer than the option RequestTimeout: look at what the others wait for, or raise the option Workers",
			slog.Duration("age", time.Duration(x.sh.now-x.app.workerStart)))
		x.abortWith(errQueueTime)
		return
	}
	attrs := []slog.Attr{slog.Duration("age", time.Duration(x.sh.now-x.app.workerStart))}
	if x.sh.stackSecond != x.sh.date.Second() { // all goroutines stand still for it
		x.sh.stackSecond = x.sh.date.Second()
		attrs = append(attrs, slog.String("stack", x.app.job.stack()))
	}
	x.log(slog.LevelError, "the application took longer than the option RequestTimeout; it goes on, and nobody waits for it", attrs...)
	x.replaceStatus(errRequestTime.Status) // before the application hears of it
	x.app.job.cancel(gateway.ErrTimeout)
	x.abortWith(errRequestTime)
}

// stopIdleTime is the idle time from Shutdown on. Within it a next request may be on
// the way, of a client that is busy or has just connected: it does not know yet.
const stopIdleTime = time.Second
