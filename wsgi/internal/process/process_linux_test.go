package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/wsgi/internal/worker"
)

// All workers serve, end in order, and nothing of them is left.
func TestStartStop(t *testing.T) {
	h, o := newHost(t, serves)
	before := descriptors(t)
	o.Workers = 3
	g, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	h.group = g
	pids := map[int]bool{}
	for range 3 {
		pids[h.serves().PID()] = true
	}
	h.until("three are there", func() bool { return len(g.Workers()) == 3 })
	h.logs("application loaded", "app=app:app", "python="+o.Python, "found_by=it is named", "version=")
	for range 2 { // the second call finds nothing to do
		if err := g.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}
	for range 3 {
		if e := h.ends(); !e.Drained || e.Status != 0 || !pids[e.PID] {
			t.Errorf("%+v; want a worker that has ended in order", e)
		}
	}
	if n := len(h.log.with("INFO worker ended", "status 0, in order")); n != 3 || len(h.log.with("ERROR")) > 0 {
		t.Errorf("%d records of an end; want 3, and no errors", n)
	}
	if after := descriptors(t); after != before {
		t.Errorf("descriptors before:\n%s, and after:\n%s", before, after)
	}
}

// An application that cannot be loaded is one error with one traceback, and nothing is left.
func TestLoadError(t *testing.T) {
	h, o := newHost(t, "def deep():\n    raise RuntimeError('no ' + 'database')\ndeep()\n")
	before := descriptors(t)
	o.Workers = 4
	_, err := Start(context.Background(), o)
	var load *LoadError
	if !errors.As(err, &load) {
		t.Fatalf("error %v; want a LoadError", err)
	}
	if load.Kind != "import" || strings.Count(err.Error(), "Traceback") != 1 || strings.Count(err.Error(), "no database") != 2 ||
		!strings.Contains(err.Error(), "in deep") {
		t.Errorf("kind %q, error: %v", load.Kind, err)
	}
	var pid int
	if n, err := fmt.Sscan(h.read("imports"), &pid); n != 1 || err != nil || strings.Count(h.read("imports"), "\n") != 1 {
		t.Errorf("imported by %q; want one process", h.read("imports"))
	}
	if alive(pid) {
		t.Errorf("process %d is left", pid)
	}
	if lines := h.log.with(); len(lines) > 0 {
		t.Errorf("the log has %q beside the error", lines)
	}
	if after := descriptors(t); after != before {
		t.Errorf("descriptors before:\n%s, and after:\n%s", before, after)
	}
}

// What keeps Python from starting is a BootError that says so.
func TestBootError(t *testing.T) {
	script := func(t *testing.T, text string) string {
		path := filepath.Join(t.TempDir(), "python")
		if err := os.WriteFile(path, []byte(text), 0o777); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, test := range []struct {
		name   string
		source string
		change func(t *testing.T, o *Options)
		want   []string
	}{
		{"missing", "", func(_ *testing.T, o *Options) { o.Python = "/nowhere/python" }, []string{"/nowhere/python", "python.exe"}},
		{"not executable", "", func(_ *testing.T, o *Options) { o.Python = filepath.Join(o.Dir, "app.py") }, []string{"permission denied"}},
		{"another program", "", func(_ *testing.T, o *Options) { o.Python = "/bin/true" },
			[]string{"ended before the application was loaded: status 0", "CPython 3.8"}},
		{"a script that fails", "", func(t *testing.T, o *Options) { o.Python = script(t, "#!/bin/sh\necho no version >&2; exit 3\n") },
			[]string{"exit status 3", "no version"}},
		{"a script of something else", "", func(t *testing.T, o *Options) { o.Python = script(t, "#!/bin/sh\necho hello\n") },
			[]string{`"hello", which is no program`}},
		{"no directory", "", func(_ *testing.T, o *Options) { o.Dir = "/nowhere" }, []string{"/nowhere", "chdir"}},
		{"it ends", "print('last words', flush=True); os._exit(7)", nil, []string{"status 7", "last words"}},
		{"it crashes", "import faulthandler; faulthandler._sigsegv()", nil, []string{"SIGSEGV", "app.py"}},
		{"bad frames", "os.write(4, b'x' * 100); time.sleep(1000)", nil, []string{"killed by isbjorn", "wire: "}},
		{"too many slots", "", func(_ *testing.T, o *Options) { o.Config.Slots = 1 << 30 }, []string{"RLIMIT_NOFILE", "threads"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, o := newHost(t, test.source)
			if test.change != nil {
				test.change(t, &o)
			}
			_, err := Start(context.Background(), o)
			var boot *BootError
			if !errors.As(err, &boot) {
				t.Fatalf("error %v; want a BootError", err)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error: %v\nwant %q in it", err, part)
				}
			}
			if errs := h.log.with("ERROR"); len(errs) > 0 {
				t.Errorf("the log has %q beside the error", errs)
			}
		})
	}
}

