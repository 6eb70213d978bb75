package field_test

import (
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/internal/field"
)

// inName is RFC 9110 section 5.6.2 from its other side: visible characters
// without the delimiters.
func inName(c int) bool {
	return ' ' < c && c < 0x7f && !strings.ContainsRune("\"(),/:;<=>?@[\\]{}", rune(c))
}

// inValue is RFC 9110 section 5.5.
func inValue(c int) bool { return c == '\t' || ' ' <= c && c <= '~' || c >= 0x80 }

// Every byte as the first, a middle and the last one of a name and of a value,
// and as the only one.
func TestCheckBytes(t *testing.T) {
	for c := range 256 {
		b := string([]byte{byte(c)})
		for _, s := range []string{b + "ab", "a" + b + "b", "ab" + b, b} {
			if _, err := field.Check(s, "v"); (err == nil) != inName(c) {
				t.Errorf("Check with the name %q: %v, want it accepted: %v", s, err, inName(c))
			}
			if _, err := field.Check("n", s); (err == nil) != inValue(c) {
				t.Errorf("Check with the value %q: %v, want it accepted: %v", s, err, inValue(c))
			}
		}
	}
}

// kinds are names and what they mean to the server.
var kinds = []struct {
	name string
	kind field.Kind
}{
	{"content-length", field.ContentLength},
	{"date", field.Date},
	{"server", field.ServerName},
	{"connection", field.Connection},
	{"status", field.Forbidden},
	{"keep-alive", field.Forbidden},
	{"proxy-authenticate", field.Forbidden},
	{"proxy-authorization", field.Forbidden},
	{"proxy-connection", field.Forbidden},
	{"proxy-x", field.Forbidden},
	{"te", field.Forbidden},
	{"trailer", field.Trailer},
	{"transfer-encoding", field.Forbidden},
	{"upgrade", field.Forbidden},

	{"content-type", field.Plain},
	{"content-lengthy", field.Plain},
	{"content_length", field.Plain},
	{"content-lengt", field.Plain},
	{"x-content-length", field.Plain},
	{"connections", field.Plain},
	{"dat", field.Plain},
	{"dates", field.Plain},
	{"server-timing", field.Plain},
	{"set-cookie", field.Plain},
	{"statu", field.Plain},
	{"keep_alive", field.Plain},
	{"proxy", field.Plain},
	{"proxy_x", field.Plain},
	{"proxies-x", field.Plain},
	{"t", field.Plain},
	{"tea", field.Plain},
	{"trailers", field.Plain},
	{"upgrade-insecure-requests", field.Plain},
	{"location", field.Plain},
	{"vary", field.Plain},
	{"x", field.Plain},
	{"", field.Plain},
	{"\x03ontent-length", field.Plain}, // 'c' without the bits of a letter
	{"\x14e", field.Plain},
	{"content\rlength", field.Plain}, // '-' without one bit
}

func TestKindOf(t *testing.T) {
	for _, tt := range kinds {
		for _, name := range cases(tt.name) {
			if got := field.KindOf(name); got != tt.kind {
				t.Errorf("KindOf(%q) = %d, want %d", name, got, tt.kind)
			}
		}
	}
}

// cases are ways to write a name.
func cases(name string) []string {
	mixed := []byte(name)
	title := []byte(name)
	for i := range mixed {
		if 'a' <= mixed[i] && mixed[i] <= 'z' {
			if i%2 == 1 {
				mixed[i] -= 'a' - 'A'
			}
			if i == 0 || title[i-1] == '-' {
				title[i] -= 'a' - 'A'
			}
		}
	}
	return []string{name, strings.ToUpper(name), string(title), string(mixed)}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		kind        field.Kind
		why         string // a part of the error; "" accepted
	}{
		{"Content-Type", "text/plain; charset=utf-8", field.Plain, ""},
		{"X-Empty", "", field.Plain, ""},
		{"X", "\ta \t b\xe5\xff", field.Plain, ""},
		{"Content-Length", "12", field.ContentLength, ""},
		{"content-LENGTH", "not a number", field.ContentLength, ""}, // the server's to read
		{"Date", "x", field.Date, ""},
		{"Server", "x", field.ServerName, ""},
		{"Connection", "close", field.Connection, ""},
		{"connection", "Close", field.Connection, ""},
		{"Connection", "keep-alive", field.Connection, "close"},
		{"Connection", "", field.Connection, "close"},
		{"Connection", "close, x", field.Connection, "close"},
		{"Connection", "upgrade", field.Connection, "close"},
		{"Transfer-Encoding", "chunked", field.Forbidden, "Transfer-Encoding"},
		{"keep-alive", "timeout=1", field.Forbidden, "keep-alive"},
		{"Status", "200 OK", field.Forbidden, "Status"},
		{"Proxy-Authenticate", "Basic", field.Forbidden, "Proxy-Authenticate"},
		{"", "value", field.Plain, "no name"},
		{"a b", "v", field.Plain, "a b"},
		{"a:", "v", field.Plain, "a:"},
		{"a\r\nb", "v", field.Plain, "token"},
		{"na\u00efve", "v", field.Plain, "token"},
		{"X", "a\r\nSet-Cookie: b", field.Plain, "control"},
		{"X", "\n", field.Plain, "control"},
		{"X", "a\x00", field.Plain, "control"},
		{"Transfer-Encoding ", "chunked", field.Plain, "token"},
		{"Content-Length", "1\r\n", field.Plain, "control"},
		{"Connection", "close\r\n", field.Plain, "control"},
	} {
		kind, err := field.Check(tt.name, tt.value)
		switch {
		case tt.why == "" && err != nil:
			t.Errorf("Check(%q: %q): %v", tt.name, tt.value, err)
		case tt.why != "" && (err == nil || !strings.Contains(err.Error(), tt.why)):
			t.Errorf("Check(%q: %q): %v, want an error that has %q", tt.name, tt.value, err, tt.why)
		}
		if kind != tt.kind {
			t.Errorf("Check(%q: %q) = %d, want %d", tt.name, tt.value, kind, tt.kind)
		}
	}
	for _, tt := range kinds { // agrees with KindOf, in every case
		for _, name := range cases(tt.name) {
			for _, c := range []byte(name) {
				if !inName(int(c)) {
					name = ""
				}
			}
			if name == "" {
				continue
			}
			kind, err := field.Check(name, "close")
			if kind != tt.kind || (err != nil) != (kind == field.Forbidden) {
				t.Errorf("Check(%q: close) = %d, %v; want %d", name, kind, err, tt.kind)
			}
		}
	}
}
