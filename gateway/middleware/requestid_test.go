package middleware

import (
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

func TestRequestID(t *testing.T) {
	var seen string
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		seen, _ = env.Get(RequestIDKey).(string)
		seen = strings.Clone(seen)
		_, err := start("200 OK", fields("X-A", "1", "x-request-id", "of the application"), nil)
		return nil, err
	})
	names := map[string]bool{}
	for _, tt := range []struct {
		id    string
		trust bool
		taken bool
	}{
		{"abc-DEF_0.9~+/=:", true, true},
		{"abc", false, false},
		{"", true, false},
		{"a b", true, false},
		{"a,b", true, false},
		{`a"b`, true, false},
		{"a\x80", true, false},
		{"a;b", true, false},
		{"a@b", true, false},
		{"a[b", true, false},
		{strings.Repeat("x", 128), true, true},
		{strings.Repeat("x", 129), true, false},
	} {
		got := call(RequestID(tt.trust)(app), "GET", "/", "X-Request-Id", tt.id)
		if got.Err != nil || got.Get("X-Request-Id") != seen || got.Get("X-A") != "1" || (seen == tt.id) != tt.taken {
			t.Errorf("%q, trust %v: the application sees %q, the client %q, %v", tt.id, tt.trust, seen, got.Get("X-Request-Id"), got.Err)
		}
		if !tt.taken && (len(seen) < 20 || names[seen]) {
			t.Errorf("%q is no new name", seen)
		}
		names[seen] = true
	}
}
