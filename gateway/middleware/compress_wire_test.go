package middleware

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/server"
)

// reading decodes as it is read; the decoder waits for its first bytes until then.
type reading struct {
	io.Reader
	coding string
}

func (r *reading) Read(p []byte) (int, error) {
	var err error
	switch coding := r.coding; coding {
	case "gzip":
		r.Reader, err = gzip.NewReader(r.Reader)
	case "zstd":
		r.Reader, err = zstd.NewReader(r.Reader, zstd.WithDecoderConcurrency(1))
	}
	if r.coding = ""; err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// contentOf is the decoded content of an answer, and its coding.
func contentOf(t testing.TB, resp *http.Response) (content, coding string) {
	t.Helper()
	coding = resp.Header.Get("Content-Encoding")
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("after %d bytes of %s: %v", len(b), coding, err)
	}
	if len(b) == 0 && coding != "" {
		t.Fatalf("nothing at all is no %s", coding)
	}
	return decode(t, coding, string(b)), coding
}

// prose is n bytes of text: compressible, and not the same everywhere.
func prose(n int) string { return proseOfAll()[:n] }

var proseOfAll = sync.OnceValue(func() string {
	words := strings.Fields("all bears are equal but some bears are more equal than others and swim far in the cold sea")
	random := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < 300_000 {
		b.WriteString(words[random.IntN(len(words))] + " ")
	}
	return b.String()
})

// However an http.Handler writes, its content is compressed and complete, and the connection is kept; content that is
// small, of another type or encoded is not changed.
func TestCompressHandlers(t *testing.T) {
	testrun.Slow(t, "compresses megabytes")
	ways := map[string]func(w http.ResponseWriter, s string){
		"one Write": func(w http.ResponseWriter, s string) { _, _ = io.WriteString(w, s) },
		"many Writes": func(w http.ResponseWriter, s string) {
			for len(s) > 0 {
				n := min(len(s), 100)
				_, _ = w.Write([]byte(s[:n]))
				s = s[n:]
			}
		},
		"with a length": func(w http.ResponseWriter, s string) {
			w.Header().Set("Content-Length", strconv.Itoa(len(s)))
			_, _ = io.WriteString(w, s)
		},
		"copied": func(w http.ResponseWriter, s string) { _, _ = io.Copy(w, strings.NewReader(s)) },
		"with a Flush": func(w http.ResponseWriter, s string) {
			_, _ = io.WriteString(w, s[:len(s)/2])
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, s[len(s)/2:])
		},
		"flushed first": func(w http.ResponseWriter, s string) {
			w.Header().Set("Content-Type", "text/plain") // else the head would be sent without one
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, s)
		},
		"flushed twice": func(w http.ResponseWriter, s string) {
			_, _ = io.WriteString(w, s)
			w.(http.Flusher).Flush()
			w.(http.Flusher).Flush()
		},
		"with a trailer": func(w http.ResponseWriter, s string) {
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.WriteString(w, s)
			w.Header().Set("X-Sum", "1")
		},
		"another type": func(w http.ResponseWriter, s string) {
			w.Header().Set("Content-Type", "image/png")
			_, _ = io.WriteString(w, s)
		},
		"encoded": func(w http.ResponseWriter, s string) {
			w.Header().Set("Content-Encoding", "br")
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, s)
		},
		"no-transform": func(w http.ResponseWriter, s string) {
			w.Header().Set("Cache-Control", "no-transform")
			_, _ = io.WriteString(w, s)
		},
		"a part": func(w http.ResponseWriter, s string) {
			w.Header().Set("Content-Range", "bytes 0-9/99999999")
			w.WriteHeader(206)
			_, _ = io.WriteString(w, s)
		},
	}
	sizes := []int{1, 1023, 1024, 2048, 2049, 4097, 300_000}
	mux := http.NewServeMux()
	for name, way := range ways {
		mux.HandleFunc("GET /"+strings.ReplaceAll(name, " ", "-"), func(w http.ResponseWriter, r *http.Request) {
			n, _ := strconv.Atoi(r.URL.RawQuery)
			w.Header().Set("ETag", `"e"`)
			way(w, prose(n))
		})
	}
	app := compressOf(t, CompressOptions{})(gateway.Validate(nethttp.App(mux)))
	app = gateway.Validate(app)
	for where, dispatch := range dispatches {
		c := dial(t, app, "tcp", server.Options{Dispatch: dispatch})
		for name := range ways {
			for i, n := range sizes {
				want := []string{"gzip", "zstd"}[i%2]
				resp := c.ask("GET", fmt.Sprintf("/%s?%d", strings.ReplaceAll(name, " ", "-"), n), "Accept-Encoding: "+want)
				got := resp.Header.Get("Content-Encoding")
				known := name != "flushed first" && name != "flushed twice" && name != "with a trailer" && !(name == "with a Flush" && n > 1)
				switch {
				case name == "encoded":
					want = "br"
				case name == "another type" || name == "no-transform" || name == "a part" || n < 1024 && known:
					want = ""
				}
				if got != want && !(n < 1024 && !known) {
					t.Errorf("%s, %s, %d bytes: Content-Encoding: %q, want %q", where, name, n, got, want)
				}
				compressed := got == "gzip" || got == "zstd"
				if etag := resp.Header.Get("ETag"); etag != `W/"e"` && compressed || etag != `"e"` && !compressed {
					t.Errorf("%s, %s, %d bytes: ETag: %s with Content-Encoding %q", where, name, n, etag, got)
				}
				if content, _ := contentOf(t, resp); content != prose(n) {
					t.Fatalf("%s, %s, %d bytes: %d others came", where, name, n, len(content))
				}
				if compressed && n > 4096 && resp.ContentLength > int64(n)/2 {
					t.Errorf("%s, %s, %d bytes: %d are no compression", where, name, n, resp.ContentLength)
				}
				if name == "with a trailer" && resp.Trailer.Get("X-Sum") != "1" {
					t.Errorf("%s, %d bytes: the trailer is %v", where, n, resp.Trailer)
				}
			}
		}
	}
}

