package loop

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// startFile is startLines with another file, which is closed at the end.
func startFile(t *testing.T, f *os.File) *lineServer {
	t.Helper()
	s := newLines(t, Options{})
	_ = s.file.Close()
	s.file = f
	var err error
	if s.addr, err = s.r.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.r.Start()
	return s
}

// If the file cannot be read the error says so, and the peer sees a reset: it must not take
// the incomplete answer for a whole one.
func TestSendFileUnreadable(t *testing.T) {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "file"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s := startFile(t, f)
	c := s.dial()
	c.send("head 0 5000\n")
	if b, err := io.ReadAll(c.r); err == nil {
		t.Errorf("read %q and the end, want a reset", b)
	}
	if err := s.waitClosed(1)[0]; !errors.Is(err, ErrFile) || !errors.Is(err, unix.EBADF) {
		t.Errorf("Closed(%v), want %v: %v", err, ErrFile, unix.EBADF)
	}
}

// A file that sendfile(2) cannot send is sent by read and write.
func TestSendFileThatCannotBeSent(t *testing.T) {
	const name = "/proc/self/environ"
	want, err := os.ReadFile(name)
	if err != nil || len(want) < 100 {
		t.Skipf("%s has %d bytes, %v; run the tests with some variables in the environment", name, len(want), err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	a, b, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	if n, err := unix.Sendfile(int(b.Fd()), int(f.Fd()), new(int64), 10); err == nil {
		t.Skipf("this kernel sends %d bytes of %s by sendfile(2); there is no other file to try", n, name)
	}
	s := startFile(t, f)
	c := s.dial()
	c.send(fmt.Sprintf("head 10 %d\necho x\n", len(want)-10))
	c.want("the head:")
	c.wantBytes(want[10:])
	c.want("x\n")
}

// Head and file leave in one packet if they fit, and at once.
func TestSendFileInOnePacket(t *testing.T) {
	s := startLines(t, Options{}, "")
	c := s.dial()
	packets := func() uint32 {
		raw, err := c.Conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var info *unix.TCPInfo
		_ = raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
		if err != nil {
			t.Fatal(err)
		}
		return info.Data_segs_in
	}
	for i := range 20 {
		before := packets()
		c.send("head 0 20000\n")
		c.wantBytes(append([]byte("the head:"), pattern(20000)...))
		if n := packets() - before; n != 1 {
			t.Errorf("request %d: %d packets, want 1", i, n)
		}
	}
}
