package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
)

// job is a request whose application a worker runs. The worker has the environ and
// nothing else of the exchange; the loop has all the rest, and pulls the job as it
// pulls any Body. They meet in the fields below mu, and neither ever waits for the
// other but the worker: for content that has not come, and for room in out.
//
//	loop:    dispatch    Next -> ErrWait ... Next -> chunk ... Close
//	worker:      run: Serve  start  put ................. leave
//
// The worker may be the last to leave: nobody can end it. A connection that does
// not wait for it lets the exchange go (handler.give), and the worker brings it back.
type job struct {
	x      *exchange
	start  gateway.StartResponse // startResponse, bound once
	waker  *waker                // of the loop: there is something to pull
	remote netip.AddrPort
	local  netip.AddrPort

	link queueLink // of the crew, with its lock

	mu       sync.Mutex
	cond     sync.Cond // the worker waits
	over     error     // why nobody wants the response any more; nil while somebody does
	left     bool      // the worker has left
	uncalled bool      // it left the queue: the application knows nothing of the request
	wakes    bool      // the application has a waker; of the worker alone
	nudger   *nudger   // that waker, unless it is the loop's; of the worker alone, and of the loop when that has left
	asked    bool      // the body was pulled; of the worker alone
	nudged   bool      // it was called
	closing  bool      // the body is being closed: nothing more is sent

	// Content, brought by the loop.
	in      byteQueue
	trailer []byte // its trailer lines, when all of it has come
	inEnd   error  // what comes after in: io.EOF, or what has happened; nil while more may come
	expect  bool   // the client waits for 100 Continue
	stopped bool   // the loop reads no more until in is nearly empty

	// The response, brought by the worker.
	resp    response     // what start has declared, until the loop takes it
	began   bool         // the loop has taken it, and resp is not this response any more
	bare    bool         // it has no content, whatever the application gives
	wrote   bool         // the write() form was used
	gathers bool         // what is written may wait, see gateway.Gatherer
	flushed bool         // the head is to be sent, whether there is content or not
	size    int64        // of the content, if the body says; else -1
	owed    int64        // what the declared Content-Length has still room for; -1 without one
	late    []byte       // trailer fields that came when the head was on its way
	interim []byte       // interim responses that the loop has not taken
	out     byteQueue    // content that the loop has not taken
	due     int          // so much of out was there at the last Flush
	taken   byteQueue    // what it took last
	filled  bool         // what the loop had sent before the worker began fills the socket
	rest    gateway.Body // the loop may pull it itself
	err     error        // how the worker ended; nil in order
	hijack  hijack

	number, asking  uint64 // of the request, and of the one whose Read has last asked the loop for a task
	readBy, writeBy deadline
	broken          bool // by a read that was broken off: the connection goes on no more
	awaited         bool // the loop wants to be told of more
	news            bool // there was more when it did not
}

// errOver is for an application whose response has ended without it: the cause of its
// Context.
var errOver = context.Canceled

var errGoexit = errors.New("server: the application ended its goroutine")

// newJob makes one that x keeps for all its requests.
func newJob(x *exchange) *job {
	j := &job{x: x, waker: newWaker(x)}
	j.cond.L = &j.mu
	j.start = j.startResponse
	return j
}

// begin prepares j for the request of its exchange.
func (j *job) begin() {
	j.number++
	j.readBy.stop()
	j.writeBy.stop()
	j.remote, j.local = j.x.conn.ends()
	j.over, j.left, j.wakes, j.asked = nil, false, false, false
	j.inEnd, j.expect, j.stopped = io.EOF, false, false
	j.resp.account, j.broken = account{}, false
	j.began, j.bare, j.wrote, j.gathers, j.flushed, j.size, j.rest, j.err = false, false, false, false, false, -1, nil, nil
	j.due, j.filled, j.awaited, j.news = 0, false, false, false
	j.owed, j.closing = -1, false
}

// adopt begins j for a call that is under way on the loop, with the response as far as
// it is.
func (j *job) adopt() {
	x := j.x
	j.begin()
	j.trailer = x.trailer
	x.began = x.h.now
	j.err = x.resp.err
	j.wakes = x.waker != nil
	j.awaited = true
	j.filled = x.c.Full()
	j.gathers = x.resp.gathers
	j.bare = x.resp.started && x.contentless(x.resp.code)
	if j.began = x.resp.sent; !j.began {
		j.owed = x.resp.room()
		j.resp, x.resp = x.resp, j.resp
	} else if x.resp.framing == byLength {
		j.owed = x.resp.left
	}
}

// disown takes adopt back.
func (j *job) disown() {
	x := j.x
	j.left = true
	if !j.began {
		j.resp, x.resp = x.resp, j.resp
	}
}

// finish empties the buffers when the worker has left.
func (j *job) finish() {
	j.trailer, j.late, j.interim, j.hijack, j.uncalled = nil, nil, nil, hijack{}, false
	if j.nudger != nil {
		j.nudger.end()
		j.nudger = nil
	}
	for _, q := range []*byteQueue{&j.in, &j.out, &j.taken} {
		if q.reset(); cap(q.b) > keepBytesMax {
			*q = byteQueue{}
		}
	}
}

