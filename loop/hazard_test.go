package loop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
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

func TestEcho(t *testing.T) {
	for _, address := range []string{"tcp 127.0.0.1:0", "tcp [::1]:0", "tcp :0", "unix " + t.TempDir() + "/s"} {
		t.Run(address, func(t *testing.T) {
			s := startLines(t, Options{}, address)
			c := s.dial()
			c.send("echo one\necho two\nec")
			c.want("one\ntwo\n")
			c.send("ho three\n")
			c.want("three\n")
			c.send("later four\n")
			c.want("four\n")
			_ = c.Close()
			if err := s.waitClosed(1)[0]; err != nil {
				t.Errorf("Closed(%v), want nil", err)
			}
		})
	}
}

// A wildcard listener accepts both families, on each of its loops.
func TestWildcardIsDualStack(t *testing.T) {
	s := startLines(t, Options{Loops: 4}, "tcp :0")
	_, port, _ := net.SplitHostPort(s.addr.String())
	for i := range 32 {
		host := []string{"127.0.0.1", "::1"}[i%2]
		addr, _ := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, port))
		c := dialAddr(t, addr)
		c.send("echo x\n")
		c.want("x\n")
	}
}

// Both ends of a connection agree on its addresses. An IPv4 client of a listener for both
// families has an IPv4 address.
func TestAddresses(t *testing.T) {
	for _, tt := range []struct{ listen, dial string }{
		{"tcp 127.0.0.1:0", "127.0.0.1"}, {"tcp [::1]:0", "::1"}, {"tcp :0", "127.0.0.1"}, {"tcp :0", "::1"},
		{"unix " + t.TempDir() + "/s", ""},
	} {
		t.Run(tt.listen+" from "+tt.dial, func(t *testing.T) {
			s := startLines(t, Options{}, tt.listen)
			addr := s.addr
			want := "invalid AddrPort invalid AddrPort\n"
			if tcp, ok := addr.(*net.TCPAddr); ok {
				addr = &net.TCPAddr{IP: net.ParseIP(tt.dial), Port: tcp.Port}
			}
			c := dialAddr(t, addr)
			if tt.dial != "" {
				want = fmt.Sprintf("%v %v\n", c.LocalAddr(), c.RemoteAddr())
			}
			c.send("addresses\n")
			c.want(want)
		})
	}
}

func TestInputInDrips(t *testing.T) {
	s := startLines(t, Options{}, "")
	c := s.dial()
	_ = c.Conn.(*net.TCPConn).SetNoDelay(true)
	text := strings.Repeat("abcdefghij", 700)
	for _, part := range []string{"echo ", text[:5000], text[5000:], "\necho end", "\n"} {
		for i := 0; i < len(part); i += 997 {
			c.send(part[i:min(i+997, len(part))])
			c.t.Log("sent", i)
		}
	}
	c.want(text + "\nend\n")
}

// Input larger than the read buffer arrives whole, although other connections have their turn
// after each read.
func TestInputLargerThanTheReadBuffer(t *testing.T) {
	s := startLines(t, Options{Loops: 1, ReadBytes: readBytesMin}, "")
	c := s.dial()
	text := string(pattern(5 * readBytesMin))
	go c.send("echo " + text + "\n" + strings.Repeat("echo x\n", 3000))
	c.want(text + "\n" + strings.Repeat("x\n", 3000))
}

func TestReset(t *testing.T) {
	s := startLines(t, Options{}, "")
	for _, before := range []string{"", "echo x\n", "ec"} {
		c := s.dial()
		c.send("echo ready\n" + before)
		c.want("ready\n")
		c.reset()
	}
	for _, err := range s.waitClosed(3) {
		if err != syscall.ECONNRESET && err != syscall.EPIPE {
			t.Errorf("Closed(%v), want a reset", err)
		}
	}
}

// A reset is noticed although the input is not read and nothing is to be sent.
func TestResetWhilePaused(t *testing.T) {
	s := startLines(t, Options{}, "")
	c := s.dial()
	c.send("echo x\nstop\n")
	c.want("x\n")
	c.reset()
	if err := s.waitClosed(1)[0]; err != syscall.ECONNRESET {
		t.Errorf("Closed(%v), want ECONNRESET", err)
	}
}

