package server

import (
	"context"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/loop"
)

// untilLoad waits until so many requests are on workers, so many are queued, and so many connections are hijacked.
func (s *testServer) untilLoad(working, waiting, hijacked int) {
	s.t.Helper()
	eventually(s.t, "the workers are as they should be", func() bool {
		now := s.Stats()
		return now.Working == working && now.Waiting == waiting && now.Hijacked == hijacked
	})
}

// A hijacked connection frees its slot of Workers, once: then as many requests run as before, and no more.
func TestHijackFreesItsPlace(t *testing.T) {
	for _, d := range []DispatchMode{Pool, Auto} {
		u := &upgraded{t: t}
		goOn := make(chan struct{})
		s := startOn(d, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if env.Query() == "wait" {
				<-goOn
			}
			return u.Serve(env, start)
		}), Options{Workers: 2, WorkerQueue: 3})
		s.allOnWorkers.Store(true) // the application has blocked once
		for range 2 {
			var taken []*client
			for range 5 {
				c := s.dial()
				talk(t, c, "")
				taken = append(taken, c)
			}
			s.untilLoad(0, 0, 5)
			c := s.dial()
			c.send(get)
			c.want("GET", 200, "Hello, World!")

			// A queued request begins when another is hijacked, not when that ends.
			var atWork []*client
			for _, target := range []string{"/up?wait", "/up?wait"} {
				c := s.dial()
				c.send("GET " + target + " HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
				atWork = append(atWork, c)
			}
			s.untilLoad(2, 0, 5)
			c.send(get)
			s.untilLoad(2, 1, 5)
			goOn <- struct{}{}
			c.want("GET", 200, "Hello, World!")
			goOn <- struct{}{}
			s.untilLoad(0, 0, 7)
			for _, c := range append(taken, atWork...) {
				_ = c.Close()
			}
			s.untilLoad(0, 0, 0)
		}

		// There are two places again.
		var clients []*client
		for range 3 {
			c := s.dial()
			c.send("GET /?wait HTTP/1.1\r\nHost: h\r\n\r\n")
			clients = append(clients, c)
		}
		s.untilLoad(2, 1, 0)
		close(goOn)
		for _, c := range clients {
			c.want("GET", 200, "Hello, World!")
		}
		s.untilLoad(0, 0, 0)
	}
}

// A request leaves the queue when its client disconnects. A client that has closed only its sending side gets 503.
func TestWaitingClientIsGone(t *testing.T) {
	goOn := make(chan struct{})
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if env.Path() == "/leaver" {
			t.Error("it is run, for nobody")
		}
		<-goOn
		return readAll(env, start)
	}), Options{Dispatch: Pool, Workers: 2, WorkerQueue: 1})
	path := filepath.Join(t.TempDir(), "s")
	if _, err := s.Listen("unix:" + path); err != nil {
		t.Fatal(err)
	}
	s.dial().send(get)
	s.dial().send(get)
	s.untilLoad(2, 0, 0)
	const (
		leaver = "GET /leaver HTTP/1.1\r\nHost: h\r\n\r\n"
		upload = "POST /leaver HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf"
	)
	for _, request := range []string{leaver, upload} {
		c := s.dial()
		c.send(request)
		s.untilLoad(2, 1, 0)
		c.reset()
		s.untilLoad(2, 0, 0)

		c = s.dial()
		c.send(request)
		s.untilLoad(2, 1, 0)
		_ = c.CloseWrite()
		s.untilLoad(2, 0, 0)
		resp, text := c.read("GET")
		if request == upload {
			if resp.StatusCode != 400 {
				t.Errorf("half an upload: %d %q, want 400", resp.StatusCode, text)
			}
		} else if resp.StatusCode != 503 || !resp.Close || !strings.Contains(text, "closed its sending side") {
			t.Errorf("%d, closes %v, %q; want 503 and why, and the end", resp.StatusCode, resp.Close, text)
		}
		c.wantEnd()
	}
	local, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	_, _ = local.Write([]byte(leaver))
	s.untilLoad(2, 1, 0)
	_ = local.(*net.UnixConn).CloseWrite()
	s.untilLoad(2, 0, 0)

	last := s.dial()
	last.send(get)
	s.untilLoad(2, 1, 0)
	close(goOn)
	last.want("GET", 200, "0 <nil>")
	s.untilLoad(0, 0, 0)
}

