package loop

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/valyala/bytebufferpool"
	"golang.org/x/sys/unix"
)

// Conn is a connection: one that the loop has accepted, or of [Loop.Attach] or [Loop.Dial].
// All its methods are for the loop's goroutine.
//
// Its states, which only move forward:
//
//	connecting  of Attach and Dial: Opened was not called. Nothing is read, and nothing sent
//	open        input is read, answers are sent
//	closing     Close was called: output is flushed, then FIN is sent, and input is
//	            discarded until the peer's FIN, LingerBytes or LingerTime
//	dead        ended by Abort or an error; Closed follows when the present callback returns
//	closed      the descriptor is closed
type Conn struct {
	// Context belongs to the handler. The loop clears it after Closed.
	Context any

	loop    *Loop
	handler *ConnHandler // a pointer: 8 bytes less for each of those that share the handler of the loop
	fd      int32        // -1 if Dial got no descriptor
	index   int32        // place in list()

	state        connState
	readable     bool // an edge was seen and not used up: a read may find bytes
	readToEnd    bool // a hangup or urgent data was reported: read until EOF or EAGAIN, there may be no other edge
	hungUp       bool // it was a hangup: FIN of the peer, or a failure
	eof          bool // the peer's FIN was read
	paused       bool // Pause was called
	full         bool // output rose over the high-water mark and is not yet down at the low one
	awaitingSent bool // AwaitSent: full until all output is sent
	outputEnded  bool // FIN was sent, or follows what is queued: no more output is taken
	finSent      bool // shutdown(SHUT_WR) was called
	isDeferred   bool // in loop.deferred
	offerDue     bool // pending is to be offered again, without new bytes
	drainedDue   bool // Drained is to be called
	yielding     bool // Yield was called, and its event has not come
	retained     bool // Retain was called during this Input
	exited       bool // a callback has called runtime.Goexit

	mem     *Memory                    // takes the place of the socket; nil except in tests
	pending *bytebufferpool.ByteBuffer // input offered and not used; nil if none
	out     *outQueue                  // output not sent yet; nil if none

	unackedBefore   int   // bytes the peer had not acknowledged when writeDeadline was set
	handlerDeadline int64 // tick of Timeout, 0 none; after our FIN: the tick when a peer that acknowledges nothing is cut
	writeDeadline   int64 // tick when the peer must have taken output, or when lingering ends; 0 none
	lingerBudget    int64 // closing: bytes that may still be read and discarded
	timerLink       timer

	err        error // why it is dead
	remoteIP   netip.Addr
	remotePort uint16
	attached   bool // of Attach or Dial
	lingering  bool // closing, and LingerTime runs
	att        attachment
}

type connState uint8

const (
	open connState = iota
	closing
	connecting // behind the two that take output
	dead
	closed
)

// RemoteAddr returns the peer's address; the zero AddrPort on a Unix socket.
func (c *Conn) RemoteAddr() netip.AddrPort {
	if !c.remoteIP.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(c.remoteIP, c.remotePort)
}

// LocalAddr returns the address the peer has connected to; the zero AddrPort on a Unix
// socket. It asks the kernel (getsockname).
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

// startConn makes fd, an accepted socket, a connection of l.
func (l *Loop) startConn(fd int, remote netip.AddrPort) {
	c := &Conn{loop: l, handler: &l.acceptedHandler, fd: int32(fd), remoteIP: remote.Addr(), remotePort: remote.Port()}
	if !l.reactor.conns.set(fd, c) { // a number beyond the table
		l.connCount.Add(-1)
		_ = unix.Close(fd)
		return
	}
	c.addToLoop()
	l.poller.attach(&c.att, fd)
	if err := l.poller.add(&c.att); err != nil {
		c.removeFromLoop()
		return
	}
	// In a task (StopAccepting accepts what waits in the queue) c is driven when the task
	// has returned, like all connections that it changes; in an accept event, at once
	// after Opened. Opened itself is a callback in both cases.
	inTask := l.inCallback
	l.inCallback, l.current = true, c
	(*c.handler).Opened(c)
	l.inCallback = inTask
	c.progressOrDefer()
}

