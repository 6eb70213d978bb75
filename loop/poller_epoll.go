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
	owner     *poller
	fd        int
	eventfd   int
	triggered atomic.Bool // run will come to the tasks

	// The batch at hand is here and not on the stack of run: after Loop.TakeOver another
	// goroutine goes on with it.
	events [batch]unix.EpollEvent
	at, n  int  // events[at:n] are left
	tasks  bool // run comes to the tasks before it asks for events
}

// resumes says that another goroutine may call run while one is held in an event or a
// task, and ends there.
const resumes = true

// batch is how many events are taken at once, 12 to 16 bytes each.
const batch = 256

// The kernel holds descriptors, and close ends a registration by itself: nothing is to
// be kept for it.
type attachment struct{ fd int32 }

func openSource(p *poller) (*source, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	s := &source{owner: p, fd: fd}
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

func (*source) attach(a *attachment, fd int) { a.fd = int32(fd) }

func (s *source) add(a *attachment) error {
	return s.control(unix.EPOLL_CTL_ADD, a.fd, readWrite)
}

func (s *source) addListener(a *attachment) error {
	return s.control(unix.EPOLL_CTL_ADD, a.fd, unix.EPOLLIN)
}

func (s *source) rearm(a *attachment) error {
	return s.control(unix.EPOLL_CTL_MOD, a.fd, readWrite)
}

func (s *source) rearmListener(a *attachment) error {
	return s.control(unix.EPOLL_CTL_MOD, a.fd, unix.EPOLLIN)
}

func (*source) remove(*attachment) {} // close does it

func (s *source) removeShared(a *attachment) {
	_ = unix.EpollCtl(s.fd, unix.EPOLL_CTL_DEL, int(a.fd), nil)
}

func (*source) freeRetired() {}

// Every write to the eventfd is an edge, so that nobody has to read it.
func (s *source) trigger() error {
	if s.triggered.Swap(true) {
		return nil
	}
	one := [8]byte{1}
	for {
		switch _, err := unix.Write(s.eventfd, one[:]); err {
		case nil:
			return nil
		case unix.EINTR:
		default:
			s.triggered.Store(false)
			return os.NewSyscallError("write", err)
		}
	}
}

func (s *source) run() error {
	for {
		for s.at < s.n {
			e := &s.events[s.at]
			s.at++
			if e.Fd == int32(s.eventfd) {
				s.tasks = true
				continue
			}
			s.owner.on(int(e.Fd), readinessOf(e.Events))
		}
		if s.tasks {
			leave := s.owner.runTasks()
			s.triggered.Store(false) // what comes from now on triggers
			if leave {
				return nil
			}
			s.tasks = s.owner.waiting() > 0 && !s.triggered.Swap(true)
		}
		n := s.look()
		if n == 0 && !s.tasks {
			runtime.Gosched() // who can run does so before the processor is asleep with us
			var err error
			if n, err = unix.EpollWait(s.fd, s.events[:], -1); err != nil && err != unix.EINTR {
				return os.NewSyscallError("epoll_wait", err)
			}
		}
		s.at, s.n = 0, n
	}
}

// look takes the events that are there, without waiting. The scheduler is not told: a
// busy loop never waits, and would pay for that each time.
func (s *source) look() int {
	n, _, e := syscall.RawSyscall6(sysEpollWait, uintptr(s.fd), uintptr(unsafe.Pointer(&s.events)), batch, 0, 0, 0)
	if e != 0 {
		return 0 // EINTR; any other one is that of the wait that follows
	}
	return int(n)
}
