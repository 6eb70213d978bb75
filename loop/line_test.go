package loop

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// lineServer is a reactor with a line protocol, for the tests. A line is a command:
//
//	echo TEXT     answers TEXT
//	big N         answers N bytes of pattern, copied by Send
//	borrow N      the same, borrowed
//	file OFF N    a range of the test's file
//	head OFF N    the same behind 9 bytes
//	stream N      N bytes in pieces, never beyond the high-water mark
//	later TEXT    answers TEXT by a task of another goroutine
//	retain TEXT   keeps the line and answers it on "recall"
//	pause TEXT    pauses; a task of another goroutine answers and resumes
//	timeout MS    answers "timeout" after MS milliseconds without input
//	close         answers "bye" and closes
//	abort         aborts
//	stop          answers nothing and uses no more input
//	block         blocks the loop until the test releases it, and then calls Goexit
//	block later   the same from Drained
//	exit WHERE    ends the loop's goroutine in that callback
type lineServer struct {
	t       testing.TB
	r       *Reactor
	addr    net.Addr
	file    *os.File
	opened  atomic.Int64
	closed  atomic.Int64
	files   atomic.Int64 // file ranges sent or queued
	ticks   atomic.Int64
	hungUp  atomic.Int64 // calls of HungUp
	exited  atomic.Int64 // calls of Exited
	maxOut  atomic.Int64 // largest Unsent seen
	unsent  atomic.Int64 // Unsent when a connection was closed, of all together
	dials   atomic.Int64 // calls of attachClient
	stopped sync.Map     // *Conn that got "stop", to be woken by tests

	exitTick, exitOpened atomic.Bool // the next one calls runtime.Goexit

	blocked chan *blockedCallback // one for each "block"

	mu         sync.Mutex
	errs       []error       // given to Closed
	wake       chan struct{} // closed and replaced at every Closed
	refuse     string
	tickMissed func(l *Loop, d time.Duration)
}

type lineHandler struct {
	s    *lineServer
	loop *Loop
}

// lineConn is a connection's state in the handler.
type lineConn struct {
	kept   []byte
	stream int    // bytes of a stream left
	unused []byte // of Input, behind the line at hand
	blocks bool   // at the next Drained
	exits  string // callbacks that call runtime.Goexit
}

// blockedCallback is a callback of c that blocks its loop until release.
type blockedCallback struct {
	c       *Conn
	unused  []byte
	release chan bool
}

func (h *lineHandler) block(c *Conn, unused []byte) {
	b := &blockedCallback{c, unused, make(chan bool)}
	h.s.blocked <- b
	<-b.release
	runtime.Goexit()
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + i%23)
	}
	return b
}

func (h *lineHandler) Opened(c *Conn) {
	h.s.opened.Add(1)
	c.Context = new(lineConn)
	if h.s.exitOpened.Swap(false) {
		runtime.Goexit()
	}
}

func (h *lineHandler) Input(c *Conn, b []byte) (used int) {
	lc := c.Context.(*lineConn)
	for !c.Full() && lc.stream == 0 && !c.paused {
		line, _, ok := bytes.Cut(b[used:], []byte("\n"))
		if !ok {
			break
		}
		used += len(line) + 1
		lc.unused = b[used:]
		if !h.line(c, lc, line) {
			break
		}
	}
	return used
}

