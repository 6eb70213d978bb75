package server

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/internal/testlog"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/server/internal/spool"
)

// A file system that is full, a real one: what fits is served before and after.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "fills a disk")
	dir := t.TempDir()
	if err := unix.Mount("isbjorn-test", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("no file system can be mounted here (%v); TestContentCannotBeKept makes the error up instead", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil { // EBUSY if a file is open
			t.Errorf("unmount: %v", err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	for _, open := range []func(string) (spool.File, error){spool.Open, spool.Create} {
		s := startOn(collecting, t, appFunc(echoBody), Options{TempDir: dir, BodyBytes: NoLimit, tune: func(c *config) { c.content.Open = open }})
		c := s.dial()
		for range 3 {
			c.send(upload(pattern(1_000_000), 0))
			c.want("POST", 200, pattern(1_000_000))
			full := s.dial()
			go func() { _, _ = io.WriteString(full, upload(pattern(5_000_000), 0)) }()
			if resp, text := full.read("POST"); resp.StatusCode != 507 || !resp.Close {
				t.Errorf("answered %d %q, want 507 and the end", resp.StatusCode, text)
			}
			full.wantEnd()
		}
		if log := s.log.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, syscall.ENOSPC.Error()) {
			t.Errorf("the log is %s", log)
		}
		s.Close()
	}
}

// Without a descriptor for a file the answer is 503, and other connections are served.
func TestNoDescriptorForContent(t *testing.T) {
	s := startOn(collecting, t, appFunc(echoBody), Options{})
	c, other := s.dial(), s.dial()
	for _, c := range []*client{c, other} {
		c.send(get)
		c.want("GET", 200, "")
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	free := null.Fd() // the lowest that is
	_ = null.Close()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(free), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	c.send(upload(pattern(200_000), 0))
	resp, _ := c.read("POST")
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 503 || !resp.Close {
		t.Errorf("answered %d %v, want 503 and the end", resp.StatusCode, resp.Header)
	}
	if log := s.log.String(); !strings.Contains(log, "TempDir") || !strings.Contains(log, syscall.EMFILE.Error()) {
		t.Errorf("the log is %s", log)
	}
	go other.send(upload(pattern(200_000), 0))
	other.want("POST", 200, pattern(200_000))
}

// residentBytes is what the kernel counts as this process's memory.
func residentBytes(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// growth measures how much memory the process takes from now on: its resident memory, garbage included, since a
// machine must have that. Under the race detector, whose shadow memory is several times as large, it is the memory
// in use.
type growth struct {
	t      *testing.T
	before int64
	most   int64
}

func measureGrowth(t *testing.T) *growth {
	debug.FreeOSMemory()
	g := &growth{t: t}
	g.before = g.now()
	return g
}

func (g *growth) now() int64 {
	if raceEnabled {
		return heapBytes()
	}
	return residentBytes(g.t)
}

func (g *growth) look() { g.most = max(g.most, g.now()-g.before) }

// held is how many connections have a suspended response.
func (s *testServer) held() (n int) {
	for _, l := range s.reactor.Loops() {
		done := make(chan int)
		l.Do(func() {
			n := 0
			for _, c := range connsOf(l) {
				if c.Context.(*session).phase == responding {
					n++
				}
			}
			done <- n
		})
		n += <-done
	}
	return n
}

// Clients that pipeline large uploads and do not read: what they cost is bounded,
// the others do not notice, and when they read on every byte is right.
func TestStalledUploads(t *testing.T) {
	testrun.Slow(t, "600 MiB of uploads")
	clients, uploads := 50, 12
	if raceEnabled {
		clients, uploads = 20, 4 // the detector makes it slow and sees nothing new in more
	}
	const size, growthMax = 1 << 20, 60 << 20
	const slowest = 50 * time.Millisecond // median of the others

	s := startSmall(t, appFunc(echoBody), Options{Dispatch: collecting, WriteTimeout: 2 * time.Minute}) // so that they stall at once
	random := []byte(pattern(2 * size))                                                                 // what client i sends as its k-th begins somewhere in it
	for i := range random {
		random[i] ^= byte(i >> 8)
	}
	contentOf := func(i, k int) []byte { return random[i*uploads+k:][:size] }
	head := fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", size)

	other := s.dial()
	memory := measureGrowth(t)
	all := make([]*client, clients)
	for i := range all {
		c := s.dial()
		_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
		_ = c.SetReadBuffer(64 << 10)
		all[i] = c
		go func() {
			for k := range uploads {
				_, _ = c.Write(head)
				_, _ = c.Write(contentOf(i, k))
			}
		}()
	}
	eventually(t, "every client is held", func() bool { memory.look(); return s.held() == clients })

	var took []time.Duration
	for range 100 {
		began := time.Now()
		other.send(get)
		other.want("GET", 200, "")
		took = append(took, time.Since(began))
	}
	memory.look()
	slices.Sort(took)
	if median := took[len(took)/2]; median > slowest {
		t.Errorf("the others waited for %v, want less than %v", median, slowest)
	}
	t.Logf("%d clients held: memory has grown by %.1f MB; the others waited for %v, at most %v",
		clients, float64(memory.most)/1e6, took[len(took)/2], took[len(took)-1])

	var right atomic.Int32
	done := make(chan bool)
	for i, c := range all {
		go func() {
			defer func() { done <- true }()
			b := make([]byte, 32<<10)
			for k := range uploads {
				for { // the head of the answer
					line, err := c.r.ReadSlice('\n')
					if err != nil {
						t.Errorf("client %d, answer %d: %v", i, k, err)
						return
					}
					if len(line) == 2 {
						break
					}
				}
				for want := contentOf(i, k); len(want) > 0; {
					n, err := c.r.Read(b[:min(len(b), len(want))])
					if err != nil || !bytes.Equal(b[:n], want[:n]) {
						t.Errorf("client %d, answer %d, %d bytes before its end: other bytes, or %v", i, k, len(want), err)
						return
					}
					want = want[n:]
				}
				right.Add(1)
			}
		}()
	}
	for range all {
		<-done
		memory.look()
	}
	if n := int(right.Load()); n != clients*uploads {
		t.Errorf("%d of %d answers were right", n, clients*uploads)
	}
	t.Logf("at most: %.1f MB", float64(memory.most)/1e6)
	if memory.most > growthMax {
		t.Errorf("memory has grown by %d bytes, want less than %d", memory.most, growthMax)
	}
}

// Small requests without end from a client that does not read: their answers do
// not gather in memory, and come in order when it reads.
func TestPipelinedMemory(t *testing.T) {
	const n, growthMax = 20_000, 4 << 20
	s := startSmall(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if _, err := start("200 OK", textHeaders, nil); err != nil {
			return nil, err
		}
		return env.Text(env.Path()), nil
	}), Options{})
	var requests bytes.Buffer
	for i := range n {
		fmt.Fprintf(&requests, "GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", i)
	}
	c := s.dial()
	_ = c.SetReadBuffer(64 << 10)
	memory := measureGrowth(t)
	go func() { _, _ = c.Write(requests.Bytes()) }()
	other := s.dial()
	other.send("GET /other HTTP/1.1\r\nHost: h\r\n\r\n")
	other.want("GET", 200, "/other")
	s.waitFull()
	memory.look()
	t.Logf("memory has grown by %.2f MB", float64(memory.most)/1e6)
	if memory.most > growthMax {
		t.Errorf("memory has grown by %d bytes, want less than %d", memory.most, growthMax)
	}
	for i := range n {
		c.want("GET", 200, fmt.Sprintf("/%d", i))
	}
}

// startSmall is start with sockets that take 64 KiB at most, where the kernel's
// own choice would take all the answers of a test.
func startSmall(t *testing.T, app gateway.App, options Options) *testServer {
	t.Helper()
	small := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 32<<10) }) // the kernel doubles it
		return err
	}}
	l, err := small.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, app, options)
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	s.addr = l.Addr()
	return s
}

