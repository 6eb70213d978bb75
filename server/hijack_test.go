package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/loop"
)

const upgrade = "GET /up HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

// descriptors is how many this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	runtime.GC() // io.Copy between sockets keeps its pipes in a sync.Pool, which two collections empty
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// upgraded serves an echo on connections that it takes over, and else says hello.
type upgraded struct {
	t     *testing.T
	open  atomic.Int32 // connections
	keeps bool         // Serve returns first
}

// wait returns when the hijacked connections are closed.
func (u *upgraded) wait() {
	u.t.Helper()
	eventually(u.t, "the connections are closed", func() bool { return u.open.Load() == 0 })
}

func (u *upgraded) Serve(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if env.Path() != "/up" {
		return hello(env, start)
	}
	w, err := start("200 OK", nil, nil) // which is forgotten
	if err != nil {
		return nil, err
	}
	conn, rest, err := env.Hijack()
	if err != nil {
		return nil, err
	}
	if _, err := start("200 OK", nil, nil); err != gateway.ErrHijacked {
		u.t.Errorf("start: %v", err)
	}
	if _, err := io.WriteString(w, "x"); err != gateway.ErrHijacked {
		u.t.Errorf("Write: %v", err)
	}
	if err := gateway.Flush(w); err != gateway.ErrHijacked {
		u.t.Errorf("Flush: %v", err)
	}
	if _, err := env.Input().Read(make([]byte, 1)); err != gateway.ErrHijacked {
		u.t.Errorf("Input: %v", err)
	}
	if _, _, err := env.Hijack(); err != gateway.ErrHijacked {
		u.t.Errorf("Hijack again: %v", err)
	}
	if err := env.Context().Err(); err != nil {
		u.t.Errorf("Context: %v", err)
	}
	u.open.Add(1)
	echo := func() {
		defer u.open.Add(-1)
		defer conn.Close()
		_, _ = io.WriteString(conn, switching)
		_, _ = conn.Write(rest)
		_, _ = io.Copy(conn, conn)
	}
	if u.keeps {
		go echo()
	} else {
		echo()
	}
	return &body{Body: gateway.Text("nobody wants this")}, errors.New("nor this")
}

// talk upgrades c and has it echo.
func talk(t *testing.T, c net.Conn, behind string) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, upgrade+behind); err != nil {
		t.Error(err)
		return
	}
	speak(t, c, switching+behind, "")
	speak(t, c, "over", "over")
}

// speak sends text, and expects want.
func speak(t *testing.T, c net.Conn, want, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Error(err)
		return
	}
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Errorf("heard %q, %v; want %q", got[:n], err, want)
	}
}

// A hijacked connection is the application's in both directions, with input that was already read, over TCP and
// Unix sockets. Nothing of it stays in the server.
func TestHijack(t *testing.T) {
	before := descriptors(t)
	for _, keeps := range []bool{false, true} {
		u := &upgraded{t: t, keeps: keeps}
		s := start(t, gateway.Validate(u), Options{Dispatch: Pool})
		path := filepath.Join(t.TempDir(), "s")
		if _, err := s.Listen("unix:" + path); err != nil {
			t.Fatal(err)
		}
		for network, address := range map[string]string{"tcp": s.addr.String(), "unix": path} {
			open := descriptors(t)
			for _, behind := range []string{"", "early bytes", get} {
				c, err := net.Dial(network, address)
				if err != nil {
					t.Fatal(err)
				}
				talk(t, c, behind)
				if n := s.Stats().Connections; n != 0 {
					t.Errorf("%s: %d connections are counted", network, n)
				}
				_ = c.Close()
				u.wait()
			}
			s.untilAtWork(0)
			eventually(t, "the descriptors are closed", func() bool { return descriptors(t) <= open })
		}
		c := s.dial() // on exchanges that are used again
		c.send(get + get)
		c.want("GET", 200, "Hello, World!")
		c.want("GET", 200, "Hello, World!")
		if log := s.log.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "level=WARN") {
			t.Errorf("log:\n%s", log)
		}
		if stats := s.Stats(); stats.Lost+stats.LostIdle+stats.Failed+stats.Aborted != 0 {
			t.Errorf("%+v", stats)
		}
		_ = c.Close()
		s.Close()
		_ = s.Wait()
	}
	eventually(t, "all descriptors are closed", func() bool { return descriptors(t) <= before+1 }) // that of Go's poller
}

