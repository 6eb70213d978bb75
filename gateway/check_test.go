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

// inValue is RFC 9110 section 5.5.
func inValue(c int) bool { return c == '\t' || ' ' <= c && c <= '~' || c >= 0x80 }

// Errors quote the invalid text, so that it cannot forge a line of a log.
func TestCheckErrorsAreOneLine(t *testing.T) {
	const evil = "x\r\nlevel=ERROR msg=forged"
	var errs []error
	_, err := gateway.CheckStatus("200 " + evil)
	errs = append(errs, err)
	_, err = gateway.CheckStatus(evil)
	errs = append(errs, err)
	for _, h := range []gateway.Header{{Name: evil, Value: "v"}, {Name: "n", Value: evil}, {Name: "", Value: evil}, {Name: "Connection", Value: evil}} {
		err = gateway.CheckHeader(&h)
		errs = append(errs, err)
	}
	for _, err := range errs {
		if err == nil || strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("%q, want an error of one line", err)
		}
	}
}
