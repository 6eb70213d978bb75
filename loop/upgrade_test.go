package loop

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/internal/testrun"
)

// successor starts a reactor with all the listeners of s.
func (s *lineServer) successor(opt Options) *lineServer {
	s.t.Helper()
	files, err := s.r.Files()
	if err != nil {
		s.t.Fatal(err)
	}
	next := newLines(s.t, opt)
	next.addr = s.addr
	for _, f := range files {
		addr, err := next.r.AdoptFile(f, true)
		if err != nil || addr.String() != s.addr.String() || addr.Network() != s.addr.Network() {
			s.t.Fatalf("AdoptFile: %v, %v; want %v", addr, err, s.addr)
		}
		_ = f.Close()
	}
	next.r.Start()
	return next
}

// release stops s, whose listeners another reactor has.
func (s *lineServer) release() {
	s.r.ReleaseListeners()
	stopAccepting(s.r)
	s.r.Stop()
}

// One reactor after another adopts all listeners, with fewer loops and with more, and
// connections reach all of its loops.
func TestUpgrade(t *testing.T) {
	testrun.Slow(t, "starts processes")
	socket := filepath.Join(t.TempDir(), "s")
	for name, address := range map[string]string{"tcp": "tcp 127.0.0.1:0", "unix": "unix " + socket} {
		t.Run(name, func(t *testing.T) {
			s := startLines(t, Options{Loops: 3}, address)
			want, first := listeners(s.r), s.r.loops[0].listeners[0]
			if tcp := name == "tcp"; first.reusePort != (tcp && reusePortSpreads) || first.noDelay != (tcp && inheritsOptions) {
				t.Errorf("the first has reusePort %v, noDelay %v", first.reusePort, first.noDelay)
			}
			for _, loops := range []int{1, 5, 2} {
				next := s.successor(Options{Loops: loops})
				s.release()
				s = next
				if n := listeners(s.r); n != want {
					t.Errorf("%d loops have %d listeners, want all %d", loops, n, want)
				}
				if ln := s.r.loops[0].listeners[0]; ln.reusePort != first.reusePort || ln.noDelay != first.noDelay {
					t.Errorf("a listener with reusePort %v and noDelay %v is one with %v and %v now",
						first.reusePort, first.noDelay, ln.reusePort, ln.noDelay)
				}
				for range 20 * loops {
					c := s.dial()
					c.send("echo x\n")
					c.want("x\n")
				}
				for i, l := range s.r.Loops() {
					if n, most := len(l.listeners), (want+loops-1)/loops; n > most {
						t.Errorf("loop %d of %d has %d of %d listeners, want %d at most", i, loops, n, want, most)
					}
					if l.connCount.Load() < 10 {
						t.Errorf("loop %d of %d has %d of %d connections", i, loops, l.connCount.Load(), 20*loops)
					}
				}
			}
			s.r.Stop()
			if c, err := net.Dial(s.addr.Network(), s.addr.String()); err == nil {
				_ = c.Close()
				t.Error("there is still a listener")
			}
		})
	}
}

func listeners(r *Reactor) (n int) {
	for _, l := range r.Loops() {
		n += len(l.listeners)
	}
	return n
}

// Connections in the queue when a reactor releases its listeners are left to its successor.
func TestReleaseLeavesTheQueue(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	files, err := s.r.Files()
	if err != nil {
		t.Fatal(err)
	}
	defer files[0].Close()
	next := newLines(t, Options{Loops: 1})
	var waiting *client
	done := make(chan struct{})
	l := s.r.Loops()[0]
	l.Do(func() { // the loop accepts nothing meanwhile
		defer close(done)
		waiting = s.dial()
		s.r.ReleaseListeners()
		l.dropListener(l.listeners[0])
		if l.connCount.Load() != 0 {
			t.Error("it was accepted")
		}
	})
	<-done
	s.r.Stop()
	if _, err := next.r.AdoptFile(files[0], true); err != nil {
		t.Fatal(err)
	}
	next.r.Start()
	waiting.send("echo x\n")
	waiting.want("x\n")
}

