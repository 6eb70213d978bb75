package loop

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Handler gets what happens on the connections of one loop. Every method but Late
// and Held runs on the loop's goroutine and must not block. A method must not keep
// b.
type Handler interface {
	// Opened: c was accepted. The first callback of a connection.
	Opened(c *Conn)

	// Input offers the bytes that have come and were not used before, in one
	// piece. The handler returns how many it used; the rest is offered again,
	// with more behind it when more has come, or after Resume or Drained. b is
	// valid during the call only, unless the handler calls [Conn.Retain].
	Input(c *Conn, b []byte) (used int)

	// EOF: the peer has sent its last byte (a half-close). Bytes of an
	// incomplete message may be left unused. Answers can still be sent; the
	// handler calls Close when it has none.
	EOF(c *Conn)

	// Hungup: the peer has sent its last byte, or is gone altogether, while input is
	// not wanted. What it has sent before may still be offered; EOF comes later.
	Hungup(c *Conn)

	// Drained: output fell to the low-water mark after [Conn.Full] was true, or
	// the turn after [Conn.Yield] has come.
	Drained(c *Conn)

	// Timeout: the time set by [Conn.SetTimeout] has passed.
	Timeout(c *Conn)

	// Closed: c is gone; err is nil when it ended in order. The last callback.
	Closed(c *Conn, err error)

	// Exited: a callback of c, or a task where c is nil, has ended the loop's goroutine by
	// runtime.Goexit, and the loop goes on with another one. An answer may still be sent:
	// Close follows, and what Input has not used is lost. Where the callback was Closed,
	// or c is dead, nothing can be sent. Where Exited ends its goroutine, too, c is aborted
	// and Exited comes once more.
	Exited(c *Conn)

	// Tick comes once every Options.Tick.
	Tick(now time.Time)

	// Late: callbacks or tasks have kept the loop from its tick for
	// Options.StallWarning. If they still do when another tick has passed, Held
	// comes. Both run on a goroutine of their own, while that of the loop is at
	// work.
	StallSuspected()

	// Held: one callback or task has held the loop for d, unless the handler knows
	// that the loop has got on since Late: then it returns false, and the loop has
	// another StallWarning. After true no more is said of this hold; Tick is what
	// comes first when the loop goes on. stack returns what the loop's goroutine
	// is doing, as in the trace of a panic; nil if it cannot be found. All
	// goroutines stand still meanwhile.
	Stalled(d time.Duration, stack func() []byte) (reported bool)

	// Refusal is sent to a peer that is turned away because no descriptor is
	// left for it. May be empty.
	Refusal() []byte
}

// Loop is one event loop: one poller, one goroutine, one read buffer.
type Loop struct {
	reactor *Reactor
	opt     *Options
	handler Handler
	poller  *poller

	in         []byte // the read buffer; in[:inUsed] is retained by handlers
	inUsed     int
	inRead     int // of the last read, behind inUsed
	vec        vector
	timers     wheel
	conns      []*Conn // all of them, in no order; Conn.index is the place
	inCallback bool    // a callback or task runs: connections wait in later
	deferred   []*Conn
	current    *Conn // of the callback that runs, or ran last; nil in a task
	reserve    int   // descriptor given back to refuse one when none is left

	listeners []*listener
	load      atomic.Int32 // connections, and those on their way here
	incoming  incoming     // those on their way

	ticking atomic.Bool // a tick is on its way
	ticker  task        // tick, bound once
	began   time.Time

	goroutineHeader atomic.Pointer[[]byte] // of the goroutine's stack
	generation      atomic.Uint32          // how often the goroutine was changed
	watch           watch                  // the ticker's

	wakeMu     sync.RWMutex // held for reading while waking the poller
	closed     bool         // the poller is closed; guarded by stopped
	cleaningUp bool         // run has returned, and cleanUp is at work
	failure    error        // of run
	done       chan struct{}
}

func newLoop(r *Reactor) (*Loop, error) {
	l := &Loop{reactor: r, opt: &r.opt, in: make([]byte, r.opt.ReadBytes), began: time.Now(), done: make(chan struct{})}
	l.timers.init()
	l.ticker = l.tick
	l.reserve = openReserve()
	var err error
	if l.poller, err = openPoller(l.event); err != nil {
		closeReserve(l.reserve)
		return nil, err
	}
	return l, nil
}

// Handler is what newShard made for this loop.
func (l *Loop) Handler() Handler { return l.handler }

