package gateway_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

// The CGI and WSGI view: Get, Set, Delete, All.

func TestGet(t *testing.T) {
	type keys map[string]any // nil: absent
	for _, tt := range []struct {
		name, in string
		conn     *fakeConn
		want     keys
	}{
		{"smallest", smallGet, tcp4(), keys{
			"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/", "QUERY_STRING": "",
			"REQUEST_URI": "/", "RAW_URI": "/", "CONTENT_TYPE": nil, "CONTENT_LENGTH": nil,
			"SERVER_NAME": "h", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_SOFTWARE": "test",
			"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "4321", "HTTP_HOST": "h",
			"wsgi.version": [2]int{1, 0}, "wsgi.url_scheme": "http", "wsgi.multithread": false,
			"wsgi.multiprocess": false, "wsgi.run_once": false, "wsgi.input_terminated": true,
		}},
		{"rich", richPost, tcp6(), keys{
			"REQUEST_METHOD": "POST", "PATH_INFO": "/a b/%zz", "QUERY_STRING": "x=%20&y",
			"REQUEST_URI": "/a%20b/%zz?x=%20&y", "RAW_URI": "/a%20b/%zz?x=%20&y",
			"CONTENT_TYPE": "text/plain", "CONTENT_LENGTH": "12", "SERVER_NAME": "example.com", "SERVER_PORT": "81",
			"REMOTE_ADDR": "2001:db8::1", "REMOTE_PORT": "4321", "HTTP_HOST": "example.com:81",
			"HTTP_X_ONE": "first, second", "HTTP_COOKIE": "a=1; b=2", "HTTP_ACCEPT": "*/*", "HTTP_X_EMPTY": "",
			"HTTP_CONTENT_TYPE": nil, "HTTP_CONTENT_LENGTH": nil, "HTTP_PROXY": nil,
		}},
		{"empty content fields", "POST / HTTP/1.1\r\nHost: h\r\nContent-Type:\r\nContent-Length: 0\r\n\r\n", tcp4(), keys{
			"CONTENT_TYPE": "", "CONTENT_LENGTH": "0", "HTTP_CONTENT_TYPE": nil, "HTTP_CONTENT_LENGTH": nil,
		}},
		{"chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", tcp4(), keys{
			"CONTENT_LENGTH": nil, "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": true,
		}},
		{"1.0 on a Unix socket", "GET / HTTP/1.0\r\n\r\n", unixSocket(), keys{
			"SERVER_PROTOCOL": "HTTP/1.0", "SERVER_NAME": "localhost", "SERVER_PORT": "80",
			"REMOTE_ADDR": nil, "REMOTE_PORT": nil, "HTTP_HOST": nil,
		}},
		{"asterisk-form", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", tcp4(), keys{
			"PATH_INFO": "/", "REQUEST_URI": "*", "RAW_URI": "*",
		}},
		{"keys that are none", richPost, tcp4(), keys{
			"": nil, "HTTP_": nil, "HTTP": nil, "PATH": nil, "request_method": nil, "HTTP_X-ONE": nil, "HTTP_X-One": nil,
			"http_accept": nil, "HTTP_accept": nil, "ACCEPT": nil, "Accept": nil, "wsgi.": nil, "wsgi": nil, "REMOTE_HOST": nil,
			"WSGI.VERSION": nil, "REMOTE_USER": nil, "AUTH_TYPE": nil, "isbjorn.x": nil, "HTTP_X_ONE ": nil,
		}},
		{"other bytes in a name", "GET / HTTP/1.1\r\nHost: h\r\na.b!c~`^|'*+#$%&: odd\r\n\r\n", tcp4(), keys{
			"HTTP_A.B!C~`^|'*+#$%&": "odd", "HTTP_A_B_C~`^|'*+#$%&": nil,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := parse(t, tt.in)
			r.conn = tt.conn
			var e gateway.ServerEnviron
			r.begin(&e)
			for range 2 {
				for key, want := range tt.want {
					if got := e.Get(key); got != want {
						t.Errorf("Get(%q) = %#v, want %#v", key, got, want)
					}
				}
			}
			if got := e.Get("wsgi.input"); got != e.Input() {
				t.Errorf("wsgi.input is %v, want Input()", got)
			}
			if got := e.Get("wsgi.errors"); got != e.Errors() {
				t.Errorf("wsgi.errors is %v, want Errors()", got)
			}
		})
	}
}

