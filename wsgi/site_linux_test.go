package wsgi_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testlog"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/server"
	"github.com/isbjorn/isbjorn/wsgi"
)

// patience is how long a test waits for what has to come.
const patience = time.Minute

// pythons are the interpreters to test with: those of TEST_ISBJORN_PYTHONS, else that of the system, which has the
// packages of the distribution.
func pythons(t testing.TB) []string {
	t.Helper()
	testrun.Slow(t, "starts Python", "TestHello")
	if list := os.Getenv("TEST_ISBJORN_PYTHONS"); list != "" {
		return filepath.SplitList(list)
	}
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if path, err := exec.LookPath(name); err == nil {
			return []string{path}
		}
	}
	t.Skip("needs python3, 3.8 or later: apt-get install python3")
	return nil
}

// site is an application that is served, on one of its addresses.
type site struct {
	testing.TB
	dir     string
	network string
	address string
	threads int
	strict  bool
	log     *testlog.Buffer
	server  *server.Server
	app     *wsgi.App
}

// setup is how an application is run.
type setup struct {
	wsgi.Options
	server server.Options
	wrap   func(gateway.App) gateway.App
	files  map[string]string // beside app.py
	dies   bool              // workers may die
	find   bool              // the application is looked for
}

// preamble is what the applications of the tests share.
const preamble = `import os, sys, time, threading, hashlib, io, signal
P = [('Content-Type', 'text/plain')]
def log(text):
    print(text, file=sys.stderr)
`

// startSite serves an application on TCP and on a Unix socket.
func startSite(t testing.TB, source string, o setup) (tcp, unix *site) {
	t.Helper()
	if o.Python == "" {
		o.Python = pythons(t)[0]
	}
	s := &site{TB: t, dir: t.TempDir(), network: "tcp", log: new(testlog.Buffer), threads: max(o.Threads, 1), strict: o.Strict}
	o.files = mapOf(o.files)
	o.files["app.py"] = preamble + source
	for name, text := range o.files {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if o.App == "" && !o.find {
		o.App = "app:app"
	}
	if o.Dir == "" {
		o.Dir = s.dir
	}
	if o.Workers == 0 {
		o.Workers = 1
	}
	o.Log = slog.New(slog.NewTextHandler(s.log, nil))
	var err error
	if s.app, err = wsgi.New(o.Options); err != nil {
		t.Fatal(err)
	}
	app := gateway.App(s.app)
	if o.wrap != nil {
		app = o.wrap(app)
	}
	o.server.Logger = o.Log
	if o.server.Loops == 0 {
		o.server.Loops = 1
	}
	if s.server, err = server.New(app, o.server); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = s.server.Shutdown(ctx)
		if err := s.app.Shutdown(ctx); err != nil {
			t.Errorf("the end of the workers: %v", err)
		}
		if text := s.log.String(); !o.dies && strings.Contains(text, "worker died") {
			t.Errorf("a worker died; the log:\n%s", text)
		}
		if t.Failed() {
			t.Logf("the log:\n%.8000s", s.log.String())
		}
	})
	addr, err := s.server.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = addr.String()
	path := filepath.Join(s.dir, "s")
	if _, err := s.server.Listen("unix:" + path); err != nil {
		t.Fatal(err)
	}
	u := *s
	u.network, u.address = "unix", path
	return s, &u
}

func mapOf(m map[string]string) map[string]string {
	n := make(map[string]string)
	for k, v := range m {
		n[k] = v
	}
	return n
}

// eachSite runs a test for each Python, with 1 and with 4 threads, on TCP and on a Unix socket.
func eachSite(t *testing.T, source string, o setup, test func(t *testing.T, s *site)) {
	t.Helper()
	for _, python := range pythons(t) {
		o.Python = python
		name := ""
		if len(pythons(t)) > 1 {
			name = strings.ReplaceAll(python, "/", "_") + ","
		}
		for _, threads := range []int{1, 4} {
			if o.Threads > 0 && o.Threads != threads || testing.Short() && threads == 1 {
				continue
			}
			o := o
			o.Threads = threads
			t.Run(fmt.Sprintf("%sthreads=%d", name, threads), func(t *testing.T) {
				t.Parallel()
				tcp, unix := startSite(t, source, o)
				for _, s := range []*site{tcp, unix} {
					t.Run(s.network, func(t *testing.T) {
						s.TB = t
						test(t, s)
					})
				}
			})
		}
	}
}

