package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// reset ends the connection as a client does that vanishes.
func (c *client) reset() {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// wantStats waits until the server has no connection and has counted want, and no
// event twice. Accepted is what the caller has dialled.
func (s *testServer) wantStats(want Stats) {
	s.t.Helper()
	eventually(s.t, "no connection is left", func() bool { return s.Stats().Connections == 0 })
	s.Close() // and nothing more can happen
	got := s.Stats()
	if s.config.dispatch == Auto && want.LoopHandoffs == 0 {
		got.LoopHandoffs = 0 // an application that makes large files takes its time, on a busy machine any one does
	}
	if got != want {
		s.t.Errorf("counted %+v\nwant    %+v\nlog: %s", got, want, s.log)
	}
}

// A reset right behind a request ends its connection while the application is at work: the
// kernel tells of it once only, to whichever call asks first.
func TestResetBehindARequest(t *testing.T) {
	for _, where := range []DispatchMode{Pool, Auto} {
		goOn := make(chan struct{})
		s := startOn(where, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			<-goOn
			return hello(env, start)
		}), Options{})
		for range 100 {
			c := s.dial()
			c.send(get)
			c.reset()
		}
		eventually(t, "no connection is left", func() bool { return s.Stats().Connections == 0 })
		close(goOn)
		s.untilLoad(0, 0, 0)
	}
}

// A client that disconnects at any point of a request or its answer is counted once, has no line in the log above
// debug, and costs nothing afterwards.
func TestLostConnections(t *testing.T) {
	testrun.Slow(t, "waits for timers")
	const growthMax = 20 * 32 << 10 // half a buffer for each of 20
	times := testrun.Rounds(20, 5)
	// The application signals when it begins, and returns when its client has disconnected.
	begun, gone := make(chan bool, 1), make(chan bool)
	held := func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		begun <- true
		<-gone
		return hello(env, start)
	}
	writes := func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 OK", nil, nil)
		for i := 0; err == nil; i++ {
			if _, err = io.WriteString(w, largeText); i == 0 {
				begun <- true
				<-gone
			}
		}
		return nil, fmt.Errorf("writing: %w", err)
	}
	resetWhileItRuns := func(_ *testServer, c *client) {
		<-begun
		c.reset()
		gone <- true
	}
	endless := func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return gateway.Reader(io.LimitReader(zeros{}, 1<<40)), err
	}
	resetWhileItWaits := func(s *testServer, c *client) {
		s.waitPhases(responding, 1)
		c.reset()
	}
	veryLarge := pattern(16 << 20)
	whole := func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return env.Text(veryLarge), err
	}
	readSome := func(_ *testServer, c *client) {
		_, _ = io.ReadFull(c.r, make([]byte, 100_000))
		c.reset()
	}
	// uploaded resets when n bytes of content have come.
	uploaded := func(n int64) func(*testServer, *client) {
		return func(s *testServer, c *client) {
			eventually(t, "the content is here", func() bool { return s.collected() == n })
			c.reset()
		}
	}
	const post = "POST / HTTP/1.1\r\nHost: h\r\n"
	for name, tt := range map[string]struct {
		app    appFunc
		send   string
		client func(s *testServer, c *client) // at the end it resets
		want   Stats
	}{
		"before a byte": {hello, "", func(s *testServer, c *client) {
			eventually(t, "it is accepted", func() bool { return s.Stats().Connections == 1 })
			c.reset()
		}, Stats{LostIdle: 1}},
		"in the head": {hello, "GET / HTTP/1.1\r\nHo", func(s *testServer, c *client) {
			eventually(t, "half a head is here", func() bool { return s.started() == 1 })
			c.reset()
		}, Stats{Lost: 1}},
		"after the head": {hello, post + "Content-Length: 5\r\n\r\n", func(s *testServer, c *client) {
			s.waitPhases(readingBody, 1)
			c.reset()
		}, Stats{Lost: 1}},
		"in the content":             {hello, post + "Content-Length: 5\r\n\r\nab", uploaded(2), Stats{Lost: 1}},
		"in a chunk":                 {hello, post + "Transfer-Encoding: chunked\r\n\r\n5\r\nab", uploaded(2), Stats{Lost: 1}},
		"in content that has a file": {hello, upload(pattern(300_000), 0)[:200_000], uploaded(200_000 - int64(strings.Index(upload(pattern(300_000), 0), "\r\n\r\n")) - 4), Stats{Lost: 1}},
		"in the application":         {held, get, resetWhileItRuns, Stats{Lost: 1}},
		"in the application's write": {writes, get, resetWhileItRuns, Stats{Lost: 1}},
		"while the answer waits":     {endless, get, resetWhileItWaits, Stats{Lost: 1}},
		"in an endless answer":       {endless, get, readSome, Stats{Lost: 1}},
		"in one large chunk":         {whole, get, readSome, Stats{Lost: 1}},
		"in pipelined answers": {appFunc(large.Serve), strings.Repeat(get, 1500), func(s *testServer, c *client) {
			s.waitFull()
			c.reset()
		}, Stats{Lost: 1}},
		"after the answer": {hello, get, func(_ *testServer, c *client) {
			c.want("GET", 200, "Hello, World!")
			c.reset()
		}, Stats{LostIdle: 1}},
		"after the last answer": {hello, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", func(_ *testServer, c *client) {
			c.want("GET", 200, "Hello, World!")
			c.wantEnd()
			c.reset()
		}, Stats{LostIdle: 1}},
		"after a refusal": {hello, "x y z\r\n\r\n", func(_ *testServer, c *client) {
			_, _ = c.read("GET")
			c.wantEnd()
			c.reset()
		}, Stats{Refused: 1, LostIdle: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &files{}
			var open atomic.Int32
			s := startFiles(t, f, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				b, err := tt.app(env, start)
				if b == nil {
					return nil, err
				}
				open.Add(1)
				return openBody{b, &open}, err
			}), Options{})
			vanish := func() {
				c := s.dial()
				_ = c.SetReadBuffer(64 << 10) // or the kernel may take a whole answer
				c.send(tt.send)
				tt.client(s, c)
				eventually(t, "no connection is left", func() bool { return s.Stats().Connections == 0 })
				eventually(t, "the temporary file is closed", func() bool { return f.opened.Load() == f.closed.Load() })
			}
			vanish()
			descriptors, heap := openDescriptors(t), heapBytes()
			for range times {
				vanish()
			}
			eventually(t, "every descriptor is closed", func() bool { return openDescriptors(t) <= descriptors })
			eventually(t, "every body is closed", func() bool { return open.Load() == 0 })
			if n := heapBytes() - heap; n > growthMax {
				t.Errorf("memory has grown by %d bytes, want less than %d", n, growthMax)
			}
			if n := f.opened.Load(); (n > 0) != strings.Contains(name, "file") {
				t.Errorf("%d temporary files", n)
			}
			n := times + 1
			all := uint64(n)
			s.wantStats(Stats{Accepted: all, Lost: all * tt.want.Lost, LostIdle: all * tt.want.LostIdle, Refused: all * tt.want.Refused})
			if log := s.log.String(); strings.Count(log, "connection lost") != n ||
				strings.Count(log, "level=DEBUG")+strings.Count(log, `level=INFO msg="request refused"`) != strings.Count(log, "level=") {
				t.Errorf("the log is %s", log)
			}
		})
	}
}

