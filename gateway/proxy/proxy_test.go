package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/server"
)

var _ gateway.Streamer = (*App)(nil)

func TestContent(t *testing.T) {
	t.Parallel()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
		}
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	}))
	defer up.Close()
	p := serve(t, Options{To: []string{up.URL}})
	for _, n := range []int{0, 1, heldBytes, heldBytes + 1, 1 << 20} {
		content := strings.Repeat("x", n)
		for _, path := range []string{"/length", "/chunked"} {
			p.want(t, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", path, n, content), 200, content)
			p.want(t, fmt.Sprintf("PUT %s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", path, n, content), 200, content)
		}
		p.want(t, fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", max(n, 1), content+strings.Repeat("x", max(1-n, 0))),
			200, content+strings.Repeat("x", max(1-n, 0)))
	}
}

func TestResponses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, response string
		status                 int
		body                   string
	}{
		{"length", "GET", ok, 200, "ok"},
		{"empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, ""},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "ok"},
		{"until close", "GET", "HTTP/1.1 200 OK\r\n\r\nok", 200, "ok"},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\n\r\nok", 200, "ok"},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 200, ""},
		{"HEAD of unknown length", "HEAD", "HTTP/1.1 200 OK\r\n\r\n", 200, ""},
		{"no content", "GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""},
		{"not modified", "GET", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 2\r\n\r\n", 304, ""},
		{"no reason", "GET", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", 200, "ok"},
		{"a reason of its own", "GET", "HTTP/1.1 418 Tea\r\nContent-Length: 2\r\n\r\nok", 418, "ok"},
		{"an error of the upstream", "GET", "HTTP/1.1 503 X\r\nContent-Length: 2\r\n\r\nok", 503, "ok"},
		{"length and chunked", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "ok"},
		{"one length twice", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, "ok"},
		{"status with a name", "GET", "HTTP/1.1 200 OK\r\nStatus: 500\r\nContent-Length: 2\r\n\r\nok", 200, "ok"},
		{"two dates", "GET", "HTTP/1.1 200 OK\r\nDate: a\r\nDate: b\r\nContent-Length: 2\r\n\r\nok", 200, "ok"},

		{"two lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", 502, "502 Bad Gateway\n"},
		{"bad length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", 502, "502 Bad Gateway\n"},
		{"unknown coding", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 502, "502 Bad Gateway\n"},
		{"no HTTP", "GET", "SSH-2.0-OpenSSH\r\n\r\n", 502, "502 Bad Gateway\n"},
		{"HTTP/2", "GET", "HTTP/2.0 200 OK\r\n\r\n", 502, "502 Bad Gateway\n"},
		{"status 999", "GET", "HTTP/1.1 999 X\r\nContent-Length: 2\r\n\r\nok", 502, "502 Bad Gateway\n"},
		{"status 099", "GET", "HTTP/1.1 099 X\r\nContent-Length: 2\r\n\r\nok", 502, "502 Bad Gateway\n"},
		{"CR in a field", "GET", "HTTP/1.1 200 OK\r\nX-A: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok", 502, "502 Bad Gateway\n"},
		{"NUL in a field", "GET", "HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 2\r\n\r\nok", 502, "502 Bad Gateway\n"},
		{"space in a name", "GET", "HTTP/1.1 200 OK\r\nX A: a\r\nContent-Length: 2\r\n\r\nok", 502, "502 Bad Gateway\n"},
		{"an upgrade that was not asked for", "GET", "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 502, "502 Bad Gateway\n"},
		{"a huge head", "GET", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 100) + "Content-Length: 2\r\n\r\nok", 502, "502 Bad Gateway\n"},
		{"many interim responses", "GET", strings.Repeat("HTTP/1.1 103 X\r\nLink: a\r\n\r\n", 17) + ok, 502, "502 Bad Gateway\n"},
		{"closes at once", "GET", "", 502, "502 Bad Gateway\n"},
		{"half a head", "GET", "HTTP/1.1 200 OK\r\nX-A:", 502, "502 Bad Gateway\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBackend(t, func(r *request) bool { r.send(tt.response); return false })
			p := serve(t, Options{To: []string{b.url}})
			p.want(t, tt.method+" / HTTP/1.1\r\nHost: h\r\n\r\n", tt.status, tt.body)
			p.want(t, tt.method+" / HTTP/1.0\r\n\r\n", tt.status, tt.body)
			if tt.status == 502 {
				eventually(t, "a line in the log", func() bool {
					log := p.log.String()
					return strings.Contains(log, "upstream="+b.url) && strings.Contains(log, "target=/") && strings.Contains(log, "cause=")
				})
			}
		})
	}
}

// Interim responses pass, but for 100, and so does a response that comes after as many as are allowed.
func TestInterimResponses(t *testing.T) {
	t.Parallel()
	b := newBackend(t, answers("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"+
		strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\r\n", 14)+ok))
	p := serve(t, Options{To: []string{b.url}})
	a := p.want(t, get("/"), 200, "ok")
	if len(a.interim) != 15 || a.interim[1].Header.Get("Link") != "</a.css>" || a.interim[1].Header["X-Hop"] != nil {
		t.Errorf("interim responses: %v", a.interim)
	}
	p.want(t, "GET / HTTP/1.0\r\n\r\n", 200, "ok")
}

// A response that the upstream has cut does not look whole, however it is framed.
func TestCutResponses(t *testing.T) {
	t.Parallel()
	for name, response := range map[string]string{
		"length":        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart",
		"chunked":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
		"in a chunk":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\npart",
		"broken chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\nzz\r\n",
		"end of chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n0\r\n",
	} {
		b := newBackend(t, func(r *request) bool { r.send(response); return false })
		p := serve(t, Options{To: []string{b.url}})
		for _, request := range []string{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"} {
			if a := p.ask(t, request); a.err == nil {
				t.Errorf("%s: %.14q got %d %q, which looks whole", name, request, a.StatusCode, a.body)
			}
		}
		eventually(t, "a line in the log", func() bool { return strings.Contains(p.log.String(), "has cut its response") })
	}
}

// An upstream that is silent is answered for by 504 before the head, and the response is cut after it.
func TestSilentUpstream(t *testing.T) {
	t.Parallel()
	b := newBackend(t, func(r *request) bool {
		if strings.HasPrefix(r.head, "GET /part") {
			r.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart")
		}
		_, _ = io.Copy(io.Discard, r.r) // until the proxy closes
		return false
	})
	p := serve(t, Options{To: []string{b.url}, UpstreamTimeout: 50 * time.Millisecond})
	p.want(t, get("/"), 504, "504 Gateway Timeout\n")
	p.want(t, post("content"), 504, "504 Gateway Timeout\n")
	p.want(t, post("content", "Expect: 100-continue"), 504, "504 Gateway Timeout\n")
	if a := p.ask(t, get("/part")); a.err == nil || a.StatusCode != 200 {
		t.Errorf("a part: %d %q, %v", a.StatusCode, a.body, a.err)
	}
	eventually(t, "no request in progress", func() bool { return p.Upstreams()[0].InFlight == 0 })
	if got := p.Upstreams()[0]; got.Requests != 4 || got.Failures != 4 {
		t.Errorf("Upstreams: %+v", got)
	}
}

// The time that a client takes to send is not that of the upstream.
func TestSlowClientIsNotASilentUpstream(t *testing.T) {
	t.Parallel()
	const limit = 50 * time.Millisecond
	began := make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer up.Close()
	p := serve(t, Options{To: []string{up.URL}, UpstreamTimeout: limit})
	c := p.dial(t)
	c.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
	<-began
	time.Sleep(4 * limit) // the time that passes is what is tested; more of it does no harm
	if got := p.Upstreams()[0]; got.InFlight != 1 || got.Failures != 0 {
		t.Errorf("%+v", got)
	}
	c.send("1\r\nb\r\n0\r\n\r\n")
	if a := c.read("POST"); a.StatusCode != 200 && a.StatusCode != 504 { // 504 where the machine is too busy
		t.Errorf("%d", a.StatusCode)
	}
}

// A client that leaves ends the request to the upstream, and no failure is counted.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{}, 2)
	b := newBackend(t, func(r *request) bool {
		if strings.HasPrefix(r.head, "GET /part") {
			r.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
		}
		_, _ = io.Copy(io.Discard, r.r)
		gone <- struct{}{}
		return false
	})
	p := serve(t, Options{To: []string{b.url}})
	for i, target := range []string{"/", "/part"} {
		c := p.dial(t)
		c.send(get(target))
		eventually(t, "the request at the upstream", func() bool { return b.count() == i+1 })
		if i == 1 {
			_, _ = c.r.Peek(1)
		}
		_ = c.Close()
		left := time.Now()
		select {
		case <-gone:
			t.Logf("after %v", time.Since(left))
		case <-time.After(waitMax):
			t.Fatal("the upstream still has the request")
		}
	}
	eventually(t, "no request in progress", func() bool { return p.Upstreams()[0].InFlight == 0 })
	if got := p.Upstreams()[0]; got.Failures != 0 || strings.Contains(p.log.String(), "upstream failed") {
		t.Errorf("%+v, log:\n%s", got, p.log.String())
	}
}

// An upload that a client breaks off is no failure of the upstream.
func TestClientLeavesUpload(t *testing.T) {
	t.Parallel()
	b := newBackend(t, func(r *request) bool { _, _ = io.Copy(io.Discard, r.r); return false })
	p := serve(t, Options{To: []string{b.url}})
	c := p.dial(t)
	c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\npart")
	eventually(t, "the request at the upstream", func() bool { return b.count() == 1 })
	_ = c.Close()
	eventually(t, "no request in progress", func() bool { return p.Upstreams()[0].InFlight == 0 })
	if got := p.Upstreams()[0]; got.Failures != 0 {
		t.Errorf("%+v", got)
	}
}

func TestExpectContinue(t *testing.T) {
	t.Parallel()
	b := newBackend(t, func(r *request) bool {
		if !strings.Contains(strings.ToLower(r.head), "\r\nexpect: 100-continue\r\n") {
			r.send("HTTP/1.1 400 Without Expect\r\nContent-Length: 0\r\n\r\n")
			return false
		}
		if strings.HasPrefix(r.head, "POST /no") {
			r.send("HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno")
			_, _ = io.Copy(io.Discard, r.r)
			return false
		}
		r.send("HTTP/1.1 100 Continue\r\n\r\n")
		r.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + r.content(4))
		return true
	})
	p := serve(t, Options{To: []string{b.url}})
	c := p.dial(t)
	c.send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
	if line, _ := c.r.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("the client got %q", line)
	}
	_, _ = c.r.ReadString('\n')
	c.send("abcd")
	if a := c.read("POST"); a.StatusCode != 200 || a.body != "abcd" {
		t.Errorf("%d %q", a.StatusCode, a.body)
	}
	c = p.dial(t)
	c.send("POST /no HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
	if a := c.read("POST"); a.StatusCode != 417 || a.body != "no" || len(a.interim) != 0 || a.err != nil {
		t.Errorf("%d %q, interim %v", a.StatusCode, a.body, a.interim)
	}
}

// Content flows both ways at once, piece by piece, and the head does not wait for content.
func TestStreams(t *testing.T) {
	t.Parallel()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		_ = rc.Flush()
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			_, _ = w.Write(buf[:n])
			if _ = rc.Flush(); err != nil {
				return
			}
		}
	}))
	defer up.Close()
	p := serve(t, Options{To: []string{up.URL}})
	c := p.dial(t)
	c.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c.send("4\r\nping\r\n")
		b := make([]byte, 4)
		if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != "ping" {
			t.Fatalf("%q, %v", b, err)
		}
	}
	c.send("0\r\n\r\n")
	if b, err := io.ReadAll(resp.Body); len(b) > 0 || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// A client that does not read holds no upstream for a response of 200 KiB.
