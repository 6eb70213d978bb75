package gunicorn

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/settings"
)

// needPython skips a test where there is no Python.
func needPython(t testing.TB) {
	t.Helper()
	if _, err := pythonExe(); err != nil {
		t.Skip("needs python3: apt-get install python3")
	}
}

// slow skips a test that starts Python for each row, or waits for it, with -short.
func slow(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts Python several times")
	}
	needPython(t)
}

// directory makes an empty directory the working one, without variables that gunicorn reads.
func directory(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "GUNICORN_CMD_ARGS", "VIRTUAL_ENV", "PYTHONPATH"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	for _, name := range []string{"logs", "lib"} {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// given is what a document gives, key=value a line, without the defaults of gunicorn.
func given(d *settings.Document) string {
	var list []string
	for _, g := range d.Given {
		if g.Source.Line == 0 && g.Source.Origin == settings.File {
			continue
		}
		var texts []string
		for _, p := range g.Texts {
			texts = append(texts, p.Text)
		}
		list = append(list, fmt.Sprintf("%s=%s", g.Key, strings.Join(texts, "|")))
	}
	return strings.Join(list, "\n")
}

// said has the errors and warnings of a document, and its hints if they are asked for.
func said(d *settings.Document, hints bool) string {
	var list []string
	for _, m := range d.Mistakes {
		if m.Severity != settings.Hint || hints {
			first, _, _ := strings.Cut(m.String(), "\n")
			list = append(list, first)
		}
	}
	return strings.Join(list, "\n")
}

// settingTests has a row for each setting that sets something; DIR is the working directory.
var settingTests = []struct{ lines, want string }{
	{`wsgi_app = "shop.wsgi:application"`, "app=shop.wsgi:application"},
	{`bind = "127.0.0.1:8001"`, "bind=127.0.0.1:8001"}, {`bind = [":80", 'unix:/run/a.sock', "fd://3", "localhost", "[::1]:81", "tcp://a:1"]`, "bind=:80|unix:/run/a.sock|fd://3|localhost:8000|[::1]:81|a:1"},
	{`chdir = "lib"`, "chdir=lib"}, {`raw_env = ["A=1", "B=a b"]`, "env=A=1|B=a b"}, {`raw_env = "A=1"`, "env=A=1"}, {`raw_env = []`, ""},
	{`preload_app = True`, "preload=true"}, {`preload_app = "false"`, "preload=false"}, {`pythonpath = "lib,."`, "python.path=DIR|DIR/lib"},
	{`workers = 4`, "workers=4"}, {`workers = "0x4"`, "workers=4"}, {`threads = 8`, "threads=8"},
	{"worker_class = 'gevent'", "gevent=1000"}, {"worker_class = 'gunicorn.workers.ggevent.GeventWorker'\nworker_connections = 50", "gevent=50"},
	{"worker_class = 'gevent'\nthreads = 4", "gevent=1000"}, {"threads = 4\nworker_class = 'gunicorn.workers.ggevent.GeventWorker'", "gevent=1000"},
	{"worker_class = 'sync'\nworker_connections = 50", ""}, {"worker_class = 'gthread'\nworkers = 2\nworker_connections = 50", "workers=2\nmax_connections=100"},
	{`max_requests = 1000`, "max_requests=1000"}, {`max_requests = 0`, "max_requests=none"}, {`max_requests_jitter = 50`, "max_requests_jitter=50"},
	{`timeout = 120`, "request_timeout=2m"}, {`timeout = 0`, "request_timeout=none"}, {`graceful_timeout = 10`, "stop_timeout=10s"}, {`keepalive = 5`, "idle_timeout=5s"},
	{`limit_request_line = 8190`, "target_bytes=8190"}, {`limit_request_line = 0`, "target_bytes=32KiB"},
	{`limit_request_field_size = 8190`, "head_bytes=32KiB"}, {"limit_request_field_size = 40000\nlimit_request_line = 1000", "target_bytes=1000\nhead_bytes=41000"}, {`limit_request_field_size = 0`, "head_bytes=65533"},
	{`limit_request_fields = 50`, "fields=50"}, {`tmp_upload_dir = "/tmp/x"`, "temp_dir=/tmp/x"}, {`header_map = "dangerous"`, "underscore_fields=keep"},
	{"certfile = 'c.pem'\nkeyfile = 'k.pem'\nbind = ':443'", "tls.cert=c.pem\ntls.key=k.pem\nbind=https://:443"},
	{"certfile = 'c.pem'\nkeyfile = 'k.pem'\nca_certs = 'ca.pem'\ncert_reqs = 2\nbind = ':443'", "tls.cert=c.pem\ntls.key=k.pem\ntls.client_ca=ca.pem\ntls.client_auth=require\nbind=https://:443"},
	{"ca_certs = 'ca.pem'\ncert_reqs = 0", ""},
	{`accesslog = "-"`, "log.access=-"}, {`accesslog = "logs/a.log"`, "log.access=logs/a.log"}, {`accesslog = None`, ""},
	{`access_log_format = "%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s \"%(f)s\" \"%(a)s\""`, "log.format=combined"},
	{`loglevel = "warning"`, "log.level=warn"}, {`loglevel = "CRITICAL"`, "log.level=error"}, {`loglevel = 'debug'`, "log.level=debug"}, {`loglevel = ''`, "log.level=info"}, {`loglevel = ' Info '`, "log.level=info"}, {`errorlog = "logs/e.log"`, "log.file=logs/e.log"},
	{`capture_output = True`, "log.output=true"}, {`user = "www-data"`, "user=www-data"}, {`user = 33`, "user=33"}, {`group = "www-data"`, "group=www-data"}, {`umask = 0o022`, "umask=0022"}, {`umask = 18`, "umask=0022"}, {`umask = 0`, ""},
	{`daemon = True`, "daemon=true"}, {`pidfile = "logs/a.pid"`, "pidfile=logs/a.pid"}, {`proc_name = "shop"`, "name=shop"}, {`reload = True`, "reload.watch=true"}, {`reload_extra_files = ["a", "b"]`, "reload.touch=a|b"},
	{`forwarded_allow_ips = "10.0.0.1, ::1,10.1.0.0/16"`, "trusted_proxies=10.0.0.1/32|::1/128|10.1.0.0/16"}, {"bind = 'unix:/a'\nforwarded_allow_ips = '*'", "trusted_proxies=0.0.0.0/0|::/0|unix\nbind=unix:/a"},
	// How a file is read.
	{"# a\n\"\"\"workers = 1\n\"\"\"\nworkers = 2 # two\nworkers = 3; threads = 4", "workers=3\nthreads=4"},
	{"bind = [\n    ':1',  # one\n    ':2',\n]\n", "bind=:1|:2"}, {"bind = (':1'\n  '2')", "bind=:12"}, {"bind = ':1', ':2'", "bind=:1|:2"}, {"bind = \\\n':1'", "bind=:1"},
	{"workers: int = 1_6", "workers=16"}, {"proc_name = r'a\\b' \"\\x63\\u0064\\101\"", `name=a\bcdA`}, {"proc_name = '''a'b\"c'''", `name=a'b"c`},
	{"secure_scheme_headers = {'X-FORWARDED-PROTO': 'https'}", ""}, {"logger_class = 'gunicorn.glogging.Logger'", ""}, {"proxy_protocol = False\nsyslog = False\nstatsd_host = None\nlogconfig_dict = {}\nprotocol = 'http'\nhttp_protocols = 'h1'", ""},
	{"def post_fork(server, worker):\n    workers = 3\n    print('x')\n\ndef when_ready(server): pass\n", "hooks=DIR/gunicorn.conf.py"},
	{"class X:\n    workers = 3\n", ""},
}

// hooksCovered are the names that the row with functions stands for.
func hooksCovered() []string { return settings.Find("hooks", settings.Run).Gunicorn }

func load(t *testing.T, read settings.Reader) settings.Mistakes {
	_, mistakes := settings.Load(settings.Input{Command: settings.Run, File: "gunicorn.conf.py", Readers: map[string]settings.Reader{".py": read}})
	return mistakes
}

// sorted are the lines of a text in order.
func sorted(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Every setting that sets something sets it, and what is given can be loaded.
func TestSettings(t *testing.T) {
	replace := strings.NewReplacer("DIR", directory(t)).Replace
	covered := hooksCovered()
	for _, tt := range settingTests {
		write(t, "gunicorn.conf.py", tt.lines)
		d := ReadLiterals("gunicorn.conf.py", []byte(tt.lines))
		if got := given(d); sorted(got) != sorted(replace(tt.want)) || said(d, false) != "" {
			t.Errorf("%s\ngives\n%s\nwant\n%s\n%s", tt.lines, got, replace(tt.want), said(d, true))
		}
		if mistakes := load(t, ReadLiterals); mistakes.Failed() {
			t.Errorf("%s\n%v", tt.lines, mistakes)
		}
		if tt.want != "" {
			covered = append(covered, word.FindAllString(tt.lines, -1)...)
		}
	}
	for _, s := range settings.All() {
		for _, name := range s.Gunicorn {
			if !slices.Contains(covered, name) {
				t.Errorf("no test sets %s by %s", s.Key, name)
			}
		}
	}
}

// Python reads the rows of TestSettings as ReadLiterals does.
func TestSettingsByPython(t *testing.T) {
	slow(t)
	directory(t)
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(string(out))) // python3 may be a program that looks for Python, slowly
	for _, tt := range settingTests {
		write(t, "gunicorn.conf.py", tt.lines)
		want, got := ReadLiterals("gunicorn.conf.py", []byte(tt.lines)), Read("gunicorn.conf.py", []byte(tt.lines))
		if sorted(given(want)) != sorted(given(got)) || said(got, false) != "" {
			t.Errorf("%s\nby Python\n%s\nwithout\n%s\n%s", tt.lines, given(got), given(want), said(got, false))
		}
	}
}

// Every mistake is said with its line and with what to write.
func TestMistakes(t *testing.T) {
	directory(t)
	for _, tt := range []struct{ lines, want string }{
		{`max_request_jitter = 5`, `gunicorn.conf.py:1:1: warning: max_request_jitter: gunicorn has no such setting and passes over it; did you mean max_requests_jitter?`},
		{"worker = 4\nworkers = worker * 2", `gunicorn.conf.py:2:1: workers: its value is computed, and needs Python; run this where gunicorn runs`},
		{`def post_forks(server, worker): pass`, `gunicorn.conf.py:1:5: warning: post_forks: gunicorn has no such setting and passes over it; did you mean post_fork?`},
		{`anything_else = 4`, ""}, {`_workers = 4`, ""},
		{`bind = "0.0.0.0:$PORT"`, `gunicorn.conf.py:1:8: bind = "0.0.0.0:$PORT": nothing replaces a variable in a text; write bind = f"0.0.0.0:{os.environ['PORT']}"`},
		{`bind = "a:b"`, `gunicorn.conf.py:1:8: bind = "a:b": an address is host:port, :port, unix:/path or fd://N`}, {`bind = 8000`, `gunicorn.conf.py:1:8: bind = "8000": must be a text, or a list of texts`},
		{`workers = 2.5`, `gunicorn.conf.py:1:11: workers = "2.5": must be a whole number, 0 or more`}, {`workers = -1`, `gunicorn.conf.py:1:11: workers = "-1": must be a whole number, 0 or more`}, {`workers = "many"`, `gunicorn.conf.py:1:11: workers = "many": must be a whole number, 0 or more`},
		{`workers = 0`, `gunicorn.conf.py:1:11: workers = "0": must be a number from 1 to 512, or "auto"`}, {`preload_app = 1`, `gunicorn.conf.py:1:15: preload_app = "1": must be True or False`},
		{`worker_class = "uvicorn.workers.UvicornWorker"`, `gunicorn.conf.py:1:16: worker_class = "uvicorn.workers.UvicornWorker": an ASGI application; isbjorn runs WSGI; keep this server and put isbjorn proxy in front, or give the WSGI application and gthread`},
		{`worker_class = "eventlet"`, `gunicorn.conf.py:1:16: worker_class = "eventlet": eventlet is not run; use gthread with threads = 50, or gevent`},
		{`worker_class = "tornado"`, `gunicorn.conf.py:1:16: worker_class = "tornado": Tornado's own applications are no WSGI; keep this server and put isbjorn proxy in front`},
		{`worker_class = "my.Worker"`, `gunicorn.conf.py:1:16: worker_class = "my.Worker": a worker class of your own is not run; use gthread with threads, or gevent`},
		{`statsd_host = "localhost:8125"`, `gunicorn.conf.py:1:15: statsd_host = "localhost:8125": isbjorn has nothing like it; scrape /metrics`}, {`proxy_protocol = True`, `gunicorn.conf.py:1:18: proxy_protocol = "True": isbjorn has nothing like it; have the proxy send X-Forwarded-For, and set forwarded_allow_ips`},
		{`forwarded_allow_ips = "*"`, `gunicorn.conf.py:1:23: warning: forwarded_allow_ips = "*": any client may say who it is; give the addresses of the proxies, or listen on a Unix socket`}, {`forwarded_allow_ips = "nginx"`, `gunicorn.conf.py:1:23: forwarded_allow_ips = "nginx": nginx is no address and no network`},
		{`access_log_format = "%(h)s %(D)s"`, `gunicorn.conf.py:1:21: warning: access_log_format = "%(h)s %(D)s": lines have the format combined here; log.format can also be json`},
		{`errorlog = "nowhere/e.log"`, `gunicorn.conf.py:1:12: errorlog = "nowhere/e.log": the directory nowhere is not there; mkdir -p nowhere`}, {`pythonpath = "missing"`, `gunicorn.conf.py:1:14: pythonpath = "missing": there is no directory missing; make it, or leave it out`},
		{`keepalive = 0`, `gunicorn.conf.py:1:13: warning: keepalive = "0": connections stay open here, for idle_timeout at most; leave it out`}, {`limit_request_fields = 1000`, `gunicorn.conf.py:1:24: warning: limit_request_fields = "1000": requests have at most 100 fields here`},
		{`umask = 2022`, `gunicorn.conf.py:1:9: umask = "2022": must be a file mode; write 0o2022 if it is octal`}, {`loglevel = "loud"`, `gunicorn.conf.py:1:12: loglevel = "loud": must be one of debug, info, warn, error`},
		{"bind = 'unix:/a'\ncertfile = 'c'\nkeyfile = 'k'", `gunicorn.conf.py:2:12: certfile = "c": unix:/a cannot have TLS; leave certfile out: the proxy in front has TLS`}, {`cert_reqs = 2`, `gunicorn.conf.py:1:13: cert_reqs = "2": there are no certificates to check those of clients with; give ca_certs`},
		{`secure_scheme_headers = {'X-SSL': 'on'}`, `gunicorn.conf.py:1:25: secure_scheme_headers = "map[X-SSL:on]": isbjorn has nothing like it; have the proxy send X-Forwarded-Proto`},
		{`protocol = "uwsgi"`, `gunicorn.conf.py:1:12: protocol = "uwsgi": isbjorn has nothing like it; write http here, and in nginx proxy_pass in place of uwsgi_pass`}, {`post_fork = "x"`, `gunicorn.conf.py:1:13: post_fork = "x": must be a function`},
		{`raw_env = ["A"]`, `gunicorn.conf.py:1:11: raw_env = "A": must be a pair NAME=VALUE`}, {`header_map = "x"`, `gunicorn.conf.py:1:14: header_map = "x": must be one of dangerous, drop, refuse`},
		// Without Python.
		{"import os\nworkers = int(os.getenv('N', 4))", `gunicorn.conf.py:2:1: workers: its value is computed, and needs Python; run this where gunicorn runs`}, {"if True:\n    threads = 3", `gunicorn.conf.py:2:5: threads: its value is computed, and needs Python; run this where gunicorn runs`},
		{"bind = f':{1}'", `gunicorn.conf.py:1:1: bind: its value is computed, and needs Python; run this where gunicorn runs`}, {"workers = threads = 3", "gunicorn.conf.py:1:1: workers: its value is computed, and needs Python; run this where gunicorn runs"}, {"workers = 3\nworkers += 1", `gunicorn.conf.py:2:1: workers: its value is computed, and needs Python; run this where gunicorn runs`},
		{"workers, threads = 1, 2", "gunicorn.conf.py:1:1: workers: its value is computed, and needs Python; run this where gunicorn runs\ngunicorn.conf.py:1:10: threads: its value is computed, and needs Python; run this where gunicorn runs"}, {"if x: workers = 3", `gunicorn.conf.py:1:7: workers: its value is computed, and needs Python; run this where gunicorn runs`},
		{"from hooks import post_fork", `gunicorn.conf.py:1:19: post_fork: its value is computed, and needs Python; run this where gunicorn runs`},
	} {
		write(t, "gunicorn.conf.py", tt.lines)
		if got := said(ReadLiterals("gunicorn.conf.py", []byte(tt.lines)), false); got != tt.want {
			t.Errorf("%s\nsays %s\nwant %s", tt.lines, got, tt.want)
		}
	}
}

// A file that computes, prints and has hooks is read as Python has it.
func TestComputed(t *testing.T) {
	needPython(t)
	dir := directory(t)
	write(t, "shared.py", "import os\nkeepalive = 70\n")
	t.Setenv("SHOP_PORT", "5000")
	text := `import os
import multiprocessing
from multiprocessing import cpu_count
from shared import *

print("workers:", cpu_count())
port = os.environ["SHOP_PORT"]
bind = f"0.0.0.0:{port}"
workers = min(cpu_count() * 2 + 1, 512)
if os.getenv("NOT_SET_HERE"):
    threads = 1
else:
    threads = 2 + 2
max_requests, max_request_jitter = 100, 5
raw_env = ["A=" + "b"]
worker_class = "gthread"
log_helper = print


def post_fork(server, worker):
    server.log.info("worker %s", worker.pid)
`
	write(t, "gunicorn.conf.py", text)
	d := Read("gunicorn.conf.py", []byte(text))
	out, err := exec.Command("python3", "-c", "import multiprocessing; print(min(multiprocessing.cpu_count()*2+1, 512))").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := "idle_timeout=1m10s\nbind=0.0.0.0:5000\nworkers=" + strings.TrimSpace(string(out)) + "\nthreads=4\nmax_requests=100\nenv=A=b\nhooks=" + filepath.Join(dir, "gunicorn.conf.py")
	if got := given(d); sorted(got) != sorted(want) {
		t.Errorf("gives\n%s\nwant\n%s", got, want)
	}
	if got, want := said(d, false), "gunicorn.conf.py:14:15: warning: max_request_jitter: gunicorn has no such setting and passes over it; did you mean max_requests_jitter?"; got != want {
		t.Errorf("says %s\nwant %s", got, want)
	}
	for _, g := range d.Given {
		if g.Key == "threads" && g.Source.String() != "gunicorn.conf.py:13" {
			t.Errorf("threads are given by %v", g.Source)
		}
	}
}

// What a file changes in its process holds in the workers that gunicorn forks from it: variables and sys.path.
func TestProcess(t *testing.T) {
	needPython(t)
	dir := directory(t)
	t.Setenv("SHOP_GONE", "1")
	t.Setenv("SHOP_SAME", "1")
	write(t, "shared.py", "import os, sys\nos.environ['SHOP_SHARED'] = 'a b'\nsys.path.append('lib')\n")
	text := `import os, sys
import shared
os.environ.setdefault("SHOP_SAME", "2")
os.environ.setdefault("SHOP_NEW", "3")
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)) + "/logs")
del os.environ["SHOP_GONE"]
pythonpath = "."
raw_env = ["SHOP_NEW=4"]
`
	write(t, "gunicorn.conf.py", text)
	d := Read("gunicorn.conf.py", []byte(text))
	var got []string
	for _, g := range d.Given {
		for _, p := range g.Texts {
			if g.Key == "env" || g.Key == "python.path" {
				got = append(got, g.Key+" "+p.Text)
			}
		}
	}
	want := []string{"env SHOP_NEW=3", "env SHOP_SHARED=a b", "env SHOP_NEW=4", // the last one counts
		"python.path " + dir, "python.path " + dir + "/logs", "python.path " + dir + "/lib"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, want := range []string{
		"gunicorn.conf.py:4: hint: the file sets SHOP_NEW for the application, and so does env",
		"gunicorn.conf.py: hint: the file sets SHOP_SHARED for the application, and so does env",
		"gunicorn.conf.py:6:17: warning: the file removes SHOP_GONE from the environment, and isbjorn does not; start it without: env -u SHOP_GONE",
	} {
		if !strings.Contains(said(d, true), want) {
			t.Errorf("no %q in\n%s", want, said(d, true))
		}
	}
}

// A name that is no setting, and that the file does not use, is said; what the file uses or imports is its own.
func TestPassedOver(t *testing.T) {
	needPython(t)
	directory(t)
	text := "import os\nfrom os import path\nstatic_map = {'/static': 'x'}\nport = 5\nworkers = port\n_x = 1\ndef helper(): return port\ntimeout = helper()\n"
	write(t, "gunicorn.conf.py", text)
	const message = "gunicorn has no such setting and passes over it"
	if got := said(Read("gunicorn.conf.py", []byte(text)), true); !strings.Contains(got, "gunicorn.conf.py:3: hint: static_map: "+message) || strings.Count(got, message) != 1 {
		t.Error(got)
	}
}

// What goes wrong in Python is said with the line of the file.
func TestPythonErrors(t *testing.T) {
	slow(t)
	directory(t)
	for _, tt := range []struct{ lines, want string }{
		{"x = 1\n  y = 2\n", "gunicorn.conf.py:2:3: IndentationError: unexpected indent"},
		{"import os\n\nworkers = int(os.environ['NOT_SET_HERE'])\n", "gunicorn.conf.py:3:1: KeyError: 'NOT_SET_HERE'"},
		{"def f():\n    raise ValueError('two\\nlines')\nf()", "gunicorn.conf.py:2:5: lines"},
		{"import sys\nsys.exit(3)", "gunicorn.conf.py:2:1: SystemExit: 3"},
		{"import nothing_of_this_name", "gunicorn.conf.py:1:1: ModuleNotFoundError: No module named 'nothing_of_this_name'"},
		{"import os\nos._exit(1)", "gave no answer"}, {"import os\nos.close(3)", "Bad file descriptor"},
		{"bind = object()", `gunicorn.conf.py:1:8: bind = "<object object at`}, {"class W: pass\nworker_class = W", `gunicorn.conf.py:2:16: worker_class = "__config__.W": a worker class of your own`},
		{"import ssl\ncert_reqs = ssl.CERT_REQUIRED\nca_certs = 'ca.pem'", ""},
	} {
		write(t, "gunicorn.conf.py", tt.lines)
		if got := said(Read("gunicorn.conf.py", []byte(tt.lines)), false); !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s\nsays %s\nwant %s", tt.lines, got, tt.want)
		}
	}
}

// A file that does not end is ended, with the processes that it has started.
func TestTimeout(t *testing.T) {
	slow(t)
	directory(t)
	write(t, "gunicorn.conf.py", "import os, time\nif os.fork() == 0:\n    open('pid', 'w').write(str(os.getpid()))\ntime.sleep(1000)\n")
	if _, err := ask("gunicorn.conf.py", 2*time.Second); err == nil || err.Error() != "it runs for longer than 2s" {
		t.Error(err)
	}
	pid, err := os.ReadFile("pid")
	if err != nil {
		t.Skip("Python did not begin within the time") // on a busy machine
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + string(pid) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %s lives", pid)
		}
	}
}

// A process that the file leaves behind does not hold the answer up.
func TestLeftBehind(t *testing.T) {
	slow(t)
	directory(t)
	text := "import subprocess\nworkers = 3\nprocess = subprocess.Popen(['sleep', '30'])\nopen('pid', 'w').write(str(process.pid))\n"
	write(t, "gunicorn.conf.py", text)
	d := Read("gunicorn.conf.py", []byte(text))
	if given(d) != "workers=3" || said(d, false) != "" {
		t.Error(given(d), said(d, false))
	}
	if pid, err := os.ReadFile("pid"); err == nil {
		if out, err := exec.Command("kill", string(pid)).CombinedOutput(); err != nil {
			t.Logf("%s", out)
		}
	}
}

// What holds in gunicorn without being given is given, unless a variable gives it.
func TestDefaults(t *testing.T) {
	directory(t)
	write(t, "gunicorn.conf.py", "threads = 2")
	for _, tt := range []struct{ variable, want string }{
		{"NOT_READ=1", "127.0.0.1:8000 1 127.0.0.1/32 none 30s"}, {"PORT=5000", "127.0.0.1:8080 1 127.0.0.1/32 none 30s"},
		{"WEB_CONCURRENCY=3", "127.0.0.1:8000 auto 127.0.0.1/32 none 30s"}, {"FORWARDED_ALLOW_IPS=10.0.0.1", "127.0.0.1:8000 1  none 30s"},
	} {
		name, text, _ := strings.Cut(tt.variable, "=")
		t.Setenv(name, text)
		c, mistakes := settings.Load(settings.Input{Command: settings.Run, File: "gunicorn.conf.py", Readers: map[string]settings.Reader{".py": ReadLiterals}})
		if got := strings.Join([]string{c.Text("bind"), c.Text("workers"), c.Text("trusted_proxies"), c.Text("body_bytes"), c.Text("request_timeout")}, " "); got != tt.want || mistakes.Failed() {
			t.Errorf("%s: %s, want %s\n%v", tt.variable, got, tt.want, mistakes)
		}
		os.Unsetenv(name)
	}
}

// A command line is read as argparse reads it, over GUNICORN_CMD_ARGS, over the file.
func TestCommandLine(t *testing.T) {
	directory(t)
	write(t, "other.py", "workers = 7\nbind = ':7'")
	for _, tt := range []struct{ args, variable, file, want, said string }{
		{"-w 2 -b 127.0.0.1:0 -k gthread --threads 4 shop:app", "", "", "bind=127.0.0.1:0\nworkers=2\nthreads=4\napp=shop:app", ""},
		{"-w2 -b:1 -b=:2 --bind :3 --workers=4", "", "", "bind=:1|:2|:3\nworkers=4", ""},
		{"shop --max-requests=5 --preload -D", "", "", "max_requests=5\npreload=true\ndaemon=true\napp=shop", ""},
		{"-DR -p logs/a.pid -e A=1 -e B=2 -n shop -u 33 -g 33 -m 0o27 -t 9", "", "", "env=A=1|B=2\npidfile=logs/a.pid\nname=shop\nuser=33\ngroup=33\numask=0027\nrequest_timeout=9s\ndaemon=true", ""},
		{"--workers 3", "--workers=9 --threads 2 -e 'A=b c'", "workers = 8\ntimeout = 7\nraw_env = ['C=1']", "request_timeout=7s\nthreads=2\nenv=A=b c\nworkers=3", ""},
		{"-c other.py -w 1", "", "timeout = 9", "bind=:7\nworkers=1", ""}, {"", "-c other.py", "timeout = 9", "workers=7\nbind=:7", ""}, {"-c file:other.py", "", "", "workers=7\nbind=:7", ""},
		{"--graceful 5 -- shop", "", "", "stop_timeout=5s\napp=shop", ""}, {"--access-logfile - --log-level info --keep-alive 90", "", "", "idle_timeout=1m30s\nlog.access=-\nlog.level=info", ""},
		{"-k gevent --worker-connections 30", "", "", "gevent=30", ""}, {"--no-sendfile --limit-request-field_size 100", "", "", "head_bytes=32KiB", ""},
		{"-c missing.py", "", "", "", `flag -c: config = "missing.py": no such file`}, {"-c python:a.b", "", "", "", `flag -c: config = "python:a.b": a module is not read; give its file: -c a/b.py`},
		{"--worker 3", "", "", "", "flag --worker: stands for --workers and --worker-class; write it out"}, {"--workrs 3", "", "", "", "flag --workrs: gunicorn has no such flag; did you mean --workers?"}, {"--workrs 3 a:b c:d", "", "", "", "argument c:d: there is one application, a:b"},
		{"-z", "", "", "", "flag -z: gunicorn has no such flag"}, {"--workers", "", "", "", "flag --workers: has no value"}, {"--reload=1", "", "", "", "flag --reload: takes no value"}, {"-w x", "", "", "", `flag -w: workers = "x": must be a whole number, 0 or more`},
		{"a:b c:d", "", "", "", "argument c:d: there is one application, a:b"}, {"-b $HOST", "", "", "", `flag -b: bind = "$HOST": nothing replaces a variable in a text; let the shell replace it: double quotes`}, {"--proxy-protocol", "", "", "", `flag --proxy-protocol: proxy_protocol = "auto": isbjorn has nothing like it; have`},
		{"", "-w 'x", "", "", "env GUNICORN_CMD_ARGS: a quote is not closed"}, {"", "-w x", "", "", `env GUNICORN_CMD_ARGS: workers = "x": must be a whole number, 0 or more`}, {"--version", "", "", "", "flag --version: only prints something; leave it out"}, {"-k eventlet", "", "", "", `flag -k: worker_class = "eventlet": eventlet`},
		{"--check-config", "", "", "", `flag --check-config: check_config = "True": isbjorn has nothing like it; isbjorn check`},
	} {
		t.Setenv("GUNICORN_CMD_ARGS", tt.variable)
		os.Remove(DefaultFile)
		if tt.file != "" {
			write(t, DefaultFile, tt.file)
		}
		d := CommandLine(strings.Fields(tt.args), true)
		if got := given(d); tt.said == "" && sorted(got) != sorted(tt.want) {
			t.Errorf("%s\ngives\n%s\nwant\n%s", tt.args, got, tt.want)
		}
		if got := said(d, false); tt.said == "" && got != "" || !strings.Contains(got, tt.said) {
			t.Errorf("%s\nsays %s\nwant %s", tt.args, got, tt.said)
		}
	}
}

// listed are the settings of gunicorn 26.1.
const listed = `config wsgi_app bind backlog workers worker_class threads worker_connections max_requests
max_requests_jitter timeout graceful_timeout keepalive limit_request_line limit_request_fields limit_request_field_size
reload reload_engine reload_extra_files spew check_config print_config preload_app sendfile reuse_port chdir daemon raw_env
pidfile worker_tmp_dir user group umask initgroups tmp_upload_dir secure_scheme_headers forwarded_allow_ips accesslog
disable_redirect_access_to_syslog access_log_format errorlog loglevel capture_output logger_class logconfig logconfig_dict
logconfig_json syslog_addr syslog syslog_prefix syslog_facility enable_stdio_inheritance statsd_host dogstatsd_tags
statsd_prefix enable_backlog_metric proc_name default_proc_name pythonpath paste on_starting on_reload when_ready pre_fork
post_fork post_worker_init worker_int worker_abort pre_exec pre_request post_request child_exit worker_exit
nworkers_changed on_exit ssl_context proxy_protocol proxy_allow_ips protocol uwsgi_allow_ips keyfile certfile ssl_version
cert_reqs ca_certs suppress_ragged_eofs do_handshake_on_connect ciphers http_protocols http2_cleartext
http2_max_concurrent_streams http2_initial_window_size http2_max_frame_size http2_max_header_list_size
raw_paste_global_conf permit_obsolete_folding strip_header_spaces permit_unconventional_http_method
permit_unconventional_http_version casefold_http_method forwarder_headers header_map asgi_loop asgi_lifespan
asgi_disconnect_grace_period http_parser root_path dirty_apps dirty_workers dirty_timeout dirty_threads
dirty_graceful_timeout on_dirty_starting dirty_post_fork dirty_worker_init dirty_worker_exit control_socket
control_socket_mode control_socket_disable`

// Every setting of gunicorn has a verdict, and nothing else has one; every flag is of a setting.
func TestVerdicts(t *testing.T) {
	want := strings.Fields(listed)
	slices.Sort(want)
	if got := names(); !slices.Equal(got, want) {
		t.Errorf("verdicts on\n%v\nwant\n%v", got, want)
	}
	for _, v := range Verdicts() {
		if v.Text == "" {
			t.Errorf("the verdict on %s is empty", v.Name)
		}
	}
	for _, f := range flags {
		if _, ok := lookup(f.setting); !ok {
			t.Errorf("--%s is %s, which has no verdict", f.long, f.setting)
		}
	}
}
