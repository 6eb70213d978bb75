package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// until waits for a condition.
func (r *running) until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitTime); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s; on standard error:\n%s", what, r.stderr)
		}
	}
}

// logs waits until a text is n times on standard error.
func (r *running) logs(t testing.TB, text string, n int) {
	t.Helper()
	r.until(t, fmt.Sprintf("%q %d times", text, n), func() bool { return strings.Count(r.stderr.String(), text) >= n })
}

// children are the processes that a process has.
func children(pid int) (pids []int) {
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range names {
		b, _ := os.ReadFile(name)
		for _, text := range strings.Fields(string(b)) {
			n, _ := strconv.Atoi(text)
			pids = append(pids, n)
		}
	}
	return pids
}

func versionedApp(version int) string {
	return fmt.Sprintf("import time\ndef app(e, sr):\n    time.sleep(.001)\n    sr('200 OK', []); return [b'%d']\n", version)
}

// SIGHUP 20 times under load, each with new code: no request fails, the new code answers, and there is never more than
// one process beyond those that are configured. Code that does not load changes nothing, and neither does a file of
// settings with a mistake.
func TestHangup(t *testing.T) {
	t.Parallel()
	dir := write(t, t.TempDir(), map[string]string{"app.py": versionedApp(1),
		"isbjorn.toml": "bind = '127.0.0.1:0'\nworkers = 2\nenv = ['PYTHONDONTWRITEBYTECODE=1']\n"})
	r := start(t, dir, nil, "run", "--python-exe", systemPython(t), "app:app")
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var requests atomic.Int64
	for i := range 8 {
		clients.Go(func() {
			transport := &http.Transport{DisableKeepAlives: i%2 == 0}
			defer transport.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := (&http.Client{Transport: transport, Timeout: waitTime}).Get(r.url)
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != 200 || err != nil || len(b) == 0 {
					t.Errorf("%d %q %v", resp.StatusCode, b, err)
				}
				requests.Add(1)
			}
		})
	}
	var most atomic.Int64
	clients.Go(func() {
		for before := children(r.Process.Pid); ; {
			select {
			case <-stop:
				return
			default:
			}
			now := children(r.Process.Pid) // not at one moment: those that were there before were together
			together := slices.DeleteFunc(before, func(pid int) bool { return !slices.Contains(now, pid) })
			most.Store(max(most.Load(), int64(len(together))))
			before = now
		}
	})
	hup := func() { _ = r.Process.Signal(syscall.SIGHUP) }
	for version := 2; version <= 21; version++ {
		write(t, dir, map[string]string{"app.py": versionedApp(version)})
		hup()
		r.logs(t, "reloaded: all workers", version-1)
		if status, body := get(t, r.url); status != 200 || body != fmt.Sprint(version) {
			t.Errorf("after a reload %d %q, want %d", status, body, version)
		}
	}
	if n := most.Load(); n > 3 {
		t.Errorf("%d processes at once; want 2 and one more", n)
	}
	write(t, dir, map[string]string{"app.py": "import nosuch\n"})
	hup()
	r.logs(t, "reload failed; all goes on as before", 1)
	r.logs(t, "No module named 'nosuch'", 1)
	write(t, dir, map[string]string{"isbjorn.toml": "workers = 'eight'\n"})
	hup()
	r.logs(t, "reload failed; all goes on as before", 2)
	r.logs(t, "isbjorn.toml:1", 1)
	if status, body := get(t, r.url); status != 200 || body != "21" {
		t.Errorf("after reloads that failed %d %q", status, body)
	}
	close(stop)
	clients.Wait()
	t.Logf("%d requests", requests.Load())
	write(t, dir, map[string]string{"app.py": versionedApp(22),
		"isbjorn.toml": "bind = '127.0.0.1:0'\nworkers = 3\nhead_bytes = '16KiB'\n"})
	hup()
	r.logs(t, "reloaded: all workers", 21)
	r.logs(t, `head_bytes: \"16KiB\" instead of`, 1) // waits for a restart
	r.until(t, "three workers", func() bool { return len(children(r.Process.Pid)) == 3 })
	r.stop(t)
}

