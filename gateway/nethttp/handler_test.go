package nethttp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/internal/testlog"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
)

type appFunc = gateway.AppFunc

// parts is a Body of chunks, with or without a length, which counts how often it is
// closed.
type parts struct {
	chunks []string
	err    error // in place of io.EOF
	closed *int
}

func (p *parts) Next() ([]byte, error) {
	if len(p.chunks) == 0 {
		if p.err == errPanics {
			panic(p.err)
		}
		if p.err != nil {
			return nil, p.err
		}
		return nil, io.EOF
	}
	b := p.chunks[0]
	p.chunks = p.chunks[1:]
	return []byte(b), nil
}

func (p *parts) Close() error { *p.closed++; return nil }

var (
	errApp    = errors.New("the application's")
	errPanics = errors.New("a panic")
)

// The response of an application, whose Body is closed once.
func TestHandler(t *testing.T) {
	previous := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { slog.SetDefault(previous) })
	dir := files(t)
	for _, tt := range []struct {
		name    string
		fields  []gateway.Header
		status  string // of start; "" for no call
		body    func(closed *int) gateway.Body
		err     error
		request string
		want    string // status, fields and content
		cut     bool
	}{
		{name: "one chunk", status: "200 OK", body: func(*int) gateway.Body { return gateway.Text("hello") }, want: "200 OK\nContent-Length: [\"5\"]\ncut: false, 5 bytes: \"hello\""},
		{name: "fields", fields: []gateway.Header{{Name: "a", Value: "1"}, {Name: "A", Value: "2"}, {Name: "Content-Type", Value: "x/y"}}, status: "404 Not Here", want: "404 Not Found\nA: [\"1\" \"2\"]\nContent-Length: [\"0\"]\nContent-Type: [\"x/y\"]\ncut: false, 0 bytes: \"\""},
		{name: "chunks", status: "200 OK", body: func(n *int) gateway.Body { return &parts{[]string{"a", "", "b"}, nil, n} }, want: "200 OK\nTransfer-Encoding: [\"chunked\"]\ncut: false, 2 bytes: \"ab\""},
		{name: "declared", fields: []gateway.Header{{Name: "Content-Length", Value: "2"}}, status: "200 OK", body: func(n *int) gateway.Body { return &parts{[]string{"a", "b"}, nil, n} }, want: "200 OK\nContent-Length: [\"2\"]\ncut: false, 2 bytes: \"ab\""},
		{name: "longer than declared", fields: []gateway.Header{{Name: "Content-Length", Value: "2"}}, status: "200 OK", body: func(n *int) gateway.Body { return &parts{[]string{"a", "bcd", "e"}, nil, n} }, want: "200 OK\nContent-Length: [\"2\"]\ncut: false, 2 bytes: \"ab\""},
		{name: "shorter than declared", fields: []gateway.Header{{Name: "Content-Length", Value: "20"}}, status: "200 OK", body: func(n *int) gateway.Body { return &parts{[]string{"a"}, nil, n} }, cut: true},
		{name: "204", status: "204 No Content", body: func(n *int) gateway.Body { return &parts{[]string{"a"}, nil, n} }, want: "204 No Content\ncut: false, 0 bytes: \"\""},
		{name: "HEAD", status: "200 OK", body: func(*int) gateway.Body { return gateway.Text("hello") }, request: "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", want: "200 OK\nContent-Length: [\"5\"]\ncut: false, 0 bytes: \"\""},
		{name: "no start", body: func(n *int) gateway.Body { return &parts{[]string{"a"}, nil, n} }, want: internal},
		{name: "no start, no body", want: internal},
		{name: "error", err: errApp, want: internal},
		{name: "error with a body", status: "200 OK", err: errApp, body: func(n *int) gateway.Body { return &parts{[]string{"a"}, nil, n} }, want: internal},
		{name: "error of Next before content", status: "200 OK", body: func(n *int) gateway.Body { return &parts{nil, errApp, n} }, want: internal},
		{name: "error of Next in the content", status: "200 OK", body: func(n *int) gateway.Body { return &parts{[]string{"a"}, errApp, n} }, cut: true},
		{name: "panic of Next", status: "200 OK", body: func(n *int) gateway.Body { return &parts{[]string{"a"}, errPanics, n} }, cut: true},
		{name: "bad status", status: "OK", want: internal},
		{name: "1xx", status: "103 Early Hints", want: internal},
		{name: "split", status: "200 OK", fields: []gateway.Header{{Name: "A", Value: "b\r\nC: d"}}, want: internal},
		{name: "hop by hop", status: "200 OK", fields: []gateway.Header{{Name: "Upgrade", Value: "x"}}, want: internal},
		{name: "two lengths", status: "200 OK", fields: []gateway.Header{{Name: "Content-Length", Value: "1"}, {Name: "Content-Length", Value: "1"}}, want: internal},
		{name: "file", status: "200 OK", fields: []gateway.Header{{Name: "Content-Type", Value: "x/y"}}, body: func(*int) gateway.Body {
			f, _ := os.Open(filepath.Join(dir, "small.txt"))
			return gateway.FileRange(f, 2, 5)
		}, want: "200 OK\nContent-Length: [\"5\"]\nContent-Type: [\"x/y\"]\ncut: false, 5 bytes: \"small\""},
		{name: "file that others send too", status: "200 OK", body: func(*int) gateway.Body {
			f, _ := os.Open(filepath.Join(dir, "small.txt"))
			_, _ = f.Seek(1, io.SeekStart)
			return gateway.SharedRange(f, 2, 5, closeFunc(func() error {
				if at, err := f.Seek(0, io.SeekCurrent); at != 1 || err != nil {
					t.Errorf("the offset is %d, %v", at, err)
				}
				return f.Close()
			}))
		}, want: "200 OK\nContent-Length: [\"5\"]\ncut: false, 5 bytes: \"small\""},
		{name: "file that has become shorter", status: "200 OK", body: func(*int) gateway.Body {
			f, _ := os.Open(filepath.Join(dir, "small.txt"))
			return gateway.FileRange(f, 2, 500)
		}, cut: true},
	} {
		closed, made := 0, 0
		h := nethttp.Handler(appFunc(func(env *gateway.Environ, start gateway.StartResponse) (body gateway.Body, err error) {
			if tt.status != "" {
				_, _ = start(tt.status, tt.fields, nil) // an error of it sticks
			}
			if tt.body != nil {
				body = tt.body(&closed)
				if _, ok := body.(*parts); ok {
					made = 1
				}
			}
			return body, tt.err
		}))
		request := tt.request
		if request == "" {
			request = get
		}
		s := httptest.NewUnstartedServer(h)
		s.Config.ErrorLog = quiet
		s.Start()
		got := testServer{addr: s.Listener.Addr().String()}.ask(t, request)
		s.Close()
		if text := got.text("Date"); got.cut != tt.cut || !tt.cut && text != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, text, tt.want)
		}
		if closed != made {
			t.Errorf("%s: closed %d times", tt.name, closed)
		}
	}
}

