package nethttp_test

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/testlog"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server"
)

// waitMax is how long a test waits for what must come.
const waitMax = 20 * time.Second

// testServer is a running server: its address and its log.
type testServer struct {
	addr string
	log  *testlog.Buffer
}

// serveIsbjorn serves h behind App, by default as http.Handlers are: Dispatch: Auto.
func serveIsbjorn(t testing.TB, h http.Handler, options server.Options) testServer {
	t.Helper()
	return serveApp(t, nethttp.App(h), options)
}

func serveApp(t testing.TB, app gateway.App, options server.Options) testServer {
	t.Helper()
	p := testServer{log: &testlog.Buffer{}}
	options.Logger, options.Loops = slog.New(slog.NewTextHandler(p.log, nil)), 1
	if options.BodyBytes == 0 {
		options.BodyBytes = 16 << 20
	}
	s, err := server.New(app, options)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	p.addr = addr.String()
	return p
}

// onWorkers runs a test of a handler on isbjorn, with each way to run it on a worker.
func onWorkers(t *testing.T, h http.Handler, test func(*testing.T, testServer), options server.Options) {
	for name, d := range map[string]server.DispatchMode{"Auto": server.Auto, "Pool": server.Pool} {
		options.Dispatch = d
		t.Run(name, func(t *testing.T) { test(t, serveIsbjorn(t, h, options)) })
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitMax); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", waitMax, what)
		}
	}
}

// serveNetHTTP serves h by net/http.
func serveNetHTTP(t testing.TB, h http.Handler) testServer {
	t.Helper()
	p := testServer{log: &testlog.Buffer{}}
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(p.log, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	p.addr = s.Listener.Addr().String()
	return p
}

type client struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func (p testServer) dial(t testing.TB) *client {
	t.Helper()
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(waitMax))
	t.Cleanup(func() { _ = c.Close() })
	return &client{c, t, bufio.NewReader(c)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatal(err)
	}
}

// answer is a response as a client sees it.
type answer struct {
	interim         string // responses before it, but 100
	status, body    string
	header, trailer http.Header
	cut             bool // it is not whole, or there is none
}

// ask sends a request and reads the response.
func (p testServer) ask(t testing.TB, request string) answer {
	t.Helper()
	return p.dial(t).ask(request)
}

func (c *client) ask(request string) answer {
	go func() { _, _ = io.WriteString(c, request) }() // the answer may come first
	method, _, _ := strings.Cut(request, " ")
	var a answer
	for {
		resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			a.cut = true
			return a
		}
		if resp.StatusCode < 200 {
			if resp.StatusCode != http.StatusContinue {
				a.interim += fmt.Sprintln(resp.Status, resp.Header)
			}
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if resp.TransferEncoding != nil {
			resp.Header["Transfer-Encoding"] = resp.TransferEncoding
		}
		if method == "HEAD" { // with chunked package http has it in one place, else in the other
			delete(resp.Header, "Trailer")
			resp.Trailer = nil
		}
		a.status, a.body, a.header, a.trailer, a.cut = resp.Status, string(body), resp.Header, resp.Trailer, err != nil
		return a
	}
}

// text is all of a response except the fields without.
func (a answer) text(without ...string) string {
	if a.cut && a.status == "" {
		return a.interim + "no answer"
	}
	var b strings.Builder
	b.WriteString(a.interim)
	fmt.Fprintln(&b, a.status)
	for _, name := range slices.Sorted(maps.Keys(a.header)) {
		if !slices.Contains(without, name) {
			fmt.Fprintf(&b, "%s: %q\n", name, a.header[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.trailer)) {
		fmt.Fprintf(&b, "trailer %s: %q\n", name, a.trailer[name])
	}
	fmt.Fprintf(&b, "cut: %t, %d bytes: %.300q", a.cut, len(a.body), a.body)
	return b.String()
}

// quiet is a log of what tests do on purpose.
var quiet = log.New(io.Discard, "", 0)

// transport is one whose connections end with the test.
func transport(t testing.TB) *http.Transport {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}