// Earlier answers are sent before Hijack returns, also to a slow client.
func TestHijackWaits(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	text := pattern(8 << 20)
	u := &upgraded{t: t}
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if env.Path() == "/large" {
			_, err := start("200 OK", nil, nil)
			return next(func() ([]byte, error) { return []byte(text), io.EOF }), err
		}
		return u.Serve(env, start)
	}), Options{Dispatch: Pool, Loops: 1})
	c := s.dial()
	_ = c.SetReadBuffer(16 << 10)
	c.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n" + upgrade + "behind")
	c.want("GET", 200, text)
	got := make([]byte, len(switching+"behind"))
	if _, err := io.ReadFull(c.r, got); err != nil || string(got) != switching+"behind" {
		t.Errorf("read %q, %v", got, err)
	}
	_ = c.Close()
	u.wait()
}

// While output waits for the socket the connection stays the server's.
func TestHijackWaitsForItsOwn(t *testing.T) {
	const size = 32 << 10
	u := &upgraded{t: t}
	var s *testServer
	unsent := func() (n int64, asked bool) {
		s.onLoops(func(_ *shard, lc *loop.Conn) {
			j := lc.Context.(*session).x.app.job
			j.mu.Lock()
			defer j.mu.Unlock()
			n, asked = lc.Unsent(), j.out.hijack.requested
		})
		return n, asked
	}
	informed := make(chan int, 1)
	ready := make(chan struct{})
	s = start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		<-ready
		n := 0
		for waiting := int64(0); waiting == 0; n++ {
			if err := env.Inform(102, []gateway.Header{{Name: "X", Value: pattern(size)}}); err != nil {
				return nil, err
			}
			waiting, _ = unsent()
		}
		informed <- n
		return u.Serve(env, start)
	}), Options{Dispatch: Pool, Loops: 1})
	close(ready)
	c := s.dial()
	_ = c.SetReadBuffer(16 << 10)
	c.send(upgrade + "behind")
	n := <-informed
	eventually(t, "the worker asks", func() bool {
		waiting, asked := unsent()
		return asked && waiting > 0
	})
	for range n {
		if head := c.readHead(); !strings.HasPrefix(head, "HTTP/1.1 102 ") || len(head) < size {
			t.Fatalf("%.80q of %d bytes", head, len(head))
		}
	}
	got := make([]byte, len(switching+"behind"))
	if _, err := io.ReadFull(c.r, got); err != nil || string(got) != switching+"behind" {
		t.Errorf("read %q, %v", got, err)
	}
	_ = c.Close()
	u.wait()
}

// Hijack that cannot succeed returns an error with the reason, and the application answers as usual.
func TestHijackRefused(t *testing.T) {
	post := "POST / HTTP/1.1\r\nHost: h\r\n"
	for _, tt := range []struct {
		name, request string
		options       Options
		prepare       func(env *gateway.Environ, w io.Writer)
		want          string
	}{
		{"inline", get, Options{}, nil, "Dispatch: Pool"},
		{"written", get, Options{Dispatch: Pool}, func(_ *gateway.Environ, w io.Writer) { _, _ = io.WriteString(w, "early ") }, "after a part of the response"},
		{"flushed", get, Options{Dispatch: Pool}, func(_ *gateway.Environ, w io.Writer) { _ = gateway.Flush(w) }, "after a part of the response"},
		{"content", post + "Content-Length: 5\r\n\r\nhello", Options{Dispatch: Pool}, nil, "content that is not read"},
		{"content that comes", post + "Content-Length: 70000\r\n\r\n" + pattern(70000), Options{Dispatch: Pool},
			func(env *gateway.Environ, _ io.Writer) { _, _ = io.ReadFull(env.Input(), make([]byte, 69999)) }, "content that is not read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startOn(Inline, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				w, err := start("200 OK", nil, nil)
				if err != nil {
					return nil, err
				}
				if tt.prepare != nil {
					tt.prepare(env, w)
				}
				conn, _, err := env.Hijack()
				if conn != nil || err == nil || !strings.Contains(err.Error(), tt.want) || (tt.options.Dispatch == Auto) != errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("Hijack: %v, %v", conn, err)
				}
				_, _ = io.Copy(io.Discard, env.Input())
				return gateway.Text("answer"), nil
			}), tt.options)
			c := s.dial()
			c.send(tt.request)
			if _, text := c.read("GET"); !strings.HasSuffix(text, "answer") {
				t.Errorf("answered %q", text)
			}
			c.send(tt.request)
			c.read("GET")
		})
	}
}

