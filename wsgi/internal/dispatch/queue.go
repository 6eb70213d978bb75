//go:build linux

package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/wsgi/internal/wire"
	"github.com/isbjorn/isbjorn/wsgi/internal/worker"
)

// Options are those of a Queue. Zero durations and numbers are no limit, unless a comment says otherwise.
type Options struct {
	WaitMax     int           // requests that wait for a worker; more are Unavailable. 0 is none
	WaitTimeout time.Duration // a request waits at most so long
	BootTimeout time.Duration // the same while there is no worker
	Timeout     time.Duration // the application runs without giving content, then TimedOut
	SlowTime    time.Duration // a request that runs longer is a line in the log, with its stack
	TempDir     string        // of content that slow clients do not take; "" is that of the system
	Log         *slog.Logger

	// Replace is called for a worker with a request that has passed Timeout and does not end.
	Replace func(w Worker, why string)
}

// Worker is a process that runs requests, as package process has it. Its methods do not block.
type Worker interface {
	Number() int
	PID() int
	Slots() int
	Data(slot int) int // our end of the stream of a slot; it stays open until Exited was called
	Lane(slot int) int // the same for descriptors
	Load(slot, word int) uint64
	Store(slot, word int, v uint64)
	Kill(why string)
	Dump(done func(stacks string)) // done may be called on any goroutine
	Release()                      // the streams and the scoreboard are not used any more
}

const (
	// highBytes of content of a response stay in memory for a slow client; more goes to a file, so that the worker
	// is free for other requests.
	highBytes = 256 << 10

	// fileBytesMax is how much of a response is kept for a slow client in its file; a worker that has more waits.
	fileBytesMax = 64 << 20

	// tempBytesMax is the room of all such files together.
	tempBytesMax = 1 << 30

	// aheadTime is the work that is handed to the kernel for each slot beyond what it runs: enough that a slot
	// which is done finds the next request without waiting for this process, and little, since what is handed over
	// can no longer be withheld from a worker.
	aheadTime = time.Millisecond
	aheadMax  = 16

	// triesMax is how often a request is handed out: one that was lost with two workers is not to meet a third.
	triesMax = 3

	// stuckTime is how long a request that has passed its timeout may still end by itself.
	stuckTime = 5 * time.Second

	// goneTime: a client that closes its sending side within this time of its request may still read the answer,
	// as programs that send a whole request and half-close do. Later it has left, as a proxy does that waits no
	// longer.
	goneTime = time.Second

	tickTime = 50 * time.Millisecond
)

// Queue hands requests to workers and collects their answers. All methods may be called from any goroutine. It
// implements the Host of package process.
type Queue struct {
	o Options

	mu    sync.Mutex
	later []func() // called after the lock is released
	stuck time.Duration

	home    *loop.Loop // that of all streams; nil before the first request, and when it has stopped
	reactor *loop.Reactor
	watch   *loop.Watch // of ours, on home
	ours    int         // our end of the queue; -1 when it was shut down
	theirs  *os.File
	full    bool // the kernel has no room; Writable comes
	closed  bool

	lastID  uint64
	first   *Request // those that wait
	last    *Request
	waits   int
	handed  map[uint64]*Request // to the workers, by id
	slots   []*slot             // of workers that live
	used    map[Worker]int      // slots of each worker, and one until it has exited
	pool    []*Request
	service time.Duration // of requests at a slot: a running mean

	suspects  uint64          // a worker has died: requests up to this id that have not begun may be lost
	fence     uint64          // the last fence; 0 if no request is looked for
	ending    map[Worker]bool // workers that drain
	searched  time.Time       // the last time of makeRoom
	noWorker  time.Time       // since when there is none; zero if there is one
	ticking   bool
	stopTicks chan struct{}
	clockBase time.Time
	clockNS   uint64 // CLOCK_MONOTONIC at clockBase
	temp      int64  // bytes of all files of slow clients
}

// New returns a Queue without workers.
func New(o Options) (*Queue, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(pair[0], true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	_ = unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_SNDBUF, sendBufferBytes) // as far as the system allows
	q := &Queue{o: o, stuck: stuckTime, ours: pair[0], theirs: os.NewFile(uintptr(pair[1]), "queue"),
		handed: make(map[uint64]*Request),
		used:   make(map[Worker]int), ending: make(map[Worker]bool), clockBase: time.Now(), noWorker: time.Now()}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return nil, os.NewSyscallError("clock_gettime", err)
	}
	q.clockNS = uint64(now.Nano())
	return q, nil
}

