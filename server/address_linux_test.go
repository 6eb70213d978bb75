package server

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Each -addr is served, and without one each address of the option Bind, also after a restart with another number
// of loops.
func TestSeveralAddresses(t *testing.T) {
	t.Run("-addr", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		testSeveralAddresses(t, path, "127.0.0.1:1", "-addr", "127.0.0.1:0", "-addr", "unix:"+path, "-addr", "localhost:0")
	})
	t.Run("Bind", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		testSeveralAddresses(t, path, "127.0.0.1:0 unix:"+path+" localhost:0")
	})
}

func testSeveralAddresses(t *testing.T, path, bound string, args ...string) {
	f := launch(t, "2 30s serves", func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, bind+"="+bound) }, args...)
	var over []family // a view for each address
	for range 3 {
		f.listens()
		over = append(over, *f)
	}
	if over[0].network != "tcp" || over[1].address != path || over[2].network != "tcp" {
		t.Fatalf("it listens on %q", f.where)
	}
	f.pid = f.ask()
	for _, loops := range []string{"5", "1", "2"} {
		f.next(loops + " 30s serves")
		if status := f.ended(f.restart()); status != 0 {
			t.Errorf("exit status %d of the old process, want 0", status)
		}
		for i := range over {
			if pid := over[i].ask(); pid != f.pid {
				t.Errorf("%s: process %d answers, want %d", over[i].address, pid, f.pid)
			}
		}
	}
	f.stop()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// One address that cannot be served ends the program, which closes all others.
func TestSeveralAddressesRefused(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	path := filepath.Join(t.TempDir(), "s")
	for second, want := range map[string]int{taken.Addr().String(): 1, "unix:" + path: 2, "nowhere": 2} {
		args := []string{"-addr", "unix:" + path, "-addr", second}
		f := launch(t, "2 30s serves", nil, args...)
		if status := f.ended(f.pid); status != want {
			t.Errorf("%q: exit status %d, want %d", args, status, want)
		}
		f.says(second)
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: the socket is still there: %v", args, err)
		}
	}
}

// A listening socket that a supervisor passes as a descriptor is served, over restarts too, and stays the
// supervisor's.
func TestInheritedDescriptor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	f := launch(t, "2 30s serves", func(cmd *exec.Cmd) {
		cmd.ExtraFiles = []*os.File{listen(t, "tcp", "127.0.0.1:0"), listen(t, "unix", path)}
	}, "-addr", "fd://4", "-addr", "fd://3")
	f.listens()
	over := *f
	f.listens()
	if over.network != "unix" || over.address != path || f.network != "tcp" {
		t.Fatalf("it listens on %q", f.where)
	}
	f.pid = f.ask()
	for range 2 {
		if status := f.ended(f.restart()); status != 0 {
			t.Errorf("exit status %d of the old process, want 0", status)
		}
		if pid := over.ask(); pid != f.pid {
			t.Errorf("process %d answers, want %d", pid, f.pid)
		}
	}
	f.signal(f.pid, syscall.SIGTERM)
	f.want("stopping")
	if status := f.ended(f.pid); status != 0 {
		t.Errorf("exit status %d after SIGTERM, want 0", status)
	}
	c, err := net.Dial("unix", path) // waits for the next process that the supervisor starts
	if err != nil {
		t.Fatalf("the socket of the supervisor: %v", err)
	}
	_ = c.Close()
}

// What is no listening socket is refused, and stays open: it is not the server's.
func TestInheritedDescriptorRefused(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s := start(t, appFunc(hello), Options{})
	for addr, want := range map[string]string{
		"fd://" + strconv.Itoa(int(file.Fd())): "socket operation on non-socket",
		"fd://9999":                            "start the program with a listening socket as descriptor 9999",
	} {
		if _, err := s.Listen(addr); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), addr) {
			t.Errorf("Listen(%q): %v, want an error with %q and the address", addr, err, want)
		}
	}
	if _, err := file.Stat(); err != nil {
		t.Errorf("the descriptor was closed: %v", err)
	}
}

// A program that has not called EnableTLS refuses certificates, and says what its main must do.
func TestBuiltWithoutTLS(t *testing.T) {
	without := func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, withoutTLS+"=1") }
	f := launch(t, "2 30s serves", without, "-addr", "127.0.0.1:0", "-tls-cert", "c.pem", "-tls-key", "k.pem")
	if status := f.ended(f.pid); status != 2 {
		t.Errorf("exit status %d, want 2", status)
	}
	f.says("call server.EnableTLS in its main")
	f.says("c.pem")
	f = begin(t, "2 30s serves", without, "-addr", "127.0.0.1:0")
	f.stop()
}

// PORT counts where nothing else says where to listen.
func TestPort(t *testing.T) {
	port := func(value string) func(*exec.Cmd) {
		return func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "PORT="+value) }
	}
	taken, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, number, _ := net.SplitHostPort(taken.Addr().String())
	f := launch(t, "2 30s serves", port(number))
	if status := f.ended(f.pid); status != 1 {
		t.Errorf("exit status %d for a port that is taken, want 1", status)
	}
	f.says("0.0.0.0:" + number)

	f = begin(t, "2 30s serves", port("tcp://10.0.0.1:80"), "-addr", "127.0.0.1:0")
	f.stop()

	f = begin(t, "2 30s serves", func(cmd *exec.Cmd) {
		port("5000")(cmd)
		activate(listen(t, "tcp", "127.0.0.1:0"))(cmd)
	})
	f.signal(f.pid, syscall.SIGTERM)
	f.want("stopping")
	f.ended(f.pid)

	f = launch(t, "2 30s serves", port("tcp://10.0.0.1:80"))
	if status := f.ended(f.pid); status != 2 {
		t.Errorf("exit status %d for a bad PORT, want 2", status)
	}
	f.says("PORT=")
}
