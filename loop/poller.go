package loop

import (
	"errors"
	"os"
	"slices"
	"sync"

	gneterrors "github.com/panjf2000/gnet/v2/pkg/errors"
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"github.com/panjf2000/gnet/v2/pkg/queue"
)

// poller is the seam to the event notification of the system: the one place
// that names gnet's netpoll. Seven verbs: open, add, rearm, remove, wake, run
// and close. All registrations are edge-triggered.
type poller struct {
	np *netpoll.Poller
	cb netpoll.PollEventHandler // made once; calls the loop's onEvent

	// graveyard keeps attachments of removed descriptors alive, see remove.
	graveyard []*attachment

	// Tasks are kept here and not in netpoll's queue, so that renew loses none.
	mu    sync.Mutex
	tasks []task
	done  int // how many of tasks have begun
	next  func(any) error
}

// attachment is what the poller knows about a registered descriptor. With the
// build tag poll_opt the kernel holds its address, unseen by the collector, so
// it must live as long as the registration and the batch of events after it.
type attachment struct {
	pa netpoll.PollAttachment
}

// readiness is what an event says: a hint, see the package comment.
type readiness uint8

const (
	readable readiness = 1 << iota
	writable
	hangup // read to the end: the peer may have sent its last byte, or the connection failed
	ended  // it has
)

// onEvent handles one event.
type onEvent func(fd int, r readiness)

// task is work handed to the loop by wake; leave ends run.
type task func() (leave bool)

// openPoller makes a poller whose run gives every event to on.
func openPoller(on onEvent) (*poller, error) {
	np, err := netpoll.OpenPoller()
	if err != nil {
		return nil, err
	}
	p := &poller{np: np, cb: func(fd int, ev netpoll.IOEvent, flags netpoll.IOFlags) error {
		on(fd, readinessOf(ev, flags))
		return nil
	}}
	p.next = p.runNext
	return p, nil
}

// renew gives p another poller of the system, in place of one whose goroutine is held
// in an event or a task and will not come back to it. Nothing is registered with the new
// one, and an add to it makes an event of all that is ready. No task is lost. Not
// while anybody is in wake. If it fails nothing has changed.
func (p *poller) renew() error {
	np, err := netpoll.OpenPoller()
	if err != nil {
		return err
	}
	_ = p.np.Close()
	p.np = np
	clear(p.graveyard)
	p.graveyard = p.graveyard[:0]
	for range p.tasks[p.done:] {
		_ = np.Trigger(queue.HighPriority, p.next, nil)
	}
	return nil
}

// attach prepares a for fd. a must stay where it is and alive until remove.
func (p *poller) attach(a *attachment, fd int) {
	a.pa = netpoll.PollAttachment{FD: fd, Callback: p.cb}
}

// add registers a for reading and writing.
func (p *poller) add(a *attachment) error { return p.np.AddReadWrite(&a.pa, true) }

// addListener registers a for reading alone: a listener is never writable.
func (p *poller) addListener(a *attachment) error { return p.np.AddRead(&a.pa, true) }

// rearm asks for a fresh event if the descriptor is ready now. It comes behind
// all others that are ready, and that is the loop's fairness. On kqueue only
// writability counts; an event of either kind makes the loop try both, and a
// socket that is not writable has an event to come anyway.
func (p *poller) rearm(a *attachment) error { return p.np.ModReadWrite(&a.pa, true) }

// remove ends the registration; the caller closes the descriptor after it. An
// event of a may still be in the batch at hand.
func (p *poller) remove(a *attachment) {
	if removeBeforeClose {
		p.removeShared(a)
	}
}

// removeShared is remove for a descriptor whose socket others may hold too: its
// registration would outlive the close, and go on making events.
func (p *poller) removeShared(a *attachment) {
	_ = p.np.Delete(a.pa.FD)
	p.graveyard = append(p.graveyard, a)
}

// bury forgets what was removed. To be called between two batches: from a task.
func (p *poller) bury() {
	clear(p.graveyard)
	p.graveyard = p.graveyard[:0]
}

// wake makes run call t soon, on its goroutine. From any goroutine.
func (p *poller) wake(t task) error {
	p.mu.Lock()
	if p.done > len(p.tasks)/2 { // a loop that is never without tasks
		p.tasks = slices.Delete(p.tasks, 0, p.done)
		p.done = 0
	}
	p.tasks = append(p.tasks, t)
	p.mu.Unlock()
	return p.np.Trigger(queue.HighPriority, p.next, nil)
}

// runNext runs the oldest task. It comes once for each.
func (p *poller) runNext(any) error {
	p.mu.Lock()
	t := p.tasks[p.done]
	p.tasks[p.done] = nil
	if p.done++; p.done == len(p.tasks) {
		p.tasks, p.done = p.tasks[:0], 0
	}
	p.mu.Unlock()
	if t() {
		return errLeave
	}
	return nil
}

// errLeave is the error that makes netpoll's Polling return.
var errLeave = gneterrors.ErrEngineShutdown

// run waits for events and tasks until one of them leaves, or the poller fails.
func (p *poller) run() error {
	if err := p.poll(); !errors.Is(err, errLeave) {
		return os.NewSyscallError("poll", err)
	}
	return nil
}

func (p *poller) close() error { return p.np.Close() }
