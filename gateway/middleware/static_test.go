package middleware

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/gateway/web"
)

// tree is a directory with files, links in and out of it, and a secret beside it.
func tree(t testing.TB) string {
	t.Helper()
	top := t.TempDir()
	dir := filepath.Join(top, "root")
	for name, content := range map[string]string{
		"secret.txt": "secret", "root/a.txt": "0123456789", "root/index.html": "<p>root", "root/sub/index.html": "<p>sub", "root/empty/keep": "",
		"root/.hidden": "hidden", "root/.git/config": "hidden", "root/sub/.x": "hidden", "root/sub/b c\u00e5.json": "{}", "root/page": "<html>page",
		"root/zero": "", "root/big.bin": strings.Repeat("b", 40<<10), "root/big.bin.br": strings.Repeat("c", 20<<10), "root/page.br": "coded",
		"root/.well-known/acme-challenge/token": "token.key", "root/.well-known/.x": "hidden", "root/evil.com/x": "x", "root/a:b/x": "x", `root/back\slash`: "x",
	} {
		path := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"in": "a.txt", "indir": "sub", "out": "../secret.txt", "outdir": "..", "abs": filepath.Join(top, "secret.txt"), "loop": "loop", "sub/up": "../a.txt"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(dir, "a.txt"), time.Time{}, changed); err != nil {
		t.Fatal(err)
	}
	return dir
}

var changed = time.Date(2020, 1, 2, 0, 0, 0, 5000, time.UTC)

func staticOf(t testing.TB, o StaticOptions) gateway.App {
	t.Helper()
	app, err := Static(tree(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.(*static).root.Close() })
	return app
}

// No spelling of a path reaches a file outside the directory, or a hidden one.
func TestStaticPaths(t *testing.T) {
	apps := []gateway.App{staticOf(t, StaticOptions{}), staticOf(t, StaticOptions{OpenFiles: 4}), staticOf(t, StaticOptions{OpenFiles: 1000, Precompressed: []string{"gz"}})}
	for range 2 { // the second time some are from the cache
		for _, app := range apps {
			testPaths(t, app)
		}
	}
}

func testPaths(t *testing.T, app gateway.App) {
	for target, want := range map[string]string{
		"/a.txt": "200 0123456789", "/": "200 <p>root", "/index.html": "200 <p>root", "/sub/": "200 <p>sub", "/sub": "301 ./sub/", "/sub?q=1": "301 ./sub/?q=1",
		"/sub/b%20c%C3%A5.json": "200 {}", "/%61.txt": "200 0123456789", "/in": "200 0123456789", "/indir/": "200 <p>sub", "/sub/up": "200 0123456789",
		"/a.txt?x=../secret": "200 0123456789", "/zero": "200", "/evil.com": "301 ./evil.com/", "/a:b": "301 ./a:b/",
		"/nothing": "404", "/a.txt/": "404", "/a.txt/x": "404", "/empty/": "404", "/empty": "301 ./empty/",
		"/../secret.txt": "404", "/sub/../../secret.txt": "404", "/..%2fsecret.txt": "404", "/%2e%2e/secret.txt": "404", "/%2E%2E%2Fsecret.txt": "404",
		"/sub/..%2f..%2fsecret.txt": "404", "/..%5csecret.txt": "404", "/sub%5cindex.html": "404", "/%252e%252e/secret.txt": "404",
		"/./a.txt": "404", "/sub/./index.html": "404", "/..": "404", "/.": "404", "/sub/..": "404",
		"//a.txt": "404", "//evil.com": "404", "/sub//index.html": "404", "//": "404", "/sub//": "404", "/%2Fa.txt": "404", "/%2F%2Fevil.com": "404",
		"/a.txt%00": "404", "/a.txt%00.html": "404", "/%00": "404", "/%FF": "404",
		"/.well-known/acme-challenge/token": "200 token.key", "/.well-known/acme-challenge": "301 ./acme-challenge/", "/.well-known/.x": "404", "/.well-known/../.hidden": "404",
		"/.well-knownx/x": "404", "/sub/.well-known/x": "404", "/.Well-Known/acme-challenge/token": "404", "/.well-known": "301 ./.well-known/", "/.well-known/": "404",
		"/.hidden": "404", "/%2Ehidden": "404", "/.git/config": "404", "/sub/.x": "404", "/.git": "404", "/.git/": "404",
		"/out": "404", "/outdir/secret.txt": "404", "/outdir/": "404", "/abs": "404", "/loop": "404",
		"/fifo": "404", "/CON": "404", "/aux.txt": "404", "/dev/null": "404", "/proc/self/environ": "404",
		"/" + strings.Repeat("x", 300): "404", "/" + strings.Repeat("x/", 2000): "404", "/sub%2Findex.html": "404", "/sub/%2F": "404", "/sub%2F": "404",
		"/C:%5cwindows": "404", "/back%5cslash": "404", "/file:///etc/passwd": "404", "/~root": "404",
	} {
		got := gatewaytest.Get(app, target)
		text := got.Status[:min(3, len(got.Status))]
		switch got.Code {
		case 200:
			text = strings.TrimSpace(text + " " + got.Text())
		case 301:
			text += " " + got.Get("Location")
		}
		if text != want || got.Err != nil {
			t.Errorf("%.60s: %q, %v; want %q", target, text, got.Err, want)
		}
	}
}

