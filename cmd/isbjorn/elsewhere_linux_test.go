package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/testrun"
)

const pythonNumbers = `
def application(environ, start_response):
    start_response('200 OK', [])
    return [('%s %s' % (environ['wsgi.multithread'], environ['wsgi.multiprocess'])).encode()]
app = application
`

// Command lines and files of gunicorn and uWSGI serve as they are.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	python := systemPython(t)
	dir := write(t, t.TempDir(), map[string]string{
		"service.py": pythonNumbers,
		"uwsgi.ini":  "[uwsgi]\nhttp-socket = 127.0.0.1:0\nmodule = service\nmaster = 1\nprocesses=3\ndisable-logging=1\nharakiri = 5\n",
		"conf.py":    "import os\nbind = f'127.0.0.1:{0}'\nworkers = 1 + 1\nthreads = 4\n",
	})
	environ := []string{"VIRTUAL_ENV=", "PATH=" + filepath.Dir(python) + ":" + os.Getenv("PATH")}
	for _, tt := range []struct {
		args    []string
		body    string
		workers int
	}{
		{[]string{"gunicorn", "-w", "2", "-b", "127.0.0.1:0", "-k", "gthread", "--threads", "4", "service:app"}, "True True", 2},
		{[]string{"gunicorn", "-c", "conf.py", "-w1", "service:app"}, "True False", 1},
		{[]string{"uwsgi", "--ini", "uwsgi.ini"}, "False True", 3},
		{[]string{"uwsgi", "--http-socket", "127.0.0.1:0", "-w", "service", "-p", "2", "--disable-logging"}, "False True", 2},
		{[]string{"run", "uwsgi.ini"}, "False True", 3},
	} {
		r := start(t, dir, environ, tt.args...)
		if status, body := get(t, r.url); status != 200 || body != tt.body {
			t.Errorf("%v: %d %q, want %q", tt.args, status, body, tt.body)
		}
		r.until(t, fmt.Sprintf("%d workers", tt.workers), func() bool { return len(children(r.Process.Pid)) == tt.workers })
		r.stop(t)
	}
}

// Worker classes that are none of WSGI, and lines that cannot be honoured, end with status 2 and what would do.
func TestElsewhereRefused(t *testing.T) {
	t.Parallel()
	dir := write(t, t.TempDir(), map[string]string{
		"service.py": pythonNumbers, "typo.ini": "[uwsgi]\nmodule = service\nvaccum = 1\n",
	})
	for _, tt := range []struct {
		args  []string
		texts []string
	}{
		{[]string{"gunicorn", "-k", "eventlet", "service:app"}, []string{"eventlet", "gevent"}},
		{[]string{"gunicorn", "-k", "uvicorn.workers.UvicornWorker", "service:app"}, []string{"uvicorn", "ASGI"}},
		{[]string{"gunicorn", "-c", "nowhere.py", "service:app"}, []string{"nowhere.py"}},
		{[]string{"uwsgi", "--ini", "typo.ini"}, []string{"typo.ini:3", "did you mean vacuum"}},
		{[]string{"run", "typo.ini"}, []string{"typo.ini:3", "did you mean vacuum"}},
		{[]string{"run", "nowhere.ini"}, []string{"nowhere.ini"}},
	} {
		stdout, stderr, status := run(t, dir, nil, tt.args...)
		if status != 2 || stdout != "" {
			t.Errorf("%v: status %d, %q", tt.args, status, stdout)
		}
		for _, text := range tt.texts {
			if !strings.Contains(stderr, text) {
				t.Errorf("%v says\n%s\nwithout %q", tt.args, stderr, text)
			}
		}
	}
	for args, want := range map[string]string{"/usr/bin/gunicorn a": "gunicorn a", "uwsgi x.ini": "uwsgi x.ini", "./isbjorn run": "run"} {
		if got := strings.Join(underName(strings.Fields(args)), " "); got != want {
			t.Errorf("%q is taken for %q, want %q", args, got, want)
		}
	}
}

// asName is the command started by a symbolic link of another name.
func asName(t *testing.T, dir, name string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := command(t, dir, env, args...)
	link := filepath.Join(dir, name)
	if err := os.Symlink(cmd.Path, link); err != nil {
		t.Fatal(err)
	}
	cmd.Path, cmd.Args[0] = link, link
	return cmd
}