func TestSlowReaderFreesUpstream(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "moves megabytes slowly")
	const size = 200 << 10
	b := newBackend(t, answers(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))))
	p := serve(t, Options{To: []string{b.url}})
	c := p.dial(t)
	_ = c.SetReadBuffer(16 << 10)
	c.send(get("/"))
	eventually(t, "the upstream is free", func() bool { u := p.Upstreams()[0]; return u.Requests == 1 && u.InFlight == 0 })
	if a := c.read("GET"); len(a.body) != size || a.err != nil {
		t.Errorf("%d bytes, %v", len(a.body), a.err)
	}
}

// An upstream may answer an upload before it has all of it.
func TestEarlyAnswer(t *testing.T) {
	t.Parallel()
	b := newBackend(t, func(r *request) bool {
		r.send("HTTP/1.1 413 X\r\nContent-Length: 2\r\n\r\nno")
		_, _ = io.Copy(io.Discard, r.r)
		return false
	})
	p := serve(t, Options{To: []string{b.url}})
	c := p.dial(t)
	c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\npart")
	if a := c.read("POST"); a.StatusCode != 413 || a.body != "no" || a.err != nil {
		t.Errorf("%d %q, %v", a.StatusCode, a.body, a.err)
	}
	eventually(t, "no request in progress", func() bool { return p.Upstreams()[0].InFlight == 0 })
}

