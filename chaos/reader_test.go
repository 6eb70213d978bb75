package chaos

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The reader of answers refuses what is not exactly right: a test that lets
// anything pass proves nothing.
func TestReadAnswer(t *testing.T) {
	const status = "HTTP/1.1 200 OK\r\n"
	head := "Server: isbjorn\r\nDate: " + time.Now().UTC().Format(http.TimeFormat) + "\r\n"
	for _, tt := range []struct {
		name, method, in string
		want             string // content and what is left, or "error"
	}{
		{"length", "GET", status + head + "Content-Length: 2\r\n\r\nabc", "ab|c"},
		{"chunked", "GET", status + head + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\nd", "abc|d"},
		{"HEAD", "HEAD", status + head + "Content-Length: 2\r\n\r\nHTTP", "|HTTP"},
		{"interim", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP", "|HTTP"},
		{"content cut", "GET", status + head + "Content-Length: 2\r\n\r\na", "error"},
		{"head cut", "GET", status + head + "Content-Length: 2\r\n", "error"},
		{"no end of chunks", "GET", status + head + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "error"},
		{"chunk too long", "GET", status + head + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", "error"},
		{"no length", "GET", status + head + "\r\n", "error"},
		{"two framings", "GET", status + head + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", "error"},
		{"length twice", "GET", status + head + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nab", "error"},
		{"leading zero", "GET", status + head + "Content-Length: 02\r\n\r\nab", "error"},
		{"no Date", "GET", status + "Server: isbjorn\r\nContent-Length: 0\r\n\r\n", "error"},
		{"unknown field", "GET", status + head + "X-Other: x\r\nContent-Length: 0\r\n\r\n", "error"},
		{"LF alone", "GET", status + head + "Content-Length: 0\n\r\n", "error"},
		{"a byte too many", "GET", "x" + status + head + "Content-Length: 0\r\n\r\n", "error"},
		{"reason of another status", "GET", "HTTP/1.1 200 Bad Request\r\n" + head + "Content-Length: 0\r\n\r\n", "error"},
		{"NUL", "GET", status + head + "Content-Length: 0\x00\r\n\r\n", "error"},
	} {
		r := bufio.NewReader(strings.NewReader(tt.in))
		got := "error"
		if a, err := readAnswer(r, tt.method); err == nil {
			rest, _ := r.Peek(r.Buffered())
			got = fmt.Sprintf("%s|%s", a.content, rest)
		}
		if got != tt.want {
			t.Errorf("%s: readAnswer(%q) = %q, want %q", tt.name, tt.in, got, tt.want)
		}
	}
}