// sendBufferBytes is that of the queue: a message takes its size and about 800 bytes.
const sendBufferBytes = 1 << 20

// Theirs is the workers' end of the queue, for their processes to inherit.
func (q *Queue) Theirs() *os.File { return q.theirs }

// unlock releases the lock, and calls what may not be called under it.
func (q *Queue) unlock() {
	calls := q.later
	q.later = nil
	q.mu.Unlock()
	for _, f := range calls {
		f()
	}
}

// onHome has f run on the loop that has the streams.
func (q *Queue) onHome(f func()) {
	if home := q.home; home != nil {
		q.later = append(q.later, func() { home.Do(f) })
	}
}

// monotonic is CLOCK_MONOTONIC in ns, the clock of the scoreboards.
func (q *Queue) monotonic(now time.Time) uint64 { return q.clockNS + uint64(now.Sub(q.clockBase)) }

// Get returns a Request to fill and submit.
func (q *Queue) Get() *Request {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.pool); n > 0 {
		r := q.pool[n-1]
		q.pool = q.pool[:n-1]
		return r
	}
	return new(Request)
}

const poolMax = 256

// recycle takes r back; nothing refers to it any more.
func (q *Queue) recycle(r *Request) {
	q.dropContent(r)
	if r.Owned != nil {
		_ = r.Owned.Close()
	}
	r.Message.Release()
	buf, spare := r.buf, r.spare
	*r = Request{Message: r.Message, head: wire.Head{Fields: r.head.Fields[:0]}}
	if cap(buf) <= highBytes/4 {
		r.buf = buf[:0]
	}
	if cap(spare) <= highBytes/4 {
		r.spare = spare[:0]
	}
	if len(q.pool) < poolMax {
		q.pool = append(q.pool, r)
	}
}

// dropContent throws away what was not taken.
func (q *Queue) dropContent(r *Request) {
	r.buf = r.buf[:0]
	if r.over != nil {
		r.over.release(q)
		r.over = nil
	}
	if r.file != nil {
		_ = r.file.f.Close()
		r.file = nil
	}
}

// Submit begins r. l is the event loop of the client, nil if there is none; that of the first request becomes the loop
// of all workers' streams.
func (q *Queue) Submit(r *Request, l *loop.Loop) {
	q.mu.Lock()
	defer q.unlock()
	r.queue, r.since = q, time.Now()
	if q.home == nil {
		q.settle(l)
	}
	switch {
	case q.closed:
		q.fail(r, Unavailable, "the application ends")
	case q.first == nil && q.hand(r):
	case q.waits >= q.o.WaitMax && len(q.slots) > 0 && !q.makeRoom(r.since):
		q.fail(r, Unavailable, q.busy())
	default:
		q.link(r)
	}
	q.startTicks()
}

// makeRoom ends requests whose clients have closed their sending side: they may still read, but those that have not
// come first. It looks once a tick: the search costs as much as a full queue is long.
func (q *Queue) makeRoom(now time.Time) bool {
	if now.Sub(q.searched) < tickTime {
		return false
	}
	q.searched = now
	q.failWaiting(func(r *Request) (FailureKind, string) {
		if r.Gone != nil && r.Gone() {
			return ClientGone, "the client has closed its sending side, and the queue is full"
		}
		return 0, ""
	})
	return q.waits < q.o.WaitMax
}

// busy says why a request cannot wait.
func (q *Queue) busy() string {
	return fmt.Sprintf("%d requests wait already (worker_queue); all %d slots of the workers are busy", q.waits, len(q.slots))
}

// settle makes l the home of the streams, or a loop of its own.
func (q *Queue) settle(l *loop.Loop) {
	if l == nil {
		if q.reactor == nil {
			r, err := loop.New(loop.Options{Loops: 1}, func(*loop.Loop) loop.Handler { return &noClients{} })
			if err != nil {
				q.o.Log.Error("no event loop for the workers: "+err.Error(), slog.Any("error", err))
				return
			}
			r.Start()
			q.reactor = r
		}
		l = q.reactor.Loops()[0]
	}
	q.home = l
	q.onHome(func() { q.attachAll(l) })
}

// noClients is the handler of a loop that has no listeners.
type noClients struct{ slot }

func (*noClients) Tick(time.Time)           {}
func (*noClients) TickMissed(time.Duration) {}
func (*noClients) Refusal() []byte          { return nil }

