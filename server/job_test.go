package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/server/internal/buffers"
)

// readAll is an application that reads content bit by bit and sends back how much
// it was and how the reading ended.
func readAll(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	n, err := io.Copy(io.Discard, env.Input())
	if _, startErr := start("200 OK", nil, nil); startErr != nil {
		return nil, startErr
	}
	return gateway.Text(fmt.Sprint(n, " ", err)), nil
}

// Request and response of an application are the same on a worker.
func TestPoolServes(t *testing.T) {
	big := pattern(1 << 20)
	for _, tt := range []struct {
		name, request, method string
		app                   appFunc
		status                int
		want                  string
	}{
		{"hello", get, "GET", hello, 200, "Hello, World!"},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "HEAD", hello, 200, ""},
		{"content with the head", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", "POST", echo, 200, "hello"},
		{"chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "POST", echo, 200, "hello"},
		{"large content", fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(big), big), "POST", echo, 200, big},
		{"large, chunked", fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(big), big), "POST", echo, 200, big},
		{"chunks", get, "GET", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 OK", nil, nil)
			return chunks("a", "", "b", big), err
		}, 200, "ab" + big},
		{"no body", get, "GET", ok(nil).Serve, 200, ""},
		{"204", get, "GET", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("204 No Content", nil, nil)
			return gateway.Text("not to be sent"), err
		}, 204, ""},
		{"written", get, "GET", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, _ := start("200 OK", nil, nil)
			_, err := io.WriteString(w, "written ")
			return gateway.Text("and returned"), err
		}, 200, "written and returned"},
		{"start in Next", get, "GET", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			return next(func() ([]byte, error) {
				_, err := start("200 OK", nil, nil)
				return []byte("late"), errors.Join(err, io.EOF)
			}), nil
		}, 500, "Internal Server Error\n"}, // a joined EOF is no io.EOF
		{"replaced", get, "GET", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("200 OK", nil, nil)
			_, err := start("418 I'm a teapot", nil, errors.New("it is"))
			return gateway.Text("tea"), err
		}, 418, "tea"},
		{"error", get, "GET", func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) {
			return nil, errors.New("broken")
		}, 500, "Internal Server Error\n"},
		{"panic", get, "GET", func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) { panic("broken") }, 500, "Internal Server Error\n"},
		{"Goexit", get, "GET", func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) {
			runtime.Goexit()
			return nil, nil
		}, 500, "Internal Server Error\n"},
		{"no start", get, "GET", func(env *gateway.Environ, _ gateway.StartResponse) (gateway.Body, error) { return env.Text("x"), nil }, 500, "Internal Server Error\n"},
		{"two starts", get, "GET", func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("200 OK", nil, nil)
			_, _ = start("200 OK", nil, nil)
			return env.Text("x"), nil
		}, 500, "Internal Server Error\n"},
		{"split", get, "GET", func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("200 OK", []gateway.Header{{Name: "A", Value: "b\r\nC: d"}}, nil)
			return env.Text("x"), nil
		}, 500, "Internal Server Error\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, tt.app, Options{Dispatch: Pool})
			c := s.dial()
			for range 3 { // the connection stays open
				go func() { _, _ = io.WriteString(c, tt.request) }()
				c.want(tt.method, tt.status, tt.want)
			}
		})
	}
}

func TestPoolPipelines(t *testing.T) {
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return gateway.Text(strings.Clone(env.Path())), err
	}), Options{Dispatch: Pool})
	c := s.dial()
	var in strings.Builder
	for i := range 500 {
		fmt.Fprintf(&in, "GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", i)
	}
	c.send(in.String())
	for i := range 500 {
		c.want("GET", 200, fmt.Sprintf("/%d", i))
	}
}

// Short responses of pipelined requests share a write: the loop does nothing else meanwhile. How many depends on how
// busy the machine is.
func TestPoolGathers(t *testing.T) {
	const deep = 16
	var served, together atomic.Int32
	var its atomic.Pointer[loop.Loop]
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if served.Add(1)%deep == 1 {
			its.Load().Do(func() { together.Store((served.Load()-1)%deep + 1) })
		}
		return hello(env, start)
	}), Options{Dispatch: Pool, Loops: 1})
	its.Store(s.reactor.Loops()[0])
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	c := s.dial()
	eventually(t, "some leave together", func() bool {
		c.send(strings.Repeat(get, deep))
		for range deep {
			c.want("GET", 200, "Hello, World!")
		}
		return together.Load() > deep/2
	})
}

