package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// A line of the log.
const promoted = promotedLine

// startAuto runs a server with one loop, from which requests to /stuck are rescued.
func startAuto(t *testing.T, app appFunc, options Options) *testServer {
	t.Helper()
	return startOn(Auto, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if env.Path() != "/stuck" {
			return hello(env, start)
		}
		return app(env, start)
	}), Options{Loops: 1}.with(options))
}

const stuck = "GET /stuck HTTP/1.1\r\nHost: h\r\n\r\n"

// hello is one request and its answer.
func (c *client) hello() {
	c.t.Helper()
	c.send(get)
	c.want("GET", 200, "Hello, World!")
}

// sizedNext is a Body made of a function, with a length.
type sizedNext struct {
	next
	n int64
}

func (b sizedNext) Len() int64 { return b.n }

// lenPanics is one that does not know it.
type lenPanics struct{ next }

func (lenPanics) Len() int64 { panic("broken") }

// untilHandedOff waits until loops were handed off n times.
func (s *testServer) untilHandedOff(n uint64) {
	s.t.Helper()
	eventually(s.t, "the loop has another goroutine", func() bool { return s.Stats().LoopHandoffs == n })
}

// An application that blocks its loop in any of its calls delays no other connection, and its own response is the
// same as without a handoff.
func TestHandoff(t *testing.T) {
	hold, release := func() {}, func() {} // replaced in each test
	ok := func(start gateway.StartResponse) io.Writer {
		w, err := start("200 OK", []gateway.Header{{Name: "X-Test", Value: "a"}}, nil)
		if err != nil {
			t.Error(err)
		}
		return w
	}
	body := func(parts ...string) gateway.Body { return &body{Body: chunks(parts...)} }
	for _, tt := range []struct {
		name string
		app  appFunc
		want string // content; or a status
	}{
		{"before start", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			hold()
			ok(start)
			return body("a", "b"), nil
		}, "ab"},
		{"a ready body", func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			hold()
			ok(start)
			return env.Text("ab"), nil
		}, "ab"},
		{"no body", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			hold()
			ok(start)
			return nil, nil
		}, ""},
		{"after start", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			ok(start)
			hold()
			return body("a", "b"), nil
		}, "ab"},
		{"after write", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w := ok(start)
			_, _ = io.WriteString(w, "a")
			hold()
			_, err := io.WriteString(w, "b")
			return body("c"), err
		}, "abc"},
		{"start again", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			ok(start)
			hold()
			_, err := start("404 Not Found", nil, errors.New("changed"))
			return nil, err
		}, "404"},
		{"start twice", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			ok(start)
			hold()
			_, err := start("200 OK", nil, nil)
			if err == nil {
				t.Error("no error")
			}
			return body("a"), nil
		}, "500"},
		{"a failed start", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("200 OK\r\n", nil, nil)
			hold()
			return body("a"), nil
		}, "500"},
		{"the first Next", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			ok(start)
			return next(func() ([]byte, error) { hold(); return []byte("a"), io.EOF }), nil
		}, "a"},
		{"a later Next", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			ok(start)
			n := 0
			return next(func() ([]byte, error) {
				if n++; n == 3 {
					hold()
				}
				if n == 5 {
					return nil, io.EOF
				}
				return []byte{byte('a' + n - 1)}, nil
			}), nil
		}, "abcd"},
		{"Next, with a length", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			ok(start)
			return sizedNext{func() ([]byte, error) { hold(); return []byte("abc"), io.EOF }, 3}, nil
		}, "abc"},
		{"Next fails", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			ok(start)
			return next(func() ([]byte, error) { hold(); return nil, errors.New("broken") }), nil
		}, "500"},
		{"Serve fails", func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) {
			hold()
			return nil, errors.New("broken")
		}, "500"},
		{"Serve panics", func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) {
			hold()
			panic("broken")
		}, "500"},
		{"Len panics", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			ok(start)
			return lenPanics{func() ([]byte, error) { hold(); return []byte("a"), io.EOF }}, nil
		}, "500"},
		{"Next panics", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			ok(start)
			return next(func() ([]byte, error) { hold(); panic("broken") }), nil
		}, "500"},
		{"Serve ends its goroutine", func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) {
			hold()
			runtime.Goexit()
			return nil, nil
		}, "500"},
		{"Next ends its goroutine", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			ok(start)
			return next(func() ([]byte, error) { hold(); runtime.Goexit(); return nil, nil }), nil
		}, "500"},
		{"the environ", func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			before := fmt.Sprint(env.RemoteAddr(), env.Get("SERVER_PORT"), env.Path(), env.Header("Host"), env.Context().Err())
			hold()
			after := fmt.Sprint(env.RemoteAddr(), env.Get("SERVER_PORT"), env.Path(), env.Header("Host"), env.Context().Err())
			if before != after {
				t.Errorf("the environ was %s, is %s", before, after)
			}
			ok(start)
			return env.Text("a"), nil
		}, "a"},
		{"a waker", func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			wake := env.Waker()
			ok(start)
			n := 0
			return next(func() ([]byte, error) {
				switch n++; n {
				case 1:
					hold()
					fallthrough
				case 2, 3:
					time.AfterFunc(time.Millisecond, wake)
					return []byte{byte('a' + n - 1)}, gateway.ErrWait
				}
				return nil, io.EOF
			}), nil
		}, "abc"},
	} {
		for _, around := range []struct{ name, before, behind string }{
			{"alone", "", ""},
			{"pipelined", get, get + "GET /a HT"},
		} {
			t.Run(tt.name+", "+around.name, func(t *testing.T) {
				if around.before != "" {
					testrun.Slow(t, "all of them wait for the monitor")
				}
				held, goOn := make(chan bool), make(chan bool)
				hold = sync.OnceFunc(func() { close(held); <-goOn })
				release = sync.OnceFunc(func() { close(goOn) })
				defer release()
				s := startAuto(t, tt.app, Options{})
				busy := s.dial()
				busy.hello()
				c := s.dial()
				c.send(around.before + stuck + around.behind)
				<-held
				s.untilHandedOff(1)
				line := s.wantLine(1, promoted, "chan receive")
				busy.hello()
				s.dial().hello()
				if around.before != "" {
					c.want("GET", 200, "Hello, World!")
				}
				release()
				switch resp, got := c.read("GET"); {
				case tt.want == "404" || tt.want == "500":
					if resp.Status[:3] != tt.want {
						t.Errorf("answered %s, want %s", resp.Status, tt.want)
					}
				case resp.StatusCode != 200 || got != tt.want || resp.Header.Get("X-Test") != "a":
					t.Errorf("answered %s %q, want 200 %q", resp.Status, got, tt.want)
				}
				if around.behind != "" {
					c.want("GET", 200, "Hello, World!")
					c.send("TP/1.1\r\nHost: h\r\n\r\n")
					c.want("GET", 200, "Hello, World!")
				}
				c.hello()
				s.untilAtWork(0)
				for _, want := range []string{"level=WARN", "method=GET target=/stuck", "TestHandoff", "remote=" + c.LocalAddr().String()} {
					if !strings.Contains(line, want) {
						t.Errorf("no %s in %s", want, line)
					}
				}
			})
		}
	}
}

