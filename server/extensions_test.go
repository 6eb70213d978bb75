package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/loop"
)

// both runs a test on the loop and on workers.
func both(t *testing.T, f func(t *testing.T, options Options)) {
	t.Helper()
	t.Run("inline", func(t *testing.T) { f(t, Options{}) })
	t.Run("pool", func(t *testing.T) { f(t, Options{Dispatch: Pool}) })
}

// readHead reads one head, without the lines that are the server's own.
func (c *client) readHead() string {
	c.t.Helper()
	var head []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("after %q: %v", head, err)
		}
		if line == "\r\n" {
			return strings.Join(head, "|")
		}
		if !strings.HasPrefix(line, "Date:") && !strings.HasPrefix(line, "Server:") {
			head = append(head, strings.TrimSuffix(line, "\r\n"))
		}
	}
}

// The application gets the loop of its connection, and can have it run something.
func TestLoopKey(t *testing.T) {
	both(t, func(t *testing.T, options Options) {
		s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if _, err := start("200 OK", nil, nil); err != nil {
				return nil, err
			}
			wake := env.Waker()
			var ran atomic.Bool // with Pool the stream is another goroutine
			l, ok := env.Get(LoopKey).(*loop.Loop)
			if !ok || !l.Do(func() { ran.Store(true); wake() }) {
				return nil, errors.New("no loop")
			}
			for key := range env.All() {
				if key == LoopKey {
					return nil, errors.New("the loop is among the keys that are listed")
				}
			}
			return gateway.Stream(func(yield func([]byte, error) bool) {
				for !ran.Load() {
					if !yield(nil, gateway.ErrWait) {
						return
					}
				}
				yield([]byte("ran"), nil)
			}), nil
		}), options)
		if got := s.exchange(get); !strings.Contains(got, "ran") {
			t.Errorf("%q", got)
		}
	})
}

// The head is there before there is content, and what was written before the rest.
func TestFlush(t *testing.T) {
	for _, tt := range []struct {
		name, request, status string
		headers               []gateway.Header
		head, rest            string
	}{
		{"chunked", get, "200 OK", nil, "HTTP/1.1 200 OK|Transfer-Encoding: chunked", "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"},
		{"length", get, "200 OK", []gateway.Header{{Name: "Content-Length", Value: "6"}}, "HTTP/1.1 200 OK|Content-Length: 6", "onetwo"},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "200 OK", nil, "HTTP/1.1 200 OK|Connection: close", "onetwo"},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "200 OK", nil, "HTTP/1.1 200 OK|Transfer-Encoding: chunked", ""},
		{"204", get, "204 No Content", nil, "HTTP/1.1 204 No Content", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			both(t, func(t *testing.T, options Options) {
				head, one := make(chan struct{}), make(chan struct{})
				s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
					w, err := start(tt.status, tt.headers, nil)
					if err != nil {
						return nil, err
					}
					if err := gateway.Flush(w); err != nil {
						t.Errorf("Flush: %v", err)
					}
					<-head
					if tt.rest == "" {
						return nil, nil
					}
					_, err = io.WriteString(w, "one")
					if err := gateway.Flush(w); err != nil && env.Method() != "HEAD" { // the answer to which may be over
						t.Errorf("the second Flush: %v", err)
					}
					<-one
					return gateway.Text("two"), err
				}), options)
				c := s.dial()
				c.send(tt.request)
				if got := c.readHead(); got != tt.head {
					t.Errorf("head %q, want %q", got, tt.head)
				}
				close(head)
				if tt.rest != "" {
					if b, err := c.r.Peek(strings.Index(tt.rest, "one") + 3); err != nil {
						t.Errorf("read %q, %v", b, err)
					}
				}
				close(one)
				got := make([]byte, len(tt.rest))
				if _, err := io.ReadFull(c.r, got); err != nil || string(got) != tt.rest {
					t.Errorf("read %q, %v; want %q", got, err, tt.rest)
				}
				if strings.Contains(tt.head, "close") {
					c.wantEnd()
					return
				}
				c.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n") // the connection stays open
				if got := c.readHead(); !strings.HasPrefix(got, "HTTP/1.1 "+tt.status) {
					t.Errorf("the next is %q", got)
				}
			})
		})
	}
}

