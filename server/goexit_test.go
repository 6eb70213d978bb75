package server

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

// exits is a Body that ends the goroutine in one of its calls.
type exits struct {
	in     string
	n      int
	closed func()
}

func (b *exits) exit(in string) {
	if b.in == in {
		runtime.Goexit()
	}
}

func (b *exits) Next() ([]byte, error) {
	b.exit("Next")
	if b.n++; b.n == 3 {
		b.exit("a later Next")
		return nil, io.EOF
	}
	return []byte("ab"), nil
}

func (b *exits) Close() error {
	b.closed()
	b.exit("Close")
	return nil
}

type exitsSized struct{ *exits }

func (b exitsSized) Len() int64 {
	b.exit("Len")
	return 4
}

type exitsWrapper struct{ *exits }

func (b exitsWrapper) Unwrap() gateway.Body {
	b.exit("Unwrap")
	return nil
}

// An application that ends its goroutine, in any of its calls and with any Dispatch, loses its own connection, with
// a 500 if nothing was sent. Other connections are served, earlier requests are answered, its Body is closed once,
// and the server stops in order.
func TestGoexit(t *testing.T) {
	const ok, failed, cut = "ok", "failed", "cut"
	for _, tt := range []struct {
		in   string
		want string // on a loop
	}{
		{"Serve", failed},
		{"Next", failed},
		{"a later Next", cut},
		{"Next behind a wake", failed},
		{"Len", failed},
		{"Unwrap", failed},
		{"Close", ok},
		{"DispatchBy", failed},
		{"Close of a client that has left", ""},
		{"Close at the end", ""},
	} {
		for _, d := range []DispatchMode{Inline, Auto, Pool} {
			t.Run(fmt.Sprintf("%s, %d", tt.in, d), func(t *testing.T) {
				b := &exits{in: tt.in}
				closed := &body{}
				b.closed = func() { _ = closed.Close() }
				wakes := make(chan func(), 1)
				options := Options{Dispatch: d, Loops: 1}
				if tt.in == "DispatchBy" {
					if d != Auto {
						t.Skip("it is for Auto alone")
					}
					options.DispatchBy = func(env *gateway.Environ) DispatchMode {
						if env.Path() == "/stuck" {
							b.exit("DispatchBy")
						}
						return d
					}
				}
				s := startAuto(t, func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
					b.exit("Serve")
					_, err := start("200 OK", nil, nil)
					switch tt.in {
					case "Len":
						return exitsSized{b}, err
					case "Unwrap":
						return exitsWrapper{b}, err
					case "Next behind a wake":
						return &wokenOnce{Body: b, wake: env.Waker()}, err
					case "Close of a client that has left", "Close at the end":
						b.in = "Close"
						wakes <- env.Waker()
						return waitsForever{b}, err
					}
					return b, err
				}, options)
				other := s.dial()
				other.hello()
				c := s.dial()
				c.send(get + stuck)
				c.want("GET", 200, "Hello, World!")
				switch tt.in {
				case "Close of a client that has left":
					<-wakes
					c.reset()
					eventually(t, "Close", func() bool { return closed.closes() > 0 })
				case "Close at the end":
					<-wakes
					s.Close()
					if err := s.Wait(); err != nil || closed.closes() != 1 {
						t.Errorf("Wait: %v; closed %d times", err, closed.closes())
					}
					return
				default:
					resp, err := http.ReadResponse(c.r, nil)
					var text []byte
					if err == nil {
						text, err = io.ReadAll(resp.Body)
					}
					switch {
					case d == Pool && (tt.in == "Unwrap" || tt.in == "Close"): // not asked; the response has not ended
					case tt.want == ok && (err != nil || string(text) != "abab"):
						t.Errorf("read %q, %v", text, err)
					case tt.want == failed && (err != nil || resp.StatusCode != 500):
						t.Errorf("answered %v, %v; want 500", resp, err)
					case tt.want == cut && err == nil:
						t.Errorf("read %q, and it looks whole", text)
					}
					if d != Pool {
						if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
							t.Errorf("then read %q, %v; want the end", rest, err)
						}
					}
				}
				for _, c := range []*client{other, s.dial()} {
					c.hello()
				}
				if n := closed.closes(); n != 1 && tt.in != "Serve" && tt.in != "DispatchBy" {
					t.Errorf("closed %d times", n)
				}
				if d != Inline {
					s.untilAtWork(0)
				}
				if s.allOnWorkers.Load() && d == Auto {
					t.Error("it was taken for one that blocks")
				}
			})
		}
	}
}

// wokenOnce is a Body that waits for a wake, which comes at once, and then ends the goroutine.
type wokenOnce struct {
	gateway.Body
	wake func()
}

func (b *wokenOnce) Next() ([]byte, error) {
	if b.wake != nil {
		b.wake()
		b.wake = nil
		return nil, gateway.ErrWait
	}
	runtime.Goexit()
	return nil, nil
}

// waitsForever is a Body that waits for a wake, for ever.
type waitsForever struct{ gateway.Body }

func (waitsForever) Next() ([]byte, error) { return nil, gateway.ErrWait }