// A reset while output is unsent ends the connection and releases borrowed bytes.
func TestResetWithOutputPending(t *testing.T) {
	s := startLines(t, Options{}, "")
	c := s.dial()
	c.send("borrow 20000000\nfile 0 100\n")
	c.want("borrowed:")
	c.wantBytes(pattern(1000))
	c.reset()
	if err := s.waitClosed(1)[0]; err != syscall.ECONNRESET && err != syscall.EPIPE {
		t.Errorf("Closed(%v), want a reset", err)
	}
}

// Closed finds in Unsent how much was never sent.
func TestUnsentOfALostConnection(t *testing.T) {
	for name, send := range map[string]func(*Conn, []byte){
		"Send":         (*Conn).Send,
		"SendBorrowed": func(c *Conn, b []byte) { c.SendBorrowed(b[:10], b) },
	} {
		t.Run(name, func(t *testing.T) {
			s := startLines(t, Options{Loops: 1}, "")
			c := s.dial()
			c.send("echo x\n")
			c.want("x\n")
			l := s.r.loops[0]
			l.Do(func() { // the reset comes while the loop runs this, so it cannot read it before it sends
				c.reset()
				send(l.conns[0], pattern(1000))
			})
			if err := s.waitClosed(1)[0]; err == nil || s.unsent.Load() < 1000 {
				t.Errorf("Closed(%v) with %d bytes unsent, want a reset and 1000", err, s.unsent.Load())
			}
		})
	}
}

// A file range that was not sent counts in Unsent, also after a reset.
func TestResetWithFilePending(t *testing.T) {
	s := startLines(t, Options{HighWaterBytes: 16 << 20}, "")
	c := s.dial()
	c.send("big 8000000\nfile 0 3000000\n")
	for s.files.Load() == 0 {
		runtime.Gosched()
	}
	c.reset()
	s.waitClosed(1)
	if n := s.unsent.Load(); n < 3000000 {
		t.Errorf("%d bytes unsent, want 3000000 of the file at least", n)
	}
}

// The client ends its side first: every answer still reaches it.
func TestHalfClose(t *testing.T) {
	testrun.Slow(t, "waits for timers")
	for _, request := range []string{"big 3000000\n", "borrow 3000000\n", "stream 3000000\n", "file 0 3000000\n"} {
		t.Run(strings.TrimSpace(request), func(t *testing.T) {
			s := startLines(t, Options{}, "")
			c := s.dial()
			c.send(request)
			c.closeWrite()
			if strings.HasPrefix(request, "stream") {
				c.wantBytes(streamed(3000000))
				s.r.Loops()[0].Do(func() {})
			} else {
				if strings.HasPrefix(request, "borrow") {
					c.want("borrowed:")
				}
				c.wantBytes(pattern(3000000))
				c.wantEOF()
				if err := s.waitClosed(1)[0]; err != nil {
					t.Errorf("Closed(%v), want nil", err)
				}
			}
		})
	}
}

// streamed is what the stream command sends.
func streamed(n int) []byte {
	var b []byte
	for n > 0 {
		b = append(b, pattern(min(n, streamPiece))...)
		n -= min(n, streamPiece)
	}
	return b
}

// FIN and the last bytes come in one event: EOF must not be missed.
func TestDataAndEndTogether(t *testing.T) {
	s := startLines(t, Options{}, "")
	for i := range 50 {
		c := s.dial()
		c.send(fmt.Sprintf("echo %d\n", i))
		c.closeWrite()
		c.want(fmt.Sprintf("%d\n", i))
		c.wantEOF()
	}
	s.waitClosed(50)
}

// Answers larger than the socket's buffers arrive whole, in several writes.
func TestShortWrite(t *testing.T) {
	s := startLines(t, Options{}, "")
	c := s.dial()
	c.send("big 5000000\necho end\n")
	c.wantBytes(pattern(5000000))
	c.want("end\n")
	c.send("borrow 5000000\nborrow 700\nbig 300\necho end\n")
	c.want("borrowed:")
	c.wantBytes(pattern(5000000))
	c.want("borrowed:")
	c.wantBytes(pattern(700))
	c.wantBytes(pattern(300))
	c.want("end\n")
}

