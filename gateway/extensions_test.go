package gateway_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

// flushes counts its calls of Flush.
type flushes struct {
	io.Writer
	n int
}

func (f *flushes) Flush() error { f.n++; return nil }

// A writer that can flush can do so under Validate and Debug, until the response ends; another
// one returns errors.ErrUnsupported.
func TestFlush(t *testing.T) {
	for name, wrap := range map[string]gateway.Middleware{"Validate": gateway.Validate, "Debug": gateway.Debug} {
		f := &flushes{Writer: io.Discard}
		for _, inner := range []io.Writer{f, new(bytes.Buffer)} {
			var w io.Writer
			app := wrap(gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (_ gateway.Body, err error) {
				if w, err = start("200 OK", nil, nil); err == nil {
					err = gateway.Flush(w)
				}
				return nil, err
			}))
			_, err := app.Serve(environ(t, smallGet), func(string, []gateway.Header, error) (io.Writer, error) { return inner, nil })
			if can := inner == f; can != (err == nil) || can == errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%s: Flush of a %T: %v", name, inner, err)
			}
			if err := gateway.Flush(w); err == nil || !strings.Contains(err.Error(), "start and its writer end with the response") {
				t.Errorf("%s: Flush after the end: %v", name, err)
			}
		}
		if f.n != 1 {
			t.Errorf("%s: flushed %d times, want 1", name, f.n)
		}
	}
}

// LocalAddr is that of the connection, with the parts replaced that were Set.
func TestLocalAddr(t *testing.T) {
	const here = "192.0.2.80:8080" // tcp4
	e := serverEnviron(t, "GET / HTTP/1.1\r\nHost: example.com:81\r\n\r\n")
	want := func(want string) {
		t.Helper()
		for _, e := range []*gateway.Environ{&e.Environ, e.Clone()} {
			if got := e.LocalAddr().String(); got != want {
				t.Errorf("LocalAddr %s, want %s", got, want)
			}
		}
	}
	want(here)
	e.Set("SERVER_PORT", "443")
	want("192.0.2.80:443")
	e.Set("SERVER_ADDR", "2001:db8::2")
	want("[2001:db8::2]:443")
	e.Delete("SERVER_PORT")
	want("[2001:db8::2]:0")

	r := parse(t, smallGet)
	r.conn = unixSocket()
	r.begin(e)
	e.Delete("SERVER_ADDR")
	if got := e.LocalAddr(); got.IsValid() {
		t.Errorf("LocalAddr of a Unix socket is %v", got)
	}
}

// informed is a connection that takes interim responses.
type informed struct {
	*fakeConn
	n int
}

func (c *informed) Inform(int, []gateway.Header) error { c.n++; return nil }

// Invalid interim responses are refused before the server gets them. Validate says which side is at
// fault, also for a call that comes too late.
func TestInform(t *testing.T) {
	field := func(name, value string) []gateway.Header { return []gateway.Header{{Name: name, Value: value}} }
	for name, tt := range map[string]struct {
		code    int
		headers []gateway.Header
		late    bool
		ok      bool
	}{
		"102": {102, nil, false, true}, "103": {103, field("Link", "</a>"), false, true}, "199": {199, field("Date", "x"), false, true},
		"100": {code: 100}, "101": {code: 101}, "200": {code: 200}, "0": {code: 0},
		"line end": {103, field("Link", "a\r\nB: c"), false, false}, "NUL": {103, field("Link", "\x00"), false, false},
		"name": {103, field("a b", ""), false, false}, "hop by hop": {103, field("Keep-Alive", "1"), false, false},
		"length": {103, field("Content-Length", "1"), false, false}, "close": {103, field("Connection", "close"), false, false},
		"late": {103, nil, true, false},
	} {
		conn := &informed{fakeConn: tcp4()}
		r := parse(t, smallGet)
		env := new(gateway.ServerEnviron)
		env.Begin(&r.req, r.memory, nil, quiet, conn)
		if err := env.Inform(tt.code, tt.headers); !tt.late && tt.ok != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
		var breaches []*gateway.Violation
		app := gateway.ValidateWith(gateway.Debug(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if tt.late {
				_, _ = start("200 OK", nil, nil)
			}
			err := env.Inform(tt.code, tt.headers)
			if !tt.late {
				_, _ = start("200 OK", nil, nil)
			}
			return nil, err
		})), func(v *gateway.Violation) { breaches = append(breaches, v) })
		before := conn.n
		_, err := app.Serve(&env.Environ, func(string, []gateway.Header, error) (io.Writer, error) { return io.Discard, nil })
		if found := len(breaches) > 0; found == tt.ok || tt.ok != (err == nil) || tt.ok != (conn.n > before) {
			t.Errorf("%s: breaches %v, error %v, asked %v", name, breaches, err, conn.n > before)
		}
	}
	if err := environ(t, smallGet).Inform(103, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a server without it: %v", err)
	}
}

