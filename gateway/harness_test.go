package gateway_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"unsafe"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/parser"
)

// fakeConn is a gateway.Conn that has addresses only.
type fakeConn struct {
	gateway.NoConn
	remote, local netip.AddrPort
}

func (c *fakeConn) RemoteAddr() netip.AddrPort { return c.remote }
func (c *fakeConn) LocalAddr() netip.AddrPort  { return c.local }

func tcp4() *fakeConn {
	return &fakeConn{remote: netip.MustParseAddrPort("192.0.2.1:4321"), local: netip.MustParseAddrPort("192.0.2.80:8080")}
}

func tcp6() *fakeConn {
	return &fakeConn{remote: netip.MustParseAddrPort("[2001:db8::1]:4321"), local: netip.MustParseAddrPort("[2001:db8::80]:8080")}
}

func unixSocket() *fakeConn { return &fakeConn{} }

// quiet is the ServerInfo of tests that are not about it.
var quiet = &gateway.ServerInfo{Scheme: "http", Software: "test", Log: slog.New(slog.DiscardHandler)}

// request has the arguments of Begin.
type request struct {
	req    parser.Request
	memory []byte // the head and what follows it
	head   int    // length of the head
	host   *gateway.ServerInfo
	conn   *fakeConn
}

// parse reads raw: a head, and what follows it as content.
func parse(t testing.TB, raw string) *request {
	t.Helper()
	r := &request{memory: []byte(raw), host: quiet, conn: tcp4()}
	lim := parser.DefaultLimits()
	n, err := r.req.Parse(r.memory, &lim)
	if err != nil || n == 0 {
		t.Fatalf("Parse(%.100q) = %d, %v", raw, n, err)
	}
	r.head = n
	return r
}

// begin binds e to r.
func (r *request) begin(e *gateway.ServerEnviron) {
	e.Begin(&r.req, r.memory[:r.head:r.head], r.memory[r.head:], r.host, r.conn)
}

// overwrite does to r what the server does when the response is finished.
func (r *request) overwrite() {
	for i := range r.memory {
		r.memory[i] = '#'
	}
	r.req.Reset()
	*r.conn = fakeConn{}
}

// environ is an Environ of its own for raw.
func environ(t testing.TB, raw string) *gateway.Environ { return &serverEnviron(t, raw).Environ }

// serverEnviron is environ with its server's side.
func serverEnviron(t testing.TB, raw string) *gateway.ServerEnviron {
	t.Helper()
	e := new(gateway.ServerEnviron)
	parse(t, raw).begin(e)
	return e
}

const smallGet = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"

// richPost has something in every place that an Environ shows.
const richPost = "POST /a%20b/%zz?x=%20&y HTTP/1.1\r\nHost: example.com:81\r\nContent-Type: text/plain\r\n" +
	"Content-Length: 12\r\nX-One: first\r\nX_One: hidden\r\nProxy: hidden\r\nCookie: a=1\r\nX-ONE: second\r\n" +
	"Accept: */*\r\nCookie: b=2\r\nX-Empty:\r\n\r\nline\nlonger\n"

// headerNames are names to ask Header for: those of richPost, and others.
var headerNames = []string{
	"", "Host", "content-type", "Content-Length", "x-one", "X_One", "proxy", "cookie", "Accept", "X-Empty", "Absent",
}

// getKeys are the keys that the documentation names, and HTTP_* of richPost.
var getKeys = []string{
	"REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REQUEST_URI", "RAW_URI",
	"CONTENT_TYPE", "CONTENT_LENGTH", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "SERVER_SOFTWARE",
	"REMOTE_ADDR", "REMOTE_PORT", "HTTP_HOST", "HTTP_X_ONE", "HTTP_PROXY", "HTTP_COOKIE", "HTTP_ACCEPT", "HTTP_X_EMPTY",
	"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "HTTP_ABSENT", "wsgi.version", "wsgi.url_scheme", "wsgi.input",
	"wsgi.errors", "wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once", "wsgi.input_terminated", "own.key",
	"isbjorn.context", "deployer.key",
}

// view is all that an Environ shows, as a copy in text.
func view(e *gateway.Environ) string {
	var b strings.Builder
	for _, x := range []struct {
		what  string
		value any
	}{
		{"Method", e.Method()},
		{"Target", e.Target()},
		{"Path", e.Path()},
		{"ScriptName", e.ScriptName()},
		{"Query", e.Query()},
		{"Protocol", e.Protocol()},
		{"Scheme", e.Scheme()},
		{"Host", e.Host()},
		{"RemoteAddr", e.RemoteAddr()},
		{"Input.Len", e.Input().Len()},
		{"Context.Err", e.Context().Err()},
	} {
		fmt.Fprintf(&b, "%s() = %s\n", x.what, text(x.value))
	}
	for _, name := range headerNames {
		fmt.Fprintf(&b, "Header(%q) = %q\n", name, e.Header(name))
	}
	for name, value := range e.Headers() {
		fmt.Fprintf(&b, "Headers: %q = %q\n", name, value)
	}
	for _, key := range getKeys {
		fmt.Fprintf(&b, "Get(%q) = %s\n", key, text(e.Get(key)))
	}
	for key, value := range e.All() {
		fmt.Fprintf(&b, "All: %q = %s\n", key, text(value))
	}
	return b.String()
}

// text is a value of an Environ as text; of a reader or writer only its type.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case io.Reader, io.Writer:
		return fmt.Sprintf("%T", v)
	}
	return fmt.Sprintf("%v", v)
}

// diff shows the first line in which two views differ.
func diff(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("got  %s\nwant %s", g[i], w[i])
		}
	}
	return fmt.Sprintf("got %d lines, want %d", len(g), len(w))
}

// drain pulls body to its end and returns copies of its chunks.
func drain(body gateway.Body) (chunks []string, err error) {
	for {
		b, err := body.Next()
		if len(b) > 0 {
			chunks = append(chunks, string(b))
		}
		if err == io.EOF {
			return chunks, nil
		}
		if err != nil {
			return chunks, err
		}
	}
}

// content is drain for tests that expect no error and do not care for chunks.
func content(t testing.TB, body gateway.Body) string {
	t.Helper()
	chunks, err := drain(body)
	if err != nil {
		t.Errorf("Next: %v after %.100q", err, chunks)
	}
	return strings.Join(chunks, "")
}

var errTest = errors.New("an error of the test")

// logTo is a ServerInfo that logs to b, without the time.
func logTo(b *bytes.Buffer) *gateway.ServerInfo {
	noTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	return &gateway.ServerInfo{Scheme: "http", Log: slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{ReplaceAttr: noTime}))}
}

// unsafeText is a view of b, as applications make them.
func unsafeText(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// chunksOf is a Body of these chunks, without a length.
func chunksOf(chunks ...string) gateway.Body {
	return gateway.Stream(func(yield func([]byte, error) bool) {
		for _, c := range chunks {
			if !yield([]byte(c), nil) {
				return
			}
		}
	})
}
