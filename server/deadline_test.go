package server

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/loop"
)

const slowPost = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"

// A read that waits for content ends at its deadline, and so does the connection behind
// the answer.
func TestReadDeadline(t *testing.T) {
	for name, set := range map[string]func(env *gateway.Environ){
		"to come": func(env *gateway.Environ) { _ = env.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) },
		"past":    func(env *gateway.Environ) { _ = env.SetReadDeadline(time.Unix(1, 0)) },
		"replaced": func(env *gateway.Environ) {
			_ = env.SetReadDeadline(time.Now().Add(time.Hour))
			_ = env.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		},
		"while it waits": func(env *gateway.Environ) {
			go func() { // which the application waits for, in a way: it reads until then
				_ = env.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			}()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				if _, err := io.ReadFull(env.Input(), make([]byte, 4)); err != nil {
					t.Errorf("what is there: %v", err)
				}
				set(env)
				for range 2 { // it sticks
					if n, err := env.Input().Read(make([]byte, 10)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("Read: %d, %v", n, err)
					}
				}
				return hello(env, start)
			}), Options{Dispatch: Pool})
			c := s.dial()
			c.send(slowPost + "part")
			if resp := c.want("POST", 200, "Hello, World!"); !resp.Close {
				t.Error("the answer does not say that the connection closes")
			}
			c.send("the end") // of the content, which is no request
			c.wantEnd()
			if n := s.Stats().Failed; n != 0 {
				t.Errorf("Failed %d, want 0", n)
			}
		})
	}
}

// A deadline that was cleared, or set by the request before, ends nothing.
func TestDeadlineEnds(t *testing.T) {
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if env.Path() == "/set" {
			if err := errors.Join(env.SetReadDeadline(time.Unix(1, 0)), env.SetWriteDeadline(time.Now().Add(time.Hour))); err != nil {
				t.Error(err)
			}
			return hello(env, start)
		}
		_ = env.SetWriteDeadline(time.Unix(1, 0))
		_ = env.SetWriteDeadline(time.Time{})
		return readAll(env, start)
	}), Options{Dispatch: Pool, Loops: 1})
	c := s.dial()
	c.send("GET /set HTTP/1.1\r\nHost: h\r\n\r\n")
	c.want("GET", 200, "Hello, World!")
	c.send(slowPost + "0123")
	s.untilAtWork(1)
	c.send("456789")
	c.want("POST", 200, "10 <nil>")
}

// A write that waits for a client ends at its deadline, and the response is cut, also if the application then
// returns no error.
func TestWriteDeadline(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	for name, far := range map[string]time.Duration{"to come": 20 * time.Millisecond, "past": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			result := make(chan error, 1)
			s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				w, err := start("200 OK", nil, nil)
				if err != nil {
					return nil, err
				}
				if _, err := io.WriteString(w, "begun"); err != nil {
					return nil, err
				}
				err = env.SetWriteDeadline(time.Now().Add(far))
				for part := []byte(pattern(64 << 10)); err == nil; {
					_, err = w.Write(part)
				}
				result <- err
				_, err = io.WriteString(w, "too late")
				result <- err
				return gateway.Text("too late"), nil
			}), Options{Dispatch: Pool, Loops: 1})
			c := s.dial()
			_ = c.SetReadBuffer(16 << 10)
			c.send(get)
			for range 2 {
				if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("Write: %v", err)
				}
			}
			if _, text, err := c.tryRead("GET"); err == nil || !strings.HasPrefix(text, "begun") || strings.Contains(text, "too late") {
				t.Errorf("read %d bytes, %v; want a part", len(text), err)
			}
			_ = c.Close()
			s.untilConns(0)
			if stats := s.Stats(); stats.Aborted != 1 || stats.Failed != 0 || strings.Contains(s.log.String(), "level=ERROR") {
				t.Errorf("Aborted %d, Failed %d, and the log:\n%s", stats.Aborted, stats.Failed, s.log)
			}
		})
	}
}

// A Body that the worker pulls has the same deadline.
func TestWriteDeadlineOfBody(t *testing.T) {
	closed := make(chan struct{})
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		_ = env.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		part := []byte(pattern(64 << 10))
		return closes{next(func() ([]byte, error) { return part, nil }), func() { close(closed) }}, err
	}), Options{Dispatch: Pool, Loops: 1})
	c := s.dial()
	c.send(get)
	<-closed
	if _, _, err := c.tryRead("GET"); err == nil {
		t.Error("the response looks whole")
	}
}

type closes struct {
	next
	f func()
}

func (c closes) Close() error { c.f(); return nil }

// On a loop there are none.
func TestDeadlinesInline(t *testing.T) {
	s := startOn(Inline, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		for _, err := range []error{env.SetReadDeadline(time.Now()), env.SetWriteDeadline(time.Now())} {
			if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "Dispatch: Pool") {
				t.Errorf("%v", err)
			}
		}
		return hello(env, start)
	}), Options{})
	c := s.dial()
	c.send(get)
	c.want("GET", 200, "Hello, World!")
}

// The connection closes also if the rest of the content comes all the same.
func TestReadDeadlineIsFinal(t *testing.T) {
	late, goOn := make(chan struct{}), make(chan struct{})
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_ = env.SetReadDeadline(time.Unix(1, 0))
		_, _ = env.Input().Read(make([]byte, 10))
		close(late)
		<-goOn
		return hello(env, start)
	}), Options{Dispatch: Pool, Loops: 1})
	c := s.dial()
	c.send(slowPost)
	<-late
	c.send("0123456789")
	eventually(t, "the content is there", func() (is bool) {
		s.onLoops(func(_ *shard, lc *loop.Conn) { is = !lc.Context.(*session).x.in.streaming })
		return is
	})
	close(goOn)
	if resp := c.want("POST", 200, "Hello, World!"); !resp.Close {
		t.Error("the answer does not say that the connection closes")
	}
	c.wantEnd()
}