// Content that was read to its end is not in the way.
func TestHijackBehindContent(t *testing.T) {
	for _, head := range []string{
		"Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	} {
		u := &upgraded{t: t}
		s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if content, err := env.Input().ReadAll(); err != nil || string(content) != "hello" {
				t.Errorf("content %q, %v", content, err)
			}
			return u.Serve(env, start)
		}), Options{Dispatch: Pool})
		for split := range 2 {
			c := s.dial()
			raw := "POST /up HTTP/1.1\r\nHost: h\r\n" + head + "behind"
			at := len(raw)
			if split > 0 {
				at = strings.LastIndex(raw, "hello") + 2
			}
			c.send(raw[:at])
			if split > 0 {
				s.untilAtWork(1)
				c.send(raw[at:])
			}
			speak(t, c, switching+"behind", "")
			speak(t, c, "more", "more")
			_ = c.Close()
			u.wait()
		}
	}
}

// A stop waits for the applications of hijacked connections, until its time is over, and does not close the
// connections.
func TestHijackAndShutdown(t *testing.T) {
	u := &upgraded{t: t}
	s := start(t, u, Options{Dispatch: Pool})
	c := s.dial()
	talk(t, c, "")
	ctx, cancel := shortly()
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(ctx) }()
	<-s.empty // there is nothing else to wait for
	speak(t, c, "still here", "still here")
	select {
	case err := <-stopped:
		t.Fatalf("Shutdown has not waited: %v", err)
	default:
	}
	_ = c.Close()
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	u.wait()
	if log := s.log.String(); strings.Contains(log, "level=WARN") {
		t.Errorf("log:\n%s", log)
	}

	s = start(t, u, Options{Dispatch: Pool})
	c = s.dial()
	talk(t, c, "")
	ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); err != context.DeadlineExceeded {
		t.Errorf("Shutdown: %v, want %v", err, context.DeadlineExceeded)
	}
	if log := s.log.String(); !strings.Contains(log, "hijacked=1") {
		t.Errorf("log:\n%s", log)
	}
	speak(t, c, "still here", "still here")
	_ = c.Close()
	u.wait()
}

// MaxConnections counts connections of the server's alone.
func TestHijackLeavesRoom(t *testing.T) {
	u := &upgraded{t: t}
	s := start(t, u, Options{Dispatch: Pool, MaxConnections: 1, Loops: 1})
	defer u.wait()
	for range 3 {
		c := s.dial()
		defer c.Close()
		talk(t, c, "")
	}
	c := s.dial()
	c.send(get)
	c.want("GET", 200, "Hello, World!")
}

// A deadline works on what Hijack returns, and so does its kind.
func TestHijackDeadline(t *testing.T) {
	result := make(chan error, 1)
	s := start(t, appFunc(func(env *gateway.Environ, _ gateway.StartResponse) (gateway.Body, error) {
		conn, _, err := env.Hijack()
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		if tcp, ok := conn.(*net.TCPConn); !ok || tcp.RemoteAddr().String() != env.RemoteAddr().String() {
			t.Errorf("a %T with %v", conn, conn.RemoteAddr())
		}
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, err = conn.Read(make([]byte, 1))
		result <- err
		return nil, nil
	}), Options{Dispatch: Pool})
	c := s.dial()
	c.send(upgrade)
	if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read: %v", err)
	}
}

// Clients that reset at any moment around it.
func TestHijackChurn(t *testing.T) {
	u := &upgraded{t: t}
	var denied sync.Map
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		body, err := u.Serve(env, start)
		if err != nil && err.Error() != "nor this" {
			denied.Store(err.Error(), true)
		}
		return body, err
	}), Options{Dispatch: Pool})
	open := descriptors(t)
	var wg sync.WaitGroup
	for k := range 6 {
		wg.Go(func() {
			for i := range 50 {
				c, err := net.Dial("tcp", s.addr.String())
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				_, _ = io.WriteString(c, upgrade)
				switch (i + k) % 3 {
				case 0:
					speak(t, c, switching, "")
				case 1:
					_, _ = bufio.NewReader(c).ReadByte()
				}
				_ = c.(*net.TCPConn).SetLinger(0)
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	s.untilConns(0)
	s.untilAtWork(0)
	u.wait()
	denied.Range(func(why, _ any) bool {
		if why != net.ErrClosed.Error() && why != gateway.ErrClientGone.Error() {
			t.Errorf("denied: %s", why)
		}
		return true
	})
	eventually(t, "the descriptors are closed", func() bool { return descriptors(t) <= open })
	s.onLoops(func(_ *shard, lc *loop.Conn) { t.Errorf("%v is still there", fmt.Sprint(lc.RemoteAddr())) })
}
