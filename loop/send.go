package loop

import "os"

// Send writes what the socket takes of b at once, and queues a copy of the rest. b is the
// caller's again when Send returns. An error ends the connection.
func (c *Conn) Send(b []byte) {
	if b = c.sendNow(b); len(b) > 0 {
		c.queue().copyBytes(b)
		c.afterQueueing()
	}
}

// SendBorrowed sends head as Send does, and then b without copying it; on Linux in one
// system call (writev). The caller must not change b until all output is sent ([Conn.Unsent]
// is 0; [Conn.AwaitSent] asks for a callback) or Closed was called.
func (c *Conn) SendBorrowed(head, b []byte) {
	if len(head) > 0 && len(b) > 0 && c.out == nil && c.mem == nil && c.canSend() {
		n, err := c.loop.vec.write(int(c.fd), head, b)
		if err != nil && err != errAgain {
			c.kill(err)
			c.queue().borrow(b) // only to count in Unsent
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
		c.afterQueueing()
	}
}

// AwaitSent asks for Drained when all output is sent; until then Full is true. Only while
// Unsent is not 0.
func (c *Conn) AwaitSent() { c.awaitingSent, c.full = true, true }

// SendFile sends head as Send does, and then n bytes of f from offset off, by sendfile(2) if
// it can send this file; on Linux in one packet if they fit (MSG_MORE). The caller keeps f
// open until all output is sent, as for SendBorrowed. If the file is shorter or cannot be
// read, the connection ends with an error that wraps [ErrFile].
func (c *Conn) SendFile(head []byte, f *os.File, off, n int64) {
	if n <= 0 || c.mem != nil {
		c.Send(head)
		if n > 0 && c.canSend() {
			c.mem.sendFile(f, off, n)
		}
		return
	}
	if !c.canSend() {
		return
	}
	if len(head) > 0 && c.out == nil {
		k, err := writeMore(int(c.fd), head)
		if err != nil && err != errAgain {
			c.kill(err) // what is queued below counts in Unsent
		}
		head = head[k:]
	}
	q := c.queue()
	q.copyBytes(head)
	q.fileRange(f, off, n)
	if c.canSend() {
		c.flush()
	}
	c.afterQueueing()
}

// canSend reports whether output is accepted.
func (c *Conn) canSend() bool { return c.state <= closing && !c.outputEnded }

// sendNow writes what the socket takes of b and returns the rest, which must be queued.
func (c *Conn) sendNow(b []byte) (rest []byte) {
	if !c.canSend() || len(b) == 0 {
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
		c.kill(err) // the rest is queued, and counts in Unsent
	}
	return b[n:]
}

// queue returns the queue of unsent output, and makes it if there is none.
func (c *Conn) queue() *outQueue {
	if c.out == nil {
		c.out = new(outQueue)
	}
	return c.out
}

// afterQueueing applies the high-water mark and starts the write timeout, if output waits.
func (c *Conn) afterQueueing() {
	if c.out == nil {
		return
	}
	// A file range takes no memory but keeps a file open: no more answers until it is sent.
	if c.out.bytes > c.loop.opt.HighWaterBytes || c.out.files > 0 {
		c.full = true
	}
	if c.writeDeadline == 0 {
		c.startWriteTimeout()
	}
}

// flush sends queued output, and restarts the write timeout if the socket took some.
func (c *Conn) flush() {
	q := c.out
	sent, err := q.flush(int(c.fd), &c.loop.vec)
	if err != nil && err != errAgain {
		c.kill(err)
		return
	}
	if sent > 0 {
		c.writeDeadline = 0
		if !q.empty() {
			c.startWriteTimeout()
		}
	}
	if q.empty() {
		c.out = nil
		if c.outputEnded {
			c.sendFIN()
		}
	} else if err == nil {
		c.rearm() // flushBytesMax is reached: the rest after the other ready connections
	}
	if c.full && (q.empty() || !c.awaitingSent && q.files == 0 && q.bytes <= c.loop.opt.lowWaterBytes) {
		c.full, c.awaitingSent, c.drainedDue = false, false, true
		c.progressOrDefer() // if all is sent at once no event comes that would call Drained
	}
}

// Full reports whether unsent output is over the high-water mark, or AwaitSent waits: the
// handler should send no more until Drained. No input is offered until then.
func (c *Conn) Full() bool { return c.full }

// Unsent returns the number of bytes that wait for the socket, those of files too. In
// Handler.Closed it is the number of bytes that were never written to the socket.
func (c *Conn) Unsent() int64 {
	if c.out == nil {
		return 0
	}
	return int64(c.out.bytes) + c.out.files
}

// UnsentFile returns the part of Unsent that is of files.
func (c *Conn) UnsentFile() int64 {
	if c.out == nil {
		return 0
	}
	return c.out.files
}

// Alive reports whether the connection is open, closing or not connected yet: not ended by
// Abort, Drop or an error.
func (c *Conn) Alive() bool { return c.state < dead }
