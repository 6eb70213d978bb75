package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// chunkSource is what a body of the table is made of: chunk after chunk, until the end, an
// error or a panic.
type chunkSource struct {
	n     int // chunks left; negative for ever
	fault func() error
	chunk []byte
}

func (s *chunkSource) next() ([]byte, error) {
	if s.n == 0 {
		if s.fault != nil {
			return nil, s.fault()
		}
		return nil, io.EOF
	}
	s.n--
	return s.chunk, nil
}

func (s *chunkSource) Read(p []byte) (int, error) {
	b, err := s.next()
	return copy(p, b), err
}

// kindsOfBody are all that a body may be, each with what counts how often it was closed.
var kindsOfBody = map[string]func(t *testing.T, s *chunkSource, closes *atomic.Int32) gateway.Body{
	"Body": func(_ *testing.T, s *chunkSource, closes *atomic.Int32) gateway.Body {
		return &countedBody{next(s.next), closes}
	},
	"Stream": func(_ *testing.T, s *chunkSource, closes *atomic.Int32) gateway.Body {
		return gateway.Stream(func(yield func([]byte, error) bool) {
			defer closes.Add(1)
			for {
				b, err := s.next()
				if err == io.EOF || !yield(b, err) {
					return
				}
			}
		})
	},
	"Reader": func(_ *testing.T, s *chunkSource, closes *atomic.Int32) gateway.Body {
		return gateway.Reader(&countedReader{s, closes})
	},
	"Chunks": func(_ *testing.T, s *chunkSource, closes *atomic.Int32) gateway.Body {
		list := make([][]byte, max(s.n, 0))
		for i := range list {
			list[i] = s.chunk
		}
		return &countedBody{gateway.Chunks(list...), closes}
	},
	"File": func(t *testing.T, s *chunkSource, closes *atomic.Int32) gateway.Body {
		f, err := os.OpenFile(filepath.Join(t.TempDir(), "file"), os.O_CREATE|os.O_RDWR, 0o600)
		if err == nil {
			err = f.Truncate(int64(len(s.chunk)) * int64(max(s.n, 0)))
		}
		if err != nil {
			t.Error(err)
		}
		go func() { // the file itself cannot be counted: a second Close is a line in the log
			for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
				if _, err := f.Stat(); errors.Is(err, os.ErrClosed) {
					closes.Add(1)
					return
				}
			}
		}()
		return gateway.File(f)
	},
	"a Body that waits": func(_ *testing.T, s *chunkSource, closes *atomic.Int32) gateway.Body {
		waited := false
		return &countedBody{next(func() ([]byte, error) {
			if waited = !waited; waited {
				return nil, gateway.ErrWait
			}
			return s.next()
		}), closes}
	},
}

type countedBody struct {
	gateway.Body
	closes *atomic.Int32
}

func (b *countedBody) Close() error { b.closes.Add(1); return b.Body.Close() }

type countedReader struct {
	io.Reader
	closes *atomic.Int32
}

func (r *countedReader) Close() error { r.closes.Add(1); return nil }