// addToLoop puts c on its loop's list.
func (c *Conn) addToLoop() {
	c.timerLink.conn = c
	list, _ := c.list()
	c.index = int32(len(*list))
	*list = append(*list, c)
}

// list returns the list that c is on, and its counter.
func (c *Conn) list() (*[]*Conn, *atomic.Int32) {
	if c.attached {
		return &c.loop.attached, &c.loop.attachedCount
	}
	return &c.loop.conns, &c.loop.connCount
}

// event tries what r, a hint, says is possible.
func (c *Conn) event(r readiness) {
	c.loop.inCallback = true
	if c.yielding && c.state == open {
		// The fresh event that Yield asked for: the turn of the others is over.
		c.yielding, c.drainedDue = false, true
		if c.out == nil {
			c.writeDeadline = 0
		}
	}
	if r&(readable|readToEnd) != 0 {
		c.readable = true
		if r&readToEnd != 0 {
			c.readToEnd = true
			c.hungUp = c.hungUp || r&peerEnded != 0
		}
	}
	if r&writable != 0 && c.out != nil {
		c.flush()
	}
	c.progress()
	// Still readable after a hangup: the input is not wanted now, so no read will meet the
	// error of a reset. Without this check a paused connection would survive its peer.
	if c.readToEnd && c.state == open && c.readable {
		c.checkSocketError()
		if r&peerEnded != 0 && c.state == open {
			c.loop.inCallback, c.loop.current = true, c
			(*c.handler).HungUp(c)
			c.loop.runDeferred()
		}
	}
}

// progress drives the connection as far as possible, and then those that its callbacks
// have changed. It never runs inside a callback: see progressOrDefer.
func (c *Conn) progress() {
	c.loop.inCallback = true
	c.drive()
	c.loop.runDeferred()
}

// drive makes the callbacks that are due, then one read; and closes what is to be closed.
// All callbacks except Opened, HungUp, Timeout, Exited and Tick are made here.
func (c *Conn) drive() {
	l := c.loop
	l.current = c
	for again := true; again && c.state == open; again = c.drainedDue || c.offerDue && c.wantsInput() {
		if c.drainedDue {
			c.drainedDue = false
			c.offerDue = true // the handler may have stopped using input because output was full
			(*c.handler).Drained(c)
		}
		if c.offerDue && c.wantsInput() {
			c.offerDue = false
			c.offerPending()
		}
		if c.readable && c.wantsInput() {
			c.read()
		}
	}
	if c.state != open {
		c.driveNotOpen()
	}
}

// driveNotOpen is drive in the other states.
func (c *Conn) driveNotOpen() {
	if c.state == connecting && c.finishConnect() {
		c.drive()
		return
	}
	if c.state == closing {
		c.lingeringClose()
	}
	if c.state == dead {
		c.end()
	}
}

// progressOrDefer drives the connection after a change: at once, or when the callback or
// task that made the change has returned. So callbacks never nest.
func (c *Conn) progressOrDefer() {
	switch {
	case !c.loop.inCallback:
		c.progress()
	case !c.isDeferred:
		c.isDeferred = true
		c.loop.deferred = append(c.loop.deferred, c)
	}
}

// runDeferred ends a callback or task: it drives the connections that it has changed.
func (l *Loop) runDeferred() {
	for len(l.deferred) > 0 {
		last := len(l.deferred) - 1
		c := l.deferred[last]
		l.deferred[last] = nil
		l.deferred = l.deferred[:last]
		c.isDeferred = false
		c.drive()
	}
	l.inCallback = false
}

// wantsInput reports whether Input may be called now.
func (c *Conn) wantsInput() bool {
	return c.state == open && !c.paused && !c.full && !c.eof && !c.yielding
}

