package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/settings"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// asCommand is the environment variable that makes this test binary the command.
const asCommand = "TEST_ISBJORN_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	testrun.Together(6) // most wait for a process
	os.Exit(m.Run())
}

// waitTime is how long a process may take on a busy machine.
const waitTime = time.Minute

// command is the command in a directory of its own, with the environment of the test and env.
func command(t testing.TB, dir string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitTime)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	for _, pair := range os.Environ() { // without what an operator of this machine has set
		if name, _, _ := strings.Cut(pair, "="); name != "PORT" && name != "WEB_CONCURRENCY" && !strings.HasPrefix(name, "ISBJORN_") {
			cmd.Env = append(cmd.Env, pair)
		}
	}
	cmd.Env = append(append(cmd.Env, asCommand+"=1"), env...)
	return cmd
}

// run runs the command to its end.
func run(t testing.TB, dir string, env []string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := command(t, dir, env, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// running is a command that serves.
type running struct {
	*exec.Cmd
	url    string
	lines  chan string // of standard output
	stderr *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start starts the command and waits until it listens.
func start(t testing.TB, dir string, env []string, args ...string) *running {
	t.Helper()
	return startCommand(t, command(t, dir, env, args...))
}

// startCommand is start of a command that is made.
func startCommand(t testing.TB, cmd *exec.Cmd) *running {
	t.Helper()
	r := &running{Cmd: cmd, lines: make(chan string, 64), stderr: &syncBuffer{}}
	r.Stderr = r.stderr
	stdout, err := r.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Process.Kill() })
	go func() {
		defer close(r.lines)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			r.lines <- lines.Text()
		}
	}()
	r.url = strings.TrimPrefix(r.says(t, "listening on "), "listening on ")
	return r
}

// says returns the next line of standard output, which begins with prefix.
func (r *running) says(t testing.TB, prefix string) string {
	t.Helper()
	line, ok := <-r.lines
	if !ok || !strings.HasPrefix(line, prefix) {
		t.Fatalf("it says %q, want %q...; on standard error:\n%s", line, prefix, r.stderr)
	}
	return line
}

// stop ends it by SIGTERM, in order.
func (r *running) stop(t testing.TB) {
	t.Helper()
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.says(t, "stopping")
	if line, more := <-r.lines; more {
		t.Errorf("after that it says %q", line)
	}
	if err := r.Wait(); err != nil {
		t.Errorf("%v; on standard error:\n%s", err, r.stderr)
	}
}

