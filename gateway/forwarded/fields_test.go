package forwarded_test

import (
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/forwarded"
)

// Fields that a proxy does not write are those of its client: they are not used, and the application does not see them. Of
// the fields that it writes, the application sees what proxies have written.
func TestFields(t *testing.T) {
	evil := fields("X-Forwarded-For", "6.6.6.6, 10.0.0.9, 203.0.113.7", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https", "X-Forwarded-Port", "666",
		"X-Forwarded-Prefix", "/evil", "X-Real-IP", "6.6.6.6", "True-Client-IP", "6.6.6.6", "X-Url-Scheme", "https", "Front-End-Https", "on", "CF-Connecting-IP", "6.6.6.6",
		"Forwarded", "for=6.6.6.6;host=evil.example;proto=https", "X-SSL-Client-Verify", "SUCCESS", "User-Agent", "bear")
	at := func(p forwarded.Proxies) forwarded.Proxies {
		p.Prefixes = prefixes
		return p
	}
	const agent = "HTTP_USER_AGENT=bear"
	const unread = "HTTP_X_SSL_CLIENT_VERIFY=SUCCESS " + agent // a field of the application's own, as long as it is not listed
	for name, tt := range map[string]struct {
		p      forwarded.Proxies
		peer   netip.AddrPort
		origin string
		want   string // of the fields, sorted
	}{
		"X-Forwarded-For alone": {at(forwarded.Proxies{}), proxy, "203.0.113.7 http example.com", "HTTP_X_FORWARDED_FOR=203.0.113.7 " + unread},
		"a stranger":            {at(forwarded.Proxies{}), stranger, "192.0.2.1 http example.com", unread},
		"nobody is trusted":     {forwarded.Proxies{}, proxy, "10.0.0.1 http example.com", unread},
		"and the scheme": {at(forwarded.Proxies{Fields: []string{"X-Forwarded-For", "X-Forwarded-Proto"}}), proxy, "203.0.113.7 https example.com",
			"HTTP_X_FORWARDED_FOR=203.0.113.7 HTTP_X_FORWARDED_PROTO=https " + unread},
		"the scheme alone":           {at(forwarded.Proxies{Fields: []string{"x-forwarded-proto"}}), proxy, "10.0.0.1 https example.com", "HTTP_X_FORWARDED_PROTO=https " + unread},
		"Standard":                   {at(forwarded.Proxies{Standard: true}), proxy, "6.6.6.6 https evil.example", "HTTP_FORWARDED=for=6.6.6.6;host=evil.example;proto=https " + unread},
		"one's own":                  {at(forwarded.Proxies{Fields: []string{"X-SSL-Client-Verify"}}), proxy, "10.0.0.1 http example.com", unread},
		"one's own, from a stranger": {at(forwarded.Proxies{Fields: []string{"X-SSL-Client-Verify"}}), stranger, "192.0.2.1 http example.com", agent},
	} {
		for _, again := range []bool{false, true} { // a second one inside finds the same
			call(t, tt.peer, evil, func(env *gateway.Environ) {
				tt.p.Apply(env)
				if again && tt.origin[:2] != "10" {
					inner := tt.p
					inner.Prefixes = append(inner.Prefixes, netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("6.6.6.6/32"))
					inner.Apply(env)
				}
				if got := env.RemoteAddr().Addr().String() + " " + env.Scheme() + " " + env.Host(); got != tt.origin {
					t.Errorf("%s: %s, want %s", name, got, tt.origin)
				}
				if got := shown(env); got != tt.want {
					t.Errorf("%s: the application sees %s, want %s", name, got, tt.want)
				}
			})
		}
	}
}

// shown is the fields that an application sees, in every view.
func shown(env *gateway.Environ) string {
	byKey, byName := map[string]bool{}, map[string]bool{}
	for key, value := range env.All() {
		if strings.HasPrefix(key, "HTTP_") && key != "HTTP_HOST" {
			byKey[key+"="+value.(string)] = true
		}
	}
	for name, value := range env.Headers() {
		key := "HTTP_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if key == "HTTP_HOST" {
			continue
		}
		byName[key+"="+value] = true
		if got := env.Header(name); got != value {
			return "Header(" + name + ") = " + got
		}
	}
	if !maps.Equal(byKey, byName) {
		return "keys and names differ"
	}
	list := make([]string, 0, len(byKey))
	for _, order := range []string{"HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO", "HTTP_X_SSL", "HTTP_USER"} {
		for line := range byKey {
			if strings.HasPrefix(line, order) {
				list = append(list, line)
			}
		}
	}
	if len(list) != len(byKey) {
		return "other fields, too: " + strings.Join(list, " ")
	}
	return strings.Join(list, " ")
}

// Apply leaves the part of each list that proxies have written.
func TestListsAreCut(t *testing.T) {
	x := forwarded.Proxies{Prefixes: prefixes, Fields: append(written, "X-Forwarded-Port", "X-Forwarded-Server", "X-Real-IP")}
	standard := forwarded.Proxies{Prefixes: prefixes, Standard: true}
	for _, tt := range []struct {
		p                forwarded.Proxies
		name, sent, want string
	}{
		{x, "X-Forwarded-For", "6.6.6.6, 203.0.113.7", "203.0.113.7"},
		{x, "X-Forwarded-For", "6.6.6.6,203.0.113.7 , 10.2.2.2,10.3.3.3", "203.0.113.7 , 10.2.2.2,10.3.3.3"},
		{x, "X-Forwarded-For", "203.0.113.7", "203.0.113.7"},
		{x, "X-Forwarded-For", "10.3.3.3, 10.2.2.2", "10.3.3.3, 10.2.2.2"},
		{x, "X-Forwarded-For", "6.6.6.6, unknown", "unknown"},
		{x, "X-Forwarded-For", "6.6.6.6, ", ""},
		{x, "X-Forwarded-For", "1.1.1.1" + strings.Repeat(", 10.0.0.2", 40), strings.Repeat("10.0.0.2, ", 31) + "10.0.0.2"},
		{x, "X-Forwarded-Proto", "https, http", "http"},
		{x, "X-Forwarded-Host", "evil, inner", "inner"},
		{x, "X-Forwarded-Port", "666, 443", "443"},
		{x, "X-Forwarded-Server", "evil, inner", "inner"},
		{x, "X-Real-IP", "203.0.113.7", "203.0.113.7"},
		{standard, "Forwarded", `for=6.6.6.6, for="[2001:db8:2::7]:1";by="a,b"`, `for="[2001:db8:2::7]:1";by="a,b"`},
		{standard, "Forwarded", `for="6.6.6.6, for=203.0.113.7, for=10.2.2.2`, `for=203.0.113.7, for=10.2.2.2`},
	} {
		call(t, proxy, fields(tt.name, tt.sent), func(env *gateway.Environ) {
			tt.p.Apply(env)
			if got := env.Header(tt.name); got != tt.want {
				t.Errorf("%s: %.60s: %q is left, want %q", tt.name, tt.sent, got, tt.want)
			}
		})
	}
}
