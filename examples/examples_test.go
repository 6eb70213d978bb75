package examples_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/isbjorn/isbjorn/server" // what the programs are made of: go test must not answer from its cache when it changes
)

// checks are what is true of each example, on every kind of address; on Unix sockets
// they run under gateway.Validate.
var checks = map[string]func(t *testing.T, p *program){
	"hello":   checkHello,
	"echo":    checkEcho,
	"environ": checkEnviron,
	"stream":  checkStream,
	"clock":   checkClock,
	"upload":  checkUpload,

	"files":      checkFiles,
	"middleware": checkMiddleware,
	"router":     checkRouter,
}

// flags are those that an example needs for its check, besides -addr.
var flags = map[string]func(t *testing.T) []string{
	"files": func(t *testing.T) []string {
		dir := t.TempDir()
		for name, content := range map[string]string{"file.txt": fileText, "index.html": "<p>index", ".hidden": "hidden"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return []string{"-dir", dir}
	},
	"middleware": func(t *testing.T) []string { return []string{"-log", filepath.Join(t.TempDir(), "log")} },
}

// fileText is more than a server reads of a file at once.
var fileText = strings.Repeat("0123456789", 50_000)

// patience is how long anything may take that takes no time.
const patience = 10 * time.Second

func TestExamples(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it builds the examples and starts them")
	}
	sources, err := filepath.Glob("*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		if _, err := os.ReadFile(source); err != nil { // read also for the cache of go test
			t.Fatal(err)
		}
		if name := filepath.Dir(source); checks[name] == nil {
			t.Errorf("the example %s is not among the checks", name)
		}
	}
	bin, validated := build(t), build(t, "-overlay", underValidate(t))
	for name, check := range checks {
		path := filepath.Join(bin, name)
		extra := flags[name]
		if extra == nil {
			extra = func(*testing.T) []string { return nil }
		}
		t.Run(name+"/tcp", func(t *testing.T) {
			t.Parallel()
			p := run(t, path, "127.0.0.1:0", extra(t)...)
			check(t, p)
			p.stop(syscall.SIGTERM)
			if c, err := net.Dial("tcp", p.addr); err == nil {
				_ = c.Close()
				t.Errorf("%s still accepts connections", p.addr)
			}
		})
		t.Run(name+"/unix", func(t *testing.T) {
			t.Parallel()
			socket := filepath.Join(shortDir(t), "s")
			p := run(t, filepath.Join(validated, name), "unix:"+socket, extra(t)...)
			if p.addr != socket {
				t.Errorf("it listens on %q, want %q", p.addr, socket)
			}
			check(t, p)
			p.stop(syscall.SIGINT)
			if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the socket is still there: %v", err)
			}
		})
	}
	t.Run("bad addresses", func(t *testing.T) {
		t.Parallel()
		checkBadAddresses(t, filepath.Join(bin, "hello"))
	})
	t.Run("bad arguments", func(t *testing.T) {
		t.Parallel()
		checkBadArguments(t, filepath.Join(bin, "hello"))
	})
}