// After ReleaseListeners and StopAccepting the poller makes no events of the listeners,
// although another reactor has them open: epoll registers open files, not descriptors.
func TestReleaseEndsTheRegistration(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux says what is registered")
	}
	s := startLines(t, Options{Loops: 1}, "")
	next := s.successor(Options{Loops: 1})
	if n := registered(t, next); n != 2 {
		t.Errorf("the listener is registered %d times, want 2: with both", n)
	}
	s.r.ReleaseListeners()
	stopAccepting(s.r)
	if n := registered(t, next); n != 1 {
		t.Errorf("the listener is registered %d times, want 1: not with the reactor that released it", n)
	}
}

// registered is the number of pollers of this process with the listener of s.
func registered(t *testing.T, s *lineServer) (n int) {
	t.Helper()
	return registrations(t, s.r.loops[0].listeners[0].fd)
}

// registrations is the number of pollers of this process with the socket of fd.
func registrations(t *testing.T, fd int) (n int) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	infos, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		b, _ := os.ReadFile(info) // an error says that it was closed
		n += strings.Count(string(b), fmt.Sprintf(" ino:%x ", st.Ino))
	}
	return n
}

// Files works while a task blocks the loop.
func TestFilesOfAStalledLoop(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	blocked, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	s.r.Loops()[0].Do(func() { close(blocked); <-release })
	<-blocked // before that, this loop may still accept the client of the other
	c := s.successor(Options{Loops: 1}).dial()
	c.send("echo x\n")
	c.want("x\n")
}

// The file of a Unix socket belongs to the successor and is removed by it.
func TestUpgradeOfASocketFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := startLines(t, Options{}, "unix "+path)
	next := s.successor(Options{})
	s.release()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the socket's file went with the first: %v", err)
	}
	c := next.dial()
	c.send("echo x\n")
	c.want("x\n")
	next.r.Stop()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket's file is still there after the last: %v", err)
	}
}

// A successor that fails does not remove the file of the socket, and neither does a reactor
// that has adopted a socket without owning its file.
func TestSocketFileOfAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := startLines(t, Options{}, "unix "+path)
	files, err := s.r.Files()
	if err != nil {
		t.Fatal(err)
	}
	defer files[0].Close()
	for _, own := range []bool{true, false} {
		other := newLines(t, Options{})
		if own {
			other.r.Stop() // so that AdoptFile fails at the last moment
		}
		if _, err := other.r.AdoptFile(files[0], own); own != errors.Is(err, errClosed) {
			t.Fatalf("AdoptFile: %v", err)
		}
		other.r.Stop()
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("own %v: the socket's file is gone: %v", own, err)
		}
	}
}

func TestAdoptFileRefuses(t *testing.T) {
	if runtime.GOOS == "darwin" {
		t.Skip("there are no Unix packets")
	}
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	unixgram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "gram"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer unixgram.Close()
	packets, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: filepath.Join(dir, "packets"), Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	other := startLines(t, Options{Loops: 1}, "")
	connected := other.dial().Conn.(*net.TCPConn)

	s := newLines(t, Options{Loops: 1})
	for _, tt := range []struct {
		name, want string
		file       func() (*os.File, error)
	}{
		{"file", "socket", func() (*os.File, error) { return file, nil }},
		{"pipe", "socket", func() (*os.File, error) { return r, nil }},
		{"UDP", errNoListener.Error(), udp.File},
		{"Unix datagrams", errNoListener.Error(), unixgram.File},
		{"Unix packets", errNoListener.Error(), packets.File},
		{"a connection", errNoListener.Error(), connected.File},
	} {
		f, err := tt.file()
		if err != nil {
			t.Fatal(err)
		}
		addr, err := s.r.AdoptFile(f, true)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), f.Name()) {
			t.Errorf("%s: AdoptFile = %v, %v; want an error that has %q and %q", tt.name, addr, err, tt.want, f.Name())
		}
		_ = f.Close()
	}
	if n := listeners(s.r); n != 0 {
		t.Errorf("%d listeners", n)
	}
}
