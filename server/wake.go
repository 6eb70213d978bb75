package server

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/server/internal/callstate"
)

// waker goes on with a response that waits for an event (gateway.ErrWait). It may be
// kept for longer than the response, and so is not a part of the pooled exchange.
type waker struct {
	loop *loop.Loop
	x    *exchange   // of loop alone; nil when the response is over
	due  atomic.Bool // run is on its way: a burst of events is one task
	task func()      // run, bound once
}

func newWaker(x *exchange) *waker {
	w := &waker{loop: x.sh.loop, x: x}
	w.task = w.run
	return w
}

// wake is what the application calls. Nothing is lost to one that comes before the
// response waits: run is a task, and comes after whatever the loop does now, and a
// response that does not wait then asks its body anyway.
func (w *waker) wake() {
	if !w.due.Swap(true) {
		w.loop.Do(w.task) // a loop that has stopped has no responses
	}
}

func (w *waker) run() {
	w.due.Swap(false) // before Next looks: what happens from now on is another task
	switch x := w.x; {
	case x == nil:
	case x.app.call.State() == callstate.HandedOff && w == x.app.waker:
		x.app.job.wakeWorker() // it was taken when it belonged to the loop
	case x.out.blocked:
		x.out.blocked = false
		x.sh.Drained(x.sock)
	}
}

// Waker implements gateway.Conn: the worker waits, and the loop knows nothing of it.
func (j *job) Waker() (wake func()) {
	j.hasWaker = true
	if j.workerWaker == nil {
		j.workerWaker = &workerWaker{job: j}
	}
	return j.workerWaker.wake
}

// workerWaker is the waker that an application on a worker gets. It may be kept for longer than
// the response, and the job is that of the next request then.
type workerWaker struct {
	mu  sync.Mutex
	job *job // nil when the response is over
}

func (n *workerWaker) wake() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.job != nil {
		n.job.wakeWorker()
	}
}

func (n *workerWaker) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.job = nil
}

func (j *job) wakeWorker() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.woken = true
	j.cond.Broadcast()
}

// stir has a response that waits asked once more, when the server begins to stop: it may
// want to end. In a task of its own, as for every wake: the application may block in it.
func (x *exchange) wakeForStop() {
	if x.app.waker != nil {
		x.app.waker.wake()
	}
	if x.app.onWorker() {
		x.app.job.wakeWorker()
	}
}

var errNoWaker = errors.New("server: Next returned gateway.ErrWait, and nobody could wake it: call Environ.Waker first")

// The exchange is the Environ's gateway.Conn.

// RemoteAddr is the peer's address.
func (x *exchange) RemoteAddr() netip.AddrPort {
	was, j := x.enter()
	if j != nil {
		return j.remote
	}
	defer x.leave(was)
	return x.sock.RemoteAddr()
}

// LocalAddr is the address that the peer connected to.
func (x *exchange) LocalAddr() netip.AddrPort {
	was, j := x.enter()
	if j != nil {
		return j.local
	}
	defer x.leave(was)
	return x.sock.LocalAddr()
}

// Waker implements gateway.Conn.
func (x *exchange) Waker() (wake func()) {
	was, j := x.enter()
	if j != nil {
		return j.Waker()
	}
	defer x.leave(was)
	if x.app.waker == nil {
		x.app.waker = newWaker(x)
	}
	return x.app.waker.wake
}
