package gateway_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

// wsgi.file_wrapper is File.
func TestFileWrapper(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	wrap, ok := environ(t, smallGet).Get("wsgi.file_wrapper").(func(*os.File) gateway.Body)
	if !ok {
		t.Fatal("wsgi.file_wrapper is not a func(*os.File) Body")
	}
	body := wrap(f)
	if _, ok := body.(*gateway.FileBody); !ok {
		t.Errorf("it returned a %T, which no server sends by sendfile", body)
	}
	if got := content(t, body); got != "content" {
		t.Errorf("content %q", got)
	}
	if body.Close(); f.Close() == nil {
		t.Error("Close did not close the file")
	}
}

// The deployer's pairs are in every view, and Set replaces them.
func TestExtra(t *testing.T) {
	r := parse(t, smallGet)
	r.host = &gateway.ServerInfo{Scheme: "http", Extra: map[string]any{"deployer.key": "value", "n": 1}}
	var e gateway.ServerEnviron
	r.begin(&e)
	check := func(name string, e *gateway.Environ, want any) {
		if got := e.Get("deployer.key"); got != want {
			t.Errorf("%s: Get = %v, want %v", name, got, want)
		}
		if got := all(e)["deployer.key"]; got != want {
			t.Errorf("%s: All has %v, want %v", name, got, want)
		}
		if got := e.Get("n"); got != 1 {
			t.Errorf("%s: Get(n) = %v", name, got)
		}
	}
	check("request", &e.Environ, "value")
	check("clone", e.Clone(), "value")
	e.Set("deployer.key", "other")
	check("after Set", &e.Environ, "other")
	e.Delete("deployer.key")
	check("after Delete", &e.Environ, nil)
	e.End()
	r.begin(&e)
	check("next request", &e.Environ, "value")
}

func TestCheckExtra(t *testing.T) {
	if err := gateway.CheckExtra(map[string]any{"myapp.db": 1, "DOCUMENT_ROOT": "/", "HTTPS": "on", "wsgi": 1}); err != nil {
		t.Error(err)
	}
	for _, key := range []string{
		"REQUEST_METHOD", "REMOTE_PORT", "CONTENT_LENGTH", "HTTP_X", "HTTP_", "wsgi.input", "wsgi.own", "isbjorn.own", "",
	} {
		if err := gateway.CheckExtra(map[string]any{key: 1}); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%q: %v; want an error that names it", key, err)
		}
	}
	if gateway.CheckExtra(map[string]any{"myapp.nil": nil}) == nil {
		t.Error("nil was taken")
	}
}

// The authority of the target replaces the Host field in every view.
func TestHostOfTarget(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want any
	}{
		{"GET / HTTP/1.1\r\nHost: field:81\r\n\r\n", "field:81"},
		{"GET http://target:82/ HTTP/1.1\r\nHost: field:81\r\n\r\n", "target:82"},
		{"GET http://target HTTP/1.1\r\nHost:\r\n\r\n", "target"},
		{"GET http://target/ HTTP/1.0\r\n\r\n", "target"},
		{"GET / HTTP/1.1\r\nHost:\r\n\r\n", ""},
		{"GET / HTTP/1.0\r\n\r\n", nil},
	} {
		e := environ(t, tt.in)
		text, _ := tt.want.(string)
		if got := e.Get("HTTP_HOST"); got != tt.want {
			t.Errorf("%.40q: HTTP_HOST = %v, want %v", tt.in, got, tt.want)
		}
		if got, ok := all(e)["HTTP_HOST"]; got != tt.want || ok != (tt.want != nil) {
			t.Errorf("%.40q: All has %v, want %v", tt.in, got, tt.want)
		}
		if e.Host() != text || e.Header("hOST") != text {
			t.Errorf("%.40q: Host() = %q, Header = %q; want %q", tt.in, e.Host(), e.Header("host"), text)
		}
		e.Set("HTTP_HOST", "set")
		if e.Get("HTTP_HOST") != "set" || e.Host() != "set" || e.Header("Host") != "set" {
			t.Errorf("%.40q: after Set %v, %q, %q", tt.in, e.Get("HTTP_HOST"), e.Host(), e.Header("Host"))
		}
	}
}

