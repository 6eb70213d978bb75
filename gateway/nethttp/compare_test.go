package nethttp_test

import (
	"encoding/json"
	"errors"
	_ "expvar"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	_ "net/http/pprof"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/server"
)

const get = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"

// describe responds with all that a handler can see of its request.
func describe(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%-8s", r.Method) // of one length: that of HEAD is compared with GET
	fmt.Fprintln(w, r.RequestURI, r.Proto, r.ProtoMajor, r.ProtoMinor, r.Host, r.Close, r.ContentLength, r.TransferEncoding, r.Body == http.NoBody, r.TLS == nil)
	fmt.Fprintf(w, "%q %q %q %q %q %q\n", r.URL, r.URL.Scheme, r.URL.Host, r.URL.Path, r.URL.RawPath, r.URL.RawQuery)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(w, "%s: %q\n", name, r.Header[name])
	}
	for _, name := range slices.Sorted(maps.Keys(r.Trailer)) {
		fmt.Fprintf(w, "trailer %s\n", name)
	}
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%q %v\n", body, err)
	n, err := r.Body.Read(make([]byte, 1))
	fmt.Fprintln(w, n, err)
	_ = r.Body.Close()
	if r.Body != http.NoBody {
		n, err = r.Body.Read(make([]byte, 1))
		fmt.Fprintln(w, n, err)
	}
	_, isServer := r.Context().Value(http.ServerContextKey).(*http.Server)
	fmt.Fprintln(w, isServer, r.Context().Err(), r.UserAgent(), r.Referer(), r.Cookies())
}

// writes responds with chunks, after it has set fields by pairs and a status.
func writes(code int, pairs string, chunks ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for pair := range strings.SplitSeq(pairs, "|") {
			if name, value, ok := strings.Cut(pair, ": "); ok {
				w.Header().Add(name, value)
			}
		}
		if code != 0 {
			w.WriteHeader(code)
		}
		for _, chunk := range chunks {
			if chunk == "FLUSH" {
				w.(http.Flusher).Flush()
				continue
			}
			_, _ = io.WriteString(w, chunk)
		}
	}
}