// build builds all examples, and returns where they are.
func build(t *testing.T, flags ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	args := append([]string{"build", "-o", dir + string(filepath.Separator)}, flags...)
	for name := range checks {
		args = append(args, "./"+name)
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return dir
}

// underValidate is an overlay for go build with which server.Main puts its application
// into gateway.Validate: a rule that either side breaks is then a failed response, and
// a line that stderr is not to have.
func underValidate(t *testing.T) (overlay string) {
	t.Helper()
	path, err := filepath.Abs("../server/run.go")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const plain, wrapped = "New(app, options)", "New(gateway.Validate(app), options)"
	if bytes.Count(source, []byte(plain)) != 1 {
		t.Fatalf("%s has not one %s", path, plain)
	}
	dir := t.TempDir()
	replaced := filepath.Join(dir, "main.go")
	replace, _ := json.Marshal(map[string]any{"Replace": map[string]string{path: replaced}})
	overlay = filepath.Join(dir, "overlay.json")
	if err := errors.Join(os.WriteFile(replaced, bytes.Replace(source, []byte(plain), []byte(wrapped), 1), 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		t.Fatal(err)
	}
	return overlay
}

// shortDir is a directory whose name leaves room for a socket: 104 bytes are all
// that some kernels have for the whole path.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "isbjorn")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// program is an example that runs.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr bytes.Buffer
	lines  chan string   // of stdout
	exited chan struct{} // closed when it has, and stderr may be read
	err    error         // of Wait

	addr   string // where it listens: host:port or a path
	unix   bool
	warns  string // what the one line of stderr says; "" if there is to be none
	client *http.Client
}

// run starts an example, in a directory of its own, and waits until it listens. It
// ends with the test.
func run(t *testing.T, path, addr string, args ...string) *program {
	t.Helper()
	return runCommand(t, exec.Command(path, append(args, "-addr", addr)...))
}

// runCommand is run for a command line of its own.
func runCommand(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{t: t, cmd: cmd, lines: make(chan string, 16), exited: make(chan struct{})}
	p.cmd.Dir = t.TempDir()
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			p.lines <- lines.Text()
		}
		close(p.lines)
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // an error says that it has ended
		for range p.lines {      // those that nobody has read
		}
		<-p.exited
		if t.Failed() && p.stderr.Len() > 0 {
			t.Logf("stderr: %.2000s", p.stderr.String())
		}
	})

	listening := p.line()
	if rest, ok := strings.CutPrefix(listening, "listening on unix:"); ok {
		p.addr, p.unix = rest, true
	} else if p.addr, ok = strings.CutPrefix(listening, "listening on http://"); !ok {
		t.Fatalf("the first line is %q, want listening on ...", listening)
	}
	network := "tcp"
	if p.unix {
		network = "unix"
	}
	transport := &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, p.addr)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	p.client = &http.Client{Transport: transport, Timeout: patience}
	return p
}

// line is the next line of stdout.
func (p *program) line() string {
	p.t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			p.t.Fatal("no more lines: the program has ended")
		}
		return line
	case <-time.After(patience):
		p.t.Fatalf("no line within %v", patience)
	}
	return ""
}

// stop sends a signal and expects an orderly end.
func (p *program) stop(signal os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Fatalf("%v: %v", signal, err)
	}
	if line := p.line(); line != "stopping" {
		p.t.Errorf("after %v it says %q, want stopping", signal, line)
	}
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.t.Fatalf("still running %v after %v", patience, signal)
	}
	if p.err != nil { // nil is exit code 0
		p.t.Errorf("after %v: %v, want exit code 0", signal, p.err)
	}
	lines := 0
	if p.warns != "" {
		lines = 1
	}
	if got := p.stderr.String(); strings.Count(got, "\n") != lines || !strings.Contains(got, p.warns) {
		p.t.Errorf("stderr has not %d lines with %q: %.1000s", lines, p.warns, got)
	}
}

// url is a URL of the program for a target such as "/path?query".
func (p *program) url(target string) string {
	if p.unix {
		return "http://localhost" + target
	}
	return "http://" + p.addr + target
}