// What a worker writes before it blocks is sent, with and without a yield of the loop.
func TestPoolSendsBeforeItBlocks(t *testing.T) {
	for _, bring := range []func(*gateway.Environ, gateway.StartResponse) error{
		func(_ *gateway.Environ, start gateway.StartResponse) error {
			w, _ := start("200 OK", nil, nil)
			_, err := io.WriteString(w, "part")
			return err
		},
		func(_ *gateway.Environ, start gateway.StartResponse) error {
			w, _ := start("200 OK", nil, nil)
			return gateway.Flush(w)
		},
		func(env *gateway.Environ, _ gateway.StartResponse) error { return env.Inform(103, nil) },
	} {
		for _, hurry := range []int{0, 1} {
			goOn := make(chan struct{})
			s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				err := bring(env, start)
				<-goOn
				return nil, err
			}), Options{Dispatch: Pool, Loops: 1})
			c := s.dial()
			s.untilConns(1)
			s.onLoops(func(sh *shard, _ *loop.Conn) { sh.skipYields = hurry })
			c.send(get)
			c.readHead()
			close(goOn)
		}
	}
}

// An application reads while the client sends: each waits for the other.
func TestPoolStreamsContent(t *testing.T) {
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 OK", nil, nil)
		if err != nil {
			return nil, err
		}
		for line, err := range env.Input().Lines() {
			if err != nil {
				return nil, err
			}
			if _, err := w.Write(line); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}), Options{Dispatch: Pool, Loops: 1})
	c := s.dial()
	c.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
	var resp *http.Response
	for i := range 20 {
		line := fmt.Sprintf("line %d\n", i)
		c.send(fmt.Sprintf("%x\r\n%s\r\n", len(line), line))
		if resp == nil {
			var err error
			if resp, err = http.ReadResponse(c.r, nil); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, len(line))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != line {
			t.Fatalf("read %q, %v; want %q", got, err, line)
		}
	}
	c.send("0\r\n\r\n" + get)
	if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
		t.Errorf("rest %q, %v", rest, err)
	}
	c.want("GET", 200, "") // the next request is served
}

// A client that sends faster than the application reads has to wait, and all that it
// sends arrives.
func TestPoolContentBackpressure(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "moves megabytes past what a socket holds")
	const size = 96 << 20
	read := make(chan struct{})
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		<-read
		return readAll(env, start)
	}), Options{Dispatch: Pool, BodyBytes: NoLimit})
	c := s.dial()
	c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", size))
	var sent atomic.Int64
	go func() {
		piece := []byte(pattern(64 << 10))
		for range size / len(piece) {
			n, err := c.Write(piece)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	last := int64(-1)
	eventually(t, "the client has to wait", func() bool { // nothing for 50 ms
		time.Sleep(50 * time.Millisecond)
		now := sent.Load()
		defer func() { last = now }()
		return now > 0 && now == last
	})
	held := 0
	s.onLoops(func(_ *shard, lc *loop.Conn) {
		if x := lc.Context.(*session).x; x != nil && x.app.job != nil {
			x.app.job.mu.Lock()
			held += x.app.job.in.queue.Len()
			x.app.job.mu.Unlock()
		}
	})
	if limit := 256<<10 + 64<<10; held > limit || held == 0 {
		t.Errorf("%d bytes are kept, want at most %d", held, limit)
	}
	close(read)
	c.want("POST", 200, fmt.Sprint(size, " <nil>"))
}

// 100 Continue comes when the application first reads, and not before.
func TestPoolContinues(t *testing.T) {
	read := make(chan bool)
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if !<-read {
			_, err := start("401 Unauthorized", nil, nil)
			return nil, err
		}
		return readAll(env, start)
	}), Options{Dispatch: Pool})
	const head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
	c := s.dial()
	c.send(head)
	s.untilAtWork(1)
	c.wantSilence()
	read <- true
	c.want("POST", 100, "")
	c.send("hello")
	c.want("POST", 200, "5 <nil>")

	c = s.dial() // no 100 Continue is sent, and the connection must end
	c.send(head)
	read <- false
	if resp := c.want("POST", 401, ""); !resp.Close {
		t.Error("the answer does not say that the connection ends")
	}
	c.wantEnd()

	c = s.dial() // a client that does not wait gets no 100
	c.send(head + "hello")
	read <- true
	c.want("POST", 200, "5 <nil>")
}

// An answer that does not wait for the content reaches a client that sends all of it
// first: no reset destroys it.
func TestPoolUnreadContent(t *testing.T) {
	s := start(t, appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("413 Content Too Large", nil, nil)
		return gateway.Text("no"), err
	}), Options{Dispatch: Pool, BodyBytes: NoLimit})
	for _, chunk := range []int{0, 50_000} {
		c := s.dial()
		c.send(upload(pattern(6<<20), chunk)) // fails if the connection is reset
		c.want("POST", 413, "no")
		if chunk == 0 { // its end is known, and far away
			c.wantEnd()
			continue
		}
		c.send(get)
		c.want("GET", 413, "no")
	}
}

// wantSilence: nothing has come.
func (c *client) wantSilence() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if b, err := c.r.Peek(1); err == nil {
		c.t.Errorf("%q has come, want nothing yet", b)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
}

