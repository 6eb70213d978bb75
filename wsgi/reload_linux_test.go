package wsgi_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/wsgi"
)

// load has clients ask until stop is called: on connections that are kept, and on new ones. It checks that each answer
// is a 200 and one of what want has; stop returns how many there were.
func load(s, other *site, want func(body string) bool) (stop func() int64) {
	var clients sync.WaitGroup
	var n atomic.Int64
	end := make(chan struct{})
	for i := range 8 {
		s := []*site{s, other}[i%2]
		clients.Go(func() {
			var c *conn
			for round := 0; ; round++ {
				select {
				case <-end:
					return
				default:
				}
				if c == nil || i >= 4 {
					c = s.dial()
				}
				if a := c.send("GET /").read("GET"); a.status != 200 || a.cut || !want(a.body) {
					s.Errorf("%d %q, cut %v", a.status, a.body, a.cut)
				}
				if i >= 4 {
					_ = c.Close()
				}
				n.Add(1)
			}
		})
	}
	return func() int64 {
		close(end)
		clients.Wait()
		return n.Load()
	}
}

// versioned is an application with a version in its source. Some requests take a moment.
func versioned(version int) string {
	return preamble + fmt.Sprintf(`
def app(env, sr):
    time.sleep(.001)
    sr('200 OK', P); return [b'%d']
`, version)
}

// Reloads under load: no request fails or waits for an import, and after each the new code answers alone.
func TestReload(t *testing.T) {
	t.Parallel()
	o := wsgi.Options{Workers: 2, Threads: 2}
	tcp, unix := startSite(t, versioned(1), setup{Options: o})
	o.App, o.Dir, o.Python = "app:app", tcp.dir, pythons(t)[0]
	var version atomic.Int64
	version.Store(1)
	stop := load(tcp, unix, func(body string) bool {
		now := version.Load()
		return body == fmt.Sprint(now) || body == fmt.Sprint(now-1) || body == fmt.Sprint(now+1)
	})
	reload := func(source string) error {
		if err := os.WriteFile(filepath.Join(tcp.dir, "app.py"), []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		// A source of the same size and second as the last one would be taken from the cache of code.
		_ = os.RemoveAll(filepath.Join(tcp.dir, "__pycache__"))
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return tcp.app.Reload(ctx, o)
	}
	for next := 2; next <= 6; next++ {
		if err := reload(versioned(next)); err != nil {
			t.Fatal(err)
		}
		version.Store(int64(next))
		tcp.want("GET /", 200, fmt.Sprint(next))
		var start *wsgi.StartError
		if err := reload("import nothing_like_it\n"); !errors.As(err, &start) || !start.App || !strings.Contains(err.Error(), "nothing_like_it") {
			t.Errorf("the error of code that does not load: %v", err)
		}
		unix.want("GET /", 200, fmt.Sprint(next))
	}
	if n := stop(); n == 0 {
		t.Error("no load")
	}
	tcp.until("the old ones have left", func() bool { return len(tcp.app.Workers()) == 2 })
	for _, w := range tcp.app.Workers() {
		if w.State != "serving" || w.Generation != 6 || w.PID == 0 || w.Memory == 0 {
			t.Errorf("%+v", w)
		}
	}
	for _, wrong := range []wsgi.Options{{Workers: -2}, {App: "app:app", StreamInput: []string{"/"}}} {
		if err := tcp.app.Reload(context.Background(), wrong); err == nil {
			t.Errorf("%+v: no error", wrong)
		}
	}
}

// Workers come, go and are recycled under load, and no request fails.
func TestScaleAndRecycle(t *testing.T) {
	t.Parallel()
	tcp, unix := startSite(t, versioned(1), setup{Options: wsgi.Options{Workers: 2, MaxRequests: 50, MaxRequestsJitter: 20}})
	stop := load(tcp, unix, func(body string) bool { return body == "1" })
	for _, n := range []int{4, 1, 3} {
		if err := tcp.app.Scale(n); err != nil {
			t.Error(err)
		}
		tcp.until("as many workers as there are to be", func() bool {
			serving := 0
			for _, w := range tcp.app.Workers() {
				if w.State == "serving" {
					serving++
				}
			}
			return serving == n || serving == n+1 // one is being recycled
		})
	}
	tcp.until("some were recycled", func() bool { return strings.Count(tcp.log.String(), "max_requests is 50") >= 5 })
	stop()
	if text := tcp.log.String(); strings.Contains(text, "level=ERROR") {
		t.Error("errors in the log")
	}
	if err := tcp.app.Scale(0); err == nil {
		t.Error("no error of 0 workers")
	}
}

// A request that runs when its worker is to leave is answered.
func TestReloadWaitsForRequests(t *testing.T) {
	t.Parallel()
	o := wsgi.Options{Workers: 1}
	tcp, unix := startSite(t, `
def app(env, sr):
    if env['PATH_INFO'] == '/long':
        open('runs', 'w')
        while not os.path.exists('end'): time.sleep(.005)
    sr('200 OK', P); return [b'%d' % os.getpid()]
`, setup{Options: o})
	o.App, o.Dir, o.Python = "app:app", tcp.dir, pythons(t)[0]
	before := tcp.do("GET /").body
	c := unix.dial().send("GET /long")
	tcp.until("the long request runs", func() bool { _, err := os.Stat(filepath.Join(tcp.dir, "runs")); return err == nil })
	begin := time.Now()
	if err := tcp.app.Reload(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	t.Logf("reload took %v", time.Since(begin))
	if now := tcp.do("GET /"); now.status != 200 || now.body == before {
		t.Errorf("after the reload %d %q, before %q", now.status, now.body, before)
	}
	if err := os.WriteFile(filepath.Join(tcp.dir, "end"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if a := c.read("GET"); a.status != 200 || a.body != before {
		t.Errorf("the long one: %d %q, want %q", a.status, a.body, before)
	}
}