// A symbolic link called gunicorn, or uwsgi, reads the command line of that server.
func TestUnderName(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "starts processes")
	dir := write(t, t.TempDir(), map[string]string{"service.py": pythonNumbers})
	for name, args := range map[string][]string{
		"gunicorn": {"-k", "eventlet", "service:app"}, "uwsgi": {"--module", "service", "--vaccum"},
	} {
		out, err := asName(t, dir, name, nil, args...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "flag ") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	systemPython(t)
	r := startCommand(t, asName(t, t.TempDir(), "gunicorn", nil, "--chdir", dir, "-w", "2", "-b", "127.0.0.1:0", "service:app"))
	if status, body := get(t, r.url); status != 200 || body != "False True" {
		t.Errorf("%d %q", status, body)
	}
	r.stop(t)
}

// seed is an ini as a service has it, which lies in a directory beside the module.
const seed = `[uwsgi]
http=$(HOSTNAME):0
http-keepalive=1
pythonpath=../
module=service
master=1
processes=8
daemonize=logs/uwsgi.log
disable-logging=1
buffer-size=16384
harakiri=5
pidfile=uwsgi.pid
stats=$(HOSTNAME):1733
`

const pythonSleeps = `import os, time
def application(environ, start_response):
    name, _, text = environ['QUERY_STRING'].partition('=')
    if name == 's':
        time.sleep(float(text))
    start_response('200 OK', [])
    return [environ['HTTP_X_LONG'][:1].encode() if 'HTTP_X_LONG' in environ else b'%d' % os.getpid()]
`

// The ini of a service is served as it is, with HOSTNAME exported and without, with spaces around = and without: eight
// processes, no access log, errors in the file of daemonize, heads up to buffer-size. What is not heeded is said with
// its line.
func TestSeed(t *testing.T) {
	t.Parallel()
	python := systemPython(t)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for i, spaces := range []string{"=", " = "} {
		dir := write(t, t.TempDir(), map[string]string{
			"service.py": pythonSleeps, "conf/logs/x": "", "conf/uwsgi.ini": strings.ReplaceAll(seed, "=", spaces),
		})
		conf := filepath.Join(dir, "conf")
		env := []string{"VIRTUAL_ENV=", "PATH=" + filepath.Dir(python) + ":" + os.Getenv("PATH"), "HOSTNAME=127.0.0.1"}
		cmd := command(t, conf, env, [][]string{{"run", "uwsgi.ini"}, {"uwsgi", "uwsgi.ini"}}[i]...)
		if _, err := net.LookupHost(host); err == nil && i == 1 {
			cmd.Env = slices.DeleteFunc(cmd.Env, func(pair string) bool { return strings.HasPrefix(pair, "HOSTNAME=") })
		}
		r := startCommand(t, cmd)
		log := func() string {
			b, _ := os.ReadFile(filepath.Join(conf, "logs", "uwsgi.log"))
			return string(b)
		}
		r.until(t, "the pidfile", func() bool {
			b, _ := os.ReadFile(filepath.Join(conf, "uwsgi.pid"))
			return string(b) == fmt.Sprintln(r.Process.Pid)
		})
		r.until(t, "8 workers", func() bool { return len(children(r.Process.Pid)) == 8 })
		if status, body := get(t, r.url); status != 200 || body == "" {
			t.Errorf("%d %q", status, body)
		}
		if i == 0 {
			sleeps(t, r, log)
		}
		for _, length := range []int{8 << 10, 20 << 10} {
			req, _ := http.NewRequest("GET", r.url, nil)
			req.Header.Set("X-Long", strings.Repeat("a", length))
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if want := map[bool]int{true: 431, false: 200}[length > 16<<10]; resp.StatusCode != want {
				t.Errorf("a head of %d bytes: %d, want %d", length, resp.StatusCode, want)
			}
		}
		r.stop(t)
		if strings.Contains(log(), `HTTP/1.1" 200`) {
			t.Errorf("there is an access log:\n%s", log())
		}
		for _, text := range []string{"uwsgi.ini:8", "uwsgi.ini:13"} {
			if !strings.Contains(r.stderr.String(), text) {
				t.Errorf("%s is not said:\n%s", text, r.stderr)
			}
		}
	}
}

// sleeps has a request take longer than harakiri: its client has 504 when the time is over, the log has the path and
// the stack, and the other workers serve.
func sleeps(t *testing.T, r *running, log func() string) {
	t.Helper()
	begin, end := time.Now(), make(chan error, 1)
	go func() {
		resp, err := http.Get(r.url + "/sleep?s=8")
		if err == nil {
			_ = resp.Body.Close()
			if took := time.Since(begin); resp.StatusCode != 504 || took < 4500*time.Millisecond || took > 30*time.Second {
				err = fmt.Errorf("%d after %v", resp.StatusCode, took)
			}
		}
		end <- err
	}()
	for served := 0; ; served++ {
		select {
		case err := <-end:
			if err != nil || served == 0 {
				t.Errorf("%v; %d requests were served meanwhile", err, served)
			}
			r.until(t, "path and stack in the log", func() bool {
				return strings.Contains(log(), "/sleep") && strings.Contains(log(), "time.sleep(float(text))")
			})
			return
		default:
			if status, _ := get(t, r.url); status != 200 {
				t.Errorf("meanwhile: %d", status)
			}
		}
	}
}

