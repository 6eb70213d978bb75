package server

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/testlog"
	"github.com/isbjorn/isbjorn/internal/testrun"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/middleware"
)

// fileApp answers with a file of the test: ?size=bytes of it are there, and its offset
// is at=; length= is declared, write= is written first. /wrapped hides the FileBody.
type fileApp struct {
	t    *testing.T
	dir  string
	made chan *os.File // those that were opened
}

func newFileApp(t *testing.T) *fileApp {
	return &fileApp{t, t.TempDir(), make(chan *os.File, 1000)}
}

func (a *fileApp) Serve(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	var size, at int64
	var declared, write string
	for _, pair := range strings.Split(env.Query(), "&") {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "size":
			size, _ = strconv.ParseInt(value, 10, 64)
		case "at":
			at, _ = strconv.ParseInt(value, 10, 64)
		case "length":
			declared = value
		case "write":
			write = value
		}
	}
	f, err := os.Open(a.file(size))
	if err != nil {
		return nil, err
	}
	a.made <- f
	if _, err := f.Seek(at, io.SeekStart); err != nil {
		return nil, err
	}
	status, headers := "200 OK", []gateway.Header(nil)
	if declared != "" {
		headers = []gateway.Header{{Name: "Content-Length", Value: declared}}
	}
	if code, ok := strings.CutPrefix(env.Path(), "/status/"); ok {
		status = code + " x"
	}
	w, err := start(status, headers, nil)
	if err == nil && write != "" {
		_, err = io.WriteString(w, write)
	}
	body := gateway.File(f)
	if env.Path() == "/wrapped" {
		body = struct{ gateway.Body }{body}
	}
	return body, err
}

// file is the name of a file with the pattern.
func (a *fileApp) file(size int64) string {
	name := filepath.Join(a.dir, strconv.FormatInt(size, 10))
	if _, err := os.Stat(name); err != nil {
		if err := os.WriteFile(name, []byte(pattern(int(size))), 0o600); err != nil {
			a.t.Error(err)
		}
	}
	return name
}

// closedAll expects that every file was closed, once.
func (a *fileApp) closedAll(s *testServer) {
	a.t.Helper()
	for len(a.made) > 0 {
		f := <-a.made
		eventually(a.t, "the file is closed", func() bool { _, err := f.Stat(); return err != nil })
	}
	if strings.Contains(s.log.String(), "closing the body") {
		a.t.Errorf("a file was closed twice:\n%s", s.log)
	}
}

// A file arrives whole, or cut as it was declared, in every form of a response, and
// the connection is in order after it.
func TestFileWhole(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "moves megabytes past what a socket holds")
	app := newFileApp(t)
	s := start(t, app, Options{})
	sizes := []int{0, 1, 1000, copyBytesMax - 1, copyBytesMax, copyBytesMax + 1, 64 << 10, 100_000, 3 << 20}
	for _, path := range []string{"/", "/wrapped"} {
		c := s.dial()
		for _, size := range sizes {
			text := pattern(size)
			for _, at := range []int{0, size / 3, size} {
				c.send(fmt.Sprintf("GET %s?size=%d&at=%d HTTP/1.1\r\nHost: h\r\n\r\n", path, size, at) +
					fmt.Sprintf("HEAD %s?size=%d&at=%d HTTP/1.1\r\nHost: h\r\n\r\n", path, size, at) +
					fmt.Sprintf("GET %s?size=%d&at=%d&write=before HTTP/1.1\r\nHost: h\r\n\r\n", path, size, at))
				length := int64(size - at)
				if resp := c.want("GET", 200, text[at:]); path == "/" && resp.ContentLength != length {
					t.Errorf("%s %d from %d: Content-Length %d", path, size, at, resp.ContentLength)
				}
				if resp := c.want("HEAD", 200, ""); path == "/" && resp.ContentLength != length {
					t.Errorf("HEAD %s %d from %d: Content-Length %d", path, size, at, resp.ContentLength)
				}
				resp := c.want("GET", 200, "before"+text[at:])
				// A worker reads a wrapped file, and may have delivered all of it before the head: then the length is known.
				if len(resp.TransferEncoding) != 1 && !(suite == Pool && path == "/wrapped" && resp.ContentLength == length+int64(len("before"))) {
					t.Errorf("after write: transfer coding %v", resp.TransferEncoding)
				}
			}
			if size > 0 { // declared smaller: cut to it
				c.send(fmt.Sprintf("GET %s?size=%d&length=%d HTTP/1.1\r\nHost: h\r\n\r\n", path, size, size-1))
				c.want("GET", 200, text[:size-1])
			}
			for _, write := range []string{"", "before"} { // until the end of the connection
				old := s.dial()
				old.send(fmt.Sprintf("GET %s?size=%d&write=%s HTTP/1.0\r\n\r\n", path, size, write))
				old.want("GET", 200, write+text)
				old.wantEnd()
			}
			short := s.dial() // declared larger: cut
			short.send(fmt.Sprintf("GET %s?size=%d&length=%d HTTP/1.1\r\nHost: h\r\n\r\n", path, size, size+1))
			if _, got, err := short.tryRead("GET"); err == nil || got != text {
				t.Errorf("%s %d, declared as one more: %d bytes, %v", path, size, len(got), err)
			}
		}
		for _, code := range []string{"204", "304"} {
			c.send("GET /status/" + code + "?size=100000 HTTP/1.1\r\nHost: h\r\n\r\n")
			status, _ := strconv.Atoi(code)
			c.want("GET", status, "")
		}
	}
	app.closedAll(s)
	for _, line := range []string{"1 bytes shorter than its Content-Length", "longer than its Content-Length"} {
		if !strings.Contains(s.log.String(), line) {
			t.Errorf("the log does not say %q", line)
		}
	}
}