// refusing is an address where nothing listens.
func refusing(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// What of the retry table is tried again. Each upstream reads a request, answers with what is given, and closes.
func TestRetries(t *testing.T) {
	t.Parallel()
	const large = heldBytes + 1
	put := func(n int) string {
		return fmt.Sprintf("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat("x", n))
	}
	for _, tt := range []struct {
		name, request, response string
		status, sent            int
	}{
		{"GET", get("/"), "", 200, 2},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "", 200, 2},
		{"OPTIONS", "OPTIONS / HTTP/1.1\r\nHost: h\r\n\r\n", "", 200, 2},
		{"DELETE", "DELETE / HTTP/1.1\r\nHost: h\r\n\r\n", "", 200, 2},
		{"PUT with content that is held", put(3), "", 200, 2},
		{"PUT with content that is not", put(large), "", 502, 1},
		{"PUT with content of unknown length", "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "", 502, 1},
		{"POST", post("abc"), "", 502, 1},
		{"POST without content", post(""), "", 502, 1},
		{"POST with a key", post("", "Idempotency-Key: a", "X-Idempotency-Key: b"), "", 502, 1},
		{"PATCH", "PATCH / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "", 502, 1},
		{"an unknown method", "COPY / HTTP/1.1\r\nHost: h\r\n\r\n", "", 502, 1},
		{"a byte of a response", get("/"), "H", 502, 1},
		{"half a head", get("/"), "HTTP/1.1 200 OK\r\n", 502, 1},
		{"an interim response", get("/"), "HTTP/1.1 103 X\r\n\r\n", 502, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int64
			script := func(r *request) bool {
				if strings.Contains(r.head, "PUT ") && !strings.Contains(r.head, "chunked") {
					r.content(3)
				}
				if sent.Add(1) == 1 {
					r.send(tt.response)
					return false
				}
				r.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				return false
			}
			p := serve(t, Options{To: []string{newBackend(t, script).url, newBackend(t, script).url, newBackend(t, script).url}})
			if a := p.ask(t, tt.request); a.StatusCode != tt.status {
				t.Errorf("%d, want %d", a.StatusCode, tt.status)
			}
			if n := int(sent.Load()); n != tt.sent {
				t.Errorf("sent %d times, want %d", n, tt.sent)
			}
		})
	}
}

// A request of which nothing was sent goes to another upstream, whatever its method; at most to two others.
func TestRefusingUpstreams(t *testing.T) {
	t.Parallel()
	b := newBackend(t, func(r *request) bool { r.content(7); r.send(ok); return false })
	dead := []string{refusing(t), refusing(t), refusing(t)}
	for _, tt := range []struct {
		to      []string
		retries int
		status  int
	}{
		{[]string{dead[0], b.url}, 0, 200},
		{[]string{dead[0], dead[1], b.url}, 0, 200},
		{[]string{dead[0], b.url}, None, 502},
		{[]string{dead[0], dead[1], b.url}, 1, 502},
		{[]string{dead[0]}, 0, 502},
		{dead, 0, 502},
	} {
		p := serve(t, Options{To: tt.to, Retries: tt.retries})
		p.turn.Store(uint64(len(tt.to)) - 1) // the first is tried first
		if a := p.ask(t, post("content")); a.StatusCode != tt.status {
			t.Errorf("%v, Retries %d: %d, want %d", tt.to, tt.retries, a.StatusCode, tt.status)
		} else if tt.status == 502 && (a.body != "502 Bad Gateway\n" || a.Header.Get("Content-Type") != "text/plain; charset=utf-8") {
			t.Errorf("%q, %v", a.body, a.Header)
		}
	}
}

// A kept connection that ends under a request is no failure of the upstream, and POST is not sent twice.
func TestKeptConnectionEnds(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	b := newBackend(t, func(r *request) bool {
		if n := sent.Add(1); n%2 == 0 { // the second request of each connection
			return false
		}
		r.send(ok)
		return true
	})
	p := serve(t, Options{To: []string{b.url}})
	p.want(t, get("/"), 200, "ok")
	p.want(t, get("/"), 200, "ok")
	if n := sent.Load(); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
	for _, request := range []string{post("abc"), post(""), post("", "Idempotency-Key: a")} {
		sent.Store(0)
		p.conns().CloseIdleConnections()
		p.want(t, get("/"), 200, "ok")
		p.want(t, request, 502, "502 Bad Gateway\n")
		if n := sent.Load(); n != 2 {
			t.Errorf("%q: sent %d times, want once", request, n-1)
		}
	}
	if got := p.Upstreams()[0]; got.Failures != 0 || !got.Alive {
		t.Errorf("%+v", got)
	}
}

func (p *gateServer) conns() *http.Transport { return p.upstreams[0].conns }

// An upstream that has failed is left out for FailTimeout, unless all have.
func TestPassiveHealth(t *testing.T) {
	t.Parallel()
	b := newBackend(t, answers(ok))
	p := serve(t, Options{To: []string{refusing(t), b.url}, FailTimeout: time.Hour})
	for range 10 {
		p.want(t, get("/"), 200, "ok")
	}
	list := p.Upstreams()
	if list[0].Alive || list[0].Failures != 1 || !list[1].Alive || list[1].Requests != 10 {
		t.Errorf("%+v", list)
	}
	b.stop()
	p.want(t, get("/"), 502, "502 Bad Gateway\n")
	p.want(t, get("/"), 502, "502 Bad Gateway\n")
	if list := p.Upstreams(); list[0].Failures < 3 {
		t.Errorf("where all have failed none is tried: %+v", list)
	}
	if log := p.log.String(); strings.Count(log, "upstream failed") > 6 {
		t.Errorf("the log is not limited:\n%s", log)
	}

	p = serve(t, Options{To: []string{refusing(t), refusing(t)}, MaxFails: None})
	p.want(t, get("/"), 502, "502 Bad Gateway\n")
	if list := p.Upstreams(); !list[0].Alive || !list[1].Alive {
		t.Errorf("%+v", list)
	}
}

func TestActiveHealth(t *testing.T) {
	t.Parallel()
	var well atomic.Bool
	b := newBackend(t, func(r *request) bool {
		if strings.HasPrefix(r.head, "GET /base/health?a ") && !well.Load() {
			r.send("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")
			return true
		}
		r.send(ok)
		return true
	})
	p := serve(t, Options{To: []string{b.url + "/base"}, HealthPath: "/health?a", HealthInterval: 10 * time.Millisecond})
	eventually(t, "the upstream is dead", func() bool { return !p.Upstreams()[0].Alive })
	a := p.want(t, get("/"), 503, "503 Service Unavailable\n")
	if a.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After: %q", a.Header.Get("Retry-After"))
	}
	well.Store(true)
	eventually(t, "the upstream is alive", func() bool { return p.Upstreams()[0].Alive })
	p.want(t, get("/"), 200, "ok")
	if log := p.log.String(); !strings.Contains(log, "is dead") || !strings.Contains(log, "alive again") {
		t.Errorf("the log:\n%s", log)
	}
	if err := errors.Join(p.App.Close(), p.App.Close()); err != nil {
		t.Error(err)
	}
	n := b.count()
	p.want(t, get("/"), 200, "ok")
	if b.count() != n+1 {
		t.Error("the active check goes on after Close")
	}
}

func TestBalance(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	script := func(r *request) bool {
		if strings.HasPrefix(r.head, "GET /hold") {
			<-hold
		}
		r.send(ok)
		return true
	}
	var to []string
	for range 3 {
		to = append(to, newBackend(t, script).url)
	}
	counts := func(p *gateServer) (n []uint64) {
		for _, u := range p.Upstreams() {
			n = append(n, u.Requests)
		}
		return n
	}
	p := serve(t, Options{To: to, Balance: RoundRobin})
	for range 9 {
		p.want(t, get("/"), 200, "ok")
	}
	if n := counts(p); n[0] != 3 || n[1] != 3 || n[2] != 3 {
		t.Errorf("round_robin: %v", n)
	}

	p = serve(t, Options{To: to})
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() { p.ask(t, get("/hold")) })
		eventually(t, "the requests are in progress", func() bool {
			n := counts(p)
			return n[0]+n[1]+n[2] == uint64(i+1)
		})
	}
	for range 5 {
		p.want(t, get("/"), 200, "ok")
		eventually(t, "the answered request is no longer in progress", func() bool {
			n := int64(0)
			for _, u := range p.Upstreams() {
				n += u.InFlight
			}
			return n == 2
		})
	}
	idle := 0
	for _, u := range p.Upstreams() {
		if u.InFlight == 0 && u.Requests == 5 {
			idle++
		}
	}
	if idle != 1 {
		t.Errorf("least: %+v", p.Upstreams())
	}
	close(hold)
	wg.Wait()

	p = serve(t, Options{To: to, Balance: Hash})
	for range 5 {
		p.want(t, get("/"), 200, "ok")
	}
	if n := counts(p); max(n[0], n[1], n[2]) != 5 {
		t.Errorf("hash: %v", n)
	}
}

