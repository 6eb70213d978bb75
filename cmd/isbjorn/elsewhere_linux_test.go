package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
