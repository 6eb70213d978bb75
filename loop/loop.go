package loop

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ConnHandler receives the events of a connection: of one given to [Loop.Attach] or [Loop.Dial],
// or as a part of Handler of those that the loop accepts. All methods run on the loop's goroutine
// and must not block.
type ConnHandler interface {
	// Opened: c is connected, or was accepted. The first callback of a connection, except that
	// Closed comes alone for one that never was connected.
	Opened(c *Conn)

	// Input offers all bytes received and not yet used, in one piece. The handler
	// returns how many it used; the rest is offered again, followed by what has come
	// since, after the next read, Resume or Drained. b is valid during the call only,
	// unless the handler calls [Conn.Retain].
	Input(c *Conn, b []byte) (used int)

	// EOF: the peer has sent FIN (half-close). Bytes of an incomplete message may be
	// left unused. Answers can still be sent; the handler calls Close after the last.
	EOF(c *Conn)

	// HungUp: the poller reported a hangup while input is not wanted: the peer has sent
	// FIN, or the connection has failed. Input that came before may still be offered;
	// EOF follows it.
	HungUp(c *Conn)

	// Drained: output fell to the low-water mark after [Conn.Full] was true, or
	// the turn asked for by [Conn.Yield] has come, or [Conn.Wake] was called.
	Drained(c *Conn)

	// Timeout: the time set by [Conn.SetTimeout] has passed.
	Timeout(c *Conn)

	// Closed: the descriptor of c is closed; err is nil after an orderly end. The last
	// callback of a connection.
	Closed(c *Conn, err error)

	// Exited: a callback of c has ended the loop's goroutine by runtime.Goexit; the loop
	// continues on a new one. The handler may still send an answer: Close follows, and input
	// that was not used is lost. If the callback was Closed, or c is dead, nothing can be
	// sent. If Exited itself calls Goexit, c is aborted and Exited is called once more.
	Exited(c *Conn)
}

// Handler receives the events of one loop, and of the connections that it accepts. Every
// method except TickMissed runs on the loop's goroutine and must not block. Exited is called
// with nil if a task, or a callback of a Watch, has called runtime.Goexit.
type Handler interface {
	ConnHandler

	// Tick comes once every Options.Tick.
	Tick(now time.Time)

	// TickMissed: the loop has not taken the tick that it was sent d ago, since a callback or task runs or
	// others came before. Comes once every Options.Tick until the loop takes it, on the reactor's ticker
	// goroutine, which it must not block: the other loops get no tick meanwhile.
	TickMissed(d time.Duration)

	// Refusal is sent to a peer that is refused because no descriptor is left for its
	// connection. May be empty. The bytes stay the handler's and must not change.
	Refusal() []byte
}

// Loop is one event loop: one poller, one goroutine, one read buffer.
type Loop struct {
	reactor         *Reactor
	opt             *Options
	acceptedHandler ConnHandler // handler, for Conn.handler of those that are accepted
	handler         Handler
	poller          *poller

	readBuf       []byte // handlers retain views of readBuf[:retainedBytes]
	retainedBytes int
	lastReadBytes int // bytes of the last read, which begin at readBuf[retainedBytes]
	vec           vector
	timers        wheel
	conns         []*Conn // accepted connections, in no order; Conn.index is the place
	attached      []*Conn // those of Attach and Dial, likewise
	watches       map[int]*Watch
	inCallback    bool    // a callback or task runs: progressOrDefer defers
	deferred      []*Conn // changed during the callback or task, not driven yet
	current       *Conn   // of the callback that runs, or ran last; nil in a task
	reserveFD     int     // spare descriptor, closed to accept and refuse a peer when none is left

	listeners     []*listener
	connCount     atomic.Int32 // len(conns), and those in incoming
	attachedCount atomic.Int32 // len(attached)
	incoming      incoming     // accepted by other loops for this one

	tickPending atomic.Bool // the ticker has sent a tick that tick has not taken
	tickTask    task        // the method value tick, made once
	startTime   time.Time   // tick 0 of timers

	goroutineHeader atomic.Pointer[[]byte] // first bytes of the goroutine's stack trace
	generation      atomic.Uint32          // number of handoffs
	tickSent        time.Time              // of tickPending; of the ticker's goroutine

	wakeMu     sync.RWMutex // read-locked to wake the poller, locked to close or renew it
	closed     bool         // the poller is closed; guarded by wakeMu
	cleaningUp bool         // poller.run has returned; cleanUp runs or has run
	failure    error        // of poller.run
	done       chan struct{}
}

func newLoop(r *Reactor) (*Loop, error) {
	l := &Loop{reactor: r, opt: &r.opt, startTime: time.Now(), done: make(chan struct{}), watches: map[int]*Watch{}}
	l.readBuf = make([]byte, r.opt.ReadBytes)
	l.timers.init()
	l.tickTask = l.tick
	l.reserveFD = openReserve()
	var err error
	if l.poller, err = openPoller(l.event); err != nil {
		closeReserve(l.reserveFD)
		return nil, err
	}
	return l, nil
}

func (l *Loop) setHandler(h Handler) { l.handler, l.acceptedHandler = h, h }

// Handler returns what the function given to New has made for this loop.
func (l *Loop) Handler() Handler { return l.handler }

// Do makes f run on the loop's goroutine, after the events at hand. Calls from one
// goroutine keep their order. It reports false if the loop has stopped; if the loop
// stops before f has begun, f does not run. From any goroutine.
func (l *Loop) Do(f func()) bool {
	return l.do(func() bool {
		l.inCallback, l.current = true, nil
		f()
		l.runDeferred()
		return false
	})
}

