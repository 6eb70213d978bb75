package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/server"
)

// Units of what is reported besides ns/op, for benchstat.
func TestMain(m *testing.M) {
	fmt.Println("Unit req/s better=higher")
	fmt.Println("Unit allocs/op assume=exact")
	os.Exit(m.Run())
}

// heads are the requests measured.
var heads = []struct{ name, request string }{
	{"hello", "GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"},
	{"browser", "GET / HTTP/1.1\r\nHost: localhost:8080\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n" +
		"Cache-Control: max-age=0\r\n" +
		"Cookie: _ga=GA1.1.1234567890.1700000000; session=0123456789abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJ; theme=dark\r\n" +
		"Referer: http://localhost:8080/some/where?x=1&y=2\r\n" +
		"Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\n" +
		"Upgrade-Insecure-Requests: 1\r\n\r\n"},
}

var depths = []int{1, 16}

const text = "Hello, World!"

var textHeaders = []gateway.Header{{Name: "Content-Type", Value: "text/plain"}}

func hello(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if _, err := start("200 OK", textHeaders, nil); err != nil {
		return nil, err
	}
	return env.Text(text), nil
}

func helloHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, text)
}

func echo(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	content, err := env.Input().ReadAll()
	if err != nil {
		return nil, err
	}
	if _, err := start("200 OK", nil, nil); err != nil {
		return nil, err
	}
	return env.Bytes(content), nil
}

var quiet = server.Logger(slog.New(slog.DiscardHandler))

// BenchmarkExchange is all of the server but the system calls: bytes in, bytes
// out. One operation is one request.
func BenchmarkExchange(b *testing.B) {
	run := func(name string, app gateway.AppFunc, request, content string, depth int) {
		b.Run(name, func(b *testing.B) {
			s, err := server.New(app, quiet, server.Loops(1))
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			m := s.OpenMemory()
			in := []byte(strings.Repeat(request, depth))
			m.Feed(in)
			if n := bytes.Count(m.Out, []byte("HTTP/1.1 200 OK\r\n")); n != depth || !bytes.HasSuffix(m.Out, []byte("\r\n\r\n"+content)) {
				b.Fatalf("%d of %d answers: %.200q", n, depth, m.Out)
			}
			b.SetBytes(int64(len(request)))
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += depth {
				m.Out = m.Out[:0]
				m.Feed(in)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
		})
	}
	for _, head := range heads {
		for _, depth := range depths {
			run(fmt.Sprintf("head=%s/depth=%d", head.name, depth), hello, head.request, text, depth)
		}
	}
	kilobyte := strings.Repeat("0123456789abcdef", 64)
	run("head=post1k/depth=1", echo, fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(kilobyte), kilobyte), kilobyte, 1)
	run("head=chunked1k/depth=1", echo, fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(kilobyte), kilobyte), kilobyte, 1)
}

// BenchmarkServe is the whole server over loopback TCP, with net/http beside it.
// One operation is one request; a client per core sends depth of them at once.
// The client's time is in it, so compare the servers, not the figures alone.
func BenchmarkServe(b *testing.B) {
	servers := []struct {
		name  string
		start func(testing.TB) (addr string, stop func())
	}{{"isbjorn", startIsbjorn}, {"nethttp", startNetHTTP}}
	for _, srv := range servers {
		for _, head := range heads {
			for _, depth := range depths {
				b.Run(fmt.Sprintf("server=%s/head=%s/depth=%d", srv.name, head.name, depth), func(b *testing.B) {
					addr, stop := srv.start(b)
					defer stop()
					serve(b, addr, head.request, depth)
				})
			}
		}
	}
}

func startIsbjorn(tb testing.TB) (string, func()) {
	s, err := server.New(gateway.AppFunc(hello), quiet)
	if err != nil {
		tb.Fatal(err)
	}
	addr, err := s.Listen("127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return addr.String(), s.Close
}

func startNetHTTP(tb testing.TB) (string, func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(helloHTTP)}
	go func() { _ = s.Serve(l) }()
	return l.Addr().String(), func() { _ = s.Close() }
}

// serve drives b.N requests through connections of their own and checks every
// answer's length and the first one's content.
func serve(b *testing.B, addr, request string, depth int) {
	in := []byte(strings.Repeat(request, depth))
	size := answerSize(b, addr, request)
	b.SetBytes(int64(len(request)))
	b.ReportAllocs()
	b.SetParallelism(4) // connections a core: a server with one would mostly wait
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		out := make([]byte, size*depth)
		for more := true; more; {
			n := 0
			for n < depth && pb.Next() {
				n++
			}
			more = n == depth
			if _, err := c.Write(in[:n*len(request)]); err != nil {
				b.Error(err)
				return
			}
			if _, err := io.ReadFull(c, out[:n*size]); err != nil {
				b.Error(err)
				return
			}
			if n > 0 && !bytes.HasSuffix(out[:n*size], []byte(text)) {
				b.Errorf("wrong answer %q", out[:n*size])
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// answerSize is the length of one whole answer in bytes. It is the same for all
// of them: the Date has a fixed length.
func answerSize(b *testing.B, addr, request string) int {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var raw bytes.Buffer
	if _, err := io.WriteString(c, request); err != nil {
		b.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &raw)), nil)
	if err != nil {
		b.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != text {
		b.Fatalf("answered %q, %v", body, err)
	}
	return raw.Len()
}
