package server

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

// eventBody is a Body that waits for the events of put.
type eventBody struct {
	wake func()

	mu     sync.Mutex
	queue  []string
	end    bool
	asked  int // calls of Next
	closes int
}

func (e *eventBody) put(s string) {
	e.mu.Lock()
	e.queue = append(e.queue, s)
	e.mu.Unlock()
	e.wake()
}

func (e *eventBody) finish() {
	e.mu.Lock()
	e.end = true
	e.mu.Unlock()
	e.wake()
}

func (e *eventBody) Next() ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked++
	switch {
	case len(e.queue) > 0:
		s := e.queue[0]
		e.queue = e.queue[1:]
		return []byte(s), nil
	case e.end:
		return nil, io.EOF
	}
	return nil, gateway.ErrWait
}

func (e *eventBody) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closes++
	return nil
}

func (e *eventBody) closed() bool { return e.count(&e.closes) == 1 }

func (e *eventBody) count(n *int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return *n
}

// waiting runs a server whose responses are events, each given to the channel; "/hello"
// is answered at once.
func waiting(t *testing.T, options Options) (*testServer, chan *eventBody) {
	t.Helper()
	made := make(chan *eventBody, 100)
	return start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if env.Path() == "/hello" {
			return hello(env, start)
		}
		_, err := start("200 OK", nil, nil)
		e := &eventBody{wake: env.Waker()}
		made <- e
		return e, err
	}), options), made
}

// waitAsked returns when Next has been called n times, so that the response waits, or is
// about to.
func (e *eventBody) waitAsked(t *testing.T, n int) {
	t.Helper()
	eventually(t, "the body was asked", func() bool { return e.count(&e.asked) >= n })
}

// Each event reaches the client when it happens, on a loop that serves others meanwhile, and the connection stays open
// after the end.
func TestWait(t *testing.T) {
	s, made := waiting(t, Options{Loops: 1})
	c, other := s.dial(), s.dial()
	for range 3 {
		c.send(get)
		e := <-made
		e.put("first")
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"first", "second", "third"} {
			b := make([]byte, 100)
			if n, err := resp.Body.Read(b); string(b[:n]) != want {
				t.Errorf("read %q, %v; want %q", b[:n], err, want)
			}
			other.send("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n")
			other.want("GET", 200, "Hello, World!")
			if i < 2 {
				e.put([]string{"second", "third"}[i])
			}
		}
		asked := e.count(&e.asked)
		other.send("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n")
		other.want("GET", 200, "Hello, World!")
		if n := e.count(&e.asked); n > asked+1 {
			t.Errorf("asked %d times without an event: it is polled", n-asked)
		}
		e.finish()
		if b, err := io.ReadAll(resp.Body); len(b) > 0 || err != nil {
			t.Errorf("at the end %q, %v", b, err)
		}
		eventually(t, "the body is closed once", e.closed)
	}
}

// A call of wake is never lost, wherever it falls: on the loop before the response
// waits, in Next itself, and from many goroutines at once.
func TestWakeIsNotLost(t *testing.T) {
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		wake, n := env.Waker(), 0
		if env.Path() == "/next" {
			return next(func() ([]byte, error) {
				if n++; n > 100 {
					return nil, io.EOF
				}
				if n%2 == 0 {
					go wake()
				} else {
					wake()
					wake()
				}
				return []byte("x"), gateway.ErrWait
			}), err
		}
		e := &eventBody{wake: wake}
		for range 10 {
			wake()
		}
		for range 10 {
			go func() {
				for range 10 {
					e.put("x")
				}
			}()
		}
		return next(func() ([]byte, error) {
			b, err := e.Next()
			if n += len(b); n == 100 {
				err = io.EOF
			}
			return b, err
		}), err
	}), Options{})
	for range 20 {
		for _, path := range []string{"/next", "/many"} {
			c := s.dial()
			c.send("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
			c.want("GET", 200, strings.Repeat("x", 100))
			_ = c.Close()
		}
	}
}

