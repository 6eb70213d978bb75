package proxy

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testlog"
	"github.com/isbjorn/isbjorn/server"
)

// waitMax is how long a test waits for what must come.
const waitMax = 30 * time.Second

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitMax); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", waitMax, what)
		}
	}
}

// backend is an upstream that answers each request by a script.
type backend struct {
	net.Listener
	url   string
	mu    sync.Mutex
	heads []string // of the requests, in their order
	conns []net.Conn
	wg    sync.WaitGroup
}

// request is what a script of a backend gets.
type request struct {
	net.Conn
	head string
	r    *bufio.Reader
}

// content reads n bytes of content.
func (r *request) content(n int) string {
	b := make([]byte, n)
	n, _ = io.ReadFull(r.r, b)
	return string(b[:n])
}

// send writes, and does not mind a peer that is gone.
func (r *request) send(s string) { _, _ = io.WriteString(r, s) }

// newBackend starts one. The connection is kept as long as script returns true.
func newBackend(t testing.TB, script func(*request) bool) *backend {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newBackendOn(t, l, script)
}

func newBackendOn(t testing.TB, l net.Listener, script func(*request) bool) *backend {
	b := &backend{Listener: l, url: "http://" + l.Addr().String()}
	b.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns = append(b.conns, c)
			b.mu.Unlock()
			b.wg.Go(func() {
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					var head strings.Builder
					for {
						line, err := r.ReadString('\n')
						if head.WriteString(line); err != nil {
							return
						}
						if line == "\r\n" {
							break
						}
					}
					b.mu.Lock()
					b.heads = append(b.heads, head.String())
					b.mu.Unlock()
					if !script(&request{c, head.String(), r}) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(b.stop)
	return b
}

// stop closes the listener and all connections.
func (b *backend) stop() {
	_ = b.Close()
	b.mu.Lock()
	for _, c := range b.conns {
		_ = c.Close()
	}
	b.mu.Unlock()
	b.wg.Wait()
}

// count is how many requests have come.
func (b *backend) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.heads)
}

// head is that of the last request.
func (b *backend) head() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.heads) == 0 {
		return ""
	}
	return b.heads[len(b.heads)-1]
}

// answers is a script that sends the same response to each request without content.
func answers(response string) func(*request) bool {
	return func(r *request) bool { r.send(response); return true }
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// gateServer is a proxy that runs.
type gateServer struct {
	*App
	addr   string
	log    *testlog.Buffer
	server *server.Server
}

// serve runs a proxy.
func serve(t testing.TB, o Options) *gateServer {
	t.Helper()
	return serveWith(t, o, server.Options{})
}

func serveWith(t testing.TB, o Options, so server.Options) *gateServer {
	t.Helper()
	p := &gateServer{log: &testlog.Buffer{}}
	o.Logger = slog.New(slog.NewTextHandler(p.log, nil))
	app, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	p.App = app
	t.Cleanup(func() { _ = app.Close() })
	so.Logger, so.Loops, so.Dispatch, so.BodyBytes = o.Logger, 1, server.Pool, 16<<20
	p.server, err = server.New(gateway.Debug(app), so) // finds what is kept beyond the response
	if err != nil {
		t.Fatal(err)
	}
	addr, err := p.server.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.server.Close)
	p.addr = addr.String()
	return p
}

type client struct {
	*net.TCPConn
	t testing.TB
	r *bufio.Reader
}

func (p *gateServer) dial(t testing.TB) *client {
	t.Helper()
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(waitMax))
	t.Cleanup(func() { _ = c.Close() })
	return &client{c.(*net.TCPConn), t, bufio.NewReader(c)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatal(err)
	}
}

// answer is a response as a client sees it.
type answer struct {
	interim []*http.Response
	*http.Response
	body string
	err  error // the content is not whole
}

// read reads a response to a request with a method.
func (c *client) read(method string) answer {
	c.t.Helper()
	var a answer
	for {
		resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			return answer{Response: &http.Response{}, err: err}
		}
		if resp.StatusCode < 200 && resp.StatusCode != 101 {
			a.interim = append(a.interim, resp)
			continue
		}
		a.Response = resp
		if resp.StatusCode == 101 {
			return a
		}
		b, err := io.ReadAll(resp.Body)
		a.body, a.err = string(b), err
		return a
	}
}

// ask sends a request on a connection of its own, and reads the response.
func (p *gateServer) ask(t testing.TB, request string) answer {
	t.Helper()
	c := p.dial(t)
	go func() { _, _ = io.WriteString(c, request) }() // the answer may come first
	method, _, _ := strings.Cut(request, " ")
	return c.read(method)
}

func (p *gateServer) want(t testing.TB, request string, status int, body string) answer {
	t.Helper()
	a := p.ask(t, request)
	if a.StatusCode != status || a.body != body || a.err != nil {
		t.Errorf("%.60q: %d %.100q, %v; want %d %.100q", request, a.StatusCode, a.body, a.err, status, body)
	}
	return a
}

func get(target string, fields ...string) string {
	return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: h.example\r\n%s\r\n", target, lines(fields))
}

func post(content string, fields ...string) string {
	return fmt.Sprintf("POST /p HTTP/1.1\r\nHost: h.example\r\nContent-Length: %d\r\n%s\r\n%s", len(content), lines(fields), content)
}

func lines(fields []string) string {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	return b.String()
}
