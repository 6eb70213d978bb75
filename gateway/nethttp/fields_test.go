package nethttp_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server"
)

// onAll runs a test with each way to call a handler, and with net/http.
func onAll(t *testing.T, h http.Handler, test func(t *testing.T, p testServer)) {
	for name, d := range map[string]server.DispatchMode{"Inline": server.Inline, "Auto": server.Auto, "Pool": server.Pool} {
		t.Run(name, func(t *testing.T) { test(t, serveIsbjorn(t, h, server.Options{Dispatch: d})) })
	}
	t.Run("net/http", func(t *testing.T) { test(t, serveNetHTTP(t, h)) })
}

// A field that a handler has set to nil is not sent: Date and Server of the server, and the length of the content, which
// is chunked then. An empty Date or Server of an App is not sent either, by both servers.
func TestSuppressedFields(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/handler", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Date"], w.Header()["Server"] = nil, nil
		_, _ = io.WriteString(w, "text")
	})
	mux.HandleFunc("/length", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Length"] = nil
		_, _ = io.WriteString(w, "text")
	})
	mux.Handle("/app", nethttp.Handler(gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", []gateway.Header{{Name: "date"}, {Name: "Server"}}, nil)
		return gateway.Text("text"), err
	})))
	onAll(t, mux, func(t *testing.T, p testServer) {
		for _, target := range []string{"/handler", "/app", "/handler"} {
			for _, version := range []string{"1.1", "1.0"} {
				a := p.ask(t, fmt.Sprintf("GET %s HTTP/%s\r\nHost: h\r\n\r\n", target, version))
				if a.body != "text" || a.header["Date"] != nil || a.header["Server"] != nil {
					t.Error(target, version, a.text())
				}
			}
		}
		if a := p.ask(t, "GET /length HTTP/1.1\r\nHost: h\r\n\r\n"); a.body != "text" || a.header["Content-Length"] != nil || a.header["Transfer-Encoding"] == nil || a.header["Date"] == nil {
			t.Error(a.text())
		}
	})
}

// A field that Connection names is dropped: the server sends a Connection of its own.
func TestFieldsOfConnection(t *testing.T) {
	onWorkers(t, writes(0, "Connection: x-f, close|Connection: X-H|X-F: 1|X-G: 2|X-H: 3", "text"), func(t *testing.T, p testServer) {
		a := p.ask(t, get)
		if a.body != "text" || a.header["X-F"] != nil || a.header["X-H"] != nil || a.header.Get("X-G") != "2" {
			t.Error(a.text())
		}
	}, server.Options{})
	onWorkers(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Connection"], w.Header()["X-F"], w.Header()["X-G"] = []string{"X-F"}, []string{"1"}, []string{"2"}
		w.WriteHeader(http.StatusEarlyHints)
	}), func(t *testing.T, p testServer) {
		if a := p.ask(t, get); a.interim != "103 Early Hints map[X-G:[2]]\n" {
			t.Error(a.text())
		}
	}, server.Options{})
}
