package forwarded_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/forwarded"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
)

var (
	prefixes = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}
	proxy    = netip.MustParseAddrPort("10.0.0.1:40000")
	stranger = netip.MustParseAddrPort("192.0.2.1:40000")
	written  = []string{"X-Forwarded-For", "x-forwarded-proto", "X-Forwarded-Host"}
)

func fields(pairs ...string) (h []gateway.Header) {
	for i := 0; i < len(pairs); i += 2 {
		h = append(h, gateway.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return h
}

// call calls f with the environ of a request.
func call(t testing.TB, peer netip.AddrPort, header []gateway.Header, f func(env *gateway.Environ)) (bad bool) {
	t.Helper()
	got := gatewaytest.Call(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		f(env)
		_, err := start("204 No Content", nil, nil)
		return nil, err
	}), gatewaytest.Request{Remote: peer, Header: header})
	return got.Err != nil
}

func resolve(t testing.TB, p *forwarded.Proxies, peer netip.AddrPort, header []gateway.Header) (s string) {
	t.Helper()
	if call(t, peer, header, func(env *gateway.Environ) {
		o, listed := p.Resolve(env)
		s = fmt.Sprint(o.Remote, " ", o.Scheme, " ", o.Host, " ", listed)
	}) {
		t.Fatalf("%q is no request", header)
	}
	return s
}