// files is a directory for http.FileServer.
func files(t testing.TB) string {
	dir := t.TempDir()
	changed := time.Date(2024, 5, 17, 9, 30, 0, 0, time.UTC)
	for name, content := range map[string]string{
		"small.txt": "a small file\n", "large.txt": large, "large.unknown": strings.Repeat("<html>", 4000), "empty.txt": "", "sub/index.html": "<p>index", "page.html": "<p>page",
	} {
		path := filepath.Join(dir, name)
		_ = os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"", "sub"} {
		if err := os.Chtimes(filepath.Join(dir, name), changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var large = func() string {
	var b strings.Builder
	for i := range 30_000 {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.String()
}()

// The reasons for which a response of App differs from net/http's.
const (
	headLength  = "Transfer-Encoding"  // HEAD of an unknown length says how GET would be framed
	serversOwn  = "Keep-Alive Upgrade" // dropped: the server's to send
	unsentPanic = "status"             // 500, where net/http closes the connection without a word
)

func TestSameAsNetHTTP(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "asks two servers hundreds of requests")
	dir := files(t)
	fileServer := http.FileServer(http.Dir(dir))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /items/{id}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Pattern, " ", r.PathValue("id")) })
	mux.HandleFunc("POST /items/{rest...}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Pattern, " ", r.PathValue("rest")) })
	mux.HandleFunc("/dir/", describe)
	mux.HandleFunc("example.org/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "by host ", r.Host) })
	upstream := serveNetHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Up", "1")
		w.Header().Set("Keep-Alive", "timeout=5")
		switch r.URL.Path {
		case "/cut":
			w.Header().Set("Content-Length", "100000")
			_, _ = io.WriteString(w, large[:5000])
			panic(http.ErrAbortHandler)
		case "/cut/chunks":
			_, _ = io.WriteString(w, large[:5000])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/early":
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%-8s", r.Method)
		fmt.Fprintln(w, r.URL.Path, r.ContentLength, r.TransferEncoding, len(body), err, r.Header.Get("X-Forwarded-Host"))
	}))
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: upstream.addr})
		r.SetXForwarded()
	}, ErrorLog: quiet, Transport: transport(t)}
	post := func(target, content string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: example.com\r\nContent-Length: %d\r\nContent-Type: application/json\r\n\r\n%s", target, len(content), content)
	}
	chunked := "POST /c HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n"
	of := func(target, fields string) string {
		return "GET " + target + " HTTP/1.1\r\nHost: example.com\r\n" + fields + "\r\n"
	}

	compareCases(t, []compareCase{
		// What a handler sees.
		{"request", http.HandlerFunc(describe), get, ""},
		{"request with fields", http.HandlerFunc(describe), of("/a/b?c=d&e", "accept: */*\r\nX-one: 1\r\nUser-Agent: test\r\nx-ONE: 2\r\nCookie: a=1\r\nCookie: b=2\r\nReferer: r\r\nEmpty:\r\n"), ""},
		{"Pragma", http.HandlerFunc(describe), of("/", "Pragma: no-cache\r\n"), ""},
		{"Pragma and Cache-Control", http.HandlerFunc(describe), of("/", "Pragma: no-cache\r\nCache-Control: max-age=0\r\n"), ""},
		{"escaped path", http.HandlerFunc(describe), of("/a%20b%2fc/%C3%A4?x=%20;y", ""), ""},
		{"bad escape", http.HandlerFunc(describe), of("/%zz", ""), "Content-Length"},
		{"slashes", http.HandlerFunc(describe), of("//a//b/../c", ""), ""},
		{"absolute-form", http.HandlerFunc(describe), of("http://other.example:8080/a?b", ""), ""},
		{"absolute-form without a path", http.HandlerFunc(describe), of("http://other.example", ""), ""},
		{"OPTIONS *", http.HandlerFunc(describe), "OPTIONS * HTTP/1.1\r\nHost: example.com\r\n\r\n", ""},
		{"OPTIONS /", http.HandlerFunc(describe), "OPTIONS / HTTP/1.1\r\nHost: example.com\r\n\r\n", ""},
		{"a method of its own", http.HandlerFunc(describe), "PURGE /x HTTP/1.1\r\nHost: example.com\r\n\r\n", ""},
		{"HTTP/1.0", http.HandlerFunc(describe), "GET /old HTTP/1.0\r\nHost: example.com\r\n\r\n", ""},
		{"HTTP/1.0 without Host", http.HandlerFunc(describe), "GET /old HTTP/1.0\r\n\r\n", ""},
		{"HTTP/1.0 keep-alive", http.HandlerFunc(describe), "GET /old HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", ""},
		{"Connection: close", http.HandlerFunc(describe), of("/", "Connection: x, Close\r\n"), ""},
		{"content", http.HandlerFunc(describe), post("/p", `{"a":1}`), ""},
		{"content of no bytes", http.HandlerFunc(describe), post("/p", ""), ""},
		{"chunked content with a trailer", http.HandlerFunc(describe), chunked, ""},

		// What it answers.
		{"nothing", writes(0, ""), get, ""},
		{"a status alone", writes(404, ""), get, ""},
		{"a status without a name", writes(299, "", "x"), get, ""},
		{"text", writes(0, "", "hello"), get, ""},
		{"typed", writes(201, "Content-Type: a/b|X-A: 1|X-A: 2|Location: /x", "{}"), get, ""},
		{"type sniffed", writes(0, "", "<!DOCTYPE html>", "<p>"), get, ""},
		{"type sniffed from more than one write", writes(0, "", "<!DOC", "TYPE html>", large), get, ""},
		{"binary", writes(0, "", "\x89PNG\x0D\x0A\x1A\x0A", "\x00\x01"), get, ""},
		{"encoded is not sniffed", writes(0, "Content-Encoding: gzip", "<html>"), get, ""},
		{"no type", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, "<html>")
		}), get, ""},
		{"2048 bytes", writes(0, "", large[:2048]), get, ""},
		{"2049 bytes", writes(0, "", large[:2049]), get, ""},
		{"many small writes", writes(0, "", strings.SplitAfter(large[:20_000], "\n")...), get, ""},
		{"large", writes(0, "", large), get, ""},
		{"large with a length", writes(0, fmt.Sprint("Content-Length: ", len(large)), large[:100], large[100:]), get, ""},
		{"large, HTTP/1.0", writes(0, "", large), "GET / HTTP/1.0\r\n\r\n", ""},
		{"flushed", writes(0, "", "a", "FLUSH", "b", "FLUSH", "c"), get, ""},
		{"flushed before anything", writes(0, "", "FLUSH", "a"), get, ""},
		{"too long", writes(0, "Content-Length: 3", "ab", "cde", "f"), get, ""},
		{"too short", writes(0, "Content-Length: 30", "ab"), get, ""},
		{"a length that is none", writes(0, "Content-Length: x", "ab"), post("/", ""), ""},
		{"two lengths", writes(0, "Content-Length: 2|Content-Length: 2", "ab"), get, ""},
		{"nothing for HEAD", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodHead {
				_, _ = io.WriteString(w, "content")
			}
		}), get, ""},
		{"204", writes(204, "", "no"), get, ""},
		{"204 with a length", writes(204, "Content-Length: 2|X-A: b"), get, ""},
		{"304", writes(304, "Etag: \"x\"|Content-Type: a/b|Content-Length: 7", "no"), get, ""},
		{"200, then 418", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusOK)
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, "first counts")
		}), get, ""},
		{"header after WriteHeader", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("A", "1")
			w.WriteHeader(202)
			w.Header().Set("A", "2")
			w.Header().Set("B", "2")
		}), get, ""},
		{"line ends in a value", writes(0, "A: b\r\nC: d\n|B:  x "), get, ""},
		{"no names", writes(0, "a b: c|\u00e4: x|: y|X: y"), get, ""},
		{"Connection: close of the handler", writes(0, "Connection: close", "x"), get, ""},
		{"Connection: keep-alive", writes(0, "Connection: keep-alive|Keep-Alive: 5|Upgrade: x", "x"), get, serversOwn},
		{"Transfer-Encoding of the handler", writes(0, "Transfer-Encoding: chunked", large), get, ""},
		{"Date and Server of the handler", writes(0, "Date: x|Server: y"), get, ""},
		{"content not read", writes(200, "", "ok"), post("/", large), ""},
		{"early 413", writes(413, "", "too much"), post("/", strings.Repeat(large, 4)), ""},
		{"MaxBytesReader", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 1000))
			var most *http.MaxBytesError
			http.Error(w, fmt.Sprint(err), map[bool]int{true: 413, false: 200}[errors.As(err, &most)])
		}), post("/", large), ""},
		{"large upload", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err)
		}), post("/", strings.Repeat(large, 20)), ""},
		{"echo as it comes", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			_, _ = io.Copy(w, r.Body)
		}), post("/", large), ""},
		{"Expect", http.HandlerFunc(describe), "POST / HTTP/1.1\r\nHost: example.com\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok", ""},
		{"upload that is cut", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, err == nil)
		}), "POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", "status body Content-Length Content-Type"},
		{"panic", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("broken") }), get, unsentPanic},
		{"abort", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), get, ""},
		{"panic in the middle", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, large)
			w.(http.Flusher).Flush()
			panic("broken")
		}), post("/", ""), ""},

		// Handlers of the standard library.
		{"mux", mux, of("/items/5", ""), ""},
		{"mux, rest", mux, post("/items/a/b", "x"), ""},
		{"mux, 405", mux, "DELETE /items/5 HTTP/1.1\r\nHost: example.com\r\n\r\n", ""},
		{"mux, 404", mux, of("/none", ""), ""},
		{"mux, by host", mux, "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", ""},
		{"mux, redirect", mux, of("/dir", ""), ""},
		{"mux, cleaned", mux, of("/dir/../items/5", ""), ""},
		{"file", fileServer, of("/small.txt", ""), ""},
		{"large file", fileServer, of("/large.txt", ""), ""},
		{"file of an unknown type", fileServer, of("/large.unknown", ""), ""},
		{"empty file", fileServer, of("/empty.txt", ""), ""},
		{"page", fileServer, of("/page.html", ""), ""},
		{"index", fileServer, of("/sub/", ""), ""},
		{"directory", fileServer, of("/", ""), ""},
		{"directory without a slash", fileServer, of("/sub", ""), ""},
		{"no file", fileServer, of("/none", ""), ""},
		{"range", fileServer, of("/large.txt", "Range: bytes=100-49999\r\n"), ""},
		{"range of the end", fileServer, of("/large.txt", "Range: bytes=-7\r\n"), ""},
		{"ranges", fileServer, of("/large.txt", "Range: bytes=0-4,10-14\r\n"), ""},
		{"range that is not there", fileServer, of("/small.txt", "Range: bytes=1000-\r\n"), ""},
		{"not changed", fileServer, of("/large.txt", "If-Modified-Since: Fri, 17 May 2024 09:30:00 GMT\r\n"), ""},
		{"file, then more", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			f, _ := os.Open(filepath.Join(dir, "large.txt"))
			defer f.Close()
			n, err := io.Copy(w, f)
			at, _ := f.Seek(0, io.SeekCurrent)
			fmt.Fprintln(w, "and", n, err, at)
		}), get, ""},
		{"part of a file, then the rest", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			f, _ := os.Open(filepath.Join(dir, "large.txt"))
			defer f.Close()
			_, _ = io.CopyN(w, f, 10_000)
			_, _ = io.Copy(w, f)
		}), get, ""},
		{"file behind text", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			f, _ := os.Open(filepath.Join(dir, "large.txt"))
			defer f.Close()
			_, _ = io.WriteString(w, "text")
			_, _ = io.Copy(w, f)
		}), get, ""},
		{"file longer than its length", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			f, _ := os.Open(filepath.Join(dir, "large.txt"))
			defer f.Close()
			w.Header().Set("Content-Length", "10000")
			_, _ = io.Copy(w, f)
		}), get, "cut body Content-Type"},
		{"StripPrefix", http.StripPrefix("/static", fileServer), of("/static/page.html", ""), ""},
		{"TimeoutHandler in time", http.TimeoutHandler(writes(203, "A: b", "done"), time.Minute, "late"), get, ""},
		{"TimeoutHandler too late", http.TimeoutHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), time.Millisecond, "late"), get, ""},
		{"TimeoutHandler that panics", http.TimeoutHandler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("broken") }), time.Minute, ""), get, unsentPanic},
		{"JSON", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var v any
			if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v)
		}), post("/", `{"a":[1,2,{"b":null}]}`), ""},
		{"form", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.FormValue("a"), r.FormValue("b")) }),
			"POST /?b=2 HTTP/1.1\r\nHost: example.com\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\na=1", ""},
		{"multipart", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f, h, err := r.FormFile("f")
			if err != nil {
				http.Error(w, err.Error(), 400)
				return
			}
			b, err := io.ReadAll(f)
			fmt.Fprint(w, h.Filename, len(b), err)
		}), multipart(large), ""},
		{"pprof", http.DefaultServeMux, of("/debug/pprof/", ""), "numbers"},
		{"expvar", http.DefaultServeMux, of("/debug/vars", ""), "numbers body Content-Length Transfer-Encoding"},
		{"proxy", proxy, of("/up", ""), ""},
		{"proxy, content", proxy, post("/up", large), ""},
		{"proxy, chunked", proxy, chunked, ""},
		{"proxy, cut", proxy, of("/cut", ""), "body"},
		{"proxy, cut between chunks", proxy, of("/cut/chunks", ""), "body"},
		{"proxy, early answer", proxy, post("/early", strings.Repeat(large, 4)), ""},
		{"proxy, Upgrade", proxy, of("/up", "Connection: upgrade\r\nUpgrade: x\r\n"), ""},
	})
}