const internal = "500 Internal Server Error\nContent-Length: [\"22\"]\nContent-Type: [\"text/plain; charset=utf-8\"]\nX-Content-Type-Options: [\"nosniff\"]\ncut: false, 22 bytes: \"Internal Server Error\\n\""

// Both bridges together change nothing, and break no rule.
func TestThereAndBack(t *testing.T) {
	var breaches []string
	both := func(h http.Handler) http.Handler {
		return nethttp.Handler(gateway.ValidateWith(nethttp.App(h), func(v *gateway.Violation) { breaches = append(breaches, v.Error()) }))
	}
	for _, request := range []string{
		get,
		"GET /a%20b/c?d=e HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-A: 2\r\nCookie: a=b\r\n\r\n",
		"GET http://other.example/a HTTP/1.1\r\nHost: other.example\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	} {
		got, want := serveNetHTTP(t, both(http.HandlerFunc(describe))).ask(t, request), serveNetHTTP(t, http.HandlerFunc(describe)).ask(t, request)
		if got, want := got.text("Date"), want.text("Date"); got != want {
			t.Errorf("%q:\n%s\nwant\n%s", request, got, want)
		}
	}
	if len(breaches) > 0 {
		t.Error(breaches)
	}
}

// SCRIPT_NAME and PATH_INFO of an application below http.StripPrefix.
func TestHandlerMounted(t *testing.T) {
	h := http.StripPrefix("/app", nethttp.Handler(appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return gateway.Text(fmt.Sprint(env.ScriptName(), " ", env.Path(), " ", env.Query(), " ", env.Target(), " ", env.RemoteAddr().Addr(), " ", env.Get("SERVER_NAME"), " ", env.Get("SERVER_PORT"))), err
	})))
	if a := serveNetHTTP(t, h).ask(t, "GET /app/x%20y?q HTTP/1.1\r\nHost: h:81\r\n\r\n"); a.body != "/app /x y q /app/x%20y?q 127.0.0.1 h 81" {
		t.Error(a.body)
	}
}

// A request that the parser refuses does not reach the application.
func TestHandlerRefuses(t *testing.T) {
	h := nethttp.Handler(appFunc(func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) { panic("called") }))
	for request, want := range map[string]string{
		"GET /" + strings.Repeat("x", 9000) + " HTTP/1.1\r\nHost: h\r\n\r\n":          "414",
		"GET / HTTP/1.1\r\nHost: h\r\nA: " + strings.Repeat("x", 40_000) + "\r\n\r\n": "431",
		"GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("A: b\r\n", 101) + "\r\n":    "431",
	} {
		if a := serveNetHTTP(t, h).ask(t, request); !strings.HasPrefix(a.status, want) {
			t.Errorf("%.40q: %s", request, a.text())
		}
	}
}