// A peer that does not read: unsent output stays near the high-water mark, input is not read,
// other connections are served; when it reads again every byte is right.
func TestSlowReaderAndFullQueue(t *testing.T) {
	testrun.Slow(t, "moves megabytes past what a socket holds")
	const high = 64 << 10
	s := startLines(t, Options{Loops: 1, HighWaterBytes: high, lowWaterBytes: 8 << 10}, "")
	slow := s.dial()
	const commands, each = 3000, 20_000 // 60 MB of answers
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range commands {
			slow.send(fmt.Sprintf("big %d\n", each))
		}
	}()
	other := s.dial()
	for i := range 100 {
		other.send(fmt.Sprintf("echo %d\n", i))
		other.want(fmt.Sprintf("%d\n", i))
	}
	want := pattern(each)
	for range commands {
		slow.wantBytes(want)
	}
	<-sent
	if got := s.maxOut.Load(); got > high+each {
		t.Errorf("up to %d bytes waited, want at most the high mark %d and one answer", got, high)
	}
	if got := s.maxOut.Load(); got < each {
		t.Errorf("at most %d bytes waited: the queue was never used", got)
	}
}

// A stream made piece by piece stays below the high-water mark too, and yields to others.
func TestStream(t *testing.T) {
	const high = 64 << 10
	s := startLines(t, Options{Loops: 1, HighWaterBytes: high}, "")
	c := s.dial()
	c.send("stream 8000000\necho end\n")
	other := s.dial()
	other.send("echo x\n")
	other.want("x\n")
	c.wantBytes(streamed(8000000))
	c.want("end\n")
	if got := s.maxOut.Load(); got > high+streamPiece {
		t.Errorf("up to %d bytes waited, want at most %d", got, high+streamPiece)
	}
}

func TestSendFile(t *testing.T) {
	s := startLines(t, Options{}, "")
	c := s.dial()
	c.send("echo a\nfile 23 2000000\necho b\nfile 0 100\nfile 46 0\nhead 0 0\nhead 23 1000000\nhead 0 7\necho c\n")
	c.want("a\n")
	c.wantBytes(pattern(2000000)) // the pattern repeats every 23 bytes
	c.want("b\n")
	c.wantBytes(pattern(100))
	c.want("the head:the head:")
	c.wantBytes(pattern(1000000))
	c.want("the head:")
	c.wantBytes(pattern(7))
	c.want("c\n")
}

// A file is shorter than its range: the peer must see an incomplete answer.
func TestSendFileTooShort(t *testing.T) {
	s := startLines(t, Options{}, "")
	c := s.dial()
	c.send(fmt.Sprintf("file %d 5000\n", 3<<20-1000))
	_, _ = io.Copy(io.Discard, c.r)
	if err := s.waitClosed(1)[0]; !errors.Is(err, ErrFile) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Closed(%v), want %v: %v", err, ErrFile, io.ErrUnexpectedEOF)
	}
}

// Close with unsent output: a slow reader gets all of it, then FIN.
func TestCloseFlushes(t *testing.T) {
	for _, what := range []string{"big 4000000", "borrow 4000000", "file 0 3000000"} {
		t.Run(what, func(t *testing.T) {
			s := startLines(t, Options{HighWaterBytes: 8 << 20}, "")
			c := s.dial()
			var n int
			if _, err := fmt.Sscanf(what[strings.LastIndex(what, " "):], "%d", &n); err != nil {
				t.Fatal(err)
			}
			c.send(what + "\nclose\n")
			if strings.HasPrefix(what, "borrow") {
				c.want("borrowed:")
			}
			c.wantBytes(pattern(n))
			c.want("bye\n")
			c.wantEOF()
			_ = c.Close()
			if err := s.waitClosed(1)[0]; err != nil {
				t.Errorf("Closed(%v), want nil", err)
			}
		})
	}
}

// The peer continues to send after our last answer. To close at once would send a reset,
// which destroys the answer in the peer's buffer.
func TestCloseLingers(t *testing.T) {
	s := startLines(t, Options{}, "")
	c := s.dial()
	c.send("close\n")
	for range 100 {
		c.send(strings.Repeat("x", 10_000)) // fails if the connection was reset
	}
	c.want("bye\n")
	c.wantEOF()
	_ = c.Close()
	if err := s.waitClosed(1)[0]; err != nil {
		t.Errorf("Closed(%v), want nil", err)
	}
}