func TestGetOfHost(t *testing.T) {
	r := parse(t, smallGet)
	r.host = &gateway.ServerInfo{Scheme: "https", Multithread: true}
	var e gateway.ServerEnviron
	r.begin(&e)
	for key, want := range map[string]any{
		"SERVER_SOFTWARE": nil, "wsgi.url_scheme": "https", "wsgi.multithread": true, "SERVER_PORT": "443",
	} {
		if got := e.Get(key); got != want {
			t.Errorf("Get(%q) = %#v, want %#v", key, got, want)
		}
	}
}

// SERVER_NAME and SERVER_PORT are never empty.
func TestServerName(t *testing.T) {
	for _, tt := range []struct {
		name, scheme, target, host string // host "-": no such field
		conn                       *fakeConn
		wantName, wantPort         string
	}{
		{"name", "http", "/", "example.com", tcp4(), "example.com", "80"},
		{"name and port", "http", "/", "example.com:8080", tcp4(), "example.com", "8080"},
		{"name and no port after the colon", "http", "/", "example.com:", tcp4(), "example.com", "80"},
		{"https", "https", "/", "example.com", tcp4(), "example.com", "443"},
		{"https and port", "https", "/", "example.com:80", tcp4(), "example.com", "80"},
		{"IPv4", "http", "/", "192.0.2.9", tcp4(), "192.0.2.9", "80"},
		{"IPv4 and port", "http", "/", "192.0.2.9:81", tcp4(), "192.0.2.9", "81"},
		{"IPv6", "http", "/", "[2001:db8::9]", tcp4(), "[2001:db8::9]", "80"},
		{"IPv6 and port", "http", "/", "[2001:db8::9]:81", tcp4(), "[2001:db8::9]", "81"},
		{"IPv6 and no port after the colon", "http", "/", "[::1]:", tcp4(), "[::1]", "80"},
		{"empty", "http", "/", "", tcp4(), "192.0.2.80", "8080"},
		{"none", "http", "/", "-", tcp4(), "192.0.2.80", "8080"},
		{"none on IPv6", "http", "/", "-", tcp6(), "[2001:db8::80]", "8080"},
		{"empty on a Unix socket", "http", "/", "", unixSocket(), "localhost", "80"},
		{"none on a Unix socket", "http", "/", "-", unixSocket(), "localhost", "80"},
		{"none on a Unix socket, https", "https", "/", "-", unixSocket(), "localhost", "443"},
		{"name on a Unix socket", "http", "/", "a:81", unixSocket(), "a", "81"},
		{"target before field", "http", "http://a:81/", "b:82", tcp4(), "a", "81"},
		{"target before empty field", "http", "http://a", "", tcp4(), "a", "80"},
	} {
		in := "GET " + tt.target + " HTTP/1.0\r\n"
		if tt.host != "-" {
			in += "Host: " + tt.host + "\r\n"
		}
		r := parse(t, in+"\r\n")
		r.conn = tt.conn
		r.host = &gateway.ServerInfo{Scheme: tt.scheme}
		var e gateway.ServerEnviron
		r.begin(&e)
		if name, port := e.Get("SERVER_NAME"), e.Get("SERVER_PORT"); name != tt.wantName || port != tt.wantPort {
			t.Errorf("%s: SERVER_NAME %q, SERVER_PORT %q; want %q, %q", tt.name, name, port, tt.wantName, tt.wantPort)
		}
	}
}