// write() is sent at once, content is read as it comes, and a wake calls Next again.
func TestHandlerStreams(t *testing.T) {
	wakes, stopped := make(chan func(), 1), make(chan error, 1)
	h := nethttp.Handler(appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 OK", nil, nil)
		if err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, "written\n"); err != nil {
			t.Error(err)
		}
		if line, err := env.Input().ReadLine(0); err != nil || string(line) != "one\n" {
			t.Errorf("%q, %v", line, err)
		}
		ctx, wake := env.Context(), env.Waker()
		wakes <- wake
		return gateway.Stream(func(yield func([]byte, error) bool) {
			for i := 0; yield(fmt.Appendf(nil, "event %d\n", i), gateway.ErrWait); i++ {
			}
			<-ctx.Done()
			stopped <- context.Cause(ctx)
		}), nil
	}))
	c := serveNetHTTP(t, h).dial(t)
	c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n")
	c.until("written")
	c.send("one\n")
	wake := wait(t, "the waker", wakes)
	for i := range 3 {
		c.until(fmt.Sprint("event ", i))
		wake()
	}
	_ = c.Close()
	if err := wait(t, "the end", stopped); err != gateway.ErrClientGone {
		t.Error(err)
	}
}

// wsgi.errors is the log.
func TestHandlerLogs(t *testing.T) {
	var log bytes.Buffer
	previous := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	h := nethttp.Handler(appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		fmt.Fprintln(env.Errors(), "a word")
		return nil, errApp
	}))
	slog.SetDefault(previous)
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/x", nil))
	for _, want := range []string{"a word", "target=/x", errApp.Error()} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in %s", want, &log)
		}
	}
}

// An application that aborts is not logged; the client sees an incomplete response.
func TestHandlerAborts(t *testing.T) {
	var log testlog.Buffer
	previous := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() { slog.SetDefault(previous) })
	aborts := fmt.Errorf("enough: %w", gateway.ErrAbort)
	for name, app := range map[string]appFunc{
		"error": func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) { return nil, aborts },
		"panic": func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) { panic(aborts) },
		"error after start": func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("200 OK", nil, nil)
			return nil, aborts
		},
		"error in the content": func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			closed := 0
			_, err := start("200 OK", nil, nil)
			return &parts{[]string{"a"}, aborts, &closed}, err
		},
	} {
		p := serveNetHTTP(t, nethttp.Handler(app))
		if a := p.ask(t, get); !a.cut || (a.status != "") != (name == "error in the content") {
			t.Errorf("%s: %s", name, a.text())
		}
		if log := log.String() + p.log.String(); log != "" {
			t.Errorf("%s: %s", name, log)
		}
	}
}

// Flush sends the head before there is content.
func TestHandlerFlush(t *testing.T) {
	flushed := make(chan error, 2)
	p := serveNetHTTP(t, nethttp.Handler(appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("202 Accepted", nil, nil)
		if err != nil {
			return nil, err
		}
		flushed <- gateway.Flush(w)
		<-env.Context().Done()
		flushed <- gateway.Flush(w) // it may be an error, or not yet
		return nil, gateway.ErrAbort
	})))
	c := p.dial(t)
	c.send(get)
	if err := wait(t, "Flush", flushed); err != nil {
		t.Error(err)
	}
	c.until("202 Accepted")
	_ = c.Close()
	wait(t, "the end", flushed)
}

type closeFunc func() error

func (f closeFunc) Close() error { return f() }

// Over TLS the environ has the keys of mod_ssl, in Get, in All and in a Clone, and an http.Handler its TLS and Proto.
func TestHandlerTLS(t *testing.T) {
	var kept *gateway.Environ
	var breaches []string
	app := gateway.ValidateWith(appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		kept = env.Clone()
		all := make(map[string]any)
		for key, value := range env.All() {
			all[key] = value
		}
		_, err := start("200 OK", nil, nil)
		return gateway.Text(fmt.Sprint(all["HTTPS"], all["SSL_PROTOCOL"], all["SSL_CLIENT_VERIFY"], all["SSL_TLS_SNI"], env.Protocol(), env.Scheme())), err
	}), func(v *gateway.Violation) { breaches = append(breaches, v.Error()) })
	for _, h2 := range []bool{false, true} {
		for name, h := range map[string]http.Handler{
			"App":     nethttp.Handler(app),
			"Handler": nethttp.Handler(nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.TLS != nil, r.Proto) }))),
		} {
			s := httptest.NewUnstartedServer(h)
			s.EnableHTTP2 = h2
			s.StartTLS()
			resp, err := s.Client().Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			s.Close()
			want := map[string]string{"App": "onTLSv1.3NONE<nil>" + resp.Proto + "https", "Handler": "true" + resp.Proto}[name]
			if string(b) != want || (resp.ProtoMajor == 2) != h2 {
				t.Errorf("%s: %q, want %q", name, b, want)
			}
		}
		if kept.Get("HTTPS") != "on" || kept.Get("SSL_CIPHER") == nil || kept.Get("SSL_TLS_SNI") != nil {
			t.Errorf("the clone has %v, %v, %v", kept.Get("HTTPS"), kept.Get("SSL_CIPHER"), kept.Get("SSL_TLS_SNI"))
		}
	}
	if len(breaches) > 0 {
		t.Error(breaches)
	}
}
