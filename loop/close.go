package loop

import (
	"errors"
	"math"
	"syscall"

	"github.com/panjf2000/gnet/v2/pkg/socket"
	"golang.org/x/sys/unix"
)

// Close ends the connection in order: what was sent before still reaches the
// peer, then FIN; what the peer still sends is thrown away for a while, so that
// no reset destroys the answer (RFC 9112 section 9.6). Input is not offered any
// more.
func (c *Conn) Close() {
	if c.state != open {
		return
	}
	c.state = closing
	c.deadline = 0
	c.drainBudget = c.loop.opt.LingerBytes
	c.act()
}

// CloseIdle is Close for a connection on which nothing is under way: it does not wait for
// a peer that has acknowledged all that was sent, since there is no answer that a reset
// could destroy. Many peers look at an idle connection when they need one, and until then
// would keep it for LingerTime.
func (c *Conn) CloseIdle() {
	if c.state == open && c.out == nil && c.mem == nil && unacknowledged(int(c.fd)) == 0 {
		c.Drop()
		return
	}
	c.Close()
}

// Abort ends the connection now. Unsent output is lost, and the peer sees a reset
// rather than an end: what it has is not whole.
func (c *Conn) Abort() { c.kill(ErrAborted) }

// Drop ends the connection now, without waiting for anything. Unsent output is
// lost; where there is none and all input was read, the peer sees an end in order.
// For connections that are idle, and where even waiting would cost too much.
func (c *Conn) Drop() { c.kill(nil) }

// windUp is progress for a closing connection: FIN when all is sent, then the
// drain. While output is left input is thrown away too, or a peer that sends
// before it reads would wait for us as we for it.
func (c *Conn) lingeringClose() {
	giveBuffer(c.stash)
	c.stash = nil
	if c.mem != nil {
		c.kill(nil)
		return
	}
	if c.out == nil && !c.finSent && !c.eof {
		if err := unix.Shutdown(int(c.fd), unix.SHUT_WR); err != nil {
			c.kill(err)
			return
		}
		c.finSent = true
		c.unackedAtStall = math.MaxInt // the kernel was not asked: the first look finds progress
		c.setStall(c.loop.opt.LingerTime)
	}
	if c.readable && !c.eof {
		c.drain()
	}
	if c.out == nil && c.eof && c.state == closing {
		c.kill(nil)
	}
}

// drain throws input away, one buffer a turn, and LingerBytes at most. What comes after
// that stays in the socket: flow control stops the peer, which can read its answer until
// LingerTime is over. To close at once would reset the connection under that answer.
func (c *Conn) drain() {
	b := c.loop.input()
	for c.drainBudget > 0 || c.hangupSeen { // after a hangup no more than the socket holds can come
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
		c.drainBudget -= int64(n)
		if n == len(b) {
			c.rearm()
			return
		}
	}
}

// checkHangup looks whether a connection whose input is not wanted now has
// failed: with nothing to write, only SO_ERROR tells.
func (c *Conn) checkHangup() {
	if e, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR); err == nil && e != 0 {
		c.kill(syscall.Errno(e))
	}
}

// kill ends the connection, when no callback is at work any more.
func (c *Conn) kill(err error) {
	if c.state >= dead {
		return
	}
	c.state, c.err = dead, err
	c.act()
}

// end closes the descriptor and takes leave of the handler. From progress alone.
func (c *Conn) end() {
	c.forget()
	if c.out != nil {
		c.out.discard()
	}
	giveBuffer(c.stash)
	c.stash = nil
	c.loop.handler.Closed(c, c.err)
	c.out, c.Context = nil, nil
}

// cut says that the peer must not take what it got for all there is.
func (c *Conn) mustReset() bool {
	switch c.err {
	case ErrAborted, ErrWriteStall:
		return true
	case ErrStopped:
		return c.out != nil
	}
	return errors.Is(c.err, ErrFile)
}

// forget removes c from the loop and closes its descriptor.
func (c *Conn) forget() {
	l := c.loop
	c.state = closed
	c.timeout.unlink()
	last := len(l.conns) - 1
	l.conns[c.index] = l.conns[last]
	l.conns[c.index].index = c.index
	l.conns[last] = nil
	l.conns = l.conns[:last]
	l.load.Add(-1)
	if c.mem == nil {
		if c.mustReset() {
			_ = socket.SetLinger(int(c.fd), 0) // close resets
		}
		if c.err == ErrDetached {
			l.poller.removeShared(&c.att)
		} else {
			l.poller.remove(&c.att)
		}
		l.reactor.conns.clear(int(c.fd))
		_ = unix.Close(int(c.fd))
	}
}
