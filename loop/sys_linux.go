package loop

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// accept takes a connection from a listener that does not block. The descriptor does not block
// either, and is closed on exec. unix.Accept4 would allocate the address, and ask
// each connection for its protocol by one more system call.
func accept(fd int) (int, netip.AddrPort, error) {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	n, _, e := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if e != 0 {
		return -1, netip.AddrPort{}, e
	}
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(&sa))
		return int(n), netip.AddrPortFrom(netip.AddrFrom4(in.Addr), port(&in.Port)), nil
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(&sa))
		return int(n), netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), port(&in.Port)), nil
	}
	return int(n), netip.AddrPort{}, nil // a Unix socket
}

// port reads a port number, which is big-endian in memory.
func port(p *uint16) uint16 { return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]) }

// rawBytesMax is the most that is read or written without telling the Go
// scheduler. A raw call on a non-blocking socket saves the hand-off (about
// 0.4 us of 6), but the goroutine cannot be stopped while the kernel copies, so
// large copies go the ordinary way.
const rawBytesMax = 64 << 10

// read reads from a non-blocking socket. b is not empty.
func read(fd int, b []byte) (int, error) { return transfer(unix.SYS_RECVFROM, fd, b, 0) }

// write writes to a non-blocking socket. b is not empty.
func write(fd int, b []byte) (int, error) {
	return transfer(unix.SYS_SENDTO, fd, b, unix.MSG_NOSIGNAL)
}

// writeMore is write for what has more behind it at once: the kernel keeps what does
// not fill a packet, for the next call to fill. b is not empty.
func writeMore(fd int, b []byte) (int, error) {
	return transfer(unix.SYS_SENDTO, fd, b, unix.MSG_NOSIGNAL|unix.MSG_MORE)
}

// transfer is recvfrom(2) or sendto(2), which are read(2) and write(2) without what
// these do for files: both together take about 0.2 us less.
func transfer(trap uintptr, fd int, b []byte, flags uintptr) (int, error) {
	for {
		var n uintptr
		var e syscall.Errno
		if len(b) <= rawBytesMax {
			n, _, e = syscall.RawSyscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), flags, 0, 0)
		} else {
			n, _, e = syscall.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), flags, 0, 0)
		}
		switch e {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, e
		}
	}
}

// vectorsMax is the most pieces one call sends.
const vectorsMax = 16

// vector is the scratch memory of a gathering write, one for each loop.
type vector [vectorsMax]unix.Iovec

func (v *vector) put(i int, b []byte) {
	v[i].Base = unsafe.SliceData(b)
	v[i].SetLen(len(b))
}

// write sends a and b, neither empty, in one call.
func (v *vector) write(fd int, a, b []byte) (int, error) {
	v.put(0, a)
	v.put(1, b)
	return v.send(fd, 2)
}

// writePieces sends the byte pieces at the front in one call.
func (v *vector) writePieces(fd int, pieces []piece) (int, error) {
	n := 0
	for n < len(pieces) && n < len(v) && pieces[n].file == nil {
		v.put(n, pieces[n].b)
		n++
	}
	return v.send(fd, n)
}

func (v *vector) send(fd, n int) (int, error) {
	defer clear(v[:n]) // keep nothing alive
	for {
		w, _, e := syscall.Syscall(syscall.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(v)), uintptr(n))
		switch e {
		case 0:
			return int(w), nil
		case syscall.EINTR:
		default:
			return 0, e
		}
	}
}

// unacknowledged is how many bytes the kernel holds of what was written to a socket: not yet
// sent, or not yet acknowledged by the peer. 0 if it cannot tell.
func unacknowledged(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}