// A handed-off call whose client disconnects, or whose server stops.
func TestHandoffOfALostClient(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*testServer, *client)
		want error
	}{
		{"reset before", func(_ *testServer, c *client) { _ = c.SetLinger(0); _ = c.Close() }, gateway.ErrClientGone},
		{"reset after", func(s *testServer, c *client) { s.untilHandedOff(1); _ = c.SetLinger(0); _ = c.Close() }, gateway.ErrClientGone},
		{"Close", func(s *testServer, _ *client) { s.untilHandedOff(1); go s.Close() }, gateway.ErrStopped},
		{"out of time", func(s *testServer, _ *client) {
			s.untilHandedOff(1)
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			go s.Shutdown(ctx)
		}, gateway.ErrStopped},
		{"RequestTimeout", func(s *testServer, c *client) {
			c.want("GET", 504, "Gateway Timeout: "+errRequestTime.Why+"\n")
			c.wantEnd()
		}, gateway.ErrTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			options := Options{Dispatch: Auto}
			if tt.name == "RequestTimeout" {
				options.RequestTimeout = 30 * time.Millisecond
			}
			cause, held, b := make(chan error, 1), make(chan bool), &body{}
			s := startAuto(t, func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				close(held)
				_, err := untilCancelled(cause)(env, start)
				b.Body = chunks("a")
				return b, err
			}, options)
			c := s.dial()
			c.send(stuck)
			<-held
			tt.end(s, c)
			if err := <-cause; err != tt.want {
				t.Errorf("cause %v, want %v", err, tt.want)
			}
			eventually(t, "Close", func() bool { return b.closes() > 0 })
			s.untilAtWork(0)
			if n := b.closes(); n != 1 {
				t.Errorf("closed %d times", n)
			}
			if tt.name == "RequestTimeout" {
				s.wantLine(1, "longer than the option RequestTimeout", "untilCancelled")
			}
		})
	}
}

