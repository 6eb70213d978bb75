package middleware

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/server"
	"github.com/isbjorn/isbjorn/server/servertest"
)

// expire makes all entries of the cache older than recheckEvery.
func expire(s *static) {
	if s.cache != nil {
		s.cache.start = s.cache.start.Add(-recheckEvery)
	}
}

func large(s string) string { return strings.Repeat(s, keptFileBytes/len(s)+1) }

// A change of the directory is seen once the entry is a second old, whatever it is.
func TestCacheSeesChanges(t *testing.T) {
	for name, blow := range map[string]func(string) string{"bytes": strings.Clone, "descriptor": large} {
		t.Run(name, func(t *testing.T) {
			dir := directory(t, map[string]string{"f": blow("1"), "sub/index.html": blow("i")})
			app := staticIn(t, dir, StaticOptions{OpenFiles: 10})
			path := filepath.Join(dir, "f")
			serves := func(what, target, want string) {
				t.Helper()
				for range 3 {
					got := gatewaytest.Get(app, target)
					if text := got.Text(); got.Code == 200 && text != want || got.Code != 200 && fmt.Sprint(got.Code) != want || got.Err != nil {
						t.Fatalf("%s: %s, %.20q, want %.20q", what, got.Status, text, want)
					}
				}
			}
			serves("first", "/f", blow("1"))
			put(t, path, blow("2"), changed)
			serves("within a second", "/f", blow("1"))
			expire(app)
			serves("renamed, same size and time", "/f", blow("2"))
			put(t, path, blow("33"), changed.Add(time.Hour))
			expire(app)
			serves("another size and time", "/f", blow("33"))
			if err := os.Chtimes(path, time.Time{}, changed); err != nil {
				t.Fatal(err)
			}
			tag := gatewaytest.Get(app, "/f").Get("ETag")
			expire(app)
			if gatewaytest.Get(app, "/f").Get("ETag") == tag {
				t.Error("the ETag of another time is the same")
			}
			for _, text := range []string{"44", "55"} { // in place, in the same tick of the clock
				if err := os.WriteFile(path, []byte(blow(text)), 0o644); err != nil {
					t.Fatal(err)
				}
				expire(app)
				serves("in place", "/f", blow(text))
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			expire(app)
			serves("removed", "/f", "404")
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
			expire(app)
			serves("a directory", "/f", "301")
			serves("a directory", "/f/", "404")
			put(t, filepath.Join(path, "index.html"), blow("6"), changed)
			expire(app)
			serves("a directory with an index", "/f/", blow("6"))
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("sub/index.html", path); err != nil {
				t.Fatal(err)
			}
			expire(app)
			serves("a link", "/f", blow("i"))
			if err := os.RemoveAll(filepath.Join(dir, "sub")); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, "sub"), "file", changed)
			expire(app)
			serves("a link into a directory that is a file now", "/f", "404")
			serves("a file in place of a directory", "/sub/index.html", "404")
			serves("a file in place of a directory", "/sub", "file")
			_ = os.Remove(path)
			if err := os.Symlink("/etc/passwd", path); err != nil {
				t.Fatal(err)
			}
			expire(app)
			serves("a link out", "/f", "404")
		})
	}
}

// What has not changed is not read again. What has is, also if it has the number, the size and the time of the old file; and
// what was there for a moment only is not kept for what came back.
func TestCacheComparesFiles(t *testing.T) {
	dir := directory(t, map[string]string{"f": large("1")})
	app, path := staticIn(t, dir, StaticOptions{OpenFiles: 10}), filepath.Join(dir, "f")
	settle := func() *pathEntry {
		e := app.cache.get("/f")
		e.settled = true // as two seconds later
		expire(app)
		return e
	}
	get := func(want string) {
		t.Helper()
		if got := gatewaytest.Get(app, "/f"); got.Text() != want {
			t.Errorf("%s, %.9q, want %.9q", got.Status, got.Text(), want)
		}
	}
	get(large("1"))
	e := settle()
	get(large("1"))
	if app.cache.get("/f") != e || e.checked.Load() < int64(recheckEvery) {
		t.Error("a file that has not changed was opened again")
	}
	settle()
	if err := os.WriteFile(path, []byte(large("2")), 0o644); err != nil { // the same number, size and time
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, changed); err != nil {
		t.Fatal(err)
	}
	get(large("2"))

	expire(app)
	if _, err := app.find("/f"); err != nil { // the state of the file, which is not open yet
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".2"); err != nil {
		t.Fatal(err)
	}
	put(t, path, large("3"), changed)
	get(large("3"))
	if app.cache.get("/f").contents[0] != nil {
		t.Error("a file is kept as another one")
	}
	if err := os.Rename(path+".2", path); err != nil {
		t.Fatal(err)
	}
	get(large("2"))
}