// A peer that sends all before it reads gets a large last answer too: input is discarded
// while the answer is flushed.
func TestCloseLingersWhileFlushing(t *testing.T) {
	s := startLines(t, Options{HighWaterBytes: 32 << 20}, "")
	c := s.dial()
	c.send("big 9000000\nclose\n")
	for range 500 {
		c.send(strings.Repeat("x", 16_000))
	}
	c.wantBytes(pattern(9000000))
	c.want("bye\n")
	c.wantEOF()
}

// Lingering is bounded in bytes and in time: after LingerBytes flow control stops the peer,
// which can still read its answer.
func TestLingerEnds(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	t.Run("bytes", func(t *testing.T) {
		s := startLines(t, Options{LingerBytes: 100_000, LingerTime: time.Second}, "")
		c := s.dial()
		c.send("close\n")
		sent := make(chan int, 1)
		go func() {
			n := 0
			for {
				k, err := c.Write(make([]byte, 100_000))
				if n += k; err != nil {
					sent <- n
					return
				}
			}
		}()
		c.want("bye\n")
		c.wantEOF()
		select {
		case n := <-sent:
			t.Errorf("reset after %d bytes, before LingerTime", n)
		default:
		}
		if err := s.waitClosed(1)[0]; err != nil {
			t.Errorf("Closed(%v), want nil", err)
		}
		const kernel = 32 << 20 // what both sockets may hold
		if n := <-sent; n > 100_000+kernel {
			t.Errorf("the peer could send %d bytes", n)
		}
	})
	t.Run("time", func(t *testing.T) {
		s := startLines(t, Options{LingerTime: 20 * time.Millisecond}, "")
		c := s.dial()
		c.send("close\n")
		c.want("bye\n")
		if err := s.waitClosed(1)[0]; err != nil {
			t.Errorf("Closed(%v), want nil", err)
		}
	})
	t.Run("bytes, and then the end", func(t *testing.T) {
		s := startLines(t, Options{LingerBytes: 10, LingerTime: time.Hour}, "")
		c := s.dial()
		c.send("close\n" + strings.Repeat("x", 100_000))
		c.closeWrite()
		c.want("bye\n")
		c.wantEOF()
		if err := s.waitClosed(1)[0]; err != nil {
			t.Errorf("Closed(%v), want nil", err)
		}
	})
}

func TestWriteTimeout(t *testing.T) {
	s := startLines(t, Options{WriteTimeout: 30 * time.Millisecond}, "")
	c := s.dial()
	c.send("borrow 30000000\n")
	if err := s.waitClosed(1)[0]; err != ErrWriteTimeout {
		t.Errorf("Closed(%v), want %v", err, ErrWriteTimeout)
	}
}

// A peer that reads steadily, however slowly, is not cut, although the kernel makes no event:
// a socket is writable when a third of its buffer is free.
func TestSlowReaderIsNotCut(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it reads slowly for a second")
	}
	t.Parallel()
	const timeout = 300 * time.Millisecond
	for _, address := range []string{"tcp 127.0.0.1:0", "unix " + filepath.Join(t.TempDir(), "s")} {
		network, _, _ := strings.Cut(address, " ")
		t.Run(network, func(t *testing.T) {
			s := startLines(t, Options{WriteTimeout: timeout, HighWaterBytes: 64 << 20}, address)
			c := s.dial()
			if tcp, ok := c.Conn.(*net.TCPConn); ok {
				_ = tcp.SetReadBuffer(16 << 10)
			}
			const size = 20 << 20
			c.send("big 20971520\n")
			want := pattern(size)
			at := 0
			for began := time.Now(); time.Since(began) < 4*timeout; at += 4 << 10 {
				c.wantBytes(want[at : at+4<<10])
				steady(began, at, timeout)
			}
			c.wantBytes(want[at:])
		})
	}
}

// steady sleeps until a reader of 4 KiB every timeout/60, 0.8 MB/s, reads its next piece. A
// sleep that took too long on a busy machine is made up for.
func steady(began time.Time, at int, timeout time.Duration) {
	time.Sleep(time.Until(began.Add(time.Duration(at>>12+1) * timeout / 60)))
}