// conn is a client's connection.
type conn struct {
	s *site
	net.Conn
	r *bufio.Reader
}

func (s *site) dial() *conn {
	s.Helper()
	c, err := net.Dial(s.network, s.address)
	if err != nil {
		s.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	s.Cleanup(func() { _ = c.Close() })
	return &conn{s, c, bufio.NewReader(c)}
}

// answer is one response.
type answer struct {
	status  int
	reason  string
	header  http.Header
	chunked bool
	body    string
	closes  bool // Connection: close
	cut     bool // it ended before its end
}

// bytesOf is a request in the notation of the tests: | is CRLF, and a method with a target is a request of HTTP/1.1.
func bytesOf(request string) []byte {
	if !strings.Contains(request, "|") && strings.Contains(request, "/") {
		request += " HTTP/1.1|Host: t||"
	}
	return []byte(strings.ReplaceAll(request, "|", "\r\n"))
}

func (c *conn) send(request string) *conn {
	c.s.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(bytesOf(request)); err != nil {
		c.s.Logf("send: %v", err) // the server may refuse before all has come
	}
	return c
}

// read reads one response to a request with a method; interim ones are skipped.
func (c *conn) read(method string) answer {
	c.s.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	for {
		resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.s.Errorf("no answer within %v", patience)
		}
		if err != nil {
			return answer{cut: true, body: err.Error()}
		}
		a := answer{status: resp.StatusCode, header: resp.Header, chunked: len(resp.TransferEncoding) > 0, closes: resp.Close}
		_, a.reason, _ = strings.Cut(resp.Status, " ")
		if resp.StatusCode < 200 {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.s.Errorf("%d and %d bytes, and no more within %v", a.status, len(body), patience)
		}
		a.body, a.cut = string(body), err != nil
		return a
	}
}

// do sends a request on a connection of its own.
func (s *site) do(request string) answer {
	s.Helper()
	c := s.dial()
	defer c.Close()
	method, _, _ := strings.Cut(request, " ")
	return c.send(request).read(method)
}

// want checks an answer.
func (s *site) want(request string, status int, body string) answer {
	s.Helper()
	a := s.do(request)
	if a.status != status || a.body != body || a.cut {
		s.Errorf("%.200q: %d %.300q, cut %v; want %d %.300q", request, a.status, a.body, a.cut, status, body)
	}
	return a
}

// fails checks that a request is answered by 500, with its line in the log, and that the next one is served.
func (s *site) fails(request string, logged ...string) {
	s.Helper()
	s.log.Reset()
	a := s.do(request)
	if a.status != 500 || a.body != "Internal Server Error\n" || a.cut {
		s.Errorf("%q: %d %q, cut %v; want 500 of the server", request, a.status, a.body, a.cut)
	}
	path := strings.Fields(request)[1]
	s.logs(append(logged, path)...)
}

// logs waits until the log has texts.
func (s *site) logs(texts ...string) {
	s.Helper()
	for _, text := range texts {
		s.until("the log to have "+text, func() bool { return strings.Contains(s.log.String(), text) })
	}
}

func (s *site) until(what string, done func() bool) {
	s.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("waited in vain for %s; the log:\n%s", what, s.log.String())
		}
	}
}

// closed checks that the server closes the connection and sends nothing more.
func (c *conn) closed() {
	c.s.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(c.r); len(b) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
		c.s.Errorf("after the answer %q, %v; want the end", b, err)
	}
}

// arrives reads until what has come has a text, and returns how long that took.
func (c *conn) arrives(text string) time.Duration {
	c.s.Helper()
	begin := time.Now()
	_ = c.SetDeadline(begin.Add(patience))
	var got bytes.Buffer
	for !strings.Contains(got.String(), text) {
		b, err := c.r.ReadByte()
		if err != nil {
			c.s.Fatalf("%q came, then %v; want %q", got.String(), err, text)
		}
		got.WriteByte(b)
	}
	return time.Since(begin)
}