// The others of a loop miss little of it when a request never returns: the first try in
// which the machine has time must show that.
func TestHandoffIsSoon(t *testing.T) {
	testrun.Slow(t, "it measures the time of requests")
	const want = 20 * time.Millisecond
	worst := rescueTakes(t) // beyond what a round takes anyway
	for began := time.Now(); !raceEnabled && worst > want && time.Since(began) < 30*time.Second; {
		worst = min(worst, rescueTakes(t))
	}
	if worst > want && !raceEnabled {
		t.Errorf("a request took %v, want at most %v", worst, want)
	}
}

// rescueTakes returns how much longer the longest of some rounds of 100 requests took while
// one request never returned than the longest of as many before.
func rescueTakes(t *testing.T) time.Duration {
	release := make(chan bool)
	defer close(release)
	s := startAuto(t, func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) {
		<-release
		return nil, errors.New("nobody waits")
	}, Options{})
	var all []*client
	for range 100 {
		c := s.dial()
		c.hello()
		all = append(all, c)
	}
	d := s.dial()
	longest := func() (longest time.Duration) {
		for range 100 {
			began := time.Now()
			for _, c := range all {
				c.send(get)
			}
			for _, c := range all {
				c.want("GET", 200, "Hello, World!")
			}
			longest = max(longest, time.Since(began))
		}
		return longest
	}
	usual := longest() // a busy machine has its own
	d.send(stuck)
	held := longest()
	if s.Stats().LoopHandoffs == 0 { // on a busy machine the call may have been handed off too
		t.Error("no rescue")
	}
	return held - usual
}

// One that computes for long keeps the others for a moment only, too, and stays on the
// loops.
func TestHandoffOfComputing(t *testing.T) {
	var goOn atomic.Bool
	s := startAuto(t, func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		for !goOn.Load() {
		}
		return hello(env, start)
	}, Options{})
	c := s.dial()
	c.send(stuck)
	s.untilHandedOff(1)
	s.dial().hello()
	goOn.Store(true)
	c.want("GET", 200, "Hello, World!")
	c.hello()
	if s.allOnWorkers.Load() {
		t.Error("it was taken for one that waits")
	}
}

// One request after the other that never returns, and the loop still serves. It stops,
// too.
func TestHandoffAgain(t *testing.T) {
	release := make(chan bool)
	defer close(release)
	s := startAuto(t, func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) {
		<-release
		return nil, errors.New("nobody waits")
	}, Options{})
	for i := range 5 {
		s.dial().send(stuck)
		s.untilAtWork(i + 1)
		s.dial().hello()
		s.allOnWorkers.Store(false) // or they would not come to the loop
	}
}

