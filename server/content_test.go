package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/server/internal/buffers"
	"github.com/isbjorn/isbjorn/server/internal/spool"
)

// echoBody is examples/echo.
func echoBody(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if _, err := start("200 OK", nil, nil); err != nil {
		return nil, err
	}
	return env.Input().Body(), nil
}

// files counts the temporary files of a server, and lets them fail.
type files struct {
	t        testing.TB
	make     func(dir string) (spool.File, error)
	openErr  error // of open
	writeErr error // of WriteAt, behind failAt
	readErr  error // of ReadAt, behind failAt
	failAt   int64

	opened, closed atomic.Int32
}

// option makes a server use f, but for the check at its start.
func (f *files) option(c *config) {
	c.content.Open = func(dir string) (spool.File, error) {
		c.content.Open = f.open
		return spool.Open(dir)
	}
}

func (f *files) open(dir string) (spool.File, error) {
	if f.openErr != nil {
		return nil, f.openErr
	}
	file, err := f.make(dir)
	f.opened.Add(1)
	return &countedFile{File: file, files: f}, err
}

type countedFile struct {
	spool.File
	files  *files
	closed bool
}

func (c *countedFile) WriteAt(p []byte, off int64) (int, error) {
	if c.files.writeErr != nil && off+int64(len(p)) > c.files.failAt {
		n, _ := c.File.WriteAt(p[:max(0, c.files.failAt-off)], off)
		return n, c.files.writeErr
	}
	return c.File.WriteAt(p, off)
}

func (c *countedFile) ReadAt(p []byte, off int64) (int, error) {
	if c.files.readErr != nil && off+int64(len(p)) > c.files.failAt {
		return 0, c.files.readErr
	}
	return c.File.ReadAt(p, off)
}

func (c *countedFile) Close() error {
	if c.closed {
		c.files.t.Error("a temporary file was closed twice")
	}
	c.closed = true
	c.files.closed.Add(1)
	return c.File.Close()
}

// startFiles is start for a server whose temporary files are counted. The
// directory that it returns is empty again, and the files closed, when the test
// ends.
func startFiles(t *testing.T, f *files, app gateway.App, options Options) *testServer {
	t.Helper()
	dir := t.TempDir()
	f.t = t
	if f.make == nil {
		f.make = spool.Open
	}
	s := startOn(collecting, t, app, Options{TempDir: dir, tune: f.option}.with(options))
	t.Cleanup(func() {
		s.Close()
		if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
			t.Errorf("the directory of temporary files has %v, %v", list, err)
		}
		eventually(t, "every temporary file is closed", func() bool { return f.closed.Load() == f.opened.Load() })
	})
	return s
}

// upload is a request with content by its length, or in chunks of n bytes.
func upload(content string, n int) string {
	if n == 0 {
		return fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(content), content)
	}
	var b strings.Builder
	b.WriteString("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
	for len(content) > 0 {
		k := min(n, len(content))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", k, content[:k])
		content = content[k:]
	}
	return b.String() + "0\r\n\r\n"
}

// Content is in memory up to BodyMemory and in a file from one byte more, and
// every way to read it gives the bytes that were sent.
func TestContentInFiles(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "moves megabytes past what a socket holds")
	const memory = 10_000
	apps := map[string]appFunc{
		"Body":    echoBody,
		"ReadAll": echo,
		"Read": func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			b, err := io.ReadAll(env.Input())
			if err != nil {
				return nil, err
			}
			_, err = start("200 OK", nil, nil)
			return gateway.Bytes(b), err
		},
		"WriteTo": func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", nil, nil)
			if err == nil {
				_, err = env.Input().WriteTo(w)
			}
			return nil, err
		},
		"Clone": func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			return echoBody(env.Clone(), start)
		},
	}
	for name, app := range apps {
		t.Run(name, func(t *testing.T) {
			f := &files{}
			s := startFiles(t, f, app, Options{BodyMemory: memory})
			c := s.dial()
			for _, n := range []int{memory - 1, memory, memory + 1, 64 << 10, 64<<10 + 1, 300_000, 1 << 20} {
				for _, size := range []int{0, 7001, 100, 100_000}[:testrun.Rounds(4, 2)] {
					before := f.opened.Load()
					request := upload(pattern(n), size)
					head, rest, _ := strings.Cut(request, "\r\n\r\n")
					c.send(head + "\r\nExpect: 100-continue\r\n\r\n")
					if resp, _ := c.read("POST"); resp.StatusCode != 100 {
						t.Fatalf("answered %d", resp.StatusCode)
					}
					go c.send(rest)
					c.want("POST", 200, pattern(n))
					want := int32(0)
					if n > memory {
						want = 1
					}
					if got := f.opened.Load() - before; got != want {
						t.Errorf("%d bytes in chunks of %d: %d files, want %d", n, size, got, want)
					}
				}
			}
		})
	}
}

