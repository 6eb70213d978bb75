package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/server/internal/respond"
)

// What once went wrong, or nearly did: each test here is a trap the code steps
// around.

// large answers with 16 KiB, many of which fill a socket.
var large = appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	_, err := start("200 OK", nil, nil)
	return env.Text(largeText), err
})

var largeText = pattern(copyBytesMax)

// full sends n pipelined requests and returns when their answers have filled the
// socket: the server has stopped reading.
func (s *testServer) full(n int) *client {
	s.t.Helper()
	c := s.dial()
	go func() { _, _ = io.WriteString(c, strings.Repeat(get, n)) }()
	s.waitFull()
	return c
}

// waitFull returns when a connection's output is full, or it has yielded with requests left, or with output below the
// mark, and its socket has no room: its turn does not come.
func (s *testServer) waitFull() {
	s.t.Helper()
	type kept struct{ in, out int64 }
	before := map[*loop.Conn]kept{}
	eventually(s.t, "the output is full", func() bool {
		is, full := make(chan bool), false
		for _, l := range s.reactor.Loops() {
			l.Do(func() {
				full := false
				for _, c := range connsOf(l) {
					now := kept{in: int64(c.Unused())}
					if c.Yielded() {
						now.out = c.Unsent()
					}
					full = full || c.Full() || now != kept{} && now == before[c]
					before[c] = now
				}
				is <- full
			})
			full = <-is || full
		}
		return full
	})
}

// Time that the client takes to read is not its idle time: pipelined requests
// that wait behind a full socket are answered all.
func TestIdleTimeDoesNotRunWhileTheSocketIsFull(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	const n = 1500
	const idle = time.Second // a busy machine takes some of it before the first request is here
	s := start(t, large, Options{IdleTimeout: idle})
	c := s.full(n)
	time.Sleep(5 * idle / 4)
	for range n {
		c.want("GET", 200, largeText)
	}
	c.wantEnd() // and then it does
}

// A response that fails takes no complete answer with it.
func TestFailureKeepsEarlierAnswers(t *testing.T) {
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if env.Path() != "/fails" {
			return large(env, start)
		}
		w, err := start("200 OK", nil, nil)
		if err != nil {
			return nil, err
		}
		_, _ = w.Write([]byte("part"))
		return nil, errors.New("too late")
	}), Options{})
	c := s.dial()
	const n = 30
	c.send(strings.Repeat(get, n) + "GET /fails HTTP/1.1\r\nHost: h\r\n\r\n" + strings.Repeat(get, n))
	for range n {
		c.want("GET", 200, largeText)
	}
	if _, got, err := c.tryRead("GET"); err == nil || got != "part" {
		t.Errorf("the failed response is %q, %v; want a part and an error", got, err)
	}
}

// An HTTP/1.0 response that the end of the connection ends is reset if it is not complete.
func TestFailureShowsToHTTP10(t *testing.T) {
	s := start(t, ok(gateway.Stream(func(yield func([]byte, error) bool) {
		_ = yield([]byte("part"), nil) && yield(nil, errors.New("too late"))
	})), Options{})
	c := s.dial()
	c.send("GET / HTTP/1.0\r\n\r\n")
	if b, err := io.ReadAll(c.r); err == nil {
		t.Errorf("read %q and then the end; want an error", b)
	}
}

// write() beyond Content-Length: what fits is sent and counted, and the connection stays open.
func TestWriteTooLong(t *testing.T) {
	s := start(t, appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 OK", []gateway.Header{{Name: "Content-Length", Value: "5"}}, nil)
		if err != nil {
			return nil, err
		}
		if n, err := w.Write([]byte("hello world")); n != 5 || err != respond.ErrTooLong {
			t.Errorf("Write = %d, %v; want 5, %v", n, err, respond.ErrTooLong)
		}
		return nil, nil
	}), Options{})
	c := s.dial()
	c.send(get + get)
	c.want("GET", 200, "hello")
	c.want("GET", 200, "hello")
}

// writesInClose is what a middleware that compresses might do.
type writesInClose struct {
	gateway.Body
	w   io.Writer
	err error
}

