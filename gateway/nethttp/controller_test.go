package nethttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server"
)

// Interim responses, trailers and flushes, compared with net/http.
func TestSameBeyondContent(t *testing.T) {
	f := func(h http.HandlerFunc) http.Handler { return h }
	// then sets fields by pairs after the content.
	then := func(h http.HandlerFunc, pairs ...string) http.Handler {
		return f(func(w http.ResponseWriter, r *http.Request) {
			h(w, r)
			for i := 0; i < len(pairs); i += 2 {
				w.Header().Add(pairs[i], pairs[i+1])
			}
		})
	}
	compareCases(t, []compareCase{
		{"the head, flushed", writes(202, "X-A: b", "FLUSH"), get, ""},
		{"the head, flushed, of a known length", writes(0, "Content-Length: 3", "FLUSH", "abc"), get, ""},
		{"the head, flushed, of no content", writes(204, "", "FLUSH"), get, ""},
		{"the head, flushed, of what is the same", writes(304, "Etag: \"x\"", "FLUSH"), get, ""},
		{"the head, flushed, of HTML", writes(0, "", "FLUSH", "<html>"), get, ""},
		{"flushed for HTTP/1.0", writes(0, "", "FLUSH", "a"), "GET / HTTP/1.0\r\n\r\n", ""},
		{"flushed twice", writes(0, "", "FLUSH", "FLUSH", "a", "FLUSH", "FLUSH"), get, ""},
		{"fields after a flush", f(func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			w.Header().Set("A", "late")
			w.WriteHeader(http.StatusTeapot)
		}), get, ""},
		{"panic after a flush", f(func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			panic("broken")
		}), get, ""},
		{"abort after a flush", f(func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}), get, ""},
		{"abort after text", f(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "text")
			panic(http.ErrAbortHandler)
		}), get, ""},

		{"early hints", f(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Link", "</a.css>; rel=preload")
			w.Header().Add("Link", "</b.js>; rel=preload")
			w.Header().Set("Content-Length", "4")
			w.Header().Set("X-Lines", "a\r\nb: c")
			w.Header().Set("no token", "x")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
			_, _ = io.WriteString(w, "text")
		}), get, ""},
		{"interim responses", f(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusProcessing)
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusCreated)
			w.WriteHeader(http.StatusEarlyHints) // too late
		}), get, ""},
		{"100 of the handler", f(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusContinue)
			n, err := io.Copy(w, r.Body)
			fmt.Fprint(w, n, err)
		}), "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok", ""},

		{"trailer", then(writes(0, "Trailer: X-Sum|Trailer: x-more , X-Not", "text"), "X-Sum", "1", "X-Sum", "2", "X-More", "a\r\nb "), get, ""},
		{"trailer of a large answer", then(writes(0, "Trailer: X-Sum", large), "X-Sum", "1"), get, ""},
		{"trailer of nothing", then(writes(0, "Trailer: X-Sum"), "X-Sum", "1"), get, ""},
		{"trailer with a length", then(writes(0, "Trailer: X-Sum|Content-Length: 4", "text"), "X-Sum", "1"), get, ""},
		{"trailer for HTTP/1.0", then(writes(0, "Trailer: X-Sum", "text"), "X-Sum", "1"), "GET / HTTP/1.0\r\n\r\n", ""},
		{"trailer that is a field, too", writes(0, "Trailer: X-Sum|X-Sum: 1", "text"), get, ""},
		{"trailer of 204", then(writes(204, "Trailer: X-Sum"), "X-Sum", "1"), get, ""},
		{"trailers that are none", then(writes(0, "Trailer: Content-Type, X-Sum, If-Match", "text"), "X-Sum", "1", "Content-Type", "a/b"), get, ""},
		{"trailer that is late", then(writes(0, "", "text", "FLUSH"), http.TrailerPrefix+"X-Sum", "1", http.TrailerPrefix+"no token", "1"), get, ""},
		{"trailer that is late for a large answer", then(writes(0, "", large), http.TrailerPrefix+"X-Sum", "1"), get, ""},
		{"trailer that is too late", then(writes(0, "", "text"), http.TrailerPrefix+"X-Sum", "1"), get, ""},
		{"trailer with the prefix, in time", f(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(http.TrailerPrefix+"X-Sum", "0")
			_, _ = io.WriteString(w, "text")
			w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
		}), get, ""},
	})
}

// raw is all that a client gets until the end of the connection, but the date.
func (p testServer) raw(t *testing.T, request string) string {
	t.Helper()
	c := p.dial(t)
	c.send(request)
	b, err := io.ReadAll(c.r)
	if err != nil {
		t.Error(err)
	}
	return regexp.MustCompile(`Date: [^\r]*GMT`).ReplaceAllString(string(b), "Date: now")
}