// A file that is replaced while it is sent is sent to its end as it was.
func TestReplacedWhileSent(t *testing.T) {
	dir := directory(t, map[string]string{"f": large("old ")})
	app := staticIn(t, dir, StaticOptions{OpenFiles: 10})
	cached := gatewaytest.Get(app, "/f")
	held := bodyOf(t, app, "/f")
	first := gateway.FileOf(held)
	if first == nil || !first.Shared() || cached.Err != nil {
		t.Fatal("it is not sent from the shared descriptor")
	}
	put(t, filepath.Join(dir, "f"), "new", changed)
	expire(app)
	if got := gatewaytest.Get(app, "/f"); got.Text() != "new" {
		t.Fatal(show(got))
	}
	app.cache.clear()
	if got := readBody(t, held); got != large("old ") {
		t.Errorf("%d bytes", len(got))
	}
	if n := app.cache.contents.Load(); n != 1 {
		t.Errorf("%d files count as open, want that of the response", n)
	}
	if err := held.Close(); err != nil || app.cache.contents.Load() != 0 {
		t.Errorf("%v, %d", err, app.cache.contents.Load())
	}
	if f, _, _ := first.Range(); f.Close() == nil {
		t.Error("the file was open behind Close")
	}
}

func bodyOf(t *testing.T, app gateway.App, target string) (body gateway.Body) {
	t.Helper()
	keep := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (b gateway.Body, err error) {
		body, err = app.Serve(env, start)
		return nil, err
	})
	if got := call(keep, "HEAD", target); got.Err != nil {
		t.Fatal(got.Err)
	}
	return body
}

