package server

import (
	"log/slog"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
)

// The timeouts of a connection. One runs at a time: session.arm sets it behind whatever has changed what the
// connection waits for (Input, Drained, a handoff, content that a worker has asked for, a stop), and shard.Timeout is
// where it fires. The first idleTimer is set in shard.Opened.
//
//	timer         option          runs                                    then
//	idleTimer     IdleTimeout     before and between requests             closed
//	headTimer     HeadTimeout     from the first byte of a head           408
//	bodyTimer     BodyTimeout     since content came last                 408
//	rateTimer     BodyRate        since the head; each byte earns time    408
//	requestTimer  RequestTimeout  since a worker was asked for            504
//
// Where an answer has begun it is cut in place of 408 or 504; in the phase skipping the connection is closed.
// Outside of this: a client that does not take its answer is the loop's (WriteTimeout, LingerTime: loop.Conn), and
// the deadlines that an application sets for its own calls are in deadline.go.

// timerKind says what the timeout of a connection is for.
type timerKind uint8

const (
	noTimer timerKind = iota // also between a head and arm: the next timer starts anew
	idleTimer
	headTimer
	bodyTimer
	rateTimer
	requestTimer
)

// idleTime is how long a connection may be idle, from now on.
func (sh *shard) idleTime() time.Duration {
	if sh.stopping {
		return stopIdleTime
	}
	return sh.cfg.idleTime
}

// arm sets the timeout for what the connection waits for now. Between two requests it only notes the time, and
// Timeout compares: a busy connection costs no timer. Where the server is what the connection waits for there is none
// but requestTimer.
func (s *session) arm() {
	sh, x := s.sh, s.x
	if x != nil && (x.in.streaming || s.phase == readingBody || s.phase == skipping) {
		x.in.clock.pauseWhile(s.outputWaits(), sh.now)
	}
	var left time.Duration
	switch {
	case s.phase == responding && x.app.onWorker():
		s.timer, left = x.workerDeadline()
		s.sock.SetTimeout(left)
	case s.outputWaits() || s.phase == responding:
		s.timer = noTimer
		s.sock.SetTimeout(0)
	case s.phase == readingBody, s.phase == skipping:
		s.timer, left = x.bodyDeadline()
		if sh.stopping && s.phase == skipping { // the answer did not say close, so another request may be behind
			left = min(left, stopIdleTime)
		}
		s.sock.SetTimeout(left)
	case s.phase == readingHead && x != nil && x.in.req.Started():
		if s.timer != headTimer { // absolute, however the head drips
			s.timer = headTimer
			s.lastActive = sh.now
			s.sock.SetTimeout(sh.cfg.headTime)
		}
	case s.phase == readingHead:
		s.lastActive = sh.now
		sh.limit.noneIdle = false
		if s.timer != idleTimer {
			s.timer = idleTimer
			s.sock.SetTimeout(sh.idleTime())
		}
	}
}

// outputWaits reports whether no input is read for the sake of output: it is over the high-water mark, or the response
// has yielded. Then nothing need be unsent: the socket may have taken all that there was, and have no room for more.
func (s *session) outputWaits() bool { return s.sock.Full() || s.sock.Yielded() }

// Timeout: the time that arm has set has passed.
func (sh *shard) Timeout(c *loop.Conn) {
	s := c.Context.(*session)
	if s.phase == skipping {
		s.endSkipping() // the client has its answer, and gets no other
		return
	}
	if (s.timer == bodyTimer || s.timer == rateTimer) && c.Unread() {
		c.SetTimeout(sh.cfg.bodyTime) // content has come while the loop was blocked: its event follows, and arm
		return
	}
	switch s.timer {
	case headTimer:
		sh.count(headTimeouts)
		s.refuse(errHeadTime, nil)
	case bodyTimer:
		sh.count(bodyTimeouts)
		s.x.abortWith(errBodyTime)
	case rateTimer:
		sh.count(rateTimeouts)
		s.x.abortWith(errBodyRate)
	case requestTimer:
		s.x.onRequestTimeout()
	case idleTimer:
		left := sh.idleTime() - time.Duration(sh.now-s.lastActive)
		if left <= 0 {
			if !c.Unread() {
				if !sh.stopping {
					sh.count(idleTimeouts)
				}
				c.CloseIdle()
				return
			}
			left = sh.idleTime() // a request has arrived, and its event follows
		}
		c.SetTimeout(left)
	}
}

