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

// job is a request whose application runs on a worker. The worker has the environ, and the loop the
// rest of the exchange, which pulls the job as it pulls any Body. They meet under mu.
// The loop never waits for the worker. The worker waits for content that has not come, and for room in the
// output.
//
//	loop:    dispatch    Next -> ErrWait ... Next -> chunk ... Close
//	worker:      run: Serve  start  write ................. exit
//
// The worker may be the last to exit: nothing can end a goroutine from outside. A connection that ends before
// abandons the exchange, and the worker has the loop release it (job.exit, shard.release).
type job struct {
	x      *exchange
	start  gateway.StartResponse // startResponse, bound once
	waker  *waker                // of the loop: there is something to pull
	slot   workers.Job           // in the pool
	remote netip.AddrPort
	local  netip.AddrPort

	// number counts the requests of the job. taskNumber is the number of the request whose Read has queued the
	// last task of the loop: a task that runs late must not be for the next request.
	number, taskNumber uint64

	mu   sync.Mutex
	cond sync.Cond // the worker waits
	jobState
	in  jobIn
	out jobOut
}

// jobState is the state of one request. Its zero value is the initial state.
type jobState struct {
	abandonCause error // why the response was abandoned; nil if it was not
	exited       bool  // the worker has exited, or there was none
	neverRan     bool  // the job was removed from the queue: the application did not get the request

	// Of the worker alone, and of the loop when the worker has exited.
	hasWaker    bool // the application has a waker
	workerWaker *workerWaker
	pulled      bool // the body was asked once

	woken bool // the waker was called
}

// jobIn is the content, which the loop adds and the worker reads.
type jobIn struct {
	queue buffers.Queue
	jobInState
}

type jobInState struct {
	trailer   []byte // field lines, when all content has come
	end       error  // the error of Read behind queue: io.EOF, or why content is missing; nil while more may come
	expect100 bool   // the client waits for 100 Continue
	paused    bool   // the loop reads no more until queue is nearly empty
	broken    bool   // a read was broken off: the connection ends behind the response
	deadline  deadline
}

// jobOut is the response, which the worker adds and the loop sends.
type jobOut struct {
	resp     respond.Response // what start has declared, until the loop takes it
	queue    buffers.Queue    // content that the loop has not taken
	inFlight buffers.Queue    // content that the loop took last, and that may not be sent yet
	jobOutState
}

type jobOutState struct {
	headTaken   bool // the loop has taken resp: what it was swapped with is of no use
	flushed     bool // the head is to be sent, whether there is content or not
	contentless bool // there is no content, whatever the application gives
	usedWrite   bool // the write() form was used
	gathers     bool // what is written may wait, see gateway.Gather
	socketFull  bool // what the loop had sent before the worker began fills the socket
	closing     bool // the body is being closed: nothing more is sent
	loopWaiting bool // the loop is to be woken for more output
	pendingWake bool // more output came while it was not

	size        int64  // of the content, if the body says; else -1
	owed        int64  // what the declared Content-Length still has room for; -1 without one
	flushedTo   int    // so much of queue was there at the last Flush
	lateTrailer []byte // trailer field lines that were set after the head was flushed or taken
	interim     []byte // interim responses that the loop has not taken
	deadline    deadline
	body        gateway.Body // the rest, for the loop to pull itself
	err         error        // how the worker has ended; nil in order
	hijack      hijack
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
	j.in.deadline.stop()
	j.out.deadline.stop()
	j.remote, j.local = j.x.session.addresses()
	j.jobState = jobState{}
	j.in.jobInState = jobInState{end: io.EOF}
	j.out.jobOutState = jobOutState{size: -1, owed: -1}
	j.out.resp.Reset()
}

// attachCall is begin for a call in progress on the loop: the job gets the response so far.
func (j *job) attachCall() {
	x := j.x
	j.begin()
	j.in.trailer = x.in.trailer
	x.app.workerStart = x.sh.now
	j.out.err = x.out.Err
	j.hasWaker = x.app.waker != nil
	j.out.loopWaiting = true
	j.out.socketFull = x.sock.Full()
	j.out.gathers = x.out.Gather
	j.out.contentless = x.out.Started && x.contentless(x.out.Code())
	if j.out.headTaken = x.out.HeadSent; !j.out.headTaken {
		j.out.owed = x.out.Room()
		j.out.resp, x.out.Response = x.out.Response, j.out.resp
	} else if x.out.Framing == respond.ByLength {
		j.out.owed = x.out.Left
	}
}

// detachCall undoes attachCall.
func (j *job) detachCall() {
	x := j.x
	j.exited = true
	if !j.out.headTaken {
		j.out.resp, x.out.Response = x.out.Response, j.out.resp
	}
}

// finish releases what the job holds, when the worker has exited. What the application has kept of the
// request still finds how it ended.
func (j *job) finish() {
	j.neverRan = false
	j.in.trailer, j.out.lateTrailer, j.out.interim, j.out.hijack = nil, nil, nil, hijack{}
	if j.workerWaker != nil {
		j.workerWaker.end()
		j.workerWaker = nil
	}
	for _, q := range []*buffers.Queue{&j.in.queue, &j.out.queue, &j.out.inFlight} {
		q.Release()
	}
}

// The loop's side.

// isCurrentTask reports whether the task was asked for by the request at hand, and not by one before it.
func (j *job) isCurrentTask() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.taskNumber == j.number
}

