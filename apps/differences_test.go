package apps

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

// What differs from net/http, each with both answers: a line here that is no longer
// true has to go, and from the comment of nethttp.App, too.
func TestDifferences(t *testing.T) {
	for _, tt := range []struct {
		name         string
		app          http.Handler
		request      request
		ours, theirs string // some of the answer
		without      string // what is in theirs alone
	}{
		{
			"a handler that panics before it answers: 500, so that the client knows whose fault it is",
			http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("broken") }), request{}, "500 Internal Server Error", "no answer", "no answer",
		},
		{
			"fields that are the server's to send, Upgrade in a 426 among them (RFC 9110 section 15.5.22 wants it)",
			http.HandlerFunc(coderEcho), request{}, "426 Upgrade Required", `Upgrade: ["websocket"]`, "Upgrade:",
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
		if theirs := byNetHTTP(t, tt.app).do(&tt.request); !strings.Contains(theirs.text, tt.theirs) {
			t.Errorf("%s: net/http's answer is now\n%.1000v", tt.name, theirs)
		}
		for _, isbjorn := range isbjorns {
			if ours := isbjorn.serve(t, tt.app).do(&tt.request); !strings.Contains(ours.text, tt.ours) || strings.Contains(ours.text, tt.without) {
				t.Errorf("%s: %s's answer is now\n%.1000v", tt.name, isbjorn.name, ours)
			}
		}
	}
}

// What goes beyond a status, fields and content, and what ends without them, is the same,
// also behind a proxy.
func TestBeyondContent(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/trailer", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "content")
		w.Header().Set("X-Sum", "7")
		w.Header().Set(http.TrailerPrefix+"X-Late", "8")
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "some")
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		fmt.Fprintln(w, "late")
	})
	mux.HandleFunc("/deadlines", func(w http.ResponseWriter, _ *http.Request) {
		c, soon := http.NewResponseController(w), time.Now().Add(patience)
		fmt.Fprint(w, c.SetReadDeadline(soon), " and ", c.SetWriteDeadline(soon))
	})
	mux.HandleFunc("/address", func(w http.ResponseWriter, r *http.Request) {
		addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		fmt.Fprint(w, ok, addr.IP)
	})
	recovering := chi.NewRouter()
	recovering.Use(middleware.Recoverer)
	recovering.Get("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	recovering.Mount("/", mux)
	requests := []request{{target: "/trailer"}, {target: "/cut"}, {target: "/hints"}, {target: "/deadlines"}, {target: "/address"}, {target: "/abort"}}
	same(t, only(recovering), requests)
	t.Run("proxied", func(t *testing.T) {
		upstream := byNetHTTP(t, recovering)
		same(t, func(t testing.TB) http.Handler { return proxyTo(t, upstream) }, requests)
	})
}

func TestGinStream(t *testing.T) {
	same(t, func(testing.TB) http.Handler { return ginApp(t.TempDir()) }, []request{{target: "/stream"}})
}

// The head of a response comes when Flush is called before anything is written: a client
// that wants it before it goes on, and a handler that waits for the client, would else
// wait for each other.
func TestFlushOfTheHead(t *testing.T) {
	flushed := make(chan error)
	onEachWithProxy(t, only(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		flushed <- http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})), func(t *testing.T, s *site) {
		c := s.dial(t)
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if err := wait(t, "the flush", flushed); err != nil {
			t.Error(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		_ = c.Close() // ends the handler
	})
}

// A handler that panics with http.ErrAbortHandler is no error in the log: a proxy does so
// whenever an upstream or a client leaves in the middle of an answer.
func TestAbortInTheLog(t *testing.T) {
	onEach(t, only(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, large)
		panic(http.ErrAbortHandler)
	})), func(t *testing.T, s *site) {
		if got := s.do(&request{}); !strings.Contains(got.text, "unexpected EOF") {
			t.Errorf("%.300v", got)
		}
		// The last line of a log may come behind the end of the connection, but not behind that of the server.
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := s.shutdown(ctx); err != nil {
			t.Error(err)
		}
		if log := s.log.String(); strings.Contains(log, "abort") || strings.Contains(log, "ERROR") || strings.Contains(log, "panic") {
			t.Error(log)
		}
	})
}
