package loop

import (
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
	l.busy = true
	l.handler.Opened(m.Conn)
	m.Conn.progress()
	return m
}

// Feed offers b as if one read had brought it, and drives the connection until
// it waits for more.
func (m *Memory) Feed(b []byte) {
	c, l := m.Conn, m.Conn.loop
	if c.wantsInput() {
		l.busy = true
		if c.stash == nil {
			c.offerRead(b)
		} else {
			c.stash.B = append(c.stash.B, b...)
			c.offerStash()
		}
	}
	for {
		c.progress()
		if c.state != open || !c.drained {
			return
		}
	}
}

// EOF is the peer's half-close.
func (m *Memory) EOF() {
	c, l := m.Conn, m.Conn.loop
	if c.wantsInput() {
		c.eof = true
		l.busy = true
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
		m.Conn.kill(err)
	}
}