func (b *writesInClose) Close() error {
	_, b.err = b.w.Write([]byte("tail"))
	return b.err
}

// Nothing is written behind the end of a response.
func TestWriteInClose(t *testing.T) {
	s := start(t, appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 OK", nil, nil)
		return &writesInClose{Body: chunks("a", "b"), w: w}, err
	}), Options{})
	c := s.dial()
	c.send(get + get)
	c.want("GET", 200, "ab")
	c.want("GET", 200, "ab")
	if !strings.Contains(s.log.String(), net.ErrClosed.Error()) {
		t.Error("nothing in the log")
	}
}

// An application that writes to a client which has disconnected gets an error, on loop and worker.
func TestWriteToAClientThatLeft(t *testing.T) {
	for name, dispatch := range map[string]DispatchMode{"Auto": Auto, "Inline": Inline, "Pool": Pool} {
		t.Run(name, func(t *testing.T) {
			told := make(chan error, 3)
			begun := make(chan bool)
			s := startOn(dispatch, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				w, err := start("200 OK", nil, nil)
				if err != nil {
					return nil, err
				}
				close(begun)
				for deadline := time.Now().Add(20 * time.Second); err == nil && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
					_, err = w.Write([]byte("x"))
				}
				told <- err
				told <- gateway.Flush(w)
				_, again := w.Write([]byte("x"))
				told <- again
				return nil, err
			}), Options{})
			c := s.dial()
			c.send(get)
			<-begun
			_ = c.SetLinger(0)
			_ = c.Close()
			for range cap(told) {
				if err := <-told; !errors.Is(err, net.ErrClosed) || err != gateway.ErrClientGone || !strings.Contains(err.Error(), "client") {
					t.Errorf("%v, want %v", err, gateway.ErrClientGone)
				}
			}
			s.untilConns(0)
			if strings.Contains(s.log.String(), "the application failed") {
				t.Errorf("the log has it: %s", s.log)
			}
		})
	}
}

// A writer, and start, that were kept from one request do nothing in the next.
func TestStaleWriter(t *testing.T) {
	var w io.Writer
	var again gateway.StartResponse
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if w != nil {
			if n, err := w.Write([]byte("of the first")); n != 0 || err != net.ErrClosed {
				t.Errorf("Write = %d, %v; want 0, %v", n, err, net.ErrClosed)
			}
			if err := gateway.Flush(w); err != net.ErrClosed {
				t.Errorf("Flush: %v", err)
			}
			return hello(env, start)
		}
		var err error
		w, err = start("200 OK", []gateway.Header{{Name: "Set-Cookie", Value: "secret"}}, nil)
		again = start
		return env.Text("first"), err
	}), Options{Loops: 1})
	c := s.dial()
	c.send(get)
	c.want("GET", 200, "first")
	done := make(chan bool)
	s.reactor.Loops()[0].Do(func() { // between two requests
		defer close(done)
		if _, err := w.Write([]byte("x")); err != net.ErrClosed {
			t.Errorf("Write between requests: %v", err)
		}
		if err := gateway.Flush(w); err != net.ErrClosed {
			t.Errorf("Flush between requests: %v", err)
		}
		if _, err := again("200 OK", nil, nil); err != net.ErrClosed {
			t.Errorf("start between requests: %v", err)
		}
	})
	<-done
	c.send(get)
	if resp := c.want("GET", 200, "Hello, World!"); resp.Header["Set-Cookie"] != nil {
		t.Error("the second response has a field of the first")
	}
}

// Urgent data ends a read early although there is more behind it.
func TestUrgentData(t *testing.T) {
	s := start(t, appFunc(hello), Options{})
	for range 20 {
		c := s.dial()
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		c.send("GET / HTTP/1.1\r\nHost: h\r\n")
		if err := raw.Control(func(fd uintptr) { err = syscall.Sendto(int(fd), []byte("!"), syscall.MSG_OOB, nil) }); err != nil {
			t.Fatal(err)
		}
		c.send("\r\n")
		if resp, _ := c.read("GET"); resp.StatusCode != 200 { // the urgent byte is not in the stream
			t.Errorf("answered %d", resp.StatusCode)
		}
	}
}

