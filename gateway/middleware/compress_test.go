package middleware

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server"
)

func compressOf(t testing.TB, o CompressOptions) gateway.Middleware {
	t.Helper()
	m, err := Compress(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// decode decodes content of a coding.
func decode(t testing.TB, coding, s string) string {
	t.Helper()
	var r io.Reader = strings.NewReader(s)
	var err error
	switch coding {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "zstd":
		var d *zstd.Decoder
		if d, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20)); err == nil {
			defer d.Close()
		}
		r = d
	}
	if err != nil {
		t.Fatalf("%s: %v", coding, err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("%s: after %d bytes: %v", coding, len(b), err)
	}
	return string(b)
}

var page = strings.Repeat("All bears are equal. ", 200)

func TestAcceptedCoding(t *testing.T) {
	for header, want := range map[string]string{
		"": "", "gzip": "gzip", "zstd": "zstd", "gzip, zstd": "zstd", "zstd, gzip": "zstd", "GZIP": "gzip", "x-gzip": "gzip",
		"gzip;q=1, zstd;q=0.5": "gzip", "gzip;q=0.5, zstd;q=0.5": "zstd", "gzip ; q=0.3,zstd;q=0": "gzip", "zstd; q=0": "", "gzip;q=0.0": "",
		"*": "zstd", "*;q=0": "", "*, zstd;q=0": "gzip", "identity": "", "identity, gzip": "gzip", "identity;q=0.5, gzip;q=0.3": "", "gzip;q=0.5, identity;q=0.3": "gzip",
		"br, deflate": "", "br, gzip": "gzip", "gzip;q=x": "", "gzip;q=NaN": "", "gzip;q=2": "", "gzip;q=-1": "", "gzip;level=9": "", ",,gzip,": "gzip", "gzip;": "gzip",
	} {
		got := ""
		if c := acceptedCoding(header); c != nil {
			got = c.name
		}
		if got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}

func TestCompress(t *testing.T) {
	m := compressOf(t, CompressOptions{})
	const is, varies, plain = "compressed", "only Vary", "as it was"
	type row struct {
		name string
		a    answer
		want string
	}
	text := fields("Content-Type", "text/plain; charset=utf-8")
	with := func(pairs ...string) []gateway.Header { return append(fields(pairs...), text...) }
	for _, tt := range []row{
		{"one chunk of known length", answer{headers: text, chunks: []string{page}, sized: true}, is},
		{"one chunk", answer{headers: text, chunks: []string{page}}, is},
		{"chunks", answer{headers: text, chunks: []string{"a", page, "", "b"}}, is},
		{"chunks of known length", answer{headers: text, chunks: []string{"a", page, "b"}, sized: true}, is},
		{"declared length", answer{headers: with("Content-Length", fmt.Sprint(len(page))), chunks: []string{page}}, is},
		{"late start", answer{headers: text, chunks: []string{"a", page}, late: true}, is},
		{"late start, known length", answer{headers: text, chunks: []string{page}, late: true, sized: true}, is},
		{"no chunks", answer{headers: text, chunks: []string{}}, is},
		{"short stream", answer{headers: text, chunks: []string{"short"}}, is},
		{"an error page", answer{status: "404 Not Found", headers: text, chunks: []string{page}}, is},
		{"JSON", answer{headers: fields("content-type", "Application/JSON"), chunks: []string{page}}, is},
		{"a kind of JSON", answer{headers: fields("Content-Type", "application/problem+json;x=y"), chunks: []string{page}}, is},
		{"weak ETag", answer{headers: with("ETag", `W/"e"`), chunks: []string{page}}, is},
		{"strong ETag", answer{headers: with("ETag", `"e"`, "Accept-Ranges", "bytes"), chunks: []string{page}}, is},
		{"varies", answer{headers: with("Vary", "Cookie"), chunks: []string{page}}, is},
		{"varies already", answer{headers: with("vary", "Cookie, accept-encoding"), chunks: []string{page}}, is},
		{"varies by all", answer{headers: with("Vary", "*"), chunks: []string{page}}, is},
		{"small", answer{headers: text, chunks: []string{page[:1023]}, sized: true}, varies},
		{"small, late", answer{headers: text, chunks: []string{page[:1023]}, sized: true, late: true}, varies},
		{"written", answer{headers: text, written: page}, is},
		{"written, with a rest", answer{headers: text, written: page, chunks: []string{page}}, is},
		{"written, with a rest of known length", answer{headers: text, written: page, chunks: []string{"a"}, sized: true}, is},
		{"a little is written", answer{headers: text, written: "a"}, is},
		{"written, declared length", answer{headers: with("Content-Length", fmt.Sprint(len(page))), written: page}, is},
		{"written in the first Next", answer{headers: text, written: "first", chunks: []string{page, "b"}, late: true}, is},
		{"written, small", answer{headers: with("Content-Length", "1023"), written: page[:1023]}, varies},
		{"written, of another type", answer{headers: fields("Content-Type", "image/png"), written: page}, plain},
		{"written, encoded", answer{headers: with("Content-Encoding", "br"), written: page}, plain},
		{"written, part", answer{status: "206 Partial Content", headers: with("Content-Range", "bytes 0-9/99"), written: page}, varies},
		{"written, no-transform", answer{headers: with("Cache-Control", "no-transform"), written: page}, plain},
		{"written, strong ETag", answer{headers: with("ETag", `"e"`), written: page}, is},
		{"no body", answer{headers: text}, varies},
		{"not modified", answer{status: "304 Not Modified"}, varies},
		{"part", answer{status: "206 Partial Content", headers: with("Content-Range", "bytes 0-9/99"), chunks: []string{page}}, varies},
		{"another type", answer{headers: fields("Content-Type", "image/png"), chunks: []string{page}}, plain},
		{"no type", answer{chunks: []string{page}}, plain},
		{"JSON by its end only", answer{headers: fields("Content-Type", "application/+json"), chunks: []string{page}}, plain},
		{"encoded", answer{headers: with("Content-Encoding", "br"), chunks: []string{page}}, plain},
		{"no-transform", answer{headers: with("Cache-Control", "public, No-Transform"), chunks: []string{page}}, plain},
		{"range of a 200", answer{headers: with("Content-Range", "bytes 0-9/99"), chunks: []string{page}}, plain},
	} {
		for _, coding := range []string{"gzip", "zstd", ""} {
			a, b := tt.a, tt.a
			got, want := call(m(&a), "GET", "/", "Accept-Encoding", coding), call(&b, "GET", "/")
			if got.Err != nil || got.Status != want.Status || a.closed != b.closed {
				t.Errorf("%s, %q: %s, closed %d", tt.name, coding, show(got), a.closed)
			}
			encoding := got.Get("Content-Encoding")
			if tt.want == is && encoding != coding {
				t.Errorf("%s, %q: Content-Encoding: %q", tt.name, coding, encoding)
			}
			if tt.want != is && (encoding != want.Get("Content-Encoding") || got.Text() != want.Text() || len(got.Header) > len(want.Header)+1) {
				t.Errorf("%s, %q: %v, %.40q", tt.name, coding, got.Header, got.Text())
			}
			vary := strings.ToLower(got.Get("Vary"))
			if n := strings.Count(vary, "accept-encoding"); n != map[bool]int{true: 0, false: 1}[tt.want == plain] && vary != "*" {
				t.Errorf("%s, %q: Vary: %q", tt.name, coding, got.Get("Vary"))
			}
			if tt.want != is || coding == "" {
				continue
			}
			if text := decode(t, coding, got.Text()); text != want.Text() || got.Text() == "" { // nothing at all is no encoding of nothing
				t.Errorf("%s, %q: %d bytes, want %d", tt.name, coding, len(text), len(want.Text()))
			}
			if got.Get("Content-Length") != "" || got.Get("Accept-Ranges") != "" || want.Get("ETag") != "" && got.Get("ETag") != `W/"e"` {
				t.Errorf("%s, %q: %v", tt.name, coding, got.Header)
			}
		}
	}
}

// On the wire: one chunk has a length, HEAD has the fields of GET and no content,
// and what is not compressed keeps its length.
func TestCompressOnTheWire(t *testing.T) {
	m := compressOf(t, CompressOptions{})
	ask := func(method, accept string, a answer) string {
		a.headers = fields("Content-Type", "text/plain")
		return exchange(t, m(&a), method+" / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: "+accept+"\r\n\r\n")
	}
	whole := answer{chunks: []string{page}, sized: true}
	out := ask("GET", "gzip", whole)
	head, content, _ := strings.Cut(out, "\r\n\r\n")
	if !strings.Contains(head, fmt.Sprintf("Content-Length: %d", len(content))) || decode(t, "gzip", content) != page {
		t.Errorf("GET: %q", out)
	}
	if out := ask("HEAD", "gzip", whole); !strings.Contains(out, "Content-Encoding: gzip") || !strings.Contains(out, "Vary: Accept-Encoding") ||
		strings.Contains(out, "Content-Length") || !strings.HasSuffix(out, "\r\n\r\n") {
		t.Errorf("HEAD: %q", out)
	}
	if out := ask("GET", "", whole); !strings.Contains(out, fmt.Sprintf("Content-Length: %d\r\n", len(page))) {
		t.Errorf("not compressed: %.200q", out)
	}
}

// HEAD has the status and the fields of GET, and no content is pulled for it, on loop and worker: the response of an
// http.FileServer to HEAD has a length and no content.
func TestCompressHEAD(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range []server.DispatchMode{server.Auto, server.Inline, server.Pool} {
		s, err := server.New(compressOf(t, CompressOptions{})(nethttp.App(http.FileServer(http.Dir(dir)))),
			server.Options{Dispatch: d, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		addr, err := s.Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ask := func(method string) *http.Response {
			r, err := http.NewRequest(method, fmt.Sprintf("http://%v/a.txt", addr), nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept-Encoding", "gzip")
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			_, _ = io.Copy(io.Discard, resp.Body)
			return resp
		}
		get, head := ask("GET"), ask("HEAD")
		if head.StatusCode != get.StatusCode || head.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%v: HEAD %d %v, GET %d", d, head.StatusCode, head.Header, get.StatusCode)
		}
		for _, name := range []string{"Content-Type", "Content-Encoding", "Vary", "Last-Modified"} {
			if head.Header.Get(name) != get.Header.Get(name) {
				t.Errorf("%v: %s is %q for HEAD, %q for GET", d, name, head.Header.Get(name), get.Header.Get(name))
			}
		}
		if got := head.Header.Get("Content-Length"); got != "" && got != get.Header.Get("Content-Length") {
			t.Errorf("%v: Content-Length %q for HEAD, %q for GET", d, got, get.Header.Get("Content-Length"))
		}
		if n := s.Stats().Failed; n > 0 {
			t.Errorf("%v: %d have failed", d, n)
		}
	}
}

// Each chunk of a stream can be decoded before the next one is pulled.
func TestCompressFlushes(t *testing.T) {
	m := compressOf(t, CompressOptions{})
	for _, coding := range []string{"gzip", "zstd"} {
		a := &answer{headers: fields("Content-Type", "text/event-stream"), chunks: []string{"one", "two", "three"}}
		got := call(m(a), "GET", "/", "Accept-Encoding", coding)
		if len(got.Chunks) != 3 {
			t.Fatalf("%s: %d chunks, want 3", coding, len(got.Chunks))
		}
		var r io.Reader = strings.NewReader(got.Chunks[0] + got.Chunks[1])
		switch coding {
		case "gzip":
			r, _ = gzip.NewReader(r)
		case "zstd":
			d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			r = d
		}
		b := make([]byte, len("onetwo"))
		if _, err := io.ReadFull(r, b); err != nil || string(b) != "onetwo" {
			t.Errorf("%s: after two chunks: %q, %v", coding, b, err)
		}
	}
}

// Content of another length than declared is an error, since the compressed response has no length that would show it.
// An error of the application is one too. The Body is closed.
func TestCompressFails(t *testing.T) {
	m := compressOf(t, CompressOptions{MinBytes: 1})
	text := func(length string) []gateway.Header {
		return fields("Content-Type", "text/x", "Content-Length", length)
	}
	for _, a := range []answer{
		{headers: text("5"), chunks: []string{"abc"}},
		{headers: text("5"), chunks: []string{"abc", "def"}},
		{headers: text("2"), chunks: []string{"abc"}},
		{headers: text("5"), chunks: []string{"abc"}, failNext: errBroken},
		{headers: fields("Content-Type", "text/x"), chunks: []string{"abc"}, failNext: errBroken},
		{headers: fields("Content-Type", "text/x"), chunks: []string{"abc"}, failClose: errBroken},
		{headers: fields("Content-Type", "text/x"), chunks: []string{"abc"}, failServe: errBroken},
	} {
		if got := call(m(&a), "GET", "/", "Accept-Encoding", "gzip"); got.Err == nil || a.closed != 1 {
			t.Errorf("%+v: %s", a, show(got))
		}
	}
	for _, written := range []string{"abc", "abcdef"} { // by write(), less and more than declared, and the application ignores the error
		short := gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", text("5"), nil)
			_, _ = io.WriteString(w, written[:3])
			_, _ = io.WriteString(w, written[3:])
			return nil, err
		})
		if got := call(m(short), "GET", "/", "Accept-Encoding", "gzip"); got.Err == nil {
			t.Errorf("written: %q of 5: %s", written, show(got))
		}
	}
	panics := &answer{headers: fields("Content-Type", "text/x"), chunks: []string{"abc"}, failNext: errBroken, panics: true}
	if got := call(Recover(m(panics)), "GET", "/", "Accept-Encoding", "zstd"); got.Err == nil || panics.closed != 1 {
		t.Errorf("a panic: %s", show(got))
	}
}

// A chunk of any size is compressed in parts: memory is bounded, and no byte is lost. A reused encoder begins anew.
func TestCompressLarge(t *testing.T) {
	m := compressOf(t, CompressOptions{})
	random := rand.NewChaCha8([32]byte{1})
	noise := make([]byte, 1<<20)
	_, _ = random.Read(noise)
	for _, coding := range []string{"gzip", "zstd", "gzip", "zstd"} {
		a := &answer{headers: fields("Content-Type", "text/x"), chunks: []string{string(noise), page}}
		got := call(m(a), "GET", "/", "Accept-Encoding", coding)
		if text := decode(t, coding, got.Text()); text != string(noise)+page {
			t.Errorf("%s: other content of %d bytes", coding, len(text))
		}
		for _, chunk := range got.Chunks {
			if len(chunk) > 2*compressBytes+1<<10 {
				t.Errorf("%s: a chunk of %d bytes", coding, len(chunk))
			}
		}
	}
}

// start with an exc replaces what was going to be compressed.
func TestCompressReplaced(t *testing.T) {
	m := compressOf(t, CompressOptions{})
	a := &answer{headers: fields("Content-Type", "text/x", "Content-Length", "100000"), chunks: []string{}, failNext: errBroken, panics: true}
	got := call(m(Recover(a)), "GET", "/", "Accept-Encoding", "gzip")
	if got.Code != 500 || got.Text() != "Internal Server Error\n" || got.Get("Content-Encoding") != "" || got.Err != nil || a.closed != 1 {
		t.Errorf("%s %v", show(got), got.Header)
	}
}

func TestCompressRefused(t *testing.T) {
	for _, o := range []CompressOptions{{MinBytes: -1}, {Types: []string{"text"}}, {Types: []string{"*/*"}}, {Types: []string{"text/x*"}}, {Types: []string{"text/"}}, {Types: []string{""}}} {
		if _, err := Compress(o); err == nil || !strings.Contains(err.Error(), "CompressOptions.") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// Invariant: decoding gives the content, however it is cut into chunks.
func FuzzCompress(f *testing.F) {
	f.Add([]byte("content"), uint8(3), true)
	f.Add(bytes.Repeat([]byte{0}, 70_000), uint8(0), false)
	f.Fuzz(func(t *testing.T, b []byte, cut uint8, isZstd bool) {
		coding := map[bool]string{false: "gzip", true: "zstd"}[isZstd]
		chunks := []string{}
		for rest := string(b); rest != ""; {
			n := min(len(rest), int(cut)*997+1)
			chunks, rest = append(chunks, rest[:n]), rest[n:]
			if len(chunks) > 200 {
				chunks, rest = append(chunks, rest), ""
			}
		}
		a := &answer{headers: fields("Content-Type", "text/x"), chunks: chunks}
		if len(chunks) > 0 && cut%2 == 0 {
			a.written, a.chunks = chunks[0], chunks[1:]
		}
		got := call(compressOf(t, CompressOptions{})(a), "GET", "/", "Accept-Encoding", coding)
		if got.Err != nil || decode(t, coding, got.Text()) != string(b) || a.closed != 1 {
			t.Errorf("%s of %d bytes: %v", coding, len(b), got.Err)
		}
	})
}

// Each write is flushed, unless Gather was called.
func TestCompressGathers(t *testing.T) {
	m := compressOf(t, CompressOptions{})
	for _, gathers := range []bool{false, true} {
		got := call(m(gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", fields("Content-Type", "text/plain"), nil)
			if err != nil {
				return nil, err
			}
			if gathers {
				gateway.Gather(w)
			}
			for range 20 {
				if _, err := io.WriteString(w, "a line of text\n"); err != nil {
					return nil, err
				}
			}
			return nil, nil
		})), "GET", "/", "Accept-Encoding", "gzip")
		if text := decode(t, "gzip", got.Text()); text != strings.Repeat("a line of text\n", 20) || got.Err != nil {
			t.Errorf("gathers %v: %q, %v", gathers, text, got.Err)
		}
		if n := len(got.Text()); gathers != (n < 100) { // a flush is a block of its own
			t.Errorf("gathers %v: %d bytes", gathers, n)
		}
	}
}

// For HEAD no content is pulled or compressed, also if a middleware around it calls Next.
func TestCompressNothingForHEAD(t *testing.T) {
	m := compressOf(t, CompressOptions{})
	text := fields("Content-Type", "text/plain")
	for name, a := range map[string]*answer{
		"a length and no content": {headers: append(fields("Content-Length", "5000"), text...)},
		"chunks":                  {headers: text, chunks: []string{page, page}},
		"late":                    {headers: text, chunks: []string{page, page}, late: true},
		"written":                 {headers: text, written: page},
	} {
		var made bytes.Buffer
		asks := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			body, err := m(a).Serve(env, func(status string, headers []gateway.Header, exc error) (io.Writer, error) {
				_, err := start(status, headers, exc)
				return &made, err
			})
			for err == nil && body != nil {
				var b []byte
				b, err = body.Next()
				made.Write(b)
			}
			if err == io.EOF {
				err = nil
			}
			return body, err
		})
		got := call(asks, "HEAD", "/", "Accept-Encoding", "gzip")
		if got.Err != nil || got.Get("Content-Encoding") != "gzip" || got.Get("Content-Length") != "" || made.Len() > 0 || a.chunks != nil && a.closed != 1 {
			t.Errorf("%s: %s %v, %q", name, show(got), got.Header, made.Bytes())
		}
	}
}