// link puts r behind those that wait.
func (q *Queue) link(r *Request) {
	r.state, r.next = waiting, nil
	if q.first == nil {
		q.first = r
	} else {
		q.last.next = r
	}
	q.last = r
	q.waits++
}

// linkFirst puts r before those that wait.
func (q *Queue) linkFirst(r *Request) {
	r.state, r.next = waiting, q.first
	q.first = r
	if q.last == nil {
		q.last = r
	}
	q.waits++
}

// unlink takes r from those that wait.
func (q *Queue) unlink(r *Request) {
	var before *Request
	for at := q.first; at != nil; before, at = at, at.next {
		if at != r {
			continue
		}
		if before == nil {
			q.first = r.next
		} else {
			before.next = r.next
		}
		if q.last == r {
			q.last = before
		}
		q.waits--
		break
	}
	r.next, r.state = nil, unsent
}

// handMax is how many requests may be at the workers: one for each slot, and some that wait in the kernel.
func (q *Queue) handMax() int {
	slots := len(q.slots)
	if slots == 0 {
		return 0
	}
	ahead := 1
	if q.service > 0 { // known
		ahead = int(min(aheadTime/q.service, aheadMax))
	}
	return slots + max(slots*ahead, slots/2, 1)
}

// hand gives r to the workers, if they may have another one.
func (q *Queue) hand(r *Request) bool {
	if q.full || q.ours < 0 || q.home == nil || len(q.handed) >= q.handMax() {
		return false
	}
	q.lastID++
	id := q.lastID
	switch err := q.write(r.Message.Message(id)); {
	case err == nil:
	case errors.Is(err, unix.EAGAIN):
		return false
	default:
		q.fail(r, WorkerDied, "the request cannot be given to a worker: "+err.Error())
		return true
	}
	r.state, r.id = out, id
	r.tries++
	q.handed[id] = r
	return true
}

// write sends one message.
func (q *Queue) write(b []byte) error {
	for {
		_, err := unix.Write(q.ours, b)
		switch err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			q.full = true
			q.onHome(func() {
				if q.watch != nil {
					q.watch.AwaitWritable()
				}
			})
		}
		return err
	}
}

// pump hands out what waits.
func (q *Queue) pump() {
	for q.first != nil && q.hand(q.first) {
		r := q.first
		q.first = r.next
		if r.next = nil; q.first == nil {
			q.last = nil
		}
		q.waits--
	}
}

// fail ends r without a whole answer.
func (q *Queue) fail(r *Request, kind FailureKind, message string) {
	if r.failure == nil && !r.ended {
		r.failure = &Failure{Kind: kind, Message: message}
	}
	if r.state != out {
		r.state = done
	}
	q.tell(r)
}

// tell has the caller of r look at it.
func (q *Queue) tell(r *Request) {
	if !r.handled && r.Wake != nil {
		q.later = append(q.later, r.Wake)
	}
}

// settleRequest ends what the workers have of r.
func (q *Queue) settleRequest(r *Request) {
	delete(q.handed, r.id)
	r.slot, r.wants = nil, 0
	r.state = done
	if r.handled {
		q.recycle(r)
	}
}

// cancel tells the worker that runs r that its client has left.
func (q *Queue) cancel(r *Request) {
	r.gone = true
	if s := r.slot; s != nil {
		s.w.Store(s.n, worker.WordCancel, r.id)
		return
	}
	for _, s := range q.slots {
		if s.w.Load(s.n, worker.WordRunning) == r.id {
			s.w.Store(s.n, worker.WordCancel, r.id)
			return
		}
	}
	// It is in the kernel's queue: sweep finds the slot that begins it.
}

// SetLimits sets the numbers and times of o; the rest stays as it was.
func (q *Queue) SetLimits(o Options) {
	q.mu.Lock()
	defer q.unlock()
	q.o.WaitMax, q.o.WaitTimeout, q.o.BootTimeout = o.WaitMax, o.WaitTimeout, o.BootTimeout
	q.o.Timeout, q.o.SlowTime = o.Timeout, o.SlowTime
}

// Ready implements process.Host: w serves from now on.
func (q *Queue) Ready(w Worker) {
	q.mu.Lock()
	defer q.unlock()
	q.used[w] = 1 + w.Slots()
	for n := range w.Slots() {
		q.slots = append(q.slots, &slot{q: q, w: w, n: n})
	}
	q.noWorker = time.Time{}
	if home := q.home; home != nil {
		q.onHome(func() { q.attachAll(home) })
	}
}