// An application is promoted also if it blocks for less than the monitor's interval. One that does not block stays
// on its loop under any load.
func TestPromotion(t *testing.T) {
	testrun.Slow(t, "waits for timers")
	var lock sync.Mutex
	for name, tt := range map[string]struct {
		app  func()
		want bool
	}{
		"waits shortly":    {func() { time.Sleep(500 * time.Microsecond) }, true},
		"does nothing":     {func() {}, false},
		"computes shortly": {func() { spin(50 * time.Microsecond) }, false},
		"computes longer":  {func() { spin(40 * time.Millisecond) }, false},
		"a free lock":      {func() { lock.Lock(); defer lock.Unlock() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			if !tt.want {
				testrun.Slow(t, "it waits for what is not to be")
			}
			s := startOn(Auto, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				tt.app()
				return hello(env, start)
			}), Options{Loops: 1})
			c := s.dial()
			began := time.Now()
			for !s.allOnWorkers.Load() && time.Since(began) < map[bool]time.Duration{true: 20 * time.Second, false: 300 * time.Millisecond}[tt.want] {
				c.hello()
			}
			if got := s.allOnWorkers.Load(); got != tt.want {
				t.Errorf("promoted: %v, want %v; the log:\n%s", got, tt.want, s.log)
			}
			if tt.want {
				s.wantLine(1, promoted)
			} else if lines := s.lines(promoted); len(lines) > 0 {
				t.Errorf("the log says %s", lines)
			}
		})
	}
}

// Each request runs where DispatchBy says, also if Auto has promoted the application.
func TestDispatchBy(t *testing.T) {
	t.Parallel()
	goOn := make(chan bool)
	s := startOn(Auto, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if env.Path() != "/" {
			<-goOn
		}
		return hello(env, start)
	}), Options{Loops: 1, StallWarning: holdLimit, DispatchBy: func(env *gateway.Environ) DispatchMode {
		return map[string]DispatchMode{"/": Inline, "/inline": Inline, "/pool": Pool, "/stuck": Auto}[env.Path()]
	}})
	var all []*client
	ask := func(target string) {
		c := s.dial()
		c.send("GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n")
		all = append(all, c)
	}
	ask("/pool")
	s.untilAtWork(1)
	s.dial().hello()
	ask("/stuck")
	s.untilHandedOff(1)
	s.wantLine(1, promoted, "target=/stuck")
	s.dial().hello()
	ask("/stuck") // a worker's, now
	s.untilAtWork(3)
	s.dial().hello()
	if n := s.Stats().LoopHandoffs; n != 1 {
		t.Errorf("%d rescues", n)
	}
	ask("/inline")
	s.wantLine(1, blockedLine, "target=/inline") // with Inline there is no handoff
	if n := s.Stats().LoopHandoffs; n != 1 {
		t.Errorf("%d rescues", n)
	}
	close(goOn)
	for _, c := range all {
		c.want("GET", 200, "Hello, World!")
	}
}

// spin computes.
func spin(d time.Duration) {
	for began := time.Now(); time.Since(began) < d; {
	}
}

// streamer is an application that reads content as it comes.
type streamer struct{ appFunc }

func (streamer) StreamsContent() bool { return true }

// Content that has not come with its head is read by a worker as it comes, if the
// application wants that.
func TestAutoStreamsContent(t *testing.T) {
	s := startOn(Auto, t, streamer{func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 OK", nil, nil)
		for line, failed := range env.Input().Lines() {
			if failed != nil {
				return nil, failed
			}
			_, _ = w.Write(line)
		}
		return nil, err
	}}, Options{Loops: 1})
	c := s.dial()
	c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n")
	s.untilAtWork(1)
	c.send("a\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2)
	if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != "a\n" {
		t.Errorf("%q, %v", b, err)
	}
	c.send("b\n")
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "b\n" {
		t.Errorf("%q, %v", rest, err)
	}
	if s.allOnWorkers.Load() || s.Stats().LoopHandoffs > 0 {
		t.Error("the loop was blocked")
	}
}