// The loop's side.

// asks reports whether it is the request at hand whose worker has asked for a task, and not
// one before it.
func (j *job) asks() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.asking == j.number
}

// sayContinue asks the client for the content. RFC 9110 section 10.1.1.
func (j *job) sayContinue() {
	if x := j.x; j.asks() && x.c != nil && x.expects && !x.resp.sent {
		x.expects = false
		x.h.out = append(x.h.out, "HTTP/1.1 100 Continue\r\n\r\n"...)
		x.h.flush(x.c)
		x.measure()
	}
}

// readOn goes on with content when the worker has taken what there was.
func (j *job) readOn() {
	if x := j.x; j.asks() && x.c != nil && x.streams {
		x.c.Resume()
		x.measure()
	}
}

// await has the worker tell of what it brings, and of what it has brought.
func (j *job) await() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.awaited = true; j.news {
		j.tell()
	}
}

// feed brings content. It reports whether there is room for more.
func (j *job) feed(b []byte) (room bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	most := j.x.h.c.loop.HighWaterBytes
	j.in.add(b, most)
	j.expect = false                            // it has not waited
	j.stopped = j.stopped || j.in.len() >= most // it is Read that goes on
	j.cond.Broadcast()
	return !j.stopped
}

// end says that no more content comes, and why.
func (j *job) end(why error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.inEnd == nil {
		j.inEnd = why
	}
	j.cond.Broadcast()
}

// Next returns what the worker has brought, or gateway.ErrWait.
func (j *job) Next() ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken {
		j.x.keep = false
	}
	j.takeInterim()
	if j.hijack.asked && j.giveUp() {
		return nil, nil
	}
	ripe := j.ripe()
	if !j.began && (j.flushed || ripe > 0 || j.left) {
		j.began = true
		j.x.resp, j.resp = j.resp, j.x.resp
		if j.left && j.x.streams && !j.x.skippable() {
			j.x.keep = false // nobody reads the rest of the content, and the client is told
		}
		if j.flushed {
			j.x.commit(-1)
		}
	}
	if j.left && j.late != nil {
		j.x.resp.trailer, j.late = append(j.x.resp.trailer, j.late...), nil
	}
	j.filled = false
	if j.taken.reset(); ripe == j.out.len() {
		j.taken, j.out = j.out, j.taken
	} else {
		j.taken.add(j.out.bytes()[:ripe], ripe)
		j.out.from += ripe
	}
	j.due = 0
	j.cond.Broadcast() // there is room
	switch {
	case !j.left && j.taken.len() == 0:
		j.awaited = true
		return nil, gateway.ErrWait
	case j.left && j.err == nil && j.rest == nil:
		return j.taken.bytes(), io.EOF
	case j.taken.len() > 0:
		return j.taken.bytes(), nil
	case j.err != nil:
		return nil, j.err
	}
	j.x.body, j.rest = j.rest, nil
	return nil, nil // the exchange asks that one
}

// ripe is how much of out the loop may take. What is gathered waits for Flush or the end, or
// until it is gatherBytes: HighWaterBytes is no less, so no worker waits for room that way.
func (j *job) ripe() int {
	n := j.out.len()
	if j.gathers && !j.left && n < gatherBytes {
		return j.due
	}
	return n
}

// Close says that the response is over.
func (j *job) Close() error {
	j.cancel(errOver)
	j.mu.Lock()
	rest := j.rest
	j.rest = nil
	if j.x.lent {
		j.taken = byteQueue{} // the socket still has it
	}
	j.mu.Unlock()
	if rest != nil {
		return rest.Close()
	}
	return nil
}

// withdraw takes a job back that waits for a worker. It reports false if it does not wait.
func (j *job) withdraw() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.withdrawn()
}

// withdrawn is withdraw with mu.
func (j *job) withdrawn() bool {
	if j.left || !j.x.h.s.crew.withdraw(j) {
		return false
	}
	j.left, j.uncalled = true, true
	return true
}

// cancel tells a worker that is still at it that nobody waits for it any more. A job that
// waits for a worker waits no more.
func (j *job) cancel(why error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.left || j.over != nil || j.withdrawn() {
		return
	}
	j.over = why
	j.x.env.Cancel(why)
	j.cond.Broadcast()
}

// length is that of the content, -1 if nobody knows.
func (j *job) length() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size
}

// stack is what the worker is doing, as in the trace of a panic. All goroutines
// stand still meanwhile.
func (j *job) stack() string {
	stack := loop.StackWith(fmt.Sprintf("%s%p", inWork, j))
	for _, call := range []string{inAsk, inCall} { // that were taken from their loop
		if stack == nil {
			stack = loop.StackWith(fmt.Sprintf("%s%p", call, j.x))
		}
	}
	return string(stack)
}

// atWork reports whether the worker is still at it, and has the environ.
func (j *job) atWork() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.left
}
