package gatewaytest_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
)

var errApp = errors.New("the application's")

type appFunc = gateway.AppFunc

func chunks(err error, chunks ...string) gateway.Body {
	return gateway.Stream(func(yield func([]byte, error) bool) {
		for _, c := range chunks {
			if !yield([]byte(c), nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	})
}

// The Response for every order of start, write(), Next and errors.
func TestResponses(t *testing.T) {
	length := []gateway.Header{{Name: "Content-Length", Value: "3"}}
	for _, tt := range []struct {
		name   string
		req    gatewaytest.Request
		app    appFunc
		code   int
		text   string
		chunks int
		closed int
		want   error // also a *gateway.Violation by its rule
		rule   bool
	}{
		{name: "writes come first", code: 200, text: "abcd", chunks: 3, closed: 1, app: func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", nil, nil)
			_, _ = io.WriteString(w, "ab")
			return chunks(nil, "c", "", "d"), err
		}},
		{name: "no body", code: 200, app: func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 OK", nil, nil)
			return nil, err
		}},
		{name: "replaced", code: 500, text: "sorry", chunks: 1, closed: 1, app: func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("200 OK", length, nil)
			_, err := start("500 Internal Server Error", nil, errApp)
			return env.Text("sorry"), err
		}},
		{name: "too late to replace", code: 200, text: "ab", chunks: 1, want: errApp, app: func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, _ := start("200 OK", nil, nil)
			_, _ = io.WriteString(w, "ab")
			_, _ = start("500 Internal Server Error", nil, errApp) // its error sticks
			return nil, nil
		}},
		{name: "error after sending", code: 200, text: "ab", chunks: 1, closed: 1, want: errApp, app: func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("200 OK", nil, nil)
			return chunks(errApp, "ab"), nil
		}},
		{name: "error of Serve with a body", closed: 1, want: errApp, app: func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) {
			return chunks(nil, "ab"), errApp
		}},
		{name: "HEAD", req: gatewaytest.Request{Method: "HEAD"}, code: 200, closed: 1, app: func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 OK", length, nil)
			return chunks(nil, "abc"), err
		}},
		{name: "HEAD by write()", req: gatewaytest.Request{Method: "HEAD"}, code: 200, app: func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", length, nil)
			_, _ = io.WriteString(w, "abc")
			return nil, err
		}},
		{name: "304", code: 304, closed: 1, app: func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("304 Not Modified", length, nil)
			return chunks(nil, "abc"), err
		}},
		{name: "too short", code: 200, text: "ab", chunks: 1, closed: 1, rule: true, app: func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 OK", length, nil)
			return chunks(nil, "ab"), err
		}},
		{name: "a breach that was made another error", rule: true, app: func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("OK", nil, nil)
			return nil, errApp
		}},
		{name: "client gone", req: gatewaytest.Request{Leave: 2}, code: 200, text: "ab", chunks: 2, closed: 1, want: gateway.ErrClientGone,
			app: func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				_, err := start("200 OK", nil, nil)
				return chunks(nil, "a", "b", "c"), err
			}},
		{name: "client gone in a write", req: gatewaytest.Request{Leave: 1}, code: 200, text: "a", chunks: 1, closed: 1, want: gateway.ErrClientGone,
			app: func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				w, err := start("200 OK", nil, nil)
				_, _ = io.WriteString(w, "a")
				if context.Cause(env.Context()) != gateway.ErrClientGone {
					t.Error("the context goes on")
				}
				if _, err := io.WriteString(w, "b"); err != gateway.ErrClientGone {
					t.Errorf("then Write: %v", err)
				}
				return chunks(nil, "c"), err
			}},
	} {
		got := gatewaytest.Call(tt.app, tt.req)
		var v *gateway.Violation
		if got.Code != tt.code || got.Text() != tt.text || len(got.Chunks) != tt.chunks || got.Closed != tt.closed || errors.As(got.Err, &v) != tt.rule || !tt.rule && got.Err != tt.want {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}

// When Next panics the Body is closed once, and Call panics with the same value.
func TestPanic(t *testing.T) {
	closed := 0
	defer func() {
		if recover() != errApp || closed != 1 {
			t.Errorf("closed %d times", closed)
		}
	}()
	gatewaytest.Get(appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return &panics{&closed}, err
	}), "/")
}

type panics struct{ closed *int }

func (panics) Next() ([]byte, error) { panic(errApp) }
func (p panics) Close() error        { *p.closed++; return nil }

// The context ends with the call.
func TestContext(t *testing.T) {
	var ctx context.Context
	gatewaytest.Get(appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		ctx = env.Context()
		_, err := start("204 No Content", nil, nil)
		return nil, err
	}), "/")
	if ctx.Err() == nil {
		t.Error("it goes on")
	}
}
