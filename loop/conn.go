package loop

import (
	"net/netip"
	"time"

	"github.com/valyala/bytebufferpool"
	"golang.org/x/sys/unix"
)

// Conn is a connection. All its methods are for the loop's goroutine.
//
// Its life, each step only forward:
//
//	open     input is read, answers are sent
//	closing  Close was called: output is flushed, then FIN, and input that still
//	         comes is thrown away until the peer's FIN, LingerBytes or LingerTime
//	dead     ended by Abort or an error; the callback at hand still returns
//	closed   the descriptor is gone
type Conn struct {
	// Context is the handler's.
	Context any

	loop  *Loop
	fd    int32
	index int32 // place in loop.conns

	state        connState
	readable     bool // an edge was seen and not used up: a read may find bytes
	hangupSeen   bool // hangup was seen: read to the end, no other edge will come
	eof          bool // the peer's FIN was read
	paused       bool // by the handler
	full         bool // output is over the high mark and not yet at the low one
	awaitingSent bool // the handler waits until all output is sent
	finSent      bool
	isDeferred   bool // in loop.later
	stashPending bool // the stash should be offered again without new bytes
	drainedDue   bool // Drained is due
	yielding     bool // it will be at the next event
	retained     bool // Retain was called during this Input
	exited       bool // a callback has called runtime.Goexit

	mem   *Memory                    // takes the place of the socket; nil but in tests
	stash *bytebufferpool.ByteBuffer // input not used yet; nil if none
	out   *outQueue                  // output not sent yet; nil if none

	unackedAtStall int   // bytes that the peer had not acknowledged when stall was set
	deadline       int64 // tick of the handler's timeout, 0 none; after FIN of the end of a peer that acknowledges nothing
	stall          int64 // tick at which the write stalls or the drain ends, 0 none
	drainBudget    int64 // closing: bytes still thrown away before reading stops
	timeout        timer

	err    error // why it is dead
	remote netip.AddrPort
	att    attachment
}

type connState uint8

const (
	open connState = iota
	closing
	dead
	closed
)

// Loop is the loop that c belongs to for all its life.
func (c *Conn) Loop() *Loop { return c.loop }

// RemoteAddr is the peer's address; the zero AddrPort on a Unix socket.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.remote }

// LocalAddr is the address the peer connected to; the zero AddrPort on a Unix
// socket. It asks the kernel.
func (c *Conn) LocalAddr() netip.AddrPort {
	if c.state >= dead {
		return netip.AddrPort{}
	}
	sa, err := unix.Getsockname(int(c.fd))
	if err != nil {
		return netip.AddrPort{}
	}
	return addrPort(sa)
}

// start registers an accepted connection with its loop.
func (l *Loop) start(fd int, remote netip.AddrPort) {
	c := &Conn{loop: l, fd: int32(fd), remote: remote}
	if !l.reactor.conns.set(fd, c) {
		l.load.Add(-1)
		_ = unix.Close(fd)
		return
	}
	c.enter()
	l.poller.attach(&c.att, fd)
	if err := l.poller.add(&c.att); err != nil {
		c.forget()
		return
	}
	inTask := l.inCallback // one that is not to be held by what comes next
	l.inCallback, l.current = true, c
	l.handler.Opened(c)
	l.inCallback = inTask
	c.act()
}

// enter puts c on its loop's list.
func (c *Conn) enter() {
	c.timeout.conn = c
	c.index = int32(len(c.loop.conns))
	c.loop.conns = append(c.loop.conns, c)
}

// event lets the connection try what r says it could.
func (c *Conn) event(r readiness) {
	c.loop.inCallback = true
	if c.yielding && c.state == open {
		c.yielding, c.drainedDue = false, true
		if c.out == nil {
			c.stall = 0
		}
	}
	if r&(readable|hangup) != 0 {
		c.readable = true
		if r&hangup != 0 {
			c.hangupSeen = true
		}
	}
	if r&writable != 0 && c.out != nil {
		c.flush()
	}
	c.progress()
	if c.hangupSeen && c.state == open && c.readable {
		c.checkHangup()
		if r&ended != 0 && c.state == open {
			c.loop.inCallback, c.loop.current = true, c
			c.loop.handler.Hungup(c)
			c.loop.settle()
		}
	}
}

// progress drives the connection as far as it goes now: what is due to the
// handler first, then one read. All callbacks but Opened, Timeout and Tick come
// from here, and it is not entered while one runs: act sees to that.
func (c *Conn) progress() {
	c.loop.inCallback = true
	c.advance()
	c.loop.settle()
}