// ServerInfo.Hidden is called for each field that is hidden for its "_", and not for Proxy.
func TestHidden(t *testing.T) {
	const in = "GET / HTTP/1.1\r\nHost: h\r\nX_Y: 1\r\nProxy: p\r\nX-Z: 2\r\n\r\n"
	for _, tt := range []struct {
		name string
		use  func(e *gateway.Environ)
		want string
	}{
		{"nothing", func(e *gateway.Environ) { _ = e.Path() }, ""},
		{"another field", func(e *gateway.Environ) { _, _ = e.Header("X-Z"), e.Get("HTTP_X_Z") }, ""},
		{"Proxy", func(e *gateway.Environ) { _, _ = e.Header("Proxy"), e.Get("HTTP_PROXY") }, ""},
		{"Header", func(e *gateway.Environ) { _ = e.Header("X_Y") }, "X_Y"},
		{"Get", func(e *gateway.Environ) { _ = e.Get("HTTP_X_Y") }, "X_Y"},
		{"Headers", func(e *gateway.Environ) {
			for range e.Headers() {
			}
		}, "X_Y"},
		{"All", func(e *gateway.Environ) {
			for range e.All() {
			}
		}, "X_Y"},
	} {
		r, told := parse(t, in), ""
		r.host = &gateway.ServerInfo{Scheme: "http", Hidden: func(name string) { told = name }}
		var e gateway.ServerEnviron
		r.begin(&e)
		tt.use(&e.Environ)
		if told != tt.want {
			t.Errorf("%s: told of %q, want %q", tt.name, told, tt.want)
		}
	}
}

func TestUnderscores(t *testing.T) {
	r := parse(t, "GET / HTTP/1.1\r\nHost: h\r\nX_Y: 1\r\nProxy: p\r\nX-Y: 2\r\n\r\n")
	r.host = &gateway.ServerInfo{Scheme: "http", Underscores: true, Hidden: func(name string) { t.Errorf("%s is hidden", name) }}
	var e gateway.ServerEnviron
	r.begin(&e)
	if e.Header("X_Y") != "1" || e.Header("X-Y") != "2" || e.Get("HTTP_X_Y") != "1, 2" || all(&e.Environ)["HTTP_X_Y"] != "1, 2" {
		t.Errorf("%q, %q, %v", e.Header("X_Y"), e.Header("X-Y"), e.Get("HTTP_X_Y"))
	}
	if e.Header("Proxy") != "" || e.Get("HTTP_PROXY") != nil {
		t.Error("Proxy shows")
	}
}

func TestErrorStream(t *testing.T) {
	e := environ(t, smallGet)
	var stream = e.Errors()
	if _, err := io.WriteString(stream, "text"); err != nil || gateway.Flush(stream) != nil {
		t.Errorf("Write: %v", err)
	}
	if _, ok := e.Get("wsgi.errors").(interface{ Flush() error }); !ok {
		t.Error("wsgi.errors has no Flush")
	}
}

// The Context ends with the response, or with the first cause of Cancel, whether Context was called before Cancel or
// after it.
func TestCancel(t *testing.T) {
	for _, tt := range []struct {
		name   string
		causes []error
		want   error
	}{
		{"End", nil, context.Canceled},
		{"client gone", []error{gateway.ErrClientGone}, gateway.ErrClientGone},
		{"stopped, then gone", []error{gateway.ErrStopped, gateway.ErrClientGone}, gateway.ErrStopped},
	} {
		for _, early := range []bool{true, false} {
			r := parse(t, smallGet)
			var e gateway.ServerEnviron
			r.begin(&e)
			var ctx context.Context
			if early {
				if ctx = e.Context(); ctx.Err() != nil || ctx != e.Get("isbjorn.context") {
					t.Errorf("%s: a fresh context: %v", tt.name, ctx.Err())
				}
			}
			for _, cause := range tt.causes {
				e.Cancel(cause)
			}
			if !early {
				ctx = e.Context()
			}
			if tt.causes != nil && !errors.Is(context.Cause(ctx), tt.want) {
				t.Errorf("%s: cause %v, want %v", tt.name, context.Cause(ctx), tt.want)
			}
			e.End()
			if ctx.Err() != context.Canceled || !errors.Is(context.Cause(ctx), tt.want) {
				t.Errorf("%s: after End %v, cause %v; want %v", tt.name, ctx.Err(), context.Cause(ctx), tt.want)
			}
			r.begin(&e)
			if err := context.Cause(e.Context()); err != nil {
				t.Errorf("%s: the next request begins with %v", tt.name, err)
			}
			e.End()
		}
	}
}

// Cancel and Context at the same time.
func TestCancelFromElsewhere(t *testing.T) {
	for range 100 {
		e := serverEnviron(t, smallGet)
		var wg sync.WaitGroup
		wg.Go(func() { e.Cancel(gateway.ErrTimeout) })
		<-e.Context().Done()
		if err := context.Cause(e.Context()); err != gateway.ErrTimeout {
			t.Errorf("cause %v", err)
		}
		wg.Wait()
		e.End()
	}
}

// Without a call of Context, Cancel allocates nothing.
func TestCancelAllocates(t *testing.T) {
	r := parse(t, smallGet)
	var e gateway.ServerEnviron
	if n := testing.AllocsPerRun(100, func() { r.begin(&e); e.Cancel(gateway.ErrClientGone); e.End() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