func TestSetAndDelete(t *testing.T) {
	for _, tt := range []struct {
		key string
		get func(*gateway.Environ) string
	}{
		{"REQUEST_METHOD", (*gateway.Environ).Method},
		{"REQUEST_URI", (*gateway.Environ).Target},
		{"PATH_INFO", (*gateway.Environ).Path},
		{"SCRIPT_NAME", (*gateway.Environ).ScriptName},
		{"QUERY_STRING", (*gateway.Environ).Query},
		{"wsgi.url_scheme", (*gateway.Environ).Scheme},
		{"CONTENT_TYPE", func(e *gateway.Environ) string { return e.Header("Content-Type") }},
		{"CONTENT_LENGTH", func(e *gateway.Environ) string { return e.Header("content-length") }},
		{"HTTP_X_ONE", func(e *gateway.Environ) string { return e.Header("x-One") }},
		{"HTTP_COOKIE", func(e *gateway.Environ) string { return e.Header("Cookie") }},
		{"HTTP_ABSENT", func(e *gateway.Environ) string { return e.Header("Absent") }},
		{"HTTP_HOST", func(e *gateway.Environ) string { return e.Header("Host") }},
		{"HTTP_HOST", (*gateway.Environ).Host},
		{"SERVER_PROTOCOL", (*gateway.Environ).Protocol},
		{"SERVER_NAME", nil},
		{"SERVER_SOFTWARE", nil},
		{"REMOTE_ADDR", nil},
		{"REMOTE_USER", nil},
		{"wsgi.version", nil},
		{"isbjorn.own", nil},
		{"", nil},
	} {
		for _, before := range []bool{false, true} { // were all asked before?
			t.Run(fmt.Sprintf("%s/before=%v", tt.key, before), func(t *testing.T) {
				e := environ(t, richPost)
				if before {
					_ = view(e)
				}
				check := func(what string, text string, value any) {
					t.Helper()
					if tt.get != nil {
						if got := tt.get(e); got != text {
							t.Errorf("%s: the accessor returns %q, want %q", what, got, text)
						}
					}
					if got := e.Get(tt.key); got != value {
						t.Errorf("%s: Get = %#v, want %#v", what, got, value)
					}
					if got := all(e)[tt.key]; got != value {
						t.Errorf("%s: All has %#v, want %#v", what, got, value)
					}
				}
				e.Set(tt.key, "/set")
				check("Set", "/set", "/set")
				e.Set(tt.key, "")
				check("Set to nothing", "", "")
				e.Delete(tt.key)
				check("Delete", "", nil)
				e.Delete(tt.key)
				check("Delete again", "", nil)
				e.Set(tt.key, "/again")
				check("Set after Delete", "/again", "/again")
				e.Set(tt.key, 42)
				check("Set to a number", "", 42)
				e.Set(tt.key, nil)
				check("Set to nil", "", nil)
			})
		}
	}
}

// A value may be of any type, also one that cannot be compared.
func TestSetAnyType(t *testing.T) {
	e := environ(t, smallGet)
	e.Set("slice", []int{1, 2})
	e.Set("map", map[string]int{"a": 1})
	e.Set("func", func() int { return 3 })
	if got := e.Get("slice").([]int); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("Get(slice) = %v", got)
	}
	if got := e.Get("func").(func() int)(); got != 3 {
		t.Errorf("Get(func) returned %v", got)
	}
	n := 0
	for key := range e.All() {
		if key == "slice" || key == "map" || key == "func" {
			n++
		}
	}
	if n != 3 {
		t.Errorf("All yields %d of the 3 keys", n)
	}
}

// Set changes no other key.
func TestSetLeavesTheRest(t *testing.T) {
	e := environ(t, richPost)
	before := view(e)
	e.Set("other.key", "x")
	e.Delete("other.key")
	if got := view(e); got != before {
		t.Errorf("after Set and Delete of another key:\n%s", diff(got, before))
	}
}

// all is All as a map.
func all(e *gateway.Environ) map[string]any {
	m := map[string]any{}
	for key, value := range e.All() {
		m[key] = value
	}
	return m
}

func TestAllOrder(t *testing.T) {
	r := parse(t, richPost)
	r.host = &gateway.ServerInfo{Scheme: "http", Software: "test", Extra: map[string]any{"deployer.b": 1, "deployer.a": 2}}
	e := new(gateway.ServerEnviron)
	r.begin(e)
	e.Set("z.last", 1)
	e.Set("HTTP_AAA", "not among the fields")
	e.Set("SCRIPT_NAME", "/app") // keeps its place
	e.Delete("HTTP_ACCEPT")
	e.Delete("wsgi.run_once")
	e.Delete("not.there")
	e.Set("nothing", nil)
	want := []string{
		"REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REQUEST_URI", "RAW_URI",
		"CONTENT_TYPE", "CONTENT_LENGTH", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "SERVER_SOFTWARE",
		"REMOTE_ADDR", "REMOTE_PORT",
		"HTTP_HOST", "HTTP_X_ONE", "HTTP_COOKIE", "HTTP_X_EMPTY",
		"wsgi.version", "wsgi.url_scheme", "wsgi.input", "wsgi.errors", "wsgi.multithread",
		"wsgi.multiprocess", "wsgi.input_terminated", "wsgi.file_wrapper", "isbjorn.context",
		"deployer.a", "deployer.b", "HTTP_AAA", "z.last",
	}
	for range 3 {
		var got []string
		for key := range e.All() {
			got = append(got, key)
		}
		if !slices.Equal(got, want) {
			t.Errorf("All() yields\n%q, want\n%q", got, want)
		}
	}
	for stop := range want { // leave the loop after every key
		var got []string
		for key := range e.All() {
			if got = append(got, key); len(got) == stop+1 {
				break
			}
		}
		if !slices.Equal(got, want[:stop+1]) {
			t.Errorf("All() left after %d yields %q", stop+1, got)
		}
	}
}

