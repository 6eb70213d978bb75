package server

import (
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// at is a Body that blocks in one of its calls.
type at struct {
	in   string
	hold func()
	n    int
	fail error // of Next
	*body
}

func (b *at) call(in string) {
	if strings.HasPrefix(b.in, in) {
		b.hold()
	}
}

func (b *at) Next() ([]byte, error) {
	if b.n++; b.n == 3 {
		return nil, io.EOF
	}
	return []byte("ab"), b.fail
}

func (b *at) Close() error {
	_ = b.body.Close()
	b.call("Close")
	return errors.New("not closed well")
}

type atSized struct{ *at }

func (b atSized) Len() int64 {
	b.call("Len")
	return 4
}

type atEmpty struct{ atSized }

func (b atEmpty) Len() int64            { b.call("Len"); return 0 }
func (b atEmpty) Next() ([]byte, error) { return nil, io.EOF }

type atOne struct{ atSized }

func (b atOne) Next() ([]byte, error) { return []byte("abab"), io.EOF }

type atWrapper struct{ *at }

func (b atWrapper) Unwrap() gateway.Body {
	b.call("Unwrap")
	return nil
}

// The loop is handed off in each other call of the application too. The response is the same as without, whether the
// call returns, panics or ends its goroutine.
func TestHandoffOfEveryCall(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	const ok, failed = "abab", "500"
	for _, tt := range []struct {
		in, method string
		want       string
		now        bool // the response comes while the call is held
	}{
		{"Len", "GET", ok, false},
		{"Len of HEAD", "HEAD", "", false},
		{"Len of nothing", "GET", "", false},
		{"Len of one chunk", "GET", ok, false},
		{"Unwrap", "GET", ok, false},
		{"DispatchBy", "GET", ok, false},
		{"Close", "GET", ok, true},
		{"Close of HEAD", "HEAD", "", true},
		{"Close of a failed response", "GET", failed, true},
		{"Close behind a slow reader", "GET", ok, true},
		{"Close of a client that has left", "GET", "", true},
		{"Close at the end", "GET", "", true},
	} {
		for _, then := range []string{"returns", "panics", "exits"} {
			t.Run(tt.in+" "+then, func(t *testing.T) {
				t.Parallel()
				held, goOn := make(chan bool), make(chan bool)
				release := sync.OnceFunc(func() { close(goOn) })
				defer release()
				closed := &body{}
				b := &at{in: tt.in, body: closed, hold: sync.OnceFunc(func() {
					close(held)
					<-goOn
					switch then {
					case "panics":
						panic("broken")
					case "exits":
						runtime.Goexit()
					}
				})}
				wakes := make(chan func(), 1)
				options := Options{Dispatch: Auto, Loops: 1}
				if tt.in == "DispatchBy" {
					options.DispatchBy = func(env *gateway.Environ) DispatchMode {
						if env.Path() == "/stuck" {
							b.hold()
						}
						return Auto
					}
				}
				s := startAuto(t, func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
					w, err := start("200 OK", nil, nil)
					switch tt.in {
					case "Len of one chunk":
						return atOne{atSized{b}}, err
					case "Len", "Len of HEAD":
						return atSized{b}, err
					case "Len of nothing":
						return atEmpty{atSized{b}}, err
					case "Unwrap":
						return atWrapper{b}, err
					case "Close of a failed response":
						b.fail = errors.New("broken")
					case "Close behind a slow reader":
						_, err = w.Write([]byte(pattern(1000)))
					case "Close of a client that has left", "Close at the end":
						wakes <- env.Waker()
						return waitsForever{b}, err
					}
					return b, err
				}, options)
				other := s.dial()
				other.hello()
				c := s.dial()
				c.send(get + strings.Replace(stuck, "GET", tt.method, 1) + get)
				c.want("GET", 200, "Hello, World!")
				check := func() {
					t.Helper()
					resp, err := http.ReadResponse(c.r, &http.Request{Method: tt.method})
					if err != nil {
						t.Error(err)
						return
					}
					text, err := io.ReadAll(resp.Body)
					if err != nil && (tt.now || then == "returns") {
						t.Error(err)
					}
					got := strings.TrimPrefix(string(text), pattern(1000))
					switch {
					case tt.want == failed, !tt.now && then != "returns":
						if resp.StatusCode != 500 {
							t.Errorf("answered %s", resp.Status)
						}
					case resp.StatusCode != 200 || got != tt.want:
						t.Errorf("answered %s %q, want 200 %q", resp.Status, got, tt.want)
					}
					if tt.in == "Len of HEAD" && then == "returns" && resp.ContentLength != 4 {
						t.Errorf("the length is %d", resp.ContentLength)
					}
				}
				switch tt.in {
				case "Close of a client that has left":
					<-wakes
					c.reset()
				case "Close at the end":
					<-wakes
					<-closeOf(s) // although Close does not return
					release()
					if err := s.Wait(); err != nil || closed.closes() != 1 {
						t.Errorf("Wait: %v; closed %d times", err, closed.closes())
					}
					return
				}
				<-held
				s.untilHandedOff(1)
				other.hello()
				s.dial().hello()
				left := tt.in == "Close of a client that has left"
				if tt.now && !left {
					check()
					if tt.want != failed {
						c.want("GET", 200, "Hello, World!") // what was pipelined behind it
						c.hello()
					}
				}
				release()
				if !tt.now {
					check()
				}
				s.untilAtWork(0)
				eventually(t, "the exchange is given back", func() bool { return s.freeExchanges() >= 2 }) // its own, and that of the others
				if n := closed.closes(); n != 1 && (tt.in != "DispatchBy" || then == "returns") {
					t.Errorf("closed %d times", n)
				}
				if then == "returns" && tt.in != "Len of nothing" {
					s.wantLine(1, closeFailed, "not closed well", "target=/stuck")
				}
				if !left && tt.want != failed && then == "returns" {
					if !tt.now {
						c.want("GET", 200, "Hello, World!")
					}
					c.hello()
				}
				s.dial().hello()
			})
		}
	}
}

// freeExchanges is how many exchanges the first loop has between requests.
func (s *testServer) freeExchanges() int {
	free := make(chan int)
	l := s.reactor.Loops()[0]
	l.Do(func() { free <- len(l.Handler().(*shard).free) })
	return <-free
}

// closeOf closes the server; the channel is closed when it has.
func closeOf(s *testServer) chan bool {
	done := make(chan bool)
	go func() {
		s.Close()
		close(done)
	}()
	return done
}