// Without the directory of its log nothing starts, and the line and the mend are said.
func TestSeedWithoutLogs(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "starts processes")
	dir := write(t, t.TempDir(), map[string]string{"service.py": pythonSleeps, "conf/uwsgi.ini": seed})
	for _, args := range [][]string{{"run", "uwsgi.ini"}, {"uwsgi", "--ini", "uwsgi.ini"}, {"check", "uwsgi.ini"}} {
		stdout, stderr, status := run(t, filepath.Join(dir, "conf"), []string{"HOSTNAME=127.0.0.1"}, args...)
		if status != 2 || stdout != "" || !strings.Contains(stderr, "uwsgi.ini:8:") || !strings.Contains(stderr, "mkdir -p logs") {
			t.Errorf("%v: %d %s%s", args, status, stdout, stderr)
		}
	}
}

// A configuration of gunicorn that computes, prints and has hooks gives what Python has; what it sets in its process
// reaches the application, and a name that is misspelled is a warning with its line.
func TestGunicornFile(t *testing.T) {
	t.Parallel()
	python := systemPython(t)
	dir := write(t, t.TempDir(), map[string]string{
		"service.py": "import os, colour\ndef app(e, sr):\n    sr('200 OK', [])\n" +
			"    return [('%s %s %s' % (os.environ['SHOP'], os.environ['MODE'], colour.NAME)).encode()]\n",
		"lib/colour.py": "NAME = 'blue'\n",
		"gunicorn.conf.py": "import os, sys\nfrom multiprocessing import cpu_count\nprint('reads', cpu_count())\n" +
			"os.environ['SHOP'] = 'one'\nos.environ['MODE'] = 'two'\nsys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))\n" +
			"bind = f'127.0.0.1:{0}'\nworkers = cpu_count() * 0 + 3\nmax_request_jitter = 5\nraw_env = ['MODE=three']\nwsgi_app = 'service:app'\n" +
			"def post_fork(server, worker):\n    pass\n",
	})
	env := []string{"VIRTUAL_ENV=", "PATH=" + filepath.Dir(python) + ":" + os.Getenv("PATH")}
	for _, args := range [][]string{{"gunicorn"}, {"run", "gunicorn.conf.py"}} {
		r := start(t, dir, env, args...)
		if status, body := get(t, r.url); status != 200 || body != "one three blue" {
			t.Errorf("%v: %d %q", args, status, body)
		}
		r.until(t, "3 workers", func() bool { return len(children(r.Process.Pid)) == 3 })
		r.stop(t)
		for _, text := range []string{"gunicorn.conf.py:9:", "max_requests_jitter"} {
			if n := strings.Count(r.stderr.String(), text); n != 1 {
				t.Errorf("%v: %q is there %d times in\n%s", args, text, n, r.stderr)
			}
		}
	}
	if stdout, stderr, status := run(t, dir, env, "check", "gunicorn", "-w", "2"); status != 0 || stdout != "ok\n" {
		t.Errorf("check of a command line: %d %s%s", status, stdout, stderr)
	}
	if _, stderr, status := run(t, dir, env, "check", "gunicorn", "-k", "eventlet"); status != 2 || !strings.Contains(stderr, "eventlet") {
		t.Errorf("check of a command line: %d %s", status, stderr)
	}
}

// Flask in eight gevent workers, by the command line of gunicorn.
func TestFlaskByGunicorn(t *testing.T) {
	t.Parallel()
	python := systemPython(t)
	if exec.Command(python, "-c", "import flask, gevent").Run() != nil {
		t.Skip("needs Flask and gevent: apt-get install python3-flask python3-gevent")
	}
	dir := write(t, t.TempDir(), map[string]string{"app.py": `
from flask import Flask, request
from gevent.monkey import is_module_patched
app = Flask(__name__)
@app.route('/')
def index(): return '%s %s' % (is_module_patched('socket'), request.environ['wsgi.multiprocess'])
`})
	r := start(t, dir, []string{"VIRTUAL_ENV=", "PATH=" + filepath.Dir(python) + ":" + os.Getenv("PATH")},
		"gunicorn", "-w", "8", "-k", "gevent", "-b", "127.0.0.1:0", "app:app")
	if status, body := get(t, r.url); status != 200 || body != "True True" {
		t.Errorf("%d %q", status, body)
	}
	r.until(t, "eight workers", func() bool { return len(children(r.Process.Pid)) == 8 })
	r.stop(t)
}