// A temporary file that has a name for a moment serves as one that never has.
func TestTempFileWithName(t *testing.T) {
	f := &files{make: spool.Create}
	s := startFiles(t, f, appFunc(echoBody), Options{})
	c := s.dial()
	go c.send(upload(pattern(1<<20), 0))
	c.want("POST", 200, pattern(1<<20))
	if f.opened.Load() != 1 {
		t.Errorf("%d files", f.opened.Load())
	}
}

// 10 GB are refused by the head alone, or read as they come: memory is allocated for content that came, not for a
// declared length.
func TestAnnouncedLength(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000000\r\n\r\n"
	t.Run("over the limit", func(t *testing.T) {
		f := &files{}
		s := startFiles(t, f, appFunc(echoBody), Options{})
		c := s.dial()
		c.send(head)
		if resp, _ := c.read("POST"); resp.StatusCode != 413 || !resp.Close {
			t.Errorf("answered %d %v, want 413 and the end", resp.StatusCode, resp.Header)
		}
		c.wantEnd()
	})
	for name, each := range map[string]int{"no limit, in memory": 10_000, "no limit, in files": 100_000} {
		t.Run(name, func(t *testing.T) {
			const clients = 50
			called := false
			f := &files{}
			s := startFiles(t, f, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				called = true
				return hello(env, start)
			}), Options{BodyBytes: NoLimit})
			before := heapBytes()
			for range clients {
				s.dial().send(head + pattern(each))
			}
			eventually(t, "all that was sent has come", func() bool { return s.collected() == int64(clients*each) })
			// A buffer that doubles, 20 KiB for either end of a connection, and what the pool of buffers, which learns
			// their sizes from all tests before, may give to each of three.
			if grown, most := heapBytes()-before, int64(clients*(2*each+40<<10+3*buffers.KeptMax)); grown > most {
				t.Errorf("memory has grown by %d bytes for %d that were sent, want at most %d", grown, clients*each, most)
			}
			s.Close()
			if called {
				t.Error("the application was called for a part of the content")
			}
		})
	}
}

// collected is how much content of incomplete requests has come.
func (s *testServer) collected() (n int64) {
	for _, l := range s.reactor.Loops() {
		sum := make(chan int64)
		l.Do(func() {
			n := int64(0)
			for _, c := range connsOf(l) {
				if x := c.Context.(*session).x; x != nil {
					n += x.in.content.Size()
				}
			}
			sum <- n
		})
		n += <-sum
	}
	return n
}

// heapBytes is the memory that is in use.
func heapBytes() int64 {
	runtime.GC()
	runtime.GC() // and what the pools still had
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// An upload that ends early in any way is not served, and leaves no file and no memory.
func TestTruncatedUploads(t *testing.T) {
	var called atomic.Int32
	f := &files{}
	s := startFiles(t, f, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if env.Method() == "POST" {
			called.Add(1)
		}
		return hello(env, start)
	}), Options{})
	s.dial().exchangeHello()
	s.untilConns(0)
	before := openDescriptors(t)
	for _, size := range []int{0, 100, 50_000} {
		whole := upload(pattern(300_000), size)
		for _, n := range []int{200, 60_000, 100_000, len(whole) - 1} {
			var ends []*client
			for _, reset := range []bool{false, true} {
				c := s.dial()
				c.send(whole[:n])
				if reset {
					_ = c.SetLinger(0)
					_ = c.Close()
					continue
				}
				_ = c.CloseWrite()
				ends = append(ends, c)
			}
			for _, c := range ends {
				if resp, _ := c.read("POST"); resp.StatusCode != 400 {
					t.Errorf("%d of %d bytes answered %d, want 400", n, len(whole), resp.StatusCode)
				}
				c.wantEnd()
				_ = c.Close()
			}
		}
	}
	s.untilConns(0)
	eventually(t, "every descriptor is closed", func() bool { return openDescriptors(t) <= before })
	if f.opened.Load() == 0 || f.closed.Load() != f.opened.Load() || called.Load() > 0 {
		t.Errorf("%d files, %d closed; the application was called %d times", f.opened.Load(), f.closed.Load(), called.Load())
	}
}

// exchangeHello is one request and its answer, and the end of the connection.
func (c *client) exchangeHello() {
	c.t.Helper()
	c.send(get)
	c.want("GET", 200, "Hello, World!")
	_ = c.Close()
}