// ExpectTasks says that a callback is about to call Do: what is given to it until the callback returns runs after
// the events at hand, as ever, and costs no wake-up of the loop. For the loop's goroutine.
func (l *Loop) ExpectTasks() { l.poller.expectTasks() }

// do is Do for a task that may stop the loop. The read lock keeps the poller open during wake.
func (l *Loop) do(t task) bool {
	l.wakeMu.RLock()
	defer l.wakeMu.RUnlock()
	return !l.closed && l.poller.wake(t) == nil
}

// Conns calls f for every connection that was accepted. f may close it.
func (l *Loop) Conns(f func(*Conn)) { each(&l.conns, f) }

// each calls f for every connection of list, which f may close.
func each(list *[]*Conn, f func(*Conn)) {
	for i := len(*list) - 1; i >= 0; i-- { // a close moves the last into the gap
		if i < len(*list) {
			f((*list)[i])
		}
	}
}

// run is the function of the loop's first goroutine.
func (l *Loop) run() { l.runFrom(func() {}) }

// runFrom calls first and then runs the loop until it stops. It is the whole of a
// goroutine of the loop. After a handoff it does not return: poller.run and the callbacks
// below it belong to the new goroutine then, so the old one must leave them by
// runtime.Goexit, which runs the deferred function here and nothing else of the loop.
func (l *Loop) runFrom(first func()) {
	generation, returned := l.generation.Load(), false
	defer func() {
		if p := recover(); p != nil {
			panic(p) // a bug in this package or the handler: crash, and clean up nothing
		}
		if !returned && (l.generation.Load() != generation || l.replaceAfterGoexit()) {
			// Goexit. Either Handoff gave the loop to a new goroutine before and this one
			// just ends, or a callback has called it and replaceAfterGoexit did so now.
			return
		}
		defer l.reactor.running.Done()
		if !returned { // Goexit without a successor: kqueue got no descriptor for a new poller
			l.failure = errGoexit
			l.cleanUp()
		}
		if l.failure != nil {
			l.reactor.Halt() // one loop has failed: stop the others too, and Wait returns the error
		}
	}()
	l.goroutineHeader.Store(ownGoroutineHeader())
	first()
	if !l.cleaningUp {
		l.failure = l.poller.run()
	}
	l.cleanUp()
	returned = true
}

// cleanUp closes everything when the poller has returned. It can run twice: if a Closed
// callback calls Goexit, the next goroutine begins it again and continues with what is left.
func (l *Loop) cleanUp() {
	l.cleaningUp = true
	for len(l.listeners) > 0 {
		l.closeListener(l.listeners[0])
	}
	l.Conns(func(c *Conn) { c.kill(ErrStopped) })
	each(&l.attached, func(c *Conn) { c.kill(ErrStopped) }) // after those that may use them
	for _, w := range l.watches {
		w.kill(ErrStopped)
	}
	closeReserve(l.reserveFD)
	l.wakeMu.Lock()
	defer l.wakeMu.Unlock()
	l.closed = true
	l.poller.close()
	for a, ok := l.incoming.pop(); ok; a, ok = l.incoming.pop() {
		l.connCount.Add(-1)
		_ = unix.Close(a.fd)
	}
	close(l.done)
}

// event passes one event of the poller to the connection, listener or Watch of fd. Events are
// hints: one for a descriptor that was closed in this batch finds none, or finds a new
// connection with the same number, which then tries a read in vain (see the package comment).
func (l *Loop) event(fd int, r readiness) {
	if c := l.reactor.conns.get(fd); c != nil && c.loop == l {
		c.event(r)
	} else {
		l.otherEvent(fd, r)
	}
}

// otherEvent is event for what is no connection.
func (l *Loop) otherEvent(fd int, r readiness) {
	if ln := l.listener(fd); ln != nil {
		l.current = nil
		l.accept(ln)
	} else if w := l.watches[fd]; w != nil {
		w.event(r)
	}
}

func (l *Loop) listener(fd int) *listener {
	for _, ln := range l.listeners {
		if ln.fd == fd {
			return ln
		}
	}
	return nil
}

// tick advances the loop's clock and timers. It runs as a task, so between two batches.
func (l *Loop) tick() (stop bool) {
	l.tickPending.Store(false)
	l.poller.freeRetired() // no event of this batch can name them any more
	now := time.Now()
	l.inCallback, l.current = true, nil
	l.handler.Tick(now)
	l.runDeferred()
	l.timers.advance(int64(now.Sub(l.startTime)/l.opt.Tick), (*Conn).onTimer)
	for _, ln := range l.listeners {
		if ln.retryAtTick {
			l.accept(ln)
		}
	}
	return false
}

// readSpace returns the free part of the read buffer.
func (l *Loop) readSpace() []byte { return l.readBuf[l.retainedBytes:] }

// retain excludes the first n bytes of readSpace from later reads, since the handler
// keeps views of them. The rest of the buffer is used until less than a quarter is left,
// then a new one is made; the collector frees the old one with its last view.
func (l *Loop) retain(n int) {
	const align = 64 // a cache line, so that a view shares none with the next read
	l.retainedBytes += (n + align - 1) &^ (align - 1)
	if len(l.readBuf)-l.retainedBytes < len(l.readBuf)/4 {
		l.readBuf, l.retainedBytes = make([]byte, l.opt.ReadBytes), 0
	}
}

// timeoutMax stands for "never": nine years, small enough that sums of times cannot overflow.
const timeoutMax = time.Duration(1 << 58)

// due is the tick at which d will have passed, rounded up: never early. It reads the
// clock, because timers.now lags behind while a callback runs.
func (l *Loop) due(d time.Duration) int64 {
	d = min(d, timeoutMax)
	return int64((time.Since(l.startTime) + d + l.opt.Tick - 1) / l.opt.Tick)
}
