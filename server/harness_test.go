package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/testlog"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
)

// appFunc is short for tests.
type appFunc = gateway.AppFunc

var textHeaders = []gateway.Header{{Name: "Content-Type", Value: "text/plain"}}

func hello(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if _, err := start("200 OK", textHeaders, nil); err != nil {
		return nil, err
	}
	return env.Text("Hello, World!"), nil
}

func echo(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	content, err := env.Input().ReadAll()
	if err != nil {
		return nil, err
	}
	if _, err := start("200 OK", nil, nil); err != nil {
		return nil, err
	}
	return env.Bytes(content), nil
}

// suite is where the applications of tests run that do not say it themselves: as by
// default. TEST_ISBJORN_DISPATCH=Inline or Pool runs the suite there (make dispatch).
var suite = map[string]DispatchMode{"": Auto, "Auto": Auto, "Inline": Inline, "Pool": Pool}[os.Getenv("TEST_ISBJORN_DISPATCH")]

// collecting is the same for tests of content that is collected before the application is
// called: with Pool it streams.
var collecting = map[DispatchMode]DispatchMode{Auto: Auto, Inline: Inline, Pool: Inline}[suite]

type testServer struct {
	*Server
	t    testing.TB
	addr net.Addr
	log  *serverLog
	apps *counted
}

// counted is an application that counts its calls.
type counted struct {
	gateway.App
	now atomic.Int64
}

func (a *counted) StreamsContent() bool {
	s, ok := a.App.(gateway.Streamer)
	return ok && s.StreamsContent()
}

func (a *counted) Serve(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	a.now.Add(1)
	defer a.now.Add(-1)
	return a.App.Serve(env, start)
}

// serverLog is the log of a server. A read of it sees all lines so far.
type serverLog struct {
	testlog.Buffer
	flush func()
}

func (l *serverLog) String() string {
	l.flush()
	return l.Buffer.String()
}

func (l *serverLog) Reset() {
	l.flush()
	l.Buffer.Reset()
}

// with returns o with the fields that other sets in place of its own; both functions tune.
func (o Options) with(other Options) Options {
	tune := o.tune
	to, from := reflect.ValueOf(&o).Elem(), reflect.ValueOf(other)
	for i := range to.NumField() {
		if field := to.Field(i); field.CanSet() && !from.Field(i).IsZero() {
			field.Set(from.Field(i))
		}
	}
	o.tune = func(c *config) {
		for _, f := range []func(*config){tune, other.tune} {
			if f != nil {
				f(c)
			}
		}
	}
	return o
}

// start runs a server for app on a port of its own.
func start(t testing.TB, app gateway.App, options Options) *testServer {
	t.Helper()
	return startOn(suite, t, app, options)
}

// startOn is start for a test of one DispatchMode, where options have none.
func startOn(d DispatchMode, t testing.TB, app gateway.App, options Options) *testServer {
	t.Helper()
	return startOnAt(d, t, "127.0.0.1:0", app, options)
}

// startAt is start on an address.
func startAt(t testing.TB, addr string, app gateway.App, options Options) *testServer {
	t.Helper()
	return startOnAt(suite, t, addr, app, options)
}

func startOnAt(d DispatchMode, t testing.TB, where string, app gateway.App, options Options) *testServer {
	t.Helper()
	log := &serverLog{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	fast := func(c *config) { c.loop.Tick = 5 * time.Millisecond } // timers in tests
	apps := &counted{App: app}
	options = Options{Logger: logger, Loops: 2, tune: fast}.with(options)
	options.Dispatch = or(options.Dispatch, d)
	s, err := New(apps, options)
	if err != nil {
		t.Fatal(err)
	}
	log.flush = func() { s.config.logs.Flush(20 * time.Second) }
	addr, err := s.Listen(where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if err := s.Wait(); err != nil {
			t.Errorf("Wait: %v", err)
		}
	})
	return &testServer{s, t, addr, log, apps}
}

