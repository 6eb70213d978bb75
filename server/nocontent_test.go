package server

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// A response without content does not pull a body that has no end, wherever the
// application runs.
func TestNoContentPullsNothing(t *testing.T) {
	inEachDispatch(t, "endless", func(t *testing.T, where DispatchMode) {
		var pulled, closed atomic.Int32
		s := startOn(where, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			status := "200 OK"
			if env.Query() != "" {
				status = env.Query() + " x"
			}
			w, err := start(status, nil, nil)
			if env.Path() == "/write" {
				_, _ = w.Write([]byte("x"))
			}
			return closes{next(func() ([]byte, error) { pulled.Add(1); return []byte("y"), nil }), func() { closed.Add(1) }}, err
		}), Options{})
		c := s.dial()
		requests := []string{"HEAD /", "HEAD /write", "GET /?204", "GET /write?204", "GET /?304", "GET /write?304"}
		for _, request := range requests {
			c.send(request + " HTTP/1.1\r\nHost: h\r\n\r\n")
			method, _, _ := strings.Cut(request, " ")
			if _, got := c.read(method); got != "" {
				t.Errorf("%s: content %q", request, got)
			}
		}
		eventually(t, "each body is closed", func() bool { return int(closed.Load()) == len(requests) })
		if n := pulled.Load(); n > 0 {
			t.Errorf("%d chunks were pulled", n)
		}
	})
}

// lengthOf is a Body that says its length.
type lengthOf struct {
	gateway.Body
	n int64
}

func (l lengthOf) Len() int64 { return l.n }

// The answer to HEAD has the fields of the answer to GET. The body is not pulled, so it neither delays nor fails the
// answer.
func TestHEADAsksNoBody(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "asks in each way of dispatch")
	never := next(func() ([]byte, error) { time.Sleep(time.Hour); return nil, nil })
	fails := next(func() ([]byte, error) { return nil, errors.New("not to be asked") })
	written := func(text string, body gateway.Body) gateway.App {
		return appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", nil, nil)
			_, _ = io.WriteString(w, text)
			return body, err
		})
	}
	for _, tt := range []struct {
		name   string
		app    gateway.App
		length string // of the content, "" for unknown
	}{
		{"slow", ok(never), ""},
		{"slow, of known length", ok(lengthOf{never, 7}), "7"},
		{"fails", ok(fails), ""},
		{"fails, of known length", ok(lengthOf{fails, 7}), "7"},
		{"written, with a body", written("four", fails), ""},
		{"written, with a body that has a length", written("four", lengthOf{fails, 7}), ""},
		{"written, with a body that is ready", written("four", gateway.Text("more")), ""},
		{"written, larger than HighWaterBytes", written(pattern(1<<20), nil), ""},
		{"after Serve has blocked", appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			time.Sleep(50 * time.Millisecond) // with Auto its loop is handed off
			_, err := start("200 OK", nil, nil)
			return fails, err
		}), ""},
		{"started in Next", appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			asked := false
			return next(func() ([]byte, error) {
				if asked {
					return nil, errors.New("not to be asked")
				}
				asked = true
				_, err := start("200 OK", nil, nil)
				return []byte("dropped"), err
			}), nil
		}), ""},
	} {
		inEachDispatch(t, tt.name, func(t *testing.T, where DispatchMode) {
			s := startOn(where, t, tt.app, Options{})
			c := s.dial()
			for range 2 { // the connection stays open
				c.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
				resp := c.want("HEAD", 200, "")
				if got := resp.Header.Get("Content-Length"); got != tt.length {
					t.Errorf("Content-Length %q, want %q", got, tt.length)
				}
			}
			if log := s.log.String(); strings.Contains(log, "level=ERROR") || s.Stats().Failed > 0 {
				t.Errorf("log:\n%s", log)
			}
		})
	}
}

// An application that writes the answer to HEAD runs until it returns, as with GET. The head is sent before, its
// Context does not end, and the next request is served when it has returned.
func TestHEADEndsNoContext(t *testing.T) {
	inEachDispatch(t, "writes", func(t *testing.T, where DispatchMode) {
		goOn := make(chan struct{})
		s := startOn(where, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if env.Path() != "/write" {
				return hello(env, start)
			}
			w, err := start("200 OK", nil, nil)
			if err != nil {
				return nil, err
			}
			if _, err := w.Write(make([]byte, 2*gatherBytes)); err != nil {
				t.Error(err)
			}
			<-goOn
			if err := env.Context().Err(); err != nil {
				t.Errorf("Context: %v", err)
			}
			_, err = w.Write([]byte("more"))
			return nil, err
		}), Options{})
		c := s.dial()
		c.send("HEAD /write HTTP/1.1\r\nHost: h\r\n\r\n" + get)
		if resp, _ := c.read("HEAD"); resp.StatusCode != 200 || resp.Close {
			t.Errorf("%d, closes %v", resp.StatusCode, resp.Close)
		}
		close(goOn)
		c.want("GET", 200, "Hello, World!")
		if log := s.log.String(); strings.Contains(log, "failed") {
			t.Errorf("log: %s", log)
		}
	})
}