func get(t testing.TB, url string) (status int, content string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// write makes files, by their names with "/".
func write(t testing.TB, dir string, files map[string]string) string {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A directory is served; the settings of the section apply; SIGTERM ends it in order.
func TestStatic(t *testing.T) {
	t.Parallel()
	dir := write(t, t.TempDir(), map[string]string{
		"www/index.html": "home", "www/app.3f2a91bc.js": "js", "www/404.html": "not here", "www/a/x.txt": "x",
		"none.toml": "static.index = []\n", "isbjorn.toml": "[static]\nimmutable = true\ncache = '1h'\nlisting = true\n[static.error_pages]\n404 = '404.html'\n",
	})
	r := start(t, dir, nil, "static", "www", "-b", "127.0.0.1:0", "--log-access", "-", "--log-format", "json")
	if status, content := get(t, r.url); status != 200 || content != "home" {
		t.Errorf("%d %q", status, content)
	}
	if status, content := get(t, r.url+"/nothing"); status != 404 || content != "not here" {
		t.Errorf("%d %q", status, content)
	}
	if status, content := get(t, r.url+"/a/"); status != 200 || !strings.Contains(content, "x.txt") {
		t.Errorf("%d %q", status, content)
	}
	for path, want := range map[string]string{"/app.3f2a91bc.js": "public, max-age=31536000, immutable", "/a/x.txt": "max-age=3600"} {
		resp, err := http.Get(r.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Cache-Control"); got != want {
			t.Errorf("%s: Cache-Control is %q, want %q", path, got, want)
		}
	}
	for i := range 5 { // all at once: the lines are written a second after the first
		line := r.says(t, "{")
		for _, want := range []string{`"target":"/"`, `"status":200`, `"method":"GET"`} {
			if i == 0 && !strings.Contains(line, want) {
				t.Errorf("the access log has %s, want %s", line, want)
			}
		}
	}
	r.stop(t)
	if none := start(t, dir, nil, "static", "www", "-b", "127.0.0.1:0", "-c", "none.toml"); true {
		if status, content := get(t, none.url); status != 404 || content == "home" {
			t.Errorf("without an index: %d %q", status, content)
		}
		none.stop(t)
	}
	if log := r.stderr.String(); log != "isbjorn: settings of ./isbjorn.toml\n" {
		t.Errorf("on standard error:\n%s", log)
	}
}

// With a certificate the address is for TLS, and HTTP/2 is spoken there; http:// beside it stays plain.
// SIGUSR1 has the logs opened by their names again, behind a rotation.
func TestReopen(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "starts processes")
	dir := write(t, t.TempDir(), map[string]string{"www/a.txt": "a"})
	r := start(t, dir, nil, "static", "www", "-b", "127.0.0.1:0", "--log-access", "access.log")
	has := func(file, text string) {
		t.Helper()
		for deadline := time.Now().Add(waitTime); ; time.Sleep(5 * time.Millisecond) {
			b, _ := os.ReadFile(filepath.Join(dir, file))
			if strings.Contains(string(b), text) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s has %q, and not %s", file, b, text)
			}
		}
	}
	get(t, r.url+"/a.txt?1")
	has("access.log", "/a.txt?1")
	if err := os.Rename(filepath.Join(dir, "access.log"), filepath.Join(dir, "old.log")); err != nil {
		t.Fatal(err)
	}
	get(t, r.url+"/a.txt?2")
	has("old.log", "/a.txt?2")
	if err := r.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	has("access.log", "") // it is there
	for n := 3; ; n++ {
		get(t, fmt.Sprintf("%s/a.txt?%d", r.url, n))
		if b, err := os.ReadFile(filepath.Join(dir, "access.log")); err == nil && len(b) > 0 {
			break
		}
		if n == 1000 {
			t.Fatal("the new file gets no lines")
		}
	}
	r.stop(t)
}

func TestStaticTLS(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "starts processes")
	dir := write(t, t.TempDir(), map[string]string{"www/index.html": "home"})
	certificate(t, dir)
	r := start(t, dir, nil, "static", "www", "-b", "127.0.0.1:0", "-b", "http://127.0.0.2:0", "--tls-cert", "cert.pem", "--tls-key", "key.pem")
	plain := strings.TrimPrefix(r.says(t, "listening on http://"), "listening on ")
	if _, content := get(t, plain); content != "home" {
		t.Errorf("%q", content)
	}
	for major, version := range map[int]uint16{2: tls.VersionTLS13, 1: tls.VersionTLS12} {
		client := http.Client{Transport: &http.Transport{ForceAttemptHTTP2: major == 2, DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MaxVersion: version}}}
		resp, err := client.Get(r.url)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.ProtoMajor != major || resp.TLS.Version != version || string(content) != "home" || err != nil {
			t.Errorf("%s %x %q %v", resp.Proto, resp.TLS.Version, content, err)
		}
	}
	r.stop(t)
}

// certificate makes cert.pem and key.pem, for 127.0.0.1.
func certificate(t testing.TB, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(100 * 24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{
		"cert.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"key.pem":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
	})
}