// With Hash only the clients of a dead upstream move, and all upstreams have some.
func TestHashMovesFew(t *testing.T) {
	app, err := New(Options{To: []string{"http://a", "http://b", "http://c"}, Balance: Hash})
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	had := make(map[string]*upstream)
	count := make(map[*upstream]int)
	for i := range 3000 {
		client := fmt.Sprintf("10.0.%d.%d", i/256, i%256)
		had[client] = app.choose(client, nil)
		count[had[client]]++
	}
	for u, n := range count {
		if n < 800 || n > 1200 {
			t.Errorf("%s has %d of 3000 clients", u.name, n)
		}
	}
	dead := app.upstreams[1]
	dead.dead.Store(true)
	for client, u := range had {
		if now := app.choose(client, nil); u != dead && now != u || now == dead {
			t.Errorf("%s had %s, and has %s", client, u.name, now.name)
		}
	}
}

func TestUnixUpstream(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	b := newBackendOn(t, l, answers(ok))
	p := serve(t, Options{To: []string{"unix:" + path + ":/base"}})
	p.want(t, get("/a?b"), 200, "ok")
	if !strings.HasPrefix(b.head(), "GET /base/a?b HTTP/1.1\r\n") {
		t.Errorf("the upstream got %q", b.head())
	}
}

