package server

import (
	"bytes"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/loop"
)

// heap is what the process has allocated and uses, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools have dropped
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// onlyReads hides that a bytes.Reader can write itself.
type onlyReads struct{ io.Reader }

// An answer of any size to a client that does not read costs bounded memory, in each form in which an application can
// answer: what docs/reliability.md promises for a connection.
func TestSlowReaderMemory(t *testing.T) {
	testrun.Slow(t, "it measures memory")
	const (
		clients = 30
		most    = 400 << 10 // bytes for each: HighWaterBytes, the pieces of it that doubled, a stack
	)
	blob := []byte(pattern(32 << 20))
	for _, tt := range []struct {
		name   string
		writes bool
		app    gateway.App
	}{
		{"one Write of an http.Handler", true, nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(blob) }))},
		{"io.Copy of an http.Handler", true, nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.Copy(struct{ io.Writer }{w}, onlyReads{bytes.NewReader(blob)})
		}))},
		{"write()", true, appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", nil, nil)
			if err != nil {
				return nil, err
			}
			_, err = w.Write(blob)
			return nil, err
		})},
		{"a Body of one chunk", false, ok(next(func() ([]byte, error) { return blob, io.EOF }))},
		{"a Body of small chunks", false, appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 OK", nil, nil)
			return gateway.Reader(bytes.NewReader(blob)), err
		})},
	} {
		test := func(t *testing.T, d DispatchMode) {
			s := startOn(d, t, tt.app, Options{})
			before := heap()
			for range clients {
				c := s.dial()
				_ = c.SetReadBuffer(16 << 10)
				c.send(get)
			}
			eventually(t, "every worker waits for its client, or has left", func() bool {
				full := 0
				s.onLoops(func(sh *shard, lc *loop.Conn) {
					x := lc.Context.(*session).x
					if x == nil || x.app.job == nil {
						return
					}
					x.app.job.mu.Lock()
					defer x.app.job.mu.Unlock()
					if x.app.job.exited || x.app.job.unsent() >= sh.cfg.loop.HighWaterBytes {
						full++
					}
				})
				return full == clients
			})
			each := (heap() - before) / clients
			t.Logf("%d KiB for each", each>>10)
			limit := most
			if raceEnabled { // which keeps more goroutines runnable, and their stacks
				limit += most / 4
			}
			if int(each) > limit {
				t.Errorf("%d KiB for each client that does not read, want at most %d", each>>10, limit>>10)
			}
			if log := s.log.String(); strings.Contains(log, "level=ERROR") {
				t.Errorf("log:\n%s", log)
			}
		}
		t.Run(tt.name, func(t *testing.T) {
			test(t, Pool)
			if tt.writes { // a Body stays on its loop
				test(t, Auto)
			}
		})
	}
}

// With Inline write() is an error when too much is unsent, and the response is cut. With Auto the worker waits.
func TestWriteOnALoopIsBounded(t *testing.T) {
	const (
		total = 512 << 20
		high  = 64 << 10
		most  = unsentHighWaters*high + 1<<20 // and what the sockets have, and a pooled buffer or two
	)
	piece := make([]byte, 1<<20)
	for _, version := range []string{"1.1", "1.0"} {
		failed := make(chan error, 1)
		s := startOn(Inline, t, appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", nil, nil)
			for n := 0; n < total && err == nil; n += len(piece) {
				_, err = w.Write(piece)
			}
			failed <- err
			return nil, nil // it sticks
		}), Options{HighWaterBytes: high})
		before := heap()
		c := s.dial()
		c.send("GET / HTTP/" + version + "\r\nHost: h\r\n\r\n")
		if err := <-failed; err != errTooMuchUnsent {
			t.Errorf("Write: %v, want %v", err, errTooMuchUnsent)
		}
		if grown := heap() - before; grown > most {
			t.Errorf("%d KiB more, want at most %d", grown>>10, most>>10)
		}
		resp, err := http.ReadResponse(c.r, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		if err == nil {
			t.Errorf("HTTP/%s: the response looks whole", version)
		}
		if log := s.log.String(); !strings.Contains(log, "Auto or Pool") {
			t.Errorf("log:\n%s", log)
		}
	}
}

// A request that waits on a worker keeps its own bytes, and no more of what its loop has read.
func TestWaitingRequestMemory(t *testing.T) {
	testrun.Slow(t, "it measures memory")
	const (
		waiting = 64
		most    = 24 << 10 // bytes for each: a goroutine, an exchange, the connection; both of its sides are here
	)
	waits, fills := make(chan struct{}), make(chan struct{})
	fill := "POST /fill HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nContent-Length: 60000\r\n\r\n" + pattern(60000)
	for _, request := range []string{"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n", "POST /wait HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", upgrade} {
		s := startOn(Auto, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if env.Path() == "/fill" {
				<-fills
			} else {
				<-waits
				if content, err := env.Input().ReadAll(); err != nil || env.Method() == "POST" && string(content) != "hello" {
					t.Errorf("content %q, %v", content, err)
				}
			}
			return hello(env, start)
		}), Options{Loops: 1})
		s.allOnWorkers.Store(request != upgrade) // which has a worker anyway
		filler := s.dial()
		before := heap()
		var clients []*client
		for i := range waiting {
			c := s.dial()
			c.send(request)
			clients = append(clients, c)
			s.untilLoad(i+1, 0, 0)
			filler.send(fill) // the rest of what the loop reads into
			s.untilLoad(i+2, 0, 0)
			s.onLoops(func(*shard, *loop.Conn) {})
			fills <- struct{}{}
			filler.want("POST", 200, "Hello, World!")
		}
		each := (heap() - before) / waiting
		t.Logf("%d KiB for each", each>>10)
		if each > most {
			t.Errorf("%.20q: %d KiB for each request that waits, want at most %d", request, each>>10, most>>10)
		}
		for _, c := range clients {
			waits <- struct{}{}
			defer c.want("GET", 200, "Hello, World!")
		}
		s.untilLoad(0, 0, 0)
	}
}
