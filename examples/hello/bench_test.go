package main

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/server"
	"github.com/isbjorn/isbjorn/server/servertest"
)

// BenchmarkRequest is all of a request but the system calls of sockets.
func BenchmarkRequest(b *testing.B) {
	for _, bb := range []struct{ name, request, content string }{
		{"path=root", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "Hello, World!"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s, err := server.New(gateway.AppFunc(hello), server.Options{Loops: 1, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			m, request := servertest.OpenMemory(s), []byte(bb.request)
			b.ReportAllocs()
			for b.Loop() {
				m.Out = m.Out[:0]
				m.Feed(request)
			}
			if out := string(m.Out); !strings.HasPrefix(out, "HTTP/1.1 200 ") || !strings.HasSuffix(out, bb.content) {
				b.Errorf("answered %q", out)
			}
		})
	}
}