// Drain implements process.Host: w gets no more requests, and ends.
func (q *Queue) Drain(w Worker) {
	q.mu.Lock()
	defer q.unlock()
	q.ending[w] = true
	for _, s := range q.slots {
		if s.w == w {
			s.w.Store(s.n, worker.WordDrain, 1)
		}
	}
	q.startTicks()
}

// Exited implements process.Host: the process of w has ended. What its streams still have is read first.
func (q *Queue) Exited(w Worker) {
	q.mu.Lock()
	defer q.unlock()
	delete(q.ending, w)
	for _, s := range slices.Clone(q.slots) {
		switch {
		case s.w != w:
		case s.conn == nil:
			q.lose(s)
		default: // what is left is at most what a socket holds: slow clients do not delay its end
			s.last = true
			q.onHome(s.resume)
		}
	}
	q.unuse(w)
}

// unuse counts a use of w that has ended. After the last w is released.
func (q *Queue) unuse(w Worker) {
	if q.used[w]--; q.used[w] == 0 {
		delete(q.used, w)
		w.Release()
	}
}

// Running implements process.Host: the requests that w runs.
func (q *Queue) Running(w Worker) (lines []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used[w] == 0 { // it does not serve yet, or was released
		return nil
	}
	now := time.Now()
	for n := range w.Slots() {
		id := w.Load(n, worker.WordRunning)
		if r := q.handed[id]; r != nil && !r.handled {
			lines = append(lines, fmt.Sprintf("%s (%s)", r.Line(), now.Sub(r.since).Round(time.Millisecond)))
		}
	}
	return lines
}

// Status is what a Queue has at the moment.
type Status struct {
	Slots, Running, Waiting int
}

// Status returns the numbers of now.
func (q *Queue) Status() Status {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Status{Slots: len(q.slots), Running: len(q.handed), Waiting: q.waits}
}

// Shutdown ends the queue of the workers: each answers what it has, and what is in the kernel, and ends. Requests that
// wait here still are Unavailable, and so are later ones.
func (q *Queue) Shutdown() {
	q.mu.Lock()
	defer q.unlock()
	if q.closed {
		return
	}
	q.closed = true
	for q.first != nil {
		r := q.first
		q.unlink(r)
		q.fail(r, Unavailable, "the application ends")
	}
	_ = unix.Shutdown(q.ours, unix.SHUT_WR)
	if q.home == nil && len(q.handed) > 0 { // the loop has stopped before the workers were done
		q.settle(nil)
	}
}

// Close releases what the queue has, when all workers have exited.
func (q *Queue) Close() {
	q.Shutdown()
	q.mu.Lock()
	if q.ticking {
		close(q.stopTicks)
		q.ticking = false
	}
	for _, r := range q.handed {
		q.fail(r, Unavailable, "the application ends")
		q.settleRequest(r)
	}
	reactor, home, watch, ours := q.reactor, q.home, q.watch, q.ours
	q.reactor, q.home, q.watch, q.ours = nil, nil, nil, -1
	_ = q.theirs.Close()
	q.unlock()
	if watch != nil && home != nil {
		home.Do(watch.Close) // its own duplicate; a loop that has stopped has closed it
	}
	if ours >= 0 {
		_ = unix.Close(ours)
	}
	if reactor != nil {
		reactor.Stop()
		_ = reactor.Wait()
	}
}

// startTicks has sweep called while there is something to look after.
func (q *Queue) startTicks() {
	if q.ticking {
		return
	}
	q.ticking, q.stopTicks = true, make(chan struct{})
	go q.tick(q.stopTicks)
}

func (q *Queue) tick(stop chan struct{}) {
	ticker := time.NewTicker(tickTime)
	defer ticker.Stop()
	for idle := 0; ; {
		select {
		case <-stop:
			return
		case now := <-ticker.C:
			q.mu.Lock()
			if q.stopTicks != stop {
				q.unlock()
				return
			}
			if q.sweep(now) {
				idle = 0
			} else if idle++; idle > 20 {
				q.ticking = false
				q.unlock()
				return
			}
			q.unlock()
		}
	}
}