// do makes a request and reads all of the answer.
func (p *program) do(r *http.Request) (*http.Response, []byte) {
	p.t.Helper()
	resp, err := p.client.Do(r)
	if err != nil {
		p.t.Fatalf("%s: %v", r.Method, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatalf("%s: the content after %d bytes: %v", r.Method, len(b), err)
	}
	return resp, b
}

func (p *program) request(method, target string, content io.Reader) *http.Request {
	p.t.Helper()
	r, err := http.NewRequest(method, p.url(target), content)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func checkHello(t *testing.T, p *program) {
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"} {
		for _, target := range []string{"/", "/a/path", "/a%20path%2F?with=query", "/?" + strings.Repeat("q", 4000)} {
			for _, content := range []string{"", "content that nobody reads"} {
				if method == "HEAD" && content != "" {
					continue
				}
				resp, b := p.do(p.request(method, target, strings.NewReader(content)))
				want := "Hello, World!"
				if method == "HEAD" {
					want = ""
				}
				if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/plain" ||
					resp.Header.Get("Content-Length") != "13" || string(b) != want {
					t.Errorf("%s %.40s: %s, %v, %q; want 200, text/plain, 13, %q", method, target, resp.Status, resp.Header, b, want)
				}
			}
		}
	}
}

func checkEcho(t *testing.T, p *program) {
	random := rand.NewChaCha8([32]byte{1})
	for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "METHOD"} {
		for _, size := range []int{0, 1, 13, 1000, 16 << 10, 16<<10 + 1, 64 << 10, 64<<10 + 1, 300_000, 900 << 10} {
			content := make([]byte, size)
			_, _ = random.Read(content)
			for _, chunked := range []bool{false, true} {
				r := p.request(method, "/", bytes.NewReader(content))
				if chunked {
					r.ContentLength = -1
					r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(content[:size/3]), bytes.NewReader(content[size/3:])))
				}
				resp, b := p.do(r)
				if resp.StatusCode != 200 || resp.ContentLength != int64(size) || resp.Header.Get("Content-Type") != "application/octet-stream" {
					t.Errorf("%s of %d bytes, chunked %v: %s, %v", method, size, chunked, resp.Status, resp.Header)
				}
				if !bytes.Equal(b, content) {
					t.Errorf("%s of %d bytes, chunked %v: %d other bytes", method, size, chunked, len(b))
				}
			}
		}
	}
}

func checkEnviron(t *testing.T, p *program) {
	r := p.request("POST", "/a%20b/%C3%A5?and=query&x=%20", strings.NewReader("content"))
	r.Header["Content-Type"] = []string{"text/x-test"}
	r.Header["X-Field"] = []string{"first", "second"}
	r.Header["X_Hidden"] = []string{"hidden"}
	p.warns = "field=X_Hidden"
	r.Header["Proxy"] = []string{"hidden"}
	resp, b := p.do(r)
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" || resp.ContentLength != int64(len(b)) {
		t.Errorf("%s, %v", resp.Status, resp.Header)
	}

	text, ok := strings.CutSuffix(string(b), "\n")
	if !ok {
		t.Errorf("the last line does not end: %q", b)
	}
	lines := strings.Split(text, "\n")
	if !slices.IsSorted(lines) {
		t.Errorf("the lines are not sorted:\n%s", b)
	}
	got := map[string]string{}
	for _, line := range lines {
		key, value, ok := strings.Cut(line, " = ")
		if !ok || key == "" {
			t.Errorf("line %q, want key = value", line)
		}
		if _, twice := got[key]; twice {
			t.Errorf("the key %s is there twice", key)
		}
		got[key] = value
	}

	want := map[string]string{
		"REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": "/a b/\u00e5", "QUERY_STRING": "and=query&x=%20",
		"REQUEST_URI": "/a%20b/%C3%A5?and=query&x=%20", "RAW_URI": "/a%20b/%C3%A5?and=query&x=%20",
		"CONTENT_TYPE": "text/x-test", "CONTENT_LENGTH": "7", "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_SOFTWARE": "isbjorn",
		"HTTP_X_FIELD": "first, second", "HTTP_USER_AGENT": "Go-http-client/1.1",
		"wsgi.version": "[1 0]", "wsgi.url_scheme": "http", "wsgi.multiprocess": "false", "wsgi.run_once": "false",
		"wsgi.input_terminated": "true",
	}
	absent := []string{"HTTP_X_HIDDEN", "HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"}
	if p.unix {
		want["HTTP_HOST"], want["SERVER_NAME"], want["SERVER_PORT"] = "localhost", "localhost", "80"
		absent = append(absent, "REMOTE_ADDR", "REMOTE_PORT")
	} else {
		_, port, _ := net.SplitHostPort(p.addr)
		want["HTTP_HOST"], want["SERVER_NAME"], want["SERVER_PORT"] = p.addr, "127.0.0.1", port
		want["REMOTE_ADDR"] = "127.0.0.1"
		if n, err := strconv.Atoi(got["REMOTE_PORT"]); err != nil || n < 1 || n > 65535 {
			t.Errorf("REMOTE_PORT is %q", got["REMOTE_PORT"])
		}
	}
	for key, value := range want {
		if v, ok := got[key]; !ok || v != value {
			t.Errorf("%s = %q (there: %v), want %q", key, v, ok, value)
		}
	}
	for _, key := range absent {
		if v, ok := got[key]; ok {
			t.Errorf("%s = %q, want no such key", key, v)
		}
	}
	for _, key := range []string{"wsgi.input", "wsgi.errors", "wsgi.multithread"} {
		if _, ok := got[key]; !ok {
			t.Errorf("%s is not there", key)
		}
	}
}

