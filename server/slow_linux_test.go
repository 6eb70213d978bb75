package server

import (
	"io"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
)

// Output that a client does not read stops at HighWaterBytes, give or take the last
// chunk: the body is not pulled any further. When the client reads it goes on.
func TestHighWaterBytes(t *testing.T) {
	const high, chunk, total = 10_000, 1000, 4 << 20
	left := total
	s := startSmall(t, ok(next(func() ([]byte, error) {
		if left -= chunk; left < 0 {
			return nil, io.EOF
		}
		return []byte(pattern(chunk)), nil
	})), Loops(1), HighWaterBytes(high))
	c := s.dial()
	_ = c.SetReadBuffer(64 << 10)
	c.send(get)
	s.waitFull()
	unsent := make(chan int)
	s.reactor.Loops()[0].Do(func() {
		n := 0
		s.reactor.Loops()[0].Conns(func(c *loop.Conn) { n += c.Unsent() })
		unsent <- n
	})
	const framing = len("3e8\r\n\r\n")
	if n := <-unsent; n > high+2*(chunk+framing) {
		t.Errorf("%d bytes are unsent, want %d and a chunk at most", n, high)
	}
	if _, got := c.read("GET"); len(got) != total/chunk*chunk {
		t.Errorf("%d bytes came, want %d", len(got), total/chunk*chunk)
	}
}

// A large last answer reaches a slow reader whole, and then the end, also one that
// has half-closed or sends on.
func TestLastAnswerToASlowReader(t *testing.T) {
	content := pattern(4 << 20)
	app := appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return env.Text(content), err
	})
	s := startSmall(t, app)
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
	} {
		for how, after := range map[string]func(*client){
			"reads":       func(*client) {},
			"half-closes": func(c *client) { _ = c.CloseWrite() },
			"sends on":    func(c *client) { c.send(strings.Repeat(get, 50_000)) },
		} {
			c := s.dial()
			_ = c.SetReadBuffer(64 << 10)
			c.send(request)
			s.waitUnsent()
			after(c)
			if resp, got := c.read("GET"); got != content || !resp.Close {
				t.Errorf("%.20q, %s: %d bytes, want %d and close", request, how, len(got), len(content))
			}
			c.wantEnd()
			eventually(t, "no connection is left", func() bool { _ = c.Close(); return s.reactor.Len() == 0 })
		}
	}
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
