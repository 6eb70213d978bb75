package loop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/internal/testrun"
)

// Connections of Attach and Dial are served as those that are accepted: the same tests, and the line
// server is attached to one end of each connection, or dials.
func TestAttached(t *testing.T) {
	testrun.Slow(t, "peers of each kind take 2 s")
	any := map[string]func(*testing.T){
		"Echo": TestEcho, "InputLarger": TestInputLargerThanTheReadBuffer, "HalfClose": TestHalfClose,
		"DataAndEnd": TestDataAndEndTogether, "ShortWrite": TestShortWrite,
		"Stream": TestStream, "SendFile": TestSendFile, "SendFileTooShort": TestSendFileTooShort,
		"CloseFlushes": TestCloseFlushes, "CloseLingers": TestCloseLingers,
		"CloseLingersWhileFlushing": TestCloseLingersWhileFlushing, "Retain": TestRetain, "PauseAndResume": TestPauseAndResume, "Stop": TestStopClosesConnections,
		"DrainedWithoutAnEvent": TestDrainedWithoutAnEvent, "WriteTimeout": TestWriteTimeout,
	}
	tcp := map[string]func(*testing.T){
		"Reset": TestReset, "ResetWhilePaused": TestResetWhilePaused, "ResetWithOutputPending": TestResetWithOutputPending,
		"ResetWithFilePending": TestResetWithFilePending, "InputInDrips": TestInputInDrips, "Abort": TestAbort, "WakeAfterClose": TestWakeAfterClose,
	}
	idle := map[string]func(*testing.T){ // the loop is blocked when some of them dial
		"Handoff": TestHandoff, "HandoffAgain": TestHandoffAgain, "Goexit": TestGoexit, "GoexitAtTheEnd": TestGoexitAtTheEnd,
	}
	kinds := map[string][]map[string]func(*testing.T){
		"pair": {any}, "tcp": {any, tcp, idle}, "dialTCP": {any, tcp}, "dialUnix": {any},
	}
	if testing.Short() { // once it is connected, a connection of Dial is like one of Attach
		delete(idle, "Goexit")
		kinds["dialTCP"] = []map[string]func(*testing.T){{"Echo": TestEcho, "Reset": TestReset}}
		kinds["dialUnix"] = []map[string]func(*testing.T){{"Echo": TestEcho, "CloseFlushes": TestCloseFlushes}}
	}
	for kind, sets := range kinds {
		t.Run(kind, func(t *testing.T) {
			for _, set := range sets {
				for name, test := range set {
					t.Run(name, test)
				}
			}
		})
	}
}

// attachClient makes a connection and gives one end to the line server; it does not wait for the loop.
func (s *lineServer) attachClient(kind string) *client {
	s.t.Helper()
	l := s.r.loops[int(s.dials.Add(1))%len(s.r.loops)]
	h := l.Handler()
	c := &client{t: s.t}
	switch kind {
	case "pair":
		fds := socketpair(s.t, unix.SOCK_STREAM)
		c.Conn = fileConn(s.t, fds[1])
		if !l.Do(func() {
			if _, err := l.Attach(fds[0], h); err != nil {
				s.t.Error(err)
			}
		}) {
			_ = unix.Close(fds[0])
		}
	default:
		network, address := "tcp", "127.0.0.1:0"
		if kind == "dialUnix" {
			network, address = "unix", shortPath(s.t)
		}
		ln, err := net.Listen(network, address)
		if err != nil {
			s.t.Fatal(err)
		}
		defer ln.Close()
		if kind == "tcp" {
			c.Conn = dialAddr(s.t, ln.Addr()).Conn
			other, err := ln.Accept()
			if err != nil {
				s.t.Fatal(err)
			}
			l.Do(func() {
				if _, err := l.AttachDuplicate(other.(syscall.Conn), h); err != nil {
					s.t.Error(err)
				}
				_ = other.Close()
			})
			break
		}
		l.Do(func() {
			if _, err := l.Dial(network, ln.Addr().String(), time.Minute, h); err != nil {
				s.t.Error(err)
			}
		})
		if c.Conn, err = ln.Accept(); err != nil {
			s.t.Fatal(err)
		}
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	s.t.Cleanup(func() { _ = c.Conn.Close() })
	c.r = bufio.NewReaderSize(c.Conn, 64<<10)
	return c
}

func socketpair(t testing.TB, kind int) [2]int {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	return fds
}

// fileConn makes a net.Conn of fd, which it closes.
func fileConn(t testing.TB, fd int) net.Conn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "pair")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shortPath is a path for a Unix socket: those of t.TempDir may be too long.
func shortPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "loop")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// script is a ConnHandler of functions; nil does nothing, and uses all input.
type script struct {
	opened, eof, hungUp, drained, timeout, exited func(*Conn)

	input  func(*Conn, []byte) int
	closed func(*Conn, error)
}