// The head shares a packet with the file where there is room.
func TestFileInOnePacket(t *testing.T) {
	app := newFileApp(t)
	c := start(t, app, Options{}).dial()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	packets := func() (n uint32) {
		_ = raw.Control(func(fd uintptr) {
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			if err != nil {
				t.Fatal(err)
			}
			n = info.Data_segs_in
		})
		return n
	}
	for _, size := range []int{1000, copyBytesMax, copyBytesMax + 1, 40_000} {
		before := packets()
		c.send(fmt.Sprintf("GET /?size=%d HTTP/1.1\r\nHost: h\r\n\r\n", size))
		c.want("GET", 200, pattern(size))
		if n := packets() - before; n != 1 {
			t.Errorf("%d bytes came in %d packets, want 1", size, n)
		}
	}
}

// A response whose file shrinks while it is sent is cut, with either framing. The log has the cure.
func TestFileShrinks(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "moves megabytes past what a socket holds")
	const size = 8 << 20
	app := newFileApp(t)
	s := startSmall(t, app, Options{})
	for _, request := range []string{
		"GET /?size=%d HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /?size=%d&write=x HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /?size=%d&write=x HTTP/1.0\r\n\r\n",
	} {
		c := s.dial()
		_ = c.SetReadBuffer(64 << 10)
		c.send(fmt.Sprintf(request, size))
		s.waitUnsent()
		if err := os.Truncate(app.file(size), size/2); err != nil {
			t.Fatal(err)
		}
		var err error
		if strings.Contains(request, "1.0") {
			_, err = io.ReadAll(c.r)
		} else {
			_, _, err = c.tryRead("GET")
		}
		if err == nil {
			t.Errorf("%q: it looks whole", request)
		}
		app.closedAll(s)
		_ = os.Remove(app.file(size))
	}
	if n := strings.Count(s.log.String(), "write a new one and rename it"); n != 3 {
		t.Errorf("%d lines in the log, want 3:\n%s", n, s.log)
	}
	s.wantStats(Stats{Accepted: 3, Failed: 3, Aborted: 3})
}

// A file that grows is sent as long as it was.
func TestFileGrows(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "moves megabytes past what a socket holds")
	const size = 8 << 20
	app := newFileApp(t)
	s := startSmall(t, app, Options{})
	c := s.dial()
	_ = c.SetReadBuffer(64 << 10)
	c.send(fmt.Sprintf("GET /?size=%d HTTP/1.1\r\nHost: h\r\n\r\n", size))
	s.waitUnsent()
	f, err := os.OpenFile(app.file(size), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteString("more")
	_ = f.Close()
	c.want("GET", 200, pattern(size))
	c.send("GET /?size=10 HTTP/1.1\r\nHost: h\r\n\r\n")
	c.want("GET", 200, pattern(10))
	app.closedAll(s)
}

// The kernel sends a file that the application returns as it is; a wrapped one is read.
func TestFileBySendfile(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "moves megabytes past what a socket holds")
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is missing; apt-get install strace")
	}
	for _, tt := range []struct {
		path  string
		calls bool
	}{{"/", true}, {"/wrapped", false}, {"/logged", suite != Pool}} { // what may block stays on its worker
		trace := filepath.Join(t.TempDir(), "trace")
		cmd := exec.Command("strace", "-f", "-qq", "-e", "trace=sendfile", "-o", trace,
			os.Args[0], "-test.run=^TestFileForStrace$", "-test.v")
		cmd.Env = append(os.Environ(), "ISBJORN_FILE_PATH="+tt.path)
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS")) {
			t.Skipf("strace cannot run the test: %v; it needs the right to trace (CAP_SYS_PTRACE in a container)\n%s", err, out)
		}
		b, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		if calls := bytes.Contains(b, []byte("sendfile(")); calls != tt.calls {
			t.Errorf("%s: sendfile called: %v, want %v\n%.1000s", tt.path, calls, tt.calls, b)
		}
	}
}

