package middleware

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
)

func TestRecover(t *testing.T) {
	const internal = "500 Internal Server Error \"Internal Server Error\\n\" closed 1, <nil>"
	for _, tt := range []struct {
		name   string
		a      answer
		want   string
		closed int
	}{
		{"Serve", answer{failServe: errBroken}, internal, 0},
		{"Serve after write", answer{failServe: errBroken, written: "part"}, "200 OK \"part\" closed 0, middleware: the application panicked: broken", 0},
		{"first Next", answer{failNext: errBroken, chunks: []string{}}, internal, 1},
		{"first Next of a length", answer{failNext: errBroken, chunks: []string{}, sized: true}, internal, 1},
		{"first Next, before start", answer{failNext: errBroken, chunks: []string{}, late: true}, internal, 1},
		{"after an empty chunk", answer{failNext: errBroken, chunks: []string{""}}, internal, 1},
		{"second Next", answer{failNext: errBroken, chunks: []string{"one"}}, "200 OK \"one\" closed 1, middleware: the application panicked: broken", 1},
		{"Next after write", answer{failNext: errBroken, chunks: []string{}, written: "part"}, "200 OK \"part\" closed 1, middleware: the application panicked: broken", 1},
		{"Close", answer{failClose: errBroken, chunks: []string{"one"}}, "200 OK \"one\" closed 1, middleware: the application panicked: broken", 1},
	} {
		tt.a.panics = true
		kept := &keeper{}
		got := gatewaytest.Call(firstWithoutExc(t, Recover(&tt.a)), gatewaytest.Request{Log: slog.New(kept)})
		if show(got) != tt.want || tt.a.closed != tt.closed {
			t.Errorf("%s: %s, want %s; closed %d, want %d", tt.name, show(got), tt.want, tt.a.closed, tt.closed)
		}
		if len(kept.records) != 1 || !strings.Contains(kept.records[0].Message, "panicked: broken\ngoroutine ") || !strings.Contains(kept.records[0].Message, "answer).fail") {
			t.Errorf("%s: the log has %v", tt.name, kept.records)
		}
	}
	if got := gatewaytest.Get(Recover(&answer{failServe: errBroken}), "/"); got.Err != errBroken {
		t.Errorf("an error that is no panic: %v", got.Err)
	}
}

// firstWithoutExc checks that the first call of start has no exc, and all others have one.
func firstWithoutExc(t *testing.T, app gateway.App) gateway.App {
	return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		first := true
		return app.Serve(env, func(status string, headers []gateway.Header, exc error) (io.Writer, error) {
			if (exc == nil) != first {
				t.Errorf("first call of start: %v, exc: %v", first, exc)
			}
			first = false
			return start(status, headers, exc)
		})
	})
}

// On the wire: the 500 has its own length, not that of the body that was to come.
func TestRecoverLength(t *testing.T) {
	for _, a := range []answer{
		{failNext: errBroken, chunks: []string{}, sized: true},
		{failNext: errBroken, chunks: []string{}, headers: fields("Content-Length", "100")},
	} {
		a.panics = true
		out := exchange(t, Recover(&a), "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if !strings.HasPrefix(out, "HTTP/1.1 500 ") || !strings.Contains(out, "\r\nContent-Length: 22\r\n") || !strings.HasSuffix(out, "\r\n\r\nInternal Server Error\n") {
			t.Errorf("%+v: %q", a, out)
		}
	}
	a := answer{failNext: errBroken, chunks: []string{"one"}, panics: true}
	if out := exchange(t, Recover(&a), "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); !strings.Contains(out, "one") || strings.HasSuffix(out, "\r\n0\r\n\r\n") {
		t.Errorf("an answer that is cut looks whole: %q", out)
	}
}

// A panic before start is the first call of start.
func TestRecoverBeforeStart(t *testing.T) {
	app := Recover(gateway.AppFunc(func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) { panic(errBroken) }))
	if got := gatewaytest.Get(firstWithoutExc(t, app), "/"); got.Code != 500 || got.Err != nil {
		t.Errorf("%s", show(got))
	}
}

// An error of start sticks.
func TestRecoverStartFails(t *testing.T) {
	app := Recover(gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("nonsense", nil, nil)
		panic(err)
	}))
	if got := gatewaytest.Get(app, "/"); got.Err == nil || !strings.Contains(got.Err.Error(), `"nonsense"`) {
		t.Errorf("%v", got.Err)
	}
}

// A panic with ErrAbort is the error ErrAbort, and no 500.
func TestRecoverAborts(t *testing.T) {
	for _, a := range []*answer{
		{failServe: gateway.ErrAbort, panics: true},
		{failNext: gateway.ErrAbort, panics: true, chunks: []string{"part"}},
	} {
		log := new(keeper)
		got := gatewaytest.Call(Recover(a), gatewaytest.Request{Log: slog.New(log)})
		if !errors.Is(got.Err, gateway.ErrAbort) || len(log.records) > 0 {
			t.Errorf("%+v, and %d records", got, len(log.records))
		}
	}
}
