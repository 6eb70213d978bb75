package server

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

// Forms of a request that are rare, but right.
func TestFormsOfRequest(t *testing.T) {
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		content, err := io.ReadAll(env.Input())
		if err == nil {
			_, err = start("200 OK", nil, nil)
		}
		return gateway.Text(env.Method() + " " + env.Target() + " " + env.Host() + " " + string(content)), err
	}))
	c := s.dial()
	for request, want := range map[string]string{
		"GET http://other:1/a?b HTTP/1.1\r\nHost: h\r\n\r\n":                                                             "GET http://other:1/a?b other:1 ",
		"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n":                                                                          "OPTIONS * h ",
		"GET /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n":                                      "GET /a h ",
		"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n1;e=1\r\nx\r\n0\r\nX: y\r\n\r\n": "POST /a h x",
	} {
		c.send(request)
		c.want("GET", 200, want)
	}
}

// The PROXY protocol is not spoken: its line is refused.
func TestProxyProtocolIsRefused(t *testing.T) {
	s := start(t, appFunc(hello))
	for _, in := range []string{"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n" + get, "\r\n\r\n\x00\r\nQUIT\n"} {
		if got := s.exchange(in); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("%.20q: answered %.60q, want 400", in, got)
		}
	}
}

// Every test that docs/reliability.md names exists.
func TestReliabilityPage(t *testing.T) {
	have := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(source, -1) {
			have[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\bTest[A-Z]\w*`).FindAllString(string(page), -1)
	if len(named) == 0 {
		t.Error("the page names no test")
	}
	for _, name := range named {
		if !have[name] {
			t.Errorf("docs/reliability.md names %s, which does not exist", name)
		}
	}
}