// The client can decode what was flushed while the application waits: of an http.Handler, and of write() with small
// lines, which needs no Flush.
func TestCompressFlushesOnTheWire(t *testing.T) {
	next := make(chan string)
	events := nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for event := range next {
			if event == "" {
				return
			}
			_, _ = io.WriteString(w, event)
			w.(http.Flusher).Flush()
		}
	}))
	lines := gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 OK", fields("Content-Type", "text/event-stream"), nil)
		for event := range next {
			if event == "" || err != nil {
				break
			}
			_, err = io.WriteString(w, event)
		}
		return nil, err
	})
	for name, app := range map[string]gateway.App{"an http.Handler": events, "write()": lines} {
		for where, dispatch := range dispatches {
			for _, coding := range []string{"gzip", "zstd"} {
				c := dial(t, compressOf(t, CompressOptions{})(app), "tcp", server.Options{Dispatch: dispatch})
				first := "data: first\n\n"
				if name != "an http.Handler" { // whose head comes first of all
					go func() { next <- first }()
				}
				resp := c.ask("GET", "/", "Accept-Encoding: "+coding)
				if name == "an http.Handler" {
					next <- first
				}
				if resp.Header.Get("Content-Encoding") != coding {
					t.Errorf("%s, %s: %v", name, where, resp.Header)
				}
				content := &reading{resp.Body, coding}
				for i, event := range []string{first, "data: " + prose(1000) + "\n\n", "data: third\n\n"} {
					if i > 0 {
						next <- event
					}
					b := make([]byte, len(event))
					if _, err := io.ReadFull(content, b); err != nil || string(b) != event {
						t.Fatalf("%s, %s, %s: %q, %v; want %q", name, where, coding, b, err, event)
					}
				}
				next <- ""
				if rest, err := io.ReadAll(content); err != nil || len(rest) > 0 {
					t.Errorf("%s, %s, %s: the end is %q, %v", name, where, coding, rest, err)
				}
			}
		}
	}
}

