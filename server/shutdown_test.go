package server

import (
	"sync"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
)

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