// untilAtWork waits for n busy workers.
func (s *testServer) untilAtWork(n int) {
	s.t.Helper()
	eventually(s.t, "workers are at work", func() bool {
		busy := s.workers.Load().Running
		return busy == n && int(s.apps.now.Load()) == n // a worker that comes too late does not call it
	})
}

// Read returns an error for incomplete content, on every way in which it ends early.
func TestPoolTruncated(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	for _, tt := range []struct {
		name  string
		end   func(*client)
		want  error // of Read
		cause error // of the context
		reply int   // 0: the client does not read it
	}{
		{"FIN", func(c *client) { _ = c.CloseWrite() }, errIncomplete, nil, 400},
		{"reset", func(c *client) { _ = c.SetLinger(0); _ = c.Close() }, gateway.ErrClientGone, gateway.ErrClientGone, 0},
		{"nothing for BodyTimeout", func(*client) {}, errBodyTime, nil, 408},
		{"nothing for BodyTimeout, as a deadline", func(*client) {}, os.ErrDeadlineExceeded, nil, 408},
		{"a broken chunk", func(c *client) { c.send("zz\r\n") }, nil, nil, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began, result := make(chan struct{}), make(chan error, 1)
			var cause atomic.Value
			s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				b := make([]byte, 5)
				if _, err := io.ReadFull(env.Input(), b); err != nil {
					result <- err
					return nil, err
				}
				close(began)
				ctx := env.Context()
				n, err := env.Input().Read(b)
				if n > 0 || err == nil || err == io.EOF {
					err = fmt.Errorf("read %d bytes, %v", n, err)
				}
				if again, err2 := env.Input().Read(b); err2 != err {
					err = fmt.Errorf("then %d, %v; before %v", again, err2, err)
				}
				if tt.cause != nil {
					<-ctx.Done()
					cause.Store(context.Cause(ctx))
				}
				result <- err
				return nil, err
			}), Options{Dispatch: Pool, BodyTimeout: 300 * time.Millisecond})
			c := s.dial()
			c.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
			<-began
			tt.end(c)
			err := <-result
			if tt.want != nil && !errors.Is(err, tt.want) || err == nil || errors.Is(err, io.EOF) {
				t.Errorf("Read: %v, want %v", err, tt.want)
			}
			if tt.cause != nil && cause.Load() != tt.cause {
				t.Errorf("cause %v, want %v", cause.Load(), tt.cause)
			}
			if tt.reply != 0 {
				resp, _ := c.read("POST")
				if resp.StatusCode != tt.reply {
					t.Errorf("answered %d, want %d", resp.StatusCode, tt.reply)
				}
				c.wantEnd()
			}
			s.untilAtWork(0)
		})
	}
}

// untilCancelled is an application that waits for the end of its Context.
func untilCancelled(cause chan<- error) appFunc {
	return func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		ctx := env.Context()
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return hello(env, start)
	}
}

// A Context ends when the client closes its side or resets the connection, and when the server stops.
func TestPoolContext(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*testServer, *client)
		want error
	}{
		{"FIN", func(_ *testServer, c *client) { _ = c.CloseWrite() }, gateway.ErrClientGone},
		{"reset", func(_ *testServer, c *client) { _ = c.SetLinger(0); _ = c.Close() }, gateway.ErrClientGone},
		{"Close", func(s *testServer, _ *client) { go s.Close() }, gateway.ErrStopped},
		{"out of time", func(s *testServer, _ *client) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			go s.Shutdown(ctx)
		}, gateway.ErrStopped},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cause := make(chan error, 1)
			s := start(t, untilCancelled(cause), Options{Dispatch: Pool})
			c := s.dial()
			c.send(get)
			s.untilAtWork(1)
			tt.end(s, c)
			if err := <-cause; err != tt.want {
				t.Errorf("cause %v, want %v", err, tt.want)
			}
			if tt.name == "FIN" { // a client that has closed only its side gets the answer
				c.want("GET", 200, "Hello, World!")
			}
		})
	}
}

