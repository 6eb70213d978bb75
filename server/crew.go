package server

import (
	"slices"
	"sync"
	"time"
)

// crew runs the applications that may block: each request on a goroutine of its
// own while it is at work, and as many at once as the option Workers allows. Those
// beyond wait in the order they came, as many as WorkerQueue allows.
//
// A worker that has finished waits for another job, since its stack has grown to what
// the application needs. The one that has worked last works next, and those that had
// nothing to do for a while end.
type crew struct {
	most, queueMost int
	spareTime       time.Duration

	mu      sync.Mutex
	busy    int // places that are taken, most at most but for adopt
	away    int // workers with a connection of their own (Hijack), which have no place
	leaving int // those that were away and have finished, before leaves has seen them
	uploads int // requests that were given a worker, or wait for one, while their content comes
	queue   jobQueue
	idle    zero // busy
	home    zero // away

	spare  []chan *job // of workers that have finished, the last to do so at the end
	unused int         // so many of them, from the first, have waited since the last sweep
	sweeps *time.Timer // the next; nil if there is none
	ended  bool        // nobody is to wait for another job
}

// spareTime is how long a worker waits for another job, and at most twice that: long
// enough that one that works now and then is there, and a crowd that has gone keeps no
// memory.
const spareTime = 5 * time.Second

// give takes a job on. It reports false if there is no room for it.
func (c *crew) give(j *job) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.busy < c.most:
		c.busy++
		c.begin(j)
	case c.queue.n < c.queueMost:
		c.queue.push(j)
	default:
		return false
	}
	return true
}

// begin has a worker run j. With mu.
func (c *crew) begin(j *job) {
	last := len(c.spare) - 1
	if last < 0 {
		go c.work(j)
		return
	}
	c.spare[last] <- j
	c.spare[last] = nil
	c.spare = c.spare[:last]
	c.unused = min(c.unused, last)
}

// work is the life of a worker.
func (c *crew) work(j *job) {
	busy := true
	defer func() {
		if busy { // runtime.Goexit
			c.next()
		}
	}()
	jobs := make(chan *job, 1)
	for j != nil {
		busy = true
		j.run()
		busy, j = false, nil // who waits keeps no job
		j = c.rest(jobs)
	}
}

// rest is what a worker does that has finished: it takes another job on, or waits for
// one. It returns nil if there is none for too long.
func (c *crew) rest(jobs chan *job) *job {
	c.mu.Lock()
	j := c.leaves()
	if j != nil || c.ended {
		c.mu.Unlock()
		return j
	}
	c.spare = append(c.spare, jobs)
	if c.sweeps == nil {
		c.sweeps = time.AfterFunc(c.spareTime, c.sweep)
	}
	c.mu.Unlock()
	return <-jobs
}

// sweep ends the workers that have had nothing to do since the last sweep.
func (c *crew) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dismiss(c.unused)
	if c.unused = len(c.spare); c.unused > 0 {
		c.sweeps.Reset(c.spareTime)
	} else {
		c.spare, c.sweeps = nil, nil
	}
}

// dismiss ends the first n workers that wait. With mu.
func (c *crew) dismiss(n int) {
	for _, jobs := range c.spare[:n] {
		close(jobs)
	}
	c.spare, c.unused = slices.Delete(c.spare, 0, n), 0
}

// end says that no more jobs come.
func (c *crew) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.dismiss(len(c.spare))
	if c.sweeps != nil {
		c.sweeps.Stop()
	}
}

// adopt counts a worker that was not asked for, beyond most if need be: a loop has got
// another goroutine. It ends with next.
func (c *crew) adopt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy++
}

// next ends a worker whose goroutine ends, and gives its place to who waits for it.
func (c *crew) next() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j := c.leaves(); j != nil {
		c.begin(j)
	}
}

// leaves gives the place of a worker that has finished to the job it returns, or to
// nobody. With mu.
func (c *crew) leaves() *job {
	switch {
	case c.leaving > 0: // this place was given away before, by leave; of this worker or another
		c.leaving--
		return nil
	case c.queue.n == 0 || c.busy > c.most:
		c.busy--
		c.idle.is(c.busy)
		return nil
	}
	return c.queue.pop()
}

// beginUpload asks for a worker for a request whose content is still to come. Clients may
// take their time for it, so half of the workers is for other requests: beyond that it
// reports false, and the content is collected before a worker is asked for. With the option
// Workers(1) that is all content.
func (c *crew) beginUpload() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.uploads >= c.most/2 {
		return false
	}
	c.uploads++
	return true
}

// endUpload is for when the content has come, or no more of it is wanted.
func (c *crew) endUpload() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uploads--
}

// withdraw takes a job out of the queue. It reports false for one that is not in it.
func (c *crew) withdraw(j *job) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queue.remove(j)
}

// whenIdle returns a channel that is closed when no worker has a place: those that are
// away may still be at work.
func (c *crew) whenIdle() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.idle.when(c.busy)
}

// whenBack returns a channel that is closed when no worker is away.
func (c *crew) whenBack() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.home.when(c.away)
}

// zero is a channel that is closed when a number has fallen to 0; nil until one is asked for.
type zero chan struct{}

// when returns the channel of a number that is n now.
func (z *zero) when(n int) <-chan struct{} {
	if *z == nil {
		*z = make(zero)
	}
	ch := *z
	z.is(n)
	return ch
}

// is says that the number is n.
func (z *zero) is(n int) {
	if n == 0 && *z != nil {
		close(*z)
		*z = nil
	}
}

// leave says that a worker has taken its connection over, and gives its place to who
// waits for it: a WebSocket that is idle for an hour keeps no request waiting. It is said
// before the connection is counted out, so a stop always sees one or the other.
func (c *crew) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j := c.leaves(); j != nil {
		c.begin(j)
	}
	c.away++
}

// back is for one that has finished. Its goroutine comes to leaves yet.
func (c *crew) back() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away--
	c.home.is(c.away)
	c.leaving++
}

// load is how many requests are at work, how many wait, and how many have taken their
// connection over.
func (c *crew) load() (busy, waiting, away int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.busy, c.queue.n, c.away
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
