package server

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/middleware"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// panic(nil) is a panic in every call of the application, also where recover returns nil: the response is cut or 500,
// the log has a line, and the goroutine serves other requests.
func TestPanicNil(t *testing.T) {
	testrun.Slow(t, "waits for timers")
	t.Setenv("GODEBUG", "panicnil=1")
	long := func() { time.Sleep(50 * time.Millisecond) } // the loop is handed off meanwhile
	app := appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		path := env.Path()
		switch path {
		case "/":
			return hello(env, start)
		case "/serve":
			panic(nil)
		case "/serve/late":
			long()
			panic(nil)
		}
		w, _ := start("200 OK", nil, nil)
		switch path {
		case "/flushed":
			_ = gateway.Flush(w)
			panic(nil)
		case "/written":
			_, _ = io.WriteString(w, "text")
			panic(nil)
		case "/close":
			return &nilCloser{gateway.Text("text")}, nil
		}
		n := 0
		return next(func() ([]byte, error) {
			switch n++; {
			case n == 1 && path != "/first":
				return []byte("text"), nil
			case path == "/second/late":
				long()
			}
			panic(nil)
		}), nil
	})
	for name, d := range map[string]DispatchMode{"Inline": Inline, "Auto": Auto, "Pool": Pool} {
		if testing.Short() && d != Auto {
			continue
		}
		for _, app := range []gateway.App{app, middleware.Recover(app)} {
			for target, want := range map[string]string{
				"/serve": "500", "/serve/late": "500", "/first": "500", "/flushed": "cut", "/written": "cut", "/second": "cut", "/second/late": "cut", "/close": "200",
			} {
				s := startOn(d, t, app, Options{Loops: 1})
				c := s.dial()
				c.send("GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n")
				got := "cut"
				if resp, _, err := c.tryRead("GET"); err == nil {
					got = fmt.Sprint(resp.StatusCode)
				}
				if got != want {
					t.Errorf("%s, %s: %s, want %s", name, target, got, want)
				}
				c = s.dial()
				c.send(get)
				c.want("GET", 200, "Hello, World!")
				eventually(t, "a line in the log", func() bool { return strings.Contains(s.log.String(), "panicked") })
				if log := s.log.String(); strings.Contains(log, errGoexit.Error()) {
					t.Errorf("%s, %s: %s", name, target, log)
				}
				if s.workers != nil {
					eventually(t, "no worker is at work", func() bool { busy := s.workers.Load().Running; return busy == 0 })
				}
			}
		}
	}
}

// nilCloser is a Body whose Close panics with nil.
type nilCloser struct{ gateway.Body }

func (*nilCloser) Close() error { panic(nil) }
