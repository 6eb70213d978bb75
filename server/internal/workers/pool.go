// Package workers runs jobs that may block, each on a goroutine of its own, as many at once as allowed.
// Those beyond wait in a queue.
package workers

import (
	"slices"
	"sync"
	"time"
)

// Job is one job, made by its user and used again when it has ended.
type Job struct {
	// Run is the work. It may end its goroutine (runtime.Goexit).
	Run func()

	prev, next *Job // in the queue
	queued     bool
}

// Pool is a worker pool. Each job has a slot while it runs. A worker that has finished waits for
// another job, since its stack has grown to what the jobs need: the worker that worked last works next,
// and those without a job for idleTime end.
//
// A job may become a hijacked one, which has no slot (HijackBegan). Its methods may be called from any
// goroutine.
type Pool struct {
	max, queueMax int
	idleTime      time.Duration

	mu       sync.Mutex
	running  int // slots in use: at most max, unless AddRunning was called
	hijacked int // jobs that run without a slot
	released int // hijacked jobs that have ended, whose goroutines have not come to next yet
	uploads  int // between BeginUpload and EndUpload
	queue    queue

	noneRunning  zeroNotifier
	noneHijacked zeroNotifier

	idle           []chan *Job // of workers without a job, the last to finish at the end
	idleSinceSweep int         // so many of them, from the first, had no job since the last sweep
	sweepTimer     *time.Timer // nil if no worker is idle
	stopped        bool        // no worker is to wait for another job
}

// idleTime is how long a worker waits for another job, and at most twice that: long enough that a
// worker which has something to do now and then is kept, and the memory of a burst is not.
const idleTime = 5 * time.Second

// New makes a pool that runs n jobs at once while queueMax wait.
func New(n, queueMax int) *Pool {
	return &Pool{max: n, queueMax: queueMax, idleTime: idleTime}
}

// Submit has j run, now or when a slot is free. It reports false if the queue is full.
func (p *Pool) Submit(j *Job) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.running < p.max:
		p.running++
		p.start(j)
	case p.queue.n < p.queueMax:
		p.queue.push(j)
	default:
		return false
	}
	return true
}

// start has a worker run j, which has its slot. Caller holds mu.
func (p *Pool) start(j *Job) {
	last := len(p.idle) - 1
	if last < 0 {
		go p.work(j)
		return
	}
	p.idle[last] <- j // it has room for one, and the worker has none
	p.idle[last] = nil
	p.idle = p.idle[:last]
	p.idleSinceSweep = min(p.idleSinceSweep, last)
}

// work is the goroutine of a worker.
func (p *Pool) work(j *Job) {
	working := true
	defer func() {
		if working { // runtime.Goexit: this goroutine ends, its slot does not
			p.Release()
		}
	}()
	jobs := make(chan *Job, 1)
	for j != nil {
		working = true
		j.Run()
		working, j = false, nil // an idle worker keeps no job alive
		j = p.park(jobs)
	}
}

// park is what a worker does behind its job: it returns the next one that is queued, or waits on jobs
// for one. It returns nil if the worker is to end.
func (p *Pool) park(jobs chan *Job) *Job {
	p.mu.Lock()
	j := p.next()
	if j != nil || p.stopped {
		p.mu.Unlock()
		return j
	}
	p.idle = append(p.idle, jobs)
	if p.sweepTimer == nil {
		p.sweepTimer = time.AfterFunc(p.idleTime, p.sweep)
	}
	p.mu.Unlock()
	return <-jobs
}

// sweep ends the workers that had no job since the last sweep.
func (p *Pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endIdle(p.idleSinceSweep)
	if p.idleSinceSweep = len(p.idle); p.idleSinceSweep > 0 {
		p.sweepTimer.Reset(p.idleTime)
	} else {
		p.idle, p.sweepTimer = nil, nil
	}
}

// endIdle ends the first n idle workers. Caller holds mu.
func (p *Pool) endIdle(n int) {
	for _, jobs := range p.idle[:n] {
		close(jobs)
	}
	p.idle, p.idleSinceSweep = slices.Delete(p.idle, 0, n), 0
}