func TestXForwarded(t *testing.T) {
	p := &forwarded.Proxies{Prefixes: prefixes, Fields: written}
	const f, s, h = "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"
	for _, tt := range []struct {
		name   string
		peer   netip.AddrPort
		header []gateway.Header
		want   string
	}{
		{"nothing said", proxy, nil, "10.0.0.1:40000 http example.com true"},
		{"one proxy", proxy, fields(f, "203.0.113.7", s, "https", h, "www.example"), "203.0.113.7:0 https www.example true"},
		{"a stranger says it", stranger, fields(f, "203.0.113.7", s, "https", h, "www.example"), "192.0.2.1:40000 http example.com false"},
		{"the client says it too", proxy, fields(f, "10.0.0.9, 127.0.0.1, 203.0.113.7"), "203.0.113.7:0 http example.com true"},
		{"several fields", proxy, fields(f, "198.51.100.1", f, "203.0.113.7"), "203.0.113.7:0 http example.com true"},
		{"two proxies", proxy, fields(f, "1.1.1.1, 203.0.113.7, 10.2.2.2"), "203.0.113.7:0 http example.com true"},
		{"all proxies", proxy, fields(f, "10.3.3.3, 10.2.2.2"), "10.3.3.3:0 http example.com true"},
		{"both append", proxy, fields(f, "203.0.113.7, 10.2.2.2", s, "https, http", h, "outer, inner"), "203.0.113.7:0 https outer true"},
		{"the client has a longer list", proxy, fields(f, "203.0.113.7", s, "https, http", h, "evil, inner"), "203.0.113.7:0 http inner true"},
		{"one replaces", proxy, fields(f, "203.0.113.7, 10.2.2.2", s, "https", h, "outer"), "203.0.113.7:0 https outer true"},
		{"only the scheme", proxy, fields(s, "https"), "10.0.0.1:40000 https example.com true"},
		{"scheme in capitals", proxy, fields(s, "HTTPS"), "10.0.0.1:40000 https example.com true"},
		{"a WebSocket", proxy, fields(f, "203.0.113.7", s, "wss"), "203.0.113.7:0 https example.com true"},
		{"a WebSocket without TLS, behind TLS", proxy, fields(f, "203.0.113.7, 10.2.2.2", s, "ws, https"), "203.0.113.7:0 http example.com true"},
		{"other scheme", proxy, fields(f, "203.0.113.7", s, "javascript"), "203.0.113.7:0 http example.com true"},
		{"IPv6", proxy, fields(f, "2001:db8:2::7"), "[2001:db8:2::7]:0 http example.com true"},
		{"IPv6 in brackets", proxy, fields(f, "[2001:db8:2::7]"), "[2001:db8:2::7]:0 http example.com true"},
		{"IPv6 with port", proxy, fields(f, "[2001:db8:2::7]:81"), "[2001:db8:2::7]:81 http example.com true"},
		{"IPv4 with port", proxy, fields(f, "203.0.113.7:81"), "203.0.113.7:81 http example.com true"},
		{"IPv6 proxy", proxy, fields(f, "203.0.113.7, 2001:db8:1::7"), "203.0.113.7:0 http example.com true"},
		{"IPv4 in IPv6", proxy, fields(f, "::ffff:203.0.113.7, ::ffff:10.1.1.1"), "203.0.113.7:0 http example.com true"},
		{"peer is IPv4 in IPv6", netip.MustParseAddrPort("[::ffff:10.0.0.1]:1"), fields(f, "203.0.113.7"), "203.0.113.7:0 http example.com true"},
		{"zone", proxy, fields(f, "203.0.113.7, fe80::1%eth0"), "10.0.0.1:40000 http example.com true"},
		{"unknown", proxy, fields(f, "203.0.113.7, unknown"), "10.0.0.1:40000 http example.com true"},
		{"nonsense", proxy, fields(f, "203.0.113.7, 1.2.3"), "10.0.0.1:40000 http example.com true"},
		{"nonsense behind a proxy", proxy, fields(f, "203.0.113.7, x, 10.2.2.2"), "10.2.2.2:0 http example.com true"},
		{"empty element", proxy, fields(f, "203.0.113.7, "), "10.0.0.1:40000 http example.com true"},
		{"empty", proxy, fields(f, "", s, "", h, ""), "10.0.0.1:40000 http example.com true"},
		{"the other kind", proxy, fields("Forwarded", "for=203.0.113.7;proto=https"), "10.0.0.1:40000 http example.com true"},
	} {
		if got := resolve(t, p, tt.peer, tt.header); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestForwarded(t *testing.T) {
	p := &forwarded.Proxies{Prefixes: prefixes, Standard: true}
	for _, tt := range []struct{ value, want string }{
		{`for=203.0.113.7`, "203.0.113.7:0 http example.com true"},
		{`For="[2001:db8:2::7]:4711"`, "[2001:db8:2::7]:4711 http example.com true"},
		{`for=203.0.113.7;proto=https;by=10.0.0.1;host=www.example`, "203.0.113.7:0 https www.example true"},
		{`for=203.0.113.7 ; proto="https" ;host="www.example:81"`, "203.0.113.7:0 https www.example:81 true"},
		{`for=1.1.1.1, for=203.0.113.7;proto=https, for=10.2.2.2;proto=http`, "203.0.113.7:0 https example.com true"},
		{`for="203.0.113.7:_hidden"`, "203.0.113.7:0 http example.com true"},
		{`for="[2001:db8:2::7]:_hidden"`, "[2001:db8:2::7]:0 http example.com true"},
		{`for=203.0.113.7:81`, "203.0.113.7:81 http example.com true"},
		{`for=203.0.113.7;proto=wss`, "203.0.113.7:0 https example.com true"},
		{`for=203.0.113.7;proto=WS`, "203.0.113.7:0 http example.com true"},
		{`for=unknown;proto=https`, "10.0.0.1:40000 https example.com true"},
		{`for=_gazonk`, "10.0.0.1:40000 http example.com true"},
		{`for="evil, for=203.0.113.7`, "203.0.113.7:0 http example.com true"},
		{`for="evil\", for=203.0.113.7`, "203.0.113.7:0 http example.com true"},
		{`for=evil\, for=203.0.113.7`, "203.0.113.7:0 http example.com true"},
		{`for=1.1.1.1, by="a, b";for=203.0.113.7`, "203.0.113.7:0 http example.com true"},
		{`for=1.1.1.1, by="a\", b\\";for=203.0.113.7`, "203.0.113.7:0 http example.com true"},
		{`for="203.0.\113.7"`, "203.0.113.7:0 http example.com true"},
		{`for=203.0.113.7;for=1.1.1.1`, "10.0.0.1:40000 http example.com true"},
		{`for=203.0.113.7;proto`, "10.0.0.1:40000 http example.com true"},
		{`for="203.0.113.7`, "10.0.0.1:40000 http example.com true"},
		{`for="203.0.113.7"x`, "10.0.0.1:40000 http example.com true"},
		{``, "10.0.0.1:40000 http example.com true"},
		{`;;;`, "10.0.0.1:40000 http example.com true"},
	} {
		if got := resolve(t, p, proxy, fields("Forwarded", tt.value, "X-Forwarded-For", "198.51.100.66")); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.value, got, tt.want)
		}
		if got := resolve(t, p, stranger, fields("Forwarded", tt.value)); got != "192.0.2.1:40000 http example.com false" {
			t.Errorf("%s from a stranger: %s", tt.value, got)
		}
	}
}

