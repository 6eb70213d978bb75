package loop

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/internal/testrun"
)

const sizeofConn = unsafe.Sizeof(Conn{})

func TestUnixSocketFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := startLines(t, Options{SocketMode: 0o600}, "unix "+path)
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", st.Mode(), err)
	}
	s.r.Stop()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket's file is still there: %v", err)
	}
}

func TestUnixSocketStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	_ = old.Close() // as if its process had died
	s := startLines(t, Options{}, "unix "+path)
	c := s.dial()
	c.send("echo x\n")
	c.want("x\n")
}

// Of several servers that start at once on a dead socket, or on none, one gets it and the
// others are refused. Nothing else is left in the directory.
func TestUnixSocketRace(t *testing.T) {
	testrun.Slow(t, "a flood of connections")
	path := filepath.Join(t.TempDir(), "s")
	for round := range 300 {
		if round%2 == 0 {
			old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			old.SetUnlinkOnClose(false)
			_ = old.Close() // as if its process had died
		}
		const servers = 3
		var lns [servers]*listener
		var errs [servers]error
		var all sync.WaitGroup
		for i := range servers {
			all.Go(func() { lns[i], errs[i] = openUnix(path, 0o600) })
		}
		all.Wait()
		won := 0
		for i, ln := range lns {
			if ln != nil {
				won++
			} else if !errors.Is(errs[i], unix.EADDRINUSE) || !strings.Contains(errs[i].Error(), "in use by another process") {
				t.Fatalf("round %d: %v; want an error that says the socket is in use", round, errs[i])
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d servers have the socket, want 1", round, won)
		}
		if c, err := net.Dial("unix", path); err != nil {
			t.Fatalf("round %d: %v", round, err)
		} else {
			_ = c.Close()
		}
		for _, ln := range lns {
			if ln != nil {
				ln.close()
			}
		}
		if left, err := os.ReadDir(filepath.Dir(path)); len(left) > 0 || err != nil {
			t.Fatalf("round %d: the directory still has %v, %v", round, left, err)
		}
	}
}

// A directory that another program keeps locked is an error after lockTime.
func TestUnixSocketLockedDirectory(t *testing.T) {
	dir := t.TempDir()
	lock, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Skip(err)
	}
	defer func(d time.Duration) { lockTime = d }(lockTime)
	lockTime = 20 * time.Millisecond
	if _, err := openUnix(filepath.Join(dir, "s"), 0o600); err == nil || !strings.Contains(err.Error(), dir+" is locked") {
		t.Errorf("%v; want an error that names the directory", err)
	}
	lockTime = time.Minute
	opened := make(chan *listener)
	go func() {
		ln, err := openUnix(filepath.Join(dir, "s"), 0o600)
		if err != nil {
			t.Error(err)
		}
		opened <- ln
	}()
	_ = lock.Close() // which unlocks it, before or while openUnix waits
	if ln := <-opened; ln != nil {
		ln.close()
	}
}

// Stop does not remove another server's socket at the same path.
func TestUnixSocketOfASuccessorStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := startLines(t, Options{}, "unix "+path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	successor, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer successor.Close()
	s.r.Stop()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the successor's socket: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	live, err := net.Listen("unix", filepath.Join(dir, "live"))
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	other := startLines(t, Options{Loops: 2}, "") // shares its port among its own loops only

	s := newLines(t, Options{Loops: 2})
	for _, tt := range []struct{ name, network, address, want string }{
		{"other file", "unix", file, "is not a socket"},
		{"directory", "unix", dir, "is not a socket"},
		{"live socket", "unix", live.Addr().String(), "in use"},
		{"no such directory", "unix", filepath.Join(dir, "no/s"), "no such file"},
		{"empty path", "unix", "", "path is empty"},
		{"long path", "unix", "/" + strings.Repeat("x", 200), "the path has 201 bytes"},
		{"taken port", "tcp", taken.Addr().String(), "address already in use"},
		{"port of another reactor", "tcp", other.addr.String(), "address already in use"},
		{"no port", "tcp", "127.0.0.1", "missing port"},
		{"bad port", "tcp", "127.0.0.1:99999", "invalid port"},
		{"not an address here", "tcp", "192.0.2.1:0", "cannot assign"},
		{"unknown network", "udp", "127.0.0.1:0", "unknown network"},
	} {
		addr, err := s.r.Listen(tt.network, tt.address)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.address) {
			t.Errorf("%s: Listen(%q, %.40q) = %v, %v; want an error with %q and the address",
				tt.name, tt.network, tt.address, addr, err, tt.want)
		}
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("the other file was touched")
	}
	s.r.Stop()
	s.addr = other.addr // for newLines' end
}