// An application over RequestTimeout is abandoned: its client gets 504, and the log has the request and the stack.
func TestRequestTimeout(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	for _, tt := range []struct {
		name string
		app  func(stuck <-chan struct{}) appFunc
		want int
	}{
		{"in Serve", func(stuck <-chan struct{}) appFunc {
			return func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				<-stuck
				return hello(env, start)
			}
		}, 504},
		{"in Next", func(stuck <-chan struct{}) appFunc {
			return func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				_, err := start("200 OK", nil, nil)
				return next(func() ([]byte, error) { <-stuck; return nil, io.EOF }), err
			}
		}, 504},
		{"in the middle", func(stuck <-chan struct{}) appFunc {
			return func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				_, err := start("200 OK", nil, nil)
				first := true
				return next(func() ([]byte, error) {
					if first {
						first = false
						return []byte("first"), nil
					}
					<-stuck
					return nil, io.EOF
				}), err
			}
		}, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stuck := make(chan struct{})
			s := start(t, tt.app(stuck), Options{Dispatch: Pool, RequestTimeout: 50 * time.Millisecond, Loops: 1})
			defer close(stuck)
			c := s.dial()
			c.send("GET /slow?one HTTP/1.1\r\nHost: h\r\n\r\n")
			resp, _, err := c.tryRead("GET")
			if resp == nil || resp.StatusCode != tt.want {
				t.Fatalf("answered %v, %v; want %d", resp, err, tt.want)
			}
			if tt.want == 200 && err == nil {
				t.Error("a response that is not whole looks whole")
			}
			if _, err := io.ReadAll(c.r); err != nil {
				t.Errorf("then %v, want the end", err)
			}
			log := s.log.String()
			for _, want := range []string{"RequestTimeout", "/slow?one", "method=GET", "age=", "chan receive", "TestRequestTimeout"} {
				if !strings.Contains(log, want) {
					t.Errorf("no %q in the log:\n%s", want, log)
				}
			}
			if n := s.Stats().RequestTimeouts; n != 1 {
				t.Errorf("RequestTimeouts %d, want 1", n)
			}
			d := s.dial() // other connections are served
			d.send("GET /slow?two HTTP/1.1\r\nHost: h\r\n\r\n")
			if resp, _, _ := d.tryRead("GET"); resp == nil {
				t.Error("no answer to the next")
			}
		})
	}
}

// Workers requests run at once, and WorkerQueue wait. The next one is answered by 503.
func TestWorkers(t *testing.T) {
	goOn := make(chan struct{})
	var at, most atomic.Int32
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		most.Store(max(most.Load(), at.Add(1)))
		<-goOn
		at.Add(-1)
		return hello(env, start)
	}), Options{Dispatch: Pool, Workers: 3, WorkerQueue: 2})
	var clients []*client
	for i := range 5 {
		c := s.dial()
		c.send(get)
		clients = append(clients, c)
		eventually(t, "the request is taken on", func() bool { load := s.workers.Load(); return load.Running+load.Waiting == i+1 })
	}
	c := s.dial()
	c.send(get)
	resp, text := c.read("GET")
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" || !strings.Contains(text, "Workers") {
		t.Errorf("%d %v %q, want 503 with Retry-After and the option", resp.StatusCode, resp.Header, text)
	}
	c.wantEnd()
	if n := s.Stats().RefusedBusy; n != 1 {
		t.Errorf("Busy %d, want 1", n)
	}
	close(goOn)
	for _, c := range clients {
		c.want("GET", 200, "Hello, World!")
	}
	if most.Load() != 3 {
		t.Errorf("%d at once, want 3", most.Load())
	}
	s.untilAtWork(0)
}

// A client that does not read stops the application, at the high-water mark.
func TestPoolBackpressure(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "moves megabytes past what a socket holds")
	var pulls atomic.Int64
	piece := []byte(pattern(16 << 10))
	const total = 4096
	s := start(t, ok(gateway.Stream(func(yield func([]byte, error) bool) {
		for range total {
			pulls.Add(1)
			if !yield(piece, nil) {
				return
			}
		}
	})), Options{Dispatch: Pool})
	c := s.dial()
	_ = c.SetReadBuffer(16 << 10)
	c.send(get)
	last := int64(-1)
	eventually(t, "the application has to wait", func() bool {
		time.Sleep(50 * time.Millisecond)
		now := pulls.Load()
		defer func() { last = now }()
		return now > 0 && now == last
	})
	if n := pulls.Load(); n == total {
		t.Errorf("all of %d MiB was pulled", total*len(piece)>>20)
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); n != total*int64(len(piece)) || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// A connection whose response has ended does not wait for its worker.
func TestPoolLeavesWorkerBehind(t *testing.T) {
	stuck := make(chan struct{})
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 OK", []gateway.Header{{Name: "Content-Length", Value: "5"}}, nil)
		if env.Path() == "/quick" {
			return gateway.Text("quick"), err
		}
		_, err = w.Write([]byte("whole"))
		<-stuck
		return nil, err
	}), Options{Dispatch: Pool, Loops: 1})
	c := s.dial()
	c.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\nGET /quick HTTP/1.1\r\nHost: h\r\n\r\n")
	c.want("GET", 200, "whole")
	c.want("GET", 200, "quick")
	if busy := s.workers.Load().Running; busy != 1 {
		t.Errorf("%d at work, want the one that is stuck", busy)
	}
	close(stuck)
	s.untilAtWork(0)
}