// sayContinue sends 100 Continue, when the application first reads. RFC 9110 section 10.1.1.
func (j *job) sayContinue() {
	if x := j.x; j.isCurrentTask() && x.sock != nil && x.in.expect100 && !x.out.HeadSent {
		x.in.expect100 = false
		x.sh.out = append(x.sh.out, "HTTP/1.1 100 Continue\r\n\r\n"...)
		x.sh.flush(x.sock)
		x.restartBodyClock()
	}
}

// readOn resumes the content when the worker has taken what there was.
func (j *job) readOn() {
	if x := j.x; j.isCurrentTask() && x.sock != nil && x.in.streaming {
		x.sock.Resume()
		x.restartBodyClock()
	}
}

// awaitMore has the worker wake the loop for more output, or for what there is already.
func (j *job) awaitMore() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.out.loopWaiting = true; j.out.pendingWake {
		j.wakeLoop()
	}
}

// addContent reports whether there is room for more.
func (j *job) addContent(b []byte) (room bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	most := j.x.sh.cfg.loop.HighWaterBytes
	j.in.queue.Add(b, most)
	j.in.expect100 = false                                // the client has not waited for 100 Continue
	j.in.paused = j.in.paused || j.in.queue.Len() >= most // Read resumes it
	j.cond.Broadcast()
	return !j.in.paused
}

// endContent says that no more content comes, and why.
func (j *job) endContent(why error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.in.end == nil {
		j.in.end = why
	}
	j.cond.Broadcast()
}

// Next returns what the worker has produced, or gateway.ErrWait. The order matters: an interim response goes
// before the head, the connection can be detached only while nothing of the response was taken, and the head
// is taken with the first content, or when the worker has exited: then the length is known.
func (j *job) Next() ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.in.broken {
		j.x.out.keepAlive = false
	}
	j.sendInterim()
	if j.out.hijack.requested && j.detachConn() {
		return nil, nil
	}
	ripe := j.takeable()
	// The head is taken with the first content, after Flush, or when the worker has exited.
	if !j.out.headTaken && (j.out.flushed || ripe > 0 || j.exited) {
		j.out.headTaken = true
		j.x.out.Response, j.out.resp = j.out.resp, j.x.out.Response
		if j.exited && j.x.in.streaming && !j.x.canSkipContent() {
			j.x.out.keepAlive = false // the rest of the content will not be read: the head says close
		}
		if j.out.flushed {
			j.x.commit(-1)
		}
	}
	if j.exited && j.out.lateTrailer != nil {
		j.x.out.AddTrailerLines(j.out.lateTrailer)
		j.out.lateTrailer = nil
	}
	j.out.socketFull = false
	// What was taken last is sent: the exchange asks again only then. The two queues swap memory, but for
	// content that is still gathered.
	if j.out.inFlight.Reset(); ripe == j.out.queue.Len() {
		j.out.inFlight, j.out.queue = j.out.queue, j.out.inFlight
	} else {
		j.out.inFlight.Add(j.out.queue.Bytes()[:ripe], ripe)
		j.out.queue.Skip(ripe)
	}
	j.out.flushedTo = 0
	j.cond.Broadcast() // there is room
	switch {
	case !j.exited && j.out.inFlight.Len() == 0:
		j.out.loopWaiting = true
		return nil, gateway.ErrWait
	case j.exited && j.out.err == nil && j.out.body == nil:
		return j.out.inFlight.Bytes(), io.EOF
	case j.out.inFlight.Len() > 0:
		return j.out.inFlight.Bytes(), nil
	case j.out.err != nil:
		return nil, j.out.err
	}
	// The worker has returned a body whose calls do not block: the exchange pulls it from now on.
	j.x.out.source, j.out.body = sourceOf(j.out.body), nil
	return nil, nil
}

// takeable is how much of the output the loop may take. What is gathered waits for Flush, for the end, or
// until it is gatherBytes: HighWaterBytes is at least that, so the worker does not wait for room meanwhile.
// Caller holds mu.
func (j *job) takeable() int {
	n := j.out.queue.Len()
	if j.out.gathers && !j.exited && n < gatherBytes {
		return j.out.flushedTo
	}
	return n
}

// Close ends the response.
func (j *job) Close() error {
	j.cancel(errAbandoned)
	j.mu.Lock()
	rest := j.out.body
	j.out.body = nil
	if j.x.out.awaitSent {
		j.out.inFlight = buffers.Queue{} // the socket still has it
	}
	j.mu.Unlock()
	if rest != nil {
		return rest.Close()
	}
	return nil
}

// unqueue takes the job out of the queue for a worker. It reports false if it is not in it.
func (j *job) unqueue() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.unqueueLocked()
}

// unqueueLocked is unqueue. Caller holds mu.
func (j *job) unqueueLocked() bool {
	if j.exited || !j.x.sh.srv.workers.Remove(&j.slot) {
		return false
	}
	j.exited, j.neverRan = true, true
	return true
}

// cancel abandons the response of a worker, with why as the cause of its Context. A job that is still queued
// is removed from the queue instead.
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

// contentLength is what the body says, -1 if it says none.
func (j *job) contentLength() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.out.size
}

// stack is the stack of the worker, as in the trace of a panic. All goroutines stand still meanwhile.
func (j *job) stack() string {
	stack := loop.StackWith(fmt.Sprintf("%s%p", inWork, j))
	for _, call := range []string{inServe, inCall} { // a call that was handed off is not below work
		if stack == nil {
			stack = loop.StackWith(fmt.Sprintf("%s%p", call, j.x))
		}
	}
	return string(stack)
}

// running reports whether the job is queued or its worker at work, which has the environ then.
func (j *job) running() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.exited
}
