package middleware_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/middleware"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/internal/testlog"
	"github.com/isbjorn/isbjorn/server"
)

var dispatches = []server.DispatchMode{server.Inline, server.Auto, server.Pool}

// wireLog serves app with CombinedLog around it, and returns the address and the log.
func wireLog(t *testing.T, app gateway.App, options server.Options) (addr string, log *testlog.Buffer) {
	t.Helper()
	log = &testlog.Buffer{}
	stack, err := middleware.Stack(app, middleware.CombinedLog(log), middleware.Recover)
	if err != nil {
		t.Fatal(err)
	}
	options.Logger, options.Loops = slog.New(slog.DiscardHandler), 1
	s, err := server.New(stack, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	at, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return at.String(), log
}

// wantLine waits for a line of the log, and fails if there is another.
func wantLine(t *testing.T, log *testlog.Buffer, want string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !strings.HasSuffix(log.String(), "\n") && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	line := log.String()
	if !regexp.MustCompile(`^127\.0\.0\.1 - - \[[^]]*\] ` + want + `\n$`).MatchString(line) {
		t.Errorf("logged %q, want %s", line, want)
	}
}

func dial(t *testing.T, addr, send string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	return c
}

const ask = "GET /path HTTP/1.1\r\nHost: h\r\n\r\n"

type abortBody struct {
	chunks int
	panics bool
}

func (b *abortBody) Next() ([]byte, error) {
	if b.chunks--; b.chunks >= 0 {
		return []byte("chunk"), nil
	}
	if b.panics {
		panic(gateway.ErrAbort)
	}
	return nil, gateway.ErrAbort
}
func (*abortBody) Close() error { return nil }

// An application that aborts before a part of the response was sent is logged with 444, after it with the declared
// status and X.
func TestAccessLogOfAborts(t *testing.T) {
	declares := func(body gateway.Body) gateway.App {
		return gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 OK", nil, nil)
			return body, err
		})
	}
	for name, tt := range map[string]struct {
		app  func() gateway.App
		line string
	}{
		"Serve returns it": {func() gateway.App {
			return gateway.AppFunc(func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) { return nil, gateway.ErrAbort })
		}, `"GET /path HTTP/1\.1" 444 0 .* X`},
		"Serve panics": {func() gateway.App {
			return gateway.AppFunc(func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) { panic(gateway.ErrAbort) })
		}, `"GET /path HTTP/1\.1" 444 0 .* X`},
		"Next returns it":    {func() gateway.App { return declares(&abortBody{}) }, `"GET /path HTTP/1\.1" 444 0 .* X`},
		"Next panics":        {func() gateway.App { return declares(&abortBody{panics: true}) }, `"GET /path HTTP/1\.1" 444 0 .* X`},
		"after a chunk":      {func() gateway.App { return declares(&abortBody{chunks: 1}) }, `"GET /path HTTP/1\.1" 200 5 .* X`},
		"a handler":          {func() gateway.App { return nethttp.App(http.HandlerFunc(abort)) }, `"GET /path HTTP/1\.1" 444 0 .* X`},
		"a handler that has": {func() gateway.App { return nethttp.App(http.HandlerFunc(flushAndAbort)) }, `"GET /path HTTP/1\.1" 202 0 .* X`},
	} {
		for _, d := range dispatches {
			t.Run(name+" "+d.String(), func(t *testing.T) {
				addr, log := wireLog(t, tt.app(), server.Options{Dispatch: d})
				_, _ = io.ReadAll(dial(t, addr, ask))
				wantLine(t, log, tt.line)
			})
		}
	}
}

func abort(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func flushAndAbort(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(202)
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// A client that disconnects before the response is logged with 499, after a part of it with the declared status and X.
func TestAccessLogOfClientsThatLeave(t *testing.T) {
	for _, sent := range []bool{false, true} {
		for _, d := range dispatches {
			t.Run(fmt.Sprint("a part was sent: ", sent, " ", d.String()), func(t *testing.T) {
				at := make(chan bool, 1)
				addr, log := wireLog(t, gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
					w, err := start("200 OK", nil, nil)
					if err != nil {
						return nil, err
					}
					if sent {
						if _, err := io.WriteString(w, "part"); err != nil {
							return nil, err
						}
					}
					_ = env.Waker()
					at <- true
					return waiting{}, nil
				}), server.Options{Dispatch: d})
				c := dial(t, addr, ask)
				<-at
				if sent {
					if _, err := bufio.NewReader(c).ReadString('t'); err != nil {
						t.Fatal(err)
					}
				}
				_ = c.(*net.TCPConn).SetLinger(0)
				_ = c.Close()
				if sent {
					wantLine(t, log, `"GET /path HTTP/1\.1" 200 4 .* X`)
				} else {
					wantLine(t, log, `"GET /path HTTP/1\.1" 499 0 .* X`)
				}
			})
		}
	}
}

// waiting is a Body that always returns ErrWait.
type waiting struct{}

