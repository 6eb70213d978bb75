package parser

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/evanphx/wildcat"

	"github.com/isbjorn/isbjorn/internal/benchmark"
)

func TestMain(m *testing.M) {
	benchmark.Units()
	os.Exit(m.Run())
}

// Every benchmark works, and its output is readable by benchstat.
func TestBenchmarks(t *testing.T) { benchmark.Verify(t) }

// The heads of the benchmark. hello is the smallest a client sends, tfb that of the
// TechEmpower benchmark, browser that of a desktop browser.
const (
	helloHead = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

	tfbHead = "GET /plaintext HTTP/1.1\r\n" +
		"Host: tfb-server:8080\r\n" +
		"Accept: text/plain,text/html;q=0.9,application/xhtml+xml;q=0.9,*/*;q=.8\r\n" +
		"Connection: keep-alive\r\n" +
		"Keep-Alive: timeout=5\r\n" +
		"\r\n"

	browserHead = "GET /articles/2025/parsing?page=2&sort=newest HTTP/1.1\r\n" +
		"Host: www.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
		"Accept-Language: en-GB,en;q=0.8,sv;q=0.5\r\n" +
		"Accept-Encoding: gzip, deflate, br\r\n" +
		"Referer: https://www.example.com/articles/2025/\r\n" +
		"Connection: keep-alive\r\n" +
		"Cookie: session=0f9a8b7c6d5e4f3a2b1c; theme=dark; language=en-GB; consent=yes; _id=GA1.2.1234567890.17\r\n" +
		"Upgrade-Insecure-Requests: 1\r\n" +
		"Sec-Fetch-Dest: document\r\n" +
		"Sec-Fetch-Mode: navigate\r\n" +
		"Sec-Fetch-Site: same-origin\r\n" +
		"Sec-GPC: 1\r\n" +
		"\r\n"

	postHead = "POST /submit HTTP/1.1\r\n" +
		"Host: www.example.com\r\n" +
		"Content-Type: application/x-www-form-urlencoded\r\n" +
		"Content-Length: 27\r\n" +
		"\r\n"

	chunkedHead = "POST /upload HTTP/1.1\r\n" +
		"Host: www.example.com\r\n" +
		"Transfer-Encoding: chunked\r\n" +
		"\r\n"
)

var benchmarks = []struct{ name, in string }{
	{"hello", helloHead},
	{"tfb", tfbHead},
	{"browser", browserHead},
	{"post", postHead + "name=isbjorn&colour=white+1"},
	{"chunked", chunkedHead + strings.Repeat("400\r\n"+strings.Repeat("d", 1024)+"\r\n", 8) + "0\r\n\r\n"},
	{"cookies4k", "GET / HTTP/1.1\r\nHost: www.example.com\r\nCookie: " + strings.Repeat("name=value-0123456789; ", 178) + "end=1\r\n\r\n"},
}

// Every parser parses the head, and the content if it can.
func BenchmarkParse(b *testing.B) {
	for _, p := range []struct {
		name string
		run  func(b *testing.B, in []byte)
	}{
		{"isbjorn", benchmarkIsbjorn},
		{"wildcat", benchmarkWildcat},
		{"nethttp", benchmarkNetHTTP},
	} {
		for _, in := range benchmarks {
			b.Run("parser="+p.name+"/req="+in.name, func(b *testing.B) {
				b.SetBytes(int64(len(in.in)))
				b.ReportAllocs()
				p.run(b, []byte(in.in))
			})
		}
	}
}

func benchmarkIsbjorn(b *testing.B, in []byte) {
	lim := DefaultLimits()
	var r Request
	for b.Loop() {
		r.Reset()
		n, err := r.Parse(in, &lim)
		if err != nil || n == 0 {
			b.Fatal(n, err)
		}
		if r.framing == byNothing {
			continue
		}
		for body := r.Body(); !body.Done(); {
			_, used, err := body.Decode(in[n:], &lim)
			if err != nil || used == 0 {
				b.Fatal(used, err)
			}
			n += used
		}
	}
}

// wildcat does not parse content.
func benchmarkWildcat(b *testing.B, in []byte) {
	p := wildcat.NewHTTPParser()
	for b.Loop() {
		if _, err := p.Parse(in); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkNetHTTP(b *testing.B, in []byte) {
	source := bytes.NewReader(in)
	buffered := bufio.NewReader(source)
	for b.Loop() {
		source.Reset(in)
		buffered.Reset(source)
		r, err := http.ReadRequest(buffered)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			b.Fatal(err)
		}
	}
}
