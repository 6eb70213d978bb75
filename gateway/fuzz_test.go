package gateway_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/parser"
)

// pathOf is Path of a request with any raw path, also one that the parser would refuse.
func pathOf(raw string) string {
	req := parser.Request{Path: parser.Span{Len: uint16(len(raw))}}
	var e gateway.ServerEnviron
	e.Begin(&req, []byte(raw), nil, quiet, unixSocket())
	defer e.End()
	return strings.Clone(e.Path())
}

// pathBytesMax keeps a path, with three bytes for each of its own, in a Span.
const pathBytesMax = 20_000

// Invariant: decoding what url.PathEscape encodes gives the original, and the
// path is never longer than the input.
func FuzzPath(f *testing.F) {
	for _, s := range []string{
		"", "a", "%", "%%", "%4", "%41", "%4g", "%g4", "%zz%41", "a%2fb", "\x00", "\xff\xfe", "a b", "\u00e5", "%25", "+", "/..//",
		strings.Repeat("%20", 100), strings.Repeat("\x80", 3000),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > pathBytesMax {
			return // more than a head has
		}
		if got := pathOf("/" + url.PathEscape(s)); got != "/"+s {
			t.Errorf("Path() of PathEscape(%q) = %q", s, got)
		}
		raw := "/" + s
		got := pathOf(raw)
		if len(got) > len(raw) {
			t.Errorf("Path() of %q has %d bytes, more than %d", raw, len(got), len(raw))
		}
		if strings.IndexByte(raw, '%') < 0 && got != raw {
			t.Errorf("Path() of %q = %q", raw, got)
		}
		if want, err := url.PathUnescape(raw); err == nil && got != want { // all triplets are valid
			t.Errorf("Path() of %q = %q, net/url says %q", raw, got, want)
		}
	})
}