// Else it is collected first, on the loop and for workers.
func TestAutoCollectsContent(t *testing.T) {
	s := startOn(Auto, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if n := env.Input().Len(); n < 0 {
			t.Errorf("%s: the length of the content is %d", env.Path(), n)
		}
		return readAll(env, start)
	}), Options{Loops: 1})
	for _, pools := range []bool{false, true} {
		s.allOnWorkers.Store(pools)
		for _, size := range []int{5, 100_000} { // in memory, in a file
			c := s.dial()
			c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", size))
			if busy := s.workers.Load().Running; busy > 0 {
				t.Error("a worker waits for content")
			}
			c.send(pattern(size))
			c.want("POST", 200, fmt.Sprintf("%d <nil>", size))
			c.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n" + get[:4])
			c.want("POST", 200, "1 <nil>")
		}
	}
}

// An application that writes more than its client takes waits, and not on its loop.
func TestAutoWaitsForSlowClients(t *testing.T) {
	const piece = 64 << 10
	pieces := testrun.Rounds(500, 200)
	var wrote atomic.Int64
	s := startAuto(t, func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 OK", nil, nil)
		text := []byte(pattern(piece))
		for range pieces {
			n, err := w.Write(text)
			wrote.Add(int64(n))
			if err != nil {
				return nil, err
			}
		}
		return chunks("the end"), err
	}, Options{})
	c := s.dial()
	_ = c.SetReadBuffer(64 << 10)
	c.send(stuck)
	s.untilHandedOff(1)
	s.dial().hello()
	if n := wrote.Load(); n > int64(piece*pieces/2) {
		t.Errorf("%d bytes were written, and the client has read none", n)
	}
	_, got := c.read("GET")
	if want := strings.Repeat(pattern(piece), pieces) + "the end"; got != want {
		t.Errorf("read %d bytes, want %d", len(got), len(want))
	}
	c.hello()
}

// A handoff needs no descriptor with epoll. With kqueue it needs one: without it the loop stays blocked, with a line
// in the log, and is handed off when there is one.
func TestHandoffWithoutDescriptors(t *testing.T) {
	release := make(chan bool)
	s := startAuto(t, func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		<-release
		return hello(env, start)
	}, Options{})
	c, d := s.dial(), s.dial()
	c.hello()
	d.hello()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	tight := old
	tight.Cur = 0 // no new one at all
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &tight); err != nil {
		t.Fatal(err)
	}
	restore := sync.OnceFunc(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	})
	defer restore()
	c.send(stuck)
	failed := func() bool { return len(s.lines(retakeFailed, "target=/stuck")) > 0 }
	eventually(t, "the loop was taken, or could not be", func() bool { return s.Stats().LoopHandoffs == 1 || failed() })
	if failed() {
		restore()
		s.untilHandedOff(1)
	}
	d.hello()
	restore()
	close(release)
	c.want("GET", 200, "Hello, World!")
	c.hello()
}