func (h *lineHandler) line(c *Conn, lc *lineConn, line []byte) bool {
	word, rest, _ := strings.Cut(string(line), " ")
	n, _ := strconv.Atoi(rest)
	switch word {
	case "echo":
		c.Send([]byte(rest + "\n"))
	case "addresses":
		c.Send(fmt.Appendln(nil, c.RemoteAddr(), c.LocalAddr()))
	case "big":
		c.Send(pattern(n))
	case "borrow":
		c.SendBorrowed([]byte("borrowed:"), pattern(n))
		if c.Unsent() > 0 {
			c.AwaitSent()
		}
	case "file":
		var off, n int64
		_, _ = fmt.Sscan(rest, &off, &n)
		h.s.files.Add(1)
		c.SendFile(nil, h.s.file, off, n)
	case "head":
		var off, n int64
		_, _ = fmt.Sscan(rest, &off, &n)
		c.SendFile([]byte("the head:"), h.s.file, off, n)
	case "stream":
		lc.stream = n
		h.Drained(c)
	case "later":
		l := c.loop
		go l.Do(func() { c.Send([]byte(rest + "\n")) })
	case "retain":
		lc.kept = line
		c.Retain()
	case "recall":
		c.Send(append(bytes.Clone(lc.kept), '\n'))
	case "pause":
		c.Pause()
		l := c.loop
		go l.Do(func() { c.Send([]byte(rest + "\n")); c.Resume() })
	case "timeout":
		c.SetTimeout(time.Duration(n) * time.Millisecond)
	case "close":
		c.Send([]byte("bye\n"))
		c.Close()
		return false
	case "abort":
		c.Abort()
		return false
	case "block":
		if rest == "later" {
			lc.blocks = true
			c.Yield()
			return false
		}
		h.block(c, lc.unused)
	case "exits": // "exits in Closed": later
		lc.exits = rest
	case "exit":
		switch lc.exits = rest; rest {
		case "Drained":
			c.Yield()
			return false
		case "Drained, woken":
			l := c.loop
			go l.Do(c.Wake)
			return false
		case "Timeout":
			c.SetTimeout(time.Millisecond)
		case "Closed":
			c.Abort()
			return false
		case "HungUp":
			c.Pause()
		}
		lc.exit("Input")
	case "stop":
		c.Pause()
		h.s.stopped.Store(c, true)
		return false
	default:
		h.s.t.Errorf("unknown command %q", line)
	}
	h.s.sawOut(c)
	return true
}

func (s *lineServer) sawOut(c *Conn) {
	for n := c.Unsent(); ; {
		old := s.maxOut.Load()
		if n <= old || s.maxOut.CompareAndSwap(old, n) {
			return
		}
	}
}

const streamPiece = 10_000

func (h *lineHandler) Drained(c *Conn) {
	lc := c.Context.(*lineConn)
	lc.exit("Drained")
	if lc.blocks {
		lc.blocks = false
		h.block(c, nil)
	}
	for i := 0; lc.stream > 0 && !c.Full(); i++ {
		if i == 8 {
			c.Yield()
			return
		}
		n := min(lc.stream, streamPiece)
		lc.stream -= n
		c.Send(pattern(n))
		h.s.sawOut(c)
	}
}

func (lc *lineConn) exit(in string) {
	if strings.Contains(lc.exits, in) {
		runtime.Goexit()
	}
}

func (h *lineHandler) Exited(c *Conn) {
	h.s.exited.Add(1)
	if c != nil {
		c.Send([]byte("exited\n"))
		if c.Alive() {
			c.Context.(*lineConn).exit("Exited")
		}
	}
}

func (h *lineHandler) HungUp(c *Conn) {
	h.s.hungUp.Add(1)
	c.Context.(*lineConn).exit("HungUp")
}

func (h *lineHandler) Timeout(c *Conn) {
	c.Context.(*lineConn).exit("Timeout")
	c.Send([]byte("timeout\n"))
}

func (h *lineHandler) Tick(time.Time) {
	h.s.ticks.Add(1)
	if h.s.exitTick.Swap(false) {
		runtime.Goexit()
	}
}

func (h *lineHandler) TickMissed(d time.Duration) { h.s.tickMissed(h.loop, d) }
func (h *lineHandler) Refusal() []byte            { return []byte(h.s.refuse) }
func (h *lineHandler) EOF(c *Conn) {
	c.Context.(*lineConn).exit("EOF")
	if c.Context.(*lineConn).stream == 0 {
		c.Close()
	}
}

