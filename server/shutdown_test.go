package server

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
)

// A connection that is idle keeps nobody waiting for its peer, which may look at it when
// it needs one: whether it had an answer a moment ago, long ago, or none at all.
func TestShutdownWaitsForNoIdlePeer(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			s := start(t, appFunc(hello))
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
			if took := time.Since(began); took > stopIdleTime+s.config.loop.DrainTime/2 {
				t.Errorf("it took %v, want the second in which a request may be on the way", took)
			}
		})
	}
}

// A loop that an application holds is no trouble of the others when the server stops: they
// let nobody in, and their last answers say so.
func TestShutdownBesideAHeldLoop(t *testing.T) {
	held, release := make(chan bool), make(chan bool)
	let := sync.OnceFunc(func() { close(release) })
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if env.Path() == "/hold" {
			held <- true
			<-release
		}
		return hello(env, start)
	}))
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
	eventually(t, "the free loop lets nobody in", func() bool { return listeners() < before })
	free.send(get)
	if resp := free.want("GET", 200, "Hello, World!"); !resp.Close {
		t.Error("the answer of the free loop does not say close")
	}
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
			s.onLoops(func(h *handler, on *loop.Conn) {
				if on.RemoteAddr().String() == c.LocalAddr().String() {
					at = h.loop
				}
			})
			return at != nil
		})
		if at == l {
			return c
		}
	}
}
