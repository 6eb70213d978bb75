package uwsgi

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/foreign"
	"github.com/isbjorn/isbjorn/internal/settings"
)

// directory makes an empty directory the working one, with the files of an application.
func directory(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"logs", "venv/bin", "lib/one", "lib/two"} {
		if err := os.MkdirAll(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, "venv/bin/python3", "")
	return dir
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// given is what a document gives, key=value a line, without the defaults of uWSGI.
func given(d *settings.Document) string {
	var b strings.Builder
	for _, g := range d.Given {
		if g.Source.Line == 0 && g.Source.Origin == settings.File {
			continue
		}
		var texts []string
		for _, p := range g.Texts {
			texts = append(texts, p.Text)
		}
		fmt.Fprintf(&b, "%s=%s\n", g.Key, strings.Join(texts, "|"))
	}
	return b.String()
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

// optionTests has a row for each option that sets something; DIR is the working directory.
var optionTests = []struct{ line, want string }{
	{"http = :8080", "bind=:8080"},
	{"http = 127.0.0.1:8080\nhttp = [::1]:8080\nhttp-socket = /run/a.sock", "bind=127.0.0.1:8080|[::1]:8080|unix:/run/a.sock"},
	{"http11-socket = *:80", "bind=:80"},
	{"http-socket = fd://3", "bind=fd://3"},
	{"https = :443,c.pem,k.pem", "bind=https://:443\ntls.cert=c.pem\ntls.key=k.pem"},
	{"https-socket = :443,c.pem,k.pem,,!ca.pem", "bind=https://:443\ntls.cert=c.pem\ntls.key=k.pem\ntls.client_ca=ca.pem"},
	{"https-socket = :443,c.pem,k.pem,,ca.pem", "bind=https://:443\ntls.cert=c.pem\ntls.key=k.pem\ntls.client_ca=ca.pem\ntls.client_auth=request"},
	{"socket = :3031\nprotocol = http", "bind=:3031"},
	{"chmod-socket = 660", "socket_mode=0660"}, {"chmod-socket", "socket_mode=0666"}, {"chmod = 600", "socket_mode=0600"},
	{"module = shop.wsgi:app", "app=shop.wsgi:app"}, {"wsgi = shop", "app=shop"}, {"wsgi-file = shop/wsgi.py", "app=shop/wsgi.py"},
	{"file = shop.py\ncallable = app", "app=shop.py:app"}, {"callable = app\nmodule = shop", "app=shop:app"},
	{"module = shop:a\ncallable = b", "app=shop:a"},
	{"chdir = /srv", "chdir=/srv"}, {"env = A=b c # d", "env=A=b c # d"}, {"env = A=1\nenv = B=2", "env=A=1|B=2"},
	{"pythonpath = lib/one", "python.path=DIR/lib/one"}, {"pp = lib/*", "python.path=DIR/lib/one|DIR/lib/two"},
	{"python-path = .", "python.path=DIR"}, {"pythonpath = ../", "python.path=UP"},
	{"home = venv", "python.exe=DIR/venv/bin/python3"}, {"virtualenv = DIR/venv", "python.exe=DIR/venv/bin/python3"},
	{"venv = venv", "python.exe=DIR/venv/bin/python3"}, {"pyhome = venv/", "python.exe=DIR/venv/bin/python3"},
	{"static-map = /static=public", "static.map=/static=public"},
	{"processes = 8", "workers=8"}, {"workers = 2", "workers=2"}, {"p = 3", "workers=3"}, {"processes = 2\nworkers = 3", "workers=3"},
	{"processes = %k", "workers=CPUS"}, {"cheaper = 2", "workers_min=2"}, {"threads = 4", "threads=4"}, {"gevent = 100", "gevent=100"},
	{"max-requests = 0", "max_requests=none"}, {"max-requests = 1000\nmax-requests-delta = 50", "max_requests=1000\nmax_requests_jitter=50"},
	{"max-worker-lifetime = 3600", "max_lifetime=1h"},
	{"reload-on-rss = 200", "max_rss=200MiB"}, {"evil-reload-on-rss = 1024", "max_rss=1GiB"},
	{"harakiri = 5", "request_timeout=5s"}, {"harakiri = 0", "request_timeout=none"},
	{"http-timeout = 30", "head_timeout=30s"}, {"http-headers-timeout = 5", "head_timeout=5s"}, {"socket-timeout = 10", "body_timeout=10s"},
	{"http-keepalive = 1", ""}, {"http-keepalive", ""}, {"http-keepalive = 20", "idle_timeout=20s"},
	{"worker-reload-mercy = 60", "stop_timeout=1m"}, {"reload-mercy = 8", "stop_timeout=8s"},
	{"limit-post = 1048576", "body_bytes=1MiB"}, {"limit-post = 0", "body_bytes=none"}, {"post-buffering = 8192", "body_memory=8KiB"},
	{"buffer-size = 16384", "head_bytes=16KiB"}, {"buffer-size = 65533", "head_bytes=65533"}, {"buffer-size = 65535", "head_bytes=65533"},
	{"req-logger = file:logs/access.log", "log.access=logs/access.log"}, {"logger-req = stdio", "log.access=-"},
	{"logger = file:logs/a.log", "log.file=logs/a.log"}, {"logger = main file:logs/a.log", "log.file=logs/a.log"},
	{"logto = logs/a.log", "log.file=logs/a.log"}, {"logto2 = a.log", "log.file=a.log"},
	{"daemonize = logs/a.log", "log.file=logs/a.log\ndaemon=true"}, {"daemonize2 = a.log", "log.file=a.log\ndaemon=true"},
	{"log-slow = 500", "log.slow=500ms"}, {"log-maxsize = 1048576", "log.max_size=1MiB"},
	{"uid = www-data\ngid = 33", "user=www-data\ngroup=33"}, {"umask = 022", "umask=0022"},
	{"pidfile = a.pid", "pidfile=a.pid"}, {"safe-pidfile = a.pid", "pidfile=a.pid"}, {"pidfile2 = a.pid", "pidfile=a.pid"}, {"safe-pidfile2 = a.pid", "pidfile=a.pid"},
	{"procname-prefix = shop ", "name=shop"}, {"procname = shop", "name=shop"}, {"procname-prefix-spaced = shop", "name=shop"},
	{"stats = 127.0.0.1:9191", "stats.bind=127.0.0.1:9191"}, {"stats-server = /tmp/s.sock", "stats.bind=unix:/tmp/s.sock"},
	{"py-autoreload = 1", "reload.watch=true"}, {"python-autoreload = 0", "reload.watch=false"}, {"py-auto-reload = 2", "reload.watch=true"}, {"python-auto-reload = 2", "reload.watch=true"},
	{"touch-reload = a\ntouch-reload = b", "reload.touch=a|b"}, {"touch-chain-reload = a", "reload.touch=a"}, {"touch-workers-reload = a", "reload.touch=a"},
	// How lines are read.
	{"; a\n# b\n \t[other]\nprocesses = 9\n[uwsgi]\n\tprocesses\t=\t8 \r", "workers=8"},
	{"processes=8", "workers=8"}, {"processes", "workers=1"}, {"processes = true", "workers=1"},
	{"base = /srv\nchdir = %(base)/shop", "chdir=/srv/shop"}, {"chdir = %(base)/shop\nbase = %(root)/x\nroot = /srv", "chdir=/srv/x/shop"},
	{"set-placeholder = base=/srv\nchdir = %(base)", "chdir=/srv"}, {"set = threads=3", "threads=3"}, {"set-ph = n=2\nthreads = %(n)", "threads=2"},
	{"processes = %(2 * 3 + 1)", "workers=7"}, {"a = 7\nprocesses = %(a - 3)", "workers=4"}, {"a = 7\nprocesses = %(a / 2)", "workers=3"}, {"a = 7\nprocesses = %(a ++)", "workers=8"},
	{"a = sho\nb = p\nmodule = %(a b)", "app=shop"}, {"a = 1\na = 2\nthreads = %(a)", "threads=1"}, // the first, as in uWSGI
	{"chdir = $(SET_HERE)/x", "chdir=/srv/x"}, {"chdir = $(NOT_SET_HERE:-/a)", "chdir=/a"}, {"chdir = $(NOT_SET_HERE-/a)", "chdir=/a"},
	{"chdir = /x$(EMPTY_HERE-a)", "chdir=/x"}, {"chdir = /x$(EMPTY_HERE:-a)", "chdir=/xa"},
	{"module = @(name.txt)", "app=shop"}, {"chdir = %d", "chdir=DIR/"}, {"chdir = %p", "chdir=DIR/uwsgi.ini"}, {"chdir = /%n/%s/%e/%x/%o/%%", "chdir=/uwsgi/uwsgi.ini/ini//uwsgi.ini/%"}, {"ini = :prod\n[prod]\nchdir = /%x/%X/", "chdir=/prod//"},
	{"chdir = %v", "chdir=DIR"}, {"chdir = %D%N", "chdir=DIR/uwsgi"},
	{"ini = :base\nthreads = 2\n[base]\nprocesses = 4\nthreads = 9", "workers=4\nthreads=2"}, {"ini = other.ini", "workers=5\nname=other-uwsgi"}, {"include = other.ini:more", "threads=6"},
	{"processes = 8 ; half", "workers=8"}, {"module = shop # the shop", "app=shop"},
}

func setUp(t *testing.T) func(string) string {
	dir := directory(t)
	t.Setenv("SET_HERE", "/srv")
	t.Setenv("EMPTY_HERE", "")
	write(t, "name.txt", "shop\n")
	write(t, "other.ini", "[uwsgi]\nprocesses = 5\nprocname = %n-%N\n[more]\nthreads = 6\n")
	m := newMagic()
	return strings.NewReplacer("DIR", dir, "UP", filepath.Dir(dir), "CPUS", m.texts['k']).Replace
}

// Every option that sets something sets it, and what is given can be loaded.
func TestOptions(t *testing.T) {
	replace := setUp(t)
	covered := map[string]bool{}
	for _, tt := range optionTests {
		text := "[uwsgi]\n" + replace(tt.line) + "\n"
		write(t, "uwsgi.ini", text)
		d := Read("uwsgi.ini", []byte(text))
		if got, want := strings.TrimSpace(given(d)), replace(tt.want); got != want || d.Mistakes.Failed() {
			t.Errorf("%s\ngives %q, want %q\n%s", tt.line, got, want, said(d, true))
		}
		if _, mistakes := settings.Load(settings.Input{Command: settings.Run, File: "uwsgi.ini", Readers: map[string]settings.Reader{".ini": Read}}); mistakes.Failed() {
			t.Errorf("%s\n%v", tt.line, mistakes)
		}
		for line := range strings.Lines(tt.line) {
			name, _, _ := strings.Cut(line, "=")
			covered[strings.TrimSpace(name)] = true
		}
	}
	for _, name := range []string{"lazy", "lazy-apps", "disable-logging", "log-format", "logformat"} {
		covered[name] = true // TestDefaults, TestMistakes
	}
	for _, s := range settings.All() {
		for _, name := range s.UWSGI {
			if !covered[name] {
				t.Errorf("no test sets %s by %s", s.Key, name)
			}
		}
	}
}

// Every mistake is said with its line and with what to write.
func TestMistakes(t *testing.T) {
	replace := setUp(t)
	for _, tt := range []struct{ line, want string }{
		{"vaccum = true", `uwsgi.ini:2:1: vaccum: no uWSGI option that isbjorn knows, and no %(vaccum) uses it; did you mean vacuum?`},
		{"max-request = 5", `uwsgi.ini:2:1: max-request: no uWSGI option that isbjorn knows, and no %(max-request) uses it; did you mean max-requests?`},
		{"  zzz = 5", `uwsgi.ini:2:3: zzz: no uWSGI option that isbjorn knows, and no %(zzz) uses it; leave it out`},
		{"<<<<<<< HEAD", `uwsgi.ini:2:1: <<<<<<< HEAD: no uWSGI option that isbjorn knows, and no %(<<<<<<< HEAD) uses it; leave it out`},
		{"=======", `uwsgi.ini:2:1: no name stands before the =; write NAME = VALUE, or leave it out`}, {" = 5", `uwsgi.ini:2:2: no name stands before the =; write NAME = VALUE, or leave it out`},
		{"site = shop\nstatic-map = /%(site)=lib", ``}, // a placeholder that is used
		{"harakiri = 5s", `uwsgi.ini:2:12: harakiri = "5s": a number; uWSGI takes the digits at the front alone; write 5 if that is meant`},
		{"processes = -1", `uwsgi.ini:2:13: processes = "-1": a number`},
		{"processes = many", `uwsgi.ini:2:13: processes = "many": a number`},
		{"processes = 1000", `uwsgi.ini:2:13: processes = "1000": must be a number from 1 to 512, or "auto"`},
		{"processes = 8 # cores", `uwsgi.ini:2:13: warning: processes = "8": uWSGI has no comments behind a value: it takes "# cores" for a part of it, which is left out here; give the comment a line of its own`},
		{"chdir = $(NOT_SET_HERE)", `uwsgi.ini:2:9: chdir = "$(NOT_SET_HERE)": the variable NOT_SET_HERE is not set; export it, or write $(NOT_SET_HERE:-VALUE)`},
		{"chdir = @(missing)", `uwsgi.ini:2:9: chdir = "@(missing)": missing: no such file`},
		{"chdir = @(http://a/b)", `uwsgi.ini:2:9: chdir = "@(http://a/b)": @(...) reads files alone; write what it returns into a file`},
		{"chdir = %(x)", `uwsgi.ini:2:9: chdir = "%(x)": %(x) is the name of no option and no placeholder`},
		{"a = 2\nchdir = %(%(a) * 2)", `uwsgi.ini:3:9: chdir = "%(%(a) * 2)": %(a) is the name of no option and no placeholder`},
		{"a = %(b)\nb = %(a)\nchdir = %(a)", `uwsgi.ini:2:1: a: %(...) in its value refers to itself, or is too long`},
		{"chdir = %z", `uwsgi.ini:2:1: chdir: uWSGI drops %z, which stands for nothing; write %%z`},
		{"chdir = 50%", `uwsgi.ini:2:9: chdir = "50%": uWSGI drops %, which stands for nothing; write %%`},
		{"if-env = X\nprocesses = 4\nendif =\nthreads = 2", `uwsgi.ini:2:10: if-env = "X": blocks are not read: what holds depends on the machine; write out the lines that hold here`},
		{"for = a b\nenv = X=%(_)\nendfor", `uwsgi.ini:2:7: for = "a b": blocks are not read: what holds depends on the machine; write out the lines that hold here`},
		{"ini = missing.ini", `uwsgi.ini:2:7: ini = "missing.ini": no such file`},
		{"ini = x.xml", `uwsgi.ini:2:7: ini = "x.xml": only ini files can be included; write its options into an ini file`},
		{"ini = :uwsgi", `uwsgi.ini:2:7: ini = ":uwsgi": the files include one another in a circle; leave this line out`},
		{"ini = :none", `uwsgi.ini:2:1: there is no section [none] in uwsgi.ini; it has [uwsgi]`},
		{"socket = :3031", `uwsgi.ini:2:10: socket = ":3031": isbjorn speaks HTTP, and not the protocol uwsgi; write http-socket here, and in nginx proxy_pass in place of uwsgi_pass`},
		{"http = 8080", `uwsgi.ini:2:8: http = "8080": uWSGI takes an address without a colon for a Unix socket; write :8080`},
		{"http = :80,:81", `uwsgi.ini:2:8: http = ":80,:81": an address with more behind a comma; write the address alone: isbjorn has the workers itself`},
		{"http = a:b", `uwsgi.ini:2:8: http = "a:b": an address is host:port, :port or the path of a Unix socket`},
		{"http", `uwsgi.ini:2:1: http: has no address; write host:port or :port`},
		{"https = :443", `uwsgi.ini:2:9: https = ":443": isbjorn reads address,certificate,key; write it so`},
		{"stats = :9191", `uwsgi.ini:2:9: warning: stats = ":9191": the network can read these numbers; write 127.0.0.1 for the host`},
		{"stats = logs/s.sock", ``}, {"here = logs\nstats = %(here)/s.sock", ``}, {"stats = fd://3", ``}, {"stats = 127.0.0.1:9191", ``},
		{"logto = a b/it's.log", `uwsgi.ini:2:9: logto = "a b/it's.log": the directory a b is not there; mkdir -p 'a b'`},
		{"home = it's", `uwsgi.ini:2:8: home = "it's": there is no bin/python3 in this directory; python3 -m venv 'it'\''s'`},
		{"daemonize = true", `uwsgi.ini:2:13: daemonize = "true": uWSGI would write the log into a file of this name; write a path`},
		{"daemonize = nowhere/a.log", `uwsgi.ini:2:13: daemonize = "nowhere/a.log": the directory nowhere is not there; mkdir -p nowhere`},
		{"logto = 10.0.0.1:514", `uwsgi.ini:2:9: logto = "10.0.0.1:514": the log can be a file, and not an address; write a path`},
		{"logger = syslog", `uwsgi.ini:2:10: logger = "syslog": a log is a file here; write file:PATH, or leave it out and let systemd's journal have standard error`},
		{"log-format = %(addr) - %(uri)", `uwsgi.ini:2:14: warning: log-format = "%(addr) - %(uri)": lines have the format combined here; log.format can also be json`},
		{"logformat = x", `uwsgi.ini:2:13: warning: logformat = "x": lines have the format combined here; log.format can also be json`},
		{"pythonpath = missing", `uwsgi.ini:2:14: pythonpath = "missing": there is no such directory; make it, or leave this line out`},
		{"home = missing", `uwsgi.ini:2:8: home = "missing": there is no bin/python3 in this directory; python3 -m venv missing`},
		{"callable = app", `uwsgi.ini:2:12: callable = "app": there is no module; add module = NAME`},
		{"plugins = python3,php", `uwsgi.ini:2:11: plugins = "python3,php": isbjorn has no plugins, and nothing like php; leave it out`},
		{"plugins = python3,http", ``}, {"catch-exceptions = false", ``}, {"mules = 0", ``},
		{"emperor = /etc/vassals", `uwsgi.ini:2:11: emperor = "/etc/vassals": isbjorn has nothing like it; write a unit of systemd for each application`},
		{"protocol = fastcgi", `uwsgi.ini:2:12: protocol = "fastcgi": isbjorn speaks HTTP; write http`},
		{"set = x", `uwsgi.ini:2:7: set = "x": a placeholder is NAME=VALUE`},
		{"http-keepalive = 0", `uwsgi.ini:2:18: warning: http-keepalive = "0": connections stay open here, for idle_timeout at most; leave it out`},
		{"chdir =", `uwsgi.ini:2:1: chdir: has no value`}, {"module", `uwsgi.ini:2:1: module: has no value`},
		{"[uwsgi] # again", `uwsgi.ini:2:1: a line with a section ends with ]; put what is behind it into a line of its own`},
	} {
		text := "[uwsgi]\n" + replace(tt.line) + "\n"
		write(t, "uwsgi.ini", text)
		d := Read("uwsgi.ini", []byte(text))
		if got := said(d, false); got != tt.want {
			t.Errorf("%s\nsays %s\nwant %s", tt.line, got, tt.want)
		}
	}
}

// A file without the section that is asked for is an error that names those it has.
func TestSections(t *testing.T) {
	directory(t)
	text := "[prod]\nprocesses = 2\n[app:main]\nx = y\n"
	write(t, "a.ini", text)
	if got := said(Read("a.ini", []byte(text)), false); got != "a.ini: there is no section [uwsgi] in a.ini; it has [prod], [app:main]" {
		t.Error(got)
	}
	if got := said(Read("a.ini", nil), false); got != "a.ini: there is no section [uwsgi] in a.ini; its first line is [uwsgi]" {
		t.Error(got)
	}
	readers := map[string]settings.Reader{".ini": Read}
	c, mistakes := settings.Load(settings.Input{Command: settings.Run, File: "a.ini:prod", Readers: readers})
	if mistakes.Failed() || c.Text("workers") != "2" || c.Source("workers").String() != "a.ini:2" {
		t.Errorf("%v by %v, %v", c.Text("workers"), c.Source("workers"), mistakes)
	}
}

// What uWSGI does where nothing is given is given, where it is different here.
func TestDefaults(t *testing.T) {
	directory(t)
	for _, tt := range []struct{ line, want string }{
		{"threads = 1", "preload=true workers=1 request_timeout=none body_bytes=none log.access=-"},
		{"lazy-apps = true", "preload=false workers=1 request_timeout=none body_bytes=none log.access=-"},
		{"lazy = false", "preload=true workers=1 request_timeout=none body_bytes=none log.access=-"},
		{"lazy", "preload=false workers=1 request_timeout=none body_bytes=none log.access=-"},
		{"disable-logging = true", "preload=true workers=1 request_timeout=none body_bytes=none log.access=off"},
		{"disable-logging = true\nreq-logger = file:a.log", "preload=true workers=1 request_timeout=none body_bytes=none log.access=off"},
		{"logto = a.log", "preload=true workers=1 request_timeout=none body_bytes=none log.access=a.log"},
		{"logger = stdio\nharakiri = 3\nlimit-post = 5", "preload=true workers=1 request_timeout=3s body_bytes=5 log.access=-"},
	} {
		text := "[uwsgi]\n" + tt.line
		write(t, "uwsgi.ini", text)
		c, mistakes := settings.Load(settings.Input{Command: settings.Run, File: "uwsgi.ini", Readers: map[string]settings.Reader{".ini": Read}})
		var got []string
		for _, key := range []string{"preload", "workers", "request_timeout", "body_bytes", "log.access"} {
			got = append(got, key+"="+c.Text(key))
		}
		if strings.Join(got, " ") != tt.want || mistakes.Failed() {
			t.Errorf("%s: %v, %v; want %s", tt.line, got, mistakes, tt.want)
		}
	}
}

// seed is an ini as a service has it; SPACE stands around each =.
const seed = `[uwsgi]
http=$(HOSTNAME):9033
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

// A whole ini is read as uWSGI reads it, with spaces around the = and without, with HOSTNAME and without.
func TestWholeFile(t *testing.T) {
	dir := directory(t)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, variable := range []string{"127.0.0.1", ""} {
		for _, text := range []string{seed, strings.ReplaceAll(seed, "=", " = ")} {
			hostname := variable
			t.Setenv("HOSTNAME", variable)
			if variable == "" {
				os.Unsetenv("HOSTNAME") // t.Setenv sets it back
				hostname = host
			}
			d := Read("uwsgi.ini", []byte(text))
			want := fmt.Sprintf("bind=%s:9033\npython.path=%s\nworkers=8\nlog.file=logs/uwsgi.log\ndaemon=true\n"+
				"head_bytes=16KiB\nrequest_timeout=5s\npidfile=uwsgi.pid\nstats.bind=%s:1733\napp=service\n", hostname, filepath.Dir(dir), hostname)
			if got := given(d); got != want || d.Mistakes.Failed() {
				t.Errorf("gives\n%s\nwant\n%s\n%s", got, want, said(d, true))
			}
			hint := "HOSTNAME is a variable of the shell that is not exported; $(HOSTNAME) is the name of this host, " + host
			if got := strings.Count(said(d, true), hint); (got == 1) != (variable == "") {
				t.Errorf("HOSTNAME is %s: the hint is there %d times", hostname, got)
			}
			hosts, _ := readSome(hostsFile)
			open := variable == "" && aloneHint(hosts, host) == ""
			if open != strings.Contains(said(d, false), "the network can read") {
				t.Errorf("the address of stats is open: %v\n%s", open, said(d, true))
			}
			if err := os.Rename("logs", "not"); err != nil {
				t.Fatal(err)
			}
			d = Read("uwsgi.ini", []byte(text))
			if m := said(d, false); !d.Mistakes.Failed() || !strings.Contains(m, "uwsgi.ini:8:") || !strings.Contains(m, "mkdir -p logs") {
				t.Errorf("without logs/: %s", m)
			}
			if err := os.Rename("not", "logs"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The last of several values counts, and a hint says which it replaces.
func TestTwice(t *testing.T) {
	directory(t)
	d := Read("uwsgi.ini", []byte("[uwsgi]\nprocesses = 2\nmodule = a\nworkers = 3\nwsgi-file = b.py\n"))
	for _, want := range []string{"uwsgi.ini:4: hint: this replaces what uwsgi.ini:2 gives", "uwsgi.ini:5: hint: this replaces what uwsgi.ini:3 gives"} {
		if !strings.Contains(said(d, true), want) {
			t.Errorf("no %q in\n%s", want, said(d, true))
		}
	}
}

// The hint about a name of the host says where only this machine can reach it.
func TestAloneHint(t *testing.T) {
	const hosts = "127.0.0.1 localhost\n# 10.0.0.1 web\n127.0.1.1\tweb.example web # here\n10.0.0.2 web out\n"
	for host, want := range map[string]string{"web": "; /etc/hosts has 127.0.1.1 for it, so it is reachable from this machine alone", "out": "", "none": ""} {
		if got := aloneHint(hosts, host); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
}

// Variables UWSGI_* are options, and have less weight than the file.
func TestEnvironment(t *testing.T) {
	directory(t)
	t.Setenv("UWSGI_THREADS", "3")
	t.Setenv("UWSGI_PROCESSES", "3")
	t.Setenv("UWSGI_ORIGINAL_PROC_NAME", "uwsgi")
	d := Read("uwsgi.ini", []byte("[uwsgi]\nprocesses = 5\n"))
	if got := given(d); got != "threads=3\nworkers=5\n" && got != "workers=5\nthreads=3\n" || said(d, false) != "" {
		t.Errorf("%s%s", got, said(d, true))
	}
}

// A command line is read as uWSGI reads it.
func TestCommandLine(t *testing.T) {
	replace := setUp(t)
	write(t, "shop.ini", "[uwsgi]\nprocesses = 5\nprocname = %n\n[prod]\nthreads = 7\n")
	for _, tt := range []struct{ args, want, said string }{
		{"--http :8000 --module shop -p 4", "bind=:8000\nworkers=4\napp=shop", ""},
		{"--http=:8000 -w shop:app -p4 -MT --master --vacuum", "bind=:8000\nworkers=4\napp=shop:app", ""},
		{"shop.ini -p 2", "workers=2\nname=shop", ""},
		{"-p 2 --ini shop.ini", "workers=5\nname=shop", ""},
		{"shop.ini:prod", "threads=7", ""},
		{"-H venv -C600 -t 5 -R 100 -z 9 -b 32768", "python.exe=DIR/venv/bin/python3\nsocket_mode=0600\nrequest_timeout=5s\nmax_requests=100\nbody_timeout=9s\nhead_bytes=32KiB", ""},
		{"--http-keepalive --chmod-socket --threads 2", "socket_mode=0666\nthreads=2", ""},
		{"--set-placeholder x=3 --threads %(x)", "threads=3", ""},
		{"-S threads=3", "threads=3", ""},
		{"--proceses 3", "", "flag --proceses: proceses: no uWSGI option that isbjorn knows; did you mean processes?"},
		{"-p 2 /dev/zero", "", "argument /dev/zero: uWSGI does nothing"}, {"--threads @(/dev/zero)", "", "flag --threads: threads = \"\\x00"},
		{"--processes", "", "flag --processes: has no value"},
		{"-p x", "", `flag --processes: processes = "x": a number`},
		{"-q", "", "argument -q: no uWSGI option"},
		{"shop", "", "argument shop: uWSGI does nothing with this argument; write --module NAME, or --ini FILE"},
		{"--emperor /etc/x", "", `flag --emperor: emperor = "/etc/x": isbjorn has nothing like it; write a unit`},
		{"--wsgi-file a.py --callable app --die-on-term", "app=a.py:app", ""},
	} {
		d := CommandLine(strings.Fields(tt.args))
		if got := strings.TrimSpace(given(d)); tt.said == "" && got != replace(tt.want) {
			t.Errorf("%s\ngives %q, want %q", tt.args, got, replace(tt.want))
		}
		if got := said(d, false); tt.said == "" && got != "" || !strings.Contains(strings.ReplaceAll(got, "argument -q", "flag -q"), strings.ReplaceAll(tt.said, "argument -q", "flag -q")) {
			t.Errorf("%s\nsays %s\nwant %s", tt.args, got, tt.said)
		}
	}
}

// listed are the options of uWSGI that this project promises a verdict for.
const listed = `module wsgi callable wsgi-file file http http-socket http11-socket socket uwsgi-socket chmod-socket
chown-socket listen processes workers p cheaper cheaper-initial cheaper-step threads enable-threads lazy lazy-apps
harakiri worker-reload-mercy reload-mercy http-keepalive http-timeout socket-timeout max-requests max-requests-delta
max-worker-lifetime reload-on-rss evil-reload-on-rss buffer-size limit-post post-buffering http-enable-proxy-protocol
chdir pythonpath pp home virtualenv pyhome env uid gid umask daemonize logto pidfile safe-pidfile pidfile2
procname-prefix auto-procname disable-logging log-format req-logger log-slow log-maxsize log-backupname static-map
check-static py-autoreload touch-reload touch-chain-reload hook-asap hook-post-fork https stats stats-http master vacuum
die-on-term single-interpreter thunder-lock need-app no-orphans memory-report offload-threads ignore-sigpipe
disable-write-exception plugins plugin strict emperor spooler spooler-processes mule mules cron cron2 unique-cron route
route-uri route-run attach-daemon attach-daemon2 smart-attach-daemon cache2 legion legion-node async log-4xx log-5xx for
for-glob if-env if-exists else ini include set gevent python-autoreload protocol`

// Every option of the list has a verdict, and every verdict is one alone.
func TestVerdicts(t *testing.T) {
	for _, name := range strings.Fields(listed) {
		if !known(name) {
			t.Errorf("%s has no verdict", name)
		}
	}
	for _, v := range Verdicts() {
		if v.Text == "" {
			t.Errorf("the verdict on %s is empty", v.Name)
		}
		if v.Kind == foreign.Mapped && options[v.Name].set == nil && options[v.Name].keys == "" && settingOf(v.Name) == nil {
			t.Errorf("nothing is done for %s", v.Name)
		}
	}
	for _, list := range [][]string{switches, optional} {
		for _, name := range list {
			if slices.Contains(switches, name) && slices.Contains(optional, name) {
				t.Errorf("%s has a value and has none", name)
			}
			if !known(name) {
				t.Errorf("%s is a flag and has no verdict", name)
			}
		}
	}
	for letter, name := range shorts {
		if !known(name) {
			t.Errorf("-%c is %s, which has no verdict", letter, name)
		}
	}
}
