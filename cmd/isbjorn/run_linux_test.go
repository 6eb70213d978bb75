package main

import (
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/testrun"
)

// systemPython is the Python of the distribution, which has its packages.
func systemPython(t testing.TB) string {
	t.Helper()
	testrun.Slow(t, "starts Python")
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("needs python3: apt-get install python3")
	return ""
}

const pythonHello = `import time
def app(environ, start_response):
    if environ['PATH_INFO'] == '/slow': print('it runs'); time.sleep(1)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [repr((environ['SCRIPT_NAME'], environ['PATH_INFO'], environ['REMOTE_ADDR'])).encode()]
`

// A Python application is served, by its target, by its file and by what is found, and ends in order.
func TestRun(t *testing.T) {
	t.Parallel()
	python := systemPython(t)
	dir := write(t, t.TempDir(), map[string]string{
		"app.py": pythonHello, "isbjorn.toml": "bind = '127.0.0.1:0'\nworkers = 2\nthreads = 2\n",
	})
	for _, target := range [][]string{{"app:app"}, {"app.py"}, {"app"}, {}} {
		r := start(t, dir, nil, append([]string{"run", "--python-exe", python}, target...)...)
		url := r.url
		if status, body := get(t, url+"/a%20b"); status != 200 || body != "('', '/a b', '127.0.0.1')" {
			t.Errorf("%v: %d %q", target, status, body)
		}
		slow := make(chan string, 1)
		go func() {
			resp, err := http.Get(url + "/slow")
			if err != nil {
				slow <- err.Error()
				return
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			slow <- string(b)
		}()
		if len(target) == 0 {
			for deadline := time.Now().Add(waitTime); !strings.Contains(r.stderr.String(), "it runs"); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the request does not run")
				}
			}
		}
		r.stop(t)
		if got := <-slow; len(target) == 0 && got != "('', '/slow', '127.0.0.1')" {
			t.Errorf("a request that ran at the end: %s", got)
		}
	}
	r := start(t, dir, nil, "run", "--python-exe", python, "--prefix", "/shop/", "app:app")
	url := r.url
	if status, body := get(t, url+"/shop/x"); status != 200 || body != "('/shop', '/x', '127.0.0.1')" {
		t.Errorf("with a prefix: %d %q", status, body)
	}
	if status, _ := get(t, url+"/shopx"); status != 404 {
		t.Errorf("outside of the prefix: %d", status)
	}
	r.stop(t)
}

// What cannot be run ends with its status, one message, and nothing that still runs.
func TestRunRefused(t *testing.T) {
	t.Parallel()
	python := systemPython(t)
	dir := write(t, t.TempDir(), map[string]string{
		"app.py": pythonHello, "asgi.py": "async def app(scope, receive, send): pass\n", "broken.py": "import nosuch\n",
		"fac.py":   "def create_app(x='d', n=1):\n    def app(e, sr):\n        sr('200 OK', []); return [b'']\n    return app\n",
		"two.py":   "import wsgiref.simple_server as s\ndef f(e, r): pass\n",
		"block.py": "import time\ntime.sleep(100)\n", "exit.py": "import os\nos._exit(7)\n", "isbjorn.toml": "bind = '127.0.0.1:0'\n",
	})
	for _, tt := range []struct {
		args   []string
		status int
		texts  []string
	}{
		{[]string{"app:nope"}, 4, []string{"app has no nope", "did you mean app?"}},
		{[]string{"nope:app"}, 4, []string{"no module nope"}},
		{[]string{"ap:app"}, 4, []string{"did you mean app"}},
		{[]string{"asgi:app"}, 4, []string{"ASGI"}},
		{[]string{"broken:app"}, 4, []string{"No module named 'nosuch'", `broken.py", line 1`}},
		{[]string{"app:app()"}, 4, []string{"missing 2 required positional arguments"}},
		{[]string{"app:a b"}, 2, []string{"create_app(\"production\", debug=False)"}},
		{[]string{"two"}, 4, []string{"no application, app, create_app or make_app"}},
		{[]string{"block:app", "--boot-timeout", "1s"}, 3, []string{"boot_timeout = 1s", `block.py", line 2`, "app.run()"}},
		{[]string{"exit:app"}, 3, []string{"status 7"}},
		{[]string{"app:app", "--user", "nobody"}, 2, []string{"--user", "does not have it yet"}},
		{[]string{"app:app", "--gevent", "5", "--threads", "2"}, 2, []string{"--gevent", "threads = 2 is given too"}},
		{[]string{"app:app", "--prefix", "x"}, 2, []string{"--prefix", "begin with /"}},
		{[]string{"app:app", "--python-exe", "/no/python"}, 3, []string{"/no/python"}},
	} {
		begin := time.Now()
		args := tt.args
		if !strings.Contains(strings.Join(args, " "), "python-exe") {
			args = append(args, "--python-exe", python)
		}
		stdout, stderr, status := run(t, dir, nil, append([]string{"run"}, args...)...)
		if status != tt.status || stdout != "" {
			t.Errorf("%v: status %d, %q", tt.args, status, stdout)
		}
		for _, text := range tt.texts {
			if !strings.Contains(stderr, text) {
				t.Errorf("%v says\n%s\nwithout %q", tt.args, stderr, text)
			}
		}
		if n := strings.Count(stderr, "Traceback"); n > 1 {
			t.Errorf("%v has %d tracebacks", tt.args, n)
		}
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("%v took %v", tt.args, took)
		}
	}
	for _, target := range []string{`fac:create_app()`, `fac:create_app("x", n=2)`, `fac`} {
		if stdout, stderr, status := run(t, dir, nil, "check", "--load", "run", target, "--python-exe", python); status != 0 || stdout != "ok\n" {
			t.Errorf("check of %s: %d %s%s", target, status, stdout, stderr)
		}
	}
	if _, stderr, status := run(t, dir, nil, "check", "--load", "run", "broken:app", "--python-exe", python); status != 4 {
		t.Errorf("check of what cannot be loaded: %d %s", status, stderr)
	}
}

// A second signal ends a server whose application does not.
func TestRunSecondSignal(t *testing.T) {
	t.Parallel()
	dir := write(t, t.TempDir(), map[string]string{"app.py": "import time\ndef app(e, sr): time.sleep(100)\n"})
	r := start(t, dir, nil, "run", "app:app", "-b", "127.0.0.1:0", "--python-exe", systemPython(t), "--stop-timeout", "1s")
	url := r.url
	go func() { _, _ = http.Get(url) }()
	time.Sleep(100 * time.Millisecond) // whether the request is there or not, it ends
	begin := time.Now()
	_ = r.Process.Signal(syscall.SIGTERM)
	_ = r.Process.Signal(syscall.SIGINT)
	_ = r.Wait()
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %v to end", took)
	}
}