// compareCase is a request to a handler that App and net/http serve.
type compareCase struct {
	name    string
	handler http.Handler
	request string
	differs string // field names that may; see the constants
}

// compareCases runs cases, those of GET with HEAD, too.
func compareCases(t *testing.T, cases []compareCase) {
	var handler atomic.Pointer[http.Handler]
	now := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*handler.Load()).ServeHTTP(w, r) })
	theirs := serveNetHTTP(t, now)
	var places []testServer
	for _, d := range []server.DispatchMode{server.Inline, server.Auto, server.Pool} {
		if testing.Short() && d != server.Auto {
			continue // thrice the time for hardly another answer
		}
		places = append(places, serveIsbjorn(t, now, server.Options{Dispatch: d}))
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			handler.Store(&tt.handler)
			for _, ours := range places {
				a := compare(t, ours, theirs, tt.request, tt.differs)
				if head, ok := strings.CutPrefix(tt.request, "GET "); ok {
					h := compare(t, ours, theirs, "HEAD "+head, tt.differs+" "+headLength+" Content-Length")
					n := h.header.Get("Content-Length")
					if whole := strings.HasPrefix(a.status, "2") && !a.cut && !strings.Contains(tt.differs, "body"); whole && n != "" && n != fmt.Sprint(len(a.body)) {
						t.Errorf("HEAD says that the length is %s, and GET has %d", n, len(a.body))
					}
				}
			}
		})
	}
}

