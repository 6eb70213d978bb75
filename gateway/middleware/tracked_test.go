package middleware

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
)

// quiet are the middlewares that change no content.
func quiet(t *testing.T) map[string]gateway.Middleware {
	t.Helper()
	limit, err := ConcurrencyLimit(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	conditional, err := Conditional(ConditionalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]gateway.Middleware{
		"AccessLog": CombinedLog(io.Discard), "Recover": Recover, "RequestID": RequestID(false), "ConcurrencyLimit": limit,
		"Conditional": conditional,
	}
}

// A response passes through unchanged: chunk by chunk, with the errors, closed once.
func TestPassed(t *testing.T) {
	for name, m := range quiet(t) {
		for _, a := range []answer{
			{},
			{status: "404 Not Found", headers: fields("X-A", "1", "X-B", "2")},
			{chunks: []string{"one"}},
			{chunks: []string{"one"}, sized: true},
			{chunks: []string{"one", "two", "three"}},
			{chunks: []string{"one", "two", "three"}, sized: true, late: true},
			{chunks: []string{}, late: true},
			{written: "before", chunks: []string{"after"}},
			{written: "only"},
			{chunks: []string{"one"}, failServe: errBroken},
			{failServe: errBroken},
			{chunks: []string{"one"}, failNext: errBroken},
			{chunks: []string{"one"}, failClose: errBroken},
			{status: "bad"},
			{headers: fields("Bad Name", "x"), chunks: []string{"one"}, late: true},
		} {
			plain, wrapped := a, a
			want := gatewaytest.Get(&plain, "/")
			checked := gateway.ValidateMiddleware(m, func(v *gateway.Violation) { t.Errorf("%s: %+v: %v", name, a, v) })
			got := gatewaytest.Get(checked(&wrapped), "/")
			if a.chunks == nil {
				want.Closed, got.Closed = 0, 0
			}
			if show(got) != show(want) || len(got.Chunks) != len(want.Chunks) || plain.closed != wrapped.closed {
				t.Errorf("%s: %+v: %s, want %s; closed %d, want %d", name, a, show(got), show(want), wrapped.closed, plain.closed)
			}
			for _, h := range want.Header {
				if got.Get(h.Name) != h.Value {
					t.Errorf("%s: %+v: header %v is %q", name, a, h, got.Get(h.Name))
				}
			}
		}
	}
}

// Middlewares that change content yield a chunk for each chunk, too.
func TestChangedContent(t *testing.T) {
	compress, err := Compress(CompressOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tagged, err := Conditional(ConditionalOptions{ETagBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("0123456789", 10_000)
	for name, m := range map[string]gateway.Middleware{"Compress": compress, "Conditional": tagged} {
		for _, a := range []answer{
			{chunks: []string{large}},
			{chunks: []string{large}, sized: true},
			{chunks: []string{large, "", large}},
			{chunks: []string{"small"}, late: true},
			{chunks: []string{large}, failNext: errBroken},
			{chunks: []string{large}, failClose: errBroken},
		} {
			a.headers = fields("Content-Type", "text/plain")
			checked := gateway.ValidateMiddleware(m, func(v *gateway.Violation) { t.Errorf("%s: %.80v: %v", name, a, v) })
			got := gatewaytest.Call(checked(&a), gatewaytest.Request{Header: fields("Accept-Encoding", "gzip")})
			if a.closed != 1 || a.failNext == nil && a.failClose == nil && got.Err != nil {
				t.Errorf("%s: %.80v: %v, closed %d", name, a, got.Err, a.closed)
			}
			if coded := got.Get("Content-Encoding") == "gzip"; name == "Compress" && got.Err == nil && coded == (got.Text() == "small") {
				t.Errorf("%s: %.80v: Content-Encoding %q", name, a, got.Get("Content-Encoding"))
			}
		}
	}
}

// The length of the Body, and its file, show through.
func TestLengthAndFileShow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, m := range quiet(t) {
		for _, sized := range []bool{false, true} {
			app := m(&answer{chunks: []string{"one", "two"}, sized: sized})
			out := exchange(t, app, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			if strings.Contains(out, "\r\nContent-Length: 6\r\n") != sized || strings.Contains(out, "chunked") == sized {
				t.Errorf("%s, sized %v: %q", name, sized, out)
			}
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		app := m(gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 OK", nil, nil)
			return gateway.FileRange(f, 2, 5), err
		}))
		var seen *gateway.FileBody
		var length int64
		gatewaytest.Get(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			body, err := app.Serve(env, start)
			seen = gateway.FileOf(body)
			if s, ok := body.(gateway.Sized); ok {
				length = s.Len()
			}
			return body, err
		}), "/")
		if seen == nil || length != 5 {
			t.Errorf("%s: a file of 5 bytes is seen as %v of %d bytes", name, seen, length)
		}
	}
}

// Two of them, one around the other, see the same.
func TestReplySees(t *testing.T) {
	for _, tt := range []struct {
		a     answer
		code  int
		bytes int64
		whole bool
		err   error
	}{
		{answer{}, 200, 0, true, nil},
		{answer{chunks: []string{"one", "two"}}, 200, 6, true, io.EOF},
		{answer{written: "zero", chunks: []string{"one", "two"}, sized: true}, 200, 10, true, io.EOF},
		{answer{status: "500 Oh", chunks: []string{"one"}, headers: fields("Content-Length", "5")}, 500, 3, false, io.EOF},
		{answer{chunks: []string{"one"}, failNext: errBroken}, 200, 3, false, errBroken},
		{answer{failServe: errBroken}, 200, 0, false, errBroken},
		{answer{chunks: []string{"one"}, failServe: errBroken}, 200, 0, false, errBroken},
		{answer{status: "bad", chunks: []string{"one"}, late: true}, 0, 0, false, nil},
	} {
		var seen []*trackedResponse
		watch := func(app gateway.App) gateway.App {
			return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				return (&trackedResponse{onEnd: func(r *trackedResponse) { seen = append(seen, r) }}).serve(app, env, start)
			})
		}
		gatewaytest.Get(watch(watch(&tt.a)), "/")
		if len(seen) != 2 {
			t.Errorf("%+v: the end came %d times to two", tt.a, len(seen))
			continue
		}
		for _, r := range seen {
			if r.code != tt.code || r.sentBytes() != tt.bytes || tt.err != nil && r.err != tt.err && !(tt.err == io.EOF && r.err == nil) || r.complete() != tt.whole {
				t.Errorf("%+v: code %d, %d bytes, whole %v, %v; want %+v", tt.a, r.code, r.sentBytes(), r.complete(), r.err, tt)
			}
		}
	}
}

func TestStack(t *testing.T) {
	var order []string
	named := func(name string) gateway.Middleware {
		return func(app gateway.App) gateway.App {
			return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				order = append(order, name)
				return app.Serve(env, start)
			})
		}
	}
	app, err := Stack(&answer{}, named("a"), named("b"), named("c"))
	if err != nil {
		t.Fatal(err)
	}
	if got := gatewaytest.Get(app, "/"); got.Err != nil || strings.Join(order, "") != "abc" {
		t.Errorf("%s: order %v", show(got), order)
	}
	if _, err := Stack(nil); err == nil {
		t.Error("no application is no error")
	}
	if _, err := Stack(&answer{}, named("a"), nil); err == nil || !strings.Contains(err.Error(), "number 1") {
		t.Errorf("a middleware that is nil: %v", err)
	}
}
