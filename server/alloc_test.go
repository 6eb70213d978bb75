package server

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

const browserHead = "GET /a/path?with=query HTTP/1.1\r\nHost: localhost:8080\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\nAccept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\nCookie: a=1; b=2\r\nCache-Control: max-age=0\r\n\r\n"

// A request on a connection that is kept allocates nothing, from the bytes that
// come in to the bytes that go out.
func TestNoAllocations(t *testing.T) {
	reads := appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if len(env.Method())+len(env.Path())+len(env.Query())+len(env.Header("Accept"))+len(env.Header("user-agent"))+len(env.Header("X-None")) == 0 {
			return nil, nil
		}
		return hello(env, start)
	})
	three := appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if env.Header("User-Agent") == "" || env.Header("accept") == "" || env.Header("Cookie") == "" || env.Query() == "" {
			return nil, nil
		}
		return hello(env, start)
	})
	parts := &partsBody{parts: [][]byte{[]byte("one "), []byte("two")}}
	twoChunks := appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if _, err := start("200 OK", textHeaders, nil); err != nil {
			return nil, err
		}
		return parts, nil
	})
	for _, tt := range []struct {
		name, in string
		app      gateway.App
		pooled   bool // collects the content in a pooled buffer
	}{
		{"hello", get, appFunc(hello), false},
		{"hello 16 deep", strings.Repeat(get, 16), appFunc(hello), false},
		{"browser, read by the application", browserHead, reads, false},
		{"three fields and the query", browserHead, three, false},
		{"two chunks", get, twoChunks, false},
		{"content", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde", appFunc(echo), false},
		{"chunked content", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n", appFunc(echo), true},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", appFunc(hello), false},
		{"1.0", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", appFunc(hello), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := New(tt.app, Options{Loops: 1, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			m, in := s.openMemory(), []byte(tt.in)
			if n := testing.AllocsPerRun(1000, func() { m.Out = m.Out[:0]; m.Feed(in) }); n != 0 && !(tt.pooled && raceEnabled) {
				t.Errorf("%v allocations, want 0", n)
			}
			if n := bytes.Count(m.Out, []byte("HTTP/1.1 200 OK\r\n")); n != strings.Count(tt.in, "HTTP/1.") {
				t.Errorf("%d answers", n)
			}
		})
	}
}

// The same over a socket, with the system calls, the poller and the timers.
func TestNoAllocationsOverASocket(t *testing.T) {
	testrun.Slow(t, "it measures allocations over a socket")
	for _, d := range []DispatchMode{Auto, Inline} {
		noAllocationsOverASocket(t, startOn(d, t, appFunc(hello), Options{Loops: 1}))
	}
}

func noAllocationsOverASocket(t *testing.T, s *testServer) {
	t.Helper()
	c := s.dial()
	c.send(get)
	c.want("GET", 200, "Hello, World!")
	request, answer := []byte(get), make([]byte, 1000)
	if n := testing.AllocsPerRun(2000, func() {
		_, _ = c.Write(request)
		if n, err := c.Read(answer); err != nil || !bytes.HasSuffix(answer[:n], []byte("Hello, World!")) {
			t.Fatalf("read %q, %v", answer[:n], err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// On a worker it allocates what the wake of the loop takes, if the application blocks.
func TestPoolAllocations(t *testing.T) {
	testrun.Slow(t, "it measures allocations over a socket")
	if raceEnabled {
		t.Skip("pools forget at random")
	}
	for _, tt := range []struct {
		blocks bool
		most   float64
	}{{false, 1}, {true, 2}} { // without blocking 0, but on a machine that is too busy for that
		s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if tt.blocks {
				time.Sleep(200 * time.Microsecond)
			}
			return hello(env, start)
		}), Options{Dispatch: Pool, Loops: 1})
		c := s.dial()
		c.send(get)
		c.want("GET", 200, "Hello, World!")
		request, answer := []byte(get), make([]byte, 1000)
		if n := testing.AllocsPerRun(map[bool]int{false: 2000, true: 500}[tt.blocks], func() {
			_, _ = c.Write(request)
			if n, err := c.Read(answer); err != nil || !bytes.HasSuffix(answer[:n], []byte("Hello, World!")) {
				t.Fatalf("read %q, %v", answer[:n], err)
			}
		}); n > tt.most {
			t.Errorf("blocks %v: %v allocations, want at most %v", tt.blocks, n, tt.most)
		}
	}
}

// In memory as over sockets: every cut of a request gives the same answer.
func TestMemory(t *testing.T) {
	s, err := New(appFunc(echo), Options{Loops: 1, Logger: slog.New(slog.DiscardHandler), ServerHeader: NoServerHeader})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const request = "POST /?q HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n"
	whole := s.openMemory()
	whole.Feed([]byte(request))
	for cut := range len(request) {
		m := s.openMemory()
		m.Feed([]byte(request[:cut]))
		m.Feed([]byte(request[cut:]))
		if !bytes.HasSuffix(m.Out, []byte("\r\n\r\n0123456789")) || len(m.Out) != len(whole.Out) {
			t.Errorf("cut at %d: %q", cut, m.Out)
		}
		m.EOF()
		if m.Conn.Alive() {
			t.Errorf("cut at %d: open after the end of input", cut)
		}
	}
	big := s.openMemory()
	big.Feed(fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", 1<<20, pattern(1<<20)))
	if !bytes.HasSuffix(big.Out, []byte(pattern(1<<20))) {
		t.Errorf("a large content came back as %d bytes", len(big.Out))
	}
}

// partsBody is a Body of parts, again after each Close.
type partsBody struct {
	parts [][]byte
	next  int
}

func (b *partsBody) Next() ([]byte, error) {
	if b.next++; b.next > len(b.parts) {
		return nil, io.EOF
	}
	return b.parts[b.next-1], nil
}

func (b *partsBody) Close() error {
	b.next = 0
	return nil
}