// A wake after the response does nothing: not to a connection that is gone, nor to
// the next request, which has the same exchange.
func TestWakeAfterTheResponse(t *testing.T) {
	s, made := waiting(t, Options{Loops: 1})
	c := s.dial()
	c.send(get)
	old := <-made
	old.put("x")
	old.finish()
	c.want("GET", 200, "x")
	c.send(get)
	e := <-made
	e.waitAsked(t, 1)
	for range 100 {
		old.wake()
	}
	s.nextTick()
	if n := e.count(&e.asked); n != 1 {
		t.Errorf("asked %d times, woken by another response", n)
	}
	c.reset()
	eventually(t, "the body is closed", e.closed)
	e.put("too late")
	old.wake()
	s.Close()
	_ = s.Wait()
	e.put("much too late")
	if e.count(&e.closes) != 1 || old.count(&old.closes) != 1 {
		t.Error("not closed once")
	}
}

// A client that has closed its connection in order is noticed when something is sent to it.
func TestWaitingClientLeaves(t *testing.T) {
	s, made := waiting(t, Options{})
	c := s.dial()
	c.send(get)
	e := <-made
	e.put("x")
	_, _ = c.r.ReadByte()
	_ = c.Close()
	eventually(t, "the body is closed", func() bool { e.put("are you there?"); return e.closed() })
}

// HEAD and 1.0 wait as well, and what start says may itself wait.
func TestWaitForms(t *testing.T) {
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		wake, n := env.Waker(), 0
		return next(func() ([]byte, error) {
			switch n++; n {
			case 1, 3:
				go wake()
				return nil, gateway.ErrWait
			case 2:
				_, err := start("201 Created", nil, nil)
				return []byte("late"), err
			}
			return nil, io.EOF
		}), nil
	}), Options{})
	c := s.dial()
	c.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" + get)
	c.want("HEAD", 201, "")
	c.want("GET", 201, "late")
	c.send("GET / HTTP/1.0\r\n\r\n")
	c.want("GET", 201, "late")
	c.wantEnd()
}

// A Body that returns ErrWait without a call of Waker has failed.
func TestWaitWithoutWaker(t *testing.T) {
	s := start(t, ok(next(func() ([]byte, error) { return nil, gateway.ErrWait })), Options{})
	c := s.dial()
	c.send(get)
	c.want("GET", 500, "Internal Server Error\n")
	if !strings.Contains(s.log.String(), "Environ.Waker") {
		t.Error("the log does not name what is missing")
	}
}

// Shutdown lets a response that waits come to its end, and cuts it when it is out of
// time; wake may be called all the while.
func TestWaitAtShutdown(t *testing.T) {
	for _, inTime := range []bool{true, false} {
		s, made := waiting(t, Options{})
		c := s.dial()
		c.send(get)
		e := <-made
		e.waitAsked(t, 1)
		ctx, cancel := shortly()
		defer cancel()
		if !inTime {
			ctx, cancel = context.WithCancel(ctx)
			cancel()
		}
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
					e.wake()
				}
			}
		}()
		done := make(chan error)
		go func() { done <- s.Shutdown(ctx) }()
		if inTime {
			s.waitStopping()
			e.put("last")
			e.finish()
			c.want("GET", 200, "last")
			_ = c.Close() // or the server waits for it
		}
		if err := <-done; (err == nil) != inTime {
			t.Errorf("in time %v: Shutdown: %v", inTime, err)
		}
		close(stop)
		<-stopped
		if !e.closed() {
			t.Errorf("in time %v: the body was closed %d times", inTime, e.closes)
		}
		if cut := strings.Contains(s.log.String(), "a connection is cut"); cut == inTime {
			t.Errorf("in time %v: the log says that it was cut: %v", inTime, cut)
		}
	}
}