// A restart by SIGUSR2 keeps the address, and reads the settings again.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := write(t, t.TempDir(), map[string]string{"a/index.html": "a", "b/index.html": "b", "isbjorn.toml": "static.root = 'a'"})
	r := start(t, dir, nil, "static", "-b", "127.0.0.1:0")
	if _, content := get(t, r.url); content != "a" {
		t.Errorf("%q", content)
	}
	write(t, dir, map[string]string{"isbjorn.toml": "static.root = 'b'"})
	if err := r.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	r.says(t, "restarting")
	r.says(t, "listening on "+r.url)
	r.says(t, "stopping")
	if err := r.Process.Release(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(waitTime); ; { // the old process may accept until it has released its listeners
		http.DefaultClient.CloseIdleConnections()
		_, content := get(t, r.url)
		if content == "b" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q", content)
		}
	}
	h, ok := holderOf(portOf(t, r.url))
	if !ok {
		t.Skip("who listens on a port is not known here, so the new process is left alone")
	}
	if err := syscall.Kill(h.pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.says(t, "stopping")
}

func portOf(t testing.TB, url string) int {
	_, port, ok := tcpAddress(url)
	if !ok {
		t.Fatalf("%s has no port", url)
	}
	return port
}

// An upstream is served; its errors are those of a gateway, and the log names it.
func TestProxy(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "starts processes")
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s for %s, host %s", r.Method, r.URL, r.Header.Get("X-Forwarded-For"), r.Host)
	})}
	go s.Serve(upstream)
	r := start(t, t.TempDir(), nil, "proxy", "http://"+upstream.Addr().String(), "-b", "127.0.0.1:0", "--host=upstream")
	if status, content := get(t, r.url+"/a%2Fb?c"); status != 200 || content != "GET /a%2Fb?c for 127.0.0.1, host "+upstream.Addr().String() {
		t.Errorf("%d %q", status, content)
	}
	s.Close()
	if status, _ := get(t, r.url); status != 502 {
		t.Errorf("status %d", status)
	}
	r.stop(t)
	if log := r.stderr.String(); !strings.Contains(log, upstream.Addr().String()) {
		t.Errorf("on standard error:\n%s", log)
	}
}

// PORT of a platform is the address for all clients, unless another one was chosen; then a line says so.
func TestPortOfPlatform(t *testing.T) {
	t.Parallel()
	dir := write(t, t.TempDir(), map[string]string{"index.html": ""})
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint(free.Addr().(*net.TCPAddr).Port)
	free.Close()
	env := []string{"PORT=" + port}
	r := start(t, dir, env, "static", ".")
	if r.url != "http://0.0.0.0:"+port {
		t.Errorf("listening on %s", r.url)
	}
	r.stop(t)
	write(t, dir, map[string]string{"isbjorn.toml": "\n\nbind = '127.0.0.1:0'\n"})
	r = start(t, dir, env, "static", ".")
	if !strings.HasPrefix(r.url, "http://127.0.0.1:") {
		t.Errorf("listening on %s", r.url)
	}
	r.stop(t)
	want := "env PORT: hint: PORT=" + port + " is not used: bind is set by isbjorn.toml:3\n"
	if log := r.stderr.String(); !strings.HasSuffix(log, want) {
		t.Errorf("on standard error:\n%s\nwant\n%s", log, want)
	}
}

// All mistakes are said at once, and nothing is started: no socket is opened.
func TestMistakes(t *testing.T) {
	t.Parallel()
	dir := write(t, t.TempDir(), map[string]string{"isbjorn.toml": "worker = 8\nworkers = \"eight\"\n[log]\nacces = \"-\"\n"})
	want := `isbjorn: settings of ./isbjorn.toml
isbjorn.toml:1:1: worker: unknown key; did you mean workers?
    1 | worker = 8
      | ^^^^^^
isbjorn.toml:2:11: workers = "eight": must be a number from 1 to 1048576, or "auto"
    2 | workers = "eight"
      |           ^^^^^^^
isbjorn.toml:4:1: log.acces: unknown key; did you mean log.access?
    4 | acces = "-"
      | ^^^^^
3 mistakes; nothing was started.
`
	stdout, stderr, status := run(t, dir, nil, "static", ".")
	if stdout != "" || stderr != want || status != 2 {
		t.Errorf("%d %q\n%s", status, stdout, stderr)
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("system calls are not looked at: there is no strace (Debian package strace)")
	}
	cmd := command(t, dir, nil, "static", ".")
	cmd.Args = append([]string{strace, "-f", "-qq", "-e", "trace=%network", "-o", filepath.Join(dir, "trace")}, cmd.Args...)
	cmd.Path = strace
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 2 {
		t.Skipf("strace does not work here: %v", err)
	}
	if trace, err := os.ReadFile(filepath.Join(dir, "trace")); err != nil || strings.Contains(string(trace), "socket(") {
		t.Errorf("%v, it calls\n%s", err, trace)
	}
}

