package middleware

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/forwarded"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/server"
)

func TestTrustedProxies(t *testing.T) {
	prefixes := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	written := []string{"X-Forwarded-For", "X-Forwarded-Proto"}
	m, err := TrustedProxies(forwarded.Proxies{Prefixes: prefixes, Fields: written})
	if err != nil {
		t.Fatal(err)
	}
	prefixes[0], written[1] = netip.MustParsePrefix("0.0.0.0/0"), "X-Forwarded-Host" // the caller's own
	app := m(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return env.Text(env.RemoteAddr().Addr().String() + " " + env.Scheme() + " " + env.Header("X-Forwarded-For")), err
	}))
	for peer, want := range map[string]string{
		"10.0.0.1:1":  "203.0.113.7 https 203.0.113.7",
		"192.0.2.1:1": "192.0.2.1 http ",
	} {
		got := gatewaytest.Call(app, gatewaytest.Request{Remote: netip.MustParseAddrPort(peer), Header: fields("X-Forwarded-For", "203.0.113.7", "X-Forwarded-Proto", "https")})
		if got.Err != nil || got.Text() != want {
			t.Errorf("%s: %q, want %q", peer, got.Text(), want)
		}
	}
	if _, err := TrustedProxies(forwarded.Proxies{Prefixes: prefixes}); err == nil {
		t.Error("to trust everybody is no error")
	}
}

// For every spelling of the fields, and whether the server shows "_" or not: no field of a peer that is no proxy reaches
// the application, and of a proxy only those that it writes.
func TestTrustedProxiesOnTheWire(t *testing.T) {
	sent := []string{"X_Forwarded_For: 6.6.6.6", "x-forwarded_for: 6.6.6.6", "X_Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "X_Real_IP: 6.6.6.6", "X-Real-IP: 6.6.6.6", "Forwarded: for=6.6.6.6"}
	loopback, elsewhere := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	const client = "X-Forwarded-For: 203.0.113.7"
	for name, tt := range map[string]struct {
		p       forwarded.Proxies
		network string
		lines   []string // that the proxy writes
		want    string
	}{
		"nobody is trusted":         {forwarded.Proxies{}, "tcp", []string{client}, "200 127.0.0.1 http h"},
		"nobody, on a Unix socket":  {forwarded.Proxies{}, "unix", []string{client}, "200 invalid IP http h"},
		"a stranger":                {forwarded.Proxies{Prefixes: elsewhere, Fields: []string{"X-Real-IP"}}, "tcp", []string{client}, "200 127.0.0.1 http h"},
		"a proxy":                   {forwarded.Proxies{Prefixes: loopback}, "tcp", []string{client}, "200 203.0.113.7 http h X-Forwarded-For=203.0.113.7"},
		"a proxy that is silent":    {forwarded.Proxies{Prefixes: loopback}, "tcp", nil, "200 127.0.0.1 http h"},
		"a proxy that appends":      {forwarded.Proxies{Prefixes: loopback}, "tcp", []string{"X-Forwarded-For: 6.6.6.6, 203.0.113.7"}, "200 203.0.113.7 http h X-Forwarded-For=203.0.113.7"},
		"a proxy, with a line more": {forwarded.Proxies{Prefixes: loopback}, "tcp", []string{"X-Forwarded-For: 6.6.6.6", client}, "200 203.0.113.7 http h X-Forwarded-For=203.0.113.7"},
		"a WebSocket behind TLS": {forwarded.Proxies{Prefixes: loopback, Fields: []string{"X-Forwarded-Proto"}}, "tcp", []string{"X-Forwarded-Proto: wss"},
			"200 127.0.0.1 https h X-Forwarded-Proto=wss"},
		"on a Unix socket": {forwarded.Proxies{Unix: true, Fields: []string{"X-Forwarded-For", "X-Forwarded-Host"}}, "unix", []string{client, "X-Forwarded-Host: a.example"},
			"200 203.0.113.7 http a.example X-Forwarded-For=203.0.113.7 X-Forwarded-Host=a.example"},
	} {
		for where, dispatch := range dispatches {
			m, err := TrustedProxies(tt.p)
			if err != nil {
				t.Fatal(err)
			}
			c := dial(t, m(gateway.AppFunc(showOrigin)), tt.network, server.Options{Dispatch: dispatch, UnderscoreFields: server.KeepUnderscores})
			if got := c.text("GET", "/", append(sent, tt.lines...)...); got != tt.want {
				t.Errorf("%s, %s: %q, want %q", name, where, got, tt.want)
			}
		}
	}
}

// showOrigin responds with the client as the Environ shows it, and with all fields by name.
func showOrigin(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	lines := []string{}
	for name, value := range env.Headers() {
		key := "HTTP_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if env.Header(name) != value || env.Get(key) != value {
			value = fmt.Sprintf("%q by line, %q by name, %q by key", value, env.Header(name), env.Get(key))
		}
		if name != "Host" {
			lines = append(lines, " "+name+"="+value)
		}
	}
	slices.Sort(lines)
	_, err := start("200 OK", nil, nil)
	return gateway.Text(env.RemoteAddr().Addr().String() + " " + env.Scheme() + " " + env.Host() + strings.Join(lines, "")), err
}