func (s *script) call(f func(*Conn), c *Conn) {
	if f != nil {
		f(c)
	}
}

func (s *script) Opened(c *Conn)  { s.call(s.opened, c) }
func (s *script) EOF(c *Conn)     { s.call(s.eof, c) }
func (s *script) HungUp(c *Conn)  { s.call(s.hungUp, c) }
func (s *script) Drained(c *Conn) { s.call(s.drained, c) }
func (s *script) Timeout(c *Conn) { s.call(s.timeout, c) }
func (s *script) Exited(c *Conn)  { s.call(s.exited, c) }
func (s *script) Input(c *Conn, b []byte) int {
	if s.input == nil {
		return len(b)
	}
	return s.input(c, b)
}
func (s *script) Closed(c *Conn, err error) {
	if s.closed != nil {
		s.closed(c, err)
	}
}

// on runs f on the first loop of s, and waits.
func (s *lineServer) on(f func(l *Loop) error) {
	s.t.Helper()
	if err := s.r.onLoop(s.r.loops[0], f); err != nil {
		s.t.Fatal(err)
	}
}

// dialed dials with a handler that reports how that ended: nil is Opened, and the connection is dropped.
func (s *lineServer) dialed(network, address string, timeout time.Duration) <-chan error {
	s.t.Helper()
	result := make(chan error, 2)
	s.on(func(l *Loop) error {
		opened, inDial := false, true
		_, err := l.Dial(network, address, timeout, &script{
			opened: func(c *Conn) {
				opened = true
				result <- nil
				c.Drop()
			},
			closed: func(c *Conn, err error) {
				if inDial {
					s.t.Error("Closed within Dial")
				}
				if !opened {
					result <- err
				}
			},
		})
		inDial = false
		return err
	})
	return result
}

func receive[T any](t testing.TB, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came in 20 s")
	}
	return v
}

