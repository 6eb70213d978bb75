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

// openUnix opens a listener on a path. It replaces a socket there that no process listens on.
func openUnix(path string, mode fs.FileMode) (*listener, error) {
	if path == "" {
		return nil, errors.New("the path is empty")
	}
	if n := len(path); n > unixPathMax {
		return nil, fmt.Errorf("the path has %d bytes, and the kernel takes %d; use a shorter one, such as one in /run",
			n, unixPathMax)
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
			err = os.Chmod(path, mode) // before listen: no client can connect under the default mode
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

// unixPathMax is the longest path of a socket in bytes: the kernel's array without its NUL.
const unixPathMax = len(unix.RawSockaddrUnix{}.Path) - 1

// isAbstract reports whether path is a name in Linux's abstract namespace, which has no file.
func isAbstract(path string) bool { return strings.HasPrefix(path, "@") }

// lockTime is how long lockDirectory waits for another server, which has the lock for less
// than a millisecond. A variable for tests.
var lockTime = 5 * time.Second

// lockDirectory lets one server at a time open a socket in a directory. Without it two
// servers that start at once both find a dead socket, or one that is bound but does not
// listen yet, and the second removes the live socket of the first. The lock is flock(2) on
// the directory itself: it leaves no file behind, and the kernel releases it when a process
// dies. To bind to another name and rename the socket is no solution, since getsockname(2)
// would return that other name for ever, also to a process that adopts the socket.
//
// If the directory cannot be read, or its file system has no locks, the lock is skipped;
// a server that starts a moment later still finds the socket in use.
func lockDirectory(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return func() {}, nil // bind will fail with a clearer error
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

// removeStale removes a socket at path that no process listens on. Any other file there is
// an error, and so is a socket that accepts.
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
		return err // EACCES, EAGAIN ...: a process may listen on it
	}
	return os.Remove(path)
}

var errSocketInUse = fmt.Errorf("the socket is in use by another process: %w", unix.EADDRINUSE)

// socketPath is the file of a Unix socket that this process removes at the end.
type socketPath struct {
	name string
	made fs.FileInfo
}

// ownSocketPath remembers the file that is at name now.
func ownSocketPath(name string) (*socketPath, error) {
	st, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	return &socketPath{name, st}, nil
}

// remove removes the file, unless another server has put its own socket in its place.
func (p *socketPath) remove() {
	if st, err := os.Lstat(p.name); err == nil && os.SameFile(st, p.made) {
		_ = os.Remove(p.name)
	}
}
