package middleware

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/server"
)

// dispatches are the ways to run an application: what a client sees must not depend on it.
var dispatches = map[string]server.DispatchMode{"Inline": server.Inline, "Auto": server.Auto, "Pool": server.Pool}

// wire is a connection to a server around an application.
type wire struct {
	t testing.TB
	net.Conn
	in *bufio.Reader
}

// dial serves app, on a Unix socket or TCP, and connects to it.
func dial(t testing.TB, app gateway.App, network string, options server.Options) *wire {
	t.Helper()
	options.Logger, options.Loops = slog.New(slog.DiscardHandler), 1
	s, err := server.New(app, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = "unix:" + filepath.Join(t.TempDir(), "s")
	}
	at, err := s.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial(network, at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return wireOn(t, c)
}

func wireOn(t testing.TB, c net.Conn) *wire {
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &wire{t, c, bufio.NewReader(c)}
}

// ask sends a request without content, with field lines, and returns the head of the response.
func (w *wire) ask(method, target string, lines ...string) *http.Response {
	w.t.Helper()
	head := append([]string{method + " " + target + " HTTP/1.1", "Host: h"}, lines...)
	if _, err := io.WriteString(w, strings.Join(head, "\r\n")+"\r\n\r\n"); err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.ReadResponse(w.in, &http.Request{Method: method})
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, target, err)
	}
	return resp
}

// text is ask, and returns the status and the content of the response.
func (w *wire) text(method, target string, lines ...string) string {
	w.t.Helper()
	resp := w.ask(method, target, lines...)
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s %s: after %d bytes: %v", method, target, len(b), err)
	}
	return resp.Status[:3] + " " + string(b)
}
