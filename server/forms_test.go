package server

import (
	"io"
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
	}), Options{})
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
	s := start(t, appFunc(hello), Options{})
	for _, in := range []string{"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n" + get, "\r\n\r\n\x00\r\nQUIT\n"} {
		if got := s.exchange(in); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("%.20q: answered %.60q, want 400", in, got)
		}
	}
}