// Clients, requests that block, and rescues, of every kind, under the race detector.
func TestHandoffChurn(t *testing.T) {
	testrun.Slow(t, "many loops are taken")
	s := startOn(Auto, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		nap := func() {
			if env.Query() == "slow" {
				time.Sleep(12 * time.Millisecond)
			}
		}
		content, err := env.Input().ReadAll()
		if err != nil {
			return nil, err
		}
		nap()
		w, err := start("200 OK", nil, nil)
		if err != nil {
			return nil, err
		}
		if env.Method() == "POST" {
			nap()
			_, _ = w.Write(content)
		}
		n := 0
		return &body{Body: next(func() ([]byte, error) {
			nap()
			if n++; n == 3 {
				return nil, io.EOF
			}
			return []byte("x"), nil
		})}, nil
	}), Options{Logger: slog.New(slog.DiscardHandler)})
	stop := make(chan bool)
	var forget sync.WaitGroup
	forget.Go(func() { // the loops serve other requests
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				s.allOnWorkers.Store(false)
			}
		}
	})
	var wg sync.WaitGroup
	for k := range 8 {
		wg.Go(func() {
			for i := range 12 {
				c := s.dial()
				target := []string{"/", "/?slow"}[(k+i)%4/3]
				text := pattern((k*40+i)*997%20_000 + 1)
				one := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", target, len(text), text)
				two := "GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n"
				go func() { _, _ = io.WriteString(c, one+two+one) }()
				if i%5 == 4 { // disconnects in the middle
					_, _ = c.r.ReadByte()
					_ = c.SetLinger(0)
					_ = c.Close()
					continue
				}
				for j, want := range []string{text + "xx", "xx", text + "xx"} {
					if resp, got, err := c.tryRead("POST"); err != nil || resp.StatusCode != 200 || got != want {
						t.Errorf("%d.%d.%d: %v, %d bytes, want %d", k, i, j, err, len(got), len(want))
						break
					}
				}
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	close(stop)
	forget.Wait()
	s.untilAtWork(0)
	t.Logf("%d rescues", s.Stats().LoopHandoffs)
}

// What is beyond StartResponse and Body works on the loop, on a worker that was one,
// and where it takes a worker, hands the loop off.
func TestAutoBeyond(t *testing.T) {
	for _, tt := range []struct {
		name  string
		head  string
		app   appFunc
		want  string // all that is answered, but Date and Server
		hands bool   // the loop off
	}{
		{"Flush", "", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", nil, nil)
			if err := gateway.Flush(w); err != nil {
				t.Error(err)
			}
			return gateway.Text("a"), err
		}, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", false},
		{"Inform", "", func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if err := env.Inform(103, []gateway.Header{{Name: "Link", Value: "</a>"}}); err != nil {
				t.Error(err)
			}
			return hello(env, start)
		}, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!", false},
		{"Trailer", "", func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 OK", []gateway.Header{{Name: "Trailer", Value: "X-A"}}, nil)
			if err := env.Trailer([]gateway.Header{{Name: "X-A", Value: "b"}}); err != nil {
				t.Error(err)
			}
			return gateway.Text("a"), err
		}, "HTTP/1.1 200 OK\r\nTrailer: X-A\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-A: b\r\n\r\n", false},
		{"ErrAbort", "", func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) {
			panic(gateway.ErrAbort)
		}, "", false},
		{"deadlines", "", func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if err := env.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
				t.Error(err)
			}
			if err := env.SetWriteDeadline(time.Now().Add(time.Hour)); err != nil {
				t.Error(err)
			}
			return hello(env, start)
		}, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!", true},
		{"Hijack", "", takesOver(t), "taken over", true},
		{"Hijack, announced", "Connection: Upgrade\r\nUpgrade: a\r\n", takesOver(t), "taken over", false},
	} {
		for _, hold := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, held %v", tt.name, hold), func(t *testing.T) {
				goOn := make(chan bool)
				s := startAuto(t, func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
					if hold {
						<-goOn
					}
					return tt.app(env, start)
				}, Options{})
				c := s.dial()
				c.send("GET /stuck HTTP/1.1\r\nHost: h\r\n" + tt.head + "\r\n")
				_ = c.CloseWrite()
				worker := tt.head != ""
				if hold {
					if !worker {
						s.untilHandedOff(1)
					}
					close(goOn)
				}
				b, err := io.ReadAll(c.r)
				if err != nil {
					t.Error(err)
				}
				got := regexp.MustCompile(`(Date|Server|Connection): [^\r]*\r\n`).ReplaceAllString(string(b), "")
				if got != tt.want {
					t.Errorf("answered %q, want %q", got, tt.want)
				}
				want := uint64(0)
				if hold && !worker || tt.hands {
					want = 1
				}
				if n := s.Stats().LoopHandoffs; n != want {
					t.Errorf("%d times the loop was handed off, want %d", n, want)
				}
				s.dial().hello()
			})
		}
	}
}

// takesOver is an application that hijacks its connection and says so.
func takesOver(t *testing.T) appFunc {
	return func(env *gateway.Environ, _ gateway.StartResponse) (gateway.Body, error) {
		conn, _, err := env.Hijack()
		if err != nil {
			t.Error(err)
			return nil, err
		}
		defer conn.Close()
		_, err = io.WriteString(conn, "taken over")
		return nil, err
	}
}