// TestFileForStrace is what TestFileBySendfile watches.
func TestFileForStrace(t *testing.T) {
	path := os.Getenv("ISBJORN_FILE_PATH")
	if path == "" {
		t.Skip("run by TestFileBySendfile")
	}
	app := gateway.App(newFileApp(t))
	if path == "/logged" {
		app = logged(app, slog.New(slog.DiscardHandler))
	}
	c := start(t, app, Options{}).dial()
	c.send("GET " + path + "?size=1000000 HTTP/1.1\r\nHost: h\r\n\r\n")
	c.want("GET", 200, pattern(1_000_000))
}

// logged is app in middlewares that hand its bodies on.
func logged(app gateway.App, log *slog.Logger) gateway.App {
	running, err := middleware.ConcurrencyLimit(100, 0)
	if err != nil {
		panic(err)
	}
	return middleware.AccessLog(log)(middleware.Recover(running(app)))
}

// Middlewares see how much of a file was sent without them, and its end: whole, cut to
// what was declared, or as much as the client took.
func TestFileWrapped(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	const size = 8 << 20
	for _, write := range []string{"", "&write=x"} { // by length, chunked
		app, lines := newFileApp(t), new(testlog.Buffer)
		s := startSmall(t, logged(app, slog.New(slog.NewTextHandler(lines, nil))), Options{})
		logs := func(want ...string) {
			t.Helper()
			eventually(t, "the answer is logged", func() bool { return strings.HasSuffix(lines.String(), "\n") })
			for _, text := range want {
				if got := lines.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, text) {
					t.Errorf("%s: the log has %q, want %q", write, got, text)
				}
			}
			lines.Reset()
		}
		c := s.dial()
		n := len(write) / len("&write=x")
		for _, size := range []int{0, 1000, copyBytesMax, copyBytesMax + 1, 1 << 20} {
			c.send(fmt.Sprintf("GET /?size=%d%s HTTP/1.1\r\nHost: h\r\n\r\n", size, write))
			c.want("GET", 200, "x"[:n]+pattern(size))
			logs(fmt.Sprintf(" bytes=%d ", size+n), "user_agent=\"\"\n")
		}
		c.send("GET /?size=1000000&length=300000" + write + " HTTP/1.1\r\nHost: h\r\n\r\n")
		c.want("GET", 200, ("x"[:n] + pattern(1_000_000))[:300_000])
		logs(" bytes=300000 ", "user_agent=\"\"\n")

		leaver := s.dial()
		_ = leaver.SetReadBuffer(64 << 10)
		leaver.send(fmt.Sprintf("GET /?size=%d%s HTTP/1.1\r\nHost: h\r\n\r\n", size, write))
		took, err := io.CopyN(io.Discard, leaver.r, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		s.waitUnsent()
		_ = leaver.SetLinger(0)
		_ = leaver.Close()
		eventually(t, "the answer is logged", func() bool { return lines.String() != "" })
		_, text, _ := strings.Cut(lines.String(), " bytes=")
		text, _, _ = strings.Cut(text, " ")
		if sent, _ := strconv.ParseInt(text, 10, 64); sent < took-1000 || sent > took+size/2 {
			t.Errorf("%s: %d bytes are logged for a client that left after %d of %d", write, sent, took, size)
		}
		logs("aborted=true")
		app.closedAll(s)
	}
}

// A gigabyte to a slow reader takes no memory to speak of.
func TestGigabyteToASlowReader(t *testing.T) {
	if testing.Short() {
		t.Skip("moves gigabytes")
	}
	const size = 1 << 30
	name := filepath.Join(t.TempDir(), "sparse")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		most int64
		body func() (gateway.Body, error)
	}{
		{"File", 2 << 20, func() (gateway.Body, error) {
			f, err := os.Open(name)
			if err != nil {
				return nil, err
			}
			return gateway.File(f), nil
		}},
		{"Stream", 4 << 20, func() (gateway.Body, error) {
			return gateway.Stream(func(yield func([]byte, error) bool) {
				chunk := make([]byte, 64<<10)
				for sent := 0; sent < size && yield(chunk, nil); sent += len(chunk) {
				}
			}), nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				if env.Path() == "/hello" {
					return hello(env, start)
				}
				if _, err := start("200 OK", []gateway.Header{{Name: "Content-Length", Value: strconv.Itoa(size)}}, nil); err != nil {
					return nil, err
				}
				return tt.body()
			}), Options{})
			c := s.dial()
			_ = c.SetDeadline(time.Now().Add(3 * time.Minute)) // 2 s of work, on a machine that may have other
			c.send("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n")   // what is made once is made
			c.want("GET", 200, "Hello, World!")
			b := bytes.Repeat([]byte{1}, 1<<20)
			g := measureGrowth(t)
			c.send(get)
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			for n := 0; n < size; {
				k, err := io.ReadFull(resp.Body, b[:min(len(b), size-n)])
				if n += k; err != nil {
					t.Fatalf("after %d bytes: %v", n, err)
				}
				if n%(32<<20) == 0 {
					time.Sleep(2 * time.Millisecond) // a reader that takes its time, so that the socket fills
					g.look()
				}
			}
			if g.most > tt.most {
				t.Errorf("the process grew by %d bytes, want %d at most", g.most, tt.most)
			}
		})
	}
}
