package server

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

// startCrowd is a server whose application waits for goOn where the path says so.
func startCrowd(t *testing.T, options Options) (s *testServer, goOn chan struct{}) {
	goOn = make(chan struct{})
	return start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		switch env.Path() {
		case "/wait":
			<-goOn
		case "/goexit":
			runtime.Goexit()
		}
		return hello(env, start)
	}), options.with(Options{Dispatch: Pool})), goOn
}

// A server that has stopped has no workers left.
func TestWorkersEndWithTheServer(t *testing.T) {
	s, goOn := startCrowd(t, Options{})
	clients := make([]*client, 3)
	for i := range clients {
		clients[i] = s.dial()
		clients[i].send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
	}
	s.untilAtWork(3)
	for _, c := range clients {
		goOn <- struct{}{}
		defer c.want("GET", 200, "Hello, World!")
	}
	s.untilAtWork(0)
	eventually(t, "they wait for another job", func() bool { return s.workers.Load().Idle == 3 })
	s.dial().send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
	s.untilAtWork(1)
	var closing sync.WaitGroup
	closing.Go(s.Close)
	eventually(t, "those have ended that had no job", func() bool { return s.workers.Load().Idle == 0 })
	goOn <- struct{}{}
	closing.Wait()
	s.untilAtWork(0)
	if n := s.workers.Load().Idle; n != 0 {
		t.Errorf("%d wait for a job", n)
	}
}

// A worker whose application ends the goroutine frees its slot, for the next queued request if there is one.
func TestWorkerGoexit(t *testing.T) {
	s, goOn := startCrowd(t, Options{Workers: 1})
	c := s.dial()
	for range 3 {
		c.send("GET /goexit HTTP/1.1\r\nHost: h\r\n\r\n")
		c.want("GET", 500, "Internal Server Error\n")
	}
	s.untilAtWork(0)
	if n := s.workers.Load().Idle; n != 0 {
		t.Errorf("%d wait for a job, want none: they have ended", n)
	}
	c.send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
	s.untilAtWork(1)
	var clients []*client
	for i, path := range []string{"/goexit", "/"} {
		d := s.dial()
		d.send(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path))
		eventually(t, "it waits", func() bool { waiting := s.workers.Load().Waiting; return waiting == i+1 })
		clients = append(clients, d)
	}
	goOn <- struct{}{}
	c.want("GET", 200, "Hello, World!")
	clients[0].want("GET", 500, "Internal Server Error\n")
	clients[1].want("GET", 200, "Hello, World!")
	s.untilAtWork(0)
}

// Queued requests run in their order, on workers that have worked before, and Workers counts those at work.
func TestWorkerOrder(t *testing.T) {
	var mu sync.Mutex
	var order []string
	goOn := make(chan struct{})
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		mu.Lock()
		order = append(order, strings.Clone(env.Path()))
		mu.Unlock()
		<-goOn
		return hello(env, start)
	}), Options{Dispatch: Pool, Workers: 1})
	var want []string
	for range 2 { // the second time there is a worker without a job
		mu.Lock()
		order, want = nil, nil
		mu.Unlock()
		var clients []*client
		for i := range 6 {
			c := s.dial()
			want = append(want, fmt.Sprint("/", i))
			c.send(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: h\r\n\r\n", want[i]))
			eventually(t, "it is taken on", func() bool {
				load := s.workers.Load()
				return load.Running == 1 && load.Waiting == i
			})
			clients = append(clients, c)
		}
		for _, c := range clients {
			goOn <- struct{}{}
			c.want("GET", 200, "Hello, World!")
		}
		s.untilAtWork(0)
		if mu.Lock(); !slices.Equal(order, want) {
			t.Errorf("served %v, want %v", order, want)
		}
		mu.Unlock()
		eventually(t, "the worker waits", func() bool { return s.workers.Load().Idle == 1 })
	}
}
