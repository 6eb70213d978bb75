package server

import (
	"errors"
	"log/slog"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
)

// EOF implements loop.Handler: the client has sent its last byte. A response in progress is still sent, unless the
// content of its request is incomplete.
func (sh *shard) EOF(c *loop.Conn) {
	s := c.Context.(*session)
	switch {
	case s.phase == readingBody, s.phase == readingHead && s.x != nil && s.x.in.req.Started():
		s.refuse(errIncomplete, nil)
	case s.phase == responding && s.x.in.streaming:
		s.x.abortWith(errIncomplete)
	default:
		c.Close()
	}
}

// HungUp implements loop.Handler: the client has closed its sending side while an application runs for it. It
// may still read, so the response continues, unless the application ends it when its Context ends.
func (sh *shard) HungUp(c *loop.Conn) {
	s := c.Context.(*session)
	s.hungUp = true
	switch {
	case s.phase != responding:
	case s.x.app.onWorker() && s.x.app.job.unqueue():
		s.x.abortWith(errHungup) // its place in the queue is better used; the answer is for a client that reads
	case !c.Unread(): // as net/http: behind unread input the client may wait for an answer to that
		s.x.app.env.Cancel(gateway.ErrClientGone)
	}
}

// Closed implements loop.Handler: the connection has ended; err is nil if in order.
func (sh *shard) Closed(c *loop.Conn, err error) {
	s := c.Context.(*session)
	switch err {
	case nil:
	case loop.ErrDetached:
		s.x.app.job.connDetached()
	default:
		s.countLost(err)
	}
	// The response is cut: its status in the access log is another than the declared one.
	if x := s.x; x != nil && s.phase == responding && err != loop.ErrDetached {
		x.replaceStatus(closeStatus(err))
		x.app.env.Cancel(closeCause(err))
		if x.app.onWorker() {
			x.app.job.cancel(closeCause(err))
		}
	}
	s.transition(connClosed)
	if s.x != nil {
		s.x.closeBodyGuarded()
	}
	s.afterClosed()
}

// afterClosed is the end of Closed, also if the application's Close has panicked or ended its goroutine.
func (s *session) afterClosed() {
	sh := s.sh
	if s.x != nil {
		sh.release(s.x)
	}
	if sh.stopping {
		sh.srv.checkEmpty()
	}
}

// Exited implements loop.Handler: an application has ended the goroutine of its loop (runtime.Goexit), and the
// loop has a new one. Like a panic that fails the response; the connection ends too, since the input behind
// the request is lost with the goroutine.
func (sh *shard) Exited(c *loop.Conn) {
	s := c.Context.(*session) // c is not nil: no task calls the application
	if !c.Alive() {
		sh.out = sh.out[:0]
		if s.phase == closed { // in the application's Close, which Closed has called
			s.afterClosed()
		}
		return
	}
	s.x.out.keepAlive = false
	s.x.fail(errGoexit)
}

// closeStatus is the status that is logged for an answer that was not sent.
func closeStatus(err error) int {
	switch err {
	case nil, loop.ErrStopped, loop.ErrAborted:
		return gateway.StatusNoResponse
	}
	return gateway.StatusClientClosed
}

// closeCause is the cause of an application's Context when its connection has ended.
func closeCause(err error) error {
	if err == loop.ErrStopped {
		return gateway.ErrStopped
	}
	return gateway.ErrClientGone
}

// countLost counts a connection that has not ended in order.
func (s *session) countLost(err error) {
	sh := s.sh
	switch {
	case errors.Is(err, loop.ErrFile):
		sh.count(failed)
		sh.count(aborted)
		s.x.log(slog.LevelError, "the file of a response cannot be sent completely: to change a file that is served, write a new one and rename it", slog.Any("error", err))
		return
	case err == loop.ErrAborted: // fail has counted it
	case err == loop.ErrStopped:
		sh.count(stopped)
		if sh.srv.cutting.Load() {
			s.logCut()
			return
		}
	case err == loop.ErrWriteTimeout:
		sh.count(stalled)
	case s.inProgress():
		sh.count(lost)
	default:
		sh.count(lostIdle)
	}
	sh.cfg.log.Debug("connection lost", slog.Any("remote", s.sock.RemoteAddr()), slog.Any("error", err))
}

// logCut logs what a connection was doing when the time of Shutdown was over.
func (s *session) logCut() {
	attrs := []any{slog.Any("remote", s.sock.RemoteAddr()), slog.String("phase", s.phase.String()), slog.Int64("unsent", s.sock.Unsent())}
	if x := s.x; x != nil && (s.phase != readingHead || x.in.req.Started()) {
		since := s.lastActive
		if s.phase != readingHead {
			if since = x.in.clock.since; x.out.source.kind == workerSource {
				since = x.app.workerStart
			}
			method, target := x.requestLine()
			attrs = append(attrs, slog.String("method", method), slog.String("target", target))
		}
		// Not by shard.now, which is old where an application has blocked the loop.
		attrs = append(attrs, slog.Duration("running", time.Since(s.sh.epoch)-time.Duration(since)))
	}
	s.sh.cfg.log.Warn("shutdown: out of time, a connection is cut", attrs...)
}

// stop is Shutdown's part on this loop.
func (sh *shard) stop() {
	sh.stopping = true
	sh.loop.StopAccepting() // after what has connected until now
	sh.srv.accepting.Add(-1)
	sh.loop.Conns(func(c *loop.Conn) {
		switch s := c.Context.(*session); {
		case s.phase == skipping:
			s.arm() // there is less time now
		case s.phase == responding:
			s.x.wakeForStop()
		case s.phase == readingHead && s.timer == idleTimer:
			s.lastActive = max(s.lastActive, sh.lateTick)
			if !s.hadRequest {
				s.lastActive = sh.now // a new connection: its first request may be in the network
			}
			sh.Timeout(c) // there is less idle time now
		} // else a request is at work: its answer says close
	})
	sh.srv.checkEmpty()
}
