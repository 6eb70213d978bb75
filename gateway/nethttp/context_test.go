package nethttp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server"
)

// onBoth runs a test with App and with net/http, which must agree.
func onBoth(t *testing.T, h http.Handler, test func(t *testing.T, p testServer)) {
	t.Run("isbjorn", func(t *testing.T) { test(t, serveIsbjorn(t, h, server.Options{})) })
	t.Run("net/http", func(t *testing.T) { test(t, serveNetHTTP(t, h)) })
}

// Contexts derived from that of a request end with the request.
func TestContextEnds(t *testing.T) {
	type key struct{}
	ended := make(chan context.Context, 10)
	onBoth(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/itself":
			ended <- r.Context() // its first use comes after the handler
		case "/asked":
			if err := r.Context().Err(); err != nil {
				t.Error(err)
			}
			ended <- r.Context()
		case "/child":
			ctx, cancel := context.WithCancel(context.WithValue(r.Context(), key{}, "value"))
			context.AfterFunc(ctx, cancel)
			ended <- ctx
		case "/of a copy":
			ctx, cancel := context.WithTimeout(r.Clone(context.WithValue(r.Context(), key{}, "value")).Context(), time.Hour)
			context.AfterFunc(ctx, cancel)
			ended <- ctx
		case "/after":
			context.AfterFunc(r.Context(), func() { ended <- r.Context() })
		}
	}), func(t *testing.T, p testServer) {
		for _, path := range []string{"/itself", "/asked", "/child", "/of%20a%20copy", "/after"} {
			if a := p.ask(t, "GET "+path+" HTTP/1.1\r\nHost: h\r\n\r\n"); a.status != "200 OK" {
				t.Error(a.text())
			}
			ctx := wait(t, path, ended)
			wait(t, "the end of "+path, ctx.Done())
			if ctx.Err() != context.Canceled || context.Cause(ctx) != context.Canceled {
				t.Errorf("%s: %v because of %v", path, ctx.Err(), context.Cause(ctx))
			}
			child, cancel := context.WithCancel(ctx)
			defer cancel()
			wait(t, "the end of a child that came late", child.Done())
			if ctx.Value(http.ServerContextKey) == nil || ctx.Value(context.Canceled) != nil {
				t.Errorf("%s: %v, %v", path, ctx.Value(http.ServerContextKey), ctx.Value(context.Canceled))
			}
		}
	})
}

// They end when the client disconnects while the handler runs.
func TestContextOfClientGone(t *testing.T) {
	began, ended := make(chan bool), make(chan error, 3)
	onBoth(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		child, cancel := context.WithCancel(r.Context())
		defer cancel()
		context.AfterFunc(r.Context(), func() { ended <- r.Context().Err() })
		began <- true
		<-r.Context().Done()
		ended <- r.Context().Err()
		<-child.Done()
		ended <- child.Err()
	}), func(t *testing.T, p testServer) {
		c := p.dial(t)
		c.send(get)
		wait(t, "the handler", began)
		_ = c.Close()
		for range cap(ended) {
			if err := wait(t, "the end", ended); err != context.Canceled {
				t.Error(err)
			}
		}
	})
}

// Children need no goroutine, and a Context may be used on any.
func TestContextIsShared(t *testing.T) {
	var all sync.WaitGroup
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		before := runtime.NumGoroutine()
		for range 100 {
			_, cancel := context.WithCancel(r.Context())
			defer cancel()
		}
		if n := runtime.NumGoroutine() - before; n > 50 {
			t.Errorf("%d goroutines for 100 children", n)
		}
	})
	if got := gatewaytest.Get(nethttp.App(handler), "/"); got.Err != nil {
		t.Error(got.Err)
	}
	asks := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for range 4 {
			all.Go(func() {
				ctx := r.Context()
				_, _ = ctx.Deadline()
				_, _ = ctx.Value("key"), fmt.Sprint(ctx)
				<-ctx.Done()
				if ctx.Err() != context.Canceled {
					t.Error(ctx.Err())
				}
			})
		}
	})
	for range 50 {
		if got := gatewaytest.Get(nethttp.App(asks), "/"); got.Err != nil {
			t.Error(got.Err)
		}
	}
	done := make(chan bool)
	go func() { all.Wait(); close(done) }()
	wait(t, "the end of them all", done)
}

// A client that closes its sending side after several requests ends the Context of each, except of one that is followed
// by bytes that the server has not read.
func TestContextOfPipelined(t *testing.T) {
	closed := make(chan bool, 2)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-closed
		select {
		case <-r.Context().Done():
			fmt.Fprint(w, "ended")
		case <-time.After(waitMax):
			fmt.Fprint(w, "goes on")
		}
	})
	ask := func(t *testing.T, p testServer) (answers [2]string) {
		c := p.dial(t)
		c.send(get + get)
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		closed <- true
		closed <- true
		for i := range answers {
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			answers[i] = string(b)
		}
		return answers
	}
	want := [2]string{"ended", "ended"}
	onWorkers(t, h, func(t *testing.T, p testServer) {
		if got := ask(t, p); got != want {
			t.Errorf("%q", got)
		}
	}, server.Options{})
	if got := ask(t, serveNetHTTP(t, h)); got != want {
		t.Errorf("net/http: %q", got)
	}
}

// Under a server that does not announce its stop the channel is nil.
func TestStoppingIsNil(t *testing.T) {
	if nethttp.Stopping(t.Context()) != nil {
		t.Error("a Context of no request has one")
	}
	asked := false
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		asked = true
		if env.Stopping() != nil || env.Clone().Stopping() != nil {
			t.Error("an Environ under net/http has one")
		}
		_, err := start("204 No Content", nil, nil)
		return nil, err
	})
	for _, app := range []gateway.App{app, gateway.Debug(gateway.Validate(app))} {
		asked = false
		nethttp.Handler(app).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		if !asked {
			t.Error("the application was not called")
		}
	}
}