// A head that was flushed cannot be replaced: if the application fails then, the response is cut.
func TestFlushIsSent(t *testing.T) {
	both(t, func(t *testing.T, options Options) {
		why := errors.New("changed my mind")
		s := start(t, appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", nil, nil)
			if err == nil {
				err = gateway.Flush(w)
			}
			if _, exc := start("500 Oops", nil, why); exc != why {
				t.Errorf("start returned %v, want %v", exc, why)
			}
			return nil, err
		}), options)
		c := s.dial()
		c.send(get)
		if resp, got, err := c.tryRead("GET"); err == nil || resp == nil || resp.StatusCode != 200 {
			t.Errorf("%v with %q, want a 200 that is cut", resp, got)
		}
		if stats := s.Stats(); stats.Aborted != 1 {
			t.Errorf("Aborted %d, want 1", stats.Aborted)
		}
	})
}

// The writer ends with its response.
func TestFlushTooLate(t *testing.T) {
	both(t, func(t *testing.T, options Options) {
		kept := make(chan io.Writer, 1)
		s := start(t, appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", nil, nil)
			kept <- w
			return nil, err
		}), options.with(Options{Loops: 1}))
		c := s.dial()
		c.send(get)
		c.want("GET", 200, "")
		w := <-kept
		s.onLoops(func(*shard, *loop.Conn) {
			if err := gateway.Flush(w); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Flush after the end: %v, want %v", err, net.ErrClosed)
			}
		})
	})
}

// A response that the application aborts is cut, and the log has no line about it.
func TestAbort(t *testing.T) {
	wrapped := fmt.Errorf("enough: %w", gateway.ErrAbort)
	length := []gateway.Header{{Name: "Content-Length", Value: "9"}}
	for name, how := range map[string]func() error{
		"returned": func() error { return wrapped },
		"thrown":   func() error { panic(wrapped) },
	} {
		for _, tt := range []struct {
			name, request string
			headers       []gateway.Header
			written       string
			inNext        bool
			want          string // begins with; "" is no answer at all
			reset         bool
		}{
			{"nothing", get, nil, "", false, "", false},
			{"nothing, declared", get, length, "", true, "", false},
			{"chunks", get, nil, "part", false, "4\r\npart\r\n", false},
			{"a length", get, length, "part", true, "part", false},
			{"the end of the connection", "GET / HTTP/1.0\r\n\r\n", nil, "part", true, "part", true},
		} {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				both(t, func(t *testing.T, options Options) {
					got := make(chan struct{})
					s := start(t, appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
						w, err := start("200 OK", tt.headers, nil)
						if err != nil {
							return nil, err
						}
						if tt.written != "" {
							_, _ = io.WriteString(w, tt.written)
							<-got
						}
						if tt.inNext {
							return next(func() ([]byte, error) { return nil, how() }), nil
						}
						return nil, how()
					}), options)
					c := s.dial()
					c.send(tt.request)
					if tt.want != "" {
						c.readHead()
						if b, err := c.r.Peek(len(tt.want)); err != nil || string(b) != tt.want {
							t.Errorf("read %q, %v; want %q", b, err, tt.want)
						}
						_, _ = c.r.Discard(len(tt.want))
					}
					close(got)
					b, err := io.ReadAll(c.r)
					if len(b) > 0 || tt.reset != errors.Is(err, syscall.ECONNRESET) || !tt.reset && err != nil {
						t.Errorf("then %q, %v; want an end by reset: %v", b, err, tt.reset)
					}
					_ = c.Close()
					s.untilConns(0)
					if log := s.log.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "level=WARN") || !strings.Contains(log, "enough") {
						t.Errorf("log:\n%s", log)
					}
					if stats := s.Stats(); stats.Aborted != 1 || stats.Failed != 0 {
						t.Errorf("Aborted %d, Failed %d; want 1 and 0", stats.Aborted, stats.Failed)
					}
				})
			})
		}
	}
}

