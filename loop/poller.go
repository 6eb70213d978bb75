package loop

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// poller is the interface to the system's event notification, and the queue of tasks. The
// part that differs between systems is source: poller_epoll.go for Linux,
// poller_netpoll.go for the others.
type poller struct {
	*source
	on onEvent

	// The tasks are here and not in the source, so that renew loses none.
	mu    sync.Mutex
	tasks []task
	begun int // tasks[:begun] have begun
}

// A source delivers edge-triggered events. All methods except trigger are for the loop's
// goroutine.
var _ interface {
	// attach prepares a for fd. a must not move and must stay alive until remove.
	attach(a *attachment, fd int)

	// add registers a for reading and writing, addListener for reading only.
	add(a *attachment) error
	addListener(a *attachment) error

	// rearm and rearmListener ask for a fresh event if the descriptor is ready now. The
	// kernel puts it behind all others that are ready: that is the loop's fairness.
	rearm(a *attachment) error
	rearmListener(a *attachment) error

	// remove ends the registration; the caller closes the descriptor after it. The present
	// batch may still have an event of a. removeShared is for a socket that has another
	// descriptor somewhere (a duplicate, another process): there close alone would not
	// end the registration, and events would go on.
	remove(a *attachment)
	removeShared(a *attachment)

	// freeRetired frees the attachments that were removed. Only between two batches, so
	// from a task.
	freeRetired()

	// trigger makes run call runTasks of the poller. From any goroutine.
	trigger() error

	// run handles events and tasks until a task returns true, or the source fails.
	run() error

	close()
} = (*source)(nil)

// readiness is what an event says. It is a hint: see the package comment.
type readiness uint8

const (
	readable readiness = 1 << iota
	writable
	readToEnd // read until EOF or EAGAIN: FIN, a failure or urgent data, and no other edge may come
	peerEnded // the peer has sent FIN, or the connection has failed
)

// onEvent handles one event.
type onEvent func(fd int, r readiness)

// task is a function that wake gives to the loop. run returns after a task that returns true.
type task func() (stop bool)

// openPoller makes a poller whose run calls on for every event.
func openPoller(on onEvent) (*poller, error) {
	p := &poller{on: on}
	var err error
	if p.source, err = openSource(p); err != nil {
		return nil, err
	}
	return p, nil
}

// renew replaces the source, for a handoff: the goroutine that is in the old source's run
// does not return to it. Nothing is registered with the new source; add makes an event for
// a descriptor that is ready. No task is lost. The caller excludes wake (Loop.wakeMu). After
// an error p is as before.
func (p *poller) renew() error {
	s, err := openSource(p)
	if err != nil {
		return err
	}
	if len(p.tasks) > p.begun {
		if err := s.trigger(); err != nil {
			s.close()
			return err
		}
	}
	p.source.close()
	p.source = s
	return nil
}

// wake makes run call t after the present events. From any goroutine.
func (p *poller) wake(t task) error {
	p.mu.Lock()
	if p.begun > len(p.tasks)/2 { // nextTask resets the slice only when it is empty, which may never be
		p.tasks = slices.Delete(p.tasks, 0, p.begun)
		p.begun = 0
	}
	p.tasks = append(p.tasks, t)
	p.mu.Unlock()
	return p.trigger()
}

// runTasks is called by a source after trigger. It runs the tasks that are there now: those
// added while it runs wait until the events have had their turn, so that tasks which add
// tasks cannot starve the connections.
func (p *poller) runTasks() (stop bool) {
	for n := p.pendingTasks(); n > 0 && !stop; n-- {
		stop = p.nextTask()()
	}
	return stop
}

// pendingTasks is the number of tasks that have not begun.
func (p *poller) pendingTasks() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.tasks) - p.begun
}

// nextTask removes the oldest task and returns it.
func (p *poller) nextTask() task {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tasks[p.begun]
	p.tasks[p.begun] = nil
	if p.begun++; p.begun == len(p.tasks) {
		p.tasks, p.begun = p.tasks[:0], 0
	}
	return t
}

// loopsRunning is how many loops the process has.
var loopsRunning atomic.Int32

// processorToSpare: there are more processors (P) than loops, so one at least is idle or runs other goroutines.
var processorToSpare atomic.Bool

// countProcessors sets processorToSpare anew. GOMAXPROCS changes with the limits of a container.
func countProcessors() {
	if spare := int(loopsRunning.Load()) < runtime.GOMAXPROCS(0); spare != processorToSpare.Load() {
		processorToSpare.Store(spare)
	}
}
