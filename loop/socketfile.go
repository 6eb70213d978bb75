package loop

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// openUnix opens a listener on a path, in place of a dead socket if one is there.
func openUnix(path string, mode fs.FileMode) (*listener, error) {
	if path == "" {
		return nil, errors.New("the path is empty")
	}
	if n := len(path); n > unixPathMax {
		return nil, fmt.Errorf("the path has %d bytes, and the kernel takes %d; use a shorter one, such as one in /run", n, unixPathMax)
	}
	if !isAbstract(path) {
		unlock, err := lockDirectory(filepath.Dir(path))
		if err != nil {
			return nil, err
		}
		defer unlock()
		if err := removeStale(path); err != nil {
			return nil, err
		}
	}
	fd, err := socketFD(unix.AF_UNIX)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	ln := &listener{fd: fd, addr: &net.UnixAddr{Name: path, Net: "unix"}}
	err = bindError(unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	if err == nil && !isAbstract(path) {
		ln.path, err = ownSocketPath(path)
		if err == nil {
			err = os.Chmod(path, mode) // before listen: nobody can connect yet
		}
	}
	if err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, backlog()))
	}
	if err != nil {
		ln.close()
		return nil, err
	}
	return ln, nil
}

// unixPathMax is the longest path of a socket in bytes: the kernel's array has room
// for one more, which is zero.
const unixPathMax = len(unix.RawSockaddrUnix{}.Path) - 1

// isAbstract tells a name of Linux's abstract space from the path of a file.
func isAbstract(path string) bool { return strings.HasPrefix(path, "@") }

// lockTime is how long a server waits for another one that is opening a socket in the
// same directory, which takes less than a millisecond. A variable for tests.
var lockTime = 5 * time.Second

// lockDirectory lets one server at a time open a socket in a directory. Without it two
// that start at once both find a dead socket, or one that the other has bound and does
// not listen on yet, and the second removes the live socket of the first. The lock is
// one of the directory itself (flock), so no file is left behind, and the kernel takes
// it back from a process that dies. Binding to another name and renaming the socket is
// no way out: getsockname(2) would give that name for good, to the next process too.
//
// Where the directory cannot be read, or its file system has no such locks, there is
// none, and a server that starts a moment later finds the socket in use all the same.
func lockDirectory(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return func() {}, nil // bind says more
	}
	for deadline := time.Now().Add(lockTime); ; time.Sleep(time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == unix.EINTR:
		case err != unix.EWOULDBLOCK:
			return func() { _ = f.Close() }, nil
		case time.Now().After(deadline):
			_ = f.Close()
			return nil, fmt.Errorf("%s is locked by another process (flock); stop it, or choose another directory", dir)
		}
	}
}

// removeStale removes a socket that no process listens on any more. Any other
// file stays, and so does a socket that answers.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if mode := st.Mode(); mode.Type() != fs.ModeSocket {
		what := "a file"
		if mode.IsDir() {
			what = "a directory"
		}
		return fmt.Errorf("%s is there, which is not a socket; choose another path, or remove it", what)
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
		return errSocketInUse
	}
	switch {
	case errors.Is(err, fs.ErrNotExist): // a server that stops has just removed it
		return nil
	case !errors.Is(err, unix.ECONNREFUSED):
		return err // no proof that it is dead
	}
	return os.Remove(path)
}

var errSocketInUse = fmt.Errorf("the socket is in use by another process: %w", unix.EADDRINUSE)

// socketPath is the file of a Unix socket.
type socketPath struct {
	name string
	made fs.FileInfo
}

func ownSocketPath(name string) (*socketPath, error) {
	st, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	return &socketPath{name, st}, nil
}

// remove removes the file if it is still the one that it was: another server may
// have put its own in place.
func (p *socketPath) remove() {
	if st, err := os.Lstat(p.name); err == nil && os.SameFile(st, p.made) {
		_ = os.Remove(p.name)
	}
}
