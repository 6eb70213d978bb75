package server

import (
	"slices"
	"sync"
	"time"
)

// workerPool runs the applications that may block: each request on a goroutine of its
// own while it is at work, and as many at once as the option Workers allows. Those
// beyond wait in the order they came, as many as WorkerQueue allows.
//
// A worker that has finished waits for another job, since its stack has grown to what
// the application needs. The one that has worked last works next, and those that had
// nothing to do for a while end.
type workerPool struct {
	max, queueMax int
	idleTime      time.Duration

	mu            sync.Mutex
	running       int // places that are taken, most at most but for adopt
	hijacked      int // workers with a connection of their own (Hijack), which have no place
	releasedEarly int // those that were away and have finished, before leaves has seen them
	uploads       int // requests that were given a worker, or wait for one, while their content comes
	queue         jobQueue
	noneRunning   zeroNotifier // busy
	noneHijacked  zeroNotifier // away

	idle           []chan *job // of workers that have finished, the last to do so at the end
	idleSinceSweep int         // so many of them, from the first, have waited since the last sweep
	sweepTimer     *time.Timer // the next; nil if there is none
	stopped        bool        // nobody is to wait for another job
}

// workerIdleTime is how long a worker waits for another job, and at most twice that: long
// enough that one that works now and then is there, and a crowd that has gone keeps no
// memory.
const workerIdleTime = 5 * time.Second

// give takes a job on. It reports false if there is no room for it.
func (c *workerPool) submit(j *job) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.running < c.max:
		c.running++
		c.start(j)
	case c.queue.n < c.queueMax:
		c.queue.push(j)
	default:
		return false
	}
	return true
}

// begin has a worker run j. With mu.
func (c *workerPool) start(j *job) {
	last := len(c.idle) - 1
	if last < 0 {
		go c.loop(j)
		return
	}
	c.idle[last] <- j
	c.idle[last] = nil
	c.idle = c.idle[:last]
	c.idleSinceSweep = min(c.idleSinceSweep, last)
}

// work is the life of a worker.
func (c *workerPool) loop(j *job) {
	busy := true
	defer func() {
		if busy { // runtime.Goexit
			c.release()
		}
	}()
	jobs := make(chan *job, 1)
	for j != nil {
		busy = true
		j.run()
		busy, j = false, nil // who waits keeps no job
		j = c.park(jobs)
	}
}

// rest is what a worker does that has finished: it takes another job on, or waits for
// one. It returns nil if there is none for too long.
func (c *workerPool) park(jobs chan *job) *job {
	c.mu.Lock()
	j := c.next()
	if j != nil || c.stopped {
		c.mu.Unlock()
		return j
	}
	c.idle = append(c.idle, jobs)
	if c.sweepTimer == nil {
		c.sweepTimer = time.AfterFunc(c.idleTime, c.sweepIdle)
	}
	c.mu.Unlock()
	return <-jobs
}

// sweep ends the workers that have had nothing to do since the last sweep.
func (c *workerPool) sweepIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endIdle(c.idleSinceSweep)
	if c.idleSinceSweep = len(c.idle); c.idleSinceSweep > 0 {
		c.sweepTimer.Reset(c.idleTime)
	} else {
		c.idle, c.sweepTimer = nil, nil
	}
}

// dismiss ends the first n workers that wait. With mu.
func (c *workerPool) endIdle(n int) {
	for _, jobs := range c.idle[:n] {
		close(jobs)
	}
	c.idle, c.idleSinceSweep = slices.Delete(c.idle, 0, n), 0
}

// end says that no more jobs come.
func (c *workerPool) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	c.endIdle(len(c.idle))
	if c.sweepTimer != nil {
		c.sweepTimer.Stop()
	}
}

// adopt counts a worker that was not asked for, beyond most if need be: a loop has got
// another goroutine. It ends with next.
func (c *workerPool) addRunning() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running++
}

