package server

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// Invariant: any bytes, in any pieces, give the same answers. Each is a well-formed response, and after one that
// says close there is no other.
func FuzzExchangeCut(f *testing.F) {
	const post = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde"
	const chunked = "PUT /%41 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n"
	for _, in := range []string{
		get, post, chunked, get + post + chunked + get, "\r\n" + get, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" + get,
		"GET / HTTP/1.0\r\n\r\n" + get, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + get,
		strings.Replace(post, "Content", "Expect: 100-continue\r\nContent", 1) + get, strings.Replace(post, "Content", "Expect: x\r\nContent", 1),
		post[:len(post)-1], chunked[:len(chunked)-3], strings.Replace(chunked, "3;", "z;", 1), "GET / HTTP/1.1\nHost: h\n\n", "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "GET http://h/p?q HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		f.Add([]byte(in), uint8(1))
		f.Add([]byte(in), uint8(7))
	}
	s, err := New(appFunc(echo), Options{Loops: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	defer s.Close()
	feed := func(in []byte, step int) []byte {
		m := s.openMemory()
		for len(in) > 0 && m.Conn.Alive() {
			n := min(step, len(in))
			m.Feed(bytes.Clone(in[:n])) // as the read buffer: gone after the call
			in = in[n:]
		}
		m.EOF()
		if m.Conn.Alive() {
			f.Error("the connection is open after the end of input")
		}
		return bytes.ReplaceAll(m.Out, []byte("HTTP/1.1 100 Continue\r\n\r\n"), nil)
	}
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		want := feed(in, len(in)+1)
		if got := feed(in, max(int(step), 1)); !bytes.Equal(got, want) {
			t.Errorf("in pieces of %d:\n%q\nwhole:\n%q", step, got, want)
		}
		if bytes.Contains(in, []byte("HEAD")) {
			return // which responses have no content only the requests tell
		}
		r := bufio.NewReader(bytes.NewReader(want))
		for closed := false; ; {
			if _, err := r.Peek(1); err == io.EOF {
				return
			}
			resp, err := http.ReadResponse(r, nil)
			if err != nil || closed {
				t.Fatalf("after close: %v; %v in %q", closed, err, want)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Fatalf("%v in %q", err, want)
			}
			closed = resp.Close
		}
	})
}
