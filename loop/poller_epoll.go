//go:build linux && !poll_opt

package loop

import (
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/internal/sched"
)

// source is an epoll instance, and an eventfd for trigger.
type source struct {
	owner       *poller
	fd          int
	eventfd     int
	wakePending atomic.Bool // the eventfd was written and run has not run the tasks since

	// The present batch is here and not on the stack of run: after Loop.Handoff the new
	// goroutine continues with the rest of it.
	events   [batch]unix.EpollEvent
	next, n  int  // events[at:n] are left
	tasksDue bool // run comes to the tasks before it asks for events
}

// runResumable: after a handoff the new goroutine may call run on the same source, although
// the old one is still inside it, in an event or a task.
const runResumable = true

// batch is the most events of one epoll_wait, 12 to 16 bytes each.
const batch = 256

// attachment: epoll gets the descriptor as user data, no address of ours, so nothing has to
// stay alive for it.
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

// control is epoll_ctl(2), edge-triggered, for the events what.
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

func (*source) remove(*attachment) {} // the kernel does it when the descriptor is closed

func (s *source) removeShared(a *attachment) {
	_ = unix.EpollCtl(s.fd, unix.EPOLL_CTL_DEL, int(a.fd), nil)
}

func (*source) freeRetired() {}

// trigger writes to the eventfd, unless it has been written since the tasks last ran. Every
// write is an edge, so the counter is never read.
func (s *source) trigger() error {
	if s.wakePending.Swap(true) {
		return nil
	}
	one := [8]byte{1}
	for {
		switch _, err := unix.Write(s.eventfd, one[:]); err {
		case nil:
			return nil
		case unix.EINTR:
		default:
			s.wakePending.Store(false)
			return os.NewSyscallError("write", err)
		}
	}
}

// expectTasks makes run come to the tasks after the events at hand. For the goroutine of run.
func (s *source) expectTasks() {
	if !s.wakePending.Swap(true) {
		s.tasksDue = true
	}
}

func (s *source) run() error {
	for {
		for s.next < s.n {
			e := &s.events[s.next]
			s.next++
			if e.Fd == int32(s.eventfd) {
				s.tasksDue = true
				continue
			}
			s.owner.on(int(e.Fd), readinessOf(e.Events))
		}
		if s.tasksDue {
			stop := s.owner.runTasks()
			s.wakePending.Store(false) // a task added from here on writes to the eventfd again
			if stop {
				return nil
			}
			// A task added while runTasks ran did not write to it: it is due in this loop's
			// next round, after the events.
			s.tasksDue = s.owner.pendingTasks() > 0 && !s.wakePending.Swap(true)
		}
		n := s.pollNow()
		if n == 0 && !s.tasksDue {
			yield()
			var err error
			if n, err = unix.EpollWait(s.fd, s.events[:], -1); err != nil && err != unix.EINTR {
				return os.NewSyscallError("epoll_wait", err)
			}
		}
		s.next, s.n = 0, n
	}
}

// pollNow takes the events that are ready, without waiting. It is a raw system call, which
// skips Go's entersyscall: a busy loop never waits, and would pay for that every time.
func (s *source) pollNow() int {
	n, _, e := syscall.RawSyscall6(sysEpollWait, uintptr(s.fd), uintptr(unsafe.Pointer(&s.events)), batch, 0, 0, 0)
	if e != 0 {
		return 0 // EINTR; any other error is returned by the epoll_wait that follows
	}
	return int(n)
}

// yield lets other goroutines run before the loop waits for events. The wait keeps its processor until the runtime
// retakes it, 20 us and more later: those that are ready on it, such as workers, would wait too. Those of the
// scheduler's global queue find a processor to spare, if there is one.
func yield() {
	if processorToSpare.Load() {
		sched.Yield()
	} else {
		runtime.Gosched()
	}
}