// A deadline may be set from any goroutine, also while the application is on the loop
// and writes.
func TestAutoDeadlineFromElsewhere(t *testing.T) {
	for range 50 {
		s := startAuto(t, func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", nil, nil)
			if err != nil {
				return nil, err
			}
			var set sync.WaitGroup
			set.Go(func() {
				if err := env.SetWriteDeadline(time.Now().Add(time.Hour)); err != nil {
					t.Error(err)
				}
			})
			for range 200 {
				if _, err := io.WriteString(w, "0123456789"); err != nil {
					t.Error(err)
				}
			}
			set.Wait()
			return nil, nil
		}, Options{})
		c := s.dial()
		c.send("GET /stuck HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		b, err := io.ReadAll(c.r)
		if n := strings.Count(string(b), "0123456789"); n != 200 || err != nil {
			t.Errorf("%d of 200, %v", n, err)
		}
	}
}

// An application is handed off also if it calls the server now and then while it blocks.
func TestHandoffOfCallsIntoTheServer(t *testing.T) {
	testrun.Slow(t, "it computes for 0.3 s")
	for name, call := range map[string]func(*gateway.Environ, io.Writer){
		"Write":      func(_ *gateway.Environ, w io.Writer) { _, _ = io.WriteString(w, "a") },
		"RemoteAddr": func(env *gateway.Environ, _ io.Writer) { env.RemoteAddr() },
	} {
		for _, d := range []DispatchMode{Auto, Inline} {
			t.Run(fmt.Sprintf("%s, %d", name, d), func(t *testing.T) {
				goOn := make(chan bool)
				release := sync.OnceFunc(func() { close(goOn) })
				defer release()
				s := startAuto(t, func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
					w, err := start("200 OK", nil, nil)
					for {
						select {
						case <-goOn:
							return nil, err
						default:
							call(env, w)
							spin(200 * time.Microsecond)
						}
					}
				}, Options{Dispatch: d, StallWarning: holdLimit})
				c := s.dial()
				c.send(stuck)
				if d == Auto {
					s.untilHandedOff(1)
					s.dial().hello()
				} else {
					s.wantLine(1, blockedLine, "target=/stuck")
				}
				release()
				c.read("GET")
				s.dial().hello()
			})
		}
	}
}

// A body that began on a loop may block it also after the application was promoted.
func TestHandoffOfAnOldBody(t *testing.T) {
	wakes, goOn := make(chan func(), 1), make(chan bool)
	defer close(goOn)
	s := startAuto(t, func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		wakes <- env.Waker()
		_, err := start("200 OK", nil, nil)
		n := 0
		return next(func() ([]byte, error) {
			if n++; n == 1 {
				return []byte("a"), gateway.ErrWait
			}
			<-goOn
			return []byte("b"), io.EOF
		}), err
	}, Options{})
	c := s.dial()
	c.send(stuck)
	wake := <-wakes
	s.dial().hello()
	s.allOnWorkers.Store(true)
	for began := time.Now(); time.Since(began) < 10*sampleEvery; { // the monitor sees that
		s.dial().hello()
	}
	wake()
	s.untilHandedOff(1)
	goOn <- true
	c.want("GET", 200, "ab")
}

// An application that ends its goroutine in Next has its body closed. One that does so with a hijacked connection
// frees its worker.
func TestAutoGoexitLeavesNothing(t *testing.T) {
	b := &body{Body: next(func() ([]byte, error) { runtime.Goexit(); return nil, nil })}
	s := startAuto(t, func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if env.Query() == "hijack" {
			if conn, _, err := env.Hijack(); err != nil {
				t.Error(err)
			} else {
				_ = conn.Close()
			}
			runtime.Goexit()
		}
		_, err := start("200 OK", nil, nil)
		return b, err
	}, Options{})
	c := s.dial()
	c.send(stuck)
	c.want("GET", 500, "Internal Server Error\n")
	if n := b.closes(); n != 1 {
		t.Errorf("closed %d times", n)
	}
	s.untilAtWork(0)
	s.allOnWorkers.Store(false)
	c.send("GET /stuck?hijack HTTP/1.1\r\nHost: h\r\n\r\n")
	c.wantEnd()
	eventually(t, "the pool is as it was", func() bool {
		load := s.workers.Load()
		return load.Running == 0 && load.Hijacked == 0
	})
}
