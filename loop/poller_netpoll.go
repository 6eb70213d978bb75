//go:build !linux || poll_opt

package loop

import (
	"errors"
	"os"

	gneterrors "github.com/panjf2000/gnet/v2/pkg/errors"
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"github.com/panjf2000/gnet/v2/pkg/queue"
)

// source is gnet's netpoll: kqueue, and on Linux epoll with the build tag poll_opt. It
// runs tasks until there are none: one that wakes itself for ever holds up the events.
type source struct {
	np       *netpoll.Poller
	cb       netpoll.PollEventHandler // made once; calls the loop's onEvent
	runTasks func(any) error          // made once; runs the tasks

	// graveyard keeps attachments of removed descriptors alive, see remove.
	retired []*attachment
}

// resumes says that another goroutine may call run while one is held in an event: here
// the batch is on its stack.
const resumes = false

// attachment is what the poller knows about a registered descriptor. With the
// build tag poll_opt the kernel holds its address, unseen by the collector, so
// it must live as long as the registration and the batch of events after it.
type attachment struct {
	pa netpoll.PollAttachment
}

func openSource(p *poller) (*source, error) {
	np, err := netpoll.OpenPoller()
	if err != nil {
		return nil, err
	}
	return &source{np: np, cb: func(fd int, ev netpoll.IOEvent, flags netpoll.IOFlags) error {
		p.on(fd, readinessFrom(ev, flags))
		return nil
	}, runTasks: func(any) error {
		if p.runTasks() {
			return errLeave
		}
		return nil
	}}, nil
}

func (s *source) close() { _ = s.np.Close() }

func (s *source) attach(a *attachment, fd int) {
	a.pa = netpoll.PollAttachment{FD: fd, Callback: s.cb}
}

func (s *source) add(a *attachment) error { return s.np.AddReadWrite(&a.pa, true) }

func (s *source) addListener(a *attachment) error { return s.np.AddRead(&a.pa, true) }

// On kqueue only writability counts; an event of either kind makes the loop try both,
// and a socket that is not writable has an event to come anyway.
func (s *source) rearm(a *attachment) error { return s.np.ModReadWrite(&a.pa, true) }

func (s *source) remove(a *attachment) {
	if removeBeforeClose {
		s.removeShared(a)
	}
}

func (s *source) removeShared(a *attachment) {
	_ = s.np.Delete(a.pa.FD)
	s.retired = append(s.retired, a)
}

func (s *source) freeRetired() {
	clear(s.retired)
	s.retired = s.retired[:0]
}

func (s *source) trigger() error { return s.np.Trigger(queue.HighPriority, s.runTasks, nil) }

// errLeave is the error that makes netpoll's Polling return.
var errLeave = gneterrors.ErrEngineShutdown

func (s *source) run() error {
	if err := s.poll(); !errors.Is(err, errLeave) {
		return os.NewSyscallError("poll", err)
	}
	return nil
}
