package nethttp_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server"
)

// An aborted response is incomplete to its client, except for HTTP/1.0 on a Unix socket: the end of the connection is the
// end of the content, and such a socket has no reset.
func TestAbortOnUnixSocket(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, large[:10_000])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	path := filepath.Join(t.TempDir(), "s")
	s, err := server.New(nethttp.App(h), server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if _, err := s.Listen("unix:" + path); err != nil {
		t.Fatal(err)
	}
	tcp := serveIsbjorn(t, h, server.Options{})
	for _, tt := range []struct{ network, addr, version string }{
		{"unix", path, "1.0"}, {"unix", path, "1.1"}, {"tcp", tcp.addr, "1.0"}, {"tcp", tcp.addr, "1.1"},
	} {
		c, err := net.Dial(tt.network, tt.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(waitMax))
		a := (&client{c, t, bufio.NewReader(c)}).ask(fmt.Sprintf("GET / HTTP/%s\r\nHost: h\r\n\r\n", tt.version))
		if looksWhole := tt.network == "unix" && tt.version == "1.0"; a.cut == looksWhole {
			t.Errorf("%s, HTTP/%s: cut: %t", tt.network, tt.version, a.cut)
		}
	}
}