func TestStaticOptions(t *testing.T) {
	for _, tt := range []struct {
		o            StaticOptions
		target, want string
	}{
		{StaticOptions{DotFiles: true}, "/.hidden", "hidden"},
		{StaticOptions{DotFiles: true}, "/.git/config", "hidden"},
		{StaticOptions{DotFiles: true}, "/../secret.txt", "404"},
		{StaticOptions{NoSymlinks: true}, "/in", "404"},
		{StaticOptions{NoSymlinks: true}, "/indir/index.html", "404"},
		{StaticOptions{NoSymlinks: true}, "/indir", "404"},
		{StaticOptions{NoSymlinks: true}, "/sub/up", "404"},
		{StaticOptions{NoSymlinks: true}, "/sub/", "<p>sub"},
		{StaticOptions{NoSymlinks: true}, "/", "<p>root"},
		{StaticOptions{Index: []string{"none", "a.txt"}}, "/", "0123456789"},
		{StaticOptions{NotFound: named("fallback")}, "/x/y", "fallback |/x/y"},
		{StaticOptions{NotFound: named("fallback")}, "/a.txt", "0123456789"},
		{StaticOptions{NotFound: named("fallback")}, "/../x", "fallback |/../x"},
	} {
		got := gatewaytest.Get(staticOf(t, tt.o), tt.target)
		if text := got.Text(); text != tt.want && !(tt.want == "404" && got.Code == 404) {
			t.Errorf("%+v, %s: %s, want %s", tt.o, tt.target, show(got), tt.want)
		}
	}
	if got := gatewaytest.Get(staticOf(t, StaticOptions{CacheControl: "max-age=9"}), "/a.txt"); got.Get("Cache-Control") != "max-age=9" {
		t.Errorf("Cache-Control: %v", got.Header)
	}
}

func TestStaticRefused(t *testing.T) {
	for _, o := range []StaticOptions{{Index: []string{"a/b"}}, {Index: []string{".."}}, {Index: []string{"a\x00"}}, {Fallback: "../x"}, {Precompressed: []string{"gzip"}}, {OpenFiles: -1}, {ErrorPages: map[int]string{500: "x"}}, {ErrorPages: map[int]string{404: "/x"}}, {CacheControl: "a\r\nb"}} {
		if _, err := Static(t.TempDir(), o); err == nil || !strings.Contains(err.Error(), "StaticOptions.") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := Static(filepath.Join(t.TempDir(), "none"), StaticOptions{}); err == nil {
		t.Error("a directory that is not there is no error")
	}
}

func TestStaticMethods(t *testing.T) {
	app := staticOf(t, StaticOptions{})
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "get"} {
		for _, target := range []string{"/a.txt", "/sub", "/sub/"} {
			if got := call(app, method, target); got.Code != 405 || got.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %s, Allow %q", method, target, show(got), got.Get("Allow"))
			}
		}
	}
	out := exchange(t, app, "HEAD /a.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=0-1\r\n\r\n")
	if !strings.HasPrefix(out, "HTTP/1.1 200 ") || !strings.Contains(out, "Content-Length: 10\r\n") || strings.Contains(out, "0123") {
		t.Errorf("HEAD: %q", out)
	}
	mounted := router(t, Mount("/static", app))
	if got := gatewaytest.Get(mounted, "/static/a.txt"); got.Text() != "0123456789" {
		t.Errorf("mounted: %s", show(got))
	}
	if got := gatewaytest.Get(mounted, "/static"); got.Get("Location") != "./static/" {
		t.Errorf("mounted, without a slash: %v", got.Header)
	}
}

