package spool

import (
	"os"

	"golang.org/x/sys/unix"
)

// Open makes a temporary file that never has a name (O_TMPFILE): nothing is left of it, also after a crash of
// the server. Where the file system has no such files it is made as on every other system.
func Open(dir string) (File, error) {
	const flags = unix.O_TMPFILE | unix.O_EXCL | unix.O_RDWR | unix.O_CLOEXEC // O_EXCL: nor can it get one
	for {
		fd, err := unix.Open(dir, flags, 0o600)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), dir+"/(temporary)"), nil
		case unix.EINTR:
		default:
			return Create(dir) // its error says more
		}
	}
}