// The same after FIN, when only the kernel still has a part of the answer.
func TestSlowReaderOfTheLastAnswer(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it reads slowly for a second")
	}
	t.Parallel()
	const timeout = 300 * time.Millisecond
	s := startLines(t, Options{WriteTimeout: timeout, LingerTime: timeout / 3}, "")
	c := s.dial()
	_ = c.Conn.(*net.TCPConn).SetReadBuffer(16 << 10)
	c.send("big 1500000\nclose\n")
	want := pattern(1500000)
	at := 0
	for began := time.Now(); time.Since(began) < 3*timeout; at += 4 << 10 {
		c.send("x") // to a socket that is closed it would be answered by a reset
		c.wantBytes(want[at : at+4<<10])
		steady(began, at, timeout)
	}
	c.wantBytes(want[at:])
	c.want("bye\n")
	c.wantEOF()
}

// A peer that takes nothing is cut also when no output waits: the socket took all of one
// turn but is not writable for the next.
func TestYieldTimesOut(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	s := startLines(t, Options{Loops: 1, WriteTimeout: 30 * time.Millisecond}, "")
	c := s.dial()
	_ = c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	c.send("echo a\n")
	c.want("a\n")
	l, waits := s.r.loops[0], make(chan bool)
	l.Do(func() {
		conn := l.conns[0]
		poll := []unix.PollFd{{Fd: conn.fd, Events: unix.POLLOUT}}
		for conn.out == nil { // little at a time: it is full for poll before it is for write
			if n, err := unix.Poll(poll, 200); n == 0 && err == nil {
				break // and the peer's is full too
			}
			conn.Send(make([]byte, 512))
		}
		waits <- conn.out == nil
		conn.Yield()
	})
	if !<-waits {
		t.Fatal("output waits: the socket was writable to its end")
	}
	if err := s.waitClosed(1)[0]; err != ErrWriteTimeout {
		t.Errorf("Closed(%v), want %v", err, ErrWriteTimeout)
	}
}

func TestAbort(t *testing.T) {
	s := startLines(t, Options{}, "")
	c := s.dial()
	c.send("echo x\nabort\necho never\n")
	b, _ := io.ReadAll(c.r) // the end is a reset here: unread input was left
	if string(b) != "x\n" && string(b) != "" {
		t.Errorf("read %q, want nothing after the abort", b)
	}
	if err := s.waitClosed(1)[0]; err != ErrAborted {
		t.Errorf("Closed(%v), want %v", err, ErrAborted)
	}
}

func TestConnectAndVanish(t *testing.T) {
	s := startLines(t, Options{}, "")
	for i := range 300 {
		c, err := net.Dial("tcp", s.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		_ = c.Close()
	}
	c := s.dial()
	c.send("echo x\n")
	c.want("x\n")
	_ = c.Close()
	for s.r.Len() > 0 { // some may have vanished before they were accepted
		runtime.Gosched()
	}
}

// A task for a connection that was closed meanwhile changes nothing: its descriptor may
// belong to another connection by now.
func TestWakeAfterClose(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	c := s.dial()
	c.send("stop\n")
	var gone *Conn
	for gone == nil {
		s.stopped.Range(func(k, _ any) bool { gone = k.(*Conn); return false })
		runtime.Gosched()
	}
	c.reset()
	s.waitClosed(1)

	next := s.dial() // takes the descriptor that has become free
	next.send("echo a\n")
	next.want("a\n")
	done := make(chan struct{})
	if !gone.loop.Do(func() {
		defer close(done)
		gone.Send([]byte("not yours"))
		gone.SendBorrowed([]byte("not"), []byte("yours"))
		gone.SendFile([]byte("not"), s.file, 0, 10)
		gone.Resume()
		gone.SetTimeout(time.Millisecond)
		gone.Yield()
		gone.Close()
		gone.Abort()
		if gone.LocalAddr().IsValid() {
			t.Error("a closed connection has a local address")
		}
	}) {
		t.Error("Do reports that the loop has stopped")
	}
	<-done
	next.send("echo b\n")
	next.want("b\n")
}

func TestDoAfterStop(t *testing.T) {
	s := startLines(t, Options{}, "")
	s.r.Stop()
	if s.r.Loops()[0].Do(func() { t.Error("it ran") }) {
		t.Error("Do = true after Stop")
	}
	if _, err := s.r.Listen("tcp", "127.0.0.1:0"); !errors.Is(err, errClosed) {
		t.Errorf("Listen after Stop: %v, want %v", err, errClosed)
	}
	stopAccepting(s.r)
	s.r.Stop()
}

// Events are hints: a made-up event for any descriptor changes nothing.
func TestStaleEventsAreHarmless(t *testing.T) {
	s := startLines(t, Options{Loops: 2}, "")
	clients := make([]*client, 8)
	for i := range clients {
		clients[i] = s.dial()
	}
	for range 20 {
		for _, l := range s.r.Loops() {
			l.Do(func() {
				for fd := range 200 {
					l.event(fd, readable|writable|readToEnd)
				}
				l.event(math.MaxInt, readToEnd)
				l.event(-1, readToEnd)
			})
		}
		for i, c := range clients {
			c.send(fmt.Sprintf("echo %d\n", i))
			c.want(fmt.Sprintf("%d\n", i))
		}
	}
	if n := s.closed.Load(); n != 0 {
		t.Errorf("%d connections closed by stale events", n)
	}
}

func TestManyConnections(t *testing.T) {
	testrun.Slow(t, "a flood of connections")
	const n = 2000
	s := startLines(t, Options{Loops: 3}, "")
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = s.dial()
	}
	for i, c := range clients {
		c.send(fmt.Sprintf("echo %d\n", i))
	}
	for i, c := range clients {
		c.want(fmt.Sprintf("%d\n", i))
	}
	least, most := n, 0
	for _, l := range s.r.Loops() {
		n := int(l.connCount.Load())
		least, most = min(least, n), max(most, n)
	}
	if most-least > n/16+4 {
		t.Errorf("loops have %d to %d connections, want them even", least, most)
	}
	for _, c := range clients {
		_ = c.Close()
	}
	s.waitClosed(n)
	if got := s.r.Len(); got != 0 {
		t.Errorf("%d connections left", got)
	}
}

