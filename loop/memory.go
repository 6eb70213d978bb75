package loop

import (
	"fmt"
	"io"
	"os"
)

// Memory is a connection without a socket, for tests and benchmarks of handlers:
// all of a Conn but the system calls. Its loop must not run.
type Memory struct {
	Conn *Conn
	Out  []byte // what the handler has sent; the owner may truncate it
}

// OpenMemory makes one on l.
func (l *Loop) OpenMemory() *Memory {
	m := &Memory{}
	m.Conn = &Conn{loop: l, fd: -1, mem: m}
	l.load.Add(1)
	m.Conn.enter()
	l.inCallback = true
	l.handler.Opened(m.Conn)
	m.Conn.progress()
	return m
}

// Feed offers b as if one read had brought it, and drives the connection until
// it waits for more. What a handler that has paused does not take now is offered
// when it resumes. A handler may retain b; then it must not be written to again.
func (m *Memory) Feed(b []byte) {
	c, l := m.Conn, m.Conn.loop
	switch {
	case c.state != open || c.eof:
		return
	case c.stash == nil && c.wantsInput():
		l.inCallback = true
		c.offerRead(b)
	default:
		if c.stash == nil {
			c.stash = takeBuffer()
		}
		c.stash.B = append(c.stash.B, b...)
		c.stashPending = true
	}
	c.progress()
	for c.yielding && c.state == open {
		c.event(0) // its next turn
	}
}

// EOF is the peer's half-close. A connection that is paused does not see it.
func (m *Memory) EOF() {
	c, l := m.Conn, m.Conn.loop
	if c.wantsInput() {
		c.eof = true
		l.inCallback = true
		l.handler.EOF(c)
	}
	c.progress()
}

// Closed says that the connection has ended.
func (m *Memory) Closed() bool { return m.Conn.state == closed }

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