// Events come one by one, to two clients at once, and a client that leaves is seen.
func checkStream(t *testing.T, p *program) {
	for i := range 2 {
		resp, err := p.client.Do(p.request("GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if line, want := p.line(), fmt.Sprintf("client %d has come", i+1); line != want {
			t.Errorf("it says %q, want %q", line, want)
		}
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%s, %v", resp.Status, resp.Header)
		}
		lines := bufio.NewReader(resp.Body)
		for _, want := range []string{": the time", "", "event: time", "data: 2", "", "event: time", "data: 2", ""} {
			if line, err := lines.ReadString('\n'); !strings.HasPrefix(line, want) || want == "" && line != "\n" {
				t.Errorf("client %d read %q, %v; want %q", i+1, line, err, want)
			}
		}
		defer func() {
			_ = resp.Body.Close()
			if line, want := p.line(), fmt.Sprintf("client %d has left after ", i+1); !strings.HasPrefix(line, want) || !strings.HasSuffix(line, " events, and missed 0") {
				t.Errorf("it says %q, want %q", line, want)
			}
		}()
	}
	if resp, _ := p.do(p.request("HEAD", "/", nil)); resp.StatusCode != 200 {
		t.Errorf("HEAD: %s", resp.Status)
	}
}

func checkClock(t *testing.T, p *program) {
	for _, method := range []string{"GET", "HEAD"} {
		for _, target := range []string{"/app", "/web", "/other"} {
			before := time.Now().Truncate(time.Second)
			resp, b := p.do(p.request(method, target, nil))
			code, cache := 200, "no-store"
			if target == "/other" {
				code, cache = 404, ""
			}
			if resp.StatusCode != code || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" || resp.Header.Get("Cache-Control") != cache {
				t.Errorf("%s %s: %s, %v", method, target, resp.Status, resp.Header)
			}
			if method == "HEAD" {
				if len(b) > 0 || resp.ContentLength <= 0 {
					t.Errorf("HEAD %s: %d bytes, Content-Length %d", target, len(b), resp.ContentLength)
				}
				continue
			}
			if now, err := time.Parse(time.RFC3339+"\n", string(b)); code == 200 && (err != nil || now.Before(before) || now.After(time.Now())) {
				t.Errorf("%s: %q, %v", target, b, err)
			}
		}
	}
}

// file is one of a form.
type file struct{ name, content string }

// upload sends files, and asserts the status.
func (p *program) upload(code int, files ...file) (answer string) {
	p.t.Helper()
	var content bytes.Buffer
	w := multipart.NewWriter(&content)
	_ = w.WriteField("title", "a value") // to memory
	for _, f := range files {
		part, _ := w.CreateFormFile("file", f.name)
		_, _ = io.WriteString(part, f.content)
	}
	_ = w.Close()
	r := p.request("POST", "/", &content)
	r.Header.Set("Content-Type", w.FormDataContentType())
	resp, b := p.do(r)
	if resp.StatusCode != code {
		p.t.Errorf("upload of %.100q: %s, %s; want %d", files, resp.Status, b, code)
	}
	return string(b)
}