// Close is called exactly once, on every path that ends a response.
func TestPoolClosesOnce(t *testing.T) {
	inside := make(chan struct{}, 1)
	held := func(hold <-chan struct{}) gateway.Body {
		return next(func() ([]byte, error) {
			select {
			case inside <- struct{}{}:
			default:
			}
			<-hold
			return []byte("x"), nil
		})
	}
	for _, tt := range []struct {
		name    string
		request string
		body    func(hold <-chan struct{}) gateway.Body
		end     func(*testServer, *client)
	}{
		{"end", get, func(<-chan struct{}) gateway.Body { return chunks("a", "b") }, func(_ *testServer, c *client) { c.want("GET", 200, "ab") }},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", func(<-chan struct{}) gateway.Body { return chunks("a", "b") }, func(_ *testServer, c *client) { c.want("HEAD", 200, "") }},
		{"error", get, func(<-chan struct{}) gateway.Body {
			return next(func() ([]byte, error) { return nil, errors.New("broken") })
		}, func(_ *testServer, c *client) { c.want("GET", 500, "Internal Server Error\n") }},
		{"panic", get, func(<-chan struct{}) gateway.Body { return next(func() ([]byte, error) { panic("broken") }) },
			func(_ *testServer, c *client) { c.want("GET", 500, "Internal Server Error\n") }},
		{"Goexit", get, func(<-chan struct{}) gateway.Body {
			return next(func() ([]byte, error) { runtime.Goexit(); return nil, nil })
		}, func(_ *testServer, c *client) { c.want("GET", 500, "Internal Server Error\n") }},
		{"client leaves", get, held, func(_ *testServer, c *client) { _ = c.SetLinger(0); _ = c.Close() }},
		{"server is closed", get, held, func(s *testServer, _ *client) { go s.Close() }},
		{"ready body", get, func(<-chan struct{}) gateway.Body { return gateway.Text("x") }, func(_ *testServer, c *client) { c.want("GET", 200, "x") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hold := make(chan struct{})
			select {
			case <-inside: // the last one's
			default:
			}
			b := &body{}
			s := start(t, appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				_, err := start("200 OK", nil, nil)
				b.Body = tt.body(hold)
				return b, err
			}), Options{Dispatch: Pool})
			c := s.dial()
			c.send(tt.request)
			if busy := strings.Contains(tt.name, "leaves") || strings.Contains(tt.name, "closed"); busy {
				<-inside // a worker that comes too late does not call the application
			}
			tt.end(s, c)
			close(hold)
			s.untilAtWork(0)
			eventually(t, "Close", func() bool { return b.closes() > 0 })
			if n := b.closes(); n != 1 {
				t.Errorf("closed %d times", n)
			}
		})
	}
}

// A stop waits for the workers of abandoned requests, but not for ever.
func TestPoolStops(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	for _, stuck := range []bool{false, true} {
		goOn, left := make(chan struct{}), make(chan struct{})
		s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			defer close(left)
			<-env.Context().Done()
			if stuck {
				<-goOn
			}
			return nil, env.Context().Err()
		}), Options{Dispatch: Pool})
		c := s.dial()
		c.send(get)
		s.untilAtWork(1)
		s.Close()
		select {
		case <-left:
			if stuck {
				t.Error("it was not stuck")
			}
		default:
			if !stuck {
				t.Error("Close has not waited")
			}
		}
		if said := strings.Contains(s.log.String(), "applications still run"); said != stuck {
			t.Errorf("stuck %v, and the log:\n%s", stuck, s.log)
		}
		close(goOn)
		<-left
	}
}

// An application that never returns costs other requests nothing but its worker.
func TestPoolNeverReturns(t *testing.T) {
	stuck := make(chan struct{})
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if env.Path() == "/stuck" {
			<-stuck
		}
		return hello(env, start)
	}), Options{Dispatch: Pool, Loops: 1})
	defer close(stuck)
	c := s.dial()
	c.send("GET /stuck HTTP/1.1\r\nHost: h\r\n\r\n")
	s.untilAtWork(1)
	for range 20 {
		d := s.dial()
		d.send(get)
		d.want("GET", 200, "Hello, World!")
	}
}