// read reads once and offers the bytes. A read that did not fill its buffer has emptied
// the socket: the read that would return EAGAIN is saved. After a hangup it reads on until
// EOF or EAGAIN, since no other edge announces the end.
func (c *Conn) read() {
	for {
		b := c.loop.readSpace()
		if c.pending != nil {
			b = c.pendingSpace()
		}
		n, err := read(int(c.fd), b)
		switch {
		case err == errAgain:
			// After the hangup of a peer the read returns 0 or an error. EAGAIN says that
			// it was a stale event, or urgent data, which is read by now.
			c.readable, c.readToEnd, c.hungUp = false, false, false
			return
		case err != nil:
			c.kill(err)
			return
		case n == 0:
			c.readable, c.eof = false, true
			(*c.handler).EOF(c)
			return
		}
		filled := n == len(b)
		if !filled && !c.readToEnd {
			c.readable = false
		}
		if c.pending != nil {
			c.pending.B = c.pending.B[:len(c.pending.B)+n]
			c.offerPending()
		} else {
			c.offerRead(b[:n])
		}
		if !c.wantsInput() || !c.readable {
			return
		}
		if filled {
			c.rearm() // there may be more: a fresh event comes behind the other ready connections
			return
		}
	}
}

// offerRead offers b, a part of the loop's buffer, and copies what is not used to pending.
func (c *Conn) offerRead(b []byte) {
	c.loop.lastReadBytes = len(b)
	used := (*c.handler).Input(c, b)
	if used < len(b) && c.state == open {
		c.pending = acquireBuffer()
		c.pending.B = append(c.pending.B, b[used:]...)
	}
	if c.retained {
		c.retained = false
		if c.mem == nil {
			c.loop.retain(len(b)) // after the copy above: b is the handler's from now on
		}
	}
}

// offerPending offers the pending bytes again and keeps what is not used.
func (c *Conn) offerPending() {
	if c.pending == nil {
		return
	}
	s := c.pending
	c.pending = nil
	used := (*c.handler).Input(c, s.B)
	rest := s.B[used:]
	if c.state != open {
		rest = nil // Input is not called any more
	}
	switch {
	case c.retained: // s is the handler's, and the collector frees it: keep a copy of the rest
		c.retained = false
		if len(rest) > 0 {
			c.pending = acquireBuffer()
			c.pending.B = append(c.pending.B, rest...)
		}
	case len(rest) == 0:
		releaseBuffer(s)
	default:
		s.B = s.B[:copy(s.B, rest)]
		c.pending = s
	}
}

// pendingSpace returns free space behind the pending bytes, to read into. The buffer
// doubles, so input that comes byte by byte is copied a constant number of times; its size
// is bounded by what the handler accepts as an incomplete message.
func (c *Conn) pendingSpace() []byte {
	const spaceMin = 2 << 10 // a usual request head fits after the first growth
	b := c.pending.B
	if cap(b)-len(b) < spaceMin {
		grown := make([]byte, len(b), max(2*cap(b), len(b)+spaceMin))
		copy(grown, b)
		c.pending.B, b = grown, grown
	}
	space := b[len(b):cap(b)]
	return space[:min(len(space), c.loop.opt.ReadBytes)]
}

// Retain says that the handler keeps views of the bytes of this Input after the call. The
// loop does not write to them again; the collector frees them. For use during Input.
func (c *Conn) Retain() { c.retained = true }

// Pause stops input until Resume: Input and EOF are not called, and nothing is read.
func (c *Conn) Pause() { c.paused = true }

// Paused reports whether Pause was called, and not Resume since.
func (c *Conn) Paused() bool { return c.paused }

// HungUp reports whether the poller has reported that the peer has sent FIN or that the
// connection has failed. Input that came before may be unread. Handler.HungUp says this
// once, when it happens.
func (c *Conn) HungUp() bool { return c.hungUp }

// Resume continues input after Pause. Bytes that were offered and not used are offered again.
func (c *Conn) Resume() {
	c.paused, c.offerDue = false, true
	c.progressOrDefer()
}

// Yield ends the turn of c: Drained is called, and unused input offered again, after the
// other ready connections have had their turn and when the socket has room for output. No
// input is offered until then. A peer that makes no room for WriteTimeout is cut.
func (c *Conn) Yield() {
	if c.state != open {
		return
	}
	c.yielding = true
	if c.out == nil && c.mem == nil {
		c.startWriteTimeout()
	}
	c.rearm()
}

// Wake makes Drained come: at once, or when the present callback or task has returned.
func (c *Conn) Wake() {
	c.drainedDue = true
	c.progressOrDefer()
}

// Yielded reports whether Yield was called, and its Drained has not come.
func (c *Conn) Yielded() bool { return c.yielding }

