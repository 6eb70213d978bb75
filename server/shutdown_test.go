package server

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/loop"
)

// A stop does not wait for the peer of an idle connection, which may see the end only when it sends again: with an
// answer a moment ago, long ago, or none at all.
func TestShutdownWaitsForNoIdlePeer(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			s := start(t, appFunc(hello), Options{})
			address := s.addr.String()
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
				if _, err := s.Listen("unix:" + address); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 4 {
				c, err := net.Dial(network, address)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if i%2 == 0 {
					_, _ = io.WriteString(c, get)
					resp, err := http.ReadResponse(bufio.NewReader(c), nil)
					if err != nil {
						t.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, resp.Body)
				}
			}
			s.untilConns(4)
			began := time.Now()
			ctx, cancel := shortly()
			defer cancel()
			if err := s.Shutdown(ctx); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			if took := time.Since(began); took > stopIdleTime+s.config.loop.LingerTime/2 {
				t.Errorf("it took %v, want the second in which a request may be on the way", took)
			}
		})
	}
}

// A loop that an application blocks does not delay the stop of others: they accept no more connections, and their
// last answers say close.
func TestShutdownBesideABlockedLoop(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	held, release := make(chan bool), make(chan bool)
	let := sync.OnceFunc(func() { close(release) })
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if env.Path() == "/hold" {
			held <- true
			<-release
		}
		return hello(env, start)
	}), Options{})
	t.Cleanup(let)
	one, free := s.dialOn(s.reactor.Loops()[0]), s.dialOn(s.reactor.Loops()[1])
	free.send(get)
	free.want("GET", 200, "Hello, World!")
	one.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n")
	<-held
	listeners := func() int {
		files, err := s.reactor.Files()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			_ = f.Close()
		}
		return len(files)
	}
	before := listeners()
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := shortly()
		defer cancel()
		stopped <- s.Shutdown(ctx)
	}()
	eventually(t, "a loop has closed its listener", func() bool { return listeners() < before })
	// With the application on a worker that may be the other loop, and the free one hears of the stop a moment later.
	eventually(t, "an answer of the free loop says close", func() bool {
		free.send(get)
		return free.want("GET", 200, "Hello, World!").Close
	})
	free.wantEnd()
	let()
	one.want("GET", 200, "Hello, World!") // by an exchange that began before its loop heard of the stop
	_, _ = free.Close(), one.Close()
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// dialOn dials until a connection is on l.
func (s *testServer) dialOn(l *loop.Loop) *client {
	s.t.Helper()
	for {
		c, at := s.dial(), (*loop.Loop)(nil)
		eventually(s.t, "the connection is there", func() bool {
			s.onLoops(func(sh *shard, on *loop.Conn) {
				if on.RemoteAddr().String() == c.LocalAddr().String() {
					at = sh.loop
				}
			})
			return at != nil
		})
		if at == l {
			return c
		}
	}
}

// A response that waits is asked when the stop begins, wherever it waits, and can end in
// order; what the application asks of others meanwhile is not cut off.
func TestStopping(t *testing.T) {
	inEachDispatch(t, "a Body that waits", func(t *testing.T, where DispatchMode) {
		s := startOn(where, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_ = env.Waker() // which is never called
			_, err := start("200 OK", nil, nil)
			begun, ctx, stopping := false, env.Context(), env.Stopping()
			return next(func() ([]byte, error) {
				select {
				case <-stopping:
					if err := ctx.Err(); err != nil {
						t.Errorf("Context: %v", err)
					}
					return []byte("bye"), io.EOF
				default:
				}
				if begun {
					return nil, gateway.ErrWait
				}
				begun = true
				return []byte("hello, "), gateway.ErrWait
			}), err
		}), Options{})
		s.stopsWith(func(c *client) { c.want("GET", 200, "hello, bye") })
	})
	for name, where := range map[string]DispatchMode{"Auto": Auto, "Pool": Pool} {
		t.Run("http.Handler, "+name, func(t *testing.T) {
			s := startOn(where, t, nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "hello, ")
				_ = http.NewResponseController(w).Flush()
				ctx, cancel := context.WithCancel(r.Context()) // as middlewares do
				defer cancel()
				<-nethttp.Stopping(ctx)
				if err := ctx.Err(); err != nil {
					t.Errorf("Context: %v", err)
				}
				_, _ = io.WriteString(w, "bye")
			})), Options{})
			s.stopsWith(func(c *client) { c.want("GET", 200, "hello, bye") })
		})
	}
	t.Run("Hijack", func(t *testing.T) {
		s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			conn, _, err := env.Hijack()
			if err != nil {
				return nil, err
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "hello, ")
			<-env.Stopping()
			_, _ = io.WriteString(conn, "bye")
			return nil, nil
		}), Options{Dispatch: Pool})
		s.stopsWith(func(c *client) {
			if b, err := io.ReadAll(c.r); string(b) != "hello, bye" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
		})
	})
}

// stopsWith stops the server when a client has the first of its answer, and expects an end
// in order; want reads the answer.
func (s *testServer) stopsWith(want func(c *client)) {
	s.t.Helper()
	c := s.dial()
	c.send(get)
	_, _ = c.r.Peek(1)
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := shortly()
		defer cancel()
		stopped <- s.Shutdown(ctx)
	}()
	want(c)
	_ = c.Close()
	if err := <-stopped; err != nil {
		s.t.Errorf("Shutdown: %v", err)
	}
}

// Close says that the server stops, too.
func TestStoppingAtClose(t *testing.T) {
	s := start(t, appFunc(hello), Options{})
	s.Close()
	<-s.stopBegan
	s.Close()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
