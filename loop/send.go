package loop

import "os"

// Send sends b: at once what the socket takes, the rest later, from a copy. b is
// the caller's again when Send returns. Errors end the connection.
func (c *Conn) Send(b []byte) {
	if b = c.sendNow(b); len(b) > 0 {
		c.queue().copyBytes(b)
		c.queued()
	}
}

// SendBorrowed sends head as Send does and b behind it, in one call to the kernel
// where it offers one, and without copying b: b must not change until all is
// sent, which [Conn.Unsent] tells now and [Conn.AwaitSent] later, or c is closed.
func (c *Conn) SendBorrowed(head, b []byte) {
	if len(head) > 0 && len(b) > 0 && c.out == nil && c.mem == nil && c.sending() {
		n, err := c.loop.vec.write(int(c.fd), head, b)
		if err != nil && err != errAgain {
			c.kill(err)
			c.queue().borrow(b) // counts as Unsent
			return
		}
		head, b = head[min(n, len(head)):], b[max(0, n-len(head)):]
		if len(head)+len(b) == 0 {
			return
		}
	}
	c.Send(head)
	if b = c.sendNow(b); len(b) > 0 {
		c.queue().borrow(b)
		c.queued()
	}
}

// AwaitSent asks for Drained when all output is sent; until then Full is true.
// To be called only while Unsent is not 0.
func (c *Conn) AwaitSent() { c.awaitingSent, c.full = true, true }

// SendFile sends head as Send does and n bytes of f from offset off behind it, by
// sendfile(2) where the system can, in one packet if they fit and the kernel offers
// it. f must stay open until all is sent, which [Conn.Unsent] tells now and
// [Conn.AwaitSent] later, or c is closed. A file that is shorter, or cannot be read,
// ends the connection with an error that is [ErrFile].
func (c *Conn) SendFile(head []byte, f *os.File, off, n int64) {
	if n <= 0 || c.mem != nil {
		c.Send(head)
		if n > 0 && c.sending() {
			c.mem.sendFile(f, off, n)
		}
		return
	}
	if !c.sending() {
		return
	}
	if len(head) > 0 && c.out == nil {
		k, err := writeMore(int(c.fd), head)
		if err != nil && err != errAgain {
			c.kill(err) // the rest counts as Unsent
		}
		head = head[k:]
	}
	q := c.queue()
	q.copyBytes(head)
	q.fileRange(f, off, n)
	if c.sending() {
		c.flush()
	}
	c.queued()
}

// sending says whether output can still be taken.
func (c *Conn) sending() bool { return c.state <= closing && !c.finSent }

// sendNow writes what the socket takes of b and returns what must be queued.
func (c *Conn) sendNow(b []byte) (rest []byte) {
	if !c.sending() || len(b) == 0 {
		return nil
	}
	if c.out != nil {
		return b
	}
	if c.mem != nil {
		c.mem.Out = append(c.mem.Out, b...)
		return nil
	}
	n, err := write(int(c.fd), b)
	if err != nil && err != errAgain {
		c.kill(err) // b counts as Unsent
	}
	return b[n:]
}

func (c *Conn) queue() *outQueue {
	if c.out == nil {
		c.out = new(outQueue)
	}
	return c.out
}

// queued takes note that output waits for the socket.
func (c *Conn) queued() {
	if c.out == nil {
		return
	}
	if c.out.bytes > c.loop.opt.HighWaterBytes || c.out.files > 0 {
		c.full = true
	}
	if c.stall == 0 {
		c.stallOutput()
	}
}

// flush sends queued output and takes note of what became of it.
func (c *Conn) flush() {
	q := c.out
	sent, err := q.flush(int(c.fd), &c.loop.vec)
	if err != nil && err != errAgain {
		c.kill(err)
		return
	}
	if sent > 0 {
		c.stall = 0
		if !q.empty() {
			c.stallOutput()
		}
	}
	if q.empty() {
		c.out = nil
	} else if err == nil {
		c.rearm() // the turn's share is used up, the socket takes more
	}
	if c.full && (q.empty() || !c.awaitingSent && q.files == 0 && q.bytes <= c.loop.opt.LowWaterBytes) {
		c.full, c.awaitingSent, c.drainedDue = false, false, true
		c.act() // no event may come any more
	}
}

// Full says that output is over the high-water mark: the handler should make no
// more until Drained. No input is offered meanwhile.
func (c *Conn) Full() bool { return c.full }

// Unsent is the number of bytes that wait for the socket, those of files too. In
// Handler.Closed it is what the peer was not sent any more.
func (c *Conn) Unsent() int64 {
	if c.out == nil {
		return 0
	}
	return int64(c.out.bytes) + c.out.files
}

// UnsentFile is the part of Unsent that is of files.
func (c *Conn) UnsentFile() int64 {
	if c.out == nil {
		return 0
	}
	return c.out.files
}

// Alive says that the connection has not been ended by Abort or an error.
func (c *Conn) Alive() bool { return c.state < dead }
