package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/forwarded"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/server"
)

// hopTests are fields of a message, and the lines among them that the other side must get. The comparison is by
// lines in lower case, as a field name may be.
var hopTests = []struct{ sent, want string }{
	{"X-Plain: a", "X-Plain: a"},
	{"X-Plain: a|X-Plain: b", "X-Plain: a|X-Plain: b"},
	{"Connection: keep-alive", ""},
	{"Connection: close", ""},
	{"Connection: X-One|X-One: 1", ""},
	{"X-One: 1|Connection: X-One", ""},
	{"Connection: x-one, X-TWO|X-One: 1|X-Two: 2|X-Three: 3", "X-Three: 3"},
	{"Connection: X-One|Connection: X-Two|X-One: 1|X-Two: 2", ""},
	{"Connection: ,, X-One ,|X-One: 1", ""},
	{"Connection: close, X-One|X-One: 1|X-One: 2", ""},
	{"Connection: X-Via|X-Via: 1", ""},
	{"Connection: Cookie|Cookie: a=b", ""},
	{"Connection: Authorization|Authorization: Basic eA==", ""},
	{"Connection: Cache-Control|Cache-Control: no-cache", ""},
	{"Connection: Content-Type|Content-Type: text/plain", ""},
	{"Connection: Nothing|X-Plain: a", "X-Plain: a"},
	{"Keep-Alive: timeout=5", ""},
	{"Connection: Keep-Alive|Keep-Alive: timeout=5, max=100", ""},
	{"keep-alive: timeout=5|KEEP-ALIVE: x", ""},
	{"Proxy-Connection: keep-alive", ""},
	{"Proxy-Connection: X-One|X-One: 1", "X-One: 1"},
	{"Proxy-Authenticate: Basic", ""},
	{"Proxy-Authorization: Basic eA==", ""},
	{"Proxy-Authentication-Info: x", ""},
	{"proxy-anything: x", ""},
	{"Proxy: http://evil.example", ""},
	{"TE: gzip", ""},
	{"TE: deflate;q=0.5|Connection: TE", ""},
	{"Trailer: X-Sum", ""},
	{"Upgrade: h2c", ""},
	{"Connection: Upgrade, HTTP2-Settings|Upgrade: h2c|HTTP2-Settings: AAMAAABkAAQAAP__", ""},
	{"Connection: Upgrade|Upgrade: HTTP/2.0", ""},
	{"Connection: Upgrade|Upgrade: TLS/1.3", ""},
	{"Upgrade: websocket", ""},
	{"HTTP2-Settings: AAMAAABkAAQAAP__", ""},
	{"X_Under: 1", ""},
	{"X_Forwarded_For: 6.6.6.6", ""},
	{"Connection: X-Under|X-Under: 1", ""},
	{"ETag: \"a\"|Vary: Accept", "ETag: \"a\"|Vary: Accept"},
	{"Accept-Encoding: gzip|Range: bytes=0-1", "Accept-Encoding: gzip|Range: bytes=0-1"},
	{"Idempotency-Key: a|X-Idempotency-Key: b", "Idempotency-Key: a|X-Idempotency-Key: b"},
	{"X-Tab: a\tb", "X-Tab: a\tb"},
}

// fieldLines are the lines of a head below the first, in lower case.
func fieldLines(head string) map[string]int {
	m := make(map[string]int)
	_, rest, _ := strings.Cut(head, "\r\n")
	for line := range strings.SplitSeq(strings.TrimSuffix(rest, "\r\n\r\n"), "\r\n") {
		m[strings.ToLower(line)]++
	}
	return m
}

// checkLines reports what of got is not in want, and the other way round.
func checkLines(t *testing.T, sent string, got map[string]int, want string) {
	t.Helper()
	for line := range strings.SplitSeq(strings.ToLower(want), "|") {
		if line != "" {
			if got[line]--; got[line] < 0 {
				t.Errorf("%s: %q is missing", sent, line)
			}
		}
	}
	for line, n := range got {
		if n > 0 && line != "" {
			t.Errorf("%s: %q has passed", sent, line)
		}
	}
}