// A value is that of the flag before the variable before the file, and what is printed gives the same again.
func TestPrintConfig(t *testing.T) {
	t.Parallel()
	dir := write(t, t.TempDir(), map[string]string{"isbjorn.toml": "request_timeout = 5\nserver_header = \"a \\\"b\\\"\"\n"})
	env := []string{"ISBJORN_REQUEST_TIMEOUT=7", "ISBJORN_IDLE_TIMEOUT=90"}
	if err := os.Mkdir(filepath.Join(dir, "public"), 0o755); err != nil {
		t.Fatal(err)
	}
	first, _, status := run(t, dir, env, "static", "public", "--timeout", "9", "--print-config")
	for _, line := range []string{"request_timeout = \"9s\" # flag --request-timeout\n", "idle_timeout = \"1m30s\" # env ISBJORN_IDLE_TIMEOUT\n",
		`server_header = "a \"b\"" # isbjorn.toml:2` + "\n", "head_timeout = \"10s\" # default\n", "root = \"public\" # argument DIR\n"} {
		if !strings.Contains(first, line) {
			t.Errorf("no %s", line)
		}
	}
	write(t, dir, map[string]string{"printed.toml": first})
	second, stderr, again := run(t, dir, nil, "static", "-c", "printed.toml", "--print-config")
	if status != 0 || again != 0 || withoutSources(first) != withoutSources(second) {
		t.Errorf("%d\n%s%d %s\n%s", status, first, again, stderr, second)
	}
}