func (h *lineHandler) Closed(c *Conn, err error) {
	s := h.s
	s.unsent.Add(c.Unsent())
	s.mu.Lock()
	s.errs = append(s.errs, err)
	close(s.wake)
	s.wake = make(chan struct{})
	s.mu.Unlock()
	s.closed.Add(1)
	c.Context.(*lineConn).exit("Closed")
}

// startLines runs a line server on address ("tcp 127.0.0.1:0" if empty).
func startLines(t testing.TB, opt Options, address string) *lineServer {
	t.Helper()
	s := newLines(t, opt)
	if address == "" {
		address = "tcp 127.0.0.1:0"
	}
	network, addr, _ := strings.Cut(address, " ")
	var err error
	if s.addr, err = s.r.Listen(network, addr); err != nil {
		t.Fatalf("Listen(%q, %q): %v", network, addr, err)
	}
	s.r.Start()
	return s
}

func newLines(t testing.TB, opt Options) *lineServer {
	t.Helper()
	s := &lineServer{t: t, wake: make(chan struct{}), blocked: make(chan *blockedCallback)}
	s.tickMissed = func(*Loop, time.Duration) {}
	if opt.Tick == 0 {
		opt.Tick = 5 * time.Millisecond
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	r, err := New(opt, func(l *Loop) Handler { return &lineHandler{s: s, loop: l} })
	if err != nil {
		t.Fatal(err)
	}
	s.r = r
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, pattern(3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.file, err = os.Open(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Stop()
		if err := r.Wait(); err != nil {
			t.Errorf("Wait: %v", err)
		}
		_ = s.file.Close()
		if o, c := s.opened.Load(), s.closed.Load(); o != c {
			t.Errorf("%d connections opened, %d closed", o, c)
		}
	})
	return s
}

// waitClosed waits until n connections were closed and returns their errors.
func (s *lineServer) waitClosed(n int) []error {
	s.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		errs, wake := s.errs, s.wake
		s.mu.Unlock()
		if len(errs) >= n {
			return errs
		}
		select {
		case <-wake:
		case <-deadline:
			s.t.Fatalf("%d connections closed in 20 s, want %d", len(errs), n)
		}
	}
}

type client struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func (s *lineServer) dial() *client {
	s.t.Helper()
	if _, kind, ok := strings.Cut(s.t.Name(), "TestAttached/"); ok {
		kind, _, _ = strings.Cut(kind, "/")
		return s.attachClient(kind)
	}
	return dialAddr(s.t, s.addr)
}

func dialAddr(t testing.TB, addr net.Addr) *client {
	t.Helper()
	c, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { _ = c.Close() })
	return &client{c, t, bufio.NewReaderSize(c, 64<<10)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatalf("send %.40q: %v", s, err)
	}
}

func (c *client) want(s string) {
	c.t.Helper()
	b := make([]byte, len(s))
	if n, err := io.ReadFull(c.r, b); err != nil || string(b) != s {
		c.t.Fatalf("read %.80q (%d bytes), %v; want %.80q", b[:n], n, err, s)
	}
}

// wantBytes reads exactly want, without keeping it.
func (c *client) wantBytes(want []byte) {
	c.t.Helper()
	b := make([]byte, 32<<10)
	for at := 0; at < len(want); {
		n, err := c.r.Read(b[:min(len(b), len(want)-at)])
		if !bytes.Equal(b[:n], want[at:at+n]) {
			c.t.Fatalf("wrong bytes after %d of %d", at, len(want))
		}
		if at += n; err != nil {
			c.t.Fatalf("after %d of %d bytes: %v", at, len(want), err)
		}
	}
}

func (c *client) wantEOF() {
	c.t.Helper()
	if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
		c.t.Fatalf("read %.80q, %v; want the end", b, err)
	}
}

func (c *client) closeWrite() {
	c.t.Helper()
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

// reset closes with RST instead of FIN.
func (c *client) reset() {
	_ = c.Conn.(*net.TCPConn).SetLinger(0)
	_ = c.Conn.Close()
}