func checkUpload(t *testing.T, p *program) {
	p.upload(201, file{"small", "small"})
	p.line()
	if b, err := os.ReadFile(filepath.Join(p.cmd.Dir, "uploads", "small")); err != nil || string(b) != "small" {
		t.Errorf("in the directory that is the default: %q, %v", b, err)
	}
	p = run(t, p.cmd.Path, "127.0.0.1:0", "-dir", "store", "-bytes", strconv.Itoa(4<<20), "-parts", "4")
	large := strings.Repeat("0123456789abcde\n", 3<<16) // 3 MiB
	answer := p.upload(201, file{"large.txt", large}, file{"../../etc/small", "small"})
	if answer != `[{"name":"large.txt","bytes":3145728},{"name":"small","bytes":5}]` {
		t.Errorf("%s", answer)
	}
	storing := 0
	for _, last := range []string{"name=large.txt bytes=3145728", "name=small bytes=5"} {
		line := p.line()
		for ; strings.Contains(line, "msg=storing name=large.txt bytes="); line = p.line() {
			storing++
		}
		if !strings.Contains(line, "msg=stored "+last) {
			t.Errorf("the log says %q, want stored %s", line, last)
		}
	}
	if storing != 3 {
		t.Errorf("the log says %d times how far it has got, want 3", storing)
	}
	for name, want := range map[string]string{
		"a b\tc":     "a_b_c",
		".hidden":    "hidden",
		"-rf":        "rf",
		`C:\x\y.txt`: "C__x_y.txt",
		"\u00e5":     "\u00e5",
	} {
		if answer := p.upload(201, file{name, ""}); answer != `[{"name":"`+want+`","bytes":0}]` {
			t.Errorf("%q: %s", name, answer)
		}
		p.line()
	}

	p.upload(409, file{"large.txt", "other"})
	p.upload(409, file{"new", "not kept"}, file{"small", "other"}) // and nothing of it
	p.line()
	p.upload(400)
	p.upload(400, file{"..", "x"})
	p.upload(400, file{"/", "x"})
	p.upload(400, file{strings.Repeat("n", 201), "x"})
	p.upload(413, file{"1", ""}, file{"2", ""}, file{"3", ""}, file{"4", ""})
	for range 3 {
		p.line() // 1, 2 and 3 were stored, and removed
	}
	p.upload(413, file{"huge", strings.Repeat("x", 4<<20)})
	cut := p.request("POST", "/", strings.NewReader("--b\r\nContent-Disposition: form-data; name=f; filename=cut\r\n\r\nhalf"))
	cut.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	if resp, b := p.do(cut); resp.StatusCode != 400 {
		t.Errorf("a form without its end: %s, %s", resp.Status, b)
	}
	if resp, _ := p.do(p.request("PUT", "/", nil)); resp.StatusCode != 405 || resp.Header.Get("Allow") == "" {
		t.Errorf("PUT: %s", resp.Status)
	}
	if resp, b := p.do(p.request("POST", "/", strings.NewReader("x"))); resp.StatusCode != 415 {
		t.Errorf("no form: %s, %s", resp.Status, b)
	}
	if resp, b := p.do(p.request("GET", "/", nil)); resp.StatusCode != 200 || !strings.Contains(string(b), "multipart/form-data") {
		t.Errorf("the page: %s, %s", resp.Status, b)
	}

	want := []string{"C__x_y.txt", "a_b_c", "hidden", "large.txt", "rf", "small", "\u00e5"}
	var got []string
	list, err := os.ReadDir(filepath.Join(p.cmd.Dir, "store"))
	for _, f := range list {
		got = append(got, f.Name())
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("stored are %q, %v; want %q", got, err, want)
	}
	if b, err := os.ReadFile(filepath.Join(p.cmd.Dir, "store", "large.txt")); err != nil || string(b) != large {
		t.Errorf("large.txt: %d bytes, %v", len(b), err)
	}
	p.warns = "Content-Length over the limit BodyBytes"
	p.stop(syscall.SIGTERM)
}

