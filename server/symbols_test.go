package server

import (
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

// traces are the traces of all goroutines.
func traces() string {
	b := make([]byte, 4<<20)
	return string(b[:runtime.Stack(b, true)])
}

// Every name that the server searches for in a trace is in the real trace of a call of it.
func TestSymbols(t *testing.T) {
	var inServe, inNext atomic.Value
	app := appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		inServe.Store(string(debug.Stack()))
		_, err := start("200 OK", nil, nil)
		return next(func() ([]byte, error) {
			inNext.Store(string(debug.Stack()))
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
	want(inServe.Load().(string), inAsk)
	want(inNext.Load().(string), inCall)

	s = startOn(Pool, t, app, Options{})
	s.dial().exchangeHello()
	want(inServe.Load().(string), inWork)

	var h callTracker
	var w appCall
	w.state.Store(observed)
	h.mu.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.exitApp(&w)
	}()
	eventually(t, "the call waits for mu: "+inLeave, func() bool { return strings.Contains(traces(), inLeave) })
	h.mu.Unlock()
	<-done
}
