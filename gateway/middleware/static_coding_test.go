package middleware

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
)

// directory is a directory with files; names that end in "/" are directories. All have the time changed.
func directory(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		put(t, filepath.Join(dir, name), content, changed)
	}
	return dir
}

// put writes a file by a rename.
func put(t testing.TB, path, content string, modified time.Time) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	next := filepath.Join(filepath.Dir(path), ".next")
	if err := os.WriteFile(next, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(next, time.Time{}, modified); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

func staticIn(t testing.TB, dir string, o StaticOptions) *static {
	t.Helper()
	app, err := Static(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s := app.(*static); s.cache != nil {
			s.cache.clear()
			if n := s.cache.contents.Load(); n != 0 || s.cache.bytes.Load() != 0 {
				t.Errorf("the cache counts %d contents and %d bytes at the end", n, s.cache.bytes.Load())
			}
		}
		_ = app.(*static).root.Close()
	})
	return app.(*static)
}

var plainCSS = strings.Repeat("body { color: red }\n", 2000) // is sent from its descriptor

var codedFiles = map[string]string{
	"a.css": "plain text", "a.css.br": "br of text", "a.css.gz": "gz of text!", "a.css.zst": "zst of text!!",
	"b.css": "plain b", "b.css.gz": "gz of b",
	"big.css": plainCSS, "big.css.br": strings.ToUpper(plainCSS[:30000]),
	"index.html": "<p>", "index.html.br": "br of <p>",
	"x": "<html>sniffed", "x.gz": "gz of x",
	"only.js.br": "no such file", "png.png": "PNG",
	"d/": "",
}

func inCaches(t *testing.T, o StaticOptions, files map[string]string, test func(t *testing.T, app *static, dir string)) {
	for _, n := range []int{0, 2, 100} {
		o.OpenFiles = n
		t.Run(fmt.Sprintf("OpenFiles=%d", n), func(t *testing.T) {
			dir := directory(t, withoutDirs(files))
			app := staticIn(t, dir, o)
			for range 2 {
				test(t, app, dir)
			}
		})
	}
}

func withoutDirs(files map[string]string) map[string]string {
	m := map[string]string{}
	for name, content := range files {
		if !strings.HasSuffix(name, "/") {
			m[name] = content
		}
	}
	return m
}