// Clients that come, upload, and go at any moment, under the race detector.
func TestPoolChurn(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "a flood of connections")
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		content, err := env.Input().ReadAll()
		if err != nil {
			return nil, err
		}
		w, err := start("200 OK", nil, nil)
		if err != nil {
			return nil, err
		}
		if len(content)%2 == 1 {
			_, _ = w.Write(content[:1])
			content = content[1:]
		}
		return gateway.Reader(bytes.NewReader(content)), nil
	}), Options{Dispatch: Pool, Logger: slog.New(slog.DiscardHandler)})
	var wg sync.WaitGroup
	for k := range 8 {
		wg.Go(func() {
			for i := range 40 {
				c := s.dial()
				text := pattern((k*40+i)*997%200_000 + 1)
				req := fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
				if i%3 == 2 { // disconnects in the middle
					_, _ = io.WriteString(c, req[:len(req)*i/41])
					_ = c.SetLinger(0)
					_ = c.Close()
					continue
				}
				go func() { _, _ = io.WriteString(c, req) }()
				if i%3 == 1 {
					_, _ = c.r.ReadByte()
					_ = c.Close()
					continue
				}
				if resp, got, err := c.tryRead("POST"); err != nil || resp.StatusCode != 200 || got != text {
					t.Errorf("%v, %d bytes, want %d", err, len(got), len(text))
				}
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	s.untilAtWork(0)
}

// readyBody is a body that the loop may pull.
type readyBody struct{ *body }

func (readyBody) Ready() {}

// A body that the worker leaves to the loop is closed, also if the loop never pulls it.
func TestPoolClosesWhatIsLeft(t *testing.T) {
	b, goOn := &body{Body: gateway.Text("x")}, make(chan struct{})
	s := start(t, appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		<-goOn
		_, err := start("200 OK", nil, nil)
		return readyBody{b}, err
	}), Options{Dispatch: Pool, Loops: 1})
	c := s.dial()
	c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
	s.untilAtWork(1)
	s.onLoops(func(sh *shard, lc *loop.Conn) {
		close(goOn)
		s.untilAtWork(0) // its wake comes after this
		sh.Timeout(lc)
	})
	c.want("POST", 408, "Request Timeout: "+errBodyTime.Why+"\n")
	c.wantEnd()
	if n := b.closes(); n != 1 {
		t.Errorf("closed %d times", n)
	}
}

// A response that is there when RequestTimeout ends is sent.
func TestRequestTimeoutJustInTime(t *testing.T) {
	goOn := make(chan struct{})
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		<-goOn
		return hello(env, start)
	}), Options{Dispatch: Pool, RequestTimeout: time.Hour, Loops: 1})
	c := s.dial()
	c.send(get)
	s.untilAtWork(1)
	s.onLoops(func(sh *shard, lc *loop.Conn) {
		close(goOn)
		s.untilAtWork(0)
		sh.Timeout(lc)
	})
	c.want("GET", 200, "Hello, World!")
}

// A chunk that the socket has borrowed is not written to, although its response is
// over and its exchange serves another.
func TestRequestTimeoutKeepsWhatIsLent(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	const size = 24 << 10 // borrowed, and small enough to be kept for the next request
	turn := make(chan struct{})
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		if env.Path() == "/b" {
			return chunks(slices.Repeat([]string{strings.Repeat("b", size)}, 32)...), err
		}
		return next(func() ([]byte, error) {
			if _, ok := <-turn; !ok {
				return nil, io.EOF
			}
			return bytes.Repeat([]byte("a"), size), nil
		}), err
	}), Options{Dispatch: Pool, RequestTimeout: time.Hour, Loops: 1})
	c := s.dial()
	_ = c.SetReadBuffer(16 << 10)
	c.send(get)
	for last := int64(0); last == 0; { // until something stays in the queue
		turn <- struct{}{}
		eventually(t, "the chunk is on its way", func() bool {
			taken, now := false, int64(0)
			s.onLoops(func(_ *shard, lc *loop.Conn) {
				j := lc.Context.(*session).x.app.job
				j.mu.Lock()
				defer j.mu.Unlock()
				taken, now = j.out.loopWaiting, lc.Unsent()
			})
			if now > 0 && now != last {
				time.Sleep(10 * time.Millisecond)
			}
			defer func() { last = now }()
			return taken || now > 0 && now == last
		})
	}
	s.onLoops(func(sh *shard, lc *loop.Conn) { sh.Timeout(lc) })
	close(turn)
	s.untilAtWork(0)
	s.onLoops(func(*shard, *loop.Conn) {}) // the exchange is back
	d := s.dial()
	d.send("GET /b HTTP/1.1\r\nHost: h\r\n\r\n")
	d.want("GET", 200, strings.Repeat("b", 32*size))
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_ = c.SetReadBuffer(4 << 20) // a small one takes as long
	_, got, err := c.tryRead("GET")
	if err == nil || got == "" {
		t.Errorf("read %d bytes, %v, want a part", len(got), err)
	}
	if at := strings.IndexByte(got, 'b'); at >= 0 {
		t.Errorf("another's response at byte %d of %d", at, len(got))
	}
}

// A queued request whose client has disconnected is not run.
func TestWorkersSkipsWhoHasLeft(t *testing.T) {
	goOn := make(chan struct{})
	var served atomic.Int32
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		served.Add(1)
		<-goOn
		return hello(env, start)
	}), Options{Dispatch: Pool, Workers: 1})
	first, second := s.dial(), s.dial()
	first.send(get)
	s.untilAtWork(1)
	second.send(get)
	eventually(t, "it waits", func() bool { waiting := s.workers.Load().Waiting; return waiting == 1 })
	_ = second.SetLinger(0)
	_ = second.Close()
	s.untilConns(1)
	close(goOn)
	first.want("GET", 200, "Hello, World!")
	s.untilAtWork(0)
	if n := served.Load(); n != 1 {
		t.Errorf("%d were run, want 1", n)
	}
}

