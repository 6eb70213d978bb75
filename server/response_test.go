package server

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

// The end of a head is that of the response before where nothing is different, and
// only there: each kind of response, after each other and as time goes by, is what
// a new server says.
func TestEndOfHead(t *testing.T) {
	text := func(s string) func() gateway.Body { return func() gateway.Body { return gateway.Text(s) } }
	kinds := map[string]func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error){
		"short":  declares("200 OK", text("short")),
		"longer": declares("200 OK", text("and longer")),
		"empty":  declares("200 OK", nil),
		"error":  declares("500 Internal Server Error", text("short")),
		"none":   declares("204 No Content", nil),
		"cached": declares("304 Not Modified", nil),
		"length": declares("304 Not Modified", nil, gateway.Header{Name: "Content-Length", Value: "9"}),
		"date":   declares("200 OK", text("short"), gateway.Header{Name: "Date", Value: "Thu, 01 Jan 1970 00:00:00 GMT"}),
		"name":   declares("200 OK", text("short"), gateway.Header{Name: "Server", Value: "app"}),
		"both": declares("200 OK", text("short"), gateway.Header{Name: "Server", Value: "app"},
			gateway.Header{Name: "Date", Value: "Thu, 01 Jan 1970 00:00:00 GMT"}),
		"close": declares("200 OK", text("short"), gateway.Header{Name: "Connection", Value: "close"}),
		"stream": declares("200 OK", func() gateway.Body {
			return gateway.Stream(func(yield func([]byte, error) bool) { _ = yield([]byte("a"), nil) && yield([]byte("b"), nil) })
		}),
	}
	app := appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		return kinds[env.Query()](env, start)
	})
	var requests []string
	for kind := range kinds {
		for _, line := range []string{
			"GET /?KIND HTTP/1.1\r\nHost: h\r\n\r\n",
			"HEAD /?KIND HTTP/1.1\r\nHost: h\r\n\r\n",
			"GET /?KIND HTTP/1.0\r\n\r\n",
			"GET /?KIND HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		} {
			requests = append(requests, strings.Replace(line, "KIND", kind, 1))
		}
	}
	open := func() *Server {
		s, err := New(app, Options{Loops: 1, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	now := time.Unix(1_000_000_000, 0)
	ask := func(s *Server, request string) string {
		s.reactor.Loops()[0].Handler().Tick(now)
		m := s.openMemory()
		m.Feed([]byte(request))
		return string(m.Out)
	}
	used := open()
	for round := range 3 {
		rand.Shuffle(len(requests), func(i, j int) { requests[i], requests[j] = requests[j], requests[i] })
		for i, request := range requests {
			if i%7 == round {
				now = now.Add(time.Second)
			}
			got, want := ask(used, request), ask(open(), request)
			if got != want || !bytes.HasPrefix([]byte(got), []byte("HTTP/1.1 ")) {
				t.Fatalf("%q:\n%s\na new server says:\n%s", request, got, want)
			}
			if date := "Date: " + now.UTC().Format(http.TimeFormat) + "\r\n"; !strings.Contains(got, date) && !strings.Contains(got, "1970") {
				t.Fatalf("%q:\n%s\nwant %s", request, got, date)
			}
		}
	}
}

// declares is an application that says always the same.
func declares(status string, body func() gateway.Body, headers ...gateway.Header) appFunc {
	return func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if _, err := start(status, headers, nil); err != nil {
			return nil, err
		}
		if body == nil {
			return nil, nil
		}
		return body(), nil
	}
}