func TestHosts(t *testing.T) {
	p := &forwarded.Proxies{Prefixes: prefixes, Fields: written}
	for host, good := range map[string]bool{
		"www.example": true, "www.example:8080": true, "[2001:db8::1]": true, "[2001:db8::1]:443": true, "192.0.2.1:1": true, "xn--bj-yka.example": true, "a_b.example": true, "www.example:": true,
		"": false, ":80": false, "a b": false, "a/b": false, "a?b": false, "a#b": false, "a@b": false, `a\b`: false, `a"b`: false, "<a>": false, "a%41": false,
		"a:b": false, "a:65536": false, "a:-1": false, "::1": false, "[::1": false, "[::1]x": false, "\u00e5.example": false, "a:1:2": false,
	} {
		want := "10.0.0.1:40000 http example.com true"
		if good {
			want = "10.0.0.1:40000 http " + host + " true"
		}
		if got := resolve(t, p, proxy, fields("X-Forwarded-Host", host)); got != want {
			t.Errorf("%q: %s, want %s", host, got, want)
		}
	}
}

func TestApply(t *testing.T) {
	header := fields("X-Forwarded-For", "203.0.113.7", "x-forwarded-proto", "https", "X-Forwarded-Host", "www.example", "X-Forwarded-Prefix", "/p",
		"X-Real-IP", "203.0.113.7", "Forwarded", "for=198.51.100.1;host=std.example", "X-Forwarded", "kept")
	xNames := []string{"HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PREFIX", "HTTP_X_REAL_IP"}
	for _, tt := range []struct {
		name        string
		p           forwarded.Proxies
		peer        netip.AddrPort
		want        map[string]any
		x, standard bool // the fields that stay
	}{
		{"X", forwarded.Proxies{Prefixes: prefixes, Fields: append(written, "X-Forwarded-Prefix", "X-Real-IP")}, proxy,
			map[string]any{"REMOTE_ADDR": "203.0.113.7", "REMOTE_PORT": nil, "wsgi.url_scheme": "https", "HTTP_HOST": "www.example", "SERVER_NAME": "www.example", "SERVER_PORT": "443"}, true, false},
		{"standard", forwarded.Proxies{Prefixes: prefixes, Standard: true}, proxy,
			map[string]any{"REMOTE_ADDR": "198.51.100.1", "REMOTE_PORT": nil, "wsgi.url_scheme": "http", "HTTP_HOST": "std.example"}, false, true},
		{"stranger", forwarded.Proxies{Prefixes: prefixes}, stranger,
			map[string]any{"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "40000", "wsgi.url_scheme": "http", "HTTP_HOST": "example.com"}, false, false},
	} {
		if call(t, tt.peer, header, func(env *gateway.Environ) {
			tt.p.Apply(env)
			for key, want := range tt.want {
				if got := env.Get(key); got != want {
					t.Errorf("%s: %s = %q, want %q", tt.name, key, got, want)
				}
			}
			for _, key := range xNames {
				if got := env.Get(key) != nil; got != tt.x {
					t.Errorf("%s: %s is there: %v, want %v", tt.name, key, got, tt.x)
				}
			}
			if got := env.Header("forwarded") != ""; got != tt.standard {
				t.Errorf("%s: Forwarded is there: %v, want %v", tt.name, got, tt.standard)
			}
			if env.Header("x-forwarded") != "kept" {
				t.Errorf("%s: X-Forwarded is gone", tt.name)
			}
		}) {
			t.Errorf("%s: no answer", tt.name)
		}
	}
}

// On a Unix socket the proxy has no address.
func TestUnix(t *testing.T) {
	for _, unix := range []bool{false, true} {
		p := &forwarded.Proxies{Unix: unix, Prefixes: prefixes}
		if call(t, proxy, fields("X-Forwarded-For", "203.0.113.7"), func(env *gateway.Environ) {
			env.Set("REMOTE_ADDR", "")
			if o, listed := p.Resolve(env); listed != unix || o.Remote.IsValid() != unix {
				t.Errorf("Unix %v: %v, %v", unix, o, listed)
			}
		}) {
			t.Fatal("no answer")
		}
	}
}

func TestCheck(t *testing.T) {
	for _, good := range []forwarded.Proxies{
		{}, {Unix: true}, {Prefixes: prefixes}, {Standard: true, Fields: []string{"X-Real-IP", "forwarded"}}, {Fields: []string{"X-SSL-Client-Verify"}}, {Fields: []string{}},
	} {
		if err := good.Check(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for want, p := range map[string]forwarded.Proxies{
		"Prefixes[1]":                    {Prefixes: []netip.Prefix{prefixes[0], {}}},
		"Prefixes[0]":                    {Prefixes: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}},
		"0.0.0.0/0":                      {Prefixes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
		`Fields[1] is "X-Real-IP "`:      {Fields: []string{"X-Forwarded-For", "X-Real-IP "}},
		`Fields[0] is ""`:                {Fields: []string{""}},
		`Fields[0] is "X_Forwarded_For"`: {Fields: []string{"X_Forwarded_For"}},
		"set Standard":                   {Fields: []string{"Forwarded"}},
		"not read with Standard":         {Standard: true, Fields: []string{"Forwarded", "X-Forwarded-For"}},
		"Fields lacks Forwarded":         {Standard: true, Fields: []string{"X-Real-IP"}},
	} {
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
}

// Whatever a client sends, the result is what the proxy appended; fields of a peer that is no proxy have no effect.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"", `for="`, `for="\`, "1.1.1.1", "10.0.0.1", `a;b="c\\"`, `","`, "unknown, ::1", `host="a,b"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, junk string) {
		for _, standard := range []bool{false, true} {
			p := &forwarded.Proxies{Prefixes: prefixes, Standard: standard}
			if !standard {
				p.Fields = written
			}
			client := fields("X-Forwarded-For", junk, "X-Forwarded-Proto", junk, "X-Forwarded-Host", junk, "Forwarded", junk)
			behind := append(client, fields("X-Forwarded-For", "203.0.113.7", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "www.example",
				"Forwarded", `by="_a\",b";for=203.0.113.7;proto=https;host=www.example`)...)
			call(t, proxy, behind, func(env *gateway.Environ) {
				o, listed := p.Resolve(env)
				if o != (forwarded.Origin{Remote: netip.MustParseAddrPort("203.0.113.7:0"), Scheme: "https", Host: "www.example"}) || !listed {
					t.Errorf("behind the proxy: %v, %v", o, listed)
				}
			})
			for _, peer := range []netip.AddrPort{proxy, stranger} {
				call(t, peer, client, func(env *gateway.Environ) {
					o, listed := p.Resolve(env)
					if peer == stranger && (listed || o.Remote != stranger || o.Scheme != "http" || o.Host != "example.com") {
						t.Errorf("a stranger's fields count: %v, %v", o, listed)
					}
					if strings.ContainsAny(o.Host, " /@\\,\"") || o.Scheme != "http" && o.Scheme != "https" {
						t.Errorf("%v", o)
					}
				})
			}
		}
	})
}
