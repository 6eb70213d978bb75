package middleware

import (
	"net/netip"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/forwarded"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
)

func TestTrustedProxies(t *testing.T) {
	prefixes := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	m, err := TrustedProxies(forwarded.Proxies{Prefixes: prefixes})
	if err != nil {
		t.Fatal(err)
	}
	prefixes[0] = netip.MustParsePrefix("0.0.0.0/0") // the caller's own
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
	if _, err := TrustedProxies(forwarded.Proxies{}); err == nil {
		t.Error("no proxies is no error")
	}
}