// All has what Get has: each key once, never nil.
func TestAllAgreesWithGet(t *testing.T) {
	var tokens strings.Builder // a field for each byte that a name may have
	for _, c := range "!#$%&'*+-.^`|~09azAZ" {
		fmt.Fprintf(&tokens, "x%cy: %c\r\n", c, c)
	}
	for name, in := range map[string]string{
		"smallest": smallGet,
		"1.0":      "GET / HTTP/1.0\r\n\r\n",
		"rich":     richPost,
		"tokens":   "GET / HTTP/1.1\r\nHost: h\r\n" + tokens.String() + "\r\n",
	} {
		for _, conn := range []*fakeConn{tcp4(), unixSocket()} {
			r := parse(t, in)
			r.conn = conn
			var e gateway.ServerEnviron
			r.begin(&e)
			for range 2 {
				seen := map[string]bool{}
				for key, value := range e.All() {
					if seen[key] {
						t.Errorf("%s: All() yields %q twice", name, key)
					}
					seen[key] = true
					if value == nil {
						t.Errorf("%s: All() yields nil for %q", name, key)
					}
					if got := e.Get(key); key != "wsgi.file_wrapper" && got != value {
						t.Errorf("%s: Get(%q) = %v, All() yields %v", name, key, got, value)
					}
				}
				for _, key := range getKeys {
					if got := e.Get(key); (got != nil) != seen[key] {
						t.Errorf("%s: Get(%q) = %v, in All(): %v", name, key, got, seen[key])
					}
				}
				for field, value := range e.Headers() {
					key := "HTTP_" + strings.ReplaceAll(strings.ToUpper(field), "-", "_")
					if key != "HTTP_CONTENT_TYPE" && key != "HTTP_CONTENT_LENGTH" && !seen[key] {
						t.Errorf("%s: the field %q: %q is not in All()", name, field, value)
					}
				}
				e.Set("own.key", "value") // once more with an overlay
				e.Delete("PATH_INFO")
			}
		}
	}
}

// The application may call Set while it ranges over All.
func TestSetDuringAll(t *testing.T) {
	e := environ(t, richPost)
	for key := range e.All() {
		if strings.HasPrefix(key, "HTTP_") {
			e.Delete(key)
		}
	}
	for key := range e.All() {
		if strings.HasPrefix(key, "HTTP_") {
			t.Errorf("%s is still there", key)
		}
	}
}

// Fields whose names differ in case only are one HTTP_* key, joined in the order they came.
func TestGetJoins(t *testing.T) {
	e := environ(t, "GET / HTTP/1.1\r\nHost: h\r\nx-y: 1\r\nX-Y: 2\r\nX-y:\r\nSet-Cookie: a\r\nset-cookie: b\r\ncookie: c\r\nCOOKIE: d\r\nCookie2: e\r\nCookie2: f\r\n\r\n")
	for key, want := range map[string]string{
		"HTTP_X_Y": "1, 2, ", "HTTP_SET_COOKIE": "a, b", "HTTP_COOKIE": "c; d", "HTTP_COOKIE2": "e, f",
	} {
		if got := e.Get(key); got != want {
			t.Errorf("Get(%s) = %q, want %q", key, got, want)
		}
	}
}

// REMOTE_ADDR of IPv4, IPv6, and IPv6 with a zone.
func TestRemoteAddrKeys(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1:1":      "192.0.2.1",
		"[::1]:1":          "::1",
		"[fe80::1%eth0]:1": "fe80::1%eth0",
	} {
		r := parse(t, smallGet)
		r.conn = &fakeConn{remote: netip.MustParseAddrPort(addr)}
		var e gateway.ServerEnviron
		r.begin(&e)
		if got := e.Get("REMOTE_ADDR"); got != want {
			t.Errorf("REMOTE_ADDR of %s = %v, want %s", addr, got, want)
		}
		if got := e.Get("REMOTE_PORT"); got != "1" {
			t.Errorf("REMOTE_PORT of %s = %v, want 1", addr, got)
		}
	}
}

