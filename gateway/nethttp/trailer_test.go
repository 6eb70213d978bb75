package nethttp_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server"
)

// Trailer fields of a request: the announced names from the start, the values after the content, announced or not. In
// copies of the request too, if names were announced.
func TestRequestTrailer(t *testing.T) {
	part := make(chan bool, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, r.Trailer)
		inner := r.WithContext(r.Context())
		_, _ = io.ReadFull(inner.Body, make([]byte, 5))
		if r.URL.Path == "/late" {
			part <- true
		}
		_, err := io.ReadAll(inner.Body)
		fmt.Fprintln(w, r.Trailer, err)
		if r.Header.Get("X-Copy") != "" {
			fmt.Fprintln(w, inner.Trailer)
		}
	})
	const head = " HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
	tests := []struct{ fields, trailer string }{
		{"Trailer: X-Sum\r\n", "X-Sum: 1\r\n"},
		{"Trailer: X-Sum, x-more\r\nTrailer: X-None\r\nX-Copy: 1\r\n", "x-sum: 1\r\nX-MORE:\t2 \r\nx-sum: 3\r\nX-Empty:\r\n"},
		{"", "X-Sum: 1\r\n"},
		{"Trailer: X-Sum\r\n", ""},
		{"", ""},
	}
	answer := func(t *testing.T, p testServer, target string, i int) string {
		c := p.dial(t)
		c.send("POST " + target + head + tests[i].fields + "\r\n5\r\nhello\r\n")
		if target == "/late" {
			wait(t, "the first part", part)
		}
		c.send("6\r\n world\r\n0\r\n" + tests[i].trailer + "\r\n")
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		return fmt.Sprintf("%s%v", b, err)
	}
	theirs := serveNetHTTP(t, h)
	places := map[string]testServer{
		"Inline":    serveIsbjorn(t, h, server.Options{Dispatch: server.Inline}),
		"Auto":      serveIsbjorn(t, h, server.Options{Dispatch: server.Auto}),
		"Pool":      serveIsbjorn(t, h, server.Options{Dispatch: server.Pool}),
		"collected": serveApp(t, gateway.AppFunc(nethttp.App(h).Serve), server.Options{}),
		"validated": serveApp(t, gateway.Validate(nethttp.App(h)), server.Options{}),
	}
	for i := range tests {
		for _, target := range []string{"/", "/late"} {
			want := answer(t, theirs, target, i)
			for name, p := range places {
				if target == "/late" && name != "Auto" && name != "Pool" {
					continue // the handler is called when all has come
				}
				if got := answer(t, p, target, i); got != want {
					t.Errorf("%s, %s %q:\n%s\nnet/http:\n%s", name, target, tests[i], got, want)
				}
			}
		}
	}
}

// An App has them once it has read the content, with both servers, except those that an Environ hides.
func TestRequestTrailerOfApp(t *testing.T) {
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := env.Input().ReadAll()
		var b strings.Builder
		for name, value := range env.RequestTrailer() {
			fmt.Fprintf(&b, "%s=%q ", name, value)
		}
		if _, failed := start("200 OK", nil, nil); failed != nil {
			return nil, failed
		}
		return gateway.Text(b.String()), err
	})
	places := map[string]testServer{"net/http": serveNetHTTP(t, nethttp.Handler(app))}
	for _, d := range []server.DispatchMode{server.Inline, server.Auto, server.Pool} {
		places[fmt.Sprint(d)] = serveApp(t, app, server.Options{Dispatch: d})
	}
	for name, p := range places {
		a := p.ask(t, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX_Other: 2\r\nProxy: 3\r\n\r\n")
		if a.body != `X-Sum="1" ` {
			t.Errorf("%s: %s", name, a.text())
		}
		if a := p.ask(t, get); a.body != "" {
			t.Errorf("%s, without content: %s", name, a.text())
		}
	}
}