func TestStaticTypes(t *testing.T) {
	app := staticOf(t, StaticOptions{})
	for target, want := range map[string]string{
		"/a.txt": "text/plain; charset=utf-8", "/index.html": "text/html; charset=utf-8", "/sub/b%20c%C3%A5.json": "application/json", "/page": "text/html; charset=utf-8", "/zero": "text/plain; charset=utf-8",
	} {
		if got := gatewaytest.Get(app, target); got.Get("Content-Type") != want {
			t.Errorf("%s: %q, want %q", target, got.Get("Content-Type"), want)
		}
	}
}

func TestStaticRanges(t *testing.T) {
	app := staticOf(t, StaticOptions{})
	whole := gatewaytest.Get(app, "/a.txt")
	etag, date := whole.Get("ETag"), whole.Get("Last-Modified")
	if date != modified || etag == "" || whole.Get("Accept-Ranges") != "bytes" {
		t.Fatalf("%v", whole.Header)
	}
	const huge = "99999999999999999999999999"
	for _, tt := range []struct{ header, content, contentRange string }{
		{"bytes=0-3", "0123", "bytes 0-3/10"},
		{"bytes=9-9", "9", "bytes 9-9/10"},
		{"bytes=3-", "3456789", "bytes 3-9/10"},
		{"bytes=3-99", "3456789", "bytes 3-9/10"},
		{"bytes=3-" + huge, "3456789", "bytes 3-9/10"},
		{"bytes=-3", "789", "bytes 7-9/10"},
		{"bytes=-99", "0123456789", "bytes 0-9/10"},
		{"bytes=-" + huge, "0123456789", "bytes 0-9/10"},
		{"BYTES=0-0", "0", "bytes 0-0/10"},
		{"bytes= 0-0 ", "0", "bytes 0-0/10"},
		{"bytes=10-", "416", "bytes */10"},
		{"bytes=10-11", "416", "bytes */10"},
		{"bytes=" + huge + "-", "416", "bytes */10"},
		{"bytes=" + huge + "-" + huge, "416", "bytes */10"},
		{"bytes=-0", "416", "bytes */10"},
		{"bytes=3-2", "200", ""},
		{"bytes=0-1,3-4", "200", ""},
		{"bytes=0-,0-,0-,0-", "200", ""},
		{"bytes=-", "200", ""},
		{"bytes=a-b", "200", ""},
		{"bytes=+1-2", "200", ""},
		{"bytes=1-+2", "200", ""},
		{"bytes=0x1-2", "200", ""},
		{"bytes=1_0-20", "200", ""},
		{"bytes=--1", "200", ""},
		{"bytes=1--1", "200", ""},
		{"bytes", "200", ""},
		{"bytes=", "200", ""},
		{"lines=0-1", "200", ""},
		{"", "200", ""},
	} {
		got := call(app, "GET", "/a.txt", "Range", tt.header)
		want := 206
		switch tt.content {
		case "416":
			want = 416
		case "200":
			want, tt.content = 200, "0123456789"
		}
		if got.Code != want || got.Get("Content-Range") != tt.contentRange || want != 416 && got.Text() != tt.content || got.Err != nil {
			t.Errorf("%s: %s, %q; want %d %q", tt.header, show(got), got.Get("Content-Range"), want, tt.contentRange)
		}
	}
	if got := call(app, "GET", "/zero", "Range", "bytes=0-"); got.Code != 416 || got.Get("Content-Range") != "bytes */0" {
		t.Errorf("of an empty file: %s", show(got))
	}
	for value, code := range map[string]int{
		etag: 206, "W/" + etag: 200, `"other"`: 200, date: 206, before: 200, after: 200, "nonsense": 200,
	} {
		if got := call(app, "GET", "/a.txt", "Range", "bytes=0-3", "If-Range", value); got.Code != code {
			t.Errorf("If-Range: %s: %s, want %d", value, show(got), code)
		}
	}
	out := exchange(t, app, "GET /a.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=2-5\r\n\r\n")
	if !strings.HasPrefix(out, "HTTP/1.1 206 ") || !strings.Contains(out, "Content-Length: 4\r\n") || !strings.HasSuffix(out, "\r\n\r\n2345") {
		t.Errorf("on the wire: %q", out)
	}
}