// RemoteAddr is made of both keys. An invalid address reads as none.
func TestSetRemoteAddr(t *testing.T) {
	for _, tt := range []struct {
		name       string
		conn       *fakeConn
		addr, port any // nil: not set
		want       netip.AddrPort
	}{
		{"both", tcp4(), "203.0.113.7", "99", netip.MustParseAddrPort("203.0.113.7:99")},
		{"IPv6", tcp4(), "2001:db8::7", "99", netip.MustParseAddrPort("[2001:db8::7]:99")},
		{"address only", tcp4(), "203.0.113.7", nil, netip.MustParseAddrPort("203.0.113.7:4321")},
		{"port only", tcp4(), nil, "99", netip.MustParseAddrPort("192.0.2.1:99")},
		{"on a Unix socket", unixSocket(), "203.0.113.7", "99", netip.MustParseAddrPort("203.0.113.7:99")},
		{"no address", tcp4(), "unknown", "0", netip.AddrPort{}},
		{"no text", tcp4(), 1, 2, netip.AddrPort{}},
	} {
		r := parse(t, smallGet)
		r.conn = tt.conn
		var e gateway.ServerEnviron
		r.begin(&e)
		for key, value := range map[string]any{"REMOTE_ADDR": tt.addr, "REMOTE_PORT": tt.port} {
			if value != nil {
				e.Set(key, value)
			}
		}
		for name, e := range map[string]*gateway.Environ{"request": &e.Environ, "clone": e.Clone()} {
			if got := e.RemoteAddr(); got != tt.want {
				t.Errorf("%s, %s: RemoteAddr() = %v, want %v", tt.name, name, got, tt.want)
			}
		}
		e.Delete("REMOTE_ADDR")
		if got := e.RemoteAddr(); got.IsValid() {
			t.Errorf("%s: RemoteAddr() after Delete(REMOTE_ADDR) = %v", tt.name, got)
		}
	}
}

// SERVER_NAME follows the Host field that was set.
func TestServerNameOfSetHost(t *testing.T) {
	e := environ(t, smallGet)
	e.Set("HTTP_HOST", "public.example:444")
	if name, port := e.Get("SERVER_NAME"), e.Get("SERVER_PORT"); name != "public.example" || port != "444" {
		t.Errorf("SERVER_NAME %q, SERVER_PORT %q; want public.example, 444", name, port)
	}
}

// Values of an Environ, printed by %v as in examples/environ, show no content and no address of memory.
func TestValuesAsText(t *testing.T) {
	e := environ(t, "POST / HTTP/1.1\r\nHost: h\r\n\r\nsecret")
	for _, key := range []string{"wsgi.input", "wsgi.errors"} {
		got := fmt.Sprint(e.Get(key))
		if strings.Contains(got, "115 101 99 114 101 116") || strings.Contains(got, "0x") {
			t.Errorf("%s prints as %s", key, got)
		}
	}
}

// A middleware on a Unix socket that Sets REMOTE_ADDR alone gets no REMOTE_PORT "0".
func TestRemotePortIsNotInvented(t *testing.T) {
	r := parse(t, smallGet)
	r.conn = unixSocket()
	var e gateway.ServerEnviron
	r.begin(&e)
	e.Set("REMOTE_ADDR", "203.0.113.7")
	if got := e.Get("REMOTE_PORT"); got != nil {
		t.Errorf("REMOTE_PORT = %q, want none", got)
	}
	if got, ok := all(&e.Environ)["REMOTE_PORT"]; ok {
		t.Errorf("All has REMOTE_PORT = %q, want none", got)
	}
}

// An invalid port reads as 0, also one that is too large.
func TestRemotePortOutOfRange(t *testing.T) {
	for _, port := range []string{"65536", "99999", "-1", "x", ""} {
		e := environ(t, smallGet)
		e.Set("REMOTE_PORT", port)
		if got := e.RemoteAddr().Port(); got != 0 {
			t.Errorf("RemoteAddr() after Set(REMOTE_PORT, %q) has the port %d, want 0", port, got)
		}
	}
}
