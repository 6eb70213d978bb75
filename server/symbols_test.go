package server

import (
	"io"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

// Every name that the server searches for in a trace is in the real trace of a call of it.
func TestSymbols(t *testing.T) {
	var serveStack, nextStack atomic.Value
	app := appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		serveStack.Store(string(debug.Stack()))
		_, err := start("200 OK", nil, nil)
		return next(func() ([]byte, error) {
			nextStack.Store(string(debug.Stack()))
			return []byte("Hello, World!"), io.EOF
		}), err
	})
	want := func(trace, symbol string) {
		t.Helper()
		if !strings.Contains(trace, symbol) {
			t.Errorf("%q is not in the trace\n%s", symbol, trace)
		}
	}
	s := startOn(Inline, t, app, Options{})
	s.dial().exchangeHello()
	want(serveStack.Load().(string), inServe)
	want(nextStack.Load().(string), inCall)

	s = startOn(Pool, t, app, Options{})
	s.dial().exchangeHello()
	want(serveStack.Load().(string), inWork)
}