func withoutSources(printed string) string {
	var b strings.Builder
	for line := range strings.Lines(printed) {
		if i := strings.LastIndex(line, " # "); i >= 0 {
			line = line[:i] + "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// check says what is wrong, or ok.
func TestCheck(t *testing.T) {
	t.Parallel()
	dir := write(t, t.TempDir(), map[string]string{
		"www/index.html": "", "good.toml": "bind = '127.0.0.1:0'\n[static]\nroot = 'www'\n",
		"two.toml": "app = 'a:b'\n[static]\nroot = 'www'\n", "empty.toml": "", "proxy.toml": "bind='127.0.0.1:0'\n[proxy]\nto = 'http://127.0.0.1:1'",
		"bad.toml": "[static]\nroot = 'www'\nspa = 'app.html'\n[log]\naccess = 'logs/access.log'\n[tls]\ncert = 'good.toml'\nkey = 'good.toml'\n",
		"run.toml": "app = 'shop:app'\nworkers = 8\nbind = '127.0.0.1:0'\npython.path = ['lib']\n",
	})
	for _, tt := range []struct {
		args           string
		stdout, stderr string // parts
		status         int
	}{
		{"-c missing.toml", "", "missing.toml: no such file\n1 mistake", 2},
		{"good.toml", "ok\n", "", 0},
		{"-c good.toml", "ok\n", "", 0},
		{"static www -b 127.0.0.1:0", "ok\n", "", 0},
		{"static nothing -b 127.0.0.1:0", "", `argument DIR: static.root = "nothing": no such file or directory`, 2},
		{"static www --listin", "", "did you mean --listing?", 2},
		{"two.toml", "", "two.toml has [static] and app; name the command", 2},
		{"static -c two.toml -b 127.0.0.1:0", "ok\n", "two.toml:1: hint: app: not used by isbjorn static", 0},
		{"--strict static -c two.toml -b 127.0.0.1:0", "", "app: not used", 2},
		{"empty.toml", "", "no application", 2},
		{"proxy.toml", "ok\n", "proxy.toml:3: hint: proxy.to: http://127.0.0.1:1 does not accept connections now", 0},
		{"bad.toml", "", "bad.toml:5: log.access: there is no directory logs; mkdir -p logs\n", 2},
		{"bad.toml", "", `bad.toml:3: static.spa = "app.html": www/app.html: no such file or directory; name a file of the directory`, 2},
		{"bad.toml", "", "certificate good.toml with key good.toml: tls: failed to find any PEM data", 2},
		{"run.toml", "", "run.toml:4: python.path: lib: no such file or directory\n1 mistake", 2},
		{"static www --temp-bytes 1 --print-config", "", "temp_bytes is 1", 2},
		{"static www -b 127.0.0.1:0 --temp-dir /dev/null/x", "", "temp_dir = \"/dev/null/x\": not a directory\n1 mistake", 2},
		{"good.toml bad.toml", "", "one file is checked at a time", 2},
		{"static www -b 127.0.0.1:99999", "", "use a number from 0 to 65535", 2},
		{"static www -b 192.0.2.1:0", "", "192.0.2.1 is no address of this machine", 2},
	} {
		stdout, stderr, status := run(t, dir, nil, append([]string{"check"}, strings.Fields(tt.args)...)...)
		if stdout != tt.stdout || !strings.Contains(stderr, tt.stderr) || status != tt.status {
			t.Errorf("check %s: %d %q\n%s", tt.args, status, stdout, stderr)
		}
	}
	before, _, _ := run(t, dir, nil, "check", "--print-config", "static", "www")
	if behind, _, status := run(t, dir, nil, "check", "static", "www", "--print-config"); status != 0 || behind != before || !strings.Contains(behind, "root = \"www\"") {
		t.Errorf("%d %s\nwant %s", status, behind, before)
	}
	stdout, _, status := run(t, dir, nil, "check", "--json", "bad.toml")
	var list []jsonMistake
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || status != 2 || len(list) != 3 || list[2].File != "bad.toml" || list[2].Line != 5 || *list[1].Value != "app.html" || list[0].Severity != "error" {
		t.Errorf("%d %v\n%s", status, err, stdout)
	}
}

// What convert prints is right, and gives what the foreign file gives.
func TestConvert(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "starts processes")
	dir := write(t, t.TempDir(), map[string]string{
		"logs/x": "", "service.py": "", "uwsgi.ini": "[uwsgi]\nhttp = $(HOSTNAME):9033\nhttp-keepalive = 1\npythonpath = ../\nmodule = service\nmaster = 1\n" +
			"processes = 8\ndaemonize = logs/uwsgi.log\ndisable-logging = 1\nbuffer-size = 16384\nharakiri = 5\npidfile = uwsgi.pid\nstats = $(HOSTNAME):1733\n",
		"gunicorn.conf.py": "import multiprocessing\nport = 8001\nbind = f'127.0.0.1:{port}'\nworkers = multiprocessing.cpu_count() * 2 + 1\ntimeout = 7\nwsgi_app = 'shop:app'\n",
	})
	python, _ := exec.LookPath("python3")
	for _, file := range []string{"uwsgi.ini", "gunicorn.conf.py"} {
		if python == "" && strings.HasSuffix(file, ".py") {
			t.Log("gunicorn.conf.py is left out: there is no python3 (Debian package python3)")
			continue
		}
		env := []string{"HOSTNAME=127.0.0.1"}
		toml, stderr, status := run(t, dir, env, "convert", file)
		if status != 0 {
			t.Fatalf("%s: %d %s", file, status, stderr)
		}
		write(t, dir, map[string]string{"i.toml": toml})
		if stdout, stderr, status := run(t, dir, env, "check", "i.toml"); status != 0 || stdout != "ok\n" {
			t.Errorf("%s: the check of what it becomes: %d %s%s\n%s", file, status, stdout, stderr, toml)
		}
		if stdout, stderr, status := run(t, dir, env, "check", file); status != 0 || stdout != "ok\n" {
			t.Errorf("%s: its check: %d %s%s", file, status, stdout, stderr)
		}
		foreign, _, _ := run(t, dir, env, "check", "--print-config", file)
		ours, stderr, status := run(t, dir, env, "check", "--print-config", "i.toml")
		if status != 0 || withoutSources(foreign) != withoutSources(ours) || foreign == ours {
			t.Errorf("%s gives\n%s\nand what it becomes\n%s%s", file, foreign, ours, stderr)
		}
	}
	if _, stderr, status := run(t, dir, nil, "convert"); status != 2 || !strings.Contains(stderr, "isbjorn convert") {
		t.Errorf("%d %s", status, stderr)
	}
	if stdout, stderr, status := run(t, dir, nil, "convert", "--", "gunicorn", "-w4", "-b", ":8000", "shop:app"); status != 0 || !strings.Contains(stdout, "workers = 4\n") {
		t.Errorf("%d %s%s", status, stdout, stderr)
	}
}

// An address in use is named with the process that has it, by check and at the start.
func TestInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr, dir := l.Addr().String(), t.TempDir()
	want := fmt.Sprintf("pid %d", os.Getpid())
	if _, ok := holderOf(l.Addr().(*net.TCPAddr).Port); !ok {
		want = "in use"
	}
	for status, args := range map[int][]string{1: {"static", ".", "-b", addr}, 2: {"check", "static", ".", "-b", addr}} {
		if _, stderr, got := run(t, dir, nil, args...); got != status || !strings.Contains(stderr, addr) || !strings.Contains(stderr, want) {
			t.Errorf("%v: %d %s", args, got, stderr)
		}
	}
}

// The help of each command fits a terminal of 24 lines and 80 columns; --help-all has every key that it reads.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--help"}, {"help"}, {"static", "--help"}, {"proxy", "-h"}, {"check", "--help"}, {"convert", "--help"}, {"systemd", "--help"},
		{"completion", "--help"}, {"version", "--help"}, {"help", "static"}} {
		stdout, stderr, status := run(t, t.TempDir(), nil, args...)
		if status != 0 || stderr != "" || strings.Count(stdout, "\n") > 24 || !strings.Contains(stdout, "Usage: isbjorn") {
			t.Errorf("%v: %d, %d lines\n%s%s", args, status, strings.Count(stdout, "\n"), stdout, stderr)
		}
		for line := range strings.Lines(stdout) {
			if len(line) > 81 {
				t.Errorf("%v: %d columns: %s", args, len(line)-1, line)
			}
		}
	}
	for _, c := range []settings.Command{settings.Static, settings.Proxy} {
		stdout, _, _ := run(t, t.TempDir(), nil, c.String(), "--help-all")
		for _, s := range settings.Of(c) {
			if !strings.Contains(stdout, "--"+s.Flag(c)+" ") {
				t.Errorf("%v --help-all has no --%s", c, s.Flag(c))
			}
		}
	}
	if stdout, _, status := run(t, t.TempDir(), nil, "help", "harakiri"); status != 0 || !strings.Contains(stdout, "request_timeout") {
		t.Errorf("%d %s", status, stdout)
	}
	for text, want := range map[string]string{
		"statik": "did you mean static?", "stat": "did you mean static or status?", "x": "isbjorn --help lists them", "static a b": "one directory is served",
		"help idle_timout": "did you mean idle_timeout?", "help HEAD": "did you mean head_timeout, head_bytes or server_header?",
		"static --cert x": "did you mean --tls-cert?", "version x": `unexpected argument "x"; isbjorn version takes none`,
		"help static x": `unexpected argument "x"; isbjorn help takes one command or setting`, "completion": "needs the name of a shell: bash, zsh",
		"completion foo": "needs the name of a shell: bash, zsh", "completion bash x": "isbjorn completion takes one shell",
	} {
		if stdout, stderr, status := run(t, t.TempDir(), nil, strings.Fields(text)...); status != 2 || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: %d %s", text, status, stderr)
		}
	}
	for _, args := range []string{"version", "--version", "-v"} {
		if stdout, _, status := run(t, t.TempDir(), nil, args); status != 0 || !strings.HasPrefix(stdout, "isbjorn ") || !strings.Contains(stdout, runtime.Version()) {
			t.Errorf("%s: %d %s", args, status, stdout)
		}
	}
	stdout, _, _ := run(t, t.TempDir(), nil, "--help")
	columns := map[int]bool{}
	for _, c := range newRoot().Commands() {
		columns[strings.Index("\n"+stdout, c.Short)-strings.LastIndex(stdout[:strings.Index(stdout, c.Short)], "\n")] = true
	}
	if len(columns) != 1 {
		t.Errorf("the column of the commands' help is not one:\n%s", stdout)
	}
}