// System calls are interrupted by signals (EINTR), and nothing is lost.
func TestInterruptedCalls(t *testing.T) {
	testrun.Slow(t, "a flood of signals")
	s := startLines(t, Options{}, "")
	stop := make(chan struct{})
	var storm sync.WaitGroup
	storm.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = syscall.Kill(os.Getpid(), syscall.SIGURG)
				runtime.Gosched()
			}
		}
	})
	c := s.dial()
	for range 20 {
		c.send("big 1000000\nfile 0 1000000\n")
		c.wantBytes(pattern(1000000))
		c.wantBytes(pattern(1000000))
	}
	close(stop)
	storm.Wait()
}

// With no descriptor left the old connections continue and new ones get the refusal; when
// there are descriptors again new ones are served.
func TestDescriptorsExhausted(t *testing.T) {
	s := newLines(t, Options{Loops: 1})
	s.refuse = "full\n"
	var err error
	if s.addr, err = s.r.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.r.Start()
	old := s.dial()
	old.send("echo a\n")
	old.want("a\n")

	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	restore := func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &before) }
	defer restore()

	// The clients' sockets exist already, then the limit falls below every
	// descriptor that a new one would get.
	fds := make([]int, 5)
	for i := range fds {
		if fds[i], err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fds[i])
	}
	tight := before
	for tight.Cur = 3; ; tight.Cur++ { // the lowest free descriptor is the limit
		if _, err := unix.FcntlInt(uintptr(tight.Cur), unix.F_GETFD, 0); err == unix.EBADF {
			break
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &tight); err != nil {
		t.Fatal(err)
	}
	port := s.addr.(*net.TCPAddr).Port
	for _, fd := range fds {
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 10)
		n, err := unix.Read(fd, b)
		if got := string(b[:max(n, 0)]); got != s.refuse {
			t.Errorf("a connection without a descriptor reads %q, %v; want %q", got, err, s.refuse)
		}
		old.send("echo b\n")
		old.want("b\n")
	}
	restore()
	c := s.dial()
	c.send("echo c\n")
	c.want("c\n")
}