func checkFiles(t *testing.T, p *program) {
	for _, tt := range []struct {
		method, target, fields string // Range or If-None-Match
		code                   int
		content                string
	}{
		{"GET", "/file.txt", "", 200, fileText},
		{"HEAD", "/file.txt", "", 200, ""},
		{"GET", "/file.txt", "bytes=5-14", 206, "5678901234"},
		{"GET", "/file.txt", "bytes=-3", 206, "789"},
		{"GET", "/file.txt", "bytes=99999999-", 416, "Range Not Satisfiable\n"},
		{"GET", "/", "", 200, "<p>index"},
		{"GET", "/.hidden", "", 404, "Not Found\n"},
		{"GET", "/..%2f..%2fetc/passwd", "", 404, "Not Found\n"},
		{"POST", "/file.txt", "", 405, "Method Not Allowed\n"},
	} {
		r := p.request(tt.method, tt.target, nil)
		if tt.fields != "" {
			r.Header.Set("Range", tt.fields)
		}
		resp, b := p.do(r)
		if resp.StatusCode != tt.code || string(b) != tt.content || tt.method == "HEAD" && resp.ContentLength != int64(len(fileText)) {
			t.Errorf("%s %s, %q: %s, %.40q of %d bytes", tt.method, tt.target, tt.fields, resp.Status, b, len(b))
		}
	}
	resp, _ := p.do(p.request("GET", "/file.txt", nil))
	r := p.request("GET", "/file.txt", nil)
	r.Header.Set("If-None-Match", resp.Header.Get("ETag"))
	if again, b := p.do(r); again.StatusCode != 304 || len(b) > 0 {
		t.Errorf("the second time: %s, %d bytes", again.Status, len(b))
	}
}

func checkMiddleware(t *testing.T, p *program) {
	plain, text := p.do(p.request("GET", "/", nil))
	etag := plain.Header.Get("ETag")
	if plain.StatusCode != 200 || len(text) < 1024 || etag == "" || len(plain.Header.Get("X-Request-Id")) < 20 || plain.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("%s, %v", plain.Status, plain.Header)
	}
	r := p.request("GET", "/", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	resp, b := p.do(r)
	unzipped, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%s, %v: %v", resp.Status, resp.Header, err)
	}
	if got, err := io.ReadAll(unzipped); err != nil || !bytes.Equal(got, text) || resp.Header.Get("ETag") != "W/"+etag {
		t.Errorf("gzip: %d bytes, %v, %v", len(got), err, resp.Header)
	}
	r.Header.Set("If-None-Match", resp.Header.Get("ETag"))
	if resp, b := p.do(r); resp.StatusCode != 304 || len(b) > 0 {
		t.Errorf("the second time: %s, %d bytes", resp.Status, len(b))
	}
	if resp, _ := p.do(p.request("POST", "/", strings.NewReader(strings.Repeat("x", 64<<10+1)))); resp.StatusCode != 413 {
		t.Errorf("too much content: %s", resp.Status)
	}
	log, err := os.ReadFile(p.cmd.Args[2])
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.SplitAfter(strings.TrimSuffix(string(log), "\n"), "\n") {
		want := []string{`"GET / HTTP/1.1" 200 3600 `, `"GET / HTTP/1.1" 200 `, `"GET / HTTP/1.1" 304 0 `, `"POST / HTTP/1.1" 413 `}
		if i >= len(want) || !strings.Contains(line, want[i]) {
			t.Errorf("line %d of the log: %s", i, line)
		}
	}
}

