package server

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/loop"
)

// onLoops calls f for every connection, on its loop.
func (s *testServer) onLoops(f func(sh *shard, c *loop.Conn)) {
	s.t.Helper()
	for _, l := range s.reactor.Loops() {
		done := make(chan struct{})
		l.Do(func() {
			defer close(done)
			for _, c := range connsOf(l) {
				f(l.Handler().(*shard), c)
			}
		})
		<-done
	}
}

// untilConns waits until the server has n connections, and has ended the others.
func (s *testServer) untilConns(n int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("there are %d connections", n), func() bool { return s.reactor.Len() == n })
	s.onLoops(func(*shard, *loop.Conn) {}) // a connection counts until its descriptor is closed, Closed comes after that
}

// A request that waits in its socket, unread, is no reason to take its connection
// for idle: when the server stops, and when there are too many connections.
func TestUnreadRequestIsNotIdle(t *testing.T) {
	unread := func(c *client, on *loop.Conn) {
		c.send(get)
		eventually(t, "the request waits", on.Unread)
	}
	t.Run("stop", func(t *testing.T) {
		s := start(t, appFunc(hello), Options{})
		c := s.dial()
		c.send(get)
		c.want("GET", 200, "Hello, World!")
		s.onLoops(func(sh *shard, on *loop.Conn) {
			on.Context.(*session).lastActive -= int64(stopIdleTime)
			unread(c, on)
			sh.stop()
		})
		if resp := c.want("GET", 200, "Hello, World!"); !resp.Close {
			t.Error("the last answer does not say close")
		}
		c.wantEnd()
	})
	t.Run("too many connections", func(t *testing.T) {
		s := start(t, appFunc(hello), Options{Loops: 1})
		c := s.dial()
		c.send(get)
		c.want("GET", 200, "Hello, World!")
		s.onLoops(func(sh *shard, on *loop.Conn) {
			unread(c, on)
			if sh.evictIdle(nil) {
				t.Error("it was closed")
			}
		})
		c.want("GET", 200, "Hello, World!")
	})
}

// A connection that has been idle for stopIdleTime is closed at once, one that has not
// sent anything yet has that time from now on.
func TestShutdownClosesIdle(t *testing.T) {
	s := start(t, appFunc(hello), Options{Loops: 1})
	idle, fresh := s.dial(), s.dial()
	idle.send(get)
	idle.want("GET", 200, "Hello, World!")
	s.waitPhases(readingHead, 2)
	s.onLoops(func(_ *shard, c *loop.Conn) { c.Context.(*session).lastActive -= int64(stopIdleTime) })
	began := time.Now()
	go func() {
		ctx, cancel := shortly()
		defer cancel()
		_ = s.Shutdown(ctx)
	}()
	idle.wantEnd()
	if took := time.Since(began); took >= stopIdleTime {
		t.Errorf("closed after %v", took)
	}
	fresh.send(get)
	if resp := fresh.want("GET", 200, "Hello, World!"); !resp.Close {
		t.Error("the last answer does not say close")
	}
	fresh.wantEnd()
}

// An application has blocked the loop, so its clock is late: a connection that was served at the end of that time was
// not idle for all of it when the server stops.
func TestShutdownAfterABlockedLoop(t *testing.T) {
	s := start(t, appFunc(hello), Options{Loops: 1, Dispatch: Inline})
	c := s.dial()
	c.send(get)
	c.want("GET", 200, "Hello, World!")
	s.onLoops(func(sh *shard, _ *loop.Conn) {
		sh.Tick(time.Now().Add(2 * stopIdleTime))
		sh.stop()
	})
	c.send(get)
	if resp := c.want("GET", 200, "Hello, World!"); !resp.Close {
		t.Error("the last answer does not say close")
	}
	c.wantEnd()
}

// The head of a response did not say close, and then the server stops: the next request is answered, and that answer
// says close.
func TestShutdownKeepsAPromise(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	content := pattern(8 << 20) // more than the small sockets hold
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return env.Text(content), err
	}), Options{})
	c := s.dial()
	_ = c.SetReadBuffer(64 << 10)
	c.send(get)
	s.waitPhases(responding, 1)
	stopped := make(chan error)
	go func() {
		ctx, cancel := shortly()
		defer cancel()
		stopped <- s.Shutdown(ctx)
	}()
	s.waitStopping()
	c.send(get) // waits in its socket
	if resp := c.want("GET", 200, content); resp.Close {
		t.Fatal("the head says close")
	}
	if resp := c.want("GET", 200, content); !resp.Close {
		t.Error("the last answer does not say close")
	}
	c.wantEnd()
	_ = c.Close()
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// Under load Shutdown loses no request: clients that keep sending get complete answers, until one says close.
func TestShutdownUnderLoad(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "a flood of connections")
	const clients = 32
	content := pattern(50_000)
	for range testrun.Rounds(5, 2) {
		var served, answered atomic.Int64
		s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			served.Add(1)
			_, err := start("200 OK", nil, nil)
			if env.Path() == "/small" {
				return env.Text("small"), err
			}
			return env.Text(content), err
		}), Options{})
		var load sync.WaitGroup
		for i := range clients {
			c := s.dial()
			request, want := "GET /small HTTP/1.1\r\nHost: h\r\n\r\n", "small"
			switch i % 3 {
			case 1:
				request, want = get, content
			case 2: // is often half sent
				request, want = upload(content, 0), content
			}
			load.Go(func() {
				defer c.Close()
				for last := time.Now(); ; {
					began := time.Now()
					_, _ = io.WriteString(c, request)
					paused := time.Since(last) // at most: the server has seen the last one later
					last = began
					resp, err := http.ReadResponse(c.r, nil)
					if err != nil {
						if paused < stopIdleTime {
							t.Errorf("no answer, %v after the last request: %v", paused, err)
						}
						return
					}
					got, err := io.ReadAll(resp.Body)
					if err != nil || string(got) != want {
						t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
						return
					}
					answered.Add(1)
					if resp.Close {
						return
					}
				}
			})
		}
		eventually(t, "load", func() bool { return answered.Load() > 20*clients })
		ctx, cancel := shortly()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		cancel()
		load.Wait()
		if served.Load() != answered.Load() {
			t.Errorf("%d requests were served, %d answered", served.Load(), answered.Load())
		}
	}
}
