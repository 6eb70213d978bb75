package web_test

import (
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/gateway/web"
)

// Heads of parts are memory that the client fills: one is limited, all count in FormValueBytes, and what is too much is
// not read first.
func TestHeadsOfParts(t *testing.T) {
	o := web.DefaultOptions()
	o.FormMemoryBytes, o.FormValueBytes, o.TempDir = 1000, 40_000, t.TempDir()
	const content = "x-y-z"
	head := func(more string) string {
		return "--b\r\nContent-Disposition: form-data; name=a; filename=f\r\n" + more + "\r\n" + content + "\r\n"
	}
	long, many := "X-Junk: "+strings.Repeat("x", 10_000)+"\r\n", strings.Repeat("X: y\r\n", 1500)
	for name, tt := range map[string]struct {
		form   string
		status int // of Form
		parts  int // that Parts yields before its end, or its error
		error  int // of Parts
		most   int // bytes that are read
	}{
		"usual":                    {head("") + head(""), 0, 2, 0, 1000},
		"a long one":               {head(long), 0, 1, 0, 20_000},
		"many fields":              {head(many), 0, 1, 0, 20_000},
		"long ones":                {strings.Repeat(head(long), 5), 413, 5, 0, 100_000},
		"a huge one":               {head("X-Junk: " + strings.Repeat("x", 900_000) + "\r\n"), 413, 0, 413, 25_000},
		"a huge second one":        {head("") + head(strings.Repeat(many, 100)), 413, 1, 413, 25_000},
		"a huge disposition":       {"--b\r\nContent-Disposition: form-data; name=a; x=\"" + strings.Repeat("x", 900_000) + "\"\r\n\r\n\r\n", 413, 0, 413, 25_000},
		"no end of a head":         {"--b\r\n" + strings.Repeat("X: y\r\n", 150_000), 413, 0, 413, 25_000},
		"a preamble without end":   {strings.Repeat("y\r\n", 300_000) + head(""), 413, 0, 413, 25_000},
		"behind a large file":      {"--b\r\nContent-Disposition: form-data; name=a; filename=f\r\n\r\n" + strings.Repeat("x", 300_000) + "\r\n" + head(""), 0, 2, 0, 400_000},
		"disposition of ten bytes": {strings.Repeat("--b\r\nContent-Disposition: form-data; name=a; x="+strings.Repeat("x", 9_000)+"\r\n\r\n\r\n", 5), 413, 5, 0, 100_000},
	} {
		req := gatewaytest.Request{Method: "POST", Header: header("Content-Type", "multipart/form-data; boundary=b"), Body: tt.form + "--b--\r\n"}
		with(t, &o, req, func(r *web.Request) {
			form, err := r.Form()
			if status(err) != tt.status || (form == nil) != (err != nil) {
				t.Errorf("%s: Form: %v, want %d", name, err, tt.status)
			}
			if n := len(req.Body) - r.Input().Len(); n > tt.most {
				t.Errorf("%s: Form has read %d bytes, want at most %d", name, n, tt.most)
			}
		})
		with(t, &o, req, func(r *web.Request) { // which does not read the parts
			n := 0
			var failed error
			for _, err := range r.Parts() {
				if failed = err; err == nil {
					n++
				}
			}
			if status(failed) != tt.error || n != tt.parts {
				t.Errorf("%s: Parts: %d parts, %v; want %d, %d", name, n, failed, tt.parts, tt.error)
			}
			if n := len(req.Body) - r.Input().Len(); n > tt.most {
				t.Errorf("%s: Parts has read %d bytes, want at most %d", name, n, tt.most)
			}
		})
	}
}
