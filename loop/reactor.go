package loop

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2/pkg/socket"
	"golang.org/x/sys/unix"
)

// reusePortSpreads: Linux spreads connections over the listeners that share a port by
// SO_REUSEPORT; other systems give all of them to one listener.
const reusePortSpreads = runtime.GOOS == "linux"

// Reactor is a set of loops that share listeners.
type Reactor struct {
	opt   Options
	loops []*Loop
	conns table

	mu      sync.Mutex
	started bool // the loops have goroutines

	listenersMu       sync.Mutex    // guards Loop.listeners of all loops; its own loop may read without it
	assigned          atomic.Uint32 // listeners assigned to loops so far
	listenersReleased atomic.Bool   // ReleaseListeners was called

	startOnce sync.Once
	stopOnce  sync.Once
	halt      chan struct{} // closed by Halt
	done      chan struct{} // closed when all goroutines have ended
	running   sync.WaitGroup
}

// New makes a reactor. It calls newHandler once for each loop. The loops run after Start.
// The errors are those of Options.Check, and of the kernel if it refuses a poller.
func New(opt Options, newHandler func(*Loop) Handler) (*Reactor, error) {
	if err := opt.Check(); err != nil {
		return nil, err
	}
	r := &Reactor{opt: opt.withDefaults(), halt: make(chan struct{}), done: make(chan struct{})}
	for range r.opt.Loops {
		l, err := newLoop(r)
		if err != nil {
			r.Stop()
			return nil, err
		}
		l.setHandler(newHandler(l))
		r.loops = append(r.loops, l)
	}
	return r, nil
}

// Loops returns the loops, in a slice that must not be changed. From any goroutine.
func (r *Reactor) Loops() []*Loop { return r.loops }

// Len returns the number of connections that all loops have accepted. From any goroutine.
func (r *Reactor) Len() (n int) {
	for _, l := range r.loops {
		n += int(l.connCount.Load())
	}
	return n
}

// Attached returns the number of connections of [Loop.Attach] and [Loop.Dial] of all loops,
// those that are not connected yet too. From any goroutine.
func (r *Reactor) Attached() (n int) {
	for _, l := range r.loops {
		n += int(l.attachedCount.Load())
	}
	return n
}

// Start starts the goroutines of the loops and the ticker. Further calls do nothing.
func (r *Reactor) Start() {
	r.startOnce.Do(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.started = true
		r.running.Add(len(r.loops)) // one Done for each loop, by its last goroutine (runFrom)
		loopsRunning.Add(int32(len(r.loops)))
		countProcessors()
		for _, l := range r.loops {
			go l.run()
		}
		r.running.Go(r.tick)
		go r.closeDone()
	})
}

// closeDone closes done when all loops and the ticker have ended.
func (r *Reactor) closeDone() {
	r.running.Wait()
	loopsRunning.Add(-int32(len(r.loops)))
	countProcessors()
	close(r.done)
}

// tick is the ticker's goroutine. It wakes every loop once a tick, for its timers and
// clock. A loop that has not taken the last tick gets no other, and its handler is told.
func (r *Reactor) tick() {
	t := time.NewTicker(r.opt.Tick)
	defer t.Stop()
	for {
		select {
		case <-r.halt:
			return
		case <-t.C:
		}
		countProcessors()
		for _, l := range r.loops {
			if l.tickPending.CompareAndSwap(false, true) {
				l.tickSent = time.Now()
				l.do(l.tickTask)
			} else {
				l.handler.TickMissed(time.Since(l.tickSent))
			}
		}
	}
}

// assignListeners gives listeners to the loops in rotation. A loop may have several; one
// that has none gets its connections from the others (leastLoaded). On an error none of
// lns stays.
func (r *Reactor) assignListeners(lns []*listener) error {
	for i, ln := range lns {
		ln.loop = r.loops[int(r.assigned.Add(1)-1)%len(r.loops)]
		if err := r.onLoop(ln.loop, func(l *Loop) error { return l.addListener(ln) }); err != nil {
			for _, ln := range lns[i:] {
				ln.close()
			}
			for _, ln := range lns[:i] {
				ln.loop.Do(func() { ln.loop.dropListener(ln) })
			}
			return err
		}
	}
	return nil
}

// onLoop calls f on the goroutine of l and returns its error; before Start, when there is
// no such goroutine, it calls f itself. errClosed if the loop has stopped.
func (r *Reactor) onLoop(l *Loop, f func(*Loop) error) error {
	r.mu.Lock() // Start waits for mu: no goroutine of l can appear while f runs here
	if !r.started {
		defer r.mu.Unlock()
		return f(l)
	}
	r.mu.Unlock()
	result := make(chan error, 1) // buffered: f may run although we have given up below
	if !l.Do(func() { result <- f(l) }) {
		return errClosed
	}
	select {
	case err := <-result:
		return err
	case <-l.done:
		select {
		case err := <-result: // f ran just before the loop ended
			return err
		default:
			return errClosed
		}
	}
}