func TestStaticPreconditions(t *testing.T) {
	app := staticOf(t, StaticOptions{CacheControl: "max-age=9"})
	etag := gatewaytest.Get(app, "/a.txt").Get("ETag")
	for _, tt := range []struct {
		header []string
		code   int
	}{
		{[]string{"If-None-Match", etag}, 304}, {[]string{"If-None-Match", `"x"`}, 200}, {[]string{"If-Modified-Since", modified}, 304}, {[]string{"If-Modified-Since", before}, 200},
		{[]string{"If-Match", `"x"`}, 412}, {[]string{"If-Match", etag}, 200}, {[]string{"If-Unmodified-Since", before}, 412}, {[]string{"If-Unmodified-Since", modified}, 200},
		{[]string{"If-None-Match", etag, "Range", "bytes=0-1"}, 304}, {[]string{"If-Match", etag, "Range", "bytes=0-1"}, 206},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			got := call(app, method, "/a.txt", tt.header...)
			if want := tt.code; got.Code != want && !(method == "HEAD" && want == 206 && got.Code == 200) || got.Err != nil {
				t.Errorf("%s %q: %s, want %d", method, tt.header, show(got), want)
			}
			if got.Code == 304 && (got.Get("ETag") != etag || got.Get("Cache-Control") != "max-age=9" || got.Get("Content-Type") != "" || got.Text() != "") {
				t.Errorf("%q: 304 with %v, %q", tt.header, got.Header, got.Text())
			}
		}
	}
}

// The ETag changes with the size and with the time.
func TestStaticETag(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	app, err := Static(dir, StaticOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer app.(*static).root.Close()
	seen := map[string]bool{}
	for i, content := range []string{"a", "b", "cc"} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, changed.Add(time.Duration(i/2)+time.Duration(i%2)*time.Microsecond)); err != nil {
			t.Fatal(err)
		}
		etag := gatewaytest.Get(app, "/f").Get("ETag")
		if seen[etag] {
			t.Errorf("%s was the ETag of other content", etag)
		}
		seen[etag] = true
	}
}