// Stop ends the idle workers, and each other one behind its job and the jobs that are queued.
func (p *Pool) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.endIdle(len(p.idle))
	if p.sweepTimer != nil {
		p.sweepTimer.Stop()
	}
}

// AddRunning counts a job that the pool has not started: the goroutine of a loop has become its
// worker. It has a slot, beyond max if need be, until Release.
func (p *Pool) AddRunning() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running++
}

// Release is for a job whose goroutine ends: its slot goes to the next job in the queue.
func (p *Pool) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if j := p.next(); j != nil {
		p.start(j)
	}
}

// next returns the next queued job for the slot of a job that has ended, or nil and frees the slot.
// Caller holds mu.
func (p *Pool) next() *Job {
	switch {
	case p.released > 0: // HijackBegan has freed the slot, of this job or of another
		p.released--
		return nil
	case p.queue.n == 0 || p.running > p.max:
		p.running--
		p.noneRunning.set(p.running)
		return nil
	}
	return p.queue.pop()
}

// BeginUpload asks for a worker for a request whose content is still to come. Clients may take their
// time, so half of the workers is kept for other requests: beyond that it reports false, and the caller
// collects the content first. With one worker that is always so.
func (p *Pool) BeginUpload() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.uploads >= p.max/2 {
		return false
	}
	p.uploads++
	return true
}

// EndUpload is for when all content has come, or no more of it is wanted.
func (p *Pool) EndUpload() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.uploads--
}

// Remove takes a job out of the queue. It reports false for one that is not in it.
func (p *Pool) Remove(j *Job) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queue.remove(j)
}

// HijackBegan says that a running job has taken over its connection (a WebSocket, say), and frees its
// slot: it may run for hours.
func (p *Pool) HijackBegan() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if j := p.next(); j != nil {
		p.start(j)
	}
	p.hijacked++
}

// HijackEnded is for such a job that has ended, called before Run returns.
func (p *Pool) HijackEnded() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hijacked--
	p.noneHijacked.set(p.hijacked)
	p.released++
}

// NoneRunning returns a channel that is closed when no slot is in use; hijacked jobs may still run.
func (p *Pool) NoneRunning() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.noneRunning.channel(p.running)
}

// NoneHijacked returns a channel that is closed when no job is hijacked.
func (p *Pool) NoneHijacked() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.noneHijacked.channel(p.hijacked)
}

// Load is what a pool has to do.
type Load struct {
	Running  int // jobs with a slot
	Waiting  int // jobs in the queue
	Hijacked int
	Uploads  int
	Idle     int // workers without a job
}

// Load is what the pool has to do now.
func (p *Pool) Load() Load {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Load{p.running, p.queue.n, p.hijacked, p.uploads, len(p.idle)}
}

// zeroNotifier is a channel that is closed when a number has fallen to 0; nil until one is asked for.
type zeroNotifier chan struct{}

// channel returns the channel for a number that is n now.
func (z *zeroNotifier) channel(n int) <-chan struct{} {
	if *z == nil {
		*z = make(zeroNotifier)
	}
	ch := *z
	z.set(n)
	return ch
}

// set says that the number is n.
func (z *zeroNotifier) set(n int) {
	if n == 0 && *z != nil {
		close(*z)
		*z = nil
	}
}

// queue is a list of jobs in the order they came. A job can leave it from anywhere, since clients
// leave while they wait.
type queue struct {
	first, last *Job
	n           int
}

func (q *queue) push(j *Job) {
	j.prev, j.next, j.queued = q.last, nil, true
	if q.last == nil {
		q.first = j
	} else {
		q.last.next = j
	}
	q.last = j
	q.n++
}

func (q *queue) pop() *Job {
	j := q.first
	q.remove(j)
	return j
}

// remove reports false for a job that is not in the queue.
func (q *queue) remove(j *Job) bool {
	if !j.queued {
		return false
	}
	if j.prev == nil {
		q.first = j.next
	} else {
		j.prev.next = j.next
	}
	if j.next == nil {
		q.last = j.prev
	} else {
		j.next.prev = j.prev
	}
	j.prev, j.next, j.queued = nil, nil, false
	q.n--
	return true
}
