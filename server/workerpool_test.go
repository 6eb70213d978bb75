package server

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

// spares is how many workers wait for a job.
func (s *testServer) spares() int {
	s.workers.mu.Lock()
	defer s.workers.mu.Unlock()
	return len(s.workers.idle)
}

// keepSpares sets how long they do, for those to come.
func (s *testServer) keepSpares(d time.Duration) {
	s.workers.mu.Lock()
	defer s.workers.mu.Unlock()
	s.workers.idleTime = d
}

// resting is how many goroutines of this process do.
func resting() int {
	stacks := make([]byte, 1<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), inRest)
}

// crowd has n workers at work at once, and waits until they have finished.
func (s *testServer) crowd(n int, goOn chan struct{}) {
	s.t.Helper()
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = s.dial()
		clients[i].send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
	}
	s.untilAtWork(n)
	for _, c := range clients {
		goOn <- struct{}{}
		defer c.want("GET", 200, "Hello, World!")
	}
	s.untilAtWork(0)
}

// startCrowd is a server whose application waits for goOn where the path says so.
func startCrowd(t *testing.T, options ...Option) (s *testServer, goOn chan struct{}) {
	goOn = make(chan struct{})
	return start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		switch env.Path() {
		case "/wait":
			<-goOn
		case "/goexit":
			runtime.Goexit()
		}
		return hello(env, start)
	}), append(options, Dispatch(Pool))...), goOn
}

func goroutinesCreated() uint64 {
	sample := []metrics.Sample{{Name: "/sched/goroutines-created:goroutines"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// A worker that has finished takes the next job on.
func TestCrewKeepsWorkers(t *testing.T) {
	const requests = 500
	s, _ := startCrowd(t)
	c := s.dial()
	before := goroutinesCreated()
	for range requests {
		c.send(get)
		c.want("GET", 200, "Hello, World!")
	}
	if n := goroutinesCreated() - before; n > requests/10 {
		t.Errorf("%d goroutines for %d requests one after the other", n, requests)
	}
}

// Those that have nothing to do go away, and who has worked last stays.
func TestCrewSpare(t *testing.T) {
	const n = 6
	s, goOn := startCrowd(t)
	s.keepSpares(time.Hour) // this test is the clock
	s.crowd(n, goOn)
	eventually(t, "they wait for another job", func() bool { return s.spares() == n && resting() == n })
	s.workers.sweepIdle()
	if got := s.spares(); got != n {
		t.Errorf("%d are left that have just worked, want %d", got, n)
	}
	s.crowd(2, goOn)
	eventually(t, "they wait again", func() bool { return s.spares() == n })
	s.workers.sweepIdle()
	if got := s.spares(); got != 2 {
		t.Errorf("%d are left, want 2 that have worked", got)
	}
	eventually(t, "the others have ended", func() bool { return resting() == 2 })
	s.workers.sweepIdle()
	if got := s.spares(); got != 0 {
		t.Errorf("%d are left, want none", got)
	}
	s.keepSpares(time.Millisecond)
	s.crowd(n, goOn)
	eventually(t, "they go away by themselves", func() bool { return s.spares() == 0 && resting() == 0 })
	s.crowd(n, goOn)
}

// Nobody waits for a job of a server that has stopped, whether it had one or not then.
func TestCrewEnds(t *testing.T) {
	s, goOn := startCrowd(t)
	s.crowd(3, goOn)
	eventually(t, "they wait for another job", func() bool { return s.spares() == 3 })
	s.dial().send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
	s.untilAtWork(1)
	var closing sync.WaitGroup
	closing.Go(s.Close)
	eventually(t, "those have ended that had no job", func() bool { return s.spares() == 0 && resting() == 0 })
	goOn <- struct{}{}
	closing.Wait()
	eventually(t, "the last has ended", func() bool { return resting() == 0 })
	if n := s.spares(); n != 0 {
		t.Errorf("%d wait for a job", n)
	}
}

// A worker whose application ends the goroutine leaves its place, to who waits for it
// if there is one.
func TestCrewGoexit(t *testing.T) {
	s, goOn := startCrowd(t, Workers(1))
	c := s.dial()
	for range 3 {
		c.send("GET /goexit HTTP/1.1\r\nHost: h\r\n\r\n")
		c.want("GET", 500, "Internal Server Error\n")
	}
	s.untilAtWork(0)
	if n := s.spares(); n != 0 {
		t.Errorf("%d wait for a job, want none: they have ended", n)
	}
	c.send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
	s.untilAtWork(1)
	var clients []*client
	for i, path := range []string{"/goexit", "/"} {
		d := s.dial()
		d.send(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path))
		eventually(t, "it waits", func() bool { _, waiting, _ := s.workers.load(); return waiting == i+1 })
		clients = append(clients, d)
	}
	goOn <- struct{}{}
	c.want("GET", 200, "Hello, World!")
	clients[0].want("GET", 500, "Internal Server Error\n")
	clients[1].want("GET", 200, "Hello, World!")
	s.untilAtWork(0)
}

// Who waits is served in the order they came, by workers that have worked before, and
// Workers counts those at work.
func TestCrewOrder(t *testing.T) {
	var mu sync.Mutex
	var order []string
	goOn := make(chan struct{})
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		mu.Lock()
		order = append(order, strings.Clone(env.Path()))
		mu.Unlock()
		<-goOn
		return hello(env, start)
	}), Dispatch(Pool), Workers(1))
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
				busy, waiting, _ := s.workers.load()
				return busy == 1 && waiting == i
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
		eventually(t, "the worker waits", func() bool { return s.spares() == 1 })
	}
}