func TestAdopt(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			s := newLines(t, Options{Loops: 2})
			if err := s.r.Adopt(l); err != nil {
				t.Fatal(err)
			}
			s.addr = l.Addr()
			s.r.Start()
			for range 10 {
				c := s.dial()
				c.send("echo x\n")
				c.want("x\n")
			}
			for i, lp := range s.r.Loops() {
				if lp.connCount.Load() != 5 {
					t.Errorf("loop %d has %d connections, want 5 of 10", i, lp.connCount.Load())
				}
			}
			s.r.Stop()
			c, err := net.DialTimeout(network, l.Addr().String(), time.Second) // the listener itself was left alone
			if err != nil {
				t.Fatalf("the adopted listener is gone with the reactor: %v", err)
			}
			_ = c.Close()
		})
	}
	s := newLines(t, Options{})
	if err := s.r.Adopt(noListener{}); err == nil || !strings.Contains(err.Error(), "noListener") {
		t.Errorf("Adopt of a listener without a descriptor: %v", err)
	}
}

type noListener struct{ net.Listener }

func TestOptionsCheck(t *testing.T) {
	if err := (Options{}).Check(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for _, tt := range []struct {
		field string
		opt   Options
	}{
		{"Loops", Options{Loops: -1}},
		{"Loops", Options{Loops: 5000}},
		{"ReadBytes", Options{ReadBytes: 100}},
		{"HighWaterBytes", Options{HighWaterBytes: -1}},
		{"LingerBytes", Options{LingerBytes: -1}},
		{"LingerTime", Options{LingerTime: -1}},
		{"WriteStall", Options{WriteTimeout: -1}},
		{"Tick", Options{Tick: time.Hour}},
		{"SocketMode", Options{SocketMode: fs.ModeDir}},
	} {
		if err := tt.opt.Check(); err == nil || !strings.Contains(err.Error(), tt.field) {
			t.Errorf("Check of a bad %s: %v; want an error that names it", tt.field, err)
		}
		if _, err := New(tt.opt, nil); err == nil {
			t.Errorf("New took a bad %s", tt.field)
		}
	}
}

// A child process inherits no descriptor of ours.
func TestCloseOnExec(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	c := s.dial()
	c.send("echo x\n")
	c.want("x\n")
	done := make(chan struct{})
	l := s.r.loops[0]
	l.Do(func() {
		defer close(done)
		fds := []int{l.listeners[0].fd, int(l.conns[0].fd), l.reserveFD}
		for _, fd := range fds {
			flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
			if errno != 0 || flags&syscall.FD_CLOEXEC == 0 {
				t.Errorf("descriptor %d: flags %#x, %v; want FD_CLOEXEC", fd, flags, errno)
			}
		}
	})
	<-done
}

// Accepted connections have TCP_NODELAY and SO_KEEPALIVE, also behind an adopted listener.
func TestSocketOptions(t *testing.T) {
	own := startLines(t, Options{Loops: 1}, "")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	adopting := newLines(t, Options{Loops: 1})
	if err := adopting.r.Adopt(l); err != nil {
		t.Fatal(err)
	}
	adopting.addr = l.Addr()
	adopting.r.Start()
	for name, s := range map[string]*lineServer{"own": own, "adopted": adopting} {
		c := s.dial()
		c.send("echo x\n")
		c.want("x\n")
		done := make(chan bool)
		lp := s.r.loops[0]
		lp.Do(func() {
			defer close(done)
			if on, err := unix.GetsockoptInt(int(lp.conns[0].fd), unix.IPPROTO_TCP, unix.TCP_NODELAY); on == 0 || err != nil {
				t.Errorf("%s listener: TCP_NODELAY is %d, %v", name, on, err)
			}
			if on, err := unix.GetsockoptInt(int(lp.conns[0].fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE); on == 0 || err != nil {
				t.Errorf("%s listener: SO_KEEPALIVE is %d, %v", name, on, err)
			}
		})
		<-done
	}
}
