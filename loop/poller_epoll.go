//go:build linux && !poll_opt

package loop

import (
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// source is an epoll instance, and an eventfd for trigger.
type source struct {
	p         *poller
	fd        int
	eventfd   int
	triggered atomic.Bool // the loop will come to runTasks
	events    [batch]unix.EpollEvent
}

// batch is how many events are taken at once, 12 bytes each.
const batch = 256

// The kernel holds descriptors, and close ends a registration by itself: nothing is to
// be kept for it.
type attachment struct{ fd int32 }

func openSource(p *poller) (*source, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	s := &source{p: p, fd: fd}
	if s.eventfd, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("eventfd", err)
	}
	if err := s.control(unix.EPOLL_CTL_ADD, int32(s.eventfd), unix.EPOLLIN); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *source) close() {
	_ = unix.Close(s.eventfd)
	_ = unix.Close(s.fd)
}

const readWrite = unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLOUT

// control is epoll_ctl(2), for edges of what.
func (s *source) control(op int, fd int32, what uint32) error {
	e := unix.EpollEvent{Fd: fd, Events: what | unix.EPOLLET | unix.EPOLLRDHUP}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(s.fd, op, int(fd), &e))
}

// attach prepares a for fd. a must stay where it is and alive until remove.
func (*source) attach(a *attachment, fd int) { a.fd = int32(fd) }

// add registers a for reading and writing.
func (s *source) add(a *attachment) error {
	return s.control(unix.EPOLL_CTL_ADD, a.fd, readWrite)
}

// addListener registers a for reading alone: a listener is never writable.
func (s *source) addListener(a *attachment) error {
	return s.control(unix.EPOLL_CTL_ADD, a.fd, unix.EPOLLIN)
}

// rearm asks for a fresh event if the descriptor is ready now. It comes behind
// all others that are ready, and that is the loop's fairness.
func (s *source) rearm(a *attachment) error {
	return s.control(unix.EPOLL_CTL_MOD, a.fd, readWrite)
}

// rearmListener asks for a fresh event of a listener, as rearm does.
func (s *source) rearmListener(a *attachment) error {
	return s.control(unix.EPOLL_CTL_MOD, a.fd, unix.EPOLLIN)
}

// remove ends the registration; the caller closes the descriptor after it. An
// event of a may still be in the batch at hand.
func (*source) remove(*attachment) {}

// removeShared is remove for a descriptor whose socket others may hold too: its
// registration would outlive the close, and go on making events.
func (s *source) removeShared(a *attachment) {
	_ = unix.EpollCtl(s.fd, unix.EPOLL_CTL_DEL, int(a.fd), nil)
}

// bury forgets what was removed. To be called between two batches: from a task.
func (*source) bury() {}

// trigger makes run call runTasks. From any goroutine. Every write to the eventfd is an
// edge, so that nobody has to read it.
func (s *source) trigger() error {
	if s.triggered.Swap(true) {
		return nil
	}
	one := [8]byte{1}
	for {
		if _, err := unix.Write(s.eventfd, one[:]); err != unix.EINTR {
			return os.NewSyscallError("write", err)
		}
	}
}

// run waits for events and tasks until one of them leaves, or epoll fails.
func (s *source) run() error {
	for {
		n := s.look()
		if n == 0 {
			runtime.Gosched() // who can run does so before the processor is asleep with us
			var err error
			if n, err = unix.EpollWait(s.fd, s.events[:], -1); err != nil && err != unix.EINTR {
				return os.NewSyscallError("epoll_wait", err)
			}
		}
		tasks := false
		for i := range max(n, 0) {
			e := &s.events[i]
			if e.Fd == int32(s.eventfd) {
				tasks = true
				continue
			}
			s.p.on(int(e.Fd), readinessOf(e.Events))
		}
		if tasks {
			s.triggered.Store(false) // from now on a task triggers again
			if s.p.runTasks() {
				return nil
			}
		}
	}
}

// look takes the events that are there, without waiting. The scheduler is not told: a
// busy loop never waits, and would pay for that each time.
func (s *source) look() int {
	n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(s.fd), uintptr(unsafe.Pointer(&s.events)), batch, 0, 0, 0)
	if e != 0 {
		return 0 // EINTR; any other one is that of the wait that follows
	}
	return int(n)
}