// The file with the process id is there while the process serves, is that of the new process after a restart, keeps a
// second one from its start, and stops none when it was left behind.
func TestPIDFile(t *testing.T) {
	t.Parallel()
	python := systemPython(t)
	other := exec.Command("sleep", "60") // another program
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	dir := write(t, t.TempDir(), map[string]string{"app.py": versionedApp(1), "pid": fmt.Sprintln(other.Process.Pid)})
	args := []string{"run", "-b", "127.0.0.1:0", "-w", "1", "--python-exe", python, "--pidfile", "pid", "app:app"}
	pid := func() int {
		b, _ := os.ReadFile(filepath.Join(dir, "pid"))
		n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		return n
	}
	r := start(t, dir, nil, args...)
	r.until(t, "the file", func() bool { return pid() == r.Process.Pid })
	which := fmt.Sprintf("process %d, which runs", r.Process.Pid)
	if _, stderr, status := run(t, dir, nil, args...); status != 1 || !strings.Contains(stderr, which) {
		t.Errorf("a second one: status %d, %s", status, stderr)
	}
	_ = r.Process.Signal(syscall.SIGUSR2)
	r.says(t, "restarting")
	r.says(t, "listening on ")
	r.until(t, "the file of the new process", func() bool { return pid() != r.Process.Pid && pid() > 0 })
	next := pid()
	r.says(t, "stopping")
	if _, err := r.Process.Wait(); err != nil {
		t.Error(err)
	}
	if pid() != next {
		t.Errorf("the old process has changed the file to %d", pid())
	}
	_ = syscall.Kill(next, syscall.SIGTERM)
	r.until(t, "no file", func() bool { _, err := os.Stat(filepath.Join(dir, "pid")); return os.IsNotExist(err) })
	_, stderr, status := run(t, dir, nil, "run", "--pidfile", "nowhere/pid", "--python-exe", python, "app:app")
	if status != 1 || !strings.Contains(stderr, "mkdir -p nowhere") {
		t.Errorf("a directory that is not there: status %d, %s", status, stderr)
	}
}

// umask holds for the log and for what the application writes.
func TestUmask(t *testing.T) {
	t.Parallel()
	dir := write(t, t.TempDir(), map[string]string{"app.py": "open('made', 'w').close()\n" + versionedApp(1)})
	r := start(t, dir, nil, "run", "-b", "127.0.0.1:0", "-w", "1", "--python-exe", systemPython(t), "--umask", "0027",
		"--log-file", "log", "app:app")
	r.stop(t)
	for name, want := range map[string]os.FileMode{"made": 0o640, "log": 0o640} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", name, info, err, want)
		}
	}
}

// SIGTTIN and SIGTTOU start and end a worker; one always stays.
func TestSignalsOfWorkers(t *testing.T) {
	t.Parallel()
	dir := write(t, t.TempDir(), map[string]string{"app.py": versionedApp(1)})
	r := start(t, dir, nil, "run", "-b", "127.0.0.1:0", "-w", "1", "--python-exe", systemPython(t), "app:app")
	for _, step := range []struct {
		signal syscall.Signal
		want   int
	}{{syscall.SIGTTIN, 2}, {syscall.SIGTTIN, 3}, {syscall.SIGTTOU, 2}, {syscall.SIGTTOU, 1}, {syscall.SIGTTOU, 1}} {
		before := strings.Count(r.stderr.String(), fmt.Sprintf("%d workers", step.want))
		_ = r.Process.Signal(step.signal)
		r.logs(t, fmt.Sprintf("%d workers", step.want), before+1)
		r.until(t, fmt.Sprintf("%d processes", step.want), func() bool { return len(children(r.Process.Pid)) == step.want })
		if status, _ := get(t, r.url); status != 200 {
			t.Errorf("status %d with %d workers", status, step.want)
		}
	}
	_ = r.Process.Signal(syscall.SIGQUIT)
	r.logs(t, "SIGQUIT: serving", 1)
	r.says(t, "stopping")
	if err := r.Wait(); err != nil {
		t.Error(err)
	}
}

// systemd is told of a reload as Type=notify-reload wants it: see sd_notify(3).
func TestNotifyReload(t *testing.T) {
	t.Parallel()
	dir := write(t, t.TempDir(), map[string]string{"app.py": versionedApp(1)})
	address := &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"}
	socket, err := net.ListenUnixgram("unixgram", address)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	receive := func(want ...string) string {
		t.Helper()
		b := make([]byte, 4096)
		_ = socket.SetReadDeadline(time.Now().Add(waitTime))
		n, err := socket.Read(b)
		for _, text := range want {
			if err != nil || !strings.Contains(string(b[:n]), text) {
				t.Fatalf("notice %q, %v; want %q", b[:n], err, text)
			}
		}
		return string(b[:n])
	}
	r := start(t, dir, []string{"NOTIFY_SOCKET=" + address.Name}, "run", "-b", "127.0.0.1:0", "-w", "1",
		"--python-exe", systemPython(t), "app:app")
	receive("READY=1")
	_ = r.Process.Signal(syscall.SIGHUP)
	begin := receive("RELOADING=1", "MONOTONIC_USEC=")
	_, text, _ := strings.Cut(begin, "MONOTONIC_USEC=")
	text, _, _ = strings.Cut(text, "\n")
	if n, err := strconv.ParseInt(text, 10, 64); err != nil || n <= 0 {
		t.Errorf("MONOTONIC_USEC is %q", text)
	}
	receive("READY=1")
	_ = r.Process.Signal(syscall.SIGTERM)
	receive("STOPPING=1")
	_ = r.Wait()
}
