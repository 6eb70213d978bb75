package server

import "golang.org/x/sys/unix"

// unacked is how many bytes the peer has not acknowledged.
func (c *tlsConn) unacked() (n int) {
	c.control(func(fd int) { n, _ = unix.IoctlGetInt(fd, unix.SIOCOUTQ) })
	return n
}
