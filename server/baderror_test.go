package server

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// An error whose methods panic, as those of a nil pointer in an error do, fails its response
// like any other: wherever it is returned or thrown, also on a worker.
func TestErrorsThatPanic(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	var bad error = (*url.Error)(nil)
	app := appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		path, late := strings.CutSuffix(env.Path(), "/late")
		wait := func() {
			if late {
				time.Sleep(50 * time.Millisecond) // the loop is handed off meanwhile
			}
		}
		switch path {
		case "/serve":
			wait()
			return nil, bad
		case "/panic":
			wait()
			panic(bad)
		case "/next":
			_, err := start("200 OK", nil, nil)
			return next(func() ([]byte, error) { wait(); return nil, bad }), err
		case "/close":
			_, err := start("200 OK", nil, nil)
			return badCloser{chunks("Hello, ", "World!"), func() error { wait(); return bad }}, err
		}
		return hello(env, start)
	})
	inEachDispatch(t, "dispatch", func(t *testing.T, where DispatchMode) {
		s := startOn(where, t, app, Options{Loops: 1})
		for _, target := range []string{"/serve", "/panic", "/next", "/close", "/serve/late", "/panic/late", "/next/late", "/close/late"} {
			want := "500 Internal Server Error\n"
			if strings.HasPrefix(target, "/close") {
				want = "200 Hello, World!"
			}
			c := s.dial()
			c.send("GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n")
			resp, content := c.read("GET")
			if got := fmt.Sprint(resp.StatusCode, " ", content); got != want {
				t.Errorf("%s: %s, want %s", target, got, want)
			}
			eventually(t, "a line in the log", func() bool { return strings.Contains(s.log.String(), "target="+target) })
			s.log.Reset()
			c = s.dial()
			c.send(get)
			c.want("GET", 200, "Hello, World!")
		}
	})
}

// badCloser is a Body with a Close of its own.
type badCloser struct {
	gateway.Body
	end func() error
}

func (b badCloser) Close() error {
	_ = b.Body.Close()
	return b.end()
}