// A connect that fails reaches the handler as Closed, with the kernel's error and the address.
func TestDialFails(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := free.Addr().String()
	_ = free.Close()
	path := shortPath(t)
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	for _, tt := range []struct {
		network, address string
		want             []error
	}{
		{"tcp", refused, []error{unix.ECONNREFUSED}},
		{"tcp", "[::1]:1", []error{unix.ECONNREFUSED, unix.EADDRNOTAVAIL, unix.ENETUNREACH}},
		{"tcp", "255.255.255.255:80", []error{unix.ENETUNREACH, unix.EACCES, unix.EHOSTUNREACH}},
		{"unix", path, []error{unix.ECONNREFUSED}},
		{"unix", path + "x", []error{unix.ENOENT}},
	} {
		err := receive(t, s.dialed(tt.network, tt.address, time.Minute))
		ok := false
		for _, want := range tt.want {
			ok = ok || errors.Is(err, want)
		}
		if !ok || !strings.Contains(err.Error(), tt.address) {
			t.Errorf("Dial(%s, %s): Closed(%v), want one of %v and the address", tt.network, tt.address, err, tt.want)
		}
	}
	if n := s.r.Attached(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// An address that can never work is an error of Dial, and the handler is not called.
func TestDialRefuses(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	for _, tt := range [][2]string{
		{"tcp", "localhost:80"}, {"tcp", "127.0.0.1"}, {"tcp", "127.0.0.1:0"}, {"tcp", ":80"}, {"tcp", "[fe80::1%nosuch]:80"},
		{"udp", "127.0.0.1:80"}, {"unix", ""}, {"unix", strings.Repeat("x", unixPathMax+1)},
	} {
		s.on(func(l *Loop) error {
			c, err := l.Dial(tt[0], tt[1], 0, &script{closed: func(*Conn, error) { t.Error("Closed") }})
			if c != nil || err == nil || !strings.Contains(err.Error(), tt[1]) {
				t.Errorf("Dial(%s, %s) = %v, %v", tt[0], tt[1], c, err)
			}
			return nil
		})
	}
}

// fullListener returns a listener of that family whose queue is full and whose connects wait, or
// fail: the connections that fill it are closed at the end.
func fullListener(t *testing.T, network string) (address string) {
	t.Helper()
	family := unix.AF_INET
	var sa unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if network == "unix" {
		family, address = unix.AF_UNIX, shortPath(t)
		sa = &unix.SockaddrUnix{Name: address}
	}
	fd, err := socketFD(family)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, sa), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	if network == "tcp" {
		bound, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		address = addrPort(bound).String()
	}
	for range 5 {
		c, err := net.DialTimeout(network, address, 100*time.Millisecond)
		if err != nil {
			break
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	return address
}

// A connect that hangs ends after the timeout, or when it is cancelled.
func TestDialHangs(t *testing.T) {
	testrun.Slow(t, "waits for timers")
	s := startLines(t, Options{Loops: 1}, "")
	address := fullListener(t, "tcp")
	if err := receive(t, s.dialed("tcp", address, 50*time.Millisecond)); !errors.Is(err, ErrDialTimeout) || !strings.Contains(err.Error(), address) {
		t.Errorf("Closed(%v), want %v and the address", err, ErrDialTimeout)
	}
	for name, tt := range map[string]struct {
		cancel func(*Conn)
		want   error
	}{"Close": {(*Conn).Close, nil}, "Drop": {(*Conn).Drop, nil}, "Abort": {(*Conn).Abort, ErrAborted}} {
		var c *Conn
		closed := make(chan error, 1)
		s.on(func(l *Loop) (err error) {
			c, err = l.Dial("tcp", address, 0, &script{
				opened: func(*Conn) { t.Error("it was connected") },
				closed: func(_ *Conn, err error) { closed <- err },
			})
			return err
		})
		s.on(func(l *Loop) error { // output before Opened is dropped
			c.Send([]byte("x"))
			c.SendBorrowed([]byte("x"), []byte("y"))
			c.SendFile(nil, s.file, 0, 10)
			c.CloseWrite()
			c.Yield()
			c.Wake()
			c.Resume()
			if c.Unsent() != 0 || !c.Alive() {
				t.Errorf("%d bytes are queued, alive is %v", c.Unsent(), c.Alive())
			}
			if n := s.r.Attached(); n != 1 {
				t.Errorf("%d connections are attached, want 1", n)
			}
			tt.cancel(c)
			return nil
		})
		if err := receive(t, closed); err != tt.want {
			t.Errorf("%s: Closed(%v), want %v", name, err, tt.want)
		}
	}
	s.on(func(l *Loop) error { // and one that is cut by Stop
		_, err := l.Dial("tcp", address, 0, &script{closed: func(_ *Conn, err error) {
			if err != ErrStopped {
				t.Errorf("Closed(%v), want %v", err, ErrStopped)
			}
		}})
		return err
	})
	s.r.Stop()
}

// A Unix listener with a full queue refuses at once.
func TestDialFullQueue(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	address := fullListener(t, "unix")
	if err := receive(t, s.dialed("unix", address, time.Minute)); !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("Closed(%v), want EAGAIN", err)
	}
}

// With no descriptor left Dial fails like any connect that is refused.
func TestDialWithoutDescriptors(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = 0
	result := make(chan error, 1)
	s.on(func(l *Loop) error {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
			return err
		}
		defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) }()
		_, err := l.Dial("tcp", "127.0.0.1:1", 0, &script{closed: func(_ *Conn, err error) { result <- err }})
		return err
	})
	if err := receive(t, result); !errors.Is(err, unix.EMFILE) {
		t.Errorf("Closed(%v), want EMFILE", err)
	}
}

