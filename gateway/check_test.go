package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

func TestCheckStatus(t *testing.T) {
	for _, tt := range []struct {
		status string
		code   int // 0: refused
	}{
		{"200 OK", 200},
		{"404 Not Found", 404},
		{"100 Continue", 100},
		{"599 x", 599},
		{"200 ", 200}, // the reason may be empty
		{"299 Bl\xe5b\xe4r", 299},
		{"200 tab\tand \"quotes\"", 200},
		{"200  two spaces", 200}, // one belongs to the reason
		{"200 " + strings.Repeat("x", 10_000), 200},
		{"", 0},
		{"2", 0},
		{"200", 0},
		{"200OK", 0},
		{"200\tOK", 0},
		{" 200 OK", 0},
		{"20 OK", 0},
		{"2000 OK", 0},
		{"OK", 0},
		{"099 x", 0},
		{"000 x", 0},
		{"600 x", 0},
		{"999 x", 0},
		{"+20 x", 0},
		{"-20 x", 0},
		{"2.0 x", 0},
		{"0x2 x", 0},
		{"\uff12\uff10\uff10 x", 0},
		{"200 OK\r\n", 0},
		{"200 OK\r\nSet-Cookie: a=b", 0},
		{"200 OK\n", 0},
		{"200 \x00", 0},
		{"200 \x7f", 0},
	} {
		code, err := gateway.CheckStatus(tt.status)
		if code != tt.code || (err != nil) != (tt.code == 0) {
			t.Errorf("CheckStatus(%.40q) = %d, %v; want %d", tt.status, code, err, tt.code)
		}
	}
	for code := range 1000 {
		got, err := gateway.CheckStatus(fmt.Sprintf("%03d x", code))
		if 100 <= code && code < 600 {
			if got != code || err != nil {
				t.Errorf("CheckStatus of %d = %d, %v", code, got, err)
			}
		} else if got != 0 || err == nil {
			t.Errorf("CheckStatus of %d = %d, %v; want an error", code, got, err)
		}
	}
}

// Every byte at every place of a short status.
func TestCheckStatusBytes(t *testing.T) {
	for at := range len("200 abc") {
		for c := range 256 {
			status := []byte("200 abc")
			status[at] = byte(c)
			var want bool
			switch at {
			case 0:
				want = '1' <= c && c <= '5'
			case 1, 2:
				want = '0' <= c && c <= '9'
			case 3:
				want = c == ' '
			default:
				want = inValue(c)
			}
			if _, err := gateway.CheckStatus(string(status)); (err == nil) != want {
				t.Errorf("CheckStatus(%q): %v, want it accepted: %v", status, err, want)
			}
		}
	}
}

// inName is RFC 9110 section 5.6.2 from its other side: visible characters
// without the delimiters.
func inName(c int) bool {
	return ' ' < c && c < 0x7f && !strings.ContainsRune("\"(),/:;<=>?@[\\]{}", rune(c))
}

// inValue is RFC 9110 section 5.5.
func inValue(c int) bool { return c == '\t' || ' ' <= c && c <= '~' || c >= 0x80 }

// Every byte as the first, a middle and the last one of a name and of a value,
// and as the only one.
func TestCheckHeaderBytes(t *testing.T) {
	for c := range 256 {
		b := string([]byte{byte(c)})
		for _, s := range []string{b + "ab", "a" + b + "b", "ab" + b, b} {
			if _, err := gateway.CheckHeader(&gateway.Header{Name: s, Value: "v"}); (err == nil) != inName(c) {
				t.Errorf("CheckHeader with the name %q: %v, want it accepted: %v", s, err, inName(c))
			}
			if _, err := gateway.CheckHeader(&gateway.Header{Name: "n", Value: s}); (err == nil) != inValue(c) {
				t.Errorf("CheckHeader with the value %q: %v, want it accepted: %v", s, err, inValue(c))
			}
		}
	}
}

// kinds are names and what they mean to the server.
var kinds = []struct {
	name string
	kind gateway.Kind
}{
	{"content-length", gateway.ContentLength},
	{"date", gateway.Date},
	{"server", gateway.ServerName},
	{"connection", gateway.Connection},
	{"status", gateway.Forbidden},
	{"keep-alive", gateway.Forbidden},
	{"proxy-authenticate", gateway.Forbidden},
	{"proxy-authorization", gateway.Forbidden},
	{"proxy-connection", gateway.Forbidden},
	{"proxy-x", gateway.Forbidden},
	{"te", gateway.Forbidden},
	{"trailer", gateway.Trailer},
	{"transfer-encoding", gateway.Forbidden},
	{"upgrade", gateway.Forbidden},

	{"content-type", gateway.Plain},
	{"content-lengthy", gateway.Plain},
	{"content_length", gateway.Plain},
	{"content-lengt", gateway.Plain},
	{"x-content-length", gateway.Plain},
	{"connections", gateway.Plain},
	{"dat", gateway.Plain},
	{"dates", gateway.Plain},
	{"server-timing", gateway.Plain},
	{"set-cookie", gateway.Plain},
	{"statu", gateway.Plain},
	{"keep_alive", gateway.Plain},
	{"proxy", gateway.Plain},
	{"proxy_x", gateway.Plain},
	{"proxies-x", gateway.Plain},
	{"t", gateway.Plain},
	{"tea", gateway.Plain},
	{"trailers", gateway.Plain},
	{"upgrade-insecure-requests", gateway.Plain},
	{"location", gateway.Plain},
	{"vary", gateway.Plain},
	{"x", gateway.Plain},
	{"", gateway.Plain},
	{"\x03ontent-length", gateway.Plain}, // 'c' without the bits of a letter
	{"\x14e", gateway.Plain},
	{"content\rlength", gateway.Plain}, // '-' without one bit
}

