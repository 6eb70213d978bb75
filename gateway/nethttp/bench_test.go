package nethttp_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"testing"

	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/internal/benchmark"
	"github.com/isbjorn/isbjorn/internal/head"
	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/server"
	"github.com/isbjorn/isbjorn/server/servertest"
)

// heads are requests as they come.
var heads = []struct{ name, request string }{
	{"hello", head.Hello},
	{"browser", head.Browser},
}

// hello is an ordinary handler: two allocations are its own, those of a response
// field in a map.
func hello(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, "Hello, World!")
}

// inMemory is a server for h with one connection, without a socket.
func inMemory(tb testing.TB, h http.Handler) *loop.Memory {
	tb.Helper()
	s, err := server.New(nethttp.App(h), server.Options{Loops: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return servertest.OpenMemory(s)
}

// BenchmarkApp is a request through the server and App, without system calls.
func BenchmarkApp(b *testing.B) {
	for _, head := range heads {
		b.Run("head="+head.name, func(b *testing.B) {
			m, in := inMemory(b, http.HandlerFunc(hello)), []byte(head.request)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			meter := benchmark.Start(b, 0)
			for b.Loop() {
				m.Out = m.Out[:0]
				m.Feed(in)
			}
			meter.Report(b)
			if !bytes.HasPrefix(m.Out, []byte("HTTP/1.1 200 OK\r\n")) || !bytes.HasSuffix(m.Out, []byte("\r\n\r\nHello, World!")) {
				b.Errorf("answered %q", m.Out)
			}
		})
	}
}

// Every benchmark works, and reports what benchstat can read.
func TestBenchmarks(t *testing.T) { benchmark.Verify(t, "req/s", "cpu-us/req") }

// The allocations of a request, from its bytes to those of the response.
func TestAllocations(t *testing.T) {
	if race {
		t.Skip("the race detector allocates, too")
	}
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	const lean = "Host: example.com\r\nUser-Agent: test\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nAccept-Language: en\r\n" +
		"cookie: a=1\r\nDNT: 1\r\nUpgrade-Insecure-Requests: 1\r\nX-Own: 1\r\n\r\n"
	for _, tt := range []struct {
		name, request string
		handler       http.HandlerFunc
		most          float64 // the exchange, its text, the map of its header (with fields 2, with more than 8 of them 4), that of the answer
	}{
		{"no fields", heads[0].request, nothing, 1 + 1 + 1 + 1},
		{"no fields, hello", heads[0].request, hello, 1 + 1 + 1 + 1 + 2},
		{"lean head", "GET /path?query HTTP/1.1\r\n" + lean, nothing, 1 + 1 + 2 + 1},
		{"lean head, hello", "GET /path?query HTTP/1.1\r\n" + lean, hello, 1 + 1 + 2 + 1 + 2},
		{"browser, hello", heads[1].request, hello, 1 + 1 + 4 + 1 + 2},
	} {
		m, in := inMemory(t, tt.handler), []byte(tt.request)
		n := testing.AllocsPerRun(1000, func() {
			m.Out = m.Out[:0]
			m.Feed(in)
		})
		if n > tt.most || !bytes.HasPrefix(m.Out, []byte("HTTP/1.1 200 OK\r\n")) {
			t.Errorf("%s: %v allocations, want at most %v; %q", tt.name, n, tt.most, m.Out)
		}
	}
}