// A program starts without a directory for temporary files, and in an empty root: the
// log says what content over BodyMemory would need, and only that is refused.
func TestNoTempDir(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for name, variable := range map[string]string{"TMPDIR is missing": "TMPDIR=" + missing, "empty root": newRoot + "=" + t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			if os.Geteuid() != 0 && strings.HasPrefix(variable, newRoot) {
				t.Skip("only root may chroot")
			}
			f := begin(t, "2 30s serves", func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, variable) }, "-addr", "127.0.0.1:0")
			f.says("no temporary file can be made")
			f.says("TMPDIR")
			post := func(n int) *http.Response {
				resp, err := http.Post("http://"+f.address, "", strings.NewReader(pattern(n)))
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				return resp
			}
			if resp := post(64 << 10); resp.StatusCode != 200 {
				t.Errorf("content in memory: %s", resp.Status)
			}
			if resp := post(64<<10 + 1); resp.StatusCode != 500 {
				t.Errorf("content that needs a file: %s, want 500", resp.Status)
			}
			f.says("cannot be kept in the directory of the option TempDir")
			http.DefaultClient.CloseIdleConnections()
			f.stop()
		})
	}
}

// A server that needs no directory for temporary files does not log that there is none.
func TestNoTempDirNeeded(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	for name, tt := range map[string]struct {
		app     gateway.App
		options Options
		warned  bool
	}{
		"collected":     {appFunc(hello), Options{}, true},
		"an http app":   {nethttp.App(http.NotFoundHandler()), Options{}, false},
		"Pool":          {appFunc(hello), Options{Dispatch: Pool}, false},
		"all in memory": {appFunc(hello), Options{BodyMemory: 10, BodyBytes: 10}, false},
	} {
		log := &testlog.Buffer{}
		s, err := New(tt.app, tt.options.with(Options{Logger: slog.New(slog.NewTextHandler(log, nil))}))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		s.Close()
		if warned := log.String() != ""; warned != tt.warned {
			t.Errorf("%s: the log is %q", name, log)
		}
	}
}