// A client that waits for 100 Continue is not slow.
func TestPoolContinueTakesNoTime(t *testing.T) {
	read := make(chan struct{})
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		<-read
		return readAll(env, start)
	}), Options{Dispatch: Pool})
	c := s.dial()
	c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	s.untilAtWork(1)
	s.onLoops(func(sh *shard, lc *loop.Conn) {
		cn := lc.Context.(*session)
		if cn.timer != noTimer {
			t.Errorf("timer %d runs", cn.timer)
		}
		cn.x.in.clock.since -= int64(time.Hour) // that is how long it waits
	})
	close(read)
	c.want("POST", 100, "")
	s.onLoops(func(_ *shard, lc *loop.Conn) { // now its time runs, all of it
		if cn := lc.Context.(*session); cn.timer != bodyTimer {
			t.Errorf("timer %d runs, want %d", cn.timer, bodyTimer)
		}
	})
	c.send("hello")
	c.want("POST", 200, "5 <nil>")
}

// When the answer has begun there is no 100 Continue any more, which the client can see. So the time for its content
// runs from then on, whether the client waits or sends.
func TestPoolContinueAfterTheAnswer(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	for _, tt := range []struct {
		name  string
		drips bool
		want  func(Stats) uint64
	}{
		{"nothing", false, func(s Stats) uint64 { return s.BodyTimeouts }},
		{"drips", true, func(s Stats) uint64 { return s.RateTimeouts }},
	} {
		for _, where := range []DispatchMode{Pool, Auto} {
			read := make(chan error, 1)
			s := startOn(where, t, nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, "begun")
				w.(http.Flusher).Flush()
				_, err := io.Copy(io.Discard, r.Body)
				read <- err
			})), Options{BodyTimeout: 100 * time.Millisecond, BodyRate: 1000})
			c := s.dial()
			c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n")
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%s: %v, %v", tt.name, resp, err)
			}
			ended := make(chan struct{})
			if tt.drips {
				go func() {
					for {
						select {
						case <-ended:
							return
						case <-time.After(10 * time.Millisecond):
							_, _ = io.WriteString(c, "x")
						}
					}
				}()
			}
			if text, err := io.ReadAll(resp.Body); string(text) != "begun" || err == nil {
				t.Errorf("%s: read %q, %v; want what was sent, and no end", tt.name, text, err)
			}
			if err := <-read; err == nil {
				t.Errorf("%s: the content looks whole", tt.name)
			}
			close(ended)
			if stats := s.Stats(); tt.want(stats) != 1 {
				t.Errorf("%s: %+v", tt.name, stats)
			}
			s.untilLoad(0, 0, 0)
		}
	}
}

// A client that had to wait for the application has its rate measured anew.
func TestPoolRateAfterPause(t *testing.T) {
	const size = 1 << 20
	read := make(chan struct{})
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		<-read
		return readAll(env, start)
	}), Options{Dispatch: Pool})
	c := s.dial()
	c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", size))
	paused := false
	eventually(t, "the client has to wait", func() bool {
		if !paused {
			_, _ = io.WriteString(c, pattern(64<<10))
		}
		s.onLoops(func(_ *shard, lc *loop.Conn) { paused = lc.Paused() })
		return paused
	})
	s.onLoops(func(_ *shard, lc *loop.Conn) { lc.Context.(*session).x.in.clock.since -= int64(time.Hour) })
	close(read)
	eventually(t, "the client goes on", func() (on bool) {
		s.onLoops(func(_ *shard, lc *loop.Conn) { on = !lc.Paused() })
		return on
	})
	if n := s.Stats().RateTimeouts; n != 0 {
		t.Errorf("RateTimeouts %d, want 0", n)
	}
	s.onLoops(func(_ *shard, lc *loop.Conn) {
		if cn := lc.Context.(*session); cn.x == nil || cn.timer != bodyTimer {
			t.Errorf("timer %d runs, want %d", cn.timer, bodyTimer)
		}
	})
}

// One large request does not pin its memory.
func TestPoolKeepsNoMemory(t *testing.T) {
	text := pattern(1 << 20)
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if _, err := io.Copy(io.Discard, env.Input()); err != nil {
			return nil, err
		}
		_, err := start("200 OK", nil, nil)
		return chunks(text, text), err
	}), Options{Dispatch: Pool, Loops: 1})
	c := s.dial()
	c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(text), text))
	c.want("POST", 200, text+text)
	eventually(t, "the exchange is back", func() (back bool) {
		s.onLoops(func(sh *shard, _ *loop.Conn) {
			for _, x := range sh.free {
				back = true
				if n := max(x.app.job.in.queue.Cap(), x.app.job.out.queue.Cap(), x.app.job.out.inFlight.Cap()); n > buffers.KeptMax {
					t.Errorf("a buffer of %d bytes is kept", n)
				}
			}
		})
		return back
	})
}