func TestTLSUpstream(t *testing.T) {
	t.Parallel()
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close, X-Hop")
		w.Header().Set("X-Hop", "1")
		_, _ = io.WriteString(w, r.Proto)
	}))
	up.EnableHTTP2 = true
	up.StartTLS()
	defer up.Close()
	roots := x509.NewCertPool()
	roots.AddCert(up.Certificate())
	p := serve(t, Options{To: []string{up.URL}, TLS: &tls.Config{RootCAs: roots}})
	if a := p.want(t, get("/"), 200, "HTTP/1.1"); a.Header["X-Hop"] != nil {
		t.Errorf("X-Hop has passed: %v", a.Header)
	}
	serve(t, Options{To: []string{up.URL}}).want(t, get("/"), 502, "502 Bad Gateway\n") // an unknown root
	b := newBackend(t, answers(ok))
	serve(t, Options{To: []string{"https://" + b.Addr().String()}, ConnectTimeout: 20 * time.Millisecond}).
		want(t, get("/"), 504, "504 Gateway Timeout\n") // it waits for the end of a head that is a ClientHello
}

// Three upstreams restart in turn under load: no GET fails, and no POST is executed twice.
func TestRestartsUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("restarts upstreams under load for seconds")
	}
	t.Parallel()
	var mu sync.Mutex
	executed := make(map[string]int)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := r.Header.Get("X-Id"); r.Method == "POST" {
			mu.Lock()
			executed[id]++
			mu.Unlock()
		}
		_, _ = io.WriteString(w, "ok")
	})
	type instance struct {
		addr string
		srv  *http.Server
	}
	begin := func(addr string) (in instance) {
		eventually(t, "the address is free", func() bool {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				return false
			}
			in = instance{l.Addr().String(), &http.Server{Handler: handler}}
			go in.srv.Serve(l)
			return true
		})
		return in
	}
	var list []instance
	var to []string
	for range 3 {
		in := begin("127.0.0.1:0")
		list, to = append(list, in), append(to, "http://"+in.addr)
	}
	p := serve(t, Options{To: to, FailTimeout: 50 * time.Millisecond})
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var gets, posts, failed atomic.Int64
	for i := range 8 {
		wg.Go(func() {
			conns := &http.Transport{}
			defer conns.CloseIdleConnections()
			for n := 0; ctx.Err() == nil; n++ {
				method := []string{"GET", "GET", "POST"}[n%3]
				req, _ := http.NewRequest(method, "http://"+p.addr+"/", nil)
				req.Header.Set("X-Id", fmt.Sprint(i, "-", n))
				req.Header.Set("Idempotency-Key", "a")
				resp, err := conns.RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				switch {
				case method == "POST" && resp.StatusCode == 200:
					posts.Add(1)
				case method == "POST":
					failed.Add(1)
				case resp.StatusCode == 200:
					gets.Add(1)
				default:
					t.Errorf("GET: %d", resp.StatusCode)
				}
				time.Sleep(5 * time.Millisecond) // some 200 requests a second for each client at most
			}
		})
	}
	for range 6 {
		for i := range list {
			n := gets.Load()
			eventually(t, "requests", func() bool { return gets.Load() > n+20 })
			_ = list[i].srv.Close() // cuts what is in progress
			list[i] = begin(list[i].addr)
		}
	}
	stop()
	wg.Wait()
	for _, in := range list {
		_ = in.srv.Close()
	}
	for id, n := range executed {
		if n > 1 {
			t.Errorf("POST %s was executed %d times", id, n)
		}
	}
	t.Logf("%d GET, %d POST, %d POST answered by 502", gets.Load(), posts.Load(), failed.Load())
}

