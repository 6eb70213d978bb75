//go:build !linux || poll_opt

package loop

import (
	"errors"
	"os"

	gneterrors "github.com/panjf2000/gnet/v2/pkg/errors"
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"github.com/panjf2000/gnet/v2/pkg/queue"
)

// source is gnet's netpoll: kqueue, and on Linux epoll with the build tag poll_opt.
type source struct {
	np    *netpoll.Poller
	cb    netpoll.PollEventHandler // made once; calls the loop's onEvent
	tasks func(any) error          // made once

	// graveyard keeps attachments of removed descriptors alive, see remove.
	graveyard []*attachment
}

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
	}, tasks: func(any) error {
		if p.runTasks() {
			return errLeave
		}
		return nil
	}}, nil
}

func (s *source) close() { _ = s.np.Close() }

// attach prepares a for fd. a must stay where it is and alive until remove.
func (s *source) attach(a *attachment, fd int) {
	a.pa = netpoll.PollAttachment{FD: fd, Callback: s.cb}
}

// add registers a for reading and writing.
func (s *source) add(a *attachment) error { return s.np.AddReadWrite(&a.pa, true) }

// addListener registers a for reading alone: a listener is never writable.
func (s *source) addListener(a *attachment) error { return s.np.AddRead(&a.pa, true) }

// rearm asks for a fresh event if the descriptor is ready now. It comes behind
// all others that are ready, and that is the loop's fairness. On kqueue only
// writability counts; an event of either kind makes the loop try both, and a
// socket that is not writable has an event to come anyway.
func (s *source) rearm(a *attachment) error { return s.np.ModReadWrite(&a.pa, true) }

// remove ends the registration; the caller closes the descriptor after it. An
// event of a may still be in the batch at hand.
func (s *source) remove(a *attachment) {
	if removeBeforeClose {
		s.removeShared(a)
	}
}

// removeShared is remove for a descriptor whose socket others may hold too: its
// registration would outlive the close, and go on making events.
func (s *source) removeShared(a *attachment) {
	_ = s.np.Delete(a.pa.FD)
	s.graveyard = append(s.graveyard, a)
}

// bury forgets what was removed. To be called between two batches: from a task.
func (s *source) bury() {
	clear(s.graveyard)
	s.graveyard = s.graveyard[:0]
}

// trigger makes run call runTasks. From any goroutine.
func (s *source) trigger() error { return s.np.Trigger(queue.HighPriority, s.tasks, nil) }

// errLeave is the error that makes netpoll's Polling return.
var errLeave = gneterrors.ErrEngineShutdown

// run waits for events and tasks until one of them leaves, or the poller fails.
func (s *source) run() error {
	if err := s.poll(); !errors.Is(err, errLeave) {
		return os.NewSyscallError("poll", err)
	}
	return nil
}
