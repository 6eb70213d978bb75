package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/internal/testlog"
	"github.com/isbjorn/isbjorn/internal/testrun"

	"github.com/isbjorn/isbjorn/gateway"
)

// stream answers with numbers, each when another goroutine has woken it.
func stream(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if _, err := start("200 OK", nil, nil); err != nil {
		return nil, err
	}
	wake, numbers := env.Waker(), make(chan int, 3)
	go func() {
		for i := range cap(numbers) {
			numbers <- i
			wake()
		}
		close(numbers)
		wake()
	}()
	return gateway.Stream(func(yield func([]byte, error) bool) {
		for {
			select {
			case i, more := <-numbers:
				if !more || !yield(fmt.Appendf(nil, "%d,", i), nil) {
					return
				}
			default:
				if !yield(nil, gateway.ErrWait) {
					return
				}
			}
		}
	}), nil
}

// Neither this package nor these applications break a rule of package gateway, on
// loops and on workers.
func TestValidated(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "asks in each way of dispatch")
	large := pattern(300_000)
	echoes := appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return env.Input().Body(), err
	})
	for _, dispatch := range []DispatchMode{Auto, Inline, Pool} {
		for name, tt := range map[string]struct {
			app       gateway.App
			in, after string
		}{
			"hello":   {appFunc(hello), "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "Hello, World!"},
			"echo":    {appFunc(echo), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n" + large, large},
			"chunked": {echoes, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n493e0\r\n" + large + "\r\n0\r\n\r\n", large},
			"stream":  {appFunc(stream), "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "0,1,2,"},
		} {
			var breaches testlog.Buffer
			s := startOn(dispatch, t, gateway.ValidateWith(gateway.Debug(tt.app), func(v *gateway.Violation) { fmt.Fprintln(&breaches, v) }), Options{})
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("%s, dispatch %d: %.2000s%.2000s", name, dispatch, &breaches, s.log)
				}
			})
			for range 3 {
				c := s.dial() // a worker that has not read all of the content of a HEAD ends its connection
				c.send(tt.in)
				c.want("GET", 200, tt.after)
				c.send(tt.in)
				c.want("GET", 200, tt.after)
				c.send(strings.NewReplacer("GET", "HEAD", "POST", "HEAD").Replace(tt.in[:4]) + tt.in[4:])
				c.want("HEAD", 200, "")
				_ = c.Close()
			}
			leaver := s.dial() // in the middle of an answer, or of content
			leaver.send(tt.in[:len(tt.in)*2/3])
			_ = leaver.SetLinger(0)
			_ = leaver.Close()
			ctx, cancel := shortly()
			if err := s.Shutdown(ctx); err != nil {
				t.Errorf("%s, dispatch %d: %v", name, dispatch, err)
			}
			cancel()
			if got := breaches.String(); got != "" {
				t.Errorf("%s, dispatch %d:\n%s", name, dispatch, got)
			}
		}
	}
}