func TestHijack(t *testing.T) {
	results := make(chan string, 1)
	hijacks := func(before func(http.ResponseWriter)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			before(w)
			conn, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(waitMax))
			var b strings.Builder
			fmt.Fprintln(&b, rw.Reader.Size(), rw.Writer.Size(), rw.Reader.Buffered() > 0)
			n, err := w.Write([]byte("no"))
			fmt.Fprintln(&b, n, err)
			_, _, err = http.NewResponseController(w).Hijack()
			fmt.Fprintln(&b, err)
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprintln(&b, r.Context().Err(), conn.RemoteAddr().String() == r.RemoteAddr)
			line, err := rw.ReadString('\n')
			fmt.Fprintf(rw, "%s %v", line, err)
			_ = rw.Flush()
			results <- b.String()
		}
	}
	for _, tt := range []struct {
		name    string
		before  func(http.ResponseWriter)
		request string
	}{
		{"at once", func(http.ResponseWriter) {}, "GET / HTTP/1.1\r\nHost: h\r\n\r\nbehind\n"},
		{"with much behind", func(http.ResponseWriter) {}, "GET / HTTP/1.1\r\nHost: h\r\n\r\n" + strings.Repeat("behind", 3000) + "\n"},
		{"fields that are not sent", func(w http.ResponseWriter) { w.Header().Set("A", "b") }, "GET / HTTP/1.1\r\nHost: h\r\n\r\nbehind\n"},
		{"HTTP/1.0", func(http.ResponseWriter) {}, "GET / HTTP/1.0\r\n\r\nbehind\n"},
		{"POST", func(http.ResponseWriter) {}, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\nbehind\n"},
		{"101", func(w http.ResponseWriter) {
			for name, value := range map[string]string{"Upgrade": "x", "Connection": "Upgrade", "X-A": "b\r\nc", "Content-Length": "3", "no token": "d"} {
				w.Header().Set(name, value)
			}
			w.WriteHeader(http.StatusSwitchingProtocols)
			w.Header().Set("X-A", "late")
		}, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nbehind\n"},
		{"101 with a date", func(w http.ResponseWriter) {
			w.Header().Set("Date", "today")
			w.WriteHeader(http.StatusSwitchingProtocols)
		}, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nbehind\n"},
		{"an interim response", func(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints) }, "GET / HTTP/1.1\r\nHost: h\r\n\r\nbehind\n"},
	} {
		h := hijacks(tt.before)
		want := serveNetHTTP(t, h).raw(t, tt.request)
		told := wait(t, "the handler", results)
		if tt.name == "with much behind" { // their buffer holds some of it, ours all
			told = strings.Replace(told, "4096 ", "18001 ", 1)
		}
		for _, d := range []server.DispatchMode{server.Pool, server.Auto} {
			p := serveIsbjorn(t, h, server.Options{Dispatch: d})
			if got := p.raw(t, tt.request); got != want {
				t.Errorf("%s, %v: %.500q\nnet/http: %.500q", tt.name, d, got, want)
			}
			if got := wait(t, "the handler", results); got != told {
				t.Errorf("%s, %v: %s\nnet/http: %s", tt.name, d, got, told)
			}
			if log := p.log.String(); !strings.Contains(log, "WriteHeader(418)") {
				t.Errorf("%s: the log is %q", tt.name, log)
			}
		}
	}
}

// The bytes of a handler that hijacks after WriteHeader, as for CONNECT, are sent without framing.
func TestHijackBehindStatus(t *testing.T) {
	p := serveIsbjorn(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-A", "b")
		w.WriteHeader(http.StatusOK)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "raw")
	}), server.Options{})
	if got, want := p.raw(t, get), "HTTP/1.1 200 OK\r\nX-A: b\r\nDate: now\r\n\r\nraw"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Where Hijack is an error the request goes on.
func TestHijackTooLate(t *testing.T) {
	for name, before := range map[string]func(http.ResponseWriter, *http.Request){
		"written":          func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a") },
		"flushed":          func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() },
		"content not read": func(http.ResponseWriter, *http.Request) {},
	} {
		request := get
		if strings.HasPrefix(name, "content") {
			request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab"
		}
		p := serveIsbjorn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			before(w, r)
			_, _, err := w.(http.Hijacker).Hijack()
			fmt.Fprint(w, err)
		}), server.Options{})
		if a := p.ask(t, request); a.status != "200 OK" || !strings.Contains(a.body, "Hijack") {
			t.Errorf("%s: %s", name, a.text())
		}
	}
}

// Hijack does not wait for a goroutine that reads content that does not come.
func TestHijackWhileReading(t *testing.T) {
	p := serveIsbjorn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		go func() { _, _ = io.Copy(io.Discard, r.Body) }()
		for end := time.Now().Add(waitMax); ; {
			_, _, err := w.(http.Hijacker).Hijack()
			if err == nil || strings.Contains(err.Error(), "another goroutine") || time.Now().After(end) {
				fmt.Fprint(w, err)
				return
			}
		}
	}), server.Options{})
	if a := p.ask(t, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab"); !strings.Contains(a.body, "another goroutine") {
		t.Error(a.text())
	}
}

// A middleware around a handler that hijacks sees no error.
func TestHijackIsNoError(t *testing.T) {
	returned := make(chan error, 1)
	app := nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_ = conn.Close()
		}
	}))
	s, err := server.New(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		body, err := app.Serve(env, start)
		if body != nil || env.SentStatus() != 101 {
			t.Errorf("%v, status %d, want 101", body, env.SentStatus())
		}
		returned <- err
		return body, err
	}), server.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	addr, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	testServer{addr: addr.String()}.dial(t).send(get)
	if err := wait(t, "the end of Serve", returned); err != nil {
		t.Error(err)
	}
}

