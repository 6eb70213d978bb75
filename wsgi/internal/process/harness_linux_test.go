package process

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/wsgi/internal/wire"
	"github.com/isbjorn/isbjorn/wsgi/internal/worker"
)

// patience is how long a test waits for what has to come.
const patience = 60 * time.Second

// TestMain runs a test's other process if the variable says so.
func TestMain(m *testing.M) {
	switch dir := os.Getenv("TEST_PROCESS_DIR"); os.Getenv("TEST_PROCESS") {
	case "killed":
		serveUntilKilled(dir)
	case "slots":
		serveManySlots(dir)
	default:
		goleak.VerifyTestMain(m)
	}
}

// python is the interpreter of the tests.
func python(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("needs python3, 3.8 or later: apt-get install python3")
	return ""
}

// records is a log that tests can read: a line of LEVEL, message and attributes for each record.
type records struct {
	mu    sync.Mutex
	lines []string
}

func (*records) Enabled(context.Context, slog.Level) bool { return true }
func (r *records) WithAttrs([]slog.Attr) slog.Handler     { return r }
func (r *records) WithGroup(string) slog.Handler          { return r }

func (r *records) Handle(_ context.Context, rec slog.Record) error {
	line := rec.Level.String() + " " + rec.Message
	rec.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	return nil
}

// with are the records that have all parts.
func (r *records) with(parts ...string) (found []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.lines {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			found = append(found, line)
		}
	}
	return found
}

func (r *records) String() string { return strings.Join(r.with(), "\n") }

// host is the Host of a test, and the server's end of its queue.
type host struct {
	t      testing.TB
	dir    string
	log    *records
	queue  int // our end
	theirs *os.File
	ready  chan *Worker // those that serve, as they come
	exits  chan *Exit
	group  *Group

	mu      sync.Mutex
	id      uint64
	drained []*Worker
	gone    map[*Worker]bool
	running []string // what Running says
	fences  sync.WaitGroup
}

// newHost makes a host, with an application in a directory of its own.
func newHost(t testing.TB, source string) (*host, Options) {
	testrun.Slow(t, "starts Python", "TestStartStop")
	dir := t.TempDir()
	h := makeHost(t, dir)
	h.write("app.py", "import os, sys, time\nopen('imports', 'a').write('%d\\n' % os.getpid())\n"+source)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log:\n%v", h.log)
		}
	})
	return h, h.options(python(t))
}

func makeHost(t testing.TB, dir string) *host {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, dir: dir, log: new(records), queue: fds[0], theirs: os.NewFile(uintptr(fds[1]), "queue"),
		ready: make(chan *Worker, 1000), exits: make(chan *Exit, 1000), gone: map[*Worker]bool{}}
	t.Cleanup(func() { _ = unix.Close(fds[0]); _ = h.theirs.Close() })
	return h
}

func (h *host) options(python string) Options {
	return Options{Python: python, Dir: h.dir, Workers: 1, Queue: h.theirs, BootTimeout: patience, GracefulTimeout: patience,
		Log: slog.New(h.log), Host: h, Config: wire.Config{Target: "app:app", Slots: 1},
		Env: []string{"PYTHONDONTWRITEBYTECODE=1"}, RestartDelay: func(int) time.Duration { return time.Millisecond }}
}

// serves is an application that answers.
const serves = `
def app(environ, start_response):
    name = environ['PATH_INFO'][1:]
    result = globals()[name](environ) if name else 'ok'
    start_response('200 OK', [])
    return [str(result).encode()]
`

// start starts the workers, which end with the test.
func (h *host) start(o Options) *Worker {
	h.t.Helper()
	g, err := Start(context.Background(), o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.group = g
	h.t.Cleanup(func() { h.stop() })
	return h.serves()
}

// stop ends all workers at once.
func (h *host) stop() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = h.group.Stop(ended)
	h.fences.Wait()
}

// serves is the next worker that serves.
func (h *host) serves() *Worker {
	h.t.Helper()
	select {
	case w := <-h.ready:
		return w
	case <-time.After(patience):
		h.t.Fatal("no worker serves")
		return nil
	}
}