func TestHopByHopOfRequests(t *testing.T) {
	t.Parallel()
	b := newBackend(t, answers(ok))
	p := serve(t, Options{To: []string{b.url}})
	own := "Host: h.example|Via: 1.1 " + p.pseudonym + "|X-Forwarded-For: 127.0.0.1|X-Forwarded-Proto: http|X-Forwarded-Host: h.example"
	for _, tt := range hopTests {
		p.want(t, get("/", strings.Split(tt.sent, "|")...), 200, "ok")
		checkLines(t, tt.sent, fieldLines(b.head()), tt.want+"|"+own)
	}
}

func TestHopByHopOfResponses(t *testing.T) {
	t.Parallel()
	var response atomic.Value
	b := newBackend(t, func(r *request) bool { r.send(response.Load().(string)); return false })
	p := serve(t, Options{To: []string{b.url}})
	for _, tt := range hopTests {
		fields := lines(strings.Split(tt.sent, "|"))
		for _, code := range []int{103, 200} {
			response.Store(fmt.Sprintf("HTTP/1.1 %d X\r\nDate: d\r\nServer: s\r\n%sContent-Length: 2\r\n\r\nok", code, fields))
			if code == 103 {
				response.Store(fmt.Sprintf("HTTP/1.1 103 X\r\n%s\r\n%s", fields, ok))
			}
			c := p.dial(t)
			c.send(get("/", "Connection: close"))
			head := ""
			for !strings.HasSuffix(head, "\r\n\r\n") {
				line, err := c.r.ReadString('\n')
				if err != nil {
					t.Fatalf("%s: %v after %q", tt.sent, err, head)
				}
				head += line
			}
			want := tt.want + "|Via: 1.1 " + p.pseudonym
			if code == 200 {
				want += "|Date: d|Server: s|Content-Length: 2|Connection: close"
			}
			checkLines(t, fmt.Sprint(code, " ", tt.sent), fieldLines(head), want)
		}
	}
}

// Trailer fields of either side pass, but for those of the connection.
func TestTrailers(t *testing.T) {
	t.Parallel()
	content := make(chan string, 1)
	b := newBackend(t, func(r *request) bool {
		content <- r.content(len("2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"))
		r.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Hop\r\nTrailer: X-Sum, X-Hop, Keep-Alive\r\n\r\n" +
			"2\r\nok\r\n0\r\nX-Sum: 2\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nX_Under: 1\r\n\r\n")
		return false
	})
	p := serve(t, Options{To: []string{b.url}})
	a := p.want(t, "POST / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE, X-Hop\r\nTrailer: X-Sum, X-Hop\r\n"+
		"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\nX-Hop: 2\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n", 200, "ok")
	if got, want := <-content, "2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"; got != want {
		t.Errorf("the upstream got %q, want %q", got, want)
	}
	head := strings.ToLower(b.head())
	for _, line := range []string{"\r\ntrailer: x-sum\r\n", "\r\nte: trailers\r\n", "\r\nconnection: te\r\n"} {
		if !strings.Contains(head, line) {
			t.Errorf("%q is missing in %q", line, head)
		}
	}
	if len(a.Trailer) != 1 || a.Trailer.Get("X-Sum") != "2" {
		t.Errorf("the client got the trailer %v", a.Trailer)
	}
}

