package gateway_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

// A clone shows the same when the memory of the request has another one.
func TestClone(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(t *testing.T, e *gateway.Environ) // what the application did
		input  string                                 // what is left of the content
	}{
		{"untouched", func(*testing.T, *gateway.Environ) {}, "line\nlonger\n"},
		{"all was asked", func(_ *testing.T, e *gateway.Environ) { _ = view(e) }, "line\nlonger\n"},
		{"a line was read", func(t *testing.T, e *gateway.Environ) {
			if b, err := e.Input().ReadLine(0); string(b) != "line\n" || err != nil {
				t.Errorf("ReadLine = %q, %v", b, err)
			}
		}, "longer\n"},
		{"all was read", func(_ *testing.T, e *gateway.Environ) { _, _ = e.Input().ReadAll() }, ""},
		{"overlay of views", func(_ *testing.T, e *gateway.Environ) {
			e.Set(e.Query(), e.Target()) // key and value are the server's memory
			e.Set(e.Header("x-one"), e.Header("cookie"))
			e.Set("PATH_INFO", e.Path()+"/more")
			e.Set("SCRIPT_NAME", e.Path())
			e.Set("own.key", e.Query())
			e.Set("number", 1)
			e.Delete("HTTP_ACCEPT")
			e.Delete("REMOTE_ADDR")
		}, "line\nlonger\n"},
		{"body lent", func(_ *testing.T, e *gateway.Environ) { _ = e.Text(e.Path()) }, "line\nlonger\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := parse(t, richPost)
			var e gateway.ServerEnviron
			r.begin(&e)
			tt.before(t, &e.Environ)
			want := view(&e.Environ)
			c := e.Clone()
			again := c.Clone()
			ctx := c.Context()

			e.End()
			r.overwrite()
			next := parse(t, "PUT /%78%78%78%78%78%78%78%78%78%78%78%78 HTTP/1.0\r\nA: 1\r\nA: 2\r\n\r\nother content")
			next.begin(&e)
			_ = view(&e.Environ)

			for name, c := range map[string]*gateway.Environ{"clone": c, "clone of the clone": again} {
				for range 2 {
					if got := view(c); got != want {
						t.Errorf("%s: %s", name, diff(got, want))
					}
				}
				if got := content(t, c.Text("body")); got != "body" {
					t.Errorf("%s: Text gave %q", name, got)
				}
			}
			if got, err := io.ReadAll(c.Input()); string(got) != tt.input || err != nil {
				t.Errorf("content of the clone = %q, %v; want %q", got, err, tt.input)
			}
			if got := again.Input().Len(); got != len(tt.input) {
				t.Errorf("reading a clone changed its clone: %d bytes are left, want %d", got, len(tt.input))
			}
			if ctx.Err() != nil {
				t.Errorf("the context of the clone ended with the request: %v", ctx.Err())
			}
			if got := e.Header("a"); got != "1, 2" {
				t.Errorf("the next request has the header %q, want %q", got, "1, 2")
			}
		})
	}
}

// Changes of a request and of its clone do not show in each other.
func TestCloneIsApart(t *testing.T) {
	e := environ(t, richPost)
	e.Set("both", "before")
	c := e.Clone()
	wantC := view(c)
	e.Set("both", "of the request")
	e.Set("PATH_INFO", "/of/the/request")
	e.Delete("HTTP_ACCEPT")
	_, _ = e.Input().ReadAll()
	if got := view(c); got != wantC {
		t.Errorf("the clone changed with the request:\n%s", diff(got, wantC))
	}
	wantE := view(e)
	c.Set("both", "of the clone")
	c.Delete("REQUEST_METHOD")
	_, _ = c.Input().ReadLine(0)
	if got := view(e); got != wantE {
		t.Errorf("the request changed with the clone:\n%s", diff(got, wantE))
	}
}

// A used Environ shows the next request as a new one does.
func TestEndResets(t *testing.T) {
	requests := map[string]string{
		"smallest":   smallGet,
		"1.0":        "GET / HTTP/1.0\r\n\r\n",
		"rich":       richPost,
		"encoded":    "DELETE /%41%42?%43 HTTP/1.1\r\nHost: other\r\nX-One: 1\r\nCookie: c\r\nCookie: d\r\n\r\ncontent",
		"long path":  "GET /" + strings.Repeat("%20", 2000) + " HTTP/1.1\r\nHost: h\r\n\r\n", // more than is kept
		"repetition": "GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("Accept: x\r\nX-One: 1234567890\r\n", 40) + "\r\n",
	}
	uses := map[string]func(e *gateway.Environ){
		"nothing": func(*gateway.Environ) {},
		"view":    func(e *gateway.Environ) { _ = view(e) },
		"all": func(e *gateway.Environ) {
			_ = view(e)
			for _, key := range append([]string{"first.key", "HTTP_FIRST", "SCRIPT_NAME"}, getKeys...) {
				e.Set(key, "first")
			}
			e.Delete("REQUEST_METHOD")
			e.Delete("wsgi.version")
			_, _ = e.Input().ReadLine(3)
			_ = e.Text("first")
			_ = e.Bytes([]byte("second"))
			_ = e.Context()
			_ = e.Clone()
		},
	}
	for firstName, first := range requests {
		for useName, use := range uses {
			for secondName, second := range requests {
				want := view(environ(t, second))
				var e gateway.ServerEnviron
				r := parse(t, first)
				r.begin(&e)
				use(&e.Environ)
				kept := e.Input()
				e.End()
				if n := kept.Len(); n != 0 {
					t.Errorf("%s, %s: after End %d bytes of the content can be read", firstName, useName, n)
				}
				r.overwrite()
				parse(t, second).begin(&e)
				name := fmt.Sprintf("%s, %s, then %s", firstName, useName, secondName)
				if got := view(&e.Environ); got != want {
					t.Errorf("%s:\n%s", name, diff(got, want))
				}
				if got := content(t, e.Text("own")); got != "own" {
					t.Errorf("%s: Text gave %q", name, got)
				}
				_, wantContent, _ := strings.Cut(second, "\r\n\r\n")
				if got, err := io.ReadAll(e.Input()); string(got) != wantContent || err != nil {
					t.Errorf("%s: content %q, %v; want %q", name, got, err, wantContent)
				}
			}
		}
	}
}