// Thousands of requests wait for an upstream: each has its answer, and nothing is left.
func TestManySlowAnswers(t *testing.T) {
	if testing.Short() {
		t.Skip("opens thousands of connections")
	}
	t.Parallel()
	const clients = 1500
	hold := make(chan struct{})
	b := newBackend(t, func(r *request) bool { <-hold; r.send(ok); return true })
	p := serveWith(t, Options{To: []string{b.url}}, server.Options{MaxConnections: 2 * clients})
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() { p.want(t, get("/"), 200, "ok") })
	}
	eventually(t, "all requests at the upstream", func() bool { return p.Upstreams()[0].InFlight == clients })
	close(hold)
	wg.Wait()
	eventually(t, "no request in progress", func() bool { return p.Upstreams()[0].InFlight == 0 })
}

// What an upstream sends beyond a response reaches no other client: here it answers HEAD with content that is a
// response, in one packet with the head or soon after it.
func TestBytesBeyondAResponse(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	b := newBackend(t, func(r *request) bool {
		if strings.HasPrefix(r.head, "HEAD") {
			r.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(evil), evil))
			return true
		}
		r.send(ok)
		return true
	})
	p := serve(t, Options{To: []string{b.url}})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			c := p.dial(t)
			for i := range 300 {
				if i%2 == 0 {
					c.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
					_ = c.read("HEAD")
				}
				c.send(get("/"))
				if a := c.read("GET"); a.body != "ok" && a.StatusCode != 502 {
					t.Errorf("%d %q", a.StatusCode, a.body)
				}
			}
		})
	}
	wg.Wait()
	if got := p.Upstreams()[0]; got.Failures > 0 {
		t.Logf("%+v", got)
	}
}