// Close is called once for each kind of body, on every path that ends a response.
func TestCloseOnEveryPath(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	const large = 2000 // chunks of 10,000 bytes, more than sockets take
	boom := errors.New("boom")
	held := func(s *testServer, c *client) {
		_, _ = io.ReadFull(c.r, make([]byte, 1000))
		s.waitPhases(responding, 1)
	}
	for _, tt := range []struct {
		name     string
		method   string
		status   string
		declared string
		chunks   int
		fault    func() error
		options  Options
		serve    error // of Serve
		then     func(s *testServer, c *client)
		not      string // kinds that cannot be so
		unasked  bool   // Next may never be called, so that a Stream has nothing to clean up
	}{
		{name: "end", chunks: 3, then: func(_ *testServer, c *client) { c.read("GET") }},
		{name: "end of nothing", then: func(_ *testServer, c *client) { c.want("GET", 200, "") }},
		{name: "end of much", chunks: testrun.Rounds(large, 200), then: func(_ *testServer, c *client) { c.read("GET") }},
		{name: "error in Next", chunks: 3, fault: func() error { return boom }, not: "Chunks File"},
		{name: "error in the first Next", fault: func() error { return boom }, not: "Chunks File"},
		{name: "panic in Next", chunks: 3, fault: func() error { panic(boom) }, not: "Chunks File"},
		{name: "the client leaves", chunks: large, then: func(s *testServer, c *client) { held(s, c); c.reset() }},
		{name: "HEAD", method: "HEAD", chunks: 3, then: func(_ *testServer, c *client) { c.want("HEAD", 200, "") }, unasked: true},
		{name: "304", status: "304 Not Modified", chunks: 3, then: func(_ *testServer, c *client) { c.want("GET", 304, "") }, unasked: true},
		{name: "204", status: "204 No Content", chunks: 3, then: func(_ *testServer, c *client) { c.want("GET", 204, "") }, unasked: true},
		{name: "bad start", status: "bad", chunks: 3, then: func(_ *testServer, c *client) { c.want("GET", 500, "Internal Server Error\n") }, unasked: true},
		{name: "error of Serve", serve: boom, chunks: 3, then: func(_ *testServer, c *client) { c.want("GET", 500, "Internal Server Error\n") }, unasked: true},
		{name: "too many bytes", declared: "15000", chunks: 3, then: func(_ *testServer, c *client) { c.read("GET") }},
		{name: "too few bytes", declared: "50000", chunks: 3, then: func(_ *testServer, c *client) { _, _, _ = c.tryRead("GET") }},
		{name: "write timeout", chunks: large, options: Options{WriteTimeout: 50 * time.Millisecond}, then: func(s *testServer, c *client) { held(s, c) }},
		{name: "Shutdown out of time", chunks: large, then: func(s *testServer, c *client) {
			held(s, c)
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if err := s.Shutdown(ctx); err == nil {
				s.t.Error("Shutdown was in time")
			}
		}},
		{name: "Close of the server", chunks: large, then: func(s *testServer, c *client) { held(s, c); s.Close() }},
	} {
		for kind, make := range kindsOfBody {
			if strings.Contains(tt.not, kind) {
				continue
			}
			t.Run(tt.name+"/"+kind, func(t *testing.T) {
				var closes atomic.Int32
				s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
					var headers []gateway.Header
					if tt.declared != "" {
						headers = []gateway.Header{{Name: "Content-Length", Value: tt.declared}}
					}
					status := tt.status
					if status == "" {
						status = "200 OK"
					}
					_, _ = start(status, headers, nil)
					wake := env.Waker()
					body := make(t, &chunkSource{n: tt.chunks, fault: tt.fault, chunk: []byte(pattern(10_000))}, &closes)
					if kind == "a Body that waits" {
						body = wakesItself{body, wake}
					}
					return body, tt.serve
				}), Options{Loops: 1}.with(tt.options))
				c := s.dial()
				method := tt.method
				if method == "" {
					method = http.MethodGet
				}
				c.send(fmt.Sprintf("%s / HTTP/1.1\r\nHost: h\r\n\r\n", method))
				if tt.then != nil {
					tt.then(s, c)
				} else if _, _, err := c.tryRead("GET"); err == nil && tt.chunks > 0 {
					t.Error("the response looks whole")
				}
				want := int32(1)
				if kind == "Stream" && tt.unasked {
					want = 0
				}
				eventually(t, "the body is closed", func() bool { return closes.Load() >= want })
				s.Close()
				_ = s.Wait()
				if n := closes.Load(); n != want || strings.Contains(s.log.String(), "closing the body") {
					t.Errorf("closed %d times, want %d; the log:\n%.2000s", n, want, s.log)
				}
			})
		}
	}
}

// wakesItself wakes a Body whenever it waits.
type wakesItself struct {
	gateway.Body
	wake func()
}

func (w wakesItself) Next() ([]byte, error) {
	b, err := w.Body.Next()
	if err == gateway.ErrWait {
		w.wake()
	}
	return b, err
}