func TestPrecompressed(t *testing.T) {
	inCaches(t, StaticOptions{Precompressed: []string{"zst", "br", "gz"}}, codedFiles, func(t *testing.T, app *static, _ string) {
		for _, tt := range []struct{ target, accept, coding string }{
			{"/a.css", "", ""},
			{"/a.css", "gzip, deflate, br, zstd", "zst"},
			{"/a.css", "gzip, deflate, br", "br"},
			{"/a.css", "gzip", "gz"},
			{"/a.css", "x-gzip", "gz"},
			{"/a.css", "GZIP", "gz"},
			{"/a.css", "gzip;q=1, br;q=0.5, zstd;q=0.2", "gz"},
			{"/a.css", "gzip;q=0.5, br;q=0.5", "br"},
			{"/a.css", "gzip;q=0, br;q=0, zstd;q=0", ""},
			{"/a.css", "*", "zst"},
			{"/a.css", "*;q=0", ""},
			{"/a.css", "zstd;q=0, *", "br"},
			{"/a.css", "identity", ""},
			{"/a.css", "identity;q=0", ""},
			{"/a.css", "identity;q=0, gzip;q=0.1", "gz"},
			{"/a.css", "identity;q=0.5, gzip;q=0.1", ""},
			{"/a.css", "identity;q=0.5, gzip;q=0.5", "gz"},
			{"/a.css", "identity;q=1, *;q=0.5", ""},
			{"/a.css", "gzip;q=x", ""},
			{"/a.css", "deflate", ""},
			{"/b.css", "br, zstd", ""},
			{"/b.css", "br, gzip;q=0.1", "gz"},
			{"/big.css", "br", "br"},
			{"/big.css", "gzip", ""},
			{"/", "br", "br"},
			{"/x", "gzip", "gz"},
		} {
			name := strings.TrimPrefix(tt.target, "/")
			if name == "" {
				name = "index.html"
			}
			want, coding := codedFiles[name], ""
			if tt.coding != "" {
				want, coding = codedFiles[name+"."+tt.coding], sidecarCodings[tt.coding]
			}
			for _, method := range []string{"GET", "HEAD"} {
				got := call(app, method, tt.target, "Accept-Encoding", tt.accept)
				if method == "HEAD" {
					want = ""
				}
				if got.Code != 200 || got.Text() != want || got.Get("Content-Encoding") != coding || got.Get("Vary") != "Accept-Encoding" {
					t.Errorf("%s %s, %s: %.60s %v", method, tt.target, tt.accept, show(got), got.Header)
				}
				if typ := got.Get("Content-Type"); typ != map[bool]string{true: "text/css; charset=utf-8", false: "text/html; charset=utf-8"}[strings.HasSuffix(name, ".css")] {
					t.Errorf("%s: Content-Type %s", tt.target, typ)
				}
				etag := got.Get("ETag")
				for header, code := range map[[2]string]int{
					{"If-None-Match", etag}: 304, {"If-Match", `"x"`}: 412, {"Range", "bytes=1-2"}: 206, {"Range", "bytes=999999-"}: 416,
				} {
					if method == "HEAD" && header[0] == "Range" {
						continue
					}
					got := call(app, method, tt.target, "Accept-Encoding", tt.accept, header[0], header[1])
					if got.Code != code || got.Get("Vary") != "Accept-Encoding" || code == 206 && got.Text() != want[1:3] || (code == 206 || code == 200) != (got.Get("Content-Type") != "text/plain; charset=utf-8" && code != 304) {
						t.Errorf("%s %s, %s, %v: %s %v", method, tt.target, tt.accept, header, show(got), got.Header)
					}
					if code == 304 && (got.Get("ETag") != etag || got.Get("Content-Encoding") != "") {
						t.Errorf("304: %v", got.Header)
					}
				}
			}
		}
		for target, code := range map[string]int{"/only.js": 404, "/only.js.br": 200, "/png.png": 200} {
			if got := call(app, "GET", target, "Accept-Encoding", "br"); got.Code != code || got.Get("Vary") != "" || got.Get("Content-Encoding") != "" {
				t.Errorf("%s: %s %v", target, show(got), got.Header)
			}
		}
	})
}

// A part is one of the coded content, and only for who has the other part of the same coding.
func TestPrecompressedIfRange(t *testing.T) {
	inCaches(t, StaticOptions{Precompressed: []string{"br", "gz"}}, codedFiles, func(t *testing.T, app *static, _ string) {
		etags := map[string]string{}
		for _, accept := range []string{"identity", "br", "gzip"} {
			etags[accept] = call(app, "GET", "/a.css", "Accept-Encoding", accept).Get("ETag")
		}
		for accept := range etags {
			for of, etag := range etags {
				got := call(app, "GET", "/a.css", "Accept-Encoding", accept, "Range", "bytes=0-1", "If-Range", etag)
				if want := map[bool]int{true: 206, false: 200}[accept == of]; got.Code != want {
					t.Errorf("%s with the tag of %s: %s", accept, of, show(got))
				}
			}
			if got := call(app, "GET", "/a.css", "Accept-Encoding", accept, "Range", "bytes=0-1", "If-Range", modified); got.Code != 200 {
				t.Errorf("a date: %s", show(got))
			}
		}
	})
}

func TestOldSidecar(t *testing.T) {
	inCaches(t, StaticOptions{Precompressed: []string{"br", "gz"}}, codedFiles, func(t *testing.T, app *static, dir string) {
		expire(app)
		put(t, filepath.Join(dir, "a.css.br"), "old", changed.Add(-time.Second))
		if got := call(app, "GET", "/a.css", "Accept-Encoding", "br"); got.Text() != "plain text" || got.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s %v", show(got), got.Header)
		}
		if got := call(app, "GET", "/a.css", "Accept-Encoding", "br, gzip"); got.Text() != "gz of text!" {
			t.Errorf("%s %v", show(got), got.Header)
		}
		expire(app)
		put(t, filepath.Join(dir, "a.css.br"), "new", changed)
		if got := call(app, "GET", "/a.css", "Accept-Encoding", "br"); got.Text() != "new" {
			t.Errorf("%s %v", show(got), got.Header)
		}
		expire(app)
		if err := os.Remove(filepath.Join(dir, "a.css.br")); err != nil {
			t.Fatal(err)
		}
		if got := call(app, "GET", "/a.css", "Accept-Encoding", "br"); got.Text() != "plain text" {
			t.Errorf("%s %v", show(got), got.Header)
		}
	})
}

