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

// reusePortSpreads: Linux spreads connections over the listeners of a port;
// elsewhere SO_REUSEPORT gives all of them to one.
const reusePortSpreads = runtime.GOOS == "linux"

// Reactor is a set of loops that share listeners.
type Reactor struct {
	opt   Options
	loops []*Loop
	conns table

	mu      sync.Mutex
	started bool // the loops have goroutines

	listenersMu       sync.Mutex    // held to change Loop.listeners, or to read those of any loop
	attached          atomic.Uint32 // listeners there have been
	listenersReleased atomic.Bool   // Leave was called

	start   sync.Once
	stop    sync.Once
	halt    chan struct{} // closed by Halt
	done    chan struct{} // closed when all goroutines have ended
	running sync.WaitGroup
}

// New makes a reactor; newShard is called once for each loop. The loops begin
// to run with Start.
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
		l.handler = newHandler(l)
		r.loops = append(r.loops, l)
	}
	return r, nil
}

// Loops are the reactor's loops.
func (r *Reactor) Loops() []*Loop { return r.loops }

// Len is the number of connections. From any goroutine.
func (r *Reactor) Len() (n int) {
	for _, l := range r.loops {
		n += l.Len()
	}
	return n
}

// Start lets the loops run. Further calls do nothing.
func (r *Reactor) Start() {
	r.start.Do(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.started = true
		r.running.Add(len(r.loops)) // run says Done, whichever goroutine of a loop is the last
		for _, l := range r.loops {
			go l.run()
		}
		r.running.Go(r.tick)
		go r.end()
	})
}

func (r *Reactor) end() {
	r.running.Wait()
	close(r.done)
}

// tick wakes every loop once a tick, for its timers and clocks. A loop that has
// not taken the last tick is left out, and may be held.
func (r *Reactor) tick() {
	t := time.NewTicker(r.opt.Tick)
	defer t.Stop()
	for {
		select {
		case <-r.halt:
			return
		case <-t.C:
		}
		for _, l := range r.loops {
			if l.ticking.CompareAndSwap(false, true) {
				l.watch = watch{since: time.Now()}
				l.do(l.ticker)
			} else {
				l.checkHold()
			}
		}
	}
}

// attach gives listeners to the loops in turn. A loop may have several, or none:
// then it gets its connections from the others (place).
func (r *Reactor) attach(lns []*listener) error {
	for i, ln := range lns {
		ln.loop = r.loops[int(r.attached.Add(1)-1)%len(r.loops)]
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

// onLoop calls f where nothing else of l is at work: on its goroutine if it has
// one, else here.
func (r *Reactor) onLoop(l *Loop, f func(*Loop) error) error {
	r.mu.Lock() // holds Start off
	if !r.started {
		defer r.mu.Unlock()
		return f(l)
	}
	r.mu.Unlock()
	result := make(chan error, 1)
	if !l.Do(func() { result <- f(l) }) {
		return ErrClosed
	}
	select {
	case err := <-result:
		return err
	case <-l.done:
		select {
		case err := <-result: // just before
			return err
		default:
			return ErrClosed
		}
	}
}

// addListener registers ln.
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

// dropListener accepts what has connected until now, unless it is left to
// another process, and closes ln.
func (l *Loop) dropListener(ln *listener) {
	if !l.reactor.listenersReleased.Load() {
		l.drainBacklog(ln)
	}
	l.poller.removeShared(&ln.att)
	l.closeListener(ln)
}

// closeListener closes ln and forgets it.
func (l *Loop) closeListener(ln *listener) {
	l.reactor.listenersMu.Lock()
	defer l.reactor.listenersMu.Unlock()
	l.listeners = slices.DeleteFunc(l.listeners, func(x *listener) bool { return x == ln })
	if l.reactor.listenersReleased.Load() {
		ln.path = nil // the other process's
	}
	ln.close()
}

// place chooses the loop for a connection that from has accepted. The kernel
// spreads connections by a hash, unevenly when they are few: one is handed over
// when the loops have drifted apart. A lone listener always hands out evenly.
func (r *Reactor) place(from *Loop, ln *listener) *Loop {
	least := from
	for _, l := range r.loops {
		if l.load.Load() < least.load.Load() {
			least = l
		}
	}
	if ln.shared {
		const slack = 2 // a hand-over costs a wake-up: not for every odd connection
		if have := from.load.Load(); have-least.load.Load() <= slack+have/16 {
			return from
		}
	}
	return least
}

// StopAccepting closes the listeners of the loop, after what had connected until then was
// accepted; connections go on. On the loop's goroutine: the other loops have their own
// listeners, and are told by themselves, since one that an application holds would keep
// them waiting.
func (l *Loop) StopAccepting() {
	for _, ln := range slices.Clone(l.listeners) {
		l.dropListener(ln)
	}
}

// Files are duplicates of the descriptors of all listeners, for another process
// that is to go on with them (AdoptFile); the caller closes them. Each has a
// queue of its own, so the other process must take every one: the kernel resets
// what waits in a queue when its last holder has closed it. From any goroutine,
// also while an application holds its loop.
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

// Leave says that another process has the listeners now and goes on with them.
// Whatever closes them here then leaves to it what waits to be accepted, and the
// file of a Unix socket. From any goroutine.
func (r *Reactor) ReleaseListeners() { r.listenersReleased.Store(true) }

// Halt tells all loops to stop, and to close everything that is left, connections
// with ErrStopped. It does not wait for them: Done is closed when they have. From
// any goroutine, also from a handler.
func (r *Reactor) Halt() {
	r.stop.Do(func() {
		close(r.halt)
		r.start.Do(func() { // never started: nobody else will clean up
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

// Stop is Halt and waits. Not from a handler, which would wait for itself.
func (r *Reactor) Stop() {
	r.Halt()
	<-r.done
}

// Done is closed when all goroutines of the reactor have ended.
func (r *Reactor) Done() <-chan struct{} { return r.done }

// Wait returns when all loops have ended: after Stop, or because their pollers
// failed, which the error tells.
func (r *Reactor) Wait() error {
	<-r.done
	var errs []error
	for _, l := range r.loops {
		errs = append(errs, l.failure)
	}
	return errors.Join(errs...)
}

// Descriptors is how many files and sockets this process may have open.
func Descriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return descriptorsLeast
	}
	return int(min(uint64(limit.Cur), tablePages*tablePageConns))
}

// descriptorsLeast is what POSIX promises (_POSIX_OPEN_MAX).
const descriptorsLeast = 20