// Attach refuses what it cannot serve, which stays the caller's.
func TestAttachRefuses(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	packets, stream := socketpair(t, unix.SOCK_SEQPACKET), socketpair(t, unix.SOCK_STREAM)
	unconnected, err := socketFD(unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	h := &script{opened: func(*Conn) { t.Error("Opened") }}
	s.on(func(l *Loop) error {
		for what, fd := range map[string]int{
			"packets": packets[0], "unconnected": unconnected, "file": int(s.file.Fd()), "closed": 1 << 20, "negative": -1,
		} {
			if c, err := l.Attach(fd, h); c != nil || err == nil {
				t.Errorf("Attach(%s) = %v, %v", what, c, err)
			}
		}
		if c, err := l.AttachDuplicate(s.file, h); c != nil || err == nil {
			t.Errorf("AttachDuplicate(file) = %v, %v", c, err)
		}
		if _, err := l.Attach(stream[0], &script{}); err != nil {
			return err
		}
		if _, err := l.Attach(stream[0], h); err == nil {
			t.Error("attached twice")
		}
		if _, err := l.Watch(stream[0], nil); err == nil {
			t.Error("attached, and watched")
		}
		return nil
	})
	for _, fd := range []int{packets[0], packets[1], stream[1], unconnected} {
		if err := unix.Close(fd); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if n := s.r.Attached(); n > 1 {
		t.Errorf("%d are attached", n)
	}
}

// A handler may end its connection in Opened, and open another in Closed, until the loop stops: that
// refuses with an error.
func TestReconnect(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			s := startLines(t, Options{Loops: 1}, "")
			address := "127.0.0.1:0"
			if network == "unix" {
				address = shortPath(t)
			}
			ln, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					_ = c.Close()
				}
			}()
			defer ln.Close()
			times, enough, refused := 0, make(chan bool), false
			ends := []func(*Conn){(*Conn).Close, (*Conn).Drop, (*Conn).Abort, (*Conn).CloseIdle}
			h := &script{eof: (*Conn).Close}
			h.opened = func(c *Conn) { ends[times%len(ends)](c) }
			h.closed = func(c *Conn, _ error) {
				if times++; times == 100 {
					close(enough)
				}
				if _, err := c.loop.Dial(network, ln.Addr().String(), 0, h); err != nil {
					refused = errors.Is(err, errClosed)
				}
			}
			s.on(func(l *Loop) error {
				_, err := l.Dial(network, ln.Addr().String(), 0, h)
				return err
			})
			receive(t, enough)
			s.r.Stop()
			if !refused || s.r.Attached() != 0 {
				t.Errorf("refused is %v, %d are attached", refused, s.r.Attached())
			}
		})
	}
}