// A time before 1980-01-02 is no validator: a file that was replaced by one of the same length and time is sent whatever
// validators the client has. By Static, and by web.File with Conditional around it.
func TestFilesWithoutATime(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f.txt")
	app, err := Static(dir, StaticOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer app.(*static).root.Close()
	conditional, err := Conditional(ConditionalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ofWeb := conditional(web.HandlerFunc(func(*web.Request) (*web.Response, error) { return web.File(path) }))
	for name, app := range map[string]gateway.App{"Static": app, "web.File": ofWeb} {
		for modified, says := range map[time.Time]bool{
			time.Unix(0, 0): false, time.Unix(1, 0): false, time.Unix(-1, 0): false, time.Unix(315532800, 0): false, // SOURCE_DATE_EPOCH of nixpkgs
			time.Date(1980, 1, 1, 23, 59, 59, 0, time.UTC): false, time.Date(1980, 1, 2, 0, 0, 0, 0, time.UTC): true, changed: true,
		} {
			put := func(content string) {
				t.Helper()
				if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(path, time.Time{}, modified); err != nil {
					t.Fatal(err)
				}
			}
			put("one")
			got := gatewaytest.Get(app, "/f.txt")
			if is := got.Get("Last-Modified") != ""; got.Text() != "one" || is != says || (got.Get("ETag") != "") != (says && name == "Static") {
				t.Errorf("%s of %v: %s %v", name, modified, show(got), got.Header)
			}
			put("two")
			want := 304
			if !says {
				want = 200
			}
			for _, precondition := range [][]string{
				{"If-Modified-Since", modified.UTC().Format(http.TimeFormat)}, {"If-Modified-Since", time.Now().UTC().Format(http.TimeFormat)}, {"If-None-Match", got.Get("ETag") + `, "0-3", "1-3"`},
			} {
				again := call(app, "GET", "/f.txt", precondition...)
				if name == "web.File" && precondition[0] == "If-None-Match" {
					want = 200 // it has no ETag at all
				}
				if again.Code != want || want == 200 && again.Text() != "two" {
					t.Errorf("%s of %v, %q: %s, want %d", name, modified, precondition, show(again), want)
				}
			}
			for header, want := range map[string]string{"": "wo", modified.UTC().Format(http.TimeFormat): "two", `"0-3"`: "two"} {
				if part := call(app, "GET", "/f.txt", "Range", "bytes=1-", "If-Range", header); name == "Static" && !says && part.Text() != want {
					t.Errorf("a part, of %v, If-Range: %s: %s", modified, header, show(part))
				}
			}
			for header, want := range map[string]int{"*": 200, `"0-3"`: 412} {
				if got := call(app, "GET", "/f.txt", "If-Match", header); got.Code != want {
					t.Errorf("%s of %v, If-Match: %s: %s", name, modified, header, show(got))
				}
			}
		}
	}
}

// No request leaves a file open.
func TestStaticClosesFiles(t *testing.T) {
	for _, o := range []StaticOptions{{}, {Precompressed: []string{"br", "gz"}}, {OpenFiles: 2, Precompressed: []string{"br"}}, {List: true, ErrorPages: map[int]string{404: "a.txt", 416: "a.txt"}}} {
		testClosesFiles(t, staticOf(t, o))
	}
}

func testClosesFiles(t *testing.T, app gateway.App) {
	open := func() int {
		entries, err := os.ReadDir("/dev/fd")
		if err != nil {
			t.Skipf("it counts open files: %v", err)
		}
		return len(entries)
	}
	etag := gatewaytest.Get(app, "/a.txt").Get("ETag")
	start := open()
	rounds := 50
	if testing.Short() {
		rounds = 10 // a file a round is more than the 2 below
	}
	for range rounds {
		for _, target := range []string{"/a.txt", "/", "/sub", "/empty/", "/fifo", "/a.txt/", "/out", "/nothing", "/page", "/big.bin"} {
			for _, method := range []string{"GET", "HEAD", "POST"} {
				for _, h := range [][]string{nil, {"If-None-Match", etag}, {"If-Match", `"x"`}, {"Range", "bytes=1-2"}, {"Range", "bytes=99999-"}, {"Accept-Encoding", "br"}} {
					call(app, method, target, h...)
				}
			}
		}
	}
	if n := open(); n > start+2 {
		t.Errorf("%d files are open, %d were at the start", n, start)
	}
}

// Invariant: no request gets content of a file outside, or of a hidden one.
func FuzzStatic(f *testing.F) {
	for _, s := range []string{"a.txt", "../secret.txt", "%2e%2e/secret.txt", "out", "sub/..%5c", ".git/config", "outdir/secret.txt", "indir/../.hidden"} {
		f.Add(s)
	}
	app := staticOf(f, StaticOptions{OpenFiles: 8, List: true, Fallback: "index.html"})
	f.Fuzz(func(t *testing.T, path string) {
		got := gatewaytest.Get(app, "/"+path)
		if text := got.Text(); got.Code == 200 && (text == "secret" || text == "hidden") {
			t.Errorf("%q: %s", path, show(got))
		}
		if to := got.Get("Location"); to != "" && !strings.HasPrefix(to, "./") {
			t.Errorf("%q: redirected to %s", path, to)
		}
	})
}
