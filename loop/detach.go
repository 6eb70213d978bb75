package loop

import (
	"bytes"
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// ErrDetached is given to Handler.Closed for a connection that was given up to who
// called Detach.
var ErrDetached = errors.New("loop: the connection was detached")

var errUnsent = errors.New("loop: output waits for the socket, or there is no socket; Detach an open connection when Unsent is 0")

// Detach gives the connection up: it returns one of net that is the caller's, and the
// bytes that were read and not used, which are before those that can be read from it. The
// loop closes its own descriptor and calls Closed with ErrDetached, when the callback at
// hand has returned; the peer sees nothing of it. Only for an open connection whose output
// is all sent, and not during Input. With an error the connection stays as it was.
func (c *Conn) Detach() (conn net.Conn, unused []byte, err error) {
	if c.state != open || c.out != nil || c.mem != nil {
		return nil, nil, errUnsent
	}
	fd, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(fd), "connection")
	defer file.Close()
	if conn, err = net.FileConn(file); err != nil {
		_ = unix.SetNonblock(int(c.fd), true) // which all duplicates share
		return nil, nil, err
	}
	if c.stash != nil {
		unused = bytes.Clone(c.stash.B)
	}
	c.kill(ErrDetached)
	return conn, unused, nil
}
