package server

import (
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/loop"
)

// Output that a client does not read stops at HighWaterBytes, plus at most the last chunk: the body is not pulled
// further. It is when the client reads.
func TestHighWaterBytes(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "moves megabytes past what a socket holds")
	const high, chunk, total = 10_000, 1000, 4 << 20
	left := total
	s := startSmall(t, ok(next(func() ([]byte, error) {
		if left -= chunk; left < 0 {
			return nil, io.EOF
		}
		return []byte(pattern(chunk)), nil
	})), Options{Loops: 1, HighWaterBytes: high})
	c := s.dial()
	_ = c.SetReadBuffer(64 << 10)
	c.send(get)
	s.waitFull()
	unsent := make(chan int64)
	s.reactor.Loops()[0].Do(func() {
		n := int64(0)
		s.reactor.Loops()[0].Conns(func(c *loop.Conn) { n += c.Unsent() })
		unsent <- n
	})
	const framing = len("3e8\r\n\r\n")
	if n := <-unsent; n > int64(high+2*(chunk+framing)) {
		t.Errorf("%d bytes are unsent, want %d and a chunk at most", n, high)
	}
	if _, got := c.read("GET"); len(got) != total/chunk*chunk {
		t.Errorf("%d bytes came, want %d", len(got), total/chunk*chunk)
	}
}

// Backpressure reaches a generator: while the client does not read, the generator is not called, with HighWaterBytes
// unsent and full sockets.
func TestGeneratorStandsStill(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "moves megabytes past what a socket holds")
	const high, chunk, total = 100_000, 10_000, 16 << 20
	var made atomic.Int64
	s := startSmall(t, ok(gateway.Stream(func(yield func([]byte, error) bool) {
		b := []byte(pattern(chunk))
		for made.Load() < total && yield(b, nil) {
			made.Add(chunk)
		}
	})), Options{Loops: 1, HighWaterBytes: high})
	c := s.dial()
	_ = c.SetReadBuffer(64 << 10)
	c.send(get)
	s.waitFull()
	const sockets = 1 << 20 // both sides, generously
	before := made.Load()
	for range 3 {
		s.nextTick()
	}
	if n := made.Load(); n > high+sockets || n > before+sockets {
		t.Errorf("%d bytes were made for a client that does not read", n)
	}
	if _, got := c.read("GET"); len(got) != int(made.Load()) || len(got) < total {
		t.Errorf("%d bytes came, %d were made", len(got), made.Load())
	}
}

// A large last answer reaches a slow reader whole, and then the end, also one that
// has half-closed or sends on: one that the socket keeps waiting, and one that is in
// the queue when the connection begins to close.
func TestLastAnswerToASlowReader(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "moves megabytes past what a socket holds")
	const chunk = 10_000
	large, queued := pattern(4<<20), pattern(25*chunk) // queued is less than HighWaterBytes
	app := appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		if env.Path() == "/large" {
			return env.Text(large), err
		}
		rest := []byte(queued)
		return next(func() ([]byte, error) {
			if len(rest) == 0 {
				return nil, io.EOF
			}
			b := rest[:chunk]
			rest = rest[chunk:]
			return b, nil
		}), err
	})
	s := startSmall(t, app, Options{})
	for _, version := range []string{"1.1\r\nHost: h\r\nConnection: close", "1.0"} {
		for how, after := range map[string]func(*client){
			"reads":       func(*client) {},
			"half-closes": func(c *client) { _ = c.CloseWrite() },
			"sends on":    func(c *client) { c.send(strings.Repeat(get, 50_000)) },
		} {
			for path, content := range map[string]string{"/large": large, "/queued": queued} {
				c := s.dial()
				_ = c.SetReadBuffer(64 << 10)
				c.send("GET " + path + " HTTP/" + version + "\r\n\r\n")
				if path == "/queued" && suite != Pool { // a worker waits until the socket has what it has written
					s.waitDraining()
				}
				s.waitUnsent()
				after(c)
				if resp, got := c.read("GET"); got != content || !resp.Close {
					t.Errorf("%s %.3s, %s: %d bytes, want %d and close", path, version, how, len(got), len(content))
				}
				c.wantEnd()
				_ = c.Close()
				s.untilConns(0)
			}
		}
	}
}

// waitDraining returns when the answer of the only connection is all queued; or, on a busy machine, when the turn of the
// connection has ended amid it, and the next one does not come since the socket has no room.
func (s *testServer) waitDraining() {
	s.t.Helper()
	before := int64(-1)
	eventually(s.t, "draining", func() bool {
		is := make(chan bool)
		for _, l := range s.reactor.Loops() {
			found := false
			l.Do(func() {
				l.Conns(func(c *loop.Conn) {
					found = c.Context.(*session).phase == draining || c.Yielded() && c.Unsent() == before
					before = c.Unsent()
				})
				is <- found
			})
			if <-is {
				return true
			}
		}
		return false
	})
}

// waitUnsent returns when an answer waits for its client.
func (s *testServer) waitUnsent() {
	s.t.Helper()
	eventually(s.t, "an answer waits", func() bool {
		is := make(chan bool)
		waits := false
		for _, l := range s.reactor.Loops() {
			l.Do(func() {
				found := false
				l.Conns(func(c *loop.Conn) { found = found || c.Unsent() > 0 })
				is <- found
			})
			waits = <-is || waits
		}
		return waits
	})
}