// Answers before the one that is aborted are sent.
func TestAbortSparesOthers(t *testing.T) {
	both(t, func(t *testing.T, options Options) {
		s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if env.Path() == "/abort" {
				return nil, gateway.ErrAbort
			}
			return hello(env, start)
		}), options)
		c := s.dial()
		c.send(get + "GET /abort HTTP/1.1\r\nHost: h\r\n\r\n" + get)
		c.want("GET", 200, "Hello, World!")
		c.wantEnd()
	})
}

// An application learns which address its client has connected to.
func TestLocalAddr(t *testing.T) {
	both(t, func(t *testing.T, options Options) {
		s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 OK", nil, nil)
			return gateway.Text(env.LocalAddr().String()), err
		}), options)
		c := s.dial()
		c.send(get)
		c.want("GET", 200, s.addr.String())
	})
}

// Interim responses come before the final one, while the application works on it.
func TestInform(t *testing.T) {
	link := []gateway.Header{{Name: "Link", Value: "</style.css>; rel=preload"}}
	both(t, func(t *testing.T, options Options) {
		for _, request := range []string{get, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"} {
			got := make(chan struct{})
			s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				if err := env.Inform(102, nil); err != nil {
					t.Errorf("102: %v", err)
				}
				<-got
				return next(func() ([]byte, error) { // start has not been called
					if err := env.Inform(103, link); err != nil {
						t.Errorf("103: %v", err)
					}
					if _, err := start("200 OK", nil, nil); err != nil {
						return nil, err
					}
					if err := env.Inform(102, nil); err != errInformLate {
						t.Errorf("after start: %v, want %v", err, errInformLate)
					}
					return []byte("final"), io.EOF
				}), nil
			}), options)
			c := s.dial()
			c.send(request + request)
			want := []string{"HTTP/1.1 102 Processing", "HTTP/1.1 103 Early Hints|Link: </style.css>; rel=preload"}
			if strings.Contains(request, "HTTP/1.0") {
				want = nil
				close(got)
			}
			for i := range 2 {
				for k, want := range want {
					if head := c.readHead(); head != want {
						t.Errorf("%d: %q, want %q", i, head, want)
					}
					if k == 0 {
						got <- struct{}{}
					}
				}
				if resp, text := c.read(request[:strings.Index(request, " ")]); resp.StatusCode != 200 || text != "final" && request[0] == 'G' {
					t.Errorf("%d: %v %q", i, resp, text)
				}
			}
		}
	})
}

// What a client does not take waits, and the worker with it.
func TestInformWaits(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	const size, n = 32 << 10, 200
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		headers := []gateway.Header{{Name: "X", Value: pattern(size)}}
		for range n {
			if err := env.Inform(102, headers); err != nil {
				return nil, err
			}
		}
		return hello(env, start)
	}), Options{Dispatch: Pool, Loops: 1})
	c := s.dial()
	_ = c.SetReadBuffer(16 << 10)
	c.send(get)
	s.untilAtWork(1)
	waiting := func() (n int) {
		s.onLoops(func(sh *shard, lc *loop.Conn) {
			j := lc.Context.(*session).x.app.job
			j.mu.Lock()
			defer j.mu.Unlock()
			if n = len(j.out.interim); n > sh.cfg.loop.HighWaterBytes+2*size || lc.Unsent() > int64(3*sh.cfg.loop.HighWaterBytes) {
				t.Errorf("%d bytes wait for the loop, and %d for the socket", n, lc.Unsent())
			}
		})
		return n
	}
	eventually(t, "the worker waits", func() bool {
		sh := s.reactor.Loops()[0].Handler().(*shard)
		return waiting() >= sh.cfg.loop.HighWaterBytes
	})
	for range n {
		if head := c.readHead(); !strings.HasPrefix(head, "HTTP/1.1 102 ") || len(head) < size {
			t.Fatalf("%.80q of %d bytes", head, len(head))
		}
	}
	c.want("GET", 200, "Hello, World!")
}

