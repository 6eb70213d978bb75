package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

func TestAccessors(t *testing.T) {
	type want struct{ method, target, path, query, protocol, host string }
	for _, tt := range []struct {
		name, in string
		want     want
	}{
		{"smallest", smallGet, want{"GET", "/", "/", "", "HTTP/1.1", "h"}},
		{"query", "GET /a?b=c&d HTTP/1.1\r\nHost: h\r\n\r\n", want{"GET", "/a?b=c&d", "/a", "b=c&d", "HTTP/1.1", "h"}},
		{"empty query", "GET /a? HTTP/1.1\r\nHost: h\r\n\r\n", want{"GET", "/a?", "/a", "", "HTTP/1.1", "h"}},
		{"? in the query", "GET /?a?b HTTP/1.1\r\nHost: h\r\n\r\n", want{"GET", "/?a?b", "/", "a?b", "HTTP/1.1", "h"}},
		{"query stays encoded", "GET /?%41=%20+ HTTP/1.1\r\nHost: h\r\n\r\n", want{"GET", "/?%41=%20+", "/", "%41=%20+", "HTTP/1.1", "h"}},
		{"case of the method", "gEt / HTTP/1.1\r\nHost: h\r\n\r\n", want{"gEt", "/", "/", "", "HTTP/1.1", "h"}},
		{"made-up method", "BREW /pot HTTP/1.1\r\nHost: h\r\n\r\n", want{"BREW", "/pot", "/pot", "", "HTTP/1.1", "h"}},
		{"1.0 without Host", "GET / HTTP/1.0\r\n\r\n", want{"GET", "/", "/", "", "HTTP/1.0", ""}},
		{"1.2", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", want{"GET", "/", "/", "", "HTTP/1.1", "h"}},
		{"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", want{"GET", "/", "/", "", "HTTP/1.1", ""}},
		{"Host with port", "GET / HTTP/1.1\r\nHost: h:81\r\n\r\n", want{"GET", "/", "/", "", "HTTP/1.1", "h:81"}},
		{"absolute-form", "GET http://a:82/p?q HTTP/1.1\r\nHost: b\r\n\r\n", want{"GET", "http://a:82/p?q", "/p", "q", "HTTP/1.1", "a:82"}},
		{"asterisk-form", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", want{"OPTIONS", "*", "/", "", "HTTP/1.1", "h"}},
		{"after an empty line", "\r\n" + smallGet, want{"GET", "/", "/", "", "HTTP/1.1", "h"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := environ(t, tt.in)
			for range 2 { // nothing is used up
				got := want{e.Method(), e.Target(), e.Path(), e.Query(), e.Protocol(), e.Host()}
				if got != tt.want {
					t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
				}
				if e.ScriptName() != "" || e.Scheme() != "http" {
					t.Errorf("%q: ScriptName %q, Scheme %q; want \"\", \"http\"", tt.in, e.ScriptName(), e.Scheme())
				}
			}
		})
	}
}

func TestRemoteAddr(t *testing.T) {
	for _, conn := range []*fakeConn{tcp4(), tcp6(), unixSocket()} {
		r := parse(t, smallGet)
		r.conn = conn
		var e gateway.ServerEnviron
		r.begin(&e)
		if got := e.RemoteAddr(); got != conn.remote {
			t.Errorf("RemoteAddr() = %v, want %v", got, conn.remote)
		}
	}
}

func TestPath(t *testing.T) {
	for _, tt := range []struct{ name, target, want string }{
		{"plain", "/a/b", "/a/b"},
		{"root", "/", "/"},
		{"two slashes", "//a", "//a"},
		{"dots stay", "/a/../b/./c", "/a/../b/./c"},
		{"space", "/a%20b", "/a b"},
		{"plus stays", "/a+b", "/a+b"},
		{"slash", "/a%2fb%2Fc", "/a/b/c"},
		{"percent, once only", "/%2541", "/%41"},
		{"dots", "/%2e%2E/", "/../"},
		{"NUL", "/a%00b", "/a\x00b"},
		{"line end", "/%0d%0A", "/\r\n"},
		{"question mark", "/a%3fb", "/a?b"},
		{"UTF-8", "/%C3%A5%c3%a4", "/\u00e5\u00e4"},
		{"not UTF-8", "/%ff%FE%80", "/\xff\xfe\x80"},
		{"every byte a triplet", "/%61%62%63", "/abc"},
		{"first", "/%61bc", "/abc"},
		{"last", "/ab%63", "/abc"},
		{"no digits", "/%zz", "/%zz"},
		{"one digit, then none", "/%4g", "/%4g"},
		{"none, then one digit", "/%g4", "/%g4"},
		{"percent at the end", "/a%", "/a%"},
		{"percent and a digit at the end", "/a%4", "/a%4"},
		{"only percents", "/%%%", "/%%%"},
		{"percent before a triplet", "/%%41", "/%A"},
		{"digit and percent", "/%4%41", "/%4A"},
		{"invalid between valid ones", "/%41%G1%42", "/A%G1B"},
		{"query does not count", "/a?%41", "/a"},
		{"triplet at the query", "/a%4?1", "/a%4"},
		{"absolute-form", "http://h/a%20b?c", "/a b"},
		{"absolute-form, root", "http://h/", "/"},
		{"absolute-form without path", "http://h", "/"},
		{"absolute-form, query only", "http://h?q=/x", "/"},
	} {
		e := environ(t, "GET "+tt.target+" HTTP/1.1\r\nHost: h\r\n\r\n")
		for range 2 {
			if got := e.Path(); got != tt.want {
				t.Errorf("%s: Path() of %q = %q, want %q", tt.name, tt.target, got, tt.want)
			}
		}
		if got := e.Get("PATH_INFO"); got != tt.want {
			t.Errorf("%s: PATH_INFO of %q = %q, want %q", tt.name, tt.target, got, tt.want)
		}
		if got := e.Target(); got != tt.target {
			t.Errorf("%s: Target() = %q, want %q", tt.name, got, tt.target)
		}
	}
}

// Every pair of bytes after a percent sign, against the digits spelled out.
// RawPath is the text that Path was decoded from, where it is known.
func TestRawPath(t *testing.T) {
	for target, want := range map[string]string{
		"/a%2Fb/%zz%?q=%2F": "/a%2Fb/%zz%", "/": "/", "*": "/", "http://h": "/", "http://h/a%2Fb?c": "/a%2Fb", "//a": "//a",
	} {
		method := "GET"
		if target == "*" {
			method = "OPTIONS"
		}
		e := environ(t, method+" "+target+" HTTP/1.1\r\nHost: h\r\n\r\n")
		for _, touched := range []bool{false, true} {
			if touched {
				e.Set("test.x", 1)
			}
			if got, ok := e.RawPath(); got != want || !ok {
				t.Errorf("%s, touched %v: %q, %v; want %q", target, touched, got, ok, want)
			}
		}
	}
	e := environ(t, "GET /m/a%2Fb HTTP/1.1\r\nHost: h\r\n\r\n")
	e.Set("PATH_INFO", "/a/b")
	if got, ok := e.RawPath(); ok {
		t.Errorf("of a PATH_INFO that was Set: %q", got)
	}
	e.Set(gateway.RawPathKey, "/a%2Fb")
	if got, ok := e.RawPath(); got != "/a%2Fb" || !ok {
		t.Errorf("with what it decodes from: %q, %v", got, ok)
	}
	e.Set("PATH_INFO", "/other")
	if got, ok := e.RawPath(); ok {
		t.Errorf("of a PATH_INFO that was Set again: %q", got)
	}
}

func TestPathTriplets(t *testing.T) {
	const digits = "0123456789abcdef"
	value := func(c byte) int { return strings.IndexByte(digits, strings.ToLower(string(rune(c)))[0]) }
	for hi := range 256 {
		for lo := range 256 {
			raw := "/%" + string([]byte{byte(hi), byte(lo)}) + "!"
			want := raw
			if h, l := value(byte(hi)), value(byte(lo)); hi < 0x80 && lo < 0x80 && h >= 0 && l >= 0 {
				want = "/" + string([]byte{byte(h<<4 | l)}) + "!"
			}
			if got := pathOf(raw); got != want {
				t.Errorf("Path() of %q = %q, want %q", raw, got, want)
			}
		}
	}
}

func TestHeader(t *testing.T) {
	e := environ(t, "POST / HTTP/1.1\r\nHost: h:1\r\nX-A: 1\r\nAccept:  a, b\t\r\nx-a: 2\r\nCookie: a=1; b=2\r\nX-A:\r\n"+
		"COOKIE: c=3\r\nX-Latin: \xe5\xff\r\nX-a: 4\r\nEmpty:\r\nx.y!z: odd\r\nX-AB: longer\r\nContent-Length: 0\r\nContent-Type: t/s\r\n\r\n")
	for _, tt := range []struct{ name, want string }{
		{"Host", "h:1"},
		{"hOST", "h:1"},
		{"Accept", "a, b"},
		{"X-A", "1, 2, , 4"},
		{"x-a", "1, 2, , 4"},
		{"Cookie", "a=1; b=2; c=3"},
		{"cookie", "a=1; b=2; c=3"},
		{"X-Latin", "\xe5\xff"},
		{"Empty", ""},
		{"X.Y!Z", "odd"},
		{"X-AB", "longer"},
		{"Content-Length", "0"},
		{"Content-Type", "t/s"},
		{"X-ABC", ""},
		{"X", ""},
		{"", ""},
		{"Absent", ""},
		{"X_A", ""},
		{"\xe5", ""},
	} {
		for range 2 {
			if got := e.Header(tt.name); got != tt.want {
				t.Errorf("Header(%q) = %q, want %q", tt.name, got, tt.want)
			}
		}
	}
}

// Names are compared ignoring the case of letters, and of letters only: other bytes that differ in the same bit are
// different.
func TestHeaderCase(t *testing.T) {
	const token = "!#$%&'*+-.^`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for _, c := range []byte(token) {
		for at := range 3 {
			name := []byte("abc")
			name[at] = c
			e := environ(t, "GET / HTTP/1.1\r\nHost: h\r\n"+string(name)+": v\r\n\r\n")
			for d := range 256 {
				ask := bytes.Clone(name)
				ask[at] = byte(d)
				want := ""
				if strings.EqualFold(string(rune(c)), string(rune(d))) && d < 0x80 {
					want = "v"
				}
				if got := e.Header(string(ask)); got != want {
					t.Errorf("Header(%q) with the field %q = %q, want %q", ask, name, got, want)
				}
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	e := environ(t, richPost)
	want := []string{
		"Host=example.com:81", "Content-Type=text/plain", "Content-Length=12", "X-One=first", "Cookie=a=1",
		"X-ONE=second", "Accept=*/*", "Cookie=b=2", "X-Empty=",
	}
	var got []string
	for name, value := range e.Headers() {
		got = append(got, name+"="+value)
	}
	if !slices.Equal(got, want) {
		t.Errorf("Headers() = %q, want %q", got, want)
	}
	for stop := range want {
		got = nil
		for name, value := range e.Headers() {
			if got = append(got, name+"="+value); len(got) == stop+1 {
				break
			}
		}
		if !slices.Equal(got, want[:stop+1]) {
			t.Errorf("Headers() left after %d = %q, want %q", stop+1, got, want[:stop+1])
		}
	}
}

// As many fields as a request may have, in every view.
func TestHeadersMost(t *testing.T) {
	var in strings.Builder
	in.WriteString("GET / HTTP/1.1\r\nHost: h\r\n")
	for i := range 99 {
		fmt.Fprintf(&in, "F%d: %d\r\n", i, i)
	}
	in.WriteString("\r\n")
	e := environ(t, in.String())
	n := 0
	for range e.Headers() {
		n++
	}
	if n != 100 {
		t.Errorf("Headers() yields %d fields, want 100", n)
	}
	for i := range 99 {
		want := fmt.Sprint(i)
		if got := e.Header(fmt.Sprintf("f%d", i)); got != want {
			t.Errorf("Header(f%d) = %q, want %q", i, got, want)
		}
		if got := e.Get(fmt.Sprintf("HTTP_F%d", i)); got != want {
			t.Errorf("Get(HTTP_F%d) = %q, want %q", i, got, want)
		}
	}
}

// Joined values and a decoded path share memory that grows: earlier ones do not change.
func TestViewsStay(t *testing.T) {
	var in strings.Builder
	in.WriteString("GET /%41" + strings.Repeat("p", 100) + " HTTP/1.1\r\nHost: h\r\n")
	for i := range 40 {
		for part := range 2 {
			fmt.Fprintf(&in, "F%d: %s\r\n", i, strings.Repeat(string(rune('a'+part)), 1+i*7))
		}
	}
	in.WriteString("\r\n")
	e := environ(t, in.String())
	path := e.Path()
	views := map[int]string{}
	for round := range 3 {
		for i := range 40 {
			want := strings.Repeat("a", 1+i*7) + ", " + strings.Repeat("b", 1+i*7)
			if old, ok := views[i]; ok && old != want {
				t.Errorf("round %d: the value of F%d became %q, want %q", round, i, old, want)
			}
			if views[i] = e.Header(fmt.Sprintf("f%d", i)); views[i] != want {
				t.Errorf("round %d: Header(F%d) = %q, want %q", round, i, views[i], want)
			}
		}
	}
	if want := "/A" + strings.Repeat("p", 100); path != want || e.Path() != want {
		t.Errorf("Path() was %q and is %q, want %q", path, e.Path(), want)
	}
}

// Names with "_" and Proxy are hidden in every view, whatever fields are beside them.
func TestHiddenFields(t *testing.T) {
	e := environ(t, "POST / HTTP/1.1\r\nHost: h\r\nX_Y: evil\r\nX-Y: good\r\nx_y: evil\r\nProxy: evil\r\npROXY: evil\r\n_: evil\r\n_A: evil\r\nA_: evil\r\n"+
		"Only_Here: evil\r\nContent_Type: evil\r\nContent_Length: 666\r\nProxy-Authorization: good\r\nProx: good\r\nHo_st: evil\r\n\r\n")
	check := func(t *testing.T, e *gateway.Environ) {
		for _, tt := range []struct{ name, want string }{
			{"X-Y", "good"}, {"X_Y", ""}, {"x_y", ""}, {"Proxy", ""}, {"PROXY", ""}, {"_", ""}, {"_A", ""}, {"A_", ""},
			{"Only_Here", ""}, {"Only-Here", ""}, {"Content_Type", ""}, {"Content-Type", ""}, {"Content_Length", ""},
			{"Content-Length", ""}, {"Proxy-Authorization", "good"}, {"Prox", "good"}, {"Ho_st", ""},
		} {
			if got := e.Header(tt.name); got != tt.want {
				t.Errorf("Header(%q) = %q, want %q", tt.name, got, tt.want)
			}
		}
		for _, tt := range []struct {
			key  string
			want any
		}{
			{"HTTP_X_Y", "good"}, {"HTTP_x_y", nil}, {"HTTP_X-Y", nil}, {"HTTP_PROXY", nil}, {"HTTP_Proxy", nil},
			{"HTTP__", nil}, {"HTTP__A", nil}, {"HTTP_A_", nil}, {"HTTP_ONLY_HERE", nil}, {"CONTENT_TYPE", nil},
			{"HTTP_CONTENT_TYPE", nil}, {"CONTENT_LENGTH", nil}, {"HTTP_CONTENT_LENGTH", nil}, {"HTTP_HO_ST", nil},
			{"HTTP_PROXY_AUTHORIZATION", "good"}, {"HTTP_PROX", "good"},
		} {
			if got := e.Get(tt.key); got != tt.want {
				t.Errorf("Get(%q) = %v, want %v", tt.key, got, tt.want)
			}
		}
		for name, value := range e.Headers() {
			if strings.Contains(name, "_") || strings.EqualFold(name, "proxy") || strings.Contains(value, "evil") {
				t.Errorf("Headers() yields %q: %q", name, value)
			}
		}
		for key, value := range e.All() {
			if s, ok := value.(string); ok && (strings.Contains(s, "evil") || s == "666") {
				t.Errorf("All() yields %q = %q", key, s)
			}
		}
	}
	t.Run("request", func(t *testing.T) { check(t, e) })
	e.Set("own.key", 1) // the way through the overlay
	t.Run("with an overlay", func(t *testing.T) { check(t, e) })
	t.Run("clone", func(t *testing.T) { check(t, e.Clone()) })
}

func TestErrors(t *testing.T) {
	var log bytes.Buffer
	r := parse(t, "PUT /a%20b?c HTTP/1.1\r\nHost: h\r\n\r\n")
	r.host = logTo(&log)
	var e gateway.ServerEnviron
	r.begin(&e)

	for _, in := range []string{"plain", "with line end\n", "two\nlines\n\n"} {
		if n, err := io.WriteString(e.Errors(), in); n != len(in) || err != nil {
			t.Errorf("Write(%q) = %d, %v", in, n, err)
		}
	}
	f, ok := e.Errors().(interface{ Flush() error })
	if !ok {
		t.Error("Errors() has no Flush")
	} else if err := f.Flush(); err != nil {
		t.Errorf("Flush: %v", err)
	}
	fmt.Fprint(e.Get("wsgi.errors").(io.Writer), "by the key")
	e.Set("REQUEST_METHOD", "POST")
	fmt.Fprint(e.Errors(), "overridden")
	fmt.Fprint(e.Clone().Errors(), "by a clone")

	const where, put, post = "target=/a%20b?c\n", "method=PUT ", "method=POST "
	want := "level=ERROR msg=plain " + put + where +
		"level=ERROR msg=\"with line end\" " + put + where +
		"level=ERROR msg=\"two\\nlines\" " + put + where +
		"level=ERROR msg=\"by the key\" " + put + where +
		"level=ERROR msg=overridden " + post + where +
		"level=ERROR msg=\"by a clone\" " + post + where
	if log.String() != want {
		t.Errorf("log:\n%swant:\n%s", log.String(), want)
	}
}

// Write of Errors copies: the application may overwrite its buffer at once.
func TestErrorsCopies(t *testing.T) {
	var log bytes.Buffer
	r := parse(t, smallGet)
	r.host = logTo(&log)
	var e gateway.ServerEnviron
	r.begin(&e)
	b := []byte("before")
	_, _ = e.Errors().Write(b)
	copy(b, "after!")
	if !strings.Contains(log.String(), "msg=before ") {
		t.Errorf("log: %s", log.String())
	}
}

func TestContext(t *testing.T) {
	var e gateway.ServerEnviron
	r := parse(t, smallGet)
	r.begin(&e)
	ctx := e.Context()
	if ctx != e.Context() {
		t.Error("a second call of Context returned another one")
	}
	if err := ctx.Err(); err != nil {
		t.Errorf("the context of a running request: %v", err)
	}
	e.End()
	select {
	case <-ctx.Done():
	default:
		t.Error("End did not cancel the context")
	}

	r.begin(&e)
	if next := e.Context(); next == ctx || next.Err() != nil {
		t.Errorf("the next request has the context of the last one, or one that has ended: %v", next.Err())
	}
	e.End()
	e.End() // harmless: the server may end what never began
}

func TestAddressesOfClone(t *testing.T) {
	r := parse(t, "GET / HTTP/1.0\r\n\r\n") // no Host: the local address shows
	var e gateway.ServerEnviron
	r.begin(&e)
	c := e.Clone()
	*r.conn = fakeConn{}
	if got, want := c.RemoteAddr(), netip.MustParseAddrPort("192.0.2.1:4321"); got != want {
		t.Errorf("RemoteAddr() of a clone = %v, want %v", got, want)
	}
	if got := c.Get("SERVER_NAME"); got != "192.0.2.80" {
		t.Errorf("SERVER_NAME of a clone = %v, want 192.0.2.80", got)
	}
}

// The cost of joining repeated fields is linear in their bytes.
func TestJoinIsLinear(t *testing.T) {
	const fields, size = 99, 300
	r := parse(t, "GET / HTTP/1.1\r\nHost: h\r\n"+strings.Repeat("A: "+strings.Repeat("v", size)+"\r\n", fields)+"\r\n")
	var before, after runtime.MemStats
	const rounds = 20
	runtime.ReadMemStats(&before)
	for range rounds {
		var e gateway.ServerEnviron
		r.begin(&e)
		if got, want := len(e.Header("a")), fields*(size+len(", "))-len(", "); got != want {
			t.Errorf("Header has %d bytes, want %d", got, want)
		}
	}
	runtime.ReadMemStats(&after)
	// Growing by append may cost a few times the result.
	got, most := (after.TotalAlloc-before.TotalAlloc)/rounds, uint64(8*fields*size)
	if got > most {
		t.Errorf("one Header of %d bytes allocated %d bytes, want %d at most", fields*size, got, most)
	}
}

// Headers shows Set and Delete: inside a middleware that deletes forged fields they are not there.
func TestHeadersChanged(t *testing.T) {
	e := environ(t, "GET / HTTP/1.1\r\nHost: h\r\nX-Forged: a\r\nX-Two: b\r\nx-two: c\r\nX-Kept: d\r\nx-forged: e\r\n\r\n")
	e.Delete("HTTP_X_FORGED")
	e.Set("HTTP_X_TWO", "f")
	e.Set("HTTP_X_REQUEST_ID", "g")
	e.Set("HTTP_HOST", "other")
	e.Set("HTTP_X_NUMBER", 1) // no text
	e.Set("app.key", "x")
	want := []string{"Host: other", "X-Two: f", "X-Kept: d", "X-Request-Id: g"}
	var got []string
	for name, value := range e.Headers() {
		got = append(got, name+": "+value)
	}
	if !slices.Equal(got, want) {
		t.Errorf("Headers() = %q, want %q", got, want)
	}
	for stop := range want {
		n := 0
		for range e.Headers() {
			if n++; n > stop {
				break
			}
		}
		if n != stop+1 {
			t.Errorf("%d fields after a stop at %d", n, stop+1)
		}
	}
}