func TestForwardedFields(t *testing.T) {
	t.Parallel()
	b := newBackend(t, answers(ok))
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	tests := []struct {
		name       string
		o          Options
		sent, want string
	}{
		{"no proxy in front", Options{}, "X-Forwarded-For: 6.6.6.6|X-Forwarded-Proto: https|X-Forwarded-Host: evil|X-Real-IP: 6|Forwarded: for=6.6.6.6",
			"X-Forwarded-For: 127.0.0.1|X-Forwarded-Proto: http|X-Forwarded-Host: h.example"},
		{"a proxy", Options{Trusted: forwarded.Proxies{Prefixes: local}}, "X-Forwarded-For: 6.6.6.6, 9.9.9.9|X-Forwarded-Proto: https",
			"X-Forwarded-For: 9.9.9.9, 127.0.0.1|X-Forwarded-Proto: http|X-Forwarded-Host: h.example"},
		{"a proxy that writes more", Options{Trusted: forwarded.Proxies{Prefixes: local, Fields: []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP"}}},
			"X-Forwarded-For: 9.9.9.9|X-Forwarded-Proto: https|X-Forwarded-Host: shop.example|X-Real-IP: 9.9.9.9",
			"X-Forwarded-For: 9.9.9.9, 127.0.0.1|X-Forwarded-Proto: https|X-Forwarded-Host: shop.example|X-Real-IP: 9.9.9.9"},
		{"Forwarded", Options{Forward: Forwarded}, "X-Forwarded-For: 6.6.6.6|Forwarded: for=6.6.6.6",
			`Forwarded: for=127.0.0.1;proto=http;host="h.example"`},
		{"Forwarded by a proxy", Options{Forward: Forwarded, Trusted: forwarded.Proxies{Prefixes: local, Standard: true}}, "Forwarded: for=6.6.6.6, for=9.9.9.9;proto=https",
			`Forwarded: for=9.9.9.9;proto=https, for=127.0.0.1;proto=https;host="h.example"`},
		{"of another kind", Options{Trusted: forwarded.Proxies{Prefixes: local, Standard: true}}, "Forwarded: for=9.9.9.9;proto=https",
			"X-Forwarded-For: 9.9.9.9, 127.0.0.1|X-Forwarded-Proto: https|X-Forwarded-Host: h.example"},
		{"removed by Connection", Options{}, "Connection: X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Via, Host",
			"X-Forwarded-For: 127.0.0.1|X-Forwarded-Proto: http|X-Forwarded-Host: h.example"},
		{"none", Options{Forward: NoForward}, "X-Forwarded-For: 6.6.6.6|Forwarded: for=6.6.6.6", ""},
	}
	for _, tt := range tests {
		tt.o.To = []string{b.url}
		p := serve(t, tt.o)
		p.want(t, get("/", strings.Split(tt.sent, "|")...), 200, "ok")
		checkLines(t, tt.name, fieldLines(b.head()), tt.want+"|Host: h.example|Via: 1.1 "+p.pseudonym)
	}
}

// Fields with "_" are dropped also where the server shows them.
func TestUnderscoresNeverPass(t *testing.T) {
	t.Parallel()
	b := newBackend(t, answers(ok))
	p := serveWith(t, Options{To: []string{b.url}}, server.Options{UnderscoreFields: server.KeepUnderscores})
	p.want(t, get("/", "X_Forwarded_For: 6.6.6.6", "A_b: 1", "Proxy: x"), 200, "ok")
	if head := b.head(); strings.Contains(head, "_") || strings.Contains(head, "Proxy") {
		t.Errorf("the upstream got %q", head)
	}
}

func TestHost(t *testing.T) {
	t.Parallel()
	b := newBackend(t, answers(ok))
	for mode, want := range map[HostMode]string{KeepHost: "h.example", UpstreamHost: b.Addr().String()} {
		p := serve(t, Options{To: []string{b.url}, Host: mode})
		p.want(t, get("/"), 200, "ok")
		if !strings.Contains(b.head(), "\r\nHost: "+want+"\r\n") {
			t.Errorf("%v: the upstream got %q", mode, b.head())
		}
	}
}

// A request that has passed the proxy before is refused, and one that has passed another is not.
func TestLoop(t *testing.T) {
	t.Parallel()
	b := newBackend(t, answers(ok))
	inner := serve(t, Options{To: []string{b.url}})
	outer := serve(t, Options{To: []string{"http://" + inner.addr}})
	outer.want(t, get("/"), 200, "ok")
	if want := "Via: 1.1 " + outer.pseudonym + ", 1.1 " + inner.pseudonym; !strings.Contains(b.head(), want) {
		t.Errorf("the upstream got %q, without %q", b.head(), want)
	}
	inner.want(t, get("/", "Via: 1.0 a, HTTP/1.1 "+inner.pseudonym+" (comment)"), 508, "508 Loop Detected\n")
	inner.want(t, get("/", "Via: 1.1 isbjorn", "Via: 1.1 isbjorn-other"), 200, "ok")

	itself, err := New(Options{To: []string{"http://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer itself.Close()
	listening := make(chan struct{})
	srv, err := server.New(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		<-listening
		return itself.Serve(env, start)
	}), server.Options{Dispatch: server.Pool, Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	addr, err := srv.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	itself.upstreams[0].url.Host = addr.String()
	close(listening)
	(&gateServer{addr: addr.String()}).want(t, get("/"), 508, "508 Loop Detected\n")
}

func TestTraceAndMaxForwards(t *testing.T) {
	t.Parallel()
	b := newBackend(t, answers(ok))
	p := serve(t, Options{To: []string{b.url}})
	a := p.want(t, "TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 405, "405 Method Not Allowed\n")
	if a.Header.Get("Allow") == "" {
		t.Error("405 without Allow")
	}
	a = p.want(t, "OPTIONS / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n", 204, "")
	if a.Header.Get("Allow") == "" || b.count() != 0 {
		t.Errorf("Allow: %q; the upstream got %d requests", a.Header.Get("Allow"), b.count())
	}
	p.want(t, "OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: 7\r\n\r\n", 200, "ok")
	if head := b.head(); !strings.HasPrefix(head, "OPTIONS * HTTP/1.1\r\n") || !strings.Contains(head, "\r\nMax-Forwards: 6\r\n") {
		t.Errorf("the upstream got %q", head)
	}
	p.want(t, get("/", "Max-Forwards: 0"), 200, "ok")
	if !strings.Contains(b.head(), "\r\nMax-Forwards: 0\r\n") {
		t.Errorf("the upstream got %q", b.head())
	}
}

// Path and query reach the upstream as the client sent them.
func TestTargets(t *testing.T) {
	t.Parallel()
	b := newBackend(t, answers(ok))
	plain, prefixed := serve(t, Options{To: []string{b.url}}), serve(t, Options{To: []string{b.url + "/base/"}})
	for _, target := range []string{
		"/", "/a", "/a%2Fb", "/a%2fb", "//", "//host/a", "///a", "/a//b", "/a;v=1/b", "/a?", "/a?b=c&d", "/?a=%zz", "/a?b?c", "/a?b=/../c",
		"/%41%C3%a9", "/a:b@c", "/a+b%20c", "/!$&'()*+,=", "/~user", "/a/./b", "/a/../b", "/%2e%2E/x", "/a%5Cb", "/a'b", "/a?q={}|^`\\", "//a/{b}",
		"/{a}", "/[a]", "/a\"b", "/a|b", "/%", "/%zz", "//%zz",
	} {
		for p, prefix := range map[*gateServer]string{plain: "", prefixed: "/base"} {
			n := b.count()
			a := p.ask(t, get(target))
			line, _, _ := strings.Cut(b.head(), "\r\n")
			switch want := "GET " + prefix + target + " HTTP/1.1"; {
			case a.StatusCode == 400 && b.count() == n:
				// The parser refuses it, it leaves the prefix, or it cannot be sent as it is.
				if sent := strings.ContainsAny(target, "\"{}|^`\\[]") || strings.Contains(target, "%zz") || strings.HasPrefix(target, "/%2e") || target == "/%"; !sent {
					t.Errorf("%q is refused", target)
				}
			case a.StatusCode != 200 || line != want:
				t.Errorf("%q: %d, the upstream got %q, want %q", target, a.StatusCode, line, want)
			}
		}
	}
	plain.want(t, "GET http://other.example/a%2Fb?c HTTP/1.1\r\nHost: other.example\r\n\r\n", 200, "ok")
	if !strings.HasPrefix(b.head(), "GET /a%2Fb?c HTTP/1.1\r\n") || !strings.Contains(b.head(), "\r\nHost: other.example\r\n") {
		t.Errorf("an absolute target: the upstream got %q", b.head())
	}
}

func TestPrefixIsNotLeft(t *testing.T) {
	for path, want := range map[string]bool{
		"/": false, "/a/..": false, "/a/../b": false, "/a/%2e%2e/b": false, "/..a": false, "/...": false, "/a..": false,
		"/..": true, "/../a": true, "/a/../../b": true, "/%2e./a": true, "/.%2E/a": true, "/..%2Fa": true, "/..%5ca": true,
		`/..\a`: true, "/..;/a": true, "/..;x=y/a": true, "/..%3Bx/a": true, "//../a": true, "/./../a": true, "/a/..%2f..": true,
	} {
		if got := leavesPrefix(path); got != want {
			t.Errorf("leavesPrefix(%q) = %v, want %v", path, got, want)
		}
	}
}

// Invariant: no field of a connection, and none that Connection names, passes in either direction, but those that the
// proxy makes anew; and what the proxy passes to a client is a valid field.
func FuzzFields(f *testing.F) {
	for _, tt := range hopTests {
		f.Add(tt.sent)
	}
	f.Add("Connection: close,\tX-A ;q=1, \"X-B\"|X-A: 1")
	f.Add("Connection: Upgrade, Via, X-Forwarded-For|Upgrade: websocket, h2c|TE: trailers, gzip")
	a, err := New(Options{To: []string{"http://a.example"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = a.Close() })
	made := map[string]string{ // by the proxy, in requests: the most that it may say
		"Connection": "TE, Upgrade", "Te": "trailers", "Upgrade": "websocket", "Via": "", "User-Agent": "",
		"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "h.example",
	}
	f.Fuzz(func(t *testing.T, sent string) {
		header := make(http.Header)
		fields := []gateway.Header{{Name: "Host", Value: "h.example"}}
		for line := range strings.SplitSeq(sent, "|") {
			name, value, _ := strings.Cut(line, ":")
			value = strings.Trim(value, " \t")
			header.Add(name, value)
			fields = append(fields, gateway.Header{Name: name, Value: value})
		}
		named := make(map[string]bool)
		for name, values := range header {
			if strings.EqualFold(name, "connection") {
				for _, value := range values {
					for _, name := range strings.Split(value, ",") {
						named[strings.ToLower(strings.Trim(name, " \t"))] = true
					}
				}
			}
		}
		check := func(name, value string) {
			lower := strings.ToLower(name)
			switch lower {
			case "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection",
				"proxy-authenticate", "proxy-authorization", "http2-settings", "proxy":
				t.Errorf("%s: %q passes", name, value)
			}
			if named[lower] || strings.Contains(lower, "_") {
				t.Errorf("%s: %q passes", name, value)
			}
		}

		gatewaytest.Call(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			peer := env.RemoteAddr()
			a.options.Trusted.Apply(env)
			for name, values := range a.requestHeader(env, peer) {
				for _, value := range values {
					most, own := made[name]
					switch {
					case own && most != "" && !strings.Contains(most, value) && value != "TE, Upgrade":
						t.Errorf("the proxy sends %s: %q", name, value)
					case !own:
						check(name, value)
					}
				}
			}
			return nil, nil
		}), gatewaytest.Request{Header: fields, Remote: netip.MustParseAddrPort("192.0.2.1:1")})

		list, err := a.responseFields(header, 1)
		if err != nil {
			return
		}
		for _, field := range list {
			if lower := strings.ToLower(field.Name); lower != "via" {
				check(field.Name, field.Value)
				if lower == "content-length" {
					t.Errorf("%q passes", field)
				}
			}
			if err := gateway.CheckHeader(&field); err != nil {
				t.Error(err)
			}
		}
	})
}