// A module that runs a server of its own is an error with its stack, and the hint.
func TestBootTimeout(t *testing.T) {
	t.Parallel()
	_, o := newHost(t, "def run_simple():\n    time.sleep(1000)\nrun_simple()\n")
	o.BootTimeout = 3 * time.Second
	_, err := Start(context.Background(), o)
	var boot *BootError
	if !errors.As(err, &boot) {
		t.Fatalf("error %v; want a BootError", err)
	}
	for _, part := range []string{"boot_timeout = 3s", "app.py", "in run_simple", `if __name__ == "__main__":`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error: %v\nwant %q in it", err, part)
		}
	}
}

// One line says how a worker has died, what it was doing, and who has killed it; another one takes its place.
func TestDeath(t *testing.T) {
	for _, test := range []struct {
		name string
		kill func(h *host, w *Worker)
		want []string
	}{
		{"by a signal", func(_ *host, w *Worker) { _ = syscall.Kill(w.PID(), syscall.SIGKILL) },
			[]string{"signal 9 (SIGKILL), not sent by isbjorn"}},
		{"by us", func(_ *host, w *Worker) { w.Kill("it is a test") }, []string{"SIGKILL", "killed by isbjorn: it is a test"}},
		{"for memory", func(h *host, w *Worker) {
			h.mu.Lock()
			h.id += 1 << 32 // rises
			h.mu.Unlock()
			_ = syscall.Kill(w.PID(), syscall.SIGKILL)
		}, []string{"SIGKILL", "lack of memory: oom_kill"}},
		{"it crashes", func(h *host, _ *Worker) { h.send("/crash") }, []string{"SIGSEGV", "printed_last=", "Fatal Python error", "in crash"}},
		{"it exits", func(h *host, _ *Worker) { h.send("/exit") }, []string{"status 3", "printed_last=", "I leave"}},
		{"it breaks the protocol", func(h *host, _ *Worker) { h.send("/lie") }, []string{"killed by isbjorn: wire: frame type unknown here: 0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, o := newHost(t, serves+`
def crash(environ):
    import faulthandler
    faulthandler._sigsegv()
def exit(environ):
    print('I leave')
    os._exit(3)
def lie(environ):
    os.write(4, bytes(16))
    time.sleep(1000)
`)
			h.running = []string{"GET /slow (12s)"}
			o.oomKills = func() int {
				h.mu.Lock()
				defer h.mu.Unlock()
				return int(h.id >> 32)
			}
			o.pingTime = 20 * time.Millisecond
			w := h.start(o)
			for range 3 {
				if got := h.call(w, "/"); got != "ok" {
					t.Fatalf("answer %q", got)
				}
			}
			h.until("its memory is known", func() bool { return w.rss.Load() > 0 })
			test.kill(h, w)
			e := h.ends()
			line := h.logs("ERROR worker died")
			for _, part := range append(test.want, fmt.Sprintf("pid=%d", w.PID()), "worker=1", "age=", "requests=", "running=[GET /slow (12s)]", "rss_mib=") {
				if !strings.Contains(line, part) {
					t.Errorf("record: %s\nwant %q in it", line, part)
				}
			}
			if e.Served < 3 || e.Drained || e.Age <= 0 {
				t.Errorf("exit %+v", e)
			}
			if next := h.serves(); next.Number() != 2 || h.call(next, "/") != "ok" {
				t.Errorf("worker %d takes its place", next.Number())
			}
		})
	}
}

// A worker that has served for long is replaced at once; one that dies early, or does not start, after a delay that
// grows.
func TestRestart(t *testing.T) {
	h, o := newHost(t, "if os.path.exists('broken'): raise RuntimeError('it is broken')\n"+serves)
	var delays []int
	o.RestartDelay = func(failures int) time.Duration {
		h.mu.Lock()
		defer h.mu.Unlock()
		delays = append(delays, failures)
		return time.Millisecond
	}
	taken := func() []int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return slices.Clone(delays)
	}
	w := h.start(o)
	w.readyAt = time.Now().Add(-ServedTime)
	w.Kill("test")
	h.ends()
	w = h.serves()
	if got := taken(); len(got) > 0 {
		t.Errorf("delays %v for one that has served", got)
	}
	h.write("broken", "")
	w.Kill("test")
	h.ends()
	h.until("three have failed", func() bool { return len(h.log.with("ERROR worker did not start")) >= 3 })
	if err := os.Remove(filepath.Join(h.dir, "broken")); err != nil {
		t.Fatal(err)
	}
	w = h.serves()
	got := taken()
	for i, n := range got {
		if n != i+1 {
			t.Fatalf("delays after %v failures", got)
		}
	}
	if lines := h.log.with("ERROR worker did not start", "it is broken", "Traceback"); len(got) < 4 || len(lines) != len(got)-1 {
		t.Errorf("%d failures, %d records of a start that failed", len(got), len(lines))
	}
	w.readyAt = time.Now().Add(-ServedTime)
	w.Kill("test")
	h.ends()
	h.serves()
	if again := taken(); len(again) != len(got) {
		t.Errorf("delays %v for one that has served after failures", again[len(got):])
	}
}

func TestRestartDelay(t *testing.T) {
	var got []time.Duration
	for failures := range 8 {
		got = append(got, restartDelay(failures)/time.Second)
	}
	if want := []time.Duration{1, 1, 2, 4, 8, 16, 30, 30}; !slices.Equal(got, want) || restartDelay(1000) != 30*time.Second {
		t.Errorf("delays %v, want %v", got, want)
	}
}

// A worker is replaced when the other one serves; the second call for it does nothing.
func TestReplace(t *testing.T) {
	h, o := newHost(t, "if os.path.exists('broken'): raise RuntimeError('it is broken')\n"+serves)
	w := h.start(o)
	h.write("broken", "")
	h.group.Replace(w, "it is slow")
	h.group.Replace(w, "it is slow")
	h.until("two have failed", func() bool { return len(h.log.with("ERROR worker did not start")) >= 2 })
	if got := h.call(w, "/"); got != "ok" { // it serves on
		t.Errorf("answer %q", got)
	}
	if err := os.Remove(filepath.Join(h.dir, "broken")); err != nil {
		t.Fatal(err)
	}
	next := h.serves()
	if e := h.ends(); e.PID != w.PID() || !e.Drained || e.Signal != 0 {
		t.Errorf("%+v has ended; want pid %d in order", e, w.PID())
	}
	h.until("one is left", func() bool { return slices.Equal(h.group.Workers(), []*Worker{next}) })
	if n := len(h.log.with("WARN worker is replaced: it is slow", "worker=1")); n != 1 {
		t.Errorf("%d records of it", n)
	}
	if got := h.call(next, "/"); got != "ok" {
		t.Errorf("answer %q", got)
	}
	if n := len(h.ready); n > 0 {
		t.Errorf("%d workers too many", n)
	}
}

// A worker whose request never ends is killed when its time is over, with its stacks in the log.
func TestReplaceStuck(t *testing.T) {
	t.Parallel()
	h, o := newHost(t, serves+"\ndef hang(environ):\n    open('hangs', 'w'); time.sleep(1000)\n")
	o.GracefulTimeout = 50 * time.Millisecond
	w := h.start(o)
	h.send("/hang")
	h.until("it hangs", func() bool {
		return w.Load(0, worker.WordRunning) != 0 && h.read("imports") != "" && exists(h, "hangs")
	})
	h.group.Replace(w, "GET /hang does not end")
	h.serves()
	if e := h.ends(); e.PID != w.PID() || e.Drained || !strings.Contains(e.Why, "not ended within") {
		t.Errorf("exit %+v", e)
	}
	h.logs("ERROR worker is killed", "in hang", "worker=1")
	h.logs("ERROR worker died", "killed by isbjorn: it has not ended within", "worker=1")
}

// reload has the workers renewed, and returns the error.
func (h *host) reload(o Options) error {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return h.group.Reload(ctx, o, func() {})
}

// A reload brings new code and settings: each worker is replaced by one that serves before it leaves, one at a time.
func TestReload(t *testing.T) {
	h, o := newHost(t, serves+"\ndef version(environ): return os.environ['VERSION']\n")
	before := descriptors(t)
	o.Workers, o.Env = 3, append(o.Env, "VERSION=1")
	h.start(o)
	h.serves()
	h.serves()
	for version := 2; version <= 4; version++ {
		old := h.group.Workers()
		o.Env = append(o.Env, fmt.Sprintf("VERSION=%d", version))
		o.Workers = version // 2, 3, 4
		stop := make(chan struct{})
		most, watched := 0, make(chan struct{})
		go func() {
			defer close(watched)
			for {
				select {
				case <-stop:
					return
				default:
				}
				most = max(most, len(h.group.All()))
			}
		}()
		if err := h.reload(o); err != nil {
			t.Fatal(err)
		}
		close(stop)
		<-watched
		if limit := max(len(old), version) + 1; most > limit {
			t.Errorf("%d workers at once, want at most %d", most, limit)
		}
		for range old {
			if e := h.ends(); !e.Drained || e.Signal != 0 {
				t.Errorf("exit %+v; want one in order", e)
			}
		}
		h.until("the workers are there", func() bool { return len(h.group.Workers()) == version })
		for range version {
			h.serves()
		}
		for _, w := range h.group.Workers() {
			if slices.Contains(old, w) || w.Info().Generation != version {
				t.Errorf("worker %d of generation %d serves still", w.Number(), w.Info().Generation)
			}
		}
	}
	h.logs("application loaded", "generation=4")
	if errs := h.log.with("ERROR"); len(errs) > 0 {
		t.Errorf("the log has %q", errs)
	}
	h.stop()
	if after := descriptors(t); after != before {
		t.Errorf("descriptors before:\n%s, and after:\n%s", before, after)
	}
}

// Where the new code does not load, nothing changes: the workers serve on, and one that dies is replaced by the old
// settings. The error has the traceback, once, and the log has none.
func TestReloadFails(t *testing.T) {
	h, o := newHost(t, "if os.environ.get('BROKEN'): raise RuntimeError('it is broken')\n"+serves)
	o.Workers = 2
	h.start(o)
	h.serves()
	old := h.group.Workers()
	broken := o
	broken.Env, broken.Workers = append(slices.Clone(o.Env), "BROKEN=1"), 5
	err := h.reload(broken)
	var load *LoadError
	if !errors.As(err, &load) || strings.Count(err.Error(), "Traceback") != 1 {
		t.Errorf("error %v; want a LoadError with its traceback", err)
	}
	broken.Python = "/nowhere/python"
	var boot *BootError
	if err := h.reload(broken); !errors.As(err, &boot) {
		t.Errorf("error %v; want a BootError", err)
	}
	if now := h.group.Workers(); !slices.Equal(now, old) || h.group.Size() != 2 {
		t.Errorf("%d workers of %d", len(now), h.group.Size())
	}
	if lines := h.log.with("ERROR"); len(lines) > 0 {
		t.Errorf("the log has %q", lines)
	}
	_ = syscall.Kill(old[0].PID(), syscall.SIGKILL)
	if w := h.serves(); w.Info().Generation != 1 {
		t.Errorf("generation %d takes the place of one that died", w.Info().Generation)
	}
	o.Workers = 1
	if err := h.reload(o); err != nil { // the next try works
		t.Error(err)
	}
	if w := h.serves(); w.Info().Generation != 2 {
		t.Errorf("generation %d", w.Info().Generation)
	}
}

// A reload that comes while workers are starting has no more processes at once than one that comes later.
func TestReloadAtTheStart(t *testing.T) {
	h, o := newHost(t, serves)
	o.Workers = 4
	h.start(o)
	most, stop, watched := 0, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			default:
				most = max(most, len(h.group.All()))
			}
		}
	}()
	if err := h.reload(o); err != nil {
		t.Fatal(err)
	}
	h.until("all serve", func() bool { return len(h.group.All()) == 4 && len(h.group.Workers()) == 4 })
	close(stop)
	<-watched
	if most > 5 {
		t.Errorf("%d workers at once, want at most 5", most)
	}
}

// A reload that is given up, or that a stop meets, ends its worker.
func TestReloadEnds(t *testing.T) {
	h, o := newHost(t, "if os.path.exists('slow'): open('waits', 'w'); time.sleep(1000)\n"+serves)
	h.start(o)
	h.write("slow", "")
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- h.group.Reload(ctx, o, func() {}) }()
	h.until("the new worker waits", func() bool { return exists(h, "waits") })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	_ = os.Remove(filepath.Join(h.dir, "waits"))
	go func() { result <- h.reload(o) }()
	h.until("the new worker waits", func() bool { return exists(h, "waits") })
	if err := h.group.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-result; err == nil {
		t.Error("no error of the reload")
	}
	if err := h.reload(o); !errors.Is(err, errStopping) {
		t.Errorf("error %v of a reload after the stop", err)
	}
}

// Workers are added and taken away: the oldest leaves, when it has answered.
func TestScale(t *testing.T) {
	h, o := newHost(t, serves)
	o.Workers = 2
	first := h.start(o)
	h.serves()
	h.group.Scale(4)
	h.serves()
	h.serves()
	h.group.Scale(3)
	if e := h.ends(); e.PID != first.PID() || !e.Drained {
		t.Errorf("exit %+v; want pid %d in order", e, first.PID())
	}
	h.group.Scale(0)
	h.ends()
	h.ends()
	if n := len(h.group.Workers()); n != 1 || h.group.Size() != 1 {
		t.Errorf("%d workers are left, of %d", n, h.group.Size())
	}
}

// Fewer workers, and code that serves, end the wait for those that have died early.
func TestScaleWhileOneWaits(t *testing.T) {
	h, o := newHost(t, serves)
	o.Workers, o.RestartDelay = 2, func(int) time.Duration { return time.Hour }
	w := h.start(o)
	h.serves()
	_ = syscall.Kill(w.PID(), syscall.SIGKILL)
	h.ends()
	pending := func() int {
		h.group.mu.Lock()
		defer h.group.mu.Unlock()
		return len(h.group.pending)
	}
	h.until("one waits", func() bool { return pending() == 1 })
	h.group.Scale(1)
	if n := pending(); n != 0 {
		t.Errorf("%d wait, want none", n)
	}
	h.group.Scale(2)
	if n := pending(); n != 1 {
		t.Errorf("%d wait, want 1", n)
	}
	if err := h.reload(o); err != nil {
		t.Fatal(err)
	}
	h.until("two serve", func() bool { return len(h.group.Workers()) == 2 && pending() == 0 })
}

// Workers at a limit of Recycle are replaced one at a time, each by one that serves first.
func TestRecycle(t *testing.T) {
	for _, test := range []struct {
		name   string
		limits Recycle
		work   string
		why    string
	}{
		{"requests", Recycle{Requests: 3, RequestsJitter: 2}, "/", "it has begun"},
		{"lifetime", Recycle{Lifetime: time.Second}, "", "max_lifetime is 1s"},
		{"memory", Recycle{Memory: 100 << 20}, "/grow", "max_rss is 100 MiB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, o := newHost(t, serves+"\ndef grow(environ): globals()['kept'] = b'x' * (120 << 20)\n")
			o.Recycle, o.recycleTime, o.memoryTime = test.limits, time.Millisecond, time.Millisecond
			w := h.start(o)
			n := 0
			for ; test.work != "" && n < 20 && w.Info().State == "serving"; n++ {
				h.call(w, test.work)
				if len(h.log.with("worker is replaced")) > 0 { // before another one can take a request
					break
				}
			}
			if test.limits.Requests > 0 && n < 2 {
				t.Errorf("after %d requests", n)
			}
			next := h.serves()
			if e := h.ends(); e.PID != w.PID() || !e.Drained || e.Signal != 0 {
				t.Errorf("exit %+v; want pid %d in order", e, w.PID())
			}
			if next.Info().Generation != 1 {
				t.Errorf("generation %d", next.Info().Generation)
			}
			h.logs("INFO worker is replaced", test.why, "worker=1")
			if lines := h.log.with("ERROR"); len(lines) > 0 {
				t.Errorf("the log has %q", lines)
			}
		})
	}
}

func exists(h *host, name string) bool {
	_, err := os.Stat(filepath.Join(h.dir, name))
	return err == nil
}

// SIGTERM of a worker has it replaced.
func TestTerminated(t *testing.T) {
	h, o := newHost(t, serves)
	w := h.start(o)
	_ = syscall.Kill(w.PID(), syscall.SIGTERM)
	next := h.serves()
	if e := h.ends(); e.PID != w.PID() || !e.Drained || e.Signal != 0 {
		t.Errorf("exit %+v", e)
	}
	h.logs("worker is replaced: it got SIGTERM", "worker=1")
	if next.Number() != 2 || len(h.log.with("ERROR")) > 0 {
		t.Errorf("worker %d takes its place", next.Number())
	}
}

// A worker of which code in C holds Python's lock is killed, with the stacks that Python's fault handler prints.
func TestStall(t *testing.T) {
	t.Parallel()
	h, o := newHost(t, serves+"\ndef hold(environ):\n    import ctypes; ctypes.PyDLL(None).sleep(1000)\n")
	o.pingTime, o.StallTimeout = 500*time.Millisecond, 4*time.Second
	w := h.start(o)
	h.send("/hold")
	if e := h.ends(); e.PID != w.PID() || !strings.Contains(e.Why, "has not answered for 4s") {
		t.Errorf("exit %+v", e)
	}
	h.logs("worker is killed", "gives no stacks")
	h.logs("INFO", "in hold", "worker=1")
	h.logs("ERROR worker died", "SIGABRT", "killed by isbjorn")
	h.serves()
}

// What the worker logs is in the log, with its level and the request.
func TestLog(t *testing.T) {
	h, o := newHost(t, serves+`
def speak(environ):
    print('printed text')
    sys.stderr.write('Traceback:\n  line\nError\n')
    environ['wsgi.errors'].write('logged text\n')
`)
	w := h.start(o)
	h.call(w, "/")
	h.call(w, "/speak")
	h.logs("ERROR logged text", "worker=1", "request=2")
	h.logs("INFO", "printed text", "worker=1")
	h.logs("INFO", "Traceback:\n  line\nError", "worker=1")
}

// The stacks of a worker that serves, and of one that has ended.
func TestDump(t *testing.T) {
	h, o := newHost(t, serves)
	w := h.start(o)
	got := make(chan string, 1)
	w.Dump(func(stacks string) { got <- stacks })
	if stacks := <-got; !strings.Contains(stacks, "thread MainThread") {
		t.Errorf("stacks: %s", stacks)
	}
	w.Kill("test")
	h.ends()
	w.Dump(func(stacks string) { got <- stacks })
	if stacks := <-got; stacks != "the worker has ended" {
		t.Errorf("stacks: %s", stacks)
	}
}

// Stop ends workers in every state, at the latest when its context or GracefulTimeout does.
func TestStop(t *testing.T) {
	for _, test := range []struct {
		name   string
		source string
		grace  time.Duration
		state  func(h *host, w *Worker)
		err    string // in the error of Stop with a context that has not ended
	}{
		{"one starts", "if os.path.exists('slow'): time.sleep(1000)\n", patience, func(h *host, w *Worker) {
			h.write("slow", "")
			h.group.Replace(w, "test")
			h.until("it imports", func() bool { return strings.Count(h.read("imports"), "\n") == 2 })
		}, ""},
		{"one waits for its delay", "if os.path.exists('broken'): 1/0\n", patience, func(h *host, w *Worker) {
			h.write("broken", "")
			h.group.mu.Lock()
			h.group.o.RestartDelay = func(int) time.Duration { return time.Hour }
			h.group.mu.Unlock()
			w.Kill("test")
			h.ends()
		}, ""},
		{"one is stuck", "", 50 * time.Millisecond, func(h *host, w *Worker) {
			h.send("/hang")
			h.until("it hangs", func() bool { return w.Load(0, worker.WordRunning) != 0 })
		}, "worker 1 (pid "},
		{"one is stuck in C", "", 50 * time.Millisecond, func(h *host, w *Worker) {
			h.send("/hold")
			h.until("it hangs", func() bool { return exists(h, "holds") })
		}, "worker 1 (pid "},
		{"one is stopped", "", 50 * time.Millisecond, func(_ *host, w *Worker) { _ = syscall.Kill(w.PID(), syscall.SIGSTOP) }, "worker 1 (pid "},
	} {
		for _, atOnce := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, atOnce), func(t *testing.T) {
				t.Parallel()
				h, o := newHost(t, test.source+serves+`
def hang(environ):
    time.sleep(1000)
def hold(environ):
    import ctypes
    open('holds', 'w').close()
    ctypes.PyDLL(None).sleep(1000)
`)
				o.GracefulTimeout = test.grace
				w := h.start(o)
				test.state(h, w)
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				want := test.err
				if atOnce {
					if cancel(); want != "" {
						want = context.Canceled.Error()
					}
				}
				for i := range 2 {
					err := h.group.Stop(ctx)
					if i == 1 {
						want = ""
					}
					if err != nil && (want == "" && !atOnce || !strings.Contains(err.Error(), want)) || err == nil && want != "" {
						t.Errorf("call %d: error %v, want %q", i+1, err, want)
					}
				}
				if len(h.group.Workers()) > 0 || alive(w.PID()) {
					t.Error("a worker is left")
				}
			})
		}
	}
}

// Start ends with its context, and leaves nothing.
func TestStartCanceled(t *testing.T) {
	h, o := newHost(t, "time.sleep(1000)\n")
	before := descriptors(t)
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error, 1)
	go func() {
		_, err := Start(ctx, o)
		failed <- err
	}()
	h.until("it imports", func() bool { return h.read("imports") != "" })
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if after := descriptors(t); after != before {
		t.Errorf("descriptors before:\n%s, and after:\n%s", before, after)
	}
}

// A worker has the descriptors of the table alone, a process group of its own, and no variables of this process alone.
func TestInherited(t *testing.T) {
	for _, name := range hidden {
		t.Setenv(name, "1")
	}
	t.Setenv("ALREADY", "here")
	inherited, err := unix.Open("/dev/zero", unix.O_RDONLY, 0) // as one of the shell that has started this process
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	h, o := newHost(t, serves+`
def fds(environ):
    links = {os.readlink('/proc/self/fd/' + f).split(':')[0] for f in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + f)}
    return sorted(links - {'anon_inode'}), os.readlink('/proc/self/fd/0')
def env(environ):
    return sorted(k for k in os.environ if k.startswith(('LISTEN_', 'NOTIFY_', 'WATCHDOG_', 'TABLEFLIP_'))), os.environ.get('PYTHONUNBUFFERED'), os.environ.get('ALREADY'), os.environ.get('MORE')
def group(environ):
    return os.getpgrp() == os.getpid()
def cwd(environ):
    return os.getcwd()
def child(environ):
    import subprocess
    return subprocess.run(['ls', '/proc/self/fd'], close_fds=False, stdout=subprocess.PIPE).stdout.decode().split()
`)
	o.Env = append(o.Env, "MORE=too")
	w := h.start(o)
	for path, want := range map[string]string{
		"/fds":   "(['/dev/null', '/memfd', 'pipe', 'socket'], '/dev/null')",
		"/env":   "([], '1', 'here', 'too')",
		"/group": "True",
		"/cwd":   h.dir,
		"/child": "['0', '1', '2', '3']", // 3 is that of ls
	} {
		if got := h.call(w, path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// A child of the application that has the output of a worker does not delay its end.
func TestGrandchild(t *testing.T) {
	h, o := newHost(t, serves+`
def child(environ):
    import subprocess
    return subprocess.Popen(['sleep', '1000']).pid
`)
	w := h.start(o)
	var pid int
	if _, err := fmt.Sscan(h.call(w, "/child"), &pid); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()
	w.Kill("test")
	h.ends()
	if !alive(pid) {
		t.Error("the child has ended; nothing is shown")
	}
}

// other starts this program in another role, and returns a function that waits for a file of it.
func other(t *testing.T, role string, through ...string) (cmd *exec.Cmd, h *host) {
	h, _ = newHost(t, serves)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(through, exe)
	cmd = exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "TEST_PROCESS="+role, "TEST_PROCESS_DIR="+h.dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, h
}

// fatal is a testing.TB for another process.
type fatal struct{ testing.TB }

func (fatal) Helper()        {}
func (fatal) Cleanup(func()) {}
func (fatal) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, args...)
	os.Exit(1)
}

func serveUntilKilled(dir string) {
	h := makeHost(fatal{}, dir)
	w := h.start(h.options(python(fatal{})))
	h.write("pid", fmt.Sprintln(w.PID()))
	_, _ = io.Copy(io.Discard, os.Stdin)
	select {}
}

// When the server is killed its workers end.
func TestServerKilled(t *testing.T) {
	cmd, h := other(t, "killed")
	var pid int
	h.until("it serves", func() bool { n, _ := fmt.Sscan(h.read("pid"), &pid); return n == 1 })
	if !alive(pid) {
		t.Error("the worker is not there")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	h.until("the worker ends", func() bool { return !alive(pid) })
}

func serveManySlots(dir string) {
	h := makeHost(fatal{}, dir)
	o := h.options(python(fatal{}))
	o.Config.Slots = 600
	h.start(o)
	h.stop()
	h.write("pid", "done")
	os.Exit(0)
}

// Slots are not bounded by the soft limit of open files.
func TestManySlots(t *testing.T) {
	cmd, h := other(t, "slots", "/bin/sh", "-c", `ulimit -Sn 1024; exec "$0"`)
	if err := cmd.Wait(); err != nil || h.read("pid") != "done" {
		t.Errorf("it ends by %v", err)
	}
}