// No byte that a client may send makes a request that counts as a failure of the upstream.
func TestNoRequestFailsAnUpstream(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	b := newBackend(t, answers(ok))
	p := serve(t, Options{To: []string{b.url}})
	for c := range 256 {
		if testing.Short() && c > ' ' && c < 0x7f && c%4 != 0 { // most of these are letters and digits
			continue
		}
		for _, request := range []string{
			"GET / HTTP/1.1\r\nHost: a%cb\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nX-A: a%cb\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: h\r\nX-A%cb: a\r\n\r\n", "GET /%c HTTP/1.1\r\nHost: h\r\n\r\n",
			"GET //%c HTTP/1.1\r\nHost: h\r\n\r\n", "GET /?%c HTTP/1.1\r\nHost: h\r\n\r\n", "G%cT / HTTP/1.1\r\nHost: h\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket%c\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nVia: 1.1 %c\r\nMax-Forwards: %[1]c\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X%c\r\n\r\n0\r\n\r\n",
		} {
			request = strings.ReplaceAll(strings.ReplaceAll(request, "%[1]c", "%c"), "%c", string([]byte{byte(c)}))
			if a := p.ask(t, request); a.StatusCode == 502 || a.err != nil {
				t.Errorf("%q: %d, %v", request, a.StatusCode, a.err)
			}
		}
	}
	if got := p.Upstreams()[0]; got.Failures != 0 {
		t.Errorf("%+v, log:\n%s", got, p.log.String())
	}
}

// An upstream that refuses an upload and closes, so that a reset follows its answer, is heard, and has not failed.
// The answer is more than one read of the proxy and less than its receive window: what the upstream's kernel has
// not sent before the reset is lost for every client.
func TestRefusedUpload(t *testing.T) {
	t.Parallel()
	no := strings.Repeat("no", 15_000)
	b := newBackend(t, func(r *request) bool {
		r.content(1000)
		r.send("HTTP/1.1 413 X\r\nConnection: close\r\nContent-Length: " + strconv.Itoa(len(no)) + "\r\n\r\n" + no)
		return false
	})
	p := serve(t, Options{To: []string{b.url}})
	upload := fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", 4<<20, strings.Repeat("x", 4<<20))
	for range 20 {
		p.want(t, upload, 413, no)
	}
	if got := p.Upstreams()[0]; got.Failures != 0 {
		t.Errorf("%+v, log:\n%s", got, p.log.String())
	}
}
