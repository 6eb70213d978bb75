//go:build darwin || freebsd

package loop

import (
	"net/netip"
	"runtime"

	"github.com/panjf2000/gnet/v2/pkg/socket"
	"golang.org/x/sys/unix"
)

// accept accepts a connection from a non-blocking listener. The new descriptor is
// non-blocking too, and closed on exec.
func accept(fd int) (int, netip.AddrPort, error) {
	nfd, sa, err := socket.Accept(fd)
	return nfd, addrPort(sa), err
}

// read reads from a non-blocking descriptor. b is not empty.
func read(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// write writes to a non-blocking descriptor. b is not empty.
func write(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Write(fd, b)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// writeMore is write: there is no MSG_MORE here.
func writeMore(fd int, b []byte) (int, error) { return write(fd, b) }

// vector takes the place of Linux's writev: here every piece is one call.
type vector struct{}

func (*vector) write(fd int, a, _ []byte) (int, error) { return write(fd, a) }

func (*vector) writePieces(fd int, pieces []piece) (int, error) { return write(fd, pieces[0].b) }

const (
	soNwrite  = 0x1024     // SO_NWRITE of macOS
	fionwrite = 0x40046677 // FIONWRITE of FreeBSD
)

// unacknowledged returns how many bytes written to a socket the kernel still has: unsent, or
// not acknowledged by the peer. 0 if the kernel cannot say.
func unacknowledged(fd int) (n int) {
	if runtime.GOOS == "darwin" {
		n, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, soNwrite)
	} else {
		n, _ = unix.IoctlGetInt(fd, fionwrite)
	}
	return n
}
