package loop

import (
	"slices"
	"sync"
)

// poller is the seam to the event notification of the system: open, add, rearm, remove,
// wake, run, renew and close. What it takes of the system is its source:
// poller_epoll.go for Linux, poller_netpoll.go for the others.
type poller struct {
	*source
	on onEvent

	// Tasks are kept here and not in the source, so that renew loses none.
	mu    sync.Mutex
	tasks []task
	done  int // how many of tasks have begun
}

// A source makes edges into events. All but trigger is for the loop's goroutine.
var _ interface {
	// attach prepares a for fd. a must stay where it is and alive until remove.
	attach(a *attachment, fd int)

	// add registers a for reading and writing, addListener for reading alone: a
	// listener is never writable.
	add(a *attachment) error
	addListener(a *attachment) error

	// rearm and rearmListener ask for a fresh event if the descriptor is ready now. It
	// comes behind all others that are ready, and that is the loop's fairness.
	rearm(a *attachment) error
	rearmListener(a *attachment) error

	// remove ends the registration; the caller closes the descriptor after it. An event
	// of a may still be in the batch at hand. removeShared is for a descriptor whose
	// socket others may hold too: its registration would outlive the close, and go on
	// making events.
	remove(a *attachment)
	removeShared(a *attachment)

	// freeRetired forgets what was removed. To be called between two batches: from a task.
	freeRetired()

	// trigger makes run call runTasks of the poller. From any goroutine.
	trigger() error

	// run waits for events and tasks until one of them leaves, or the source fails.
	run() error

	close()
} = (*source)(nil)

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
	p := &poller{on: on}
	var err error
	if p.source, err = openSource(p); err != nil {
		return nil, err
	}
	return p, nil
}

// renew gives p another source, in place of one whose goroutine is held in an event or
// a task and will not come back to it. Nothing is registered with the new one, and an
// add to it makes an event of all that is ready. No task is lost. Not while anybody is
// in wake. If it fails nothing has changed.
func (p *poller) renew() error {
	s, err := openSource(p)
	if err != nil {
		return err
	}
	if len(p.tasks) > p.done {
		if err := s.trigger(); err != nil {
			s.close()
			return err
		}
	}
	p.source.close()
	p.source = s
	return nil
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
	return p.trigger()
}

// runTasks is what a source calls after trigger. Tasks that come meanwhile are left for
// the next time.
func (p *poller) runTasks() (leave bool) {
	for n := p.waiting(); n > 0 && !leave; n-- {
		leave = p.nextTask()()
	}
	return leave
}

// waiting is how many tasks have not begun.
func (p *poller) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.tasks) - p.done
}

// nextTask takes the oldest task.
func (p *poller) nextTask() task {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tasks[p.done]
	p.tasks[p.done] = nil
	if p.done++; p.done == len(p.tasks) {
		p.tasks, p.done = p.tasks[:0], 0
	}
	return t
}
