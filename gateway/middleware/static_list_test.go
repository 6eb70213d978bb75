package middleware

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

func TestList(t *testing.T) {
	dir := directory(t, map[string]string{
		"files/<b>&\"'.txt": "12345", "files/javascript:alert(1)": "x", "files/b.txt": strings.Repeat("x", 1500), "files/a dir/x": "", "files/Z/x": "", "files/.hidden": "x",
		"files/back\\slash": "x", "files/\u202etxt.exe": "x", "files/100%.txt": "x", "index.html": "<p>", "files/bad\n": "x", "files/bad\xff": "not served",
	})
	for name, to := range map[string]string{"in": "b.txt", "out": "/etc/passwd", "up": "../index.html", "broken": "none"} {
		if err := os.Symlink(to, filepath.Join(dir, "files", name)); err != nil {
			t.Fatal(err)
		}
	}
	app := staticIn(t, dir, StaticOptions{List: true, OpenFiles: 10})
	got := gatewaytest.Get(app, "/files/")
	page := got.Text()
	if got.Code != 200 || got.Get("Content-Type") != "text/html; charset=utf-8" || got.Get("Vary") != "Accept" {
		t.Fatalf("%s %v", got.Status, got.Header)
	}
	at := -1
	for _, want := range []string{
		`href="../"`, `href="./Z/"><bdi>Z</bdi>/<`, `href="./a%20dir/"><bdi>a dir</bdi>/<`, `href="./100%25.txt"`, `href="./%3Cb%3E&amp;%22%27.txt"><bdi>&lt;b&gt;&amp;&#34;&#39;.txt<`,
		`<td>1.5 kB</td>`, `href="./bad%0A"><bdi>bad` + "\ufffd<", `href="./in"`, `href="./javascript:alert%281%29"`, `href="./up"`, "<bdi>\ufffdtxt.exe<",
	} {
		i := strings.Index(page, want)
		if i <= at {
			t.Errorf("%s at %d, the one before at %d", want, i, at)
		}
		at = i
	}
	for _, wrong := range []string{"hidden", `\`, "out", "broken", "FF", "<script", "more entries"} {
		if strings.Contains(page[strings.Index(page, "<body>"):], wrong) {
			t.Errorf("%s is in %s", wrong, page)
		}
	}
	var l listing
	got = call(app, "GET", "/files/", "Accept", "application/json")
	if err := json.Unmarshal([]byte(got.Text()), &l); err != nil || got.Get("Content-Type") != "application/json" || l.Path != "/files/" || len(l.Entries) != 10 || l.Truncated {
		t.Errorf("%v %s", err, show(got))
	}
	if e := l.Entries[0]; e.Name != "Z" || e.Type != "directory" || e.Size != 0 {
		t.Errorf("%+v", e)
	}
	for target, want := range map[string]string{"/": "200", "/files": "301", "/files/a%20dir/": "200", "/none/": "404", "/.git/": "404", "/files/a%20dir/x/": "404"} {
		if got := gatewaytest.Get(app, target); fmt.Sprint(got.Code) != want || target == "/" && got.Text() != "<p>" {
			t.Errorf("%s: %s", target, show(got))
		}
	}
	if got := call(app, "POST", "/files/"); got.Code != 405 {
		t.Errorf("POST: %s", show(got))
	}
	if got := gatewaytest.Get(staticIn(t, dir, StaticOptions{}), "/files/"); got.Code != 404 {
		t.Errorf("without List: %s", show(got))
	}
	if got := gatewaytest.Get(staticIn(t, dir, StaticOptions{List: true, Index: []string{}, NoSymlinks: true}), "/files/"); strings.Contains(got.Text(), `"./in"`) {
		t.Errorf("NoSymlinks: %s", show(got))
	}
	if got := gatewaytest.Get(staticIn(t, dir, StaticOptions{List: true, Index: []string{}}), "/"); got.Code != 200 || strings.Contains(got.Text(), `"../"`) || !strings.Contains(got.Text(), `"./index.html"`) {
		t.Errorf("without an index: %s", show(got))
	}
}

func TestListIsBounded(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "makes many files")
	dir := t.TempDir()
	app := staticIn(t, dir, StaticOptions{List: true})
	write := func(from, to int) {
		for i := from; i < to; i++ {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(0, listMax)
	if page := gatewaytest.Get(app, "/").Text(); strings.Count(page, "<tr><td>") != listMax || strings.Contains(page, "more entries") {
		t.Errorf("%d entries, want %d", strings.Count(page, "<tr><td>"), listMax)
	}
	write(listMax, listMax+1)
	if page := gatewaytest.Get(app, "/").Text(); strings.Count(page, "<tr><td>") != listMax || !strings.Contains(page, "has more entries") {
		t.Errorf("%d entries, want %d", strings.Count(page, "<tr><td>"), listMax)
	}
	if text := call(app, "GET", "/", "Accept", "application/json").Text(); !strings.HasSuffix(text, `"truncated":true}`) {
		t.Errorf("%.100s", text[len(text)-100:])
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 9949: "9.9 kB", 9999: "10 kB", 999_499: "999 kB", 999_500: "1.0 MB", 1 << 40: "1.1 TB", 1<<63 - 1: "9.2 EB"} {
		if got := string(appendSize(nil, n)); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestFallback(t *testing.T) {
	inCaches(t, StaticOptions{Fallback: "app.html", Precompressed: []string{"br"}, ErrorPages: map[int]string{404: "404.html"}}, map[string]string{
		"app.html": "<p>app", "app.html.br": "br of app", "404.html": "<p>none", "real.txt": "real", "dir/x": "",
	}, func(t *testing.T, app *static, _ string) {
		const page, browser = "text/html", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
		for _, tt := range []struct{ method, target, accept, want string }{
			{"GET", "/", page, "200 <p>app"}, {"GET", "/users/7", browser, "200 <p>app"}, {"GET", "/users/john.doe", page, "200 <p>app"}, {"GET", "/v1.2", page, "200 <p>app"},
			{"GET", "/users/7/", page, "200 <p>app"}, {"GET", "/dir/", page, "200 <p>app"}, {"GET", "/dir", page, "301"},
			{"GET", "/users/7", "*/*", "200 <p>app"}, {"GET", "/users/7", "text/*", "200 <p>app"}, {"GET", "/users/7", "", "200 <p>app"},
			{"GET", "/api/7", "application/json", "404 <p>none"}, {"GET", "/api/7", "application/json, text/html;q=0.9", "404 <p>none"}, {"GET", "/api/7", "application/json, text/plain, */*", "404 <p>none"},
			{"GET", "/users/7", "text/html;q=0", "404 <p>none"}, {"GET", "/users/7", "image/png", "404 <p>none"}, {"GET", "/users/7", "text/html;level=1;q=0.5", "200 <p>app"},
			{"GET", "/app.js", page, "404 <p>none"}, {"GET", "/x/logo.PNG", browser, "404 <p>none"}, {"GET", "/old.html", page, "404 <p>none"},
			{"GET", "/.env", page, "404 <p>none"}, {"GET", "/../x", page, "404 <p>none"}, {"GET", "/a%2Fb", page, "404 <p>none"}, {"GET", "//x", page, "404 <p>none"},
			{"GET", "/real.txt", page, "200 real"}, {"HEAD", "/users/7", page, "200"}, {"POST", "/users/7", page, "404 <p>none"}, {"POST", "/real.txt", page, "405 Method Not Allowed\n"},
		} {
			got := call(app, tt.method, tt.target, "Accept", tt.accept)
			if text := strings.TrimSuffix(fmt.Sprint(got.Code, " ", got.Text()), " "); text != tt.want && !(got.Code == 301 && tt.want == "301") {
				t.Errorf("%s %s, %q: %q, want %q", tt.method, tt.target, tt.accept, text, tt.want)
			}
			if strings.HasSuffix(tt.want, "app") && (got.Get("Cache-Control") != "no-cache" || got.Get("Vary") != "Accept-Encoding, Accept" || got.Get("Content-Type") != "text/html; charset=utf-8") {
				t.Errorf("%s: %v", tt.target, got.Header)
			}
			if strings.HasSuffix(tt.want, "none") && (got.Get("ETag") != "" || got.Get("Content-Type") != "text/html; charset=utf-8") {
				t.Errorf("%s: %v", tt.target, got.Header)
			}
		}
		if got := call(app, "GET", "/users/7", "Accept", page, "Accept-Encoding", "br"); got.Text() != "br of app" {
			t.Errorf("coded: %s", show(got))
		}
		tag := call(app, "GET", "/users/7", "Accept", page).Get("ETag")
		if got := call(app, "GET", "/users/7", "Accept", page, "If-None-Match", tag); got.Code != 304 || got.Get("Cache-Control") != "no-cache" {
			t.Errorf("304: %s %v", show(got), got.Header)
		}
	})
	if got := call(staticIn(t, t.TempDir(), StaticOptions{Fallback: "none.html"}), "GET", "/x", "Accept", "text/html"); got.Code != 404 {
		t.Errorf("a Fallback that is not there: %s", show(got))
	}
	app := staticIn(t, directory(t, map[string]string{"app.html": "<p>app"}), StaticOptions{Fallback: "app.html", NotFound: named("fallback")})
	if got := call(app, "GET", "/x", "Accept", "text/html"); got.Text() != "<p>app" {
		t.Errorf("before NotFound: %s", show(got))
	}
	if got := call(app, "GET", "/x.js", "Accept", "text/html"); got.Text() != "fallback |/x.js" {
		t.Errorf("NotFound: %s", show(got))
	}
}

func TestErrorPages(t *testing.T) {
	inCaches(t, StaticOptions{ErrorPages: map[int]string{404: "e/404.html", 405: "none.html", 412: "e/404.html", 416: "e/big.html", 403: "e/404.html"}},
		map[string]string{"e/404.html": "<p>none", "f": "0123", "e/big.html": large("<p>")}, func(t *testing.T, app *static, _ string) {
			for _, tt := range []struct {
				method, target, header, value string
				code                          int
				text                          string
			}{
				{"GET", "/x", "", "", 404, "<p>none"}, {"HEAD", "/x", "", "", 404, ""}, {"PUT", "/x", "", "", 404, "<p>none"}, {"GET", "/x", "Range", "bytes=0-1", 404, "<p>none"},
				{"PUT", "/f", "", "", 405, "Method Not Allowed\n"}, {"GET", "/f", "If-Match", `"x"`, 412, "<p>none"}, {"GET", "/f", "Range", "bytes=9-", 416, large("<p>")}, {"GET", "/f", "", "", 200, "0123"},
			} {
				header := []string{tt.header, tt.value}
				if tt.header == "" {
					header = nil
				}
				got := call(app, tt.method, tt.target, header...)
				if got.Code != tt.code || got.Text() != tt.text || got.Err != nil {
					t.Errorf("%s %s %s: %.80s", tt.method, tt.target, tt.header, show(got))
				}
				if tt.code == 405 && got.Get("Allow") != "GET, HEAD" || tt.code == 416 && got.Get("Content-Range") != "bytes */4" || strings.HasPrefix(tt.text, "<p>") && got.Get("Content-Type") != "text/html; charset=utf-8" {
					t.Errorf("%d: %v", tt.code, got.Header)
				}
			}
		})
}

// A file that may not be read is 403.
func TestForbidden(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read every file; run it as another user")
	}
	for _, n := range []int{0, 10} {
		dir := directory(t, map[string]string{"f": "x", "403.html": "<p>no", "d/x": "x"})
		app := staticIn(t, dir, StaticOptions{OpenFiles: n, ErrorPages: map[int]string{403: "403.html"}})
		if got := gatewaytest.Get(app, "/f"); got.Code != 200 {
			t.Fatal(show(got))
		}
		_ = os.Chmod(filepath.Join(dir, "f"), 0)
		_ = os.Chmod(filepath.Join(dir, "d"), 0)
		expire(app)
		for _, target := range []string{"/f", "/d/x"} {
			if got := gatewaytest.Get(app, target); got.Code != 403 || got.Text() != "<p>no" {
				t.Errorf("%s: %s", target, show(got))
			}
		}
		_ = os.Chmod(filepath.Join(dir, "d"), 0o755)
	}
}

// The types of the web do not depend on the machine, and text is UTF-8.
func TestWebTypes(t *testing.T) {
	for name, want := range map[string]string{
		"a.js": "text/javascript; charset=utf-8", "a.MJS": "text/javascript; charset=utf-8", "x/a.wasm": "application/wasm", "a.woff2": "font/woff2", "a.webmanifest": "application/manifest+json",
		"a.css.map": "application/json", "a.avif": "image/avif", "a": "", "a.b/c": "", "a.": "", "a.none-such": "",
	} {
		if got := typeByName(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for ext, typ := range webTypes {
		err := gateway.CheckHeader(&gateway.Header{Name: "Content-Type", Value: typ})
		if err != nil || ext != strings.ToLower(ext) || ext[0] != '.' || strings.HasPrefix(typ, "text/") != strings.HasSuffix(typ, "; charset=utf-8") {
			t.Errorf("%s: %s", ext, typ)
		}
	}
}
