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
func (h *handler) EOF(c *loop.Conn) {
	cn := c.Context.(*conn)
	switch {
	case cn.phase == readingBody, cn.phase == readingHead && cn.x != nil && cn.x.req.Started():
		h.refuse(c, cn, errIncomplete, nil)
	case cn.phase == writing && cn.x.streams:
		cn.x.breakOff(errIncomplete)
	default:
		c.Close()
	}
}

// Hungup: a client has ended its side while an application works for it. It may
// still read: the response goes on, unless the application heeds its Context. A request
// that waits for a worker gives its place in the queue to one whose client is certainly
// there, and is answered in case this one reads.
func (h *handler) Hungup(c *loop.Conn) {
	cn := c.Context.(*conn)
	cn.hungup = true
	switch {
	case cn.phase != writing:
	case cn.x.job != nil && cn.x.job.withdraw():
		cn.x.breakOff(errHungup)
	case !c.Unread(): // as with net/http: behind more that it has sent the client may wait for an answer to that
		cn.x.env.Cancel(gateway.ErrClientGone)
	}
}

// Closed takes back what a connection has left.
func (h *handler) Closed(c *loop.Conn, err error) {
	cn := c.Context.(*conn)
	switch err {
	case nil:
	case loop.ErrDetached:
		cn.x.job.takenOver()
	default:
		h.lost(c, cn, err)
	}
	if x := cn.x; x != nil {
		if cn.phase == writing && err != loop.ErrDetached {
			x.sendsInstead(statusGone(err))
			x.env.Cancel(whyGone(err))
			if x.job != nil {
				x.job.cancel(whyGone(err))
			}
		}
	}
	cn.phase = cn.phase.next(gone)
	if cn.x != nil {
		cn.x.dropBody()
	}
	h.leaveBehind(cn)
}

// leaveBehind is the end of Closed, however the application's Close ends.
func (h *handler) leaveBehind(cn *conn) {
	if cn.x != nil {
		h.give(cn.x)
	}
	if h.stopping {
		h.s.checkEmpty()
	}
}

// Exited: an application has ended the goroutine of its loop. Like a panic that fails the
// response; and the connection ends, since what has come behind the request is lost with the
// goroutine.
func (h *handler) Exited(c *loop.Conn) {
	if c == nil {
		h.out = h.out[:0]
		return
	}
	cn, _ := c.Context.(*conn)
	if !c.Alive() {
		h.out = h.out[:0]
		if cn != nil && cn.phase == closed { // in Closed
			h.leaveBehind(cn)
		}
		return
	}
	if cn == nil || cn.x == nil || cn.phase != handling && cn.phase != writing {
		h.flush(c)
		return
	}
	cn.x.keep = false
	cn.x.fail(errGoexit)
}

// statusGone is the status of an answer that was not sent.
func statusGone(err error) int {
	switch err {
	case nil, loop.ErrStopped, loop.ErrAborted:
		return gateway.StatusNoResponse
	}
	return gateway.StatusClientClosed
}

// whyGone is what an application is told of the end of its connection.
func whyGone(err error) error {
	if err == loop.ErrStopped {
		return gateway.ErrStopped
	}
	return gateway.ErrClientGone
}

// lost counts a connection that has not ended in order.
func (h *handler) lost(c *loop.Conn, cn *conn, err error) {
	switch {
	case errors.Is(err, loop.ErrFile):
		h.count(failed)
		h.count(aborted)
		cn.x.log(slog.LevelError, "the file of a response cannot be sent whole: to change a file that is served, write a new one and rename it", slog.Any("error", err))
		return
	case err == loop.ErrAborted: // fail has counted it
	case err == loop.ErrStopped:
		h.count(stopped)
		if h.s.outOfTime.Load() {
			h.sayCut(c, cn)
			return
		}
	case err == loop.ErrWriteStall:
		h.count(stalled)
	case cn.atWork(c):
		h.count(lost)
	default:
		h.count(lostIdle)
	}
	h.c.log.Debug("connection lost", slog.Any("remote", c.RemoteAddr()), slog.Any("error", err))
}

// sayCut says what a connection was doing when Shutdown was out of time.
func (h *handler) sayCut(c *loop.Conn, cn *conn) {
	attrs := []any{slog.Any("remote", c.RemoteAddr()), slog.String("phase", cn.phase.String()), slog.Int64("unsent", c.Unsent())}
	if x := cn.x; x != nil && (cn.phase != readingHead || x.req.Started()) {
		since := cn.active
		if cn.phase != readingHead {
			if since = x.since; x.body == x.job {
				since = x.began
			}
			method, target := x.requestLine()
			attrs = append(attrs, slog.String("method", method), slog.String("target", target))
		}
		attrs = append(attrs, slog.Duration("running", time.Since(h.epoch)-time.Duration(since))) // h.now may be old: an application may have held the loop
	}
	h.c.log.Warn("shutdown: out of time, a connection is cut", attrs...)
}

// atWork reports whether something is going on: a request has begun, or a part of
// an answer waits for the socket.
func (cn *conn) atWork(c *loop.Conn) bool {
	return cn.x != nil && (cn.phase != readingHead || cn.x.req.Started()) || c.Unsent() > 0
}

// stop is Shutdown's part on this loop.
func (h *handler) stop() {
	h.stopping = true
	h.loop.StopAccepting() // after what has connected until now
	h.s.accepting.Add(-1)
	h.loop.Conns(func(c *loop.Conn) {
		switch cn := c.Context.(*conn); {
		case cn.phase == skipping:
			h.arm(c, cn) // there is less time now
		case cn.phase == writing:
			cn.x.stir()
		case cn.phase == readingHead && cn.timer == idleTimer:
			cn.active = max(cn.active, h.held)
			if !cn.served {
				cn.active = h.now // its first request may be on the way
			}
			h.Timeout(c) // there is less idle time now
		} // else at work: its last answer says close
	})
	h.s.checkEmpty()
}
