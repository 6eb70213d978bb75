package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An instance answers on its control socket: status, workers, reload with its exit status, stop.
func TestControl(t *testing.T) {
	t.Parallel()
	python := systemPython(t)
	socket := filepath.Join(t.TempDir(), "control")
	config := "bind = '127.0.0.1:0'\nworkers = 2\ncontrol = 'unix:" + socket + "'\n"
	dir := write(t, t.TempDir(), map[string]string{"app.py": versionedApp(1), "isbjorn.toml": config})
	r := start(t, dir, nil, "run", "--python-exe", python, "app:app")
	ask := func(want int, args ...string) (string, string) {
		t.Helper()
		stdout, stderr, status := run(t, dir, []string{"ISBJORN_CONTROL=unix:" + socket}, args...)
		if status != want {
			t.Errorf("%v: status %d, want %d; %s%s", args, status, want, stdout, stderr)
		}
		return stdout, stderr
	}
	r.until(t, "two workers", func() bool { return len(children(r.Process.Pid)) == 2 })
	var s state
	out, _ := ask(0, "status", "--json")
	if err := json.Unmarshal([]byte(out), &s); err != nil || s.PID != r.Process.Pid || s.App != "app:app" || s.Size != 2 || len(s.Workers) != 2 {
		t.Errorf("%v, %s", err, out)
	}
	if out, _ := ask(0, "status"); !strings.Contains(out, fmt.Sprintf("process %d, app:app", r.Process.Pid)) || strings.Count(out, "\n") != 4 {
		t.Errorf("status says\n%s", out)
	}
	for _, step := range []struct {
		text string
		want int
	}{{"4", 4}, {"-1", 3}, {"+2", 5}, {"1", 1}} {
		if out, _ := ask(0, "workers", step.text); out != fmt.Sprintf("%d workers\n", step.want) {
			t.Errorf("workers %s: %q", step.text, out)
		}
		r.until(t, fmt.Sprintf("%d workers", step.want), func() bool { return len(children(r.Process.Pid)) == step.want })
	}
	for _, wrong := range []string{"many", "0", "-7", "513"} {
		if _, stderr := ask(2, "workers", wrong); !strings.Contains(stderr, "isbjorn: ") {
			t.Errorf("workers %s: %s", wrong, stderr)
		}
	}
	write(t, dir, map[string]string{"app.py": versionedApp(2)})
	if out, _ := ask(0, "reload"); out != "reloaded: 2 workers\n" {
		t.Errorf("reload says %q", out)
	}
	if _, body := get(t, r.url); body != "2" {
		t.Errorf("after a reload %q", body)
	}
	write(t, dir, map[string]string{"app.py": "import nosuch\n"})
	if _, stderr := ask(4, "reload"); strings.Count(stderr, "No module named 'nosuch'") != 2 { // the error, and its traceback
		t.Errorf("reload of what does not load says\n%s", stderr)
	}
	write(t, dir, map[string]string{"app.py": "import os\nos._exit(3)\n"})
	ask(3, "reload")
	write(t, dir, map[string]string{"isbjorn.toml": config + "worker = 3\n"})
	if _, stderr := ask(2, "reload"); !strings.Contains(stderr, "did you mean workers") {
		t.Errorf("reload of a file with a mistake says\n%s", stderr)
	}
	if status, body := get(t, r.url); status != 200 || body != "2" {
		t.Errorf("after reloads that failed: %d %q", status, body)
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	if out, _ := ask(0, "stop"); out != "stopping\n" {
		t.Errorf("stop says %q", out)
	}
	r.says(t, "stopping")
	if err := r.Wait(); err != nil {
		t.Error(err)
	}
	if _, stderr := ask(1, "status"); !strings.Contains(stderr, "does not answer") {
		t.Errorf("without an instance: %s", stderr)
	}
}

// Without a setting the socket has no file, is found by the process id, and is answered beside requests that hang and
// beside clients that say nothing or nonsense.
func TestControlOfAHungApplication(t *testing.T) {
	t.Parallel()
	dir := write(t, t.TempDir(), map[string]string{"app.py": "import time\ndef app(e, sr):\n    open('runs', 'w').close()\n    time.sleep(100)\n"})
	r := start(t, dir, nil, "run", "-b", "127.0.0.1:0", "-w", "1", "--stop-timeout", "1s", "--python-exe", systemPython(t), "app:app")
	name := ""
	r.until(t, "its socket", func() bool {
		for _, n := range controlNames() {
			if strings.Contains(n, fmt.Sprintf("/%d-", r.Process.Pid)) {
				name = n
			}
		}
		return name != ""
	})
	go func() { _, _ = http.Get(r.url) }()
	r.until(t, "the request runs", func() bool { _, err := os.Stat(filepath.Join(dir, "runs")); return err == nil })
	for i := range controlMax - 2 {
		c, err := net.Dial("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			_, _ = c.Write([]byte("nonsense\n"))
		}
	}
	begin := time.Now()
	stdout, stderr, status := run(t, dir, nil, "status", "--control", name)
	if status != 0 || !strings.Contains(stdout, "GET /") {
		t.Errorf("status %d after %v: %s%s", status, time.Since(begin), stdout, stderr)
	}
	workers := children(r.Process.Pid)
	if stdout, stderr, status := run(t, dir, nil, "stop", "--control", name); status != 0 || stdout != "stopping\n" {
		t.Errorf("stop: %d %s%s", status, stdout, stderr)
	}
	for _, pid := range workers {
		if syscall.Kill(pid, 0) == nil {
			t.Errorf("stop has not waited for process %d", pid)
		}
	}
	_ = r.Wait()
}