// openBody is a Body that counts for how long it is open.
type openBody struct {
	gateway.Body
	open *atomic.Int32
}

func (b openBody) Close() error {
	b.open.Add(-1)
	return b.Body.Close()
}

// Every other counter, at the event that it is for.
func TestStats(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	const short = 30 * time.Millisecond
	part := func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return gateway.Stream(func(yield func([]byte, error) bool) {
			_ = yield([]byte("part"), nil) && yield(nil, errors.New("too late"))
		}), err
	}
	fails := func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) { return nil, errors.New("test") }
	panics := func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) { panic("test") }
	endless := func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return gateway.Reader(io.LimitReader(zeros{}, 1<<40)), err
	}
	// answered wants the status, and the end.
	answered := func(status int) func(*testServer, *client) {
		return func(_ *testServer, c *client) {
			if resp, _, err := c.tryRead("GET"); resp == nil || resp.StatusCode != status {
				t.Errorf("answered %v, %v; want %d", resp, err, status)
			}
		}
	}
	for name, tt := range map[string]struct {
		app     appFunc
		options Options
		send    string
		client  func(s *testServer, c *client)
		want    Stats
	}{
		"good":    {hello, Options{}, get + get + "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", answered(200), Stats{Accepted: 1}},
		"refused": {hello, Options{}, get + "GET / HTTP/1.1\r\n\r\n", answered(200), Stats{Accepted: 1, Refused: 1}},
		"cut in order": {hello, Options{}, "GET / HT", func(_ *testServer, c *client) {
			_ = c.CloseWrite()
			answered(400)(nil, c)
		}, Stats{Accepted: 1, Refused: 1}},
		"failed":             {fails, Options{}, get, answered(500), Stats{Accepted: 1, Failed: 1}},
		"panicked":           {panics, Options{}, get, answered(500), Stats{Accepted: 1, Failed: 1}},
		"failed in Close":    {appFunc(ok(panicsInClose{gateway.Text("x")}).Serve), Options{}, get, answered(200), Stats{Accepted: 1, Failed: 1}},
		"aborted":            {part, Options{}, get, answered(200), Stats{Accepted: 1, Failed: 1, Aborted: 1}},
		"aborted by a reset": {part, Options{}, "GET / HTTP/1.0\r\n\r\n", func(_ *testServer, c *client) { _, _ = io.ReadAll(c) }, Stats{Accepted: 1, Failed: 1, Aborted: 1}},
		"head timeout":       {hello, Options{HeadTimeout: short}, "GET / HT", answered(408), Stats{Accepted: 1, Refused: 1, HeadTimeouts: 1}},
		"body timeout":       {reads, Options{BodyTimeout: short}, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na", answered(408), Stats{Accepted: 1, Refused: 1, BodyTimeouts: 1}},
		"rate timeout": {reads, Options{BodyTimeout: 20 * short, BodyRate: 1000}, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n", func(_ *testServer, c *client) {
			stop, stopped := make(chan bool), make(chan bool)
			go func() { // steady, but slow
				defer close(stopped)
				for {
					select {
					case <-stop:
						return
					case <-time.After(short / 3):
						_, _ = io.WriteString(c, "x")
					}
				}
			}()
			answered(408)(nil, c)
			close(stop)
			<-stopped
		}, Stats{Accepted: 1, Refused: 1, RateTimeouts: 1}},
		"idle timeout": {hello, Options{IdleTimeout: 10 * short}, get, func(_ *testServer, c *client) {
			answered(200)(nil, c)
			c.wantEnd()
		}, Stats{Accepted: 1, IdleTimeouts: 1}},
		"stalled": {endless, Options{WriteTimeout: short}, get, func(s *testServer, c *client) {
			eventually(t, "it is cut", func() bool { return s.Stats().Stalled == 1 })
		}, Stats{Accepted: 1, Stalled: 1}},
		"stopped": {hello, Options{}, "GET / HT", func(s *testServer, c *client) {
			eventually(t, "half a head is here", func() bool { return s.started() == 1 })
			s.Close()
		}, Stats{Accepted: 1, Stopped: 1}},
		"displaced": {hello, Options{Loops: 1, MaxConnections: 1}, get, func(s *testServer, c *client) {
			answered(200)(nil, c)
			s.dial().exchangeHello()
			c.wantEnd()
		}, Stats{Accepted: 2, EvictedIdle: 1}},
		"crowded": {hello, Options{Loops: 1, MaxConnections: 1}, "GET / HT", func(s *testServer, c *client) {
			eventually(t, "half a head is here", func() bool { return s.started() == 1 })
			other := s.dial()
			answered(503)(nil, other)
			_ = other.Close()
			c.send("TP/1.1\r\nHost: h\r\n\r\n")
			answered(200)(nil, c)
		}, Stats{Accepted: 2, RefusedFull: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, tt.app, tt.options)
			c := s.dial()
			c.send(tt.send)
			tt.client(s, c)
			_ = c.CloseWrite()
			_, _ = io.Copy(io.Discard, c.r)
			_ = c.Close()
			s.wantStats(tt.want)
		})
	}
}

// A client for which there is no descriptor was not accepted, and is counted.
func TestStatsWithoutDescriptors(t *testing.T) {
	s := start(t, appFunc(hello), Options{Loops: 1})
	s.dial().exchangeHello()
	eventually(t, "no connection is left", func() bool { return s.Stats().Connections == 0 })
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	tight := old
	for tight.Cur = 3; ; tight.Cur++ { // the lowest free descriptor is the limit
		if _, err := unix.FcntlInt(uintptr(tight.Cur), unix.F_GETFD, 0); err == unix.EBADF {
			break
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &tight); err != nil {
		t.Fatal(err)
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: s.addr.(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}})
	b := make([]byte, 1000)
	n, _ := unix.Read(fd, b)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err != nil || !strings.HasPrefix(string(b[:max(n, 0)]), "HTTP/1.1 503 ") {
		t.Errorf("answered %q, %v; want 503", b[:max(n, 0)], err)
	}
	s.wantStats(Stats{Accepted: 1, NoDescriptor: 1})
}