func TestKindOf(t *testing.T) {
	for _, tt := range kinds {
		for _, name := range cases(tt.name) {
			if got := gateway.KindOf(name); got != tt.kind {
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

func TestCheckHeader(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		kind        gateway.Kind
		why         string // a part of the error; "" accepted
	}{
		{"Content-Type", "text/plain; charset=utf-8", gateway.Plain, ""},
		{"X-Empty", "", gateway.Plain, ""},
		{"X", "\ta \t b\xe5\xff", gateway.Plain, ""},
		{"Content-Length", "12", gateway.ContentLength, ""},
		{"content-LENGTH", "not a number", gateway.ContentLength, ""}, // the server's to read
		{"Date", "x", gateway.Date, ""},
		{"Server", "x", gateway.ServerName, ""},
		{"Connection", "close", gateway.Connection, ""},
		{"connection", "Close", gateway.Connection, ""},
		{"Connection", "keep-alive", gateway.Connection, "close"},
		{"Connection", "", gateway.Connection, "close"},
		{"Connection", "close, x", gateway.Connection, "close"},
		{"Connection", "upgrade", gateway.Connection, "close"},
		{"Transfer-Encoding", "chunked", gateway.Forbidden, "Transfer-Encoding"},
		{"keep-alive", "timeout=1", gateway.Forbidden, "keep-alive"},
		{"Status", "200 OK", gateway.Forbidden, "Status"},
		{"Proxy-Authenticate", "Basic", gateway.Forbidden, "Proxy-Authenticate"},
		{"", "value", gateway.Plain, "no name"},
		{"a b", "v", gateway.Plain, "a b"},
		{"a:", "v", gateway.Plain, "a:"},
		{"a\r\nb", "v", gateway.Plain, "token"},
		{"na\u00efve", "v", gateway.Plain, "token"},
		{"X", "a\r\nSet-Cookie: b", gateway.Plain, "control"},
		{"X", "\n", gateway.Plain, "control"},
		{"X", "a\x00", gateway.Plain, "control"},
		{"Transfer-Encoding ", "chunked", gateway.Plain, "token"},
		{"Content-Length", "1\r\n", gateway.Plain, "control"},
		{"Connection", "close\r\n", gateway.Plain, "control"},
	} {
		kind, err := gateway.CheckHeader(&gateway.Header{Name: tt.name, Value: tt.value})
		switch {
		case tt.why == "" && err != nil:
			t.Errorf("CheckHeader(%q: %q): %v", tt.name, tt.value, err)
		case tt.why != "" && (err == nil || !strings.Contains(err.Error(), tt.why)):
			t.Errorf("CheckHeader(%q: %q): %v, want an error that has %q", tt.name, tt.value, err, tt.why)
		}
		if kind != tt.kind {
			t.Errorf("CheckHeader(%q: %q) = %d, want %d", tt.name, tt.value, kind, tt.kind)
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
			kind, err := gateway.CheckHeader(&gateway.Header{Name: name, Value: "close"})
			if kind != tt.kind || (err != nil) != (kind == gateway.Forbidden) {
				t.Errorf("CheckHeader(%q: close) = %d, %v; want %d", name, kind, err, tt.kind)
			}
		}
	}
}

// What is wrong is quoted in the log: it cannot forge a line there.
func TestCheckErrorsAreOneLine(t *testing.T) {
	const evil = "x\r\nlevel=ERROR msg=forged"
	var errs []error
	_, err := gateway.CheckStatus("200 " + evil)
	errs = append(errs, err)
	_, err = gateway.CheckStatus(evil)
	errs = append(errs, err)
	for _, h := range []gateway.Header{{Name: evil, Value: "v"}, {Name: "n", Value: evil}, {Name: "", Value: evil}, {Name: "Connection", Value: evil}} {
		_, err = gateway.CheckHeader(&h)
		errs = append(errs, err)
	}
	for _, err := range errs {
		if err == nil || strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("%q, want an error of one line", err)
		}
	}
}