func readBody(t *testing.T, body gateway.Body) string {
	t.Helper()
	var b strings.Builder
	for {
		chunk, err := body.Next()
		b.Write(chunk)
		if err == io.EOF {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A file that is not asked for between two sweeps is closed, others are not.
func TestCacheSweep(t *testing.T) {
	app := staticIn(t, directory(t, map[string]string{"f": large("f"), "g": large("g")}), StaticOptions{OpenFiles: 10})
	gatewaytest.Get(app, "/f")
	gatewaytest.Get(app, "/g")
	if !app.cache.sweeping.Load() {
		t.Error("no sweep is to come")
	}
	app.cache.sweep()
	gatewaytest.Get(app, "/g")
	app.cache.sweep()
	if f, g := app.cache.get("/f"), app.cache.get("/g"); f != nil || g == nil || app.cache.contents.Load() != 1 {
		t.Errorf("%v, %v, %d contents", f, g, app.cache.contents.Load())
	}
	app.cache.sweep() // takes the mark of the get above away
	app.cache.sweep()
	if app.cache.contents.Load() != 0 || app.cache.sweeping.Load() {
		t.Error("a sweep of an empty cache is to come")
	}
}

// A lack of descriptors is one of others: the cache gives its own up, and an error is no 404.
func TestCacheWithoutDescriptors(t *testing.T) {
	files := map[string]string{"new": large("n"), "d/e/new": large("e"), "d/e/new.br": "br"}
	for i := range 10 {
		files[fmt.Sprint("f", i)] = large("f")
	}
	app := staticIn(t, directory(t, files), StaticOptions{OpenFiles: 100, Precompressed: []string{"br"}})
	for i := range 10 {
		gatewaytest.Get(app, fmt.Sprint("/f", i))
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	tight := old
	tight.Cur = 0
	held := []gateway.Body{bodyOf(t, app, "/f0")}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &tight); err != nil {
		t.Skipf("it lowers the limit of open files: %v", err)
	}
	defer func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old) }()
	got := gatewaytest.Get(app, "/new")
	if app.cache.get("/f1") != nil || got.Code == 200 {
		t.Errorf("%s, and the cache keeps its files", show(got))
	}
	expire(app)
	for _, target := range []string{"/new", "/f1", "/d/e/new"} {
		if got := gatewaytest.Get(app, target); got.Err == nil || got.Code == 404 || got.Code == 403 {
			t.Errorf("%s: %s", target, show(got))
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if got := gatewaytest.Get(app, "/d/e/new"); got.Text() != large("e") || got.Get("Vary") != "Accept-Encoding" {
		t.Errorf("%s %v", got.Status, got.Header)
	}
	if got := readBody(t, held[0]); got != large("f") || held[0].Close() != nil {
		t.Errorf("%d bytes of the file that was being sent", len(got))
	}
}

// A file that shrinks while it is sent cuts its response, and the next one is of the new file.
func TestTruncatedWhileSent(t *testing.T) {
	dir := directory(t, map[string]string{"f": large("old ")})
	app := staticIn(t, dir, StaticOptions{OpenFiles: 10})
	body := bodyOf(t, app, "/f")
	if err := os.Truncate(filepath.Join(dir, "f"), 10); err != nil {
		t.Fatal(err)
	}
	var err error
	for err == nil {
		_, err = body.Next()
	}
	if err != io.ErrUnexpectedEOF || body.Close() != nil {
		t.Error(err)
	}
	expire(app)
	if got := gatewaytest.Get(app, "/f"); got.Text() != large("old ")[:10] {
		t.Error(show(got))
	}
}

// No link that appears and disappears leads out of the directory, with links followed and without.
func TestLinkRace(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "races for a while")
	rounds := 300
	if testing.Short() {
		rounds = 60
	}
	for _, o := range []StaticOptions{{OpenFiles: 8, List: true}, {NoSymlinks: true, OpenFiles: 8}, {}} {
		dir := tree(t)
		app := staticIn(t, dir, o)
		var stop atomic.Bool
		var writer, readers sync.WaitGroup
		writer.Go(func() {
			link, real := filepath.Join(dir, "flip"), filepath.Join(dir, "real")
			for i := range rounds {
				_ = os.Mkdir(real, 0o755)
				_ = os.WriteFile(filepath.Join(real, "secret.txt"), []byte("good"), 0o644)
				if i%2 == 0 {
					_ = os.Rename(real, link)
				} else {
					_ = os.RemoveAll(link)
					_ = os.Symlink("..", link)
				}
				if i%4 == 3 {
					_ = os.Remove(link)
				}
			}
			stop.Store(true)
		})
		for range 3 {
			readers.Go(func() {
				for !stop.Load() {
					if app.cache != nil {
						for _, target := range []string{"/flip/secret.txt", "/flip/"} {
							if e := app.cache.get(target); e != nil {
								e.checked.Store(-int64(time.Hour))
							}
						}
					}
					if got := gatewaytest.Get(app, "/flip/secret.txt"); got.Text() == "secret" || got.Err != nil {
						t.Error(show(got))
						return
					}
					if got := gatewaytest.Get(app, "/flip/"); strings.Contains(got.Text(), `"./root/"`) {
						t.Error(show(got))
						return
					}
				}
			})
		}
		writer.Wait()
		readers.Wait()
	}
}

// Neither files, bytes nor names that do not exist fill the cache beyond its bounds; a flood of such names leaves the files
// in it.
func TestCacheIsBounded(t *testing.T) {
	testrun.Slow(t, "makes many files")
	files := map[string]string{}
	for i := range 200 {
		files[fmt.Sprintf("small%d", i)] = "small"
		files[fmt.Sprintf("large%d", i)] = large("large")
	}
	app := staticIn(t, directory(t, files), StaticOptions{OpenFiles: 20})
	for range 3 {
		for name := range files {
			if got := gatewaytest.Get(app, "/"+name); got.Text() != files[name] {
				t.Fatalf("%s: %s", name, got.Status)
			}
			if n := app.cache.contents.Load(); n > 20 {
				t.Fatalf("%d contents", n)
			}
		}
	}
	if n := app.cache.contents.Load(); n < 10 {
		t.Errorf("only %d contents are kept", n)
	}
	gatewaytest.Get(app, "/small1")
	for i := range 5000 {
		gatewaytest.Get(app, fmt.Sprintf("/none%d", i))
	}
	if e := app.cache.get("/small1"); e == nil || e.contents[0] == nil {
		t.Error("names that do not exist have replaced a file")
	}
	if n := len(app.cache.others); n != keptOthers {
		t.Errorf("%d places", n)
	}
	long := "/" + strings.Repeat("y", keptKeyBytes)
	gatewaytest.Get(app, long)
	if app.cache.get(long) != nil {
		t.Error("a long path is kept")
	}
}

func TestKeptBytes(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "writes many files")
	files := map[string]string{}
	content := strings.Repeat("x", keptFileBytes)
	const n = keptBytes/keptFileBytes + 50
	for i := range n {
		files[fmt.Sprint(i)] = content
	}
	app := staticIn(t, directory(t, files), StaticOptions{OpenFiles: 2 * n})
	if app.cache.contentsMax < n {
		t.Skip("the limit of open files is too low")
	}
	for i := range n {
		gatewaytest.Get(app, fmt.Sprint("/", i))
		if b := app.cache.bytes.Load(); b > keptBytes {
			t.Fatalf("%d bytes", b)
		}
	}
	if b := app.cache.bytes.Load(); b < keptBytes/2 {
		t.Errorf("%d bytes", b)
	}
}

// Renames, removals, a flood of names, an emptied cache: every answer is one whole content with its tag.
func TestCacheStorm(t *testing.T) {
	testrun.Slow(t, "a flood of requests")
	dir := directory(t, map[string]string{"f.css": large("0"), "f.css.br": "br 0"})
	app := staticIn(t, dir, StaticOptions{OpenFiles: 8, Precompressed: []string{"br"}})
	var stop atomic.Bool
	var writers, readers sync.WaitGroup
	path := filepath.Join(dir, "f.css")
	rounds := 300
	if testing.Short() {
		rounds = 60
	}
	writers.Go(func() {
		for i := range rounds {
			s := string(rune('a' + i%26))
			switch i % 5 {
			case 0:
				put(t, path, large(s), changed.Add(time.Duration(i)*time.Second))
			case 1:
				put(t, path, s, changed.Add(time.Duration(i)*time.Second))
			case 2:
				put(t, path+".br", "br "+s, time.Now())
			case 3:
				_ = os.Remove(path)
				_ = os.Mkdir(path, 0o755)
			case 4:
				_ = os.Remove(path)
				app.cache.clear()
			}
		}
		stop.Store(true)
	})
	for g := range 4 {
		readers.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if i%3 == 0 { // the next request looks at the directory
					if e := app.cache.get("/f.css"); e != nil {
						e.checked.Store(-int64(time.Hour))
					}
				}
				got := call(app, "GET", "/f.css", "Accept-Encoding", []string{"br", ""}[g%2])
				text := got.Text()
				whole := len(text) == keptFileBytes+1 && strings.Count(text, text[:1]) == len(text) || len(text) == 1 || len(text) == 4
				if got.Err != nil || got.Code != 404 && got.Code != 301 && (got.Code != 200 || !whole || (len(text) == 4) != (got.Get("Content-Encoding") == "br")) {
					t.Errorf("%s, %d bytes, %v, %v", got.Status, len(text), got.Header, got.Err)
					return
				}
				gatewaytest.Get(app, fmt.Sprintf("/none%d-%d", g, i))
			}
		})
	}
	writers.Wait()
	readers.Wait()
}