func checkRouter(t *testing.T, p *program) {
	for _, tt := range []struct {
		method, target, content string
		code                    int
		want                    string
	}{
		{"GET", "/notes", "", 200, `{"notes":[]}`},
		{"POST", "/notes", "buy \"fish\"", 201, `{"id":1,"text":"buy \"fish\""}`},
		{"POST", "/notes", "swim", 201, `{"id":2,"text":"swim"}`},
		{"GET", "/notes", "", 200, `{"notes":[1,2]}`},
		{"GET", "/notes/1", "", 200, `{"id":1,"text":"buy \"fish\""}`},
		{"GET", "/notes/%32", "", 200, `{"id":2,"text":"swim"}`},
		{"GET", "/notes/3", "", 404, `{"error":"no such note"}`},
		{"GET", "/notes/x", "", 404, `{"error":"no such note"}`},
		{"DELETE", "/notes/1", "", 204, ""},
		{"DELETE", "/notes/1", "", 404, `{"error":"no such note"}`},
		{"POST", "/notes", strings.Repeat("x", 1025), 413, "Content Too Large"},
		{"PUT", "/notes/2", "", 405, "Method Not Allowed"},
		{"OPTIONS", "/notes/2", "", 204, ""},
		{"GET", "/", "", 404, "Not Found"},
	} {
		resp, b := p.do(p.request(tt.method, tt.target, strings.NewReader(tt.content)))
		if got := strings.TrimSuffix(string(b), "\n"); resp.StatusCode != tt.code || got != tt.want {
			t.Errorf("%s %s: %s, %q; want %d, %q", tt.method, tt.target, resp.Status, got, tt.code, tt.want)
		}
	}
	if resp, _ := p.do(p.request("PUT", "/notes/2", nil)); resp.Header.Get("Allow") != "DELETE, GET, HEAD, OPTIONS" {
		t.Errorf("Allow: %q", resp.Header.Get("Allow"))
	}
	for range 1000 {
		if resp, _ := p.do(p.request("POST", "/notes", strings.NewReader("more"))); resp.StatusCode == 507 {
			return
		}
	}
	t.Error("the store has no bound")
}

// refused runs an example that cannot run, and returns what it said.
func refused(t *testing.T, path string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out, err bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...) // ends the process with ctx
	cmd.Stdout, cmd.Stderr = &out, &err
	_ = cmd.Run()
	if ctx.Err() != nil {
		t.Errorf("%q: still running after %v", args, patience)
	}
	return cmd.ProcessState.ExitCode(), out.String(), err.String()
}

func checkBadAddresses(t *testing.T, path string) {
	dir := shortDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("not a socket"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	takenSocket, err := net.Listen("unix", filepath.Join(dir, "taken"))
	if err != nil {
		t.Fatal(err)
	}
	defer takenSocket.Close()

	for name, addr := range map[string]string{
		"no port":            "nonsense",
		"no number":          "127.0.0.1:no-such-service",
		"port over the most": "127.0.0.1:65536",
		"brackets":           "[::1",
		"empty":              "",
		"no path":            "unix:",
		"no directory":       "unix:" + filepath.Join(dir, "none", "s"),
		"a file":             "unix:" + file,
		"port is taken":      taken.Addr().String(),
		"socket is taken":    "unix:" + takenSocket.Addr().String(),
		"path over the most": "unix:" + filepath.Join(dir, strings.Repeat("x", 200)),
		"no kind of address": "ftp://127.0.0.1:0",
	} {
		want := 1
		switch name { // a mistake that shows without an attempt to listen
		case "no port", "port over the most", "brackets", "empty", "no path", "no kind of address":
			want = 2
		}
		code, stdout, stderr := refused(t, path, "-addr", addr)
		if code != want || stdout != "" || !strings.Contains(stderr, addr) || stderr == "" {
			t.Errorf("%s: -addr %q: exit code %d, stdout %q, stderr %q; want %d and a message that has the address",
				name, addr, code, stdout, stderr, want)
		}
	}
	if b, err := os.ReadFile(file); string(b) != "not a socket" {
		t.Errorf("the file that was there: %q, %v", b, err)
	}
	if c, err := net.Dial("unix", takenSocket.Addr().String()); err != nil {
		t.Errorf("the socket that was taken: %v", err)
	} else {
		_ = c.Close()
	}
}

func checkBadArguments(t *testing.T, path string) {
	for _, tt := range []struct {
		args []string
		want string // in the message
	}{
		{[]string{"extra"}, `"extra"`},
		{[]string{"-addr", "127.0.0.1:0", "extra"}, `"extra"`},
		{[]string{"127.0.0.1:0"}, `"127.0.0.1:0"`},
		{[]string{"-unknown"}, "-unknown"},
		{[]string{"-addr"}, "-addr"},
	} {
		code, stdout, stderr := refused(t, path, tt.args...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, tt.want) {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q; want 2 and a message that has %s", tt.args, code, stdout, stderr, tt.want)
		}
	}
}