func (c *Conn) advance() {
	l := c.loop
	l.current = c
	for again := true; again && c.state == open; again = c.drainedDue || c.stashPending && c.wantsInput() {
		if c.drainedDue {
			c.drainedDue = false
			c.stashPending = true
			l.handler.Drained(c)
		}
		if c.stashPending && c.wantsInput() {
			c.stashPending = false
			c.offerStash()
		}
		if c.readable && c.wantsInput() {
			c.read()
		}
	}
	if c.state == closing {
		c.lingeringClose()
	}
	if c.state == dead {
		c.end()
	}
}

// act drives the connection after something about it has changed: now, or when
// the callback or task that changed it has returned.
func (c *Conn) act() {
	switch {
	case !c.loop.inCallback:
		c.progress()
	case !c.isDeferred:
		c.isDeferred = true
		c.loop.deferred = append(c.loop.deferred, c)
	}
}

// settle ends a busy time: it drives the connections that were changed in it.
func (l *Loop) settle() {
	for len(l.deferred) > 0 {
		last := len(l.deferred) - 1
		c := l.deferred[last]
		l.deferred[last] = nil
		l.deferred = l.deferred[:last]
		c.isDeferred = false
		c.advance()
	}
	l.inCallback = false
}

// wantsInput says whether the handler should be given bytes now.
func (c *Conn) wantsInput() bool {
	return c.state == open && !c.paused && !c.full && !c.eof && !c.yielding
}

// read reads once and offers the bytes. A read that did not fill its buffer has
// emptied the socket: reading on to see EAGAIN would be one call wasted. The
// exception is after a hangup, since no other edge will announce the end.
func (c *Conn) read() {
	for {
		b := c.loop.input()
		if c.stash != nil {
			b = c.stashSpace()
		}
		n, err := read(int(c.fd), b)
		switch {
		case err == errAgain:
			c.readable, c.hangupSeen = false, false // a hangup would have been seen here
			return
		case err != nil:
			c.kill(err)
			return
		case n == 0:
			c.readable, c.eof = false, true
			c.loop.handler.EOF(c)
			return
		}
		filled := n == len(b)
		if !filled && !c.hangupSeen {
			c.readable = false
		}
		if c.stash != nil {
			c.stash.B = c.stash.B[:len(c.stash.B)+n]
			c.offerStash()
		} else {
			c.offerRead(b[:n])
		}
		if !c.wantsInput() || !c.readable {
			return
		}
		if filled {
			c.rearm() // others first
			return
		}
	}
}

// offerRead offers bytes of the loop's buffer and stashes what is not used.
func (c *Conn) offerRead(b []byte) {
	c.loop.inRead = len(b)
	used := c.loop.handler.Input(c, b)
	if used < len(b) && c.state == open {
		c.stash = takeBuffer()
		c.stash.B = append(c.stash.B, b[used:]...)
	}
	if c.retained {
		c.retained = false
		if c.mem == nil {
			c.loop.retain(len(b))
		}
	}
}

// offerStash offers the stash and keeps what is not used.
func (c *Conn) offerStash() {
	if c.stash == nil {
		return
	}
	s := c.stash
	c.stash = nil
	used := c.loop.handler.Input(c, s.B)
	rest := s.B[used:]
	if c.state != open {
		rest = nil // nobody will ask for it
	}
	switch {
	case c.retained: // s is left to the collector
		c.retained = false
		if len(rest) > 0 {
			c.stash = takeBuffer()
			c.stash.B = append(c.stash.B, rest...)
		}
	case len(rest) == 0:
		giveBuffer(s)
	default:
		s.B = s.B[:copy(s.B, rest)]
		c.stash = s
	}
}

// stashSpace returns free space behind the stash. It doubles, so that input
// which comes in drips is copied a constant number of times; what the handler
// accepts as an incomplete message bounds it.
func (c *Conn) stashSpace() []byte {
	const least = 2 << 10 // a usual head fits with the first growth
	b := c.stash.B
	if cap(b)-len(b) < least {
		grown := make([]byte, len(b), max(2*cap(b), len(b)+least))
		copy(grown, b)
		c.stash.B, b = grown, grown
	}
	space := b[len(b):cap(b)]
	return space[:min(len(space), c.loop.opt.ReadBytes)]
}

// Retain says that the handler keeps views of the bytes of this Input beyond the
// call. The loop does not write to them again; the collector frees them.
func (c *Conn) Retain() { c.retained = true }

