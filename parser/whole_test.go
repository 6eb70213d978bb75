package parser

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// Every number of up to five digits, and every other byte in place of each digit.
func TestPortOf(t *testing.T) {
	for want := range uint64(100_000) {
		text := fmt.Sprintf("%d\r\n\r\n    ", want)
		if got := portOf(load64([]byte(text), 0), strings.IndexByte(text, '\r')); got != want {
			t.Fatalf("%q: %d", text, got)
		}
	}
	if got := portOf(load64([]byte("12345678"), 0), 0); got != 0 {
		t.Errorf("no digits: %d", got)
	}
	for n := 1; n <= 5; n++ {
		for i := range n {
			for c := range 256 {
				text := []byte("12345\r\n ")
				text[i] = byte(c)
				got := portOf(load64(text, 0), n)
				if isDigit := '0' <= c && c <= '9'; isDigit != (got != math.MaxUint64) {
					t.Fatalf("%q of %q: %d", text[:n], text, got)
				}
			}
		}
	}
}