// Messages have the keys of an operator, and no options of Go; files that pages need are looked for at the start.
func TestRefusedInKeys(t *testing.T) {
	t.Parallel()
	dir := write(t, t.TempDir(), map[string]string{"www/index.html": "home", "empty.pem": ""})
	for text, want := range map[string]string{
		"proxy foo":                        `argument URL: proxy.to = "foo": the scheme is missing or unknown; use http://`,
		"proxy http://a:99999":             `argument URL: proxy.to = "http://a:99999": the port is no number from 1 to 65535; use http://host:port`,
		"proxy http://a:0":                 "the port is no number",
		"proxy http://a http://a":          `proxy.to has "http://a" twice; leave one of them out (proxy.to = ["http://a", "http://a"] by argument URL)`,
		"proxy http://a --health-path x":   `flag --health-path: proxy.health_path = "x": use a path such as /health`,
		"proxy http://a --upgrade h2c":     `flag --upgrade: proxy.upgrade = "h2c": its requests would pass unseen`,
		"proxy http://a --ca empty.pem":    `flag --ca: proxy.ca = "empty.pem": has no certificate in PEM`,
		"static www --temp-bytes 1":        `temp_bytes is 1; use at least body_bytes (1048576), so that any accepted content fits, or "none" for no bound (temp_bytes = "1" by flag --temp-bytes)`,
		"static www --spa a.html":          `flag --spa: static.spa = "a.html": www/a.html: no such file or directory; name a file of the directory that can be read, or leave the setting out`,
		"static www --spa ../a.html":       `static.spa = "../a.html": the file must be one of the directory`,
		"static www --error-pages 404=.":   `flag --error-pages: static.error_pages = "404=.": www: not a regular file`,
		"static www --error-pages 404=a":   `static.error_pages = "404=a": www/a: no such file or directory`,
		"static www --trusted-proxies x":   `trusted_proxies = "x": must be an address`,
		"static empty.pem":                 `static.root = "empty.pem": not a directory`,
		"static www --head-timeout=":       `flag --head-timeout: head_timeout = "": must be a duration over 0, such as`,
		"static www --listing=":            `flag --listing: static.listing = "": must be true or false`,
		"static www --index=":              `flag --index: static.index = "": must not be empty`,
		"static www --tls-client-auth x":   `tls.client_auth = "x": must be one of require, request`,
		"static www --spa a.html --config": "flag needs an argument: --config; isbjorn static --help lists the flags",
	} {
		words := strings.Fields(text)
		words = slices.Insert(words, 1, "-b", "127.0.0.1:0")
		_, stderr, status := run(t, dir, nil, words...)
		if status != 2 || !strings.Contains(stderr, want) || regexp.MustCompile(`option [A-Z]`).MatchString(stderr) {
			t.Errorf("%s: %d %s\nwant %s", text, status, stderr, want)
		}
	}
}

