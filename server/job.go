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
	"github.com/isbjorn/isbjorn/server/internal/buffers"
	"github.com/isbjorn/isbjorn/server/internal/respond"
	"github.com/isbjorn/isbjorn/server/internal/workers"
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
// not wait for it lets the exchange go (shard.release), and the worker brings it back.
type job struct {
	x      *exchange
	start  gateway.StartResponse // startResponse, bound once
	waker  *waker                // of the loop: there is something to pull
	remote netip.AddrPort
	local  netip.AddrPort

	slot workers.Job // in the pool

	mu           sync.Mutex
	cond         sync.Cond    // the worker waits
	abandonCause error        // why nobody wants the response any more; nil while somebody does
	exited       bool         // the worker has left
	neverRan     bool         // it left the queue: the application knows nothing of the request
	hasWaker     bool         // the application has a waker; of the worker alone
	workerWaker  *workerWaker // that waker, unless it is the loop's; of the worker alone, and of the loop when that has left
	pulled       bool         // the body was pulled; of the worker alone
	woken        bool         // it was called
	closingBody  bool         // the body is being closed: nothing more is sent

	// Content, brought by the loop.
	in          buffers.Queue
	trailer     []byte // its trailer lines, when all of it has come
	inEnd       error  // what comes after in: io.EOF, or what has happened; nil while more may come
	expect100   bool   // the client waits for 100 Continue
	inputPaused bool   // the loop reads no more until in is nearly empty

	// The response, brought by the worker.
	resp        respond.Response // what start has declared, until the loop takes it
	headTaken   bool             // the loop has taken it, and resp is not this response any more
	contentless bool             // it has no content, whatever the application gives
	usedWrite   bool             // the write() form was used
	gathers     bool             // what is written may wait, see gateway.Gather
	flushed     bool             // the head is to be sent, whether there is content or not
	size        int64            // of the content, if the body says; else -1
	owed        int64            // what the declared Content-Length has still room for; -1 without one
	lateTrailer []byte           // trailer fields that came when the head was on its way
	interim     []byte           // interim responses that the loop has not taken
	out         buffers.Queue    // content that the loop has not taken
	flushedTo   int              // so much of out was there at the last Flush
	inFlight    buffers.Queue    // what it took last
	socketFull  bool             // what the loop had sent before the worker began fills the socket
	body        gateway.Body     // the loop may pull it itself
	err         error            // how the worker ended; nil in order
	hijack      hijack

	number, taskNumber          uint64 // of the request, and of the one whose Read has last asked the loop for a task
	readDeadline, writeDeadline deadline
	readBroken                  bool // by a read that was broken off: the connection goes on no more
	loopWaiting                 bool // the loop wants to be told of more
	pendingWake                 bool // there was more when it did not
}

// errAbandoned is for an application whose response has ended without it: the cause of its
// Context.
var errAbandoned = context.Canceled

var errGoexit = errors.New("server: the application ended its goroutine")

// newJob makes one that x keeps for all its requests.
func newJob(x *exchange) *job {
	j := &job{x: x, waker: newWaker(x)}
	j.cond.L = &j.mu
	j.start = j.startResponse
	j.slot.Run = j.run
	return j
}

// begin prepares j for the request of its exchange.
func (j *job) begin() {
	j.number++
	j.readDeadline.stop()
	j.writeDeadline.stop()
	j.remote, j.local = j.x.session.addresses()
	j.abandonCause, j.exited, j.hasWaker, j.pulled = nil, false, false, false
	j.inEnd, j.expect100, j.inputPaused = io.EOF, false, false
	j.resp.Reset()
	j.readBroken = false
	j.headTaken, j.contentless, j.usedWrite, j.gathers, j.flushed, j.size, j.body, j.err = false, false, false, false, false, -1, nil, nil
	j.flushedTo, j.socketFull, j.loopWaiting, j.pendingWake = 0, false, false, false
	j.owed, j.closingBody = -1, false
}

// adopt begins j for a call that is under way on the loop, with the response as far as
// it is.
func (j *job) attachCall() {
	x := j.x
	j.begin()
	j.trailer = x.in.trailer
	x.app.workerStart = x.sh.now
	j.err = x.out.Err
	j.hasWaker = x.app.waker != nil
	j.loopWaiting = true
	j.socketFull = x.sock.Full()
	j.gathers = x.out.Gather
	j.contentless = x.out.Started && x.contentless(x.out.Code())
	if j.headTaken = x.out.HeadSent; !j.headTaken {
		j.owed = x.out.Room()
		j.resp, x.out.Response = x.out.Response, j.resp
	} else if x.out.Framing == respond.ByLength {
		j.owed = x.out.Left
	}
}

// disown takes adopt back.
func (j *job) detachCall() {
	x := j.x
	j.exited = true
	if !j.headTaken {
		j.resp, x.out.Response = x.out.Response, j.resp
	}
}

// finish empties the buffers when the worker has left.
func (j *job) finish() {
	j.trailer, j.lateTrailer, j.interim, j.hijack, j.neverRan = nil, nil, nil, hijack{}, false
	if j.workerWaker != nil {
		j.workerWaker.end()
		j.workerWaker = nil
	}
	for _, q := range []*buffers.Queue{&j.in, &j.out, &j.inFlight} {
		q.Release()
	}
}

