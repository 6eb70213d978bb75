package server

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// tlsConn is the socket below a TLS connection. It bounds writes by the progress of the peer, and knows what the
// connection is doing.
type tlsConn struct {
	net.Conn
	front  *front
	setup  *tlsSetup
	opened time.Time
	h2     bool      // set before net/http has the connection
	tls    *tls.Conn // set together with h2

	state     atomic.Int32 // connHandshakes, connIdle or connActive
	headBegun atomic.Bool  // bytes have come since it was idle
	lastRead  atomic.Int64 // Unix ns, when bytes came last or it became idle
	closed    atomic.Bool
	cut       atomic.Bool // by the server: what fails then is no loss
	lost      atomic.Bool // counted

	mu            sync.Mutex
	readDeadline  time.Time
	inCall        bool      // HTTP/1.1: between the beginning and the end of ServeHTTP
	skipping      bool      // readDeadline is that of skipContent
	skipped       bool      // it is over: the rest of the content must not be taken for a request
	writeDeadline time.Time // of net/http, or of the application
	hijacked      bool
}

const (
	connHandshakes int32 = iota
	connIdle             // no request, or a head that is not complete
	connActive
)

// connOf is the tlsConn below a connection of net/http.
func connOf(c net.Conn) *tlsConn { return c.(*tls.Conn).NetConn().(*tlsConn) }

func (c *tlsConn) isIdle() bool { return c.state.Load() == connIdle && !c.closed.Load() }

// phase is for the log.
func (c *tlsConn) phase() string {
	switch c.state.Load() {
	case connHandshakes:
		return "handshake"
	case connIdle:
		return "idle"
	}
	return "request"
}

// Read reads what the peer has sent.
func (c *tlsConn) Read(b []byte) (int, error) {
	if !c.h2 && c.state.Load() == connActive && c.skipContent() {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.headBegun.Store(true)
		c.lastRead.Store(time.Now().UnixNano())
	}
	if err != nil && err != io.EOF {
		c.noteReadError(err)
		if errors.Is(err, os.ErrDeadlineExceeded) && c.skippingFailed() {
			err = io.EOF
		}
	}
	return n, err
}

// skipContent is for a Read behind the handler, or before it: net/http drops content that was not read, without a limit
// of time. It sets BodyTimeout, and reports whether that was over before.
func (c *tlsConn) skipContent() (over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.inCall && c.readDeadline.IsZero() {
		c.skipping = true
		c.readDeadline = time.Now().Add(c.front.srv.config.bodyTime)
		_ = c.Conn.SetReadDeadline(c.readDeadline)
	}
	return c.skipped
}

// enterCall and leaveCall enclose ServeHTTP. Between the head and the handler net/http begins a read that notices when
// the client leaves: it may have come to skipContent first.
func (c *tlsConn) enterCall() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inCall = true
	if c.skipping && !c.skipped {
		c.skipping, c.readDeadline = false, time.Time{}
		_ = c.Conn.SetReadDeadline(c.readDeadline)
	}
}

func (c *tlsConn) leaveCall() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inCall = false
}

// skippingFailed reports whether the deadline that has passed is that of skipContent. Then the connection ends behind
// its answer: net/http would go on to read, and take the rest of the content for a request.
func (c *tlsConn) skippingFailed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skipped = c.skipped || c.skipping
	return c.skipped
}

// noteReadError counts why a connection ends. net/http breaks its own reads off by deadlines that are long past.
func (c *tlsConn) noteReadError(err error) {
	switch {
	case c.closed.Load(), c.state.Load() == connHandshakes:
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.mu.Lock()
		due := c.readDeadline
		c.mu.Unlock()
		if c.state.Load() != connIdle || due.Before(c.opened) {
			return
		}
		if c.headBegun.Load() {
			c.front.count(headTimeouts)
		} else {
			c.front.count(idleTimeouts)
		}
	default:
		c.noteLost(err)
	}
}

// noteLost counts a connection that the peer or the network has ended by an error.
func (c *tlsConn) noteLost(err error) {
	if c.cut.Load() || c.closed.Load() || c.lost.Swap(true) {
		return
	}
	if c.state.Load() == connActive {
		c.front.count(lost)
	} else {
		c.front.count(lostIdle)
	}
	c.front.srv.config.log.Debug("connection over TLS lost", slog.Any("remote", c.RemoteAddr()), slog.Any("error", err))
}

// Write writes all of b, as long as the peer makes progress: it fails when the peer has acknowledged nothing for
// WriteTimeout. A deadline ends it too.
func (c *tlsConn) Write(b []byte) (n int, err error) {
	unacked, still := -1, 0
	for {
		due, free := c.armWrite()
		if free {
			m, err := c.Conn.Write(b[n:])
			return n + m, err
		}
		m, err := c.Conn.Write(b[n:])
		n += m
		if err == nil {
			return n, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.noteLost(err)
			return n, err
		}
		if !due.IsZero() && !time.Now().Before(due) { // that of net/http or the application
			return n, err
		}
		before := unacked
		if unacked = c.unacked(); m > 0 || before < 0 || unacked < before {
			still = 0
		} else {
			still++
		}
		if still == writeLooks {
			c.front.count(stalled)
			c.cut.Store(true)
			c.front.srv.config.log.Debug("connection over TLS lost", slog.Any("remote", c.RemoteAddr()), slog.String("error", "the client takes nothing for WriteTimeout"))
			return n, err
		}
	}
}

// writeLooks is how often Write looks at the progress of the peer in WriteTimeout. It comes one look late at most.
const writeLooks = 2

// armWrite sets the deadline for the next look at the progress of the peer. It returns the deadline that was asked for.
// free says that the connection is the application's, which has its own deadlines.
func (c *tlsConn) armWrite() (due time.Time, free bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hijacked {
		return due, true
	}
	look := time.Now().Add(c.front.srv.config.loop.WriteTimeout / writeLooks)
	if due = c.writeDeadline; !due.IsZero() && due.Before(look) {
		look = due
	}
	_ = c.Conn.SetWriteDeadline(look)
	return due, false
}

// hijack makes the connection the application's.
func (c *tlsConn) hijack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hijacked = true
	c.cut.Store(true)
	_ = c.Conn.SetWriteDeadline(c.writeDeadline)
}

// SetWriteDeadline sets when writes fail, whatever the progress.
func (c *tlsConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeDeadline = t
	if t.IsZero() && !c.hijacked {
		t = time.Now().Add(c.front.srv.config.loop.WriteTimeout / writeLooks) // for a Write in progress
	}
	return c.Conn.SetWriteDeadline(t)
}

// SetReadDeadline sets when reads fail.
func (c *tlsConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readDeadline, c.skipping = t, false; c.skipped {
		t = longAgo
	}
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline sets both.
func (c *tlsConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Close closes the socket.
func (c *tlsConn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	err := c.Conn.Close()
	c.front.remove(c)
	return err
}

// end closes an idle connection in order, by close_notify.
func (c *tlsConn) end() { _ = c.tls.Close() }

// CloseWrite ends the server's side, for net/http.
func (c *tlsConn) CloseWrite() error { return c.Conn.(*net.TCPConn).CloseWrite() }

// control calls f with the descriptor.
func (c *tlsConn) control(f func(fd int)) {
	if raw, err := c.Conn.(*net.TCPConn).SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}

// unread reports whether bytes wait in the socket.
func (c *tlsConn) unread() (waits bool) {
	c.control(func(fd int) {
		n, _, err := unix.Recvfrom(fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		waits = err == nil && n > 0
	})
	return waits
}
