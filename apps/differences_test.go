package apps

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

// What differs from net/http, each with both answers: a line here that is no longer
// true has to go, and from the comment of nethttp.App, too.
func TestDifferences(t *testing.T) {
	upstream := byNetHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/trailer":
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.WriteString(w, "content")
			w.Header().Set("X-Sum", "7")
		case "/cut":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "some")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/hints":
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			fmt.Fprintln(w, "late")
		}
	}))
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: upstream.addr})
	proxy.Transport, proxy.ErrorLog = upstream.client.Transport, log.New(io.Discard, "", 0)
	recovering := chi.NewRouter()
	recovering.Use(middleware.Recoverer)
	recovering.Get("/", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	const failed = "500 Internal Server Error"
	for _, tt := range []struct {
		name         string
		app          http.Handler
		request      request
		ours, theirs string // some of the answer
		without      string // what is in theirs alone
	}{
		{"a handler that aborts before it answers: 500, so that the client knows whose fault it is", recovering, request{}, failed, "no answer", "no answer"},
		{"a handler that panics before it answers: the same", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("broken") }), request{}, failed, "no answer", "no answer"},
		{"so a proxy whose upstream is cut within the first 2 KiB", proxy, request{target: "/cut"}, failed, "no answer", "no answer"},
		{"trailers are not sent", proxy, request{target: "/trailer"}, `"content"`, `trailer X-Sum: ["7"]`, "X-Sum"},
		{"nor 1xx", proxy, request{target: "/hints"}, `"late\n"`, "103 map", "103"},
		{
			"fields that are the server's to send, Upgrade in a 426 among them (RFC 9110 section 15.5.22 wants it)",
			http.HandlerFunc(coderEcho), request{}, "426 Upgrade Required", `Upgrade: ["websocket"]`, "Upgrade:",
		},
		{
			"deadlines are the server's own", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				c, soon := http.NewResponseController(w), time.Now().Add(patience)
				fmt.Fprint(w, c.SetReadDeadline(soon), " and ", c.SetWriteDeadline(soon))
			}), request{}, "feature not supported and feature not supported", "<nil> and <nil>", "<nil>",
		},
		{
			"the context does not have the address that the client connected to", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
				fmt.Fprint(w, "address ", ok)
			}), request{}, "address false", "address true", "address true",
		},
		{
			"a client that sends more than http.MaxBytesReader allows: the method that says so is net/http's alone; the server throws the rest away, within its own bounds",
			http.MaxBytesHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, err := io.ReadAll(r.Body)
				fmt.Fprintln(w, len(b), err)
			}), 1000), request{method: "POST", body: large[:1001]}, "close false", "close true", "close true",
		},
	} {
		tt.request.name = tt.name
		ours, theirs := byIsbjorn(t, tt.app).do(&tt.request), byNetHTTP(t, tt.app).do(&tt.request)
		if !strings.Contains(theirs.text, tt.theirs) {
			t.Errorf("%s: net/http's answer is now\n%.1000v", tt.name, theirs)
		}
		if !strings.Contains(ours.text, tt.ours) || strings.Contains(ours.text, tt.without) {
			t.Errorf("%s: isbjorn's answer is now\n%.1000v", tt.name, ours)
		}
	}
}

// closeNotifies says whether isbjorn's ResponseWriter is an http.CloseNotifier, which is
// deprecated and which gin's Context.Stream cannot do without.
const closeNotifies = false

func TestGinStream(t *testing.T) {
	app := func(testing.TB) http.Handler { return ginApp(t.TempDir()) }
	q := []request{{target: "/stream"}}
	if closeNotifies {
		same(t, app, q)
		return
	}
	if got := byIsbjorn(t, app(t)).do(&q[0]); !strings.Contains(got.text, "500 Internal Server Error") {
		t.Errorf("set closeNotifies: the answer is now\n%v", got)
	}
}

// flushSendsHead says whether isbjorn sends the head of a response when Flush is called
// before anything is written. Without that a client that wants the head before it goes
// on, and a handler that waits for the client, wait for each other.
const flushSendsHead = false

func TestFlushOfTheHead(t *testing.T) {
	for _, server := range servers {
		flushed := make(chan error)
		s := server.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			flushed <- http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))
		c := s.dial(t)
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if err := wait(t, "the flush", flushed); err != nil {
			t.Error(err)
		}
		comes := flushSendsHead || server.name == "net-http"
		if !comes {
			_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		}
		n, err := c.Read(make([]byte, 1))
		if came := n == 1; came != comes {
			t.Errorf("%s: the head has come: %t, %v; see flushSendsHead", server.name, came, err)
		}
		_ = c.Close() // ends the handler
	}
}

// logsAborts says whether a handler that panics with http.ErrAbortHandler is an error in
// isbjorn's log. In net/http's it is none, and a proxy does so whenever an upstream or a
// client leaves in the middle of an answer.
const logsAborts = true

func TestAbortInTheLog(t *testing.T) {
	for _, server := range servers {
		s := server.serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, large)
			panic(http.ErrAbortHandler)
		}))
		if got := s.do(&request{}); !strings.Contains(got.text, "unexpected EOF") {
			t.Errorf("%s: %.300v", server.name, got)
		}
		// The last line of a log may come behind the end of the connection, but not behind that of the server.
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := s.shutdown(ctx); err != nil {
			t.Error(err)
		}
		wants := logsAborts && server.name == "isbjorn"
		if log := s.log.String(); strings.Contains(log, "abort") != wants || !wants && log != "" {
			t.Errorf("%s: %q; see logsAborts", server.name, log)
		}
	}
}
