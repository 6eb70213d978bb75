package forwarded_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/forwarded"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
)

// header is a list of headers from names and values.
func header(pairs ...string) (list []gateway.Header) {
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, gateway.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return list
}

// client is the Origin of a request, as text: address, scheme, host.
func client(t testing.TB, p forwarded.Proxies, remote string, headers ...string) string {
	t.Helper()
	text := ""
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		o, _ := p.Resolve(env)
		text = strings.Join([]string{o.Remote.String(), o.Scheme, o.Host}, " ")
		_, err := start("200 OK", nil, nil)
		return nil, err
	})
	if got := gatewaytest.Call(app, gatewaytest.Request{Remote: netip.MustParseAddrPort(remote), Header: header(headers...)}); got.Err != nil {
		t.Fatal(got.Err)
	}
	return text
}

var trusted = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}

const (
	aProxy    = "10.0.0.1:1000"
	aStranger = "192.0.2.9:1000"
	mapped    = "[::ffff:10.0.0.1]:1000"
)

func TestOriginByXForwarded(t *testing.T) {
	const f, proto, host = "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"
	for name, tt := range map[string]struct {
		remote  string
		headers []string
		want    string
	}{
		"nothing":              {aProxy, nil, "10.0.0.1:1000 http example.com"},
		"one":                  {aProxy, []string{f, "1.2.3.4", proto, "https", host, "a.example"}, "1.2.3.4:0 https a.example"},
		"IPv6":                 {"[2001:db8:1::1]:5", []string{f, "2001:db8:2::1"}, "[2001:db8:2::1]:0 http example.com"},
		"brackets and port":    {aProxy, []string{f, "[2001:db8:2::1]:99"}, "[2001:db8:2::1]:99 http example.com"},
		"port":                 {aProxy, []string{f, "1.2.3.4:99"}, "1.2.3.4:99 http example.com"},
		"mapped":               {mapped, []string{f, "::ffff:1.2.3.4"}, "1.2.3.4:0 http example.com"},
		"chain":                {aProxy, []string{f, "1.2.3.4, 10.0.0.3,10.0.0.2", proto, "https", host, "a.example"}, "1.2.3.4:0 https a.example"},
		"chain of lists":       {aProxy, []string{f, "1.2.3.4, 10.0.0.2", proto, "https, http", host, "a.example, b.example"}, "1.2.3.4:0 https a.example"},
		"repeated fields":      {aProxy, []string{f, "6.6.6.6", f, "1.2.3.4"}, "1.2.3.4:0 http example.com"},
		"all are proxies":      {aProxy, []string{f, "10.0.0.3, 10.0.0.2"}, "10.0.0.3:0 http example.com"},
		"stranger":             {aStranger, []string{f, "1.2.3.4", proto, "https", host, "evil.example"}, "192.0.2.9:1000 http example.com"},
		"stranger as a aProxy": {aStranger, []string{f, "10.0.0.1", proto, "https"}, "192.0.2.9:1000 http example.com"},
		"spoofed":              {aProxy, []string{f, "6.6.6.6, 10.0.0.9, 1.2.3.4"}, "1.2.3.4:0 http example.com"},
		"spoofed lists":        {aProxy, []string{f, "6.6.6.6, 1.2.3.4", proto, "https, http", host, "evil.example, a.example"}, "1.2.3.4:0 http a.example"},
		"another field":        {aProxy, []string{"Forwarded", "for=6.6.6.6;proto=https;host=evil.example"}, "10.0.0.1:1000 http example.com"},
		"underscore":           {aProxy, []string{"X_Forwarded_For", "6.6.6.6"}, "10.0.0.1:1000 http example.com"},
		"unknown":              {aProxy, []string{f, "1.2.3.4, unknown"}, "10.0.0.1:1000 http example.com"},
		"unknown further":      {aProxy, []string{f, "1.2.3.4, unknown, 10.0.0.2"}, "10.0.0.2:0 http example.com"},
		"empty":                {aProxy, []string{f, "1.2.3.4, "}, "10.0.0.1:1000 http example.com"},
		"a zone":               {aProxy, []string{f, "fe80::1%\"evil"}, "10.0.0.1:1000 http example.com"},
		"a name":               {aProxy, []string{f, "localhost"}, "10.0.0.1:1000 http example.com"},
		"leading zeros":        {aProxy, []string{f, "010.0.0.1"}, "10.0.0.1:1000 http example.com"},
		"odd brackets":         {aProxy, []string{f, "[::1"}, "10.0.0.1:1000 http example.com"},
		"an open quote":        {aProxy, []string{f, `", 1.2.3.4`}, "1.2.3.4:0 http example.com"},
		"scheme":               {aProxy, []string{f, "1.2.3.4", proto, "javascript"}, "1.2.3.4:0 http example.com"},
		"scheme in capitals":   {aProxy, []string{f, "1.2.3.4", proto, "HTTPS"}, "1.2.3.4:0 https example.com"},
		"hosts":                {aProxy, []string{f, "1.2.3.4", host, "a/b"}, "1.2.3.4:0 http example.com"},
		"host with user":       {aProxy, []string{f, "1.2.3.4", host, "a@b"}, "1.2.3.4:0 http example.com"},
		"host of IPv6":         {aProxy, []string{f, "1.2.3.4", host, "[::1]:80"}, "1.2.3.4:0 http [::1]:80"},
		"long host":            {aProxy, []string{f, "1.2.3.4", host, strings.Repeat("a", 300)}, "1.2.3.4:0 http example.com"},
		"endless":              {aProxy, []string{f, "1.2.3.4" + strings.Repeat(", 10.0.0.2", 1000)}, "10.0.0.2:0 http example.com"},
	} {
		if got := client(t, forwarded.Proxies{Prefixes: trusted, Fields: written}, tt.remote, tt.headers...); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestOriginByForwarded(t *testing.T) {
	for name, tt := range map[string]struct {
		remote, field, want string
	}{
		"nothing":             {aProxy, "", "10.0.0.1:1000 http example.com"},
		"for":                 {aProxy, "for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60:0 http example.com"}, // RFC 7239 section 4
		"capitals":            {aProxy, `For="[2001:db8:cafe::17]:4711"`, "[2001:db8:cafe::17]:4711 http example.com"},
		"quoted":              {aProxy, `for="1.2.3.4:99";host="a.example:81";PROTO=https`, "1.2.3.4:99 https a.example:81"},
		"spaces":              {aProxy, "for=6.6.6.6 , for=1.2.3.4; proto=https ", "1.2.3.4:0 https example.com"},
		"chain":               {aProxy, "for=1.2.3.4;proto=https;host=a.example, for=10.0.0.2;proto=http;host=b.example", "1.2.3.4:0 https a.example"},
		"next one's word":     {aProxy, "for=1.2.3.4, for=10.0.0.2;proto=https", "1.2.3.4:0 https example.com"},
		"stranger":            {aStranger, "for=1.2.3.4;proto=https;host=evil.example", "192.0.2.9:1000 http example.com"},
		"spoofed":             {aProxy, "for=6.6.6.6;proto=https;host=evil.example, for=1.2.3.4", "1.2.3.4:0 http example.com"},
		"spoofed aProxy":      {aProxy, "for=6.6.6.6, for=10.0.0.9, for=1.2.3.4", "1.2.3.4:0 http example.com"},
		"an open quote":       {aProxy, `for="6.6.6.6, for=1.2.3.4`, "1.2.3.4:0 http example.com"},
		"an open quote more":  {aProxy, `for=6.6.6.6;x=", for="[2001:db8::1]"`, "[2001:db8::1]:0 http example.com"},
		"an open quote, host": {aProxy, `for=6.6.6.6;x=", for=1.2.3.4;host="a.example";proto=https`, "1.2.3.4:0 https a.example"},
		"an escape":           {aProxy, `for=6.6.6.6;x="\, for=1.2.3.4`, "1.2.3.4:0 http example.com"},
		"escaped quotes":      {aProxy, `for=6.6.6.6, for=1.2.3.4;x="a\", for=\"b\\";proto=https`, "1.2.3.4:0 https example.com"},
		"unknown":             {aProxy, "for=6.6.6.6, for=unknown;proto=https", "10.0.0.1:1000 https example.com"},
		"hidden":              {aProxy, `for=6.6.6.6, for="_gazonk"`, "10.0.0.1:1000 http example.com"},
		"no for":              {aProxy, "for=6.6.6.6, proto=https", "10.0.0.1:1000 https example.com"},
		"twice":               {aProxy, "for=6.6.6.6;for=1.2.3.4", "10.0.0.1:1000 http example.com"},
		"colon not quoted":    {aProxy, "for=1.2.3.4:99;proto=https", "1.2.3.4:99 https example.com"}, // some proxies do not quote it
		"malformed":           {aProxy, "for=6.6.6.6, for==", "10.0.0.1:1000 http example.com"},
		"empty":               {aProxy, "for=6.6.6.6, ", "10.0.0.1:1000 http example.com"},
		"endless":             {aProxy, "for=1.2.3.4" + strings.Repeat(", for=10.0.0.2", 1000), "10.0.0.2:0 http example.com"},
	} {
		p := forwarded.Proxies{Prefixes: trusted, Standard: true}
		if got := client(t, p, tt.remote, "Forwarded", tt.field, "X-Forwarded-For", "6.6.6.6", "X-Forwarded-Host", "evil.example"); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestNobodyIsTrusted(t *testing.T) {
	for _, p := range []forwarded.Proxies{{}, {Standard: true}, {Unix: true}} {
		if got := client(t, p, aProxy, "X-Forwarded-For", "1.2.3.4", "Forwarded", "for=1.2.3.4"); got != "10.0.0.1:1000 http example.com" {
			t.Errorf("%+v: %s", p, got)
		}
	}
}

// A peer on a Unix socket has no address.
func TestUnixProxy(t *testing.T) {
	for unix, want := range map[bool]string{true: "1.2.3.4:0", false: "invalid AddrPort"} {
		p := forwarded.Proxies{Unix: unix, Prefixes: trusted}
		got := ""
		app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			env.Set("REMOTE_ADDR", "")
			o, _ := p.Resolve(env)
			got = o.Remote.String()
			_, err := start("200 OK", nil, nil)
			return nil, err
		})
		gatewaytest.Call(app, gatewaytest.Request{Header: header("X-Forwarded-For", "1.2.3.4")})
		if got != want {
			t.Errorf("Unix %v: %s, want %s", unix, got, want)
		}
	}
}

// Invariant: what a client writes before the element that a trusted proxy appends
// changes nothing.
func FuzzOrigin(f *testing.F) {
	for _, s := range []string{
		"", "for=6.6.6.6", `for="`, `x="\`, `"`, `\`, "for=6.6.6.6, for=10.0.0.2", "6.6.6.6", "10.0.0.9, 10.0.0.8", ",", ";", "for*=utf-8''6.6.6.6",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range []byte(s) {
			if c < ' ' && c != '\t' || c == 0x7f {
				return // not in a field
			}
		}
		if len(s) > 10_000 {
			return // more than a head has
		}
		for _, appended := range []string{"for=1.2.3.4;proto=https;host=a.example", `for="1.2.3.4:0";host="a.example";proto="https"`, `for=1.2.3.4;x="a\",for=\"b\\";proto=https;host=a.example`} {
			if got := client(t, forwarded.Proxies{Prefixes: trusted, Standard: true}, aProxy, "Forwarded", s+", "+appended); got != "1.2.3.4:0 https a.example" {
				t.Errorf("%q and %q: %s", s, appended, got)
			}
		}
		if got := client(t, forwarded.Proxies{Prefixes: trusted, Fields: written}, aProxy, "X-Forwarded-For", s+", 1.2.3.4", "X-Forwarded-Proto", s+", https", "X-Forwarded-Host", s+",a.example"); got != "1.2.3.4:0 https a.example" {
			t.Errorf("%q: %s", s, got)
		}
		if got := client(t, forwarded.Proxies{Prefixes: trusted, Standard: true}, aProxy, "Forwarded", s); strings.HasPrefix(got, "invalid") {
			t.Errorf("%q: %s", s, got)
		}
	})
}