// addListener registers ln with the poller.
func (l *Loop) addListener(ln *listener) error {
	l.poller.attach(&ln.att, ln.fd)
	if err := l.poller.addListener(&ln.att); err != nil {
		return err
	}
	l.reactor.listenersMu.Lock()
	defer l.reactor.listenersMu.Unlock()
	l.listeners = append(l.listeners, ln)
	return nil
}

// dropListener closes ln. It accepts the connections that wait in its queue first, unless
// another process has the listener too and will accept them.
func (l *Loop) dropListener(ln *listener) {
	if !l.reactor.listenersReleased.Load() {
		l.acceptAll(ln)
	}
	l.poller.removeShared(&ln.att)
	l.closeListener(ln)
}

// closeListener closes ln and removes it from the loop.
func (l *Loop) closeListener(ln *listener) {
	l.reactor.listenersMu.Lock()
	defer l.reactor.listenersMu.Unlock()
	l.listeners = slices.DeleteFunc(l.listeners, func(x *listener) bool { return x == ln })
	if l.reactor.listenersReleased.Load() {
		ln.path = nil // the socket's file belongs to the other process: do not remove it
	}
	ln.close()
}

// leastLoaded chooses the loop for a connection that from has accepted. Over listeners
// that share a port the kernel spreads connections by a hash, which is uneven while they
// are few: the connection stays with from unless another loop has clearly fewer. Behind a
// single listener it always goes to the loop with the fewest.
func (r *Reactor) leastLoaded(from *Loop, ln *listener) *Loop {
	least := from
	for _, l := range r.loops {
		if l.connCount.Load() < least.connCount.Load() {
			least = l
		}
	}
	if ln.reusePort {
		const slack = 2 // another loop costs a wake-up: not worth it for a difference of one or two
		if have := from.connCount.Load(); have-least.connCount.Load() <= slack+have/16 {
			return from
		}
	}
	return least
}

// StopAccepting closes the listeners of this loop; before that it accepts what waits in
// their queues, unless ReleaseListeners was called. Open connections continue. For the
// loop's goroutine; the caller does it on every loop, so that a blocked one delays no other.
func (l *Loop) StopAccepting() {
	for _, ln := range slices.Clone(l.listeners) {
		l.dropListener(ln)
	}
}

// Files returns duplicates of the descriptors of all listeners, for a process that
// continues with them (AdoptFile). The caller closes them. Each listener has its own queue,
// and the kernel resets the connections in a queue when its last descriptor is closed: so
// the other process must adopt all. From any goroutine; it does not wait for a blocked loop.
func (r *Reactor) Files() (files []*os.File, err error) {
	r.listenersMu.Lock()
	defer r.listenersMu.Unlock()
	for _, l := range r.loops {
		for _, ln := range l.listeners {
			fd, err := socket.Dup(ln.fd)
			if err != nil {
				for _, f := range files {
					_ = f.Close()
				}
				return nil, fmt.Errorf("loop: duplicate listener %v: %w", ln.addr, err)
			}
			files = append(files, os.NewFile(uintptr(fd), ln.addr.String()))
		}
	}
	return files, nil
}

// ReleaseListeners says that another process has the listeners now (Files). When they are
// closed here after that, the connections in their queues and the file of a Unix socket
// are left to that process. From any goroutine.
func (r *Reactor) ReleaseListeners() { r.listenersReleased.Store(true) }

// Halt makes all loops stop and close what they have, connections with ErrStopped. It
// does not wait: Done is closed when they have ended. From any goroutine, also from a
// handler.
func (r *Reactor) Halt() {
	r.stopOnce.Do(func() {
		close(r.halt)
		r.startOnce.Do(func() { // never started: there are no goroutines that would clean up
			r.mu.Lock()
			defer r.mu.Unlock()
			r.started = true
			for _, l := range r.loops {
				l.cleanUp()
			}
			close(r.done)
		})
		for _, l := range r.loops {
			l.do(func() bool { return true })
		}
	})
}

// Stop is Halt, and waits for Done. Not from a handler: it would wait for itself.
func (r *Reactor) Stop() {
	r.Halt()
	<-r.done
}

// Done returns a channel that is closed when all goroutines of the reactor have ended.
func (r *Reactor) Done() <-chan struct{} { return r.done }

// Wait returns when all loops have ended, after Stop or because one has failed: the error
// joins those of the loops.
func (r *Reactor) Wait() error {
	<-r.done
	var errs []error
	for _, l := range r.loops {
		errs = append(errs, l.failure)
	}
	return errors.Join(errs...)
}

// DescriptorLimit is how many descriptors this process may have open (RLIMIT_NOFILE).
func DescriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return descriptorsMin
	}
	return int(min(uint64(limit.Cur), tablePages*tablePageConns))
}

// descriptorsMin is what POSIX guarantees (_POSIX_OPEN_MAX).
const descriptorsMin = 20