// Do makes f run on the loop's goroutine, soon and in the order of the calls
// from one goroutine. It reports false if the loop has stopped; if it stops
// before f's turn, f does not run. From any goroutine.
func (l *Loop) Do(f func()) bool {
	return l.do(func() bool {
		l.inCallback, l.current = true, nil
		f()
		l.settle()
		return false
	})
}

func (l *Loop) do(t task) bool {
	l.wakeMu.RLock()
	defer l.wakeMu.RUnlock()
	return !l.closed && l.poller.wake(t) == nil
}

// Conns calls f for every connection. f may close it.
func (l *Loop) Conns(f func(*Conn)) {
	for i := len(l.conns) - 1; i >= 0; i-- { // a close moves the last into the gap
		if i < len(l.conns) {
			f(l.conns[i])
		}
	}
}

// Len is the number of connections on this loop, and of those that are being
// handed to it. From any goroutine.
func (l *Loop) Len() int { return int(l.load.Load()) }

// run is the life of the loop's goroutine.
func (l *Loop) run() { l.runFrom(func() {}) }

// goOn runs the loop, with first before all else, until it stops, or until another
// goroutine has taken it over.
func (l *Loop) runFrom(first func()) {
	turn, ended := l.generation.Load(), false
	defer func() {
		if p := recover(); p != nil {
			panic(p) // a fault of ours: nothing is cleaned up behind it
		}
		if !ended && (l.generation.Load() != turn || l.replace()) {
			return // by runtime.Goexit, as TakeOver wants or as a callback has called it
		}
		defer l.reactor.running.Done()
		if !ended {
			l.failure = errGoexit
			l.cleanUp()
		}
		if l.failure != nil {
			l.reactor.Halt() // a server that has lost a loop is no server
		}
	}()
	l.goroutineHeader.Store(ownHeading())
	first()
	if !l.cleaningUp {
		l.failure = l.poller.run()
		l.cleaningUp = true
	}
	l.cleanUp()
	ended = true
}

// cleanUp ends all that is left when the poller has returned. One that did not come to
// its end is gone on with by the next.
func (l *Loop) cleanUp() {
	for len(l.listeners) > 0 {
		l.closeListener(l.listeners[0])
	}
	l.Conns(func(c *Conn) { c.kill(ErrStopped) })
	closeReserve(l.reserve)
	l.wakeMu.Lock()
	defer l.wakeMu.Unlock()
	l.closed = true
	l.poller.close()
	for a, ok := l.incoming.take(); ok; a, ok = l.incoming.take() {
		l.load.Add(-1)
		_ = unix.Close(a.fd)
	}
	close(l.done)
}

// event handles one event of the poller: it finds whose it is and lets that try.
func (l *Loop) event(fd int, r readiness) {
	if c := l.reactor.conns.get(fd); c != nil && c.loop == l {
		c.event(r)
	} else if ln := l.listener(fd); ln != nil {
		l.current = nil
		l.accept(ln)
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

// tick moves the loop's clock. It runs as a task, so between two batches.
func (l *Loop) tick() (leave bool) {
	l.ticking.Store(false)
	l.poller.freeRetired()
	now := time.Now()
	l.inCallback, l.current = true, nil
	l.handler.Tick(now)
	l.settle()
	l.timers.advance(int64(now.Sub(l.began)/l.opt.Tick), (*Conn).timer)
	for _, ln := range l.listeners {
		if ln.retry {
			l.accept(ln)
		}
	}
	return false
}

// input returns the free part of the read buffer.
func (l *Loop) input() []byte { return l.in[l.inUsed:] }

// retain gives up the n bytes at the front of input: somebody holds views of
// them. What is left of the buffer goes on being used while it is worth a read;
// the collector frees the rest when the last view is gone.
func (l *Loop) retain(n int) {
	const align = 64 // a cache line, so that views share none with the next read
	l.inUsed += (n + align - 1) &^ (align - 1)
	if len(l.in)-l.inUsed < len(l.in)/4 {
		l.in, l.inUsed = make([]byte, l.opt.ReadBytes), 0
	}
}

// timeoutMax is "never": nine years, far from where sums of times overflow.
const timeoutMax = time.Duration(1 << 58)

// due is the tick at which d will have passed: rounded up, never early. It asks
// the clock, since the wheel stands still while the loop is busy.
func (l *Loop) due(d time.Duration) int64 {
	d = min(d, timeoutMax)
	return int64((time.Since(l.began) + d + l.opt.Tick - 1) / l.opt.Tick)
}