// After Hijack no time limit of the server applies, and the Context ends with the handler.
func TestContextOfHijacked(t *testing.T) {
	ctxs, goOn := make(chan context.Context, 1), make(chan bool)
	onBoth(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = conn.Write([]byte("hijacked\n"))
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
		ctxs <- r.Context()
		<-goOn
	}), func(t *testing.T, p testServer) {
		c := p.dial(t)
		c.send(get)
		c.until("hijacked")
		_ = c.Close()
		ctx := wait(t, "the handler", ctxs)
		if ctx.Err() != nil {
			t.Error("the end of the connection has ended the context")
		}
		goOn <- true
		wait(t, "the end of the context", ctx.Done())
	})
}

// Under a server without extensions the errors are http.ErrNotSupported.
func TestNotSupported(t *testing.T) {
	want := map[string]error{}
	app := nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		w.WriteHeader(http.StatusEarlyHints)
		_, _, want["Hijack"] = c.Hijack()
		want["SetReadDeadline"] = c.SetReadDeadline(time.Now())
		want["SetWriteDeadline"] = c.SetWriteDeadline(time.Now())
		want["Flush"] = c.Flush()
		w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
		_, _ = io.WriteString(w, "text")
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
	}))
	got := gatewaytest.Get(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		return app.Serve(env, func(status string, headers []gateway.Header, exc error) (io.Writer, error) {
			w, err := start(status, headers, exc)
			return struct{ io.Writer }{w}, err
		})
	}), "/")
	for what, err := range want {
		if !errors.Is(err, http.ErrNotSupported) || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if len(want) != 4 || got.Err != nil || got.Text() != "text" {
		t.Errorf("%+v", got)
	}
}

// Reads and writes that wait end when a deadline passes, also one that is set meanwhile.
func TestDeadlines(t *testing.T) {
	failed := make(chan error, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		switch r.URL.Path {
		case "/read":
			_ = c.EnableFullDuplex()
			if err := c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
				t.Error(err)
			}
			_, err := io.ReadAll(r.Body)
			failed <- err
		case "/write":
			if err := c.SetWriteDeadline(time.Now().Add(time.Hour)); err != nil {
				t.Error(err)
			}
			began, once := make(chan bool), false
			go func() {
				<-began
				if err := c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
					t.Error(err)
				}
			}()
			for {
				_, err := io.WriteString(w, large)
				if !once {
					close(began)
					once = true
				}
				if err != nil {
					failed <- err
					return
				}
			}
		}
	})
	onBoth(t, h, func(t *testing.T, p testServer) {
		c := p.dial(t)
		c.send("POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe")
		if err := wait(t, "the error of a read", failed); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		c = p.dial(t)
		c.send("GET /write HTTP/1.1\r\nHost: h\r\n\r\n")
		if err := wait(t, "the error of a write", failed); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}

// The channel of http.CloseNotifier gets a value when the client disconnects, and at no other time.
func TestCloseNotify(t *testing.T) {
	began, kept := make(chan bool), make(chan (<-chan bool), 1)
	onBoth(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gone := w.(http.CloseNotifier).CloseNotify() //lint:ignore SA1019 gin's Context.Stream cannot do without
		if r.URL.Path == "/stay" {
			kept <- gone
			return
		}
		began <- true
		<-gone
		began <- true
	}), func(t *testing.T, p testServer) {
		if a := p.ask(t, "GET /stay HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); a.status != "200 OK" {
			t.Error(a.text())
		}
		c := p.dial(t)
		c.send(get)
		wait(t, "the handler", began)
		_ = c.Close()
		wait(t, "the notice", began)
		if gone := wait(t, "the channel", kept); len(gone) > 0 {
			t.Error("who has its answer has left")
		}
	})
}

func TestLocalAddr(t *testing.T) {
	addrs := make(chan net.Addr, 1)
	onBoth(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		addr, _ := ctx.Value(http.LocalAddrContextKey).(net.Addr)
		addrs <- addr
	}), func(t *testing.T, p testServer) {
		c := p.dial(t)
		c.send(get)
		if addr, ok := wait(t, "the address", addrs).(*net.TCPAddr); !ok || addr.String() != c.RemoteAddr().String() {
			t.Errorf("%v, and the client's is %v", addr, c.RemoteAddr())
		}
	})
}

// A handler that aborts is not logged, and if nothing was sent the client gets no response.
func TestAbortIsQuiet(t *testing.T) {
	for _, err := range []error{http.ErrAbortHandler, fmt.Errorf("wrapped: %w", http.ErrAbortHandler), gateway.ErrAbort} {
		p := serveIsbjorn(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(err) }), server.Options{})
		if a := p.ask(t, get); a.text() != "no answer" {
			t.Error(err, a.text())
		}
		if log := p.log.String(); log != "" {
			t.Error(err, log)
		}
	}
}