// sweep looks after what no event announces. It reports whether there is anything to look after.
func (q *Queue) sweep(now time.Time) bool {
	q.sweepSlots(now)
	q.sweepWaiting(now)
	q.sweepHanded(now)
	q.findLost()
	q.drain()
	q.full = false // if Writable does not come, this tries again
	q.pump()
	return len(q.handed) > 0 || q.first != nil || q.suspects > 0 || len(q.ending) > 0
}

// sweepWaiting ends requests that have waited too long, and those whose client has left.
func (q *Queue) sweepWaiting(now time.Time) {
	limit, why := q.waitLimit()
	q.failWaiting(func(r *Request) (FailureKind, string) {
		switch age := now.Sub(r.since); {
		case limit > 0 && age > limit:
			return Unavailable, why
		case age > goneTime && r.Gone != nil && r.Gone():
			return ClientGone, "the client has left"
		}
		return 0, ""
	})
}

// failWaiting ends those of the requests that wait for which judge has a message.
func (q *Queue) failWaiting(judge func(*Request) (FailureKind, string)) {
	var last *Request // of those that stay
	for r := q.first; r != nil; {
		next := r.next
		if kind, message := judge(r); message != "" {
			if last == nil {
				q.first = next
			} else {
				last.next = next
			}
			q.waits--
			r.next, r.state = nil, unsent
			q.fail(r, kind, message)
		} else {
			last = r
		}
		r = next
	}
	q.last = last
}

// waitLimit is how long a request may wait at this time, and what to say of one that has waited longer.
func (q *Queue) waitLimit() (limit time.Duration, why string) {
	limit, why = q.o.WaitTimeout, "no worker was free for %v (queue_timeout); %d slots are busy"
	if len(q.slots) == 0 {
		limit = cmp.Or(q.o.BootTimeout, limit)
		why = "no worker is there since %v; their start fails, as the log says, or takes long (%d slots)"
	}
	return limit, fmt.Sprintf(why, limit, len(q.slots))
}

// sweepHanded does the same for requests at the workers: in the kernel they wait too, until a slot has begun them.
func (q *Queue) sweepHanded(now time.Time) {
	limit, why := q.waitLimit()
	var running map[uint64]bool // made where it is needed
	for id, r := range q.handed {
		if r.gone || r.failure != nil {
			if r.slot == nil {
				q.cancel(r)
			}
			continue
		}
		age := now.Sub(r.since)
		if limit > 0 && age > limit && r.slot == nil {
			if running == nil {
				running = make(map[uint64]bool)
				for _, s := range q.slots {
					running[s.w.Load(s.n, worker.WordRunning)] = true
				}
			}
			if late := r.late; !running[id] {
				if r.late = true; late { // seen twice: else its answer may be on its way
					q.fail(r, Unavailable, why)
					continue
				}
			}
		}
		if age > goneTime && r.Gone != nil && r.Gone() {
			q.cancel(r)
		}
	}
}

// sweepSlots looks how long each slot has run its request.
func (q *Queue) sweepSlots(now time.Time) {
	for _, s := range q.slots {
		id := s.w.Load(s.n, worker.WordRunning)
		if id == 0 {
			continue
		}
		state := s.w.Load(s.n, worker.WordState)
		if start := s.w.Load(s.n, worker.WordStart); id != s.watched {
			s.watched, s.slow, s.overdue = id, false, time.Time{}
			s.since = q.clockBase.Add(time.Duration(start - q.clockNS))
		}
		if state == worker.StateInput || state == worker.StateOutput { // it waits for the client
			s.since = now
			continue
		}
		r, age := q.handed[id], now.Sub(s.since)
		switch {
		case r == nil: // it was answered, and is in close() of the application
			if limit := q.o.Timeout + q.stuck; q.o.Timeout > 0 && age > limit && s.overdue.IsZero() {
				s.overdue = now
				q.replace(s, fmt.Sprintf("a request that was answered has not ended for %v: close() does not return",
					age.Round(time.Second)))
			}
		case !s.overdue.IsZero():
			if now.Sub(s.overdue) > q.stuck {
				s.overdue = now.Add(time.Hour * 24 * 365)
				q.replace(s, fmt.Sprintf("%s has run for %v, longer than request_timeout, and does not end", s.line(r), age.Round(time.Second)))
			}
		case q.o.Timeout > 0 && age > q.o.Timeout:
			s.overdue = now
			q.timeout(s, r, age)
		case q.o.SlowTime > 0 && age > q.o.SlowTime && !s.slow:
			s.slow = true
			q.dump(s, fmt.Sprintf("%s runs for %v", s.line(r), age.Round(time.Millisecond)), slog.LevelWarn)
		}
	}
}

