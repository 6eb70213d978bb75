package loop

import (
	"slices"
	"sync"
)

// poller is the seam to the event notification of the system. Its verbs: open, add,
// rearm, remove, wake, run, renew and close. All registrations are edge-triggered. What
// it takes of the system is in source: poller_epoll.go for Linux, poller_netpoll.go
// for the others.
type poller struct {
	*source
	on onEvent

	// Tasks are kept here and not in the source, so that renew loses none.
	mu    sync.Mutex
	tasks []task
	done  int // how many of tasks have begun
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
// the next time: events have their turn.
func (p *poller) runTasks() (leave bool) {
	p.mu.Lock()
	n := len(p.tasks) - p.done
	p.mu.Unlock()
	for ; n > 0 && !leave; n-- {
		leave = p.nextTask()()
	}
	return leave
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