// A file that is kept costs no allocation beyond those of a Body: of bytes in memory, or of an open file.
func TestCachedAllocations(t *testing.T) {
	dir := directory(t, map[string]string{"small.css": strings.Repeat("x", 4096), "small.css.br": "y", "large.css": large("y")})
	app := staticIn(t, dir, StaticOptions{OpenFiles: 10, Precompressed: []string{"zst", "br", "gz"}})
	file, err := os.Open(filepath.Join(dir, "large.css"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	floor := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if _, err := start("200 OK", nil, nil); err != nil || env.Path() == "/small.css" {
			return env.Text("text"), err
		}
		return gateway.SharedRange(file, 0, int64(len(large("y"))), io.NopCloser(nil)), nil
	})
	for _, target := range []string{"/small.css", "/large.css"} {
		if got, want := allocations(t, app, target), allocations(t, floor, target); got > want {
			t.Errorf("%s: %v allocations, want %v", target, got, want)
		}
	}
}

const browserHead = " HTTP/1.1\r\nHost: h\r\nUser-Agent: Mozilla/5.0\r\nAccept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\r\n"

func allocations(t testing.TB, app gateway.App, target string) float64 {
	m, request := memoryOf(t, app), []byte("GET "+target+browserHead)
	return testing.AllocsPerRun(200, func() {
		m.Out = m.Out[:0]
		m.Feed(request)
		if !bytes.HasPrefix(m.Out, []byte("HTTP/1.1 200 ")) {
			t.Fatalf("%.200q", m.Out)
		}
	})
}

func memoryOf(t testing.TB, app gateway.App) *loop.Memory {
	t.Helper()
	s, err := server.New(app, server.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return servertest.OpenMemory(s)
}

func BenchmarkStatic(b *testing.B) {
	dir := directory(b, map[string]string{"a.css": strings.Repeat("x", 4096), "a.css.br": strings.Repeat("y", 1000), "big.css": strings.Repeat("z", 64<<10)})
	for _, bb := range []struct {
		name, target string
		o            StaticOptions
	}{
		{"4KiB/opened", "/a.css", StaticOptions{}},
		{"4KiB/kept", "/a.css", StaticOptions{OpenFiles: 100}},
		{"4KiB/kept,coded", "/a.css", StaticOptions{OpenFiles: 100, Precompressed: []string{"zst", "br", "gz"}}},
		{"64KiB/opened", "/big.css", StaticOptions{}},
		{"64KiB/kept", "/big.css", StaticOptions{OpenFiles: 100}},
		{"404/looked up", "/none", StaticOptions{}},
		{"404/kept", "/none", StaticOptions{OpenFiles: 100}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			m, request := memoryOf(b, staticIn(b, dir, bb.o)), []byte("GET "+bb.target+browserHead)
			b.ReportAllocs()
			for b.Loop() {
				m.Out = m.Out[:0]
				m.Feed(request)
			}
		})
	}
}