// bodyDeadline is how long to wait for more content, and by which timer: BodyTimeout since content came last, or
// BodyRate, if that is over before. What else happens on the connection meanwhile, as the answer of a worker that
// reads and writes, changes neither.
func (x *exchange) bodyDeadline() (timerKind, time.Duration) {
	c, clock := x.sh.cfg, &x.in.clock
	left := c.bodyTime - time.Duration(x.sh.now-clock.last)
	if c.bodyRate >= 0 {
		earned := time.Duration(float64(clock.bytes) / float64(c.bodyRate) * float64(time.Second))
		if total := c.bodyTime + earned - time.Duration(x.sh.now-clock.since); total < left {
			return rateTimer, max(total, 1) // 0 would be for ever
		}
	}
	return bodyTimer, max(left, 1)
}

// workerDeadline is how long to wait for the worker, or for the content that it may wait for, and by which
// timer; 0 is for ever.
func (x *exchange) workerDeadline() (t timerKind, left time.Duration) {
	// A client that waits for 100 Continue need not send yet. When an answer has begun no 100 Continue follows,
	// which the client can see: its time runs.
	expected := !x.in.expect100 || x.out.HeadSent
	if x.in.streaming && expected && !x.session.outputWaits() && !x.sock.Paused() {
		t, left = x.bodyDeadline()
	}
	if x.sh.cfg.requestTime > 0 && x.app.job.running() {
		if request := x.requestTimeLeft(); t == noTimer || request < left {
			t, left = requestTimer, max(request, 1)
		}
	}
	return t, left
}

// restartBodyClock is for a client that has waited for the server: its time for content begins anew.
func (x *exchange) restartBodyClock() {
	x.in.clock.start(x.sh.now)
	x.session.arm()
}

// pauseWhile stops the clock while answers fill the output (session.outputWaits): nothing is read then, so the client
// cannot send, for as long as it takes to read them.
func (c *contentClock) pauseWhile(full bool, now int64) {
	switch {
	case full && c.fullSince == 0:
		c.fullSince = max(now, 1)
	case !full && c.fullSince != 0:
		c.since += now - c.fullSince
		c.last += now - c.fullSince
		c.fullSince = 0
	}
}

// requestTimeLeft is what is left of RequestTimeout.
func (x *exchange) requestTimeLeft() time.Duration {
	return x.sh.cfg.requestTime - time.Duration(x.sh.now-x.app.workerStart)
}

// onRequestTimeout answers in place of an application that has taken RequestTimeout.
func (x *exchange) onRequestTimeout() {
	if !x.app.job.running() {
		return // the worker has exited just now, and the loop has its wake as a task
	}
	x.sh.count(requestTimeouts)
	if x.app.job.unqueue() {
		x.log(slog.LevelError, "the request waited for a worker longer than the option RequestTimeout: find out what the requests on workers wait for, or raise the option Workers",
			slog.Duration("age", time.Duration(x.sh.now-x.app.workerStart)))
		x.abortWith(errQueueTime)
		return
	}
	attrs := []slog.Attr{slog.Duration("age", time.Duration(x.sh.now-x.app.workerStart))}
	if x.sh.stackSecond != x.sh.date.Second() { // once a second: all goroutines stand still for it
		x.sh.stackSecond = x.sh.date.Second()
		attrs = append(attrs, slog.String("stack", x.app.job.stack()))
	}
	x.log(slog.LevelError, "the application took longer than the option RequestTimeout; its response is abandoned, and its Context cancelled", attrs...)
	x.replaceStatus(errRequestTime.Status) // before cancel: the access log of the application reads it then
	x.app.job.cancel(gateway.ErrTimeout)
	x.abortWith(errRequestTime)
}

// stopIdleTime is the idle time from Shutdown on. A client that is busy or has just connected does not know of
// the stop: its next request may be in the network.
const stopIdleTime = time.Second