// trailed is a connection that takes trailer fields.
type trailed struct {
	*fakeConn
	got []gateway.Header
}

func (c *trailed) Trailer(headers []gateway.Header) error {
	c.got = append(c.got, headers...)
	return nil
}

// Fields that mean nothing after the content are refused, in any case, and with them all fields of
// the call.
func TestTrailer(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		ok          bool
	}{
		{"X-Sum", "1", true}, {"ETag", `"x"`, true}, {"Server-Timing", "a", true}, {"Digest", "", true},
		{"Content-Length", "1", false}, {"TRANSFER-ENCODING", "chunked", false}, {"trailer", "x", false}, {"hOST", "h", false},
		{"Content-Type", "a/b", false}, {"content-encoding", "gzip", false}, {"Content-Range", "x", false}, {"Authorization", "x", false},
		{"Set-Cookie", "a=b", false}, {"Cache-Control", "no-store", false}, {"If-Match", "*", false}, {"Connection", "close", false},
		{"Date", "x", false}, {"Location", "/", false}, {"a b", "", false}, {"", "", false}, {"X", "a\r\nB: c", false}, {"X", "\x00", false},
	} {
		conn := &trailed{fakeConn: tcp4()}
		r := parse(t, smallGet)
		env := new(gateway.ServerEnviron)
		env.Begin(&r.req, r.memory, nil, quiet, conn)
		headers := []gateway.Header{{Name: "First", Value: "1"}, {Name: tt.name, Value: tt.value}}
		if err := env.Trailer(headers); tt.ok != (err == nil) || len(conn.got) > 0 != tt.ok {
			t.Errorf("%s: %v, and %v was added", tt.name, err, conn.got)
		}
		breaches := 0
		_, err := gateway.ValidateWith(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("200 OK", nil, nil)
			return nil, env.Trailer(headers)
		}), func(*gateway.Violation) { breaches++ }).Serve(&env.Environ, func(string, []gateway.Header, error) (io.Writer, error) { return io.Discard, nil })
		if tt.ok != (breaches == 0) || tt.ok != (err == nil) {
			t.Errorf("%s: %d breaches, %v", tt.name, breaches, err)
		}
	}
	if err := environ(t, smallGet).Trailer(nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a server without it: %v", err)
	}
}

// An Environ that is kept after End returns errors, and does not panic.
func TestExtensionsAfterEnd(t *testing.T) {
	e := serverEnviron(t, smallGet)
	e.End()
	_, _, hijack := e.Hijack()
	for name, err := range map[string]error{
		"Inform":           e.Inform(103, nil),
		"Trailer":          e.Trailer(nil),
		"Hijack":           hijack,
		"SetReadDeadline":  e.SetReadDeadline(time.Now()),
		"SetWriteDeadline": e.SetWriteDeadline(time.Now()),
	} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v, want errors.ErrUnsupported", name, err)
		}
	}
	e.CloseInput()
	e.Waker()()
	for name := range e.RequestTrailer() {
		t.Errorf("the trailer field %s", name)
	}
	if got := e.SentStatus(); got != 0 {
		t.Errorf("SentStatus %d, want 0", got)
	}
}
