package server

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/server/internal/callstate"
)

// waker wakes a response on the loop that waits for an event (gateway.ErrWait). The application may keep it
// for longer than the response, so it is no part of the pooled exchange.
type waker struct {
	loop *loop.Loop
	x    *exchange   // only the loop uses it; nil when the exchange was released, but for the waker of a job
	due  atomic.Bool // run is queued: a burst of events is one task
	task func()      // run, bound once
}

func newWaker(x *exchange) *waker {
	w := &waker{loop: x.sh.loop, x: x}
	w.task = w.run
	return w
}

// wake is what the application calls, from any goroutine. A wake before Next has returned ErrWait is not
// lost: run is a task, so the loop runs it after the present event, when the response is blocked or does not
// need it.
func (w *waker) wake() {
	if !w.due.Swap(true) {
		w.loop.Do(w.task) // a loop that has stopped has no responses
	}
}

// run is the task of wake.
func (w *waker) run() {
	w.due.Swap(false) // before Next: an event from now on queues another task
	switch x := w.x; {
	case x == nil:
	case x.app.call.State() == callstate.HandedOff && w == x.app.waker:
		x.app.job.wakeWorker() // the application asked for the waker on the loop, and is a worker now
	case x.out.awaitsWake:
		x.out.awaitsWake = false
		x.sock.Wake()
	}
}

// Waker implements gateway.Conn on a worker. The wake is for the worker, which waits in job.abandoned; the
// loop has no part in it.
func (j *job) Waker() (wake func()) {
	j.hasWaker = true
	if j.workerWaker == nil {
		j.workerWaker = &workerWaker{job: j}
	}
	return j.workerWaker.wake
}

// workerWaker is the waker of an application on a worker. The application may keep it for longer than the
// response, when the job is used for the next request.
type workerWaker struct {
	mu  sync.Mutex
	job *job // nil when the response is over
}

// wake is what the application calls, from any goroutine.
func (n *workerWaker) wake() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.job != nil {
		n.job.wakeWorker()
	}
}

// end makes wake do nothing.
func (n *workerWaker) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.job = nil
}

// wakeWorker has a worker that waits for a wake call Next again.
func (j *job) wakeWorker() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.woken = true
	j.cond.Broadcast()
}

// wakeForStop wakes a response that waits when Shutdown begins: its body may then end. The loop does it in a
// task, as for every wake, since the application may block in Next.
func (x *exchange) wakeForStop() {
	if x.app.waker != nil {
		x.app.waker.wake()
	}
	if x.app.onWorker() {
		x.app.job.wakeWorker()
	}
}

var errNoWaker = errors.New("server: Next returned gateway.ErrWait, and there is no waker; call Environ.Waker first")

// The exchange is the gateway.Conn of the Environ on the loop.

// RemoteAddr implements gateway.Conn.
func (x *exchange) RemoteAddr() netip.AddrPort {
	was, j := x.enter()
	if j != nil {
		return j.remote
	}
	defer x.leave(was)
	return x.sock.RemoteAddr()
}

// LocalAddr implements gateway.Conn.
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