// rearm asks the poller for a fresh event, which comes behind those of all other ready
// connections. If the kernel refuses, the connection ends.
func (c *Conn) rearm() {
	if c.state >= dead {
		return
	}
	if c.mem != nil {
		c.mem.rearm()
		return
	}
	if err := c.loop.poller.rearm(&c.att); err != nil {
		c.kill(err)
	}
}

// Unused returns the number of bytes that Input has not used and is offered again.
func (c *Conn) Unused() int {
	if c.pending == nil {
		return 0
	}
	return len(c.pending.B)
}

// Unread reports whether the socket has bytes that were not read. It asks the kernel
// (MSG_PEEK).
func (c *Conn) Unread() bool {
	if c.state >= dead || c.mem != nil {
		return false
	}
	var b [1]byte
	n, _, err := unix.Recvfrom(int(c.fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil && err != errAgain && err != unix.EINTR {
		c.kill(err) // a reset: the kernel reports it once, and a later read would not see it
	}
	return err == nil && n > 0
}

// SetTimeout makes Timeout come after d, or never for 0. Each call replaces the one
// before. While deadlines only move later a call costs one store (see wheel).
func (c *Conn) SetTimeout(d time.Duration) {
	c.handlerDeadline = 0
	if d > 0 {
		c.handlerDeadline = c.loop.due(d)
		c.loop.timers.schedule(&c.timerLink, c.handlerDeadline)
	}
}

// setWriteDeadline makes onWriteDeadline run after d.
func (c *Conn) setWriteDeadline(d time.Duration) {
	c.writeDeadline = c.loop.due(d)
	c.loop.timers.schedule(&c.timerLink, c.writeDeadline)
}

// startWriteTimeout gives the peer WriteTimeout from now to take output.
func (c *Conn) startWriteTimeout() {
	c.unackedBefore = unacknowledged(int(c.fd))
	c.setWriteDeadline(c.loop.opt.WriteTimeout)
}

// onWriteDeadline ends a connection whose peer has taken nothing since the deadline was
// set. An event of the socket is no measure of that: the kernel calls a socket writable when
// a third of its send buffer is free, so a peer that reads 2 KiB/s makes none for minutes.
// But what the peer reads it acknowledges, and the kernel knows how much.
func (c *Conn) onWriteDeadline() {
	c.writeDeadline = 0
	if c.state == connecting {
		c.kill(fmt.Errorf("%w: tcp %v", ErrDialTimeout, c.RemoteAddr()))
		return
	}
	unacked := unacknowledged(int(c.fd))
	took := unacked < c.unackedBefore
	c.unackedBefore = unacked
	if !c.lingering {
		if took {
			c.setWriteDeadline(c.loop.opt.WriteTimeout)
		} else {
			c.kill(ErrWriteTimeout)
		}
		return
	}
	// After FIN: LingerTime is over. The handler's deadline is free to use, since Timeout
	// is not called in this state.
	if took {
		c.handlerDeadline = c.loop.due(c.loop.opt.WriteTimeout)
	}
	if unacked == 0 || c.handlerDeadline <= c.loop.timers.now {
		c.kill(nil) // the peer has the whole answer, or has taken nothing of it for WriteTimeout
	} else {
		c.setWriteDeadline(c.loop.opt.LingerTime)
	}
}

// onTimer is called by the wheel: a deadline of c may have passed.
func (c *Conn) onTimer() {
	now := c.loop.timers.now
	if c.writeDeadline != 0 && c.writeDeadline <= now {
		c.onWriteDeadline()
	}
	if c.handlerDeadline != 0 && c.handlerDeadline <= now && c.state == open {
		c.handlerDeadline = 0
		c.loop.inCallback, c.loop.current = true, c
		(*c.handler).Timeout(c)
		c.loop.runDeferred()
	}
	c.scheduleTimer()
	c.progress()
}

// scheduleTimer makes the wheel call onTimer for the earlier of the two deadlines.
func (c *Conn) scheduleTimer() {
	for _, due := range [...]int64{c.writeDeadline, c.handlerDeadline} {
		if due > c.loop.timers.now && c.state < dead {
			c.loop.timers.schedule(&c.timerLink, due)
		}
	}
}