// Time runs while a request waits for a worker, too, and the log says what it was spent on.
func TestRequestTimeoutInTheQueue(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	goOn := make(chan struct{})
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		<-goOn
		return hello(env, start)
	}), Options{Dispatch: Pool, Workers: 1, RequestTimeout: time.Minute, LingerTime: 50 * time.Millisecond})
	first, second := s.dial(), s.dial()
	first.send(get)
	s.untilLoad(1, 0, 0)
	second.send(get)
	s.untilLoad(1, 1, 0)
	s.onLoops(func(sh *shard, c *loop.Conn) {
		if x := c.Context.(*session).x; c.RemoteAddr().String() == second.LocalAddr().String() {
			x.app.workerStart -= int64(time.Hour)
			sh.Timeout(c)
		}
	})
	if _, text := second.read("GET"); !strings.Contains(text, "waited for a worker") {
		t.Errorf("answered %q", text)
	}
	if log := s.log.String(); !strings.Contains(log, "waited for a worker") {
		t.Errorf("log:\n%s", log)
	}
	s.untilLoad(1, 0, 0)
	close(goOn)
	first.want("GET", 200, "Hello, World!")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// A hijacked connection is in Connections or Hijacked at every moment. If it were in neither, Shutdown could return
// too early.
func TestHijackIsCountedThroughout(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "a flood of connections")
	goOn := make(chan struct{})
	s := startOn(Pool, t, appFunc(func(env *gateway.Environ, _ gateway.StartResponse) (gateway.Body, error) {
		conn, _, err := env.Hijack()
		if err == nil {
			_ = conn.Close()
			<-goOn
		}
		return nil, err
	}), Options{})
	for range 50 {
		c := s.dial()
		eventually(t, "it is accepted", func() bool { return s.Stats().Connections == 1 })
		c.send(get)
		for s.reactor.Len() > 0 {
			runtime.Gosched()
		}
		if n := s.Stats().Hijacked; n != 1 {
			t.Fatalf("no connection, and %d are taken over, want 1", n)
		}
		goOn <- struct{}{}
		s.untilLoad(0, 0, 0)
	}
}

// A goroutine of an application that still waits in Hijack when the application has returned gets no connection. The
// response is sent, and no slot is freed twice.
func TestHijackIsLeftBehind(t *testing.T) {
	jobs, hold, told := make(chan *job, 1), make(chan bool), make(chan error, 1)
	loops := make(chan *loop.Loop, 1)
	s := startOn(Pool, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		l := <-loops
		at := make(chan *job)
		l.Do(func() {
			at <- connsOf(l)[0].Context.(*session).x.app.job
			<-hold
		})
		j := <-at
		go func() {
			_, _, err := env.Hijack()
			told <- err
		}()
		eventually(t, "it asks", func() bool {
			j.mu.Lock()
			defer j.mu.Unlock()
			return j.out.hijack.requested
		})
		jobs <- j
		return hello(env, start)
	}), Options{Loops: 1})
	loops <- s.reactor.Loops()[0]
	c := s.dial()
	c.send(get)
	j := <-jobs
	eventually(t, "Serve has returned", func() bool { return !j.running() })
	if err := <-told; err == nil {
		t.Error("the connection was taken over")
	}
	close(hold)
	c.want("GET", 200, "Hello, World!")
	_ = c.Close()
	s.untilLoad(0, 0, 0)
	ctx, cancel := shortly()
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}
