package gatewaytest_test

import (
	"errors"
	"io"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
)

func TestCall(t *testing.T) {
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("201 Created", []gateway.Header{{Name: "Location", Value: env.Path()}}, nil)
		if err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, "written "); err != nil {
			return nil, err
		}
		return gateway.Reader(env.Input()), nil
	})
	got := gatewaytest.Call(app, gatewaytest.Request{Method: "POST", Target: "/a%20b", Body: "content"})
	if got.Err != nil || got.Code != 201 || got.Get("location") != "/a b" || got.Text() != "written content" || got.Closed != 1 {
		t.Errorf("%+v", got)
	}
}

func TestBreaches(t *testing.T) {
	errApp := errors.New("the application's")
	for name, app := range map[string]gateway.AppFunc{
		"no start": func(env *gateway.Environ, _ gateway.StartResponse) (gateway.Body, error) {
			return env.Text("x"), nil
		},
		"two starts": func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("200 OK", nil, nil)
			_, _ = start("200 OK", nil, nil)
			return env.Text("x"), nil
		},
		"a line end": func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("200 OK", []gateway.Header{{Name: "A", Value: "b\r\nC: d"}}, nil)
			return env.Text("x"), nil
		},
		"an error": func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) { return nil, errApp },
	} {
		if got := gatewaytest.Get(app, "/"); got.Err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Next of a Body that waits is called again after a wake.
func TestWait(t *testing.T) {
	got := gatewaytest.Get(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		wake, events := env.Waker(), make(chan string, 2)
		go func() {
			for _, event := range []string{"one ", "two"} {
				events <- event
				wake()
			}
			close(events)
			wake()
		}()
		return gateway.Stream(func(yield func([]byte, error) bool) {
			for {
				select {
				case event, ok := <-events:
					if !ok || !yield([]byte(event), nil) {
						return
					}
				default:
					if !yield(nil, gateway.ErrWait) {
						return
					}
				}
			}
		}), err
	}), "/")
	if got.Err != nil || got.Text() != "one two" || got.Closed != 1 {
		t.Errorf("%q, closed %d times, %v", got.Text(), got.Closed, got.Err)
	}
}

// Interim responses are collected, unless the client speaks HTTP/1.0.
func TestInform(t *testing.T) {
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if err := env.Inform(103, []gateway.Header{{Name: "Link", Value: "</a>"}}); err != nil {
			return nil, err
		}
		_, err := start("200 OK", nil, nil)
		return nil, err
	})
	got := gatewaytest.Get(app, "/")
	if got.Err != nil || len(got.Before) != 1 || got.Before[0].Code != 103 || got.Before[0].Header[0].Value != "</a>" {
		t.Errorf("%+v", got)
	}
	if got := gatewaytest.Call(app, gatewaytest.Request{HTTP10: true}); got.Err != nil || len(got.Before) != 0 {
		t.Errorf("%+v", got)
	}
}

// Trailer fields are collected.
func TestTrailer(t *testing.T) {
	got := gatewaytest.Get(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return gateway.Text("x"), errors.Join(err, env.Trailer([]gateway.Header{{Name: "X-Sum", Value: "1"}}))
	}), "/")
	if got.Err != nil || len(got.After) != 1 || got.After[0].Name != "X-Sum" {
		t.Errorf("%+v", got)
	}
}