var number = regexp.MustCompile(`[0-9]+`)

// compare sends a request to both servers, and returns the response of App. differs names what may differ:
// fields, and status, body, cut, or the numbers in the body.
func compare(t *testing.T, ours, theirs testServer, request, differs string) answer {
	t.Helper()
	got, want := ours.ask(t, request), theirs.ask(t, request)
	asIs := got
	without := append(strings.Fields(differs), "Date", "Server", "Connection")
	if strings.HasPrefix(request, "HEAD ") && want.header.Get("Content-Length") != "" && got.header.Get("Content-Length") != want.header.Get("Content-Length") && differs[0] == ' ' {
		t.Errorf("%.40q: the length is %v, net/http's %v", request, got.header["Content-Length"], want.header["Content-Length"])
	}
	if strings.Contains(request, "HTTP/1.0") {
		without = append(without, "Content-Length")
	}
	if want.header.Get("Transfer-Encoding") != "" && got.header.Get("Content-Length") == fmt.Sprint(len(got.body)) {
		// The handler was done before the head was sent, so the length is known.
		without = append(without, "Content-Length", "Transfer-Encoding")
	}
	if slices.Contains(without, "status") && strings.HasPrefix(got.status, "500") && want.status == "" {
		return asIs
	}
	if slices.Contains(without, "status") {
		got.status, want.status = "", ""
	}
	for _, a := range []*answer{&got, &want} {
		if slices.Contains(without, "body") {
			a.body = ""
		}
		if slices.Contains(without, "cut") {
			a.cut = false
		}
		if slices.Contains(without, "numbers") {
			a.body = number.ReplaceAllString(a.body, "n")
			a.header.Del("Content-Length")
		}
	}
	// The boundary of ranges is random.
	got.body, want.body = boundary.ReplaceAllString(got.body, "boundary"), boundary.ReplaceAllString(want.body, "boundary")
	for _, a := range []answer{got, want} {
		for i := range a.header["Content-Type"] {
			a.header["Content-Type"][i] = boundary.ReplaceAllString(a.header["Content-Type"][i], "boundary")
		}
	}
	if g, w := got.text(without...), want.text(without...); g != w {
		t.Errorf("%.60q:\n%s\n\nnet/http:\n%s", request, g, w)
	}
	return asIs
}

var boundary = regexp.MustCompile(`[0-9a-f]{60}`)

func multipart(content string) string {
	body := "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.txt\"\r\n\r\n" + content + "\r\n--b--\r\n"
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: example.com\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}