// Compress leaves what is coded already, and compresses what is not.
func TestPrecompressedInsideCompress(t *testing.T) {
	compress, err := Compress(CompressOptions{MinBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	app := compress(staticIn(t, directory(t, withoutDirs(codedFiles)), StaticOptions{Precompressed: []string{"br", "gz"}, OpenFiles: 10}))
	if got := call(app, "GET", "/a.css", "Accept-Encoding", "gzip, br"); got.Text() != "br of text" || got.Get("Content-Encoding") != "br" || got.Get("Vary") != "Accept-Encoding" {
		t.Errorf("%s %v", show(got), got.Header)
	}
	if got := call(app, "GET", "/big.css", "Accept-Encoding", "gzip"); got.Get("Content-Encoding") != "gzip" || !strings.HasPrefix(got.Get("ETag"), "W/") {
		t.Errorf("%s %v", got.Status, got.Header)
	}
}

func TestHashedNames(t *testing.T) {
	for name, want := range map[string]bool{
		"app.3f2a91bc.js": true, "js/app.3f2a91bc.js": true, "main-0a1b2c3d4e5f.min.css": true, "main.3f2a91bc.chunk.js.map": true, "a_3F2A91BC.png": true,
		"app.js": false, "3f2a91bc.js": false, "report-20261130.pdf": false, "app.deadbeef.js": false, "app.3f2a91b.js": false, "app-3f2A91bc.js": false,
		"3f2a91bc1/app.js": false, "app.3f2a91bc": false, "index-BxZ3a9xb.js": false, "": false, "app.3f2a91bz.js": false,
		"a." + strings.Repeat("3f", 32) + ".js": true, "a." + strings.Repeat("3f", 33) + ".js": false,
	} {
		if got := HashedNames(name) == "public, max-age=31536000, immutable"; got != want || !got && HashedNames(name) != "" {
			t.Errorf("%s: %q", name, HashedNames(name))
		}
	}
}

func TestCacheControlFor(t *testing.T) {
	app := staticIn(t, directory(t, map[string]string{"js/app.3f2a91bc.js": "1", "a.js": "2", "index.html": "3"}),
		StaticOptions{CacheControl: "no-cache", CacheControlFor: HashedNames, OpenFiles: 9, Fallback: "index.html"})
	for target, want := range map[string]string{"/js/app.3f2a91bc.js": "public, max-age=31536000, immutable", "/a.js": "no-cache", "/other": "no-cache"} {
		if got := call(app, "GET", target, "Accept", "text/html"); got.Code != 200 || got.Get("Cache-Control") != want {
			t.Errorf("%s: %s %v", target, show(got), got.Header)
		}
	}
}

// Invariants: the answer is that of a second, simple implementation; one ETag is of one content; Vary is there for every
// answer of a file with sidecars; a part is that of the coded file.
func FuzzPrecompressed(f *testing.F) {
	for _, s := range [][4]string{
		{"br, gzip", "bytes=1-3", "", "/a.css"}, {"*;q=0", "bytes=-1", modified, "/b.css"}, {"identity;q=0,gzip;q=0.001", "", "", "/big.css"}, {"br", "bytes=5-", "*", "/"},
	} {
		f.Add(s[0], s[1], s[2], s[3], uint8(0))
	}
	dir := directory(f, withoutDirs(codedFiles))
	put(f, filepath.Join(dir, "b.css.gz"), "gz of b", changed.Add(-time.Hour)) // too old
	order := []string{"zst", "br", "gz"}
	apps := []gateway.App{staticIn(f, dir, StaticOptions{Precompressed: order}), staticIn(f, dir, StaticOptions{Precompressed: order, OpenFiles: 3})}
	etags := map[string]string{}
	f.Fuzz(func(t *testing.T, accept, ranges, ifRange, target string, which uint8) {
		for _, s := range []string{accept, ranges, ifRange} {
			if gateway.CheckHeader(&gateway.Header{Name: "X", Value: s}) != nil || s != strings.Trim(s, " \t") {
				t.Skip()
			}
		}
		known := []string{"/a.css", "/b.css", "/big.css", "/"}
		if which < 4 {
			target = known[which]
		} else if !strings.HasPrefix(target, "/") {
			target = "/" + target
		}
		header := []string{"Accept-Encoding", accept, "Range", ranges}
		if which%2 == 1 {
			header = append(header, "If-Range", ifRange)
		}
		var first *gatewaytest.Response
		for i, app := range apps {
			got := call(app, "GET", target, header...)
			if got.Err != nil {
				if strings.Contains(got.Err.Error(), "the request is invalid") {
					t.Skip()
				}
				t.Fatalf("%q %q: %v", target, header, got.Err)
			}
			if first == nil {
				first = got
			} else if first.Code != got.Code || first.Text() != got.Text() || fmt.Sprint(first.Header) != fmt.Sprint(got.Header) {
				t.Fatalf("%q %q: cache %d: %s %v, want %s %v", target, header, i, show(got), got.Header, show(first), first.Header)
			}
		}
		if !slices.Contains(known, target) {
			return
		}
		name := strings.TrimPrefix(target, "/")
		if name == "" {
			name = "index.html"
		}
		whole, coding := codedFiles[name], ""
		best := acceptedWeight(accept, "identity")
		for _, ext := range order {
			content, ok := codedFiles[name+"."+ext]
			q := acceptedWeight(accept, sidecarCodings[ext])
			if q < 0 {
				q = max(0, acceptedWeight(accept, "*"))
			}
			if ok && name != "b.css" && q > 0 && (q > best || q == best && coding == "") {
				whole, coding, best = content, sidecarCodings[ext], q
			}
		}
		got := first
		if got.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q %q: Vary: %q", target, header, got.Get("Vary"))
		}
		switch got.Code {
		case 200, 206:
			if got.Get("Content-Encoding") != coding {
				t.Errorf("%q: %q, want %q", accept, got.Get("Content-Encoding"), coding)
			}
			want := whole
			if got.Code == 206 {
				var from, to, size int
				if _, err := fmt.Sscanf(got.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &size); err != nil || size != len(whole) || from < 0 || to >= size || from > to {
					t.Fatalf("%q: %q of %d bytes", ranges, got.Get("Content-Range"), len(whole))
				}
				want = whole[from : to+1]
				if ifRange != "" && which%2 == 1 && ifRange != got.Get("ETag") {
					t.Errorf("a part of %s for %q", got.Get("ETag"), ifRange)
				}
			}
			if got.Text() != want {
				t.Errorf("%q %q: content of %d bytes, want %d", target, header, len(got.Text()), len(want))
			}
			if of, ok := etags[target+got.Get("ETag")]; ok && of != whole {
				t.Errorf("%s is the tag of two contents", got.Get("ETag"))
			}
			etags[target+got.Get("ETag")] = whole
		case 416:
		default:
			t.Errorf("%q %q: %s", target, header, got.Status)
		}
	})
}

// acceptedWeight is the weight of name in accept, -1 if it is not there; the last one counts.
func acceptedWeight(accept, name string) float64 {
	w := -1.0
	for _, item := range strings.Split(accept, ",") {
		parts := strings.SplitN(item, ";", 2)
		coding := strings.TrimPrefix(strings.ToLower(strings.Trim(parts[0], " \t")), "x-")
		if coding != name || coding == "*" && strings.Trim(parts[0], " \t") != "*" {
			continue
		}
		w = 1
		if len(parts) == 2 && strings.Trim(parts[1], " \t") != "" {
			w = 0
			key, value, _ := strings.Cut(strings.Trim(parts[1], " \t"), "=")
			if q, err := strconv.ParseFloat(value, 64); err == nil && strings.EqualFold(key, "q") && q >= 0 && q <= 1 {
				w = q
			}
		}
	}
	return w
}