// "Never" is a duration too.
func TestHugeTimeouts(t *testing.T) {
	const never = time.Duration(math.MaxInt64)
	s := start(t, appFunc(hello), Options{IdleTimeout: never, HeadTimeout: never, BodyTimeout: never, WriteTimeout: never})
	c := s.dial()
	c.send("GET / HT")
	c.send("TP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n")
	c.send("x")
	c.want("GET", 200, "Hello, World!")
}

// A refused HEAD has no content either, wherever it is refused or cut.
func TestRefusedHEAD(t *testing.T) {
	s := start(t, appFunc(hello), Options{})
	for in, status := range map[string]string{
		"HEAD / HTTP/1.1\r\nHost: h\r\nExpect: more\r\n\r\n": "417",
		"HEAD / HTTP/1.1\r\nHost: h\r\nBad : x\r\n\r\n":      "400",
		"\r\nHEAD /# HTTP/1.1\r\n":                           "400",
		"HEAD / HTTP/1.1\r\nHos":                             "400", // and the end
	} {
		got := s.exchange(in)
		if !strings.HasPrefix(got, "HTTP/1.1 "+status+" ") || !strings.HasSuffix(got, "\r\n\r\n") {
			t.Errorf("%q: answered %q, want %s, a head alone", in, got, status)
		}
	}
}

// An error of ListenAndServe leaves no descriptors open.
func TestListenAndServeCleansUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	before := openDescriptors(t)
	for range 20 {
		if err := ListenAndServe(l.Addr().String(), appFunc(hello), Options{}); err == nil {
			t.Fatal("it listens on a taken port")
		}
	}
	if after := openDescriptors(t); after > before+5 {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestShutdownAfterClose(t *testing.T) {
	s := start(t, appFunc(hello), Options{})
	s.Close()
	if err := s.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown after Close: %v", err)
	}
	if _, err := s.Listen("127.0.0.1:0"); err == nil {
		t.Error("Listen after Close: no error")
	}
}

// An application that blocks its loop: Shutdown returns when its context ends, and a second signal ends the program.
func TestShutdownOfABlockedLoop(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	held, release := make(chan bool, 2), make(chan bool)
	app := appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		held <- true
		<-release
		return hello(env, start)
	})
	s := startOn(Inline, t, app, Options{})
	c := s.dial()
	c.send(get)
	<-held
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); err != errLoopBlocked {
		t.Errorf("Shutdown: %v, want %v", err, errLoopBlocked)
	}

	url, signals, ended := runs(t, app, Options{})
	_, _ = io.WriteString(dialURL(t, url), get)
	<-held
	if _, err := interrupt(t, signals, ended); err != errSecondSignal {
		t.Errorf("run: %v, want %v", err, errSecondSignal)
	}
	close(release)
}

// A listener given to Serve accepts no connection while the server drains.
func TestShutdownClosesAGivenListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(appFunc(echo), Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	busy := (&testServer{s, t, l.Addr(), nil, nil}).dial()
	busy.send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
	if resp, _ := busy.read("POST"); resp.StatusCode != 100 {
		t.Fatalf("answered %d", resp.StatusCode)
	}
	stopped := make(chan error)
	go func() {
		ctx, cancel := shortly()
		defer cancel()
		stopped <- s.Shutdown(ctx)
	}()
	eventually(t, "the port is closed", func() bool {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	busy.send("x")
	busy.want("POST", 200, "x")
	_ = busy.Close()
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// Requests that had come when Shutdown began are answered, all of them, and the
// last answer says close.
func TestShutdownAnswersWhatHasCome(t *testing.T) {
	const n = 1200 // fits one read, but their answers fit no socket
	s := start(t, large, Options{})
	c := s.full(n)
	stopped := make(chan error)
	go func() {
		ctx, cancel := shortly()
		defer cancel()
		stopped <- s.Shutdown(ctx)
	}()
	s.waitStopping()
	for i := range n {
		if resp := c.want("GET", 200, largeText); resp.Close != (i == n-1) {
			t.Fatalf("answer %d of %d: close is %v", i+1, n, resp.Close)
		}
	}
	c.wantEnd()
	_ = c.Close()
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}