// When not even the reserve descriptor is left the loop tries again once a tick, and does
// not spin; clients in the queue are served when there are descriptors again.
func TestNoReserve(t *testing.T) {
	testrun.Slow(t, "uses up all descriptors")
	s := startLines(t, Options{Loops: 1}, "")
	old := s.dial()
	old.send("echo a\n")
	old.want("a\n")
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}); err != nil {
		t.Fatal(err)
	}
	l, gone := s.r.loops[0], make(chan bool)
	l.Do(func() { closeReserve(l.reserveFD); l.reserveFD = -1; close(gone) })
	<-gone

	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	restore := func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &before) }
	defer restore()
	tight := before
	for tight.Cur = 3; ; tight.Cur++ { // the lowest free descriptor is the limit
		if _, err := unix.FcntlInt(uintptr(tight.Cur), unix.F_GETFD, 0); err == unix.EBADF {
			break
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &tight); err != nil {
		t.Fatal(err)
	}
	peer := &unix.SockaddrInet4{Port: s.addr.(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	if err := unix.Connect(fd, peer); err != nil {
		t.Fatal(err)
	}
	began, used := time.Now(), cpuTime(t)
	for ticks := s.ticks.Load(); s.ticks.Load() < ticks+50 && time.Since(began) < 10*time.Second; {
		old.send("echo b\n")
		old.want("b\n")
		time.Sleep(time.Millisecond) // or the test itself would spin
	}
	if used, took := cpuTime(t)-used, time.Since(began); used > took/2 {
		t.Errorf("%v of CPU time in %v", used, took)
	}
	restore()
	if _, err := unix.Write(fd, []byte("echo c\n")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, err := unix.Read(fd, b); string(b[:max(n, 0)]) != "c\n" {
		t.Errorf("read %q, %v", b[:max(n, 0)], err)
	}
}

// cpuTime is what this process has used.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// After Retain the bytes of an Input do not change, whatever is read later.
func TestRetain(t *testing.T) {
	s := startLines(t, Options{Loops: 1, ReadBytes: readBytesMin}, "")
	c, other := s.dial(), s.dial()
	for i := range 200 { // several buffers' worth
		text := fmt.Sprintf("retain %d %s", i, strings.Repeat("k", i%90))
		if i%3 == 0 { // from the stash as well
			c.send(text[:4])
			other.send("echo sync\n")
			other.want("sync\n")
			text = text[4:]
		}
		c.send(text + "\n")
		other.send("echo " + strings.Repeat("z", 1500) + "\n")
		other.want(strings.Repeat("z", 1500) + "\n")
		c.send("recall\n")
		c.want(fmt.Sprintf("retain %d %s\n", i, strings.Repeat("k", i%90)))
	}
}

func TestPauseAndResume(t *testing.T) {
	s := startLines(t, Options{}, "")
	c := s.dial()
	c.send("pause a\necho b\npause c\n")
	c.send("echo d\n")
	c.want("a\nb\nc\nd\n")
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	s := startLines(t, Options{Tick: time.Millisecond}, "")
	c := s.dial()
	for _, ms := range []int{1, 20, 700, 5} { // 700 ticks are more than a rotation
		began := time.Now()
		c.send(fmt.Sprintf("timeout %d\n", ms))
		c.want("timeout\n")
		if d := time.Since(began); d < time.Duration(ms)*time.Millisecond {
			t.Errorf("timeout of %d ms came after %v", ms, d)
		}
	}
	c.send("timeout 5\ntimeout 0\n") // the second takes the first back
	began := time.Now()
	c.send("timeout 40\n")
	c.want("timeout\n")
	if d := time.Since(began); d < 40*time.Millisecond {
		t.Errorf("a replaced timeout came after %v", d)
	}
}

func TestTick(t *testing.T) {
	s := startLines(t, Options{Loops: 1, Tick: time.Millisecond}, "")
	for s.ticks.Load() < 20 {
		runtime.Gosched()
	}
}

// stopAccepting closes the listeners of every loop.
func stopAccepting(r *Reactor) {
	for _, l := range r.loops {
		_ = r.onLoop(l, func(l *Loop) error { l.StopAccepting(); return nil }) // or it has stopped
	}
}

func TestStopAcceptingKeepsConnections(t *testing.T) {
	s := startLines(t, Options{Loops: 2}, "")
	waiting := make([]*client, 20) // connected before: served, accepted or not yet
	for i := range waiting {
		waiting[i] = s.dial()
	}
	stopAccepting(s.r)
	for i, c := range waiting {
		c.send(fmt.Sprintf("echo %d\n", i))
		c.want(fmt.Sprintf("%d\n", i))
	}
	if c, err := net.Dial("tcp", s.addr.String()); err == nil {
		_ = c.Close()
		t.Error("a connection was accepted after StopAccepting")
	}
}

func TestStopClosesConnections(t *testing.T) {
	s := startLines(t, Options{Loops: 2}, "")
	clients := make([]*client, 20)
	for i := range clients {
		clients[i] = s.dial()
		clients[i].send("echo x\n")
		clients[i].want("x\n")
	}
	s.r.Stop()
	for _, err := range s.waitClosed(len(clients)) {
		if err != ErrStopped {
			t.Errorf("Closed(%v), want %v", err, ErrStopped)
		}
	}
	for _, c := range clients {
		c.wantEOF()
	}
}

// A Conn has at most 256 bytes, so that an idle one with its handler's state stays within
// 1 KiB.
func TestConnSize(t *testing.T) {
	if n := sizeofConn; n > 256 {
		t.Errorf("a Conn has %d bytes, want at most 256", n)
	}
}

// A request and its answer allocate nothing in the loop.
func TestNoAllocations(t *testing.T) {
	s := newLines(t, Options{Loops: 1})
	h := &fixedHandler{answer: []byte("answer\n")}
	l := s.r.loops[0]
	l.setHandler(h)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	_, _ = unix.SetNonblock(fds[0], true), unix.SetNonblock(fds[1], true)
	l.connCount.Add(1)
	l.startConn(fds[0], addrPort(nil))
	request, got := []byte("request\n"), make([]byte, 64)
	if n := testing.AllocsPerRun(1000, func() {
		_, _ = write(fds[1], request)
		l.event(fds[0], readable|writable)
		n, _ := read(fds[1], got)
		if !bytes.Equal(got[:n], h.answer) {
			t.Fatalf("read %q", got[:n])
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

type fixedHandler struct{ answer []byte }

func (h *fixedHandler) Opened(*Conn) {}
func (h *fixedHandler) Input(c *Conn, b []byte) int {
	c.Send(h.answer)
	c.SetTimeout(time.Second)
	return len(b)
}
func (h *fixedHandler) EOF(c *Conn)         { c.Close() }
func (h *fixedHandler) HungUp(*Conn)        {}
func (h *fixedHandler) Drained(*Conn)       {}
func (h *fixedHandler) Timeout(*Conn)       {}
func (h *fixedHandler) Closed(*Conn, error) {}
func (h *fixedHandler) Tick(time.Time)      {}
func (h *fixedHandler) Refusal() []byte     { return nil }

func (h *fixedHandler) TickMissed(time.Duration) {}
func (h *fixedHandler) Exited(*Conn)             {}

// Connections that are between two loops when the reactor stops are closed.
func TestStopWhilePlacing(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		s := startLines(t, Options{Loops: 4}, "unix "+t.TempDir()+"/s") // one accepts for all
		var dialers sync.WaitGroup
		for range 4 {
			dialers.Go(func() {
				for {
					c, err := net.Dial("unix", s.addr.String())
					if err != nil {
						return // the reactor has stopped
					}
					_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
					defer func() {
						if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
							t.Error("a connection was left open")
						}
						_ = c.Close()
					}()
				}
			})
		}
		for s.opened.Load() < 20 {
			runtime.Gosched()
		}
		s.r.Stop()
		if n := s.r.Len(); n != 0 {
			t.Errorf("%d connections are left after Stop", n)
		}
		dialers.Wait()
	}
}

// Listen works while the loops run.
func TestListenWhileRunning(t *testing.T) {
	s := startLines(t, Options{Loops: 2, acceptBatch: 1}, "")
	for range 20 {
		addr, err := s.r.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			c := dialAddr(t, addr)
			c.send("echo x\n")
			c.want("x\n")
		}
	}
}

// A file that is sent at once while output was over the high-water mark: Drained must be
// called, although no event will come.
func TestDrainedWithoutAnEvent(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	c := s.dial()
	c.send("stop\n")
	var conn *Conn
	for conn == nil {
		s.stopped.Range(func(k, _ any) bool { conn = k.(*Conn); return false })
		runtime.Gosched()
	}
	done := make(chan bool)
	conn.loop.Do(func() {
		defer close(done)
		conn.full = true // as after a full queue that the socket has taken meanwhile
		conn.Context.(*lineConn).stream = 3 * streamPiece
		conn.SendFile(nil, s.file, 0, 100)
	})
	<-done
	c.wantBytes(pattern(100))
	c.wantBytes(streamed(3 * streamPiece))
}