// HEAD has the fields of GET for every kind of content, and no content is made.
func TestHEADBehindCompress(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"a.txt": prose(5000), "small.txt": "small", "b.png": prose(5000)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	static, err := Static(dir, StaticOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var pulls, closes atomic.Int64
	text := fields("Content-Type", "text/plain")
	generated := func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", text, nil)
		return &counted{&pulls, &closes, gateway.Text(prose(5000))}, err
	}
	written := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 OK", text, nil)
		if err == nil {
			_, err = io.WriteString(w, prose(5000))
		}
		return nil, err
	})
	none := func(status string) gateway.App {
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start(status, text, nil)
			return nil, err
		})
	}
	app := router(t,
		Mount("/FileServer", nethttp.App(http.FileServer(http.Dir(dir)))), Mount("/Static", static), Mount("/generated", gateway.AppFunc(generated)), Mount("/written", written),
		Mount("/late", gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			late := &answer{headers: text, chunks: []string{prose(3000), prose(2000)}, late: true}
			return late.Serve(env, start)
		})),
		Mount("/204", none("204 No Content")), Mount("/304", none("304 Not Modified")),
		Mount("/handler", nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, prose(5000)) }))),
		Mount("/sized", gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 OK", text, nil)
			return env.Text(prose(5000)), err
		})))
	for where, dispatch := range dispatches {
		for _, coding := range []string{"gzip", "zstd", "identity"} {
			log := &lockedKeeper{}
			c := dial(t, AccessLog(slog.New(log))(compressOf(t, CompressOptions{})(app)), "tcp", server.Options{Dispatch: dispatch})
			for i, target := range []string{"/FileServer/a.txt", "/FileServer/small.txt", "/FileServer/b.png", "/Static/a.txt", "/Static/small.txt", "/Static/b.png", "/generated", "/written", "/handler", "/sized", "/late", "/204", "/304"} {
				pulls.Store(0)
				head := c.ask("HEAD", target, "Accept-Encoding: "+coding)
				if n := pulls.Load(); n > 0 {
					t.Errorf("%s, HEAD %s: %d chunks were pulled", where, target, n)
				}
				get := c.ask("GET", target, "Accept-Encoding: "+coding)
				content, _ := contentOf(t, get)
				for _, field := range []string{"Content-Encoding", "Vary", "ETag", "Content-Type", "Accept-Ranges", "Last-Modified"} {
					if got, want := head.Header.Get(field), get.Header.Get(field); got != want {
						t.Errorf("%s, %s, %s: HEAD has %s: %q, GET %q", where, target, coding, field, got, want)
					}
				}
				// A length that is only known when all was compressed may be left out; another is wrong.
				if got := head.Header.Get("Content-Length"); head.StatusCode != get.StatusCode || got != "" && got != get.Header.Get("Content-Length") {
					t.Errorf("%s, %s, %s: HEAD is %d with length %q, GET %d with %q of %d bytes", where, target, coding, head.StatusCode, got, get.StatusCode, get.Header.Get("Content-Length"), len(content))
				}
				lines := log.wait(t, 2*i+2)
				if n := lines[2*i]["bytes"]; n != int64(0) {
					t.Errorf("%s, %s, %s: the log of HEAD has %d bytes", where, target, coding, n)
				}
				if n := lines[2*i+1]["bytes"].(int64); get.ContentLength >= 0 && n != get.ContentLength || n == 0 && content != "" {
					t.Errorf("%s, %s, %s: the log of GET has %d bytes, sent were %d", where, target, coding, n, get.ContentLength)
				}
			}
		}
	}
	if closes.Load() != int64(3*3*2) {
		t.Errorf("%d bodies were closed, want %d", closes.Load(), 3*3*2)
	}
}

// counted is a Body that may wait, of a length that is not known.
type counted struct {
	pulls, closes *atomic.Int64
	gateway.Body
}

func (c *counted) Next() ([]byte, error) {
	c.pulls.Add(1)
	return c.Body.Next()
}

func (c *counted) Close() error {
	c.closes.Add(1)
	return nil
}