// A shell completes flags and words of settings.
func TestCompletion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if stdout, _, status := run(t, dir, nil, "completion", shell); status != 0 || !strings.Contains(stdout, "isbjorn") {
			t.Errorf("%s: %d", shell, status)
		}
	}
	const functions = "/usr/share/bash-completion/bash_completion"
	if _, err := os.Stat(functions); err != nil {
		t.Skip("bash itself is not asked: there is no " + functions + " (Debian package bash-completion)")
	}
	script, _, _ := run(t, dir, nil, "completion", "bash")
	write(t, dir, map[string]string{"completion": script})
	program, _ := os.Executable()
	if err := os.Symlink(program, filepath.Join(dir, "isbjorn")); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"isbjorn static --req": "--request-timeout", "isbjorn pro": "proxy", "isbjorn proxy --balance r": "round_robin", "isbjorn help idle_t": "idle_timeout",
	} {
		words := strings.Fields(line)
		cmd := exec.Command("bash", "-c", fmt.Sprintf(`source %s; source ./completion
			COMP_WORDS=(%s) COMP_CWORD=%d COMP_LINE=%q COMP_POINT=%d COMP_TYPE=9
			__start_isbjorn; printf '%%s\n' "${COMPREPLY[@]}"`, functions, line, len(words)-1, line, len(line)))
		cmd.Dir, cmd.Env = dir, append(os.Environ(), asCommand+"=1", "PATH="+dir+":"+os.Getenv("PATH"))
		out, err := cmd.Output()
		if got, _, _ := strings.Cut(string(out), " "); err != nil || strings.TrimSpace(got) != want {
			t.Errorf("%s: %v %q, want %s", line, err, out, want)
		}
	}
}