// next ends a worker whose goroutine ends, and gives its place to who waits for it.
func (c *workerPool) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j := c.next(); j != nil {
		c.start(j)
	}
}

// leaves gives the place of a worker that has finished to the job it returns, or to
// nobody. With mu.
func (c *workerPool) next() *job {
	switch {
	case c.releasedEarly > 0: // this place was given away before, by leave; of this worker or another
		c.releasedEarly--
		return nil
	case c.queue.n == 0 || c.running > c.max:
		c.running--
		c.noneRunning.set(c.running)
		return nil
	}
	return c.queue.pop()
}

// beginUpload asks for a worker for a request whose content is still to come. Clients may
// take their time for it, so half of the workers is for other requests: beyond that it
// reports false, and the content is collected before a worker is asked for. With the option
// Workers(1) that is all content.
func (c *workerPool) beginUpload() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.uploads >= c.max/2 {
		return false
	}
	c.uploads++
	return true
}

// endUpload is for when the content has come, or no more of it is wanted.
func (c *workerPool) endUpload() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uploads--
}

// withdraw takes a job out of the queue. It reports false for one that is not in it.
func (c *workerPool) remove(j *job) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queue.remove(j)
}

// whenIdle returns a channel that is closed when no worker has a place: those that are
// away may still be at work.
func (c *workerPool) untilNoneRunning() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.noneRunning.channel(c.running)
}

// whenBack returns a channel that is closed when no worker is away.
func (c *workerPool) untilNoneHijacked() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.noneHijacked.channel(c.hijacked)
}

// zero is a channel that is closed when a number has fallen to 0; nil until one is asked for.
type zeroNotifier chan struct{}

// when returns the channel of a number that is n now.
func (z *zeroNotifier) channel(n int) <-chan struct{} {
	if *z == nil {
		*z = make(zeroNotifier)
	}
	ch := *z
	z.set(n)
	return ch
}

// is says that the number is n.
func (z *zeroNotifier) set(n int) {
	if n == 0 && *z != nil {
		close(*z)
		*z = nil
	}
}

// leave says that a worker has taken its connection over, and gives its place to who
// waits for it: a WebSocket that is idle for an hour keeps no request waiting. It is said
// before the connection is counted out, so a stop always sees one or the other.
func (c *workerPool) hijackBegan() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j := c.next(); j != nil {
		c.start(j)
	}
	c.hijacked++
}

// back is for one that has finished. Its goroutine comes to leaves yet.
func (c *workerPool) hijackEnded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hijacked--
	c.noneHijacked.set(c.hijacked)
	c.releasedEarly++
}

// load is how many requests are at work, how many wait, and how many have taken their
// connection over.
func (c *workerPool) load() (busy, waiting, away int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running, c.queue.n, c.hijacked
}

// jobQueue is a list of jobs in the order they came. Each can be taken out of it, since
// clients leave while they wait. Its links are in the jobs.
type jobQueue struct {
	first, last *job
	n           int
}

// queueLink is the part of a job that its queue has.
type queueLink struct {
	prev, next *job
	queued     bool
}

func (q *jobQueue) push(j *job) {
	j.link = queueLink{prev: q.last, queued: true}
	if q.last == nil {
		q.first = j
	} else {
		q.last.link.next = j
	}
	q.last = j
	q.n++
}

func (q *jobQueue) pop() *job {
	j := q.first
	q.remove(j)
	return j
}

// remove reports false for a job that is not in the queue.
func (q *jobQueue) remove(j *job) bool {
	if !j.link.queued {
		return false
	}
	if j.link.prev == nil {
		q.first = j.link.next
	} else {
		j.link.prev.link.next = j.link.next
	}
	if j.link.next == nil {
		q.last = j.link.prev
	} else {
		j.link.next.link.prev = j.link.prev
	}
	j.link = queueLink{}
	q.n--
	return true
}
