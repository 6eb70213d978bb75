package loop

import (
	"errors"
	"math"
	"syscall"

	"github.com/panjf2000/gnet/v2/pkg/socket"
	"golang.org/x/sys/unix"
)

// Close ends the connection in order: output is flushed, then FIN is sent. What the peer
// still sends is discarded for a while, so that no reset destroys the answer on its way
// (RFC 9112 section 9.6; nginx's lingering_close). Input is not called any more.
func (c *Conn) Close() {
	if c.state == connecting {
		c.kill(nil)
	}
	if c.state != open {
		return
	}
	c.state = closing
	c.handlerDeadline = 0
	c.lingerBudget = c.loop.opt.LingerBytes
	c.progressOrDefer()
}

// CloseIdle is Close for a connection without a request at work. If the peer has
// acknowledged all output there is no answer that a reset could destroy, so it closes at
// once. Close would take LingerTime then: many clients notice the FIN on an idle connection
// only when they use it next.
func (c *Conn) CloseIdle() {
	if c.state == open && c.out == nil && c.mem == nil && unacknowledged(int(c.fd)) == 0 {
		c.Drop()
		return
	}
	c.Close()
}

// CloseWrite ends our side of the connection: queued output is sent, and then FIN. Input continues.
// Nothing more can be sent; the handler calls Close when it has the peer's last byte.
func (c *Conn) CloseWrite() {
	if !c.canSend() {
		return
	}
	c.outputEnded = true
	if c.out == nil && c.mem == nil {
		c.sendFIN()
	}
}

// Abort ends the connection at once. Unsent output is lost, and the peer sees a reset and
// not an orderly end: what it has received is incomplete.
func (c *Conn) Abort() { c.kill(ErrAborted) }

// Drop closes the connection at once. Unsent output is lost; if there is none and all input
// was read the peer sees an orderly end. For idle connections, and when there are too many
// connections to let them linger.
func (c *Conn) Drop() { c.kill(nil) }

// lingeringClose drives a connection in state closing: it sends FIN when all output is sent,
// and discards input until the peer's FIN. Input is discarded also before ours: a peer that
// sends all its input before it reads would otherwise wait for us, and we for it.
func (c *Conn) lingeringClose() {
	releaseBuffer(c.pending)
	c.pending = nil
	if c.mem != nil {
		c.kill(nil)
		return
	}
	if c.out == nil && !c.lingering && !c.eof {
		if c.sendFIN(); c.state == dead {
			return
		}
		c.lingering = true
		c.unackedBefore = math.MaxInt // the first onWriteDeadline counts as progress
		c.setWriteDeadline(c.loop.opt.LingerTime)
	}
	if c.readable && !c.eof {
		c.discardInput()
	}
	if c.out == nil && c.eof && c.state == closing {
		c.kill(nil)
	}
}

// sendFIN ends our side of the connection, once.
func (c *Conn) sendFIN() {
	c.outputEnded = true
	if c.finSent {
		return
	}
	if err := unix.Shutdown(int(c.fd), unix.SHUT_WR); err != nil {
		c.kill(err)
		return
	}
	c.finSent = true
}

// discardInput discards input, one buffer a turn and LingerBytes in all. What comes after that
// stays in the socket: flow control stops the peer, which can read its answer until
// LingerTime is over. A close at that point would reset the connection and the answer with it.
func (c *Conn) discardInput() {
	b := c.loop.readSpace()
	for c.lingerBudget > 0 || c.readToEnd { // after a hangup only what the socket has already can come
		n, err := read(int(c.fd), b)
		switch {
		case err == errAgain:
			c.readable = false
			return
		case err != nil:
			c.kill(err)
			return
		case n == 0:
			c.readable, c.eof = false, true
			return
		}
		c.lingerBudget -= int64(n)
		if n == len(b) {
			c.rearm() // a full buffer: the other ready connections come first
			return
		}
	}
}

// checkSocketError ends a connection that has failed. For one whose input is not wanted and
// that has nothing to write: no system call would return the error.
func (c *Conn) checkSocketError() {
	if e, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR); err == nil && e != 0 {
		c.kill(syscall.Errno(e))
	}
}

// kill ends the connection with err, after the present callback if there is one.
func (c *Conn) kill(err error) {
	if c.state >= dead {
		return
	}
	c.state, c.err = dead, err
	c.progressOrDefer()
}

// end closes the descriptor and calls Closed. From drive alone.
func (c *Conn) end() {
	c.removeFromLoop()
	if c.out != nil {
		c.out.releaseAll()
	}
	releaseBuffer(c.pending)
	c.pending = nil
	(*c.handler).Closed(c, c.err) // out is still there: Unsent says what was lost
	c.out, c.Context = nil, nil
}

// mustReset reports whether the peer must see a reset: it has an incomplete answer, and
// FIN would make it look complete.
func (c *Conn) mustReset() bool {
	switch c.err {
	case ErrAborted, ErrWriteTimeout:
		return true
	case ErrStopped:
		return c.out != nil
	}
	return errors.Is(c.err, ErrFile)
}

// removeFromLoop takes c off its loop's list, timers and poller, and closes the descriptor.
func (c *Conn) removeFromLoop() {
	l := c.loop
	c.state = closed
	c.timerLink.unlink()
	list, count := c.list()
	last := len(*list) - 1
	(*list)[c.index] = (*list)[last]
	(*list)[c.index].index = c.index
	(*list)[last] = nil
	*list = (*list)[:last]
	count.Add(-1)
	if c.mem == nil && c.fd >= 0 {
		if c.mustReset() {
			_ = socket.SetLinger(int(c.fd), 0) // close sends RST
		}
		if c.err == ErrDetached || c.attached {
			l.poller.removeShared(&c.att) // a duplicate keeps the socket open, or may
		} else {
			l.poller.remove(&c.att)
		}
		l.reactor.conns.clear(int(c.fd))
		_ = unix.Close(int(c.fd))
	}
}
