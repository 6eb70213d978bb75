//go:build !linux || poll_opt

package loop

import (
	"errors"
	"os"

	gneterrors "github.com/panjf2000/gnet/v2/pkg/errors"
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"github.com/panjf2000/gnet/v2/pkg/queue"
)

// source is gnet's netpoll: kqueue, and epoll on Linux with the build tag poll_opt. netpoll
// runs tasks until there are none, so a task that always adds another one starves the events.
type source struct {
	np       *netpoll.Poller
	cb       netpoll.PollEventHandler // made once; calls the loop's onEvent
	runTasks func(any) error          // made once; runs the tasks

	// retired keeps attachments of removed descriptors alive until freeRetired: the present
	// batch may still have an event with their address.
	retired []*attachment
}

// runResumable: netpoll has the present batch on the stack of run, where a new goroutine
// cannot continue with it. A handoff needs renew.
const runResumable = false

// attachment is what netpoll knows of a registered descriptor. With the build tag poll_opt
// the kernel has its address, which the collector does not see: it must stay alive as long
// as the registration, and until the end of the batch after that.
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
			return errStop
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

// rearm: on kqueue ModReadWrite examines only the filter for writing. That is enough: an
// event of either kind makes the loop try both, and a socket that is not writable now will
// have an event when it is.
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

// errStop makes netpoll's Polling return.
var errStop = gneterrors.ErrEngineShutdown

func (s *source) run() error {
	if err := s.poll(); !errors.Is(err, errStop) {
		return os.NewSyscallError("poll", err)
	}
	return nil
}

func (*source) expectTasks() {} // netpoll wakes itself by an event
