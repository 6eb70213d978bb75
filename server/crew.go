package server

import "sync"

// crew runs the applications that may block: each request on a goroutine of its
// own while it is at work, and as many at once as the option Workers allows. Those
// beyond wait in the order they came, as many as WorkerQueue allows.
type crew struct {
	most, queueMost int

	mu    sync.Mutex
	busy  int
	away  int // of them with a connection of their own, which nobody waits for
	queue []*job
	idle  chan struct{} // closed when nobody is busy, who is not away; nil if nobody waits for that
}

// give takes a job on. It reports false if there is no room for it.
func (c *crew) give(j *job) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.busy < c.most:
		c.busy++
		go c.work(j)
	case len(c.queue) < c.queueMost:
		c.queue = append(c.queue, j)
	default:
		return false
	}
	return true
}

func (c *crew) work(j *job) {
	defer c.next() // also after runtime.Goexit
	j.run()
}

// adopt counts a worker that was not asked for, beyond most if need be: a loop has got
// another goroutine. It ends with next.
func (c *crew) adopt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy++
}

// next gives the place of a worker that has finished to who waits for it.
func (c *crew) next() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 || c.busy > c.most {
		if len(c.queue) == 0 {
			c.queue = nil // grown by a crowd that is gone
		}
		c.busy--
		c.tellIdle()
		return
	}
	j := c.queue[0]
	c.queue[0] = nil
	c.queue = c.queue[1:]
	go c.work(j)
}

// whenIdle returns a channel that is closed when no worker is busy, but those that
// are away.
func (c *crew) whenIdle() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle == nil {
		c.idle = make(chan struct{})
		if c.busy == c.away {
			defer func(idle chan struct{}) { close(idle); c.idle = nil }(c.idle)
		}
	}
	return c.idle
}

// tellIdle tells who waits that no worker is busy, if so. With mu.
func (c *crew) tellIdle() {
	if c.busy == c.away && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// leave says that a worker has taken its connection over. It keeps its place.
func (c *crew) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away++
	c.tellIdle()
}

// back is for one that has finished.
func (c *crew) back() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away--
}

// load is how many requests are at work, and how many wait.
func (c *crew) load() (busy, waiting int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.busy - c.away, len(c.queue)
}