// Attached connections are no clients: Len, Conns and the placing of clients leave them out, and they
// outlive StopAccepting. No descriptor is left at the end.
func TestManyAttached(t *testing.T) {
	testrun.Slow(t, "a flood of connections")
	const n = 1000
	s := startLines(t, Options{Loops: 3}, "")
	client := s.dial()
	client.send("echo a\n")
	client.want("a\n")
	before := descriptors(t)
	var peers []net.Conn
	for i := range n {
		fds := socketpair(t, unix.SOCK_STREAM)
		l := s.r.loops[i%3]
		if err := s.r.onLoop(l, func(l *Loop) error {
			_, err := l.Attach(fds[0], l.Handler())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		peers = append(peers, fileConn(t, fds[1]))
	}
	if got, clients := s.r.Attached(), s.r.Len(); got != n || clients != 1 {
		t.Errorf("%d are attached, %d are clients; want %d and 1", got, clients, n)
	}
	stopAccepting(s.r)
	for i, c := range peers {
		if _, err := fmt.Fprintf(c, "echo %d\n", i); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range peers {
		want := fmt.Sprintf("%d\n", i)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Fatalf("read %q, %v; want %q", got, err, want)
		}
		_ = c.Close()
	}
	for range 1000 {
		if s.closed.Load() == n {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if got, clients := s.r.Attached(), s.r.Len(); got != 0 || clients != 1 {
		t.Errorf("%d are attached, %d are clients; want 0 and 1", got, clients)
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors, and %d before", after, before)
	}
}

// descriptors counts the open descriptors of the process; 0 if the system has no /proc.
func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil && runtime.GOOS == "linux" {
		t.Fatal(err)
	}
	return len(names)
}

// CloseWrite sends FIN behind all output, and input continues until the peer has ended too.
func TestCloseWrite(t *testing.T) {
	for _, size := range []int{0, 100, 5_000_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			s := startLines(t, Options{Loops: 1, LingerTime: time.Millisecond}, "")
			fds := socketpair(t, unix.SOCK_STREAM)
			peer := fileConn(t, fds[1]).(*net.UnixConn)
			defer peer.Close()
			closed, got := make(chan error, 1), []byte(nil)
			s.on(func(l *Loop) error {
				_, err := l.Attach(fds[0], &script{
					opened: func(c *Conn) {
						c.Send(pattern(size))
						c.CloseWrite()
						c.Send([]byte("too late"))
						c.CloseWrite()
					},
					input:  func(_ *Conn, b []byte) int { got = append(got, b...); return len(b) },
					eof:    (*Conn).Close,
					closed: func(_ *Conn, err error) { closed <- err },
				})
				return err
			})
			if b, err := io.ReadAll(peer); err != nil || !bytes.Equal(b, pattern(size)) {
				t.Fatalf("read %d bytes, %v; want %d", len(b), err, size)
			}
			for range 100 { // its own time, not LingerTime
				if _, err := peer.Write(pattern(1000)); err != nil {
					t.Fatal(err)
				}
			}
			_ = peer.Close()
			if err := receive(t, closed); err != nil || len(got) != 100_000 {
				t.Errorf("Closed(%v) after %d bytes, want nil and 100000", err, len(got))
			}
		})
	}
}

// A peer that does not read: Full stops the handler near the high-water mark, Drained continues it, and
// every byte comes.
func TestAttachedFullQueue(t *testing.T) {
	const high, each, total = 64 << 10, 10_000, 8_000_000
	s := startLines(t, Options{Loops: 1, HighWaterBytes: high}, "")
	fds := socketpair(t, unix.SOCK_STREAM)
	peer := fileConn(t, fds[1])
	defer peer.Close()
	sent, most, times := 0, int64(0), 0
	send := func(c *Conn) {
		for !c.Full() && sent < total {
			c.Send(patternAt(sent, each))
			sent += each
			most = max(most, c.Unsent())
		}
		if times++; sent == total {
			c.Close()
		}
	}
	s.on(func(l *Loop) error {
		_, err := l.Attach(fds[0], &script{opened: send, drained: send})
		return err
	})
	s.on(func(*Loop) error {
		if sent == 0 || sent == total {
			t.Errorf("%d bytes are sent while the peer does not read", sent)
		}
		return nil
	})
	if b, err := io.ReadAll(peer); err != nil || !bytes.Equal(b, patternAt(0, total)) {
		t.Errorf("read %d bytes, %v; want %d", len(b), err, total)
	}
	s.on(func(*Loop) error {
		if most < high || most > high+each || times < 2 {
			t.Errorf("up to %d bytes waited, and the handler was called %d times", most, times)
		}
		return nil
	})
}

// Close after CloseWrite lingers for LingerTime, and no longer.
func TestCloseAfterCloseWrite(t *testing.T) {
	s := startLines(t, Options{Loops: 1, LingerTime: time.Millisecond}, "")
	fds := socketpair(t, unix.SOCK_STREAM)
	peer := fileConn(t, fds[1])
	defer peer.Close()
	closed := make(chan error, 1)
	s.on(func(l *Loop) error {
		_, err := l.Attach(fds[0], &script{
			opened: func(c *Conn) { c.CloseWrite(); c.Close() },
			closed: func(_ *Conn, err error) { closed <- err },
		})
		return err
	})
	if err := receive(t, closed); err != nil {
		t.Errorf("Closed(%v), want nil", err)
	}
}

// A message over an attached connection allocates nothing.
func TestAttachedAllocates(t *testing.T) {
	s := newLines(t, Options{Loops: 1})
	l := s.r.loops[0]
	fds := socketpair(t, unix.SOCK_STREAM)
	defer unix.Close(fds[1])
	if _, err := l.Attach(fds[0], &fixedHandler{answer: []byte("answer\n")}); err != nil {
		t.Fatal(err)
	}
	message, got := []byte("request\n"), make([]byte, 64)
	if n := testing.AllocsPerRun(1000, func() {
		_, _ = write(fds[1], message)
		l.event(fds[0], readable|writable)
		if n, _ := read(fds[1], got); string(got[:n]) != "answer\n" {
			t.Fatalf("read %q", got[:n])
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// Invariant: whatever either side does and in which order, each gets a prefix of what the other has
// sent; all of it if that side has ended in order; callbacks come in order and Closed comes once.
func TestAttachedRandom(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 60
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s := startLines(t, Options{Loops: 2, HighWaterBytes: 32 << 10, ReadBytes: readBytesMin, LingerTime: 20 * time.Millisecond}, "")
	var all sync.WaitGroup
	for round := range rounds {
		l := s.r.loops[round%2]
		fds := socketpair(t, unix.SOCK_STREAM)
		h := &randomSide{t: t, rnd: rand.New(rand.NewPCG(seed, uint64(round))), closed: make(chan error, 1)}
		peer := fileConn(t, fds[1]).(*net.UnixConn)
		l.Do(func() {
			if _, err := l.Attach(fds[0], h); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() { h.check(peer, rand.New(rand.NewPCG(seed, uint64(round)<<32))) })
		if round%16 == 15 {
			all.Wait()
		}
	}
	all.Wait()
}

// randomSide is the loop's side of TestAttachedRandom.
type randomSide struct {
	t             *testing.T
	rnd           *rand.Rand
	sent, got     int // bytes of the pattern
	opened, isEOF bool
	endedWrite    bool // CloseWrite or Close was called, and no harder end
	cut           bool // Abort, Drop or Close: what the peer sends may be lost
	closed        chan error
}

func (h *randomSide) step(c *Conn) {
	if !h.opened {
		h.t.Error("a callback before Opened")
	}
	for range h.rnd.IntN(4) {
		switch n := h.rnd.IntN(100); {
		case n < 40 && !c.Full() && !h.endedWrite && !h.cut:
			size := h.rnd.IntN(1 << (4 + h.rnd.IntN(14)))
			b := patternAt(h.sent, size)
			h.sent += size
			if n < 20 {
				c.Send(b)
			} else {
				c.SendBorrowed(b[:size/2], b[size/2:])
			}
		case n < 55:
			c.Pause()
			l := c.loop
			go l.Do(func() {
				if c.Alive() {
					c.Resume()
				}
			})
		case n < 70:
			c.Yield()
		case n < 75:
			l := c.loop
			go l.Do(func() {
				if c.Alive() {
					c.Wake()
				}
			})
		case n < 80:
			c.SetTimeout(time.Duration(1+h.rnd.IntN(5)) * time.Millisecond)
		case n < 83 && !h.cut:
			c.CloseWrite()
			h.endedWrite = true
		case n == 84:
			c.Close()
			h.endedWrite = h.endedWrite || !h.cut
			h.cut = true
		case n == 85:
			c.Abort()
			h.cut, h.endedWrite = true, false
		case n == 86:
			c.Drop()
			h.cut, h.endedWrite = true, false
		}
	}
}

func (h *randomSide) Opened(c *Conn) {
	h.opened = true
	c.SetTimeout(time.Millisecond)
	h.step(c)
}

func (h *randomSide) Input(c *Conn, b []byte) int {
	n := h.rnd.IntN(len(b) + 1)
	if !bytes.Equal(b[:n], patternAt(h.got, n)) {
		h.t.Errorf("wrong bytes after %d", h.got)
	}
	if h.isEOF {
		h.t.Error("Input after EOF")
	}
	h.got += n
	if n < len(b) {
		l := c.loop
		go l.Do(func() {
			if c.Alive() {
				c.Resume()
			}
		})
	}
	h.step(c)
	return n
}

func (h *randomSide) EOF(c *Conn) {
	h.isEOF = true
	h.got += c.Unused()
	h.endedWrite = h.endedWrite || !h.cut
	h.cut = true
	c.Close()
}
func (h *randomSide) HungUp(c *Conn)  { h.step(c) }
func (h *randomSide) Drained(c *Conn) { h.step(c) }
func (h *randomSide) Exited(*Conn)    {}
func (h *randomSide) Timeout(c *Conn) {
	c.SetTimeout(time.Millisecond)
	h.step(c)
}
func (h *randomSide) Closed(_ *Conn, err error) { h.closed <- err }

// patternAt is part of an endless pattern.
func patternAt(at, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((at + i) % 251)
	}
	return b
}

// check is the peer: it writes some, reads all, and compares at the end.
func (h *randomSide) check(peer *net.UnixConn, rnd *rand.Rand) {
	_ = peer.SetDeadline(time.Now().Add(20 * time.Second))
	defer peer.Close()
	sent, whole := 0, true
	written := make(chan bool)
	resets := rnd.IntN(8) == 0
	seed := rnd.Uint64()
	go func() {
		defer close(written)
		rnd := rand.New(rand.NewPCG(seed, 0))
		for range rnd.IntN(20) {
			n, err := peer.Write(patternAt(sent, 1+rnd.IntN(1<<(4+rnd.IntN(12)))))
			if sent += n; err != nil {
				whole = false
				return
			}
		}
		if resets {
			_ = peer.Close() // with unread input this is a reset
			return
		}
		_ = peer.CloseWrite()
	}()
	got, buf := 0, make([]byte, 10_000)
	var err error
	for err == nil {
		var n int
		n, err = peer.Read(buf[:1+rnd.IntN(len(buf)-1)])
		if !bytes.Equal(buf[:n], patternAt(got, n)) {
			h.t.Errorf("the peer has wrong bytes after %d", got)
		}
		got += n
	}
	<-written
	if errors.Is(err, os.ErrDeadlineExceeded) {
		h.t.Errorf("the peer waits after %d bytes", got)
	}
	_ = peer.Close()
	closed := receive(h.t, h.closed)
	switch {
	case resets:
	case h.endedWrite && closed == nil && err == io.EOF && got != h.sent:
		h.t.Errorf("the peer has %d bytes of %d and an orderly end", got, h.sent)
	case got > h.sent:
		h.t.Errorf("the peer has %d bytes of %d", got, h.sent)
	}
	if h.isEOF && closed == nil && whole && h.got != sent {
		h.t.Errorf("the loop has %d bytes of %d", h.got, sent)
	}
	if closed != nil && closed != ErrAborted && !resets && !errors.Is(closed, unix.EPIPE) && !errors.Is(closed, unix.ECONNRESET) {
		h.t.Errorf("Closed(%v)", closed)
	}
}