// Pause stops the reading of input until Resume.
func (c *Conn) Pause() { c.paused = true }

// Paused says that Pause was called, and not yet Resume.
func (c *Conn) Paused() bool { return c.paused }

// Hung reports whether the peer has ended its side, as far as events have told: Hungup
// says so only once, and what had come before may not have been read yet.
func (c *Conn) Hung() bool { return c.hangupSeen }

// Resume goes on with input, also with that which was offered before.
func (c *Conn) Resume() {
	c.paused, c.stashPending = false, true
	c.act()
}

// Yield asks for Drained in a later turn, when the other connections that are
// ready have had theirs and the socket has room, and for the bytes of Input that were
// not used. No input is offered until then. The peer has WriteStall to make room, as for
// output that waits.
func (c *Conn) Yield() {
	if c.state != open {
		return
	}
	c.yielding = true
	if c.out == nil && c.mem == nil {
		c.stallOutput()
	}
	c.rearm()
}

// Yielded reports whether Yield was called, and its later turn has not come.
func (c *Conn) Yielded() bool { return c.yielding }

// rearm asks the poller for another event. If it cannot, the connection is lost.
func (c *Conn) rearm() {
	if c.state > closing || c.mem != nil {
		return
	}
	if err := c.loop.poller.rearm(&c.att); err != nil {
		c.kill(err)
	}
}

// Unused is the number of bytes that were offered and wait to be offered again.
func (c *Conn) Unused() int {
	if c.stash == nil {
		return 0
	}
	return len(c.stash.B)
}

// Unread reports whether bytes have come that were not read yet. It asks the kernel,
// without taking them.
func (c *Conn) Unread() bool {
	if c.state >= dead || c.mem != nil {
		return false
	}
	var b [1]byte
	n, _, err := unix.Recvfrom(int(c.fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil && err != errAgain && err != unix.EINTR {
		c.kill(err) // a reset: the kernel tells it once, and no read would see it any more
	}
	return err == nil && n > 0
}

// SetTimeout makes Timeout come after d, or never for 0. A later call replaces
// an earlier one. It costs a store as long as deadlines only move away.
func (c *Conn) SetTimeout(d time.Duration) {
	c.deadline = 0
	if d > 0 {
		c.deadline = c.loop.due(d)
		c.loop.timers.schedule(&c.timeout, c.deadline)
	}
}

// setStall makes the connection end after d, unless the peer takes output until then.
func (c *Conn) setStall(d time.Duration) {
	c.stall = c.loop.due(d)
	c.loop.timers.schedule(&c.timeout, c.stall)
}

// stallOutput is setStall for output that the peer should take.
func (c *Conn) stallOutput() {
	c.unackedAtStall = unacknowledged(int(c.fd))
	c.setStall(c.loop.opt.WriteStall)
}

// stalled ends a connection whose peer has taken nothing in its time. The kernel calls a
// socket writable when a third of its buffer is free, so a peer that reads 2 KiB/s makes no
// event for minutes; what it reads it acknowledges.
func (c *Conn) stalled() {
	c.stall = 0
	held := unacknowledged(int(c.fd))
	took := held < c.unackedAtStall
	c.unackedAtStall = held
	if !c.finSent {
		if took {
			c.setStall(c.loop.opt.WriteStall)
		} else {
			c.kill(ErrWriteStall)
		}
		return
	}
	if took {
		c.deadline = c.loop.due(c.loop.opt.WriteStall)
	}
	if held == 0 || c.deadline <= c.loop.timers.now {
		c.kill(nil) // the answer is out and the peer had its time
	} else {
		c.setStall(c.loop.opt.LingerTime)
	}
}

// timer is the wheel's call: something may be due.
func (c *Conn) timer() {
	now := c.loop.timers.now
	if c.stall != 0 && c.stall <= now {
		c.stalled()
	}
	if c.deadline != 0 && c.deadline <= now && c.state == open {
		c.deadline = 0
		c.loop.inCallback, c.loop.current = true, c
		c.loop.handler.Timeout(c)
		c.loop.settle()
	}
	c.schedule()
	c.progress()
}

// schedule makes sure that timer is called for what is due first.
func (c *Conn) schedule() {
	for _, due := range [...]int64{c.stall, c.deadline} {
		if due > c.loop.timers.now && c.state <= closing {
			c.loop.timers.schedule(&c.timeout, due)
		}
	}
}