// ErrWait without a call of Waker is an error: the response would wait for ever.
func TestPoolWaitWithoutWaker(t *testing.T) {
	s := start(t, ok(next(func() ([]byte, error) { return nil, gateway.ErrWait })), Options{Dispatch: Pool})
	c := s.dial()
	c.send(get)
	c.want("GET", 500, "Internal Server Error\n")
	if log := s.log.String(); !strings.Contains(log, errNoWaker.Error()) {
		t.Errorf("no %q in the log:\n%s", errNoWaker, log)
	}
}

// lateBody is closed when the loops have done what there was to do.
type lateBody struct {
	next
	s atomic.Pointer[testServer]
}

// Close lets the loops do what there is to do first.
func (b *lateBody) Close() error {
	b.s.Load().onLoops(func(*shard, *loop.Conn) {})
	return nil
}

// The length of a body of one chunk is known, also if the loop pulls it before the worker exits.
func TestPoolOneChunk(t *testing.T) {
	b := &lateBody{next: func() ([]byte, error) { return []byte("whole"), io.EOF }}
	s := start(t, ok(b), Options{Dispatch: Pool})
	b.s.Store(s)
	c := s.dial()
	c.send(get)
	if resp := c.want("GET", 200, "whole"); resp.ContentLength != 5 {
		t.Errorf("length %d, want 5", resp.ContentLength)
	}
}

// Each request over RequestTimeout is logged, but a stack only once a second: it stops all goroutines.
func TestRequestTimeoutsLookNowAndThen(t *testing.T) {
	t.Parallel()
	const clients = 50
	stuck, began := make(chan struct{}), time.Now()
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		<-stuck
		return hello(env, start)
	}), Options{Dispatch: Pool, RequestTimeout: 50 * time.Millisecond, Loops: 1})
	defer close(stuck)
	for range clients {
		s.dial().send(get)
	}
	eventually(t, "each has its line", func() bool { return strings.Count(s.log.String(), "age=") == clients })
	if n, most := strings.Count(s.log.String(), "chan receive"), int(time.Since(began)/time.Second)+2; n > most || n == 0 {
		t.Errorf("%d stacks, want 1 to %d", n, most)
	}
}

// The Context of an abandoned response ends with context.Canceled, and no other cause.
func TestPoolContextOfWhatIsOver(t *testing.T) {
	cause := make(chan error, 1)
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		ctx := env.Context()
		w, _ := start("200 OK", []gateway.Header{{Name: "Content-Length", Value: "1"}}, nil)
		_, err := io.WriteString(w, "x") // that is all
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return nil, err
	}), Options{Dispatch: Pool})
	c := s.dial()
	c.send(get)
	c.want("GET", 200, "x")
	if err := <-cause; err != context.Canceled {
		t.Errorf("cause %v, want %v", err, context.Canceled)
	}
}

// A connection without a socket has no loop that could run what workers ask of it.
func TestPoolNeedsSockets(t *testing.T) {
	s := start(t, appFunc(hello), Options{Dispatch: Pool})
	defer func() {
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "Dispatch") {
			t.Errorf("panic %v, want one that names the option", p)
		}
	}()
	s.openMemory()
}

// Content that was paused is read again only when the worker has read most of it, and only the worker resumes it.
func TestPoolStopsContentOnce(t *testing.T) {
	goOn := make(chan struct{})
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		<-goOn
		return hello(env, start)
	}), Options{Dispatch: Pool, Loops: 1})
	defer close(goOn)
	c := s.dial()
	c.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
	s.untilAtWork(1)
	s.onLoops(func(sh *shard, lc *loop.Conn) {
		j := lc.Context.(*session).x.app.job
		high := sh.cfg.loop.HighWaterBytes
		if j.addContent(make([]byte, high)) {
			t.Error("there is room above the high-water mark")
		}
		if n, err := j.Read(make([]byte, high/2)); n != high/2 || err != nil {
			t.Errorf("Read: %d, %v", n, err)
		}
		if j.addContent([]byte("x")) {
			t.Error("there is room, and nobody would tell when the worker has read the rest")
		}
	})
}

// What the worker of an earlier request has asked of its loop is not done for the next one,
// which has the same exchange.
func TestJobAsksForItsRequest(t *testing.T) {
	s := start(t, appFunc(hello), Options{Dispatch: Pool})
	c := s.dial()
	for range 2 {
		c.send(get)
		c.want("GET", 200, "Hello, World!")
	}
	eventually(t, "the exchange is free", func() (free bool) {
		s.onLoops(func(sh *shard, _ *loop.Conn) {
			for _, x := range sh.free {
				free = true
				x.app.job.taskNumber = x.app.job.number
				if !x.app.job.isCurrentTask() {
					t.Error("the request at hand asks for nothing")
				}
				if x.app.job.number++; x.app.job.isCurrentTask() {
					t.Error("the request before this one still asks")
				}
			}
		})
		return free
	})
}