// A worker that is still at work when the server has stopped closes the file itself, at the
// end of its work: there is no loop any more that could.
func TestContentOfAWorkerLeftBehind(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	for _, where := range []DispatchMode{Auto, Pool} {
		goOn, begun := make(chan struct{}), make(chan struct{})
		f := &files{}
		s := startFiles(t, f, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			close(begun)
			<-goOn
			content, err := env.Input().ReadAll()
			if len(content) != 100_000 || err != nil {
				t.Errorf("read %d bytes, %v", len(content), err)
			}
			return hello(env, start)
		}), Options{Workers: 1, tune: on(where)}) // so that content is collected with Pool, too
		c := s.dial()
		c.send(upload(pattern(100_000), 0))
		<-begun
		s.Close()
		if err := s.Wait(); err != nil {
			t.Error(err)
		}
		if n := f.closed.Load(); n != 0 {
			t.Errorf("%d files are closed while the worker has them", n)
		}
		close(goOn)
		eventually(t, "the file is closed", func() bool { return f.closed.Load() == 1 && s.config.content.Space.Used() == 0 })
		if n := f.opened.Load(); n != 1 {
			t.Errorf("%d files", n)
		}
	}
}

// A file is open as long as the response needs it, and is closed once, on every path that ends the request.
func TestContentIsClosedOnce(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	content := pattern(testrun.Rounds(8, 5) << 20) // more than fits in the small sockets of the connection
	panics := func() ([]byte, error) { panic("in Next") }
	for name, tt := range map[string]struct {
		app     gateway.App
		options Options
		client  func(t *testing.T, s *testServer, c *client)
	}{
		"whole":         {app: appFunc(echoBody), client: func(_ *testing.T, _ *testServer, c *client) { c.want("POST", 200, content) }},
		"not read":      {app: appFunc(hello), client: func(_ *testing.T, _ *testServer, c *client) { c.want("POST", 200, "Hello, World!") }},
		"error":         {app: appFunc(func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) { return nil, errors.New("test") }), client: want500},
		"panic":         {app: appFunc(func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) { panic("in Serve") }), client: want500},
		"panic in Next": {app: ok(next(panics)), client: want500},
		"client leaves": {app: appFunc(echoBody), client: leave},
		"client stalls": {app: appFunc(echoBody), options: Options{WriteTimeout: 30 * time.Millisecond}, client: stall},
		"server stops": {app: appFunc(echoBody), client: func(t *testing.T, s *testServer, c *client) {
			_, _ = io.ReadFull(c.r, make([]byte, 100_000))
			s.Close()
		}},
		"held, then 2 go": {app: appFunc(echoBody), client: func(t *testing.T, s *testServer, c *client) {
			c.want("POST", 200, content)
			c.send(get)
			c.want("GET", 200, "")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &files{}
			s := startFiles(t, f, tt.app, tt.options.with(Options{BodyBytes: NoLimit}))
			c := s.dial()
			_ = c.SetReadBuffer(64 << 10)
			go func() { _, _ = io.WriteString(c, upload(content, 0)) }()
			tt.client(t, s, c)
			if f.opened.Load() != 1 {
				t.Errorf("%d files", f.opened.Load())
			}
			eventually(t, "the file is closed", func() bool { return f.closed.Load() == 1 })
		})
	}
	t.Run("upload stalls", func(t *testing.T) {
		f := &files{}
		s := startFiles(t, f, appFunc(echoBody), Options{BodyTimeout: 30 * time.Millisecond})
		c := s.dial()
		c.send(upload(content[:1<<20], 0)[:500_000])
		if resp, _ := c.read("POST"); resp.StatusCode != 408 {
			t.Errorf("answered %d, want 408", resp.StatusCode)
		}
		eventually(t, "the file is closed", func() bool { return f.closed.Load() == 1 })
	})
	t.Run("chunk refused", func(t *testing.T) {
		f := &files{}
		s := startFiles(t, f, appFunc(echoBody), Options{})
		c := s.dial()
		c.send(strings.TrimSuffix(upload(content[:500_000], 1000), "0\r\n\r\n") + "x\r\n")
		if resp, _ := c.read("POST"); resp.StatusCode != 400 {
			t.Errorf("answered %d, want 400", resp.StatusCode)
		}
		eventually(t, "the file is closed", func() bool { return f.opened.Load() == 1 && f.closed.Load() == 1 })
	})
}

