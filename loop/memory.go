package loop

import (
	"fmt"
	"io"
	"os"
)

// Memory is a connection without a socket, for tests and benchmarks of handlers: a Conn
// without the system calls. Its loop must not run.
type Memory struct {
	Conn *Conn
	Out  []byte // what the handler has sent; the caller may truncate it

	feeding bool // Feed drives the connection
}

// OpenMemory opens a Memory on l, and calls Opened.
func (l *Loop) OpenMemory() *Memory {
	m := &Memory{}
	m.Conn = &Conn{loop: l, handler: &l.acceptedHandler, fd: -1, mem: m}
	l.connCount.Add(1)
	m.Conn.addToLoop()
	l.inCallback = true
	l.acceptedHandler.Opened(m.Conn)
	m.Conn.progress()
	return m
}

// Feed offers b as if one read had returned it, and drives the connection until it waits
// for more. While the handler has paused, b is kept and offered after Resume. If the
// handler retains b the caller must not write to it again.
func (m *Memory) Feed(b []byte) {
	c, l := m.Conn, m.Conn.loop
	m.feeding = true
	defer func() { m.feeding = false }()
	switch {
	case c.state != open || c.eof:
		return
	case c.pending == nil && c.wantsInput():
		l.inCallback = true
		c.offerRead(b)
	default:
		if c.pending == nil {
			c.pending = acquireBuffer()
		}
		c.pending.B = append(c.pending.B, b...)
		c.offerDue = true
	}
	c.progress()
	for c.yielding && c.state == open {
		c.event(0) // in place of the fresh event that Yield asks for
	}
}

// rearm makes the fresh event for a connection that yields when a worker has woken it: Feed makes its own.
func (m *Memory) rearm() {
	if c := m.Conn; c.yielding && !m.feeding {
		c.loop.Do(func() {
			if c.yielding && c.state == open {
				c.event(0)
			}
		})
	}
}

// EOF is a half-close by the peer. While input is not wanted it does nothing.
func (m *Memory) EOF() {
	c, l := m.Conn, m.Conn.loop
	if c.wantsInput() {
		c.eof = true
		l.inCallback = true
		(*c.handler).EOF(c)
	}
	c.progress()
}

// sendFile is Conn.SendFile, without the head.
func (m *Memory) sendFile(f *os.File, off, n int64) {
	b, err := io.ReadAll(io.NewSectionReader(f, off, n))
	m.Out = append(m.Out, b...)
	if err == nil && int64(len(b)) < n {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		m.Conn.kill(fmt.Errorf("%w: %w", ErrFile, err))
	}
}
