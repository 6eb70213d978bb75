package server

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/testlog"

	"github.com/isbjorn/isbjorn/gateway"
)

// The deployer's pairs are in the environ of every request; the server has its own
// copy of the map.
func TestEnvironOption(t *testing.T) {
	pairs := map[string]any{"myapp.key": "value"}
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return gateway.Text(fmt.Sprint(env.Get("myapp.key"))), err
	}), Options{Environ: pairs})
	pairs["myapp.key"] = "changed"
	c := s.dial()
	for range 2 {
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c.want("GET", 200, "value")
	}
}

// wsgi.multithread says whether the application is called by several goroutines at once.
func TestMultithread(t *testing.T) {
	app := appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return gateway.Text(fmt.Sprint(env.Get("wsgi.multithread"), env.Get("wsgi.multiprocess"), env.Get("wsgi.run_once"))), err
	})
	for _, tt := range []struct {
		options Options
		want    string
	}{
		{Options{Loops: 1}, "false false false"},
		{Options{Loops: 2}, "true false false"},
		{Options{Loops: 1, Dispatch: Pool}, "true false false"},
	} {
		c := startOn(Inline, t, app, tt.options).dial()
		c.send(get)
		c.want("GET", 200, tt.want)
	}
}

func TestUnderscoreFields(t *testing.T) {
	const with, without = "GET / HTTP/1.1\r\nHost: h\r\nX_User: evil\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nX-User: good\r\n\r\n"
	app := appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return gateway.Text(fmt.Sprint(env.Get("HTTP_X_USER"))), err
	})
	for _, tt := range []struct {
		name    string
		options Options
		seen    string // "" if refused
		lines   int    // of the log
	}{
		{"by default", Options{}, "<nil>", 1},
		{"drop", Options{UnderscoreFields: DropUnderscores}, "<nil>", 1},
		{"keep", Options{UnderscoreFields: KeepUnderscores}, "evil", 0},
		{"refuse", Options{UnderscoreFields: RefuseUnderscores}, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log testlog.Buffer
			s := start(t, app, tt.options.with(Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Loops: 2}))
			for range 4 { // on all loops
				c := s.dial()
				c.send(without)
				c.want("GET", 200, "good")
				c.send(with)
				if tt.seen != "" {
					c.want("GET", 200, tt.seen)
					continue
				}
				if resp, text := c.read("GET"); resp.StatusCode != 400 || !strings.Contains(text, "UnderscoreFields") {
					t.Errorf("answered %d %q; want 400 that names the option", resp.StatusCode, text)
				}
			}
			s.config.logs.Flush(20 * time.Second)
			if n := strings.Count(log.String(), "this is said once"); n != tt.lines || n > 0 && !strings.Contains(log.String(), "field=X_User") {
				t.Errorf("%d lines of the log, want %d:\n%s", n, tt.lines, log.String())
			}
		})
	}
}

// The server keeps the rules of the gateway, and an application that is looked at by
// Validate and Debug answers the same over a connection.
func TestServerUnderValidate(t *testing.T) {
	for name, d := range map[string]DispatchMode{"Auto": Auto, "Inline": Inline, "Pool": Pool} {
		t.Run(name, func(t *testing.T) { testUnderValidate(t, d) })
	}
}

func testUnderValidate(t *testing.T, dispatch DispatchMode) {
	app := appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		switch env.Path() {
		case "/chunks":
			_, err := start("200 OK", nil, nil)
			return chunks("a", "", "b", pattern(100_000)), err
		case "/fails":
			return nil, gateway.ErrTimeout
		case "/late":
			_, err := start("200 OK", nil, nil)
			return next(func() ([]byte, error) { return nil, gateway.ErrTimeout }), err
		case "/none":
			_, err := start("204 No Content", nil, nil)
			return nil, err
		}
		return echo(env, start)
	})
	fail := func(v *gateway.Violation) { t.Error(v) }
	var log testlog.Buffer
	s := startOn(dispatch, t, gateway.ValidateWith(gateway.Debug(app), fail), Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for range 3 {
		c := s.dial()
		c.send("GET /chunks HTTP/1.1\r\nHost: h\r\n\r\n")
		c.want("GET", 200, "ab"+pattern(100_000))
		c.send("HEAD /chunks HTTP/1.1\r\nHost: h\r\n\r\n")
		c.want("HEAD", 200, "")
		c.send("GET /none HTTP/1.1\r\nHost: h\r\n\r\n")
		c.want("GET", 204, "")
		c.send("GET /fails HTTP/1.1\r\nHost: h\r\n\r\n")
		c.want("GET", 500, "Internal Server Error\n")
		for _, n := range []int{0, 1, 100, 200_000} { // also from a file
			for _, chunk := range []int{0, 1000} {
				c.send(upload(pattern(n), chunk))
				c.want("POST", 200, pattern(n))
			}
		}
		c.send("GET /late HTTP/1.1\r\nHost: h\r\n\r\n")
		c.want("GET", 500, "Internal Server Error\n")
	}
}
