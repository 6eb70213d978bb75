package server

import (
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Restarts under load with a plain and a TLS listener: each keeps its protocol, nothing is lost, and sessions of
// before are resumed.
func TestRestartTLS(t *testing.T) {
	a := newAuthority(t)
	a.issue("site", time.Time{}, "example.com")
	f := launch(t, "2 30s serves", nil, "-addr", "http://127.0.0.1:0", "-addr", "127.0.0.1:0",
		"-tls-cert", a.path("site.pem"), "-tls-key", a.path("site.key"))
	f.listens()
	plain := *f
	f.listens()
	f.tls = a.client("example.com", "")
	if !strings.HasPrefix(f.where[0], "listening on http://") || !strings.HasPrefix(f.where[1], "listening on https://") {
		t.Fatalf("it listens on %q", f.where)
	}
	f.pid = f.ask()
	sessions := f.tls.Clone()
	sessions.ClientSessionCache = tls.NewLRUClientSessionCache(10)
	https := tcpAddress(t, f.address)
	if _, _, err := shows(https, sessions); err != nil {
		t.Fatal(err)
	}
	loads := []*load{plain.load(), f.load()}
	defer func() {
		for _, l := range loads {
			l.end()
		}
	}()
	for i := range 5 {
		f.next([]string{"1", "5", "2"}[i%3] + " 30s serves")
		asked := [2]int64{loads[0].asked.Load(), loads[1].asked.Load()}
		old := f.restart()
		eventually(t, "the clients go on", func() bool {
			return loads[0].asked.Load() > asked[0]+50 && loads[1].asked.Load() > asked[1]+50 || t.Failed()
		})
		if status := f.ended(old); status != 0 {
			t.Errorf("exit status %d of the old process, want 0", status)
		}
		if pid := plain.ask(); pid != f.pid {
			t.Errorf("process %d answers on the plain address, want %d", pid, f.pid)
		}
		if _, resumed, err := shows(https, sessions); !resumed || err != nil {
			t.Errorf("after restart %d: the session is resumed: %v, %v", i, resumed, err)
		}
		if t.Failed() {
			t.Fatalf("in restart %d", i)
		}
	}
	for _, l := range loads {
		l.end()
	}
	f.stop()
	if log := f.stderr.String(); log != "" {
		t.Errorf("stderr is not empty: %s", log)
	}
	t.Logf("%d and %d requests", loads[0].asked.Load(), loads[1].asked.Load())
}

// A new process that speaks another protocol on an address does not get its listener: it cannot start, and the old one
// keeps serving.
func TestRestartAnotherKind(t *testing.T) {
	a := newAuthority(t)
	a.issue("site", time.Time{}, "example.com")
	path := filepath.Join(t.TempDir(), "config.toml")
	write := func(bind string) {
		t.Helper()
		text := "bind = '" + bind + "'\n[tls]\ncert = '" + a.path("site.pem") + "'\nkey = '" + a.path("site.key") + "'\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	free := listen(t, "tcp", "127.0.0.1:0")
	write("fd://3")
	f := launch(t, "2 30s serves", func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{free} }, "-config", path)
	f.ended(f.pid) // with a certificate fd:// has to say what is spoken there
	f.says("use http+fd://3 or https+fd://3")

	address := reserved(t)
	for first, second := range map[string]string{"http://" + address: "https://" + address, "https://" + address: "http://" + address} {
		write(first)
		f := launch(t, "2 30s serves", nil, "-config", path)
		f.listens()
		if strings.HasPrefix(first, "https") {
			f.tls = a.client("example.com", "")
		}
		f.pid = f.ask()
		old := f.pid
		write(second)
		f.signal(f.pid, syscall.SIGUSR2)
		f.want("restarting")
		f.says("address already in use")
		f.says("restart failed")
		if pid := f.ask(); pid != old {
			t.Errorf("process %d answers, want %d", pid, old)
		}
		write(first)
		if status := f.ended(f.restart()); status != 0 {
			t.Errorf("exit status %d of the old process, want 0", status)
		}
		f.stop()
	}
}

// reserved is an address that was free a moment ago.
func reserved(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A socket of systemd whose name is https is for TLS, also after restarts.
func TestActivationTLS(t *testing.T) {
	a := newAuthority(t)
	a.issue("site", time.Time{}, "example.com")
	files := []*os.File{listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "127.0.0.1:0")}
	named := func(names string) func(*exec.Cmd) {
		return func(cmd *exec.Cmd) {
			activate(files...)(cmd)
			cmd.Env = append(cmd.Env, "LISTEN_FDNAMES="+names)
		}
	}
	f := launch(t, "2 30s serves", named("https:web"), "-tls-cert", a.path("site.pem"), "-tls-key", a.path("site.key"))
	f.listens()
	plain := *f
	f.listens()
	f.tls = a.client("example.com", "")
	f.pid = f.ask()
	for range 2 {
		if pid := plain.ask(); pid != f.pid {
			t.Errorf("process %d answers, want %d", pid, f.pid)
		}
		if status := f.ended(f.restart()); status != 0 {
			t.Errorf("exit status %d of the old process, want 0", status)
		}
	}
	f.signal(f.pid, syscall.SIGTERM)
	f.want("stopping")
	f.ended(f.pid)

	f = launch(t, "2 30s serves", named("https:https"))
	if status := f.ended(f.pid); status != 1 {
		t.Errorf("exit status %d without a certificate, want 1", status)
	}
	f.says("needs a certificate")
}

// SIGHUP has certificates read again.
func TestHangupTLS(t *testing.T) {
	a := newAuthority(t)
	a.issue("site", time.Time{}, "example.com")
	f := launch(t, "2 30s serves", nil, "-addr", "https://127.0.0.1:0", "-tls-cert", a.path("site.pem"), "-tls-key", a.path("site.key"))
	f.listens()
	f.tls = a.client("example.com", "")
	f.pid = f.ask()
	a.issue("other", time.Time{}, "example.com")
	copyFile(t, a.path("other.pem"), a.path("site.pem"))
	copyFile(t, a.path("other.key"), a.path("site.key"))
	f.signal(f.pid, syscall.SIGHUP)
	f.says("SIGHUP: certificates are read again")
	f.says("a certificate was read again")
	if name, _, err := shows(tcpAddress(t, f.address), f.tls); name != "other" || err != nil {
		t.Errorf("it shows %q, %v; want the new one", name, err)
	}
	f.stop()
}