// timeout answers for a request that runs too long.
func (q *Queue) timeout(s *slot, r *Request, age time.Duration) {
	why := fmt.Sprintf("%s has run for %v; the limit is request_timeout = %v", s.line(r), age.Round(time.Millisecond), q.o.Timeout)
	q.dump(s, why, slog.LevelError)
	q.fail(r, TimedOut, why)
	q.cancel(r)
}

// dump has the stacks of a worker in the log.
func (q *Queue) dump(s *slot, why string, level slog.Level) {
	w, log := s.w, q.o.Log
	q.later = append(q.later, func() {
		w.Dump(func(stacks string) {
			log.Log(context.Background(), level, why+"\n"+stacks, slog.Int("worker", w.PID()))
		})
	})
}

func (q *Queue) replace(s *slot, why string) {
	if w := s.w; q.o.Replace != nil {
		q.later = append(q.later, func() { q.o.Replace(w, why) })
	}
}

// findLost looks for requests that a worker has taken from the queue and not begun before it died. The queue is first
// in, first out: what is older than a fence that was seen is with a worker that lives, or lost.
func (q *Queue) findLost() {
	if q.suspects == 0 {
		return
	}
	found := false
	for id, r := range q.handed {
		found = found || id <= q.suspects && r.slot == nil
	}
	if !found {
		q.suspects, q.fence = 0, 0
		return
	}
	if len(q.slots) == 0 {
		return // the next worker sees the fence
	}
	if q.fence == 0 {
		q.sendFence()
		return
	}
	// What is older than the fence is no longer in the kernel, once a slot has seen that. So only from then on the
	// slots are asked what they have: one that was asked before could still have taken a request that is looked for.
	if !slices.ContainsFunc(q.slots, func(s *slot) bool { return s.w.Load(s.n, worker.WordSeen) >= q.fence }) {
		q.wakeIdle()
		return
	}
	running := make(map[uint64]bool)
	for _, s := range q.slots {
		// A slot that begins a request writes COUNT, RUNNING_ID, SEEN_ID and STATE, which was idle while it received
		// that. It is read against this order: what it begins meanwhile is running, or it has not seen it yet.
		seen, state := s.w.Load(s.n, worker.WordSeen), s.w.Load(s.n, worker.WordState)
		id, count := s.w.Load(s.n, worker.WordRunning), s.w.Load(s.n, worker.WordCount)
		switch {
		case id != 0:
			running[id] = true
			count--
		case state == worker.StateIdle && seen < q.suspects: // it may have one in hand
			q.wakeIdle()
			return
		}
		if count != s.answered { // the answer to one that is looked for may be on its way
			return
		}
	}
	for id, r := range q.handed {
		if id > q.suspects || r.slot != nil || running[id] {
			continue
		}
		delete(q.handed, id)
		switch {
		case r.handled:
			r.state = done
			q.recycle(r)
		case r.failure != nil:
			r.state = done
		case r.tries >= triesMax:
			r.state = done
			q.fail(r, WorkerDied, fmt.Sprintf("the request was lost with %d workers that died", r.tries))
		default:
			q.linkFirst(r)
		}
	}
	q.suspects, q.fence = 0, 0
}

// wakeIdle sends a fence for each slot that sleeps: they see them in turn.
func (q *Queue) wakeIdle() {
	for _, s := range q.slots {
		if s.w.Load(s.n, worker.WordState) == worker.StateIdle && !q.sendFence() {
			return
		}
	}
}

// sendFence sends a message that is no request.
func (q *Queue) sendFence() bool {
	if q.ours < 0 || q.closed {
		return false
	}
	var b [32]byte
	if err := q.write(wire.AppendFence(b[:0], q.lastID+1)); err != nil {
		return false
	}
	q.lastID++
	q.fence = cmp.Or(q.fence, q.lastID)
	return true
}

// drain wakes the slots of workers that are to end.
func (q *Queue) drain() {
	if len(q.ending) == 0 || q.closed {
		return
	}
	left, idle := false, 0
	for _, s := range q.slots {
		state := s.w.Load(s.n, worker.WordState)
		left = left || q.ending[s.w] && state != worker.StateGone
		if state == worker.StateIdle {
			idle++
		}
	}
	for i := 0; left && i < idle && q.sendFence(); i++ {
	}
	if q.suspects == 0 {
		q.fence = 0
	}
}
