package server

import (
	"errors"
	"log/slog"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
)

// EOF: a client that has sent its last byte gets the answers it still waits for;
// in the phases that read there are none.
func (h *shard) EOF(c *loop.Conn) {
	cn := c.Context.(*session)
	switch {
	case cn.phase == readingBody, cn.phase == readingHead && cn.x != nil && cn.x.in.req.Started():
		h.refuse(c, cn, errIncomplete, nil)
	case cn.phase == writing && cn.x.in.streaming:
		cn.x.abortWith(errIncomplete)
	default:
		c.Close()
	}
}

// HungUp: a client has ended its side while an application works for it. It may
// still read: the response goes on, unless the application heeds its Context. A request
// that waits for a worker gives its place in the queue to one whose client is certainly
// there, and is answered in case this one reads.
func (h *shard) HungUp(c *loop.Conn) {
	cn := c.Context.(*session)
	cn.hungUp = true
	switch {
	case cn.phase != writing:
	case cn.x.app.job != nil && cn.x.app.job.unqueue():
		cn.x.abortWith(errHungup)
	case !c.Unread(): // as with net/http: behind more that it has sent the client may wait for an answer to that
		cn.x.app.env.Cancel(gateway.ErrClientGone)
	}
}

// Closed takes back what a connection has left.
func (h *shard) Closed(c *loop.Conn, err error) {
	cn := c.Context.(*session)
	switch err {
	case nil:
	case loop.ErrDetached:
		cn.x.app.job.connDetached()
	default:
		h.countLost(c, cn, err)
	}
	if x := cn.x; x != nil {
		if cn.phase == writing && err != loop.ErrDetached {
			x.replaceStatus(closeStatus(err))
			x.app.env.Cancel(closeCause(err))
			if x.app.job != nil {
				x.app.job.cancel(closeCause(err))
			}
		}
	}
	cn.phase = cn.phase.next(connClosed)
	if cn.x != nil {
		cn.x.closeBodyGuarded()
	}
	h.releaseClosed(cn)
}

// leaveBehind is the end of Closed, however the application's Close ends.
func (h *shard) releaseClosed(cn *session) {
	if cn.x != nil {
		h.release(cn.x)
	}
	if h.stopping {
		h.srv.checkEmpty()
	}
}

// Exited: an application has ended the goroutine of its loop. Like a panic that fails the
// response; and the connection ends, since what has come behind the request is lost with the
// goroutine.
func (h *shard) Exited(c *loop.Conn) {
	if c == nil {
		h.out = h.out[:0]
		return
	}
	cn, _ := c.Context.(*session)
	if !c.Alive() {
		h.out = h.out[:0]
		if cn != nil && cn.phase == closed { // in Closed
			h.releaseClosed(cn)
		}
		return
	}
	if cn == nil || cn.x == nil || cn.phase != handling && cn.phase != writing {
		h.flush(c)
		return
	}
	cn.x.out.keepAlive = false
	cn.x.fail(errGoexit)
}

// closeStatus is the status of an answer that was not sent.
func closeStatus(err error) int {
	switch err {
	case nil, loop.ErrStopped, loop.ErrAborted:
		return gateway.StatusNoResponse
	}
	return gateway.StatusClientClosed
}

// closeCause is what an application is told of the end of its connection.
func closeCause(err error) error {
	if err == loop.ErrStopped {
		return gateway.ErrStopped
	}
	return gateway.ErrClientGone
}

// lost counts a connection that has not ended in order.
func (h *shard) countLost(c *loop.Conn, cn *session, err error) {
	switch {
	case errors.Is(err, loop.ErrFile):
		h.count(failed)
		h.count(aborted)
		cn.x.log(slog.LevelError, "the file of a response cannot be sent whole: to change a file that is served, write a new one and rename it", slog.Any("error", err))
		return
	case err == loop.ErrAborted: // fail has counted it
	case err == loop.ErrStopped:
		h.count(stopped)
		if h.srv.cutting.Load() {
			h.logCut(c, cn)
			return
		}
	case err == loop.ErrWriteTimeout:
		h.count(stalled)
	case cn.inProgress(c):
		h.count(lost)
	default:
		h.count(lostIdle)
	}
	h.cfg.log.Debug("connection lost", slog.Any("remote", c.RemoteAddr()), slog.Any("error", err))
}

// sayCut says what a connection was doing when Shutdown was out of time.
func (h *shard) logCut(c *loop.Conn, cn *session) {
	attrs := []any{slog.Any("remote", c.RemoteAddr()), slog.String("phase", cn.phase.String()), slog.Int64("unsent", c.Unsent())}
	if x := cn.x; x != nil && (cn.phase != readingHead || x.in.req.Started()) {
		since := cn.lastActive
		if cn.phase != readingHead {
			if since = x.in.clock.since; x.out.source.body == x.app.job {
				since = x.app.workerStart
			}
			method, target := x.requestLine()
			attrs = append(attrs, slog.String("method", method), slog.String("target", target))
		}
		attrs = append(attrs, slog.Duration("running", time.Since(h.epoch)-time.Duration(since))) // h.now may be old: an application may have held the loop
	}
	h.cfg.log.Warn("shutdown: out of time, a connection is cut", attrs...)
}

// atWork reports whether something is going on: a request has begun, or a part of
// an answer waits for the socket.
func (cn *session) inProgress(c *loop.Conn) bool {
	return cn.x != nil && (cn.phase != readingHead || cn.x.in.req.Started()) || c.Unsent() > 0
}

// stop is Shutdown's part on this loop.
func (h *shard) stop() {
	h.stopping = true
	h.loop.StopAccepting() // after what has connected until now
	h.srv.accepting.Add(-1)
	h.loop.Conns(func(c *loop.Conn) {
		switch cn := c.Context.(*session); {
		case cn.phase == skipping:
			h.arm(c, cn) // there is less time now
		case cn.phase == writing:
			cn.x.wakeForStop()
		case cn.phase == readingHead && cn.timer == idleTimer:
			cn.lastActive = max(cn.lastActive, h.lateTick)
			if !cn.hadRequest {
				cn.lastActive = h.now // its first request may be on the way
			}
			h.Timeout(c) // there is less idle time now
		} // else at work: its last answer says close
	})
	h.srv.checkEmpty()
}