func want500(t *testing.T, _ *testServer, c *client) {
	if resp, _ := c.read("POST"); resp.StatusCode != 500 {
		t.Errorf("answered %d, want 500", resp.StatusCode)
	}
}

func leave(_ *testing.T, _ *testServer, c *client) {
	_, _ = io.ReadFull(c.r, make([]byte, 100_000))
	_ = c.SetLinger(0)
	_ = c.Close()
}

func stall(t *testing.T, s *testServer, c *client) {
	_, _ = io.ReadFull(c.r, make([]byte, 1000)) // it has begun
	s.untilConns(0)
}

// What cannot be kept is refused with a status that says why, and one line in the
// log that names the option; the server lives.
func TestContentCannotBeKept(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "writes megabytes")
	for _, tt := range []struct {
		name   string
		files  *files
		status int
	}{
		{"disk full at once", &files{writeErr: syscall.ENOSPC}, 507},
		{"disk full later", &files{writeErr: syscall.ENOSPC, failAt: 300_000}, 507},
		{"quota", &files{writeErr: &fs.PathError{Op: "write", Path: "x", Err: syscall.EDQUOT}}, 507},
		{"disk broken", &files{writeErr: syscall.EIO, failAt: 100_000}, 500},
		{"no room for a file", &files{openErr: syscall.ENOSPC}, 507},
		{"no descriptor", &files{openErr: syscall.EMFILE}, 503},
		{"no descriptor in the system", &files{openErr: syscall.ENFILE}, 503},
		{"directory gone", &files{openErr: syscall.ENOENT}, 500},
	} {
		for _, size := range []int{0, 100} {
			t.Run(fmt.Sprintf("%s, chunks of %d", tt.name, size), func(t *testing.T) {
				f := &files{openErr: tt.files.openErr, writeErr: tt.files.writeErr, failAt: tt.files.failAt}
				s := startFiles(t, f, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
					if env.Method() == "POST" {
						t.Error("the application was called")
					}
					return hello(env, start)
				}), Options{})
				other := s.dial() // before, so that it has a descriptor
				c := s.dial()
				go func() { _, _ = io.WriteString(c, upload(pattern(1_000_000), size)+get) }()
				resp, text := c.read("POST")
				if resp.StatusCode != tt.status || !resp.Close || resp.ContentLength != int64(len(text)) {
					t.Errorf("answered %d %v %q, want %d and the end", resp.StatusCode, resp.Header, text, tt.status)
				}
				c.wantEnd()
				other.exchangeHello()
				cause := f.openErr
				if cause == nil {
					cause = f.writeErr
				}
				if log := s.log.String(); strings.Count(log, "level=ERROR") != 1 || !strings.Contains(log, "TempDir") || !strings.Contains(log, cause.Error()) {
					t.Errorf("the log is %s; want one error that names TempDir and %v", log, cause)
				}
			})
		}
	}
}

// While the disk is full, the log gets a line a second and not one for each upload.
func TestDiskFullIsLoggedOnceASecond(t *testing.T) {
	const uploads = 50
	f := &files{writeErr: syscall.ENOSPC}
	s := startFiles(t, f, appFunc(hello), Options{Loops: 1})
	began := time.Now()
	for range uploads {
		c := s.dial()
		c.send(upload(pattern(100_000), 0))
		if resp, _ := c.read("POST"); resp.StatusCode != 507 {
			t.Fatalf("answered %d, want 507", resp.StatusCode)
		}
	}
	seconds := int(time.Since(began)/time.Second) + 2 // that it has seen the beginning of
	if n := strings.Count(s.log.String(), "level=ERROR"); n < 1 || n > seconds {
		t.Errorf("%d lines for %d uploads within %d seconds", n, uploads, seconds)
	}
}