// The loop's side.

// asks reports whether it is the request at hand whose worker has asked for a task, and not
// one before it.
func (j *job) isCurrentTask() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.taskNumber == j.number
}

// sayContinue asks the client for the content. RFC 9110 section 10.1.1.
func (j *job) sayContinue() {
	if x := j.x; j.isCurrentTask() && x.sock != nil && x.in.expect100 && !x.out.HeadSent {
		x.in.expect100 = false
		x.sh.out = append(x.sh.out, "HTTP/1.1 100 Continue\r\n\r\n"...)
		x.sh.flush(x.sock)
		x.restartBodyClock()
	}
}

// readOn goes on with content when the worker has taken what there was.
func (j *job) readOn() {
	if x := j.x; j.isCurrentTask() && x.sock != nil && x.in.streaming {
		x.sock.Resume()
		x.restartBodyClock()
	}
}

// await has the worker tell of what it brings, and of what it has brought.
func (j *job) awaitMore() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.loopWaiting = true; j.pendingWake {
		j.wakeLoop()
	}
}

// feed brings content. It reports whether there is room for more.
func (j *job) addContent(b []byte) (room bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	most := j.x.sh.cfg.loop.HighWaterBytes
	j.in.Add(b, most)
	j.expect100 = false                                 // it has not waited
	j.inputPaused = j.inputPaused || j.in.Len() >= most // it is Read that goes on
	j.cond.Broadcast()
	return !j.inputPaused
}

// end says that no more content comes, and why.
func (j *job) endContent(why error) {
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
	if j.readBroken {
		j.x.out.keepAlive = false
	}
	j.sendInterim()
	if j.hijack.requested && j.detachConn() {
		return nil, nil
	}
	ripe := j.takeable()
	if !j.headTaken && (j.flushed || ripe > 0 || j.exited) {
		j.headTaken = true
		j.x.out.Response, j.resp = j.resp, j.x.out.Response
		if j.exited && j.x.in.streaming && !j.x.canSkipContent() {
			j.x.out.keepAlive = false // nobody reads the rest of the content, and the client is told
		}
		if j.flushed {
			j.x.commit(-1)
		}
	}
	if j.exited && j.lateTrailer != nil {
		j.x.out.AddTrailerLines(j.lateTrailer)
		j.lateTrailer = nil
	}
	j.socketFull = false
	if j.inFlight.Reset(); ripe == j.out.Len() {
		j.inFlight, j.out = j.out, j.inFlight
	} else {
		j.inFlight.Add(j.out.Bytes()[:ripe], ripe)
		j.out.Skip(ripe)
	}
	j.flushedTo = 0
	j.cond.Broadcast() // there is room
	switch {
	case !j.exited && j.inFlight.Len() == 0:
		j.loopWaiting = true
		return nil, gateway.ErrWait
	case j.exited && j.err == nil && j.body == nil:
		return j.inFlight.Bytes(), io.EOF
	case j.inFlight.Len() > 0:
		return j.inFlight.Bytes(), nil
	case j.err != nil:
		return nil, j.err
	}
	j.x.out.source, j.body = sourceOf(j.body), nil
	return nil, nil // the exchange asks that one
}

// ripe is how much of out the loop may take. What is gathered waits for Flush or the end, or
// until it is gatherBytes: HighWaterBytes is no less, so no worker waits for room that way.
func (j *job) takeable() int {
	n := j.out.Len()
	if j.gathers && !j.exited && n < gatherBytes {
		return j.flushedTo
	}
	return n
}

// Close says that the response is over.
func (j *job) Close() error {
	j.cancel(errAbandoned)
	j.mu.Lock()
	rest := j.body
	j.body = nil
	if j.x.out.borrowed {
		j.inFlight = buffers.Queue{} // the socket still has it
	}
	j.mu.Unlock()
	if rest != nil {
		return rest.Close()
	}
	return nil
}

// withdraw takes a job back that waits for a worker. It reports false if it does not wait.
func (j *job) unqueue() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.unqueueLocked()
}

// withdrawn is withdraw with mu.
func (j *job) unqueueLocked() bool {
	if j.exited || !j.x.sh.srv.workers.Remove(&j.slot) {
		return false
	}
	j.exited, j.neverRan = true, true
	return true
}

// cancel tells a worker that is still at it that nobody waits for it any more. A job that
// waits for a worker waits no more.
func (j *job) cancel(why error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.exited || j.abandonCause != nil || j.unqueueLocked() {
		return
	}
	j.abandonCause = why
	j.x.app.env.Cancel(why)
	j.cond.Broadcast()
}

// length is that of the content, -1 if nobody knows.
func (j *job) contentLength() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size
}

// stack is what the worker is doing, as in the trace of a panic. All goroutines
// stand still meanwhile.
func (j *job) stack() string {
	stack := loop.StackWith(fmt.Sprintf("%s%p", inWork, j))
	for _, call := range []string{inServe, inCall} { // that were taken from their loop
		if stack == nil {
			stack = loop.StackWith(fmt.Sprintf("%s%p", call, j.x))
		}
	}
	return string(stack)
}

// atWork reports whether the worker is still at it, and has the environ.
func (j *job) running() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.exited
}
