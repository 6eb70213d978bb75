package gateway_test

import (
	"io"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

// The accessors and Bodies of the hot path allocate nothing.
func TestAllocations(t *testing.T) {
	const in = "GET /path?query HTTP/1.1\r\nHost: h\r\nUser-Agent: test\r\nAccept: */*\r\nCookie: a=1\r\nCookie: b=2\r\n\r\ncontent\n"
	const encoded = "GET /%61/path%20with/%zz HTTP/1.1\r\nHost: h\r\n\r\n"
	text, chunk := strings.Repeat("text", 100), []byte("bytes")
	for _, tt := range []struct {
		name, in string
		use      func(e *gateway.Environ) string
		want     string
	}{
		{"nothing", in, func(*gateway.Environ) string { return "" }, ""},
		{"Method, Path, Query", in, func(e *gateway.Environ) string {
			if e.Method() != "GET" || e.Query() != "query" {
				return "wrong"
			}
			return e.Path()
		}, "/path"},
		{"the others", in, func(e *gateway.Environ) string {
			if e.ScriptName() != "" || e.Scheme() != "http" || e.Host() != "h" || !e.RemoteAddr().IsValid() {
				return "wrong"
			}
			return e.Protocol() + e.Target()[:0]
		}, "HTTP/1.1"},
		{"Header", in, func(e *gateway.Environ) string {
			if e.Header("host") != "h" || e.Header("Accept") != "*/*" {
				return "wrong"
			}
			return e.Header("USER-AGENT")
		}, "test"},
		{"Header that is absent", in, func(e *gateway.Environ) string { return e.Header("If-None-Match") }, ""},
		{"Header that is repeated", in, func(e *gateway.Environ) string { return e.Header("Cookie") }, "a=1; b=2"},
		{"Headers", in, func(e *gateway.Environ) string {
			last := ""
			for _, value := range e.Headers() {
				last = value
			}
			return last
		}, "b=2"},
		{"Path with triplets", encoded, (*gateway.Environ).Path, "/a/path with/%zz"},
		{"Path with triplets, twice", encoded, func(e *gateway.Environ) string { return e.Path()[:0] + e.Path() }, "/a/path with/%zz"},
		{"Input", in, func(e *gateway.Environ) string {
			if b, err := e.Input().ReadLine(3); string(b) != "con" || err != nil {
				return "wrong"
			}
			if b, err := e.Input().ReadAll(); string(b) != "tent\n" || err != nil {
				return "wrong"
			}
			return ""
		}, ""},
		{"Text", in, func(e *gateway.Environ) string { return once(e.Text(text), text) }, ""},
		{"Bytes", in, func(e *gateway.Environ) string { return once(e.Bytes(chunk), "bytes") }, ""},
		{"a whole request", in, func(e *gateway.Environ) string {
			if e.Method() != "GET" || e.Path() != "/path" || e.Query() != "query" ||
				e.Header("Host") != "h" || e.Header("Accept") != "*/*" || e.Header("User-Agent") != "test" {
				return "wrong"
			}
			return once(e.Text(text), text)
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := parse(t, tt.in)
			var e gateway.ServerEnviron
			got := testing.AllocsPerRun(1000, func() {
				r.begin(&e)
				if got := tt.use(&e.Environ); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				e.End()
			})
			if got != 0 {
				t.Errorf("%v allocations, want 0", got)
			}
		})
	}
}

// once pulls a Body of one chunk, and returns what is wrong, or "".
func once(body gateway.Body, want string) string {
	b, err := body.Next()
	if string(b) != want || err != io.EOF {
		return "wrong chunk"
	}
	if b, err = body.Next(); len(b) != 0 || err != io.EOF {
		return "no end"
	}
	if body.Close() != nil {
		return "wrong Close"
	}
	return ""
}

// A good status and good headers are checked without allocating.
func TestCheckAllocations(t *testing.T) {
	headers := []gateway.Header{{Name: "Content-Type", Value: "text/plain"}, {Name: "Content-Length", Value: "13"}, {Name: "Connection", Value: "close"}}
	got := testing.AllocsPerRun(1000, func() {
		_, err := gateway.CheckStatus("200 OK")
		for i := range headers {
			if e := gateway.CheckHeader(&headers[i]); e != nil {
				err = e
			}
		}
		if err != nil {
			t.Error(err)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

// The memory for a long path is not kept for the next request.
func TestLongPathIsNotKept(t *testing.T) {
	r := parse(t, "GET /"+strings.Repeat("%20", 2600)+" HTTP/1.1\r\nHost: h\r\nA: "+strings.Repeat("a", 4000)+"\r\nA: b\r\n\r\n")
	var e gateway.ServerEnviron
	got := testing.AllocsPerRun(100, func() {
		r.begin(&e)
		_, _ = e.Path(), e.Header("A")
		e.End()
	})
	if got == 0 {
		t.Error("no allocation: the memory was kept")
	}
}
