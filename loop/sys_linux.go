package loop

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawBytesMax is the most that is read or written without telling the Go
// scheduler. A raw call on a non-blocking socket saves the hand-off (about
// 0.4 us of 6), but the goroutine cannot be stopped while the kernel copies, so
// large copies go the ordinary way.
const rawBytesMax = 64 << 10

// read reads from a non-blocking descriptor. b is not empty.
func read(fd int, b []byte) (int, error) {
	for {
		var n uintptr
		var e syscall.Errno
		if len(b) <= rawBytesMax {
			n, _, e = syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		} else {
			n, _, e = syscall.Syscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
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

// write writes to a non-blocking descriptor. b is not empty.
func write(fd int, b []byte) (int, error) {
	for {
		var n uintptr
		var e syscall.Errno
		if len(b) <= rawBytesMax {
			n, _, e = syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		} else {
			n, _, e = syscall.Syscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
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

// writeMore is write for what has more behind it at once: the kernel keeps what does
// not fill a packet, for the next call to fill. b is not empty.
func writeMore(fd int, b []byte) (int, error) {
	for {
		n, _, e := syscall.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_MORE|unix.MSG_NOSIGNAL, 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, e
		}
	}
}

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