func (waiting) Next() ([]byte, error) { return nil, gateway.ErrWait }
func (waiting) Close() error          { return nil }

// A response that comes after RequestTimeout is logged as the 504 that was sent.
func TestAccessLogOfATimeout(t *testing.T) {
	t.Parallel()
	for _, d := range dispatches[1:] {
		t.Run(d.String(), func(t *testing.T) {
			release := make(chan bool)
			addr, log := wireLog(t, gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				<-release
				if _, err := start("200 OK", nil, nil); err != nil {
					return nil, err
				}
				return env.Text("too late"), nil
			}), server.Options{Dispatch: d, RequestTimeout: 50 * time.Millisecond})
			c := dial(t, addr, ask)
			if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 504 {
				t.Errorf("answered %v, %v", resp, err)
			}
			close(release)
			wantLine(t, log, `"GET /path HTTP/1\.1" 504 0 .* X`)
		})
	}
}

// Each refusal of the server has a line, with the request as it came.
func TestAccessLogOfRefusals(t *testing.T) {
	t.Parallel()
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("204 No Content", nil, nil)
		return nil, err
	})
	for name, tt := range map[string]struct {
		send string
		line string
	}{
		"400":         {"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", `"GET /a b HTTP/1\.1" 400 [1-9]\d* "-" "-" 0 \+`},
		"400 hostile": {"GET /\x1b[2J\" HTTP/1.1\r\nHost: h\r\n\r\n", `"GET /\\x1b\[2J\\" HTTP/1\.1" 400 [1-9]\d* "-" "-" 0 \+`},
		"408 head":    {"GET /path HTTP/1.1\r\nHo", `"-" 408 [1-9]\d* "-" "-" 0 \+`},
		"408 content": {"POST /path HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe", `"POST /path HTTP/1\.1" 408 [1-9]\d* "-" "-" 0 \+`},
		"413":         {"POST /path HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n", `"POST /path HTTP/1\.1" 413 [1-9]\d* "-" "-" 0 \+`},
		"413 HEAD":    {"HEAD /path HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n", `"HEAD /path HTTP/1\.1" 413 0 "-" "-" 0 \+`},
		"414":         {"GET /" + strings.Repeat("x", 300) + " HTTP/1.1\r\nHost: h\r\n\r\n", `"GET /x*( HTTP/1\.1)?" 414 [1-9]\d* "-" "-" 0 \+`},
		"417":         {"GET /path HTTP/1.1\r\nHost: h\r\nExpect: more\r\n\r\n", `"GET /path HTTP/1\.1" 417 [1-9]\d* "-" "-" 0 \+`},
		"431":         {"GET /path HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 1000) + "\r\n\r\n", `"GET /path HTTP/1\.1" 431 [1-9]\d* "-" "-" 0 \+`},
		"501":         {"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", `"CONNECT h:1 HTTP/1\.1" 501 [1-9]\d* "-" "-" 0 \+`},
	} {
		for _, d := range dispatches {
			if name == "408 content" && d == server.Pool {
				continue // the application has the request, and answers without its content
			}
			t.Run(name+" "+d.String(), func(t *testing.T) {
				t.Parallel()
				addr, log := wireLog(t, app, server.Options{Dispatch: d, HeadTimeout: 50 * time.Millisecond, BodyTimeout: 50 * time.Millisecond,
					TargetBytes: 100, HeadBytes: 500, BodyBytes: 10})
				_, _ = io.ReadAll(dial(t, addr, tt.send))
				wantLine(t, log, tt.line)
			})
		}
	}
	t.Run("503", func(t *testing.T) {
		at, release := make(chan bool), make(chan bool)
		addr, log := wireLog(t, gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			at <- true
			<-release
			_, err := start("204 No Content", nil, nil)
			return nil, err
		}), server.Options{Dispatch: server.Pool, Workers: 1, WorkerQueue: server.None})
		first := dial(t, addr, ask)
		<-at
		c := dial(t, addr, ask)
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 503 {
			t.Errorf("answered %v, %v", resp, err)
		}
		wantLine(t, log, `"GET /path HTTP/1\.1" 503 [1-9]\d* "-" "-" 0 \+`)
		close(release)
		_, _ = http.ReadResponse(bufio.NewReader(first), nil)
	})
}

// Without an access log each refusal is a line of the server's own, and counted.
func TestRefusalsAreLogged(t *testing.T) {
	log := &testlog.Buffer{}
	s, err := server.New(nethttp.App(http.NotFoundHandler()), server.Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(dial(t, addr.String(), "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n"))
	s.Close()
	if text := log.String(); !strings.Contains(text, "level=INFO") || !strings.Contains(text, `request="GET /a b HTTP/1.1" status=400`) || strings.Count(text, "\n") != 1 {
		t.Errorf("logged %s", text)
	}
	if n := s.Stats().Refused; n != 1 {
		t.Errorf("Refused is %d", n)
	}
}