// The unit runs what was checked; systemd takes it.
func TestSystemd(t *testing.T) {
	t.Parallel()
	dir := write(t, t.TempDir(), map[string]string{"a b/index.html": ""})
	stdout, stderr, status := run(t, dir, nil, "systemd", "static", "a b", "-b", "127.0.0.1:0", "--server-header", `100% "$x"`)
	if status != 0 || !strings.Contains(stdout, ` static "a b" -b 127.0.0.1:0 --server-header "100%% \"$$x\""`+"\n") || !strings.Contains(stdout, "WorkingDirectory="+dir) {
		t.Errorf("%d %s\n%s", status, stderr, stdout)
	}
	for text, want := range map[string]string{"static nothing": "no such file", "check x": "no command that serves", "static a --bin x": "unknown flag", "static": "no directory",
		"static . --print-config": "leave --print-config"} {
		if _, stderr, status := run(t, dir, nil, append([]string{"systemd"}, strings.Fields(text)...)...); status != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%s: %d %s", text, status, stderr)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd does not look at it: there is no systemd-analyze (Debian package systemd)")
	}
	write(t, dir, map[string]string{"www.service": stdout})
	if out, err := exec.Command(analyze, "verify", "--man=no", filepath.Join(dir, "www.service")).CombinedOutput(); err != nil && strings.Contains(string(out), "www.service") {
		t.Errorf("%v\n%s", err, out)
	}
}

// The programs stay small: a megabyte is a million bytes.
func TestSize(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("links two programs")
	}
	dir := t.TempDir()
	for target, most := range map[string]int64{".": 13_000_000, "../../examples/hello": 6_500_000} {
		file := filepath.Join(dir, filepath.Base(target)+"_")
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, target)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if t.Logf("%s has %d bytes", target, info.Size()); info.Size() > most {
			t.Errorf("%s has %d bytes, and %d are the most", target, info.Size(), most)
		}
	}
}
