package loop

import (
	"bytes"
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// ErrDetached is what Handler.Closed gets for a connection after Detach.
var ErrDetached = errors.New("loop: the connection was detached")

var errUnsent = errors.New("loop: Detach of a connection that is not open, has unsent output, or has no socket; " +
	"call it on an open connection when Unsent is 0")

// Detach takes the connection out of the loop. It returns a net.Conn that the caller owns,
// and a copy of the bytes that were read and not used, which precede what is read from
// conn. The loop closes its own descriptor and calls Closed with ErrDetached when the
// present callback has returned; the peer notices nothing. Only for an open connection
// whose output is all sent, and not during Input. After an error the connection is as before.
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
		_ = unix.SetNonblock(int(c.fd), true) // FileConn may have made it blocking, and all duplicates share the flag
		return nil, nil, err
	}
	if c.pending != nil {
		unused = bytes.Clone(c.pending.B)
	}
	c.kill(ErrDetached)
	return conn, unused, nil
}