// inEachDispatch runs f for an application on its loop, on its loop as long as it does not
// block, and on workers.
func inEachDispatch(t *testing.T, name string, f func(t *testing.T, where DispatchMode)) {
	t.Helper()
	for _, d := range []DispatchMode{Inline, Auto, Pool} {
		t.Run(fmt.Sprintf("%s, %s", name, d), func(t *testing.T) { f(t, d) })
	}
}

// on is for a helper with a DispatchMode of its own, where d may be Auto, which Options cannot tell from none.
func on(d DispatchMode) func(*config) { return func(c *config) { c.dispatch = d } }

type client struct {
	*net.TCPConn
	t testing.TB
	r *bufio.Reader
}

func (s *testServer) dial() *client {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		s.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	s.t.Cleanup(func() { _ = c.Close() })
	return &client{c.(*net.TCPConn), s.t, bufio.NewReader(c)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatalf("send %.60q: %v", s, err)
	}
}

// read reads one response to a request with the given method.
func (c *client) read(method string) (*http.Response, string) {
	c.t.Helper()
	resp, body, err := c.tryRead(method)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp, body
}

func (c *client) tryRead(method string) (*http.Response, string, error) {
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return nil, "", fmt.Errorf("reading a response: %w", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp, string(body), fmt.Errorf("reading the content after %d bytes: %w", len(body), err)
	}
	return resp, string(body), nil
}

// want reads one response and checks it.
func (c *client) want(method string, status int, body string) *http.Response {
	c.t.Helper()
	resp, got := c.read(method)
	if resp.StatusCode != status || got != body {
		c.t.Fatalf("%s answered %d %.80q, want %d %.80q", method, resp.StatusCode, got, status, body)
	}
	return resp
}

// wantEnd expects that nothing more comes and the server has closed.
func (c *client) wantEnd() {
	c.t.Helper()
	if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
		c.t.Fatalf("read %.80q, %v; want the end of the connection", b, err)
	}
}

// exchange sends bytes, ends its side and returns all that the server answers.
func (s *testServer) exchange(in string) string {
	s.t.Helper()
	c := s.dial()
	c.send(in)
	_ = c.CloseWrite()
	b, err := io.ReadAll(c.r)
	if err != nil {
		s.t.Fatalf("%.60q: %v after %.80q", in, err, b)
	}
	return string(b)
}

// body is a gateway.Body that counts its calls of Close.
type body struct {
	gateway.Body
	mu     sync.Mutex
	closed int
	err    error
}

func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed++
	if b.Body != nil {
		_ = b.Body.Close()
	}
	return b.err
}

func (b *body) closes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// sizedBody is a body whose inner Body has a length.
type sizedBody struct{ *body }

func (b sizedBody) Len() int64 { return b.body.Body.(gateway.Sized).Len() }

// next is a Body made of a function.
type next func() ([]byte, error)

func (f next) Next() ([]byte, error) { return f() }
func (next) Close() error            { return nil }

// chunks is a Body of several chunks of unknown length.
func chunks(parts ...string) gateway.Body {
	return gateway.Stream(func(yield func([]byte, error) bool) {
		for _, p := range parts {
			if !yield([]byte(p), nil) {
				return
			}
		}
	})
}

// ok starts a 200 and returns b.
func ok(b gateway.Body) gateway.App {
	return appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return b, err
	})
}

func shortly() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 20*time.Second)
}

// eventually waits for a condition that another goroutine makes true.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// waitStopping returns when the stop has reached every loop.
func (s *testServer) waitStopping() {
	s.t.Helper()
	for _, l := range s.reactor.Loops() {
		eventually(s.t, "the loops are stopping", func() bool {
			is := make(chan bool)
			l.Do(func() { is <- l.Handler().(*shard).stopping })
			return <-is
		})
	}
}

func pattern(n int) string {
	return strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyz-", n/37+1)[:n]
}

// connsOf lists the connections of a loop; on that loop only.
func connsOf(l *loop.Loop) (all []*loop.Conn) {
	l.Conns(func(c *loop.Conn) { all = append(all, c) })
	return all
}
