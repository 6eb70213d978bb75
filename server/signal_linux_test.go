package server

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// closeOutputs closes the pipes of stdout and stderr, as a log collector that has ended.
func (f *family) closeOutputs() {
	for _, r := range f.outputs {
		_ = r.Close()
	}
}

// Without a reader of stdout and stderr the output of application and server is lost, and nothing else. Both signals
// work.
func TestClosedOutputs(t *testing.T) {
	f := begin(t, "2 30s serves", nil, "-addr", "127.0.0.1:0")
	f.closeOutputs()
	serves := func() {
		t.Helper()
		if _, _, err := f.once("/print"); err != nil {
			t.Errorf("an application that prints: %v", err)
		}
		c := f.mustDial()
		_, _ = io.WriteString(c, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") // TLS: a line in the log
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
		f.ask()
	}
	serves()
	upload, old := f.upload(pattern(100_000)), f.pid
	f.signal(old, syscall.SIGUSR2)
	eventually(t, "another process answers", func() bool { f.pid = f.ask(); return f.pid != old })
	if pid := upload(); pid != old {
		t.Errorf("the upload to process %d was answered by %d", old, pid)
	}
	if status := f.ended(old); status != 0 {
		t.Errorf("exit status %d of the old process, want 0", status)
	}
	serves()
	upload = f.upload(pattern(100_000))
	f.signal(f.pid, syscall.SIGTERM)
	if pid := upload(); pid != f.pid {
		t.Errorf("the upload to process %d was answered by %d", f.pid, pid)
	}
	if status := f.ended(f.pid); status != 0 {
		t.Errorf("exit status %d after SIGTERM, want 0", status)
	}
}

// clog makes pipes of stdout and stderr whose reader hangs, and returns what fills
// them. They are read when the test is over.
func clog(t *testing.T, cmd *exec.Cmd) (fill func()) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	cmd.Stdout, cmd.Stderr = w, w
	// Another open file of the same pipe, since the program's own is to block.
	full, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", w.Fd()), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(full) })
	return func() {
		for _, size := range []int{4096, 1} {
			b := []byte(strings.Repeat(".", size))
			for err := error(nil); err == nil; {
				_, err = unix.Write(full, b)
			}
		}
	}
}

// A reader of stdout and stderr that hangs delays neither a stop in order, nor one at once, nor a restart.
func TestHungOutputs(t *testing.T) {
	if testing.Short() {
		t.Skip("takes several seconds")
	}
	run := func(t *testing.T) *family {
		t.Helper()
		t.Parallel()
		dir := t.TempDir()
		path := "unix:" + dir + "/s"
		var fill func()
		f := launch(t, "2 30s serves", func(cmd *exec.Cmd) { fill = clog(t, cmd) }, "-addr", path)
		f.network, f.address = "unix", dir+"/s"
		eventually(t, "it listens", func() bool { c, err := f.dial(); return err == nil && c.Close() == nil })
		f.pid = f.ask()
		fill()
		return f
	}
	t.Run("in order", func(t *testing.T) {
		f := run(t)
		upload := f.upload(pattern(100_000))
		f.signal(f.pid, syscall.SIGTERM)
		upload()
		if status := f.ended(f.pid); status != 0 {
			t.Errorf("exit status %d after SIGTERM, want 0", status)
		}
	})
	t.Run("at once", func(t *testing.T) {
		f := run(t)
		f.upload(pattern(100_000))
		if status := f.ended(f.pid, syscall.SIGTERM, syscall.SIGHUP); status != 1 {
			t.Errorf("exit status %d after SIGTERM again and again, want 1", status)
		}
	})
	t.Run("restart", func(t *testing.T) {
		f := run(t)
		old := f.pid
		f.signal(old, syscall.SIGUSR2)
		eventually(t, "another process answers", func() bool { f.pid = f.ask(); return f.pid != old })
		if status := f.ended(old); status != 0 {
			t.Errorf("exit status %d of the old process, want 0", status)
		}
		f.signal(f.pid, syscall.SIGTERM)
		if status := f.ended(f.pid); status != 0 {
			t.Errorf("exit status %d after SIGTERM, want 0", status)
		}
	})
}

// Timeout(1) sends SIGTERM to the program and then to its group: that is one stop, in
// order. SIGTERM again, a second later, is another.
func TestSignalOfAGroup(t *testing.T) {
	f := begin(t, "2 30s serves", nil, "-addr", "127.0.0.1:0")
	upload := f.upload(pattern(100_000))
	f.signal(f.pid, syscall.SIGTERM)
	f.want("stopping")
	f.signal(-f.group, syscall.SIGTERM)
	f.signal(-f.group, syscall.SIGINT)
	upload()
	if status := f.ended(f.pid); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	f.gone()
}

// SIGHUP is a line in the log, also while the server stops.
func TestHangup(t *testing.T) {
	f := begin(t, "2 30s serves", nil, "-addr", "127.0.0.1:0")
	f.signal(f.pid, syscall.SIGHUP)
	f.says("SIGHUP: the server has nothing to reload")
	upload := f.upload(pattern(100_000))
	f.signal(f.pid, syscall.SIGTERM)
	f.want("stopping")
	f.signal(f.pid, syscall.SIGHUP)
	f.says("SIGHUP: the server has nothing to reload")
	upload()
	if status := f.ended(f.pid); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	f.gone()
}

// nohup(1) starts a program with SIGHUP ignored: it stays so.
func TestHangupIgnored(t *testing.T) {
	f := begin(t, "2 30s serves", func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"sh", "-c", `trap "" HUP; exec "$0" "$@"`}, cmd.Args...)
		cmd.Path = "/bin/sh"
	}, "-addr", "127.0.0.1:0")
	f.signal(f.pid, syscall.SIGHUP)
	f.stop()
	if log := f.stderr.String(); log != "" {
		t.Errorf("stderr is %q, want nothing", log)
	}
}

// The first process of a PID namespace, a container, does not restart: when it ends
// the kernel kills all others of the namespace, the new process too.
func TestNoRestartOfAContainer(t *testing.T) {
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip(err)
	}
	namespace := []string{unshare, "--pid", "--fork", "--mount-proc", "--kill-child"}
	if out, err := exec.Command(namespace[0], append(namespace[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("no PID namespace can be made here: %v: %s", err, out)
	}
	f := launch(t, "2 30s serves", func(cmd *exec.Cmd) {
		cmd.Args = append(namespace, cmd.Args...)
		cmd.Path = namespace[0]
	}, "-addr", "127.0.0.1:0")
	f.listens()
	if pid := f.ask(); pid != 1 {
		t.Fatalf("it is process %d of its namespace", pid)
	}
	f.pid = childOf(t, f.group)
	f.signal(f.pid, syscall.SIGUSR2)
	f.says("SIGUSR2: no restart")
	if log := f.stderr.String(); !strings.Contains(log, "container") || strings.Count(log, "\n") != 1 {
		t.Errorf("the log is %q, want one line that names containers", log)
	}
	f.ask()
	f.signal(f.pid, syscall.SIGTERM)
	f.want("stopping")
	if status := f.ended(f.group); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	f.gone()
}

// childOf returns the process that another has started.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Skipf("this kernel does not tell the children of a process: %v", err)
	}
	var child int
	if _, err := fmt.Sscan(string(b), &child); err != nil {
		t.Fatalf("the children of process %d are %q", pid, b)
	}
	return child
}