// ends is how the next process has ended that served.
func (h *host) ends() *Exit {
	h.t.Helper()
	select {
	case e := <-h.exits:
		return e
	case <-time.After(patience):
		h.t.Fatal("no worker ends")
		return nil
	}
}

func (h *host) until(what string, done func() bool) {
	h.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatal("never: " + what)
		}
	}
}

// logs waits for a record with all parts, and returns it.
func (h *host) logs(parts ...string) string {
	h.t.Helper()
	h.until(fmt.Sprintf("a record with %q", parts), func() bool { return len(h.log.with(parts...)) > 0 })
	return h.log.with(parts...)[0]
}

func (h *host) write(name, content string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(content), 0o666); err != nil {
		h.t.Fatal(err)
	}
}

// read is the content of a file, "" if it is not there.
func (h *host) read(name string) string {
	b, _ := os.ReadFile(filepath.Join(h.dir, name))
	return string(b)
}

// send sends a request.
func (h *host) send(path string) {
	h.t.Helper()
	var e wire.Encoder
	e.Begin()
	for _, pair := range [][2]string{{"REQUEST_METHOD", "GET"}, {"PATH_INFO", path}, {"SERVER_PROTOCOL", "HTTP/1.1"}} {
		e.Text(pair[0], pair[1])
	}
	if err := e.End(nil, 0); err != nil {
		h.t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.id++
	if _, err := unix.Write(h.queue, e.Message(h.id)); err != nil {
		h.t.Fatal(err)
	}
}

// call sends a request and returns the content of the answer by the only slot that there is.
func (h *host) call(w *Worker, path string) string {
	h.t.Helper()
	h.send(path)
	var d wire.Decoder
	var b []byte
	chunk := make([]byte, 64<<10)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(w.Data(0)), Events: unix.POLLIN}}, 1000)
		if n, _ := unix.Read(w.Data(0), chunk); n > 0 {
			b = append(b, chunk[:n]...)
		}
		f, n, err := d.Next(b)
		if err != nil {
			h.t.Fatal(err)
		}
		if n > 0 && f.Type == wire.FrameFail {
			h.t.Fatalf("the request fails: %q", f.Payload)
		}
		if n > 0 {
			var head wire.Head
			rest, err := wire.DecodeHead(&head, f.Payload, false)
			if err != nil {
				h.t.Fatal(err)
			}
			return string(rest)
		}
	}
	h.t.Fatal("no answer")
	return ""
}

// Ready implements Host.
func (h *host) Ready(w *Worker) { h.ready <- w }

// Drain implements Host: its slots leave.
func (h *host) Drain(w *Worker) {
	h.mu.Lock()
	h.drained = append(h.drained, w)
	h.mu.Unlock()
	for slot := range w.Slots() {
		w.Store(slot, worker.WordDrain, 1)
	}
	h.fences.Go(func() {
		for {
			h.mu.Lock()
			h.id++
			if h.gone[w] {
				h.mu.Unlock()
				return
			}
			_ = unix.Sendto(h.queue, wire.AppendFence(nil, h.id), unix.MSG_DONTWAIT, nil)
			h.mu.Unlock()
			time.Sleep(5 * time.Millisecond)
		}
	})
}

// Exited implements Host.
func (h *host) Exited(w *Worker, e *Exit) {
	h.mu.Lock()
	h.gone[w] = true
	h.mu.Unlock()
	w.Release()
	h.exits <- e
}

// Running implements Host.
func (h *host) Running(*Worker) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running
}

// Shutdown implements Host.
func (h *host) Shutdown() { _ = unix.Shutdown(h.queue, unix.SHUT_WR) }

// descriptors are those of this process.
func descriptors(t testing.TB) string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "anon_inode:") {
			fmt.Fprintf(&b, "%s %s\n", e.Name(), to)
		}
	}
	return b.String()
}

// alive reports whether a process is there, other than as a zombie.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}