// Trailer fields are sent where they have a place, and make one if they come in time.
func TestTrailer(t *testing.T) {
	sum := []gateway.Header{{Name: "X-Sum", Value: "42"}}
	const none, half, full = "", "half", "half and full"
	for _, tt := range []struct {
		name, request string
		headers       []gateway.Header // of start
		early         bool             // Trailer(nil) is called before the head is sent
		flush         bool
		content       string
		chunked, got  bool
	}{
		{"called before", get, nil, true, false, full, true, true},
		{"no content", get, nil, true, false, none, true, true},
		{"announced", get, []gateway.Header{{Name: "Trailer", Value: "X-Sum"}}, false, false, full, true, true},
		{"flushed", get, nil, false, true, full, true, true},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", nil, true, false, full, false, false},
		{"HTTP/1.0, known", "GET / HTTP/1.0\r\n\r\n", nil, true, false, none, false, false},
		{"a length", get, []gateway.Header{{Name: "Content-Length", Value: fmt.Sprint(len(full))}}, true, false, full, false, false},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", nil, true, false, full, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			both(t, func(t *testing.T, options Options) {
				s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
					if env.Path() == "/next" {
						return hello(env, start)
					}
					w, err := start("200 OK", tt.headers, nil)
					if err != nil {
						return nil, err
					}
					if tt.early {
						err = env.Trailer(nil)
					}
					if tt.flush {
						err = errors.Join(err, gateway.Flush(w))
					}
					if tt.content == none {
						return gateway.Text(tt.content), errors.Join(err, env.Trailer(sum))
					}
					left := []string{half, full[len(half):]}
					return next(func() ([]byte, error) {
						if env.Trailer([]gateway.Header{{Name: "Content-Type", Value: "text/plain"}}) == nil {
							t.Error("Content-Type as a trailer is no error")
						}
						part := left[0]
						if left = left[1:]; len(left) > 0 {
							return []byte(part), nil
						}
						over := tt.name == "HEAD" // the loop may have done with it, and a worker not know
						if err := env.Trailer(sum); err != nil && !(over && err == net.ErrClosed) {
							t.Errorf("Trailer: %v", err)
						}
						return []byte(part), io.EOF
					}), err
				}), options)
				c := s.dial()
				c.send(tt.request)
				method, _, _ := strings.Cut(tt.request, " ")
				resp, text := c.read(method)
				if chunked := len(resp.TransferEncoding) > 0; chunked != tt.chunked {
					t.Errorf("chunked %v, want %v", chunked, tt.chunked)
				}
				if got := resp.Trailer.Get("X-Sum") == "42"; got != tt.got || text != tt.content && method != "HEAD" {
					t.Errorf("trailer %v with %q, want %v", resp.Trailer, text, tt.got)
				}
				if strings.HasPrefix(tt.name, "HTTP/1.0") {
					if known := resp.ContentLength == 0; known != (tt.content == none) {
						t.Errorf("length %d", resp.ContentLength)
					}
					c.wantEnd()
					return
				}
				c.send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n")
				if resp := c.want("GET", 200, "Hello, World!"); resp.ContentLength < 0 || len(resp.Trailer) > 0 {
					t.Errorf("the next: %+v", resp)
				}
			})
		})
	}
}

// Trailer fields of a response that was replaced, or is over, are not those of the next.
func TestTrailerOfWhatIsOver(t *testing.T) {
	both(t, func(t *testing.T, options Options) {
		s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if _, err := start("200 OK", nil, nil); err != nil {
				return nil, err
			}
			if err := env.Trailer([]gateway.Header{{Name: "X-Sum", Value: "42"}}); err != nil {
				return nil, err
			}
			if env.Path() == "/fail" {
				return nil, io.ErrNoProgress
			}
			_, err := start("500 Oops", nil, io.ErrNoProgress)
			return gateway.Text("x"), err
		}), options)
		c := s.dial()
		for range 2 {
			for _, path := range []string{"/fail", "/replace"} {
				c.send("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
				if resp, _ := c.read("GET"); resp.StatusCode != 500 || resp.ContentLength < 0 || len(resp.Trailer) > 0 {
					t.Errorf("%s: %+v", path, resp)
				}
			}
		}
	})
}