// All temporary files together take TempBytes and not a byte more, over all connections, and each request returns
// its share on every path that ends it.
func TestTempBytes(t *testing.T) {
	const room, each, most = 300_000, 100_000, 3
	content := pattern(each)
	f := &files{}
	s := startFiles(t, f, appFunc(echoBody), Options{BodyMemory: None, BodyBytes: room, TempBytes: room})
	used := s.config.content.Space.Used
	for _, size := range []int{0, 7, 20_000} {
		request := upload(content, size)
		end := len(request) - 1 // without its last byte the upload is incomplete
		var open []*client
		for range most {
			c := s.dial()
			c.send(request[:end])
			open = append(open, c)
		}
		missing := int64(0) // the last byte of the content
		if size == 0 {
			missing = most
		}
		eventually(t, "all that was sent is in files", func() bool { return used() == room-missing })
		over := s.dial()
		over.send(upload(pattern(int(missing)+1), 7))
		resp, text := over.read("POST")
		if resp.StatusCode != 503 || !resp.Close || !strings.Contains(text, "TempBytes") {
			t.Errorf("one more byte: answered %d %q, want 503 that names TempBytes, and the end", resp.StatusCode, text)
		}
		over.wantEnd()
		if !strings.Contains(s.log.String(), "raise the option TempBytes") {
			t.Error("no line of the log says how to mend it")
		}

		for _, c := range open { // there was room for these
			c.send(request[end:])
			c.want("POST", 200, content)
		}
		cut := s.dial()
		cut.send(request[:end])
		eventually(t, "a part is in a file", func() bool { return used() > 0 })
		_ = cut.Close()
		eventually(t, "all has come back", func() bool { return used() == 0 })
	}
	big := s.dial()
	big.send(upload(pattern(room), 0))
	big.want("POST", 200, pattern(room))
	eventually(t, "all has come back", func() bool { return used() == 0 })
}

// A file that cannot be read back: the client sees that the answer is not whole.
func TestContentCannotBeRead(t *testing.T) {
	for _, n := range []int64{0, 200_000} {
		f := &files{readErr: syscall.EIO, failAt: n}
		s := startFiles(t, f, appFunc(echoBody), Options{})
		c := s.dial()
		go c.send(upload(pattern(1_000_000), 0))
		resp, text, err := c.tryRead("POST")
		if n == 0 && (err != nil || resp.StatusCode != 500) || n > 0 && err == nil {
			t.Errorf("fails at %d: %v, %d bytes, %v; want 500 or a cut", n, resp, len(text), err)
		}
		if log := s.log.String(); !strings.Contains(log, syscall.EIO.Error()) {
			t.Errorf("the log is %s", log)
		}
	}
}

// What cannot work is refused at the start, and says what would.
func TestContentOptionsRefused(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		options Options
		want    []string // parts of the error; none if there is none
	}{
		{"no directory", Options{TempDir: none}, []string{"TempDir", none, "BodyMemory"}},
		{"a file", Options{TempDir: file}, []string{"TempDir", file}},
		{"needed by one byte", Options{TempDir: none, BodyMemory: 9999, BodyBytes: 10_000}, []string{"TempDir"}},
		{"not needed", Options{TempDir: none, BodyMemory: 10_000, BodyBytes: 10_000}, nil},
		{"no limit", Options{TempDir: none, BodyMemory: 1 << 30, BodyBytes: NoLimit}, []string{"TempDir"}},
		{"room for less than one", Options{TempBytes: 9999, BodyBytes: 10_000, BodyMemory: None}, []string{"TempBytes", "9999", "10000"}},
		{"room for one", Options{TempBytes: 10_000, BodyBytes: 10_000, BodyMemory: None}, nil},
		{"no bound of the room", Options{TempBytes: NoLimit, BodyBytes: 1 << 40}, nil},
		{"room for no limit", Options{BodyBytes: NoLimit}, nil},
		{"negative", Options{BodyMemory: -2}, []string{"BodyMemory", "-2"}},
		{"none in memory", Options{BodyMemory: None}, nil},
		{"the default by its name", Options{TempDir: ""}, nil},
	} {
		s, err := New(appFunc(hello), tt.options)
		if err == nil {
			s.Close()
		}
		if (err != nil) != (len(tt.want) > 0) {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		for _, part := range tt.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v; want %q in it", tt.name, err, part)
			}
		}
	}
}

// Content in memory costs no allocation, with Content-Length and in chunks of any size.
func TestContentInMemoryAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the pools drop what they are given, under the race detector")
	}
	s, err := New(appFunc(echoBody), Options{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m, want := s.openMemory(), []byte(pattern(64<<10))
	for _, size := range []int{0, 1000, 20_000} {
		in := []byte(upload(pattern(64<<10), size))
		feed := func() {
			m.Out = m.Out[:0]
			for rest := in; len(rest) > 0; {
				n := min(len(rest), 30_000)
				m.Feed(rest[:n:n])
				rest = rest[n:]
			}
			if !bytes.HasSuffix(m.Out, want) {
				t.Fatal("another answer")
			}
		}
		n := testing.AllocsPerRun(100, feed)
		for tries := 0; n != 0 && tries < 10; tries++ { // the pool may have learned the sizes of other tests, until it has seen 42,000 of these
			testing.AllocsPerRun(5000, feed)
			n = testing.AllocsPerRun(100, feed)
		}
		if n != 0 {
			t.Errorf("chunks of %d: %v allocations", size, n)
		}
	}
}
