package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
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

	mu     sync.Mutex
	cond   sync.Cond // the worker waits
	over   error     // why nobody wants the response any more; nil while somebody does
	left   bool      // the worker has left
	wakes  bool      // the application has a waker; of the worker alone
	asked  bool      // the body was pulled; of the worker alone
	nudged bool      // it was called

	// Content, brought by the loop.
	in      bytes.Buffer
	inEnd   error // what comes after in: io.EOF, or what has happened; nil while more may come
	expect  bool  // the client waits for 100 Continue
	stopped bool  // the loop reads no more until in is nearly empty

	// The response, brought by the worker.
	resp    response     // what start has declared, until the loop takes it
	began   bool         // the loop has taken it, and resp is not this response any more
	wrote   bool         // the write() form was used
	flushed bool         // the head is to be sent, whether there is content or not
	size    int64        // of the content, if the body says; else -1
	late    []byte       // trailer fields that came when the head was on its way
	interim []byte       // interim responses that the loop has not taken
	out     bytes.Buffer // content that the loop has not taken
	taken   bytes.Buffer // what it took last
	rest    gateway.Body // the loop may pull it itself
	err     error        // how the worker ended; nil in order
	hijack  hijack

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
	j.remote, j.local = j.x.conn.ends()
	j.over, j.left, j.wakes, j.asked = nil, false, false, false
	j.inEnd, j.expect, j.stopped = io.EOF, false, false
	j.resp.account, j.broken = account{}, false
	j.began, j.wrote, j.flushed, j.size, j.rest, j.err = false, false, false, -1, nil, nil
	j.awaited, j.news = false, false
}

// adopt begins j for a call that is under way on the loop, with the response as far as
// it is.
func (j *job) adopt() {
	x := j.x
	j.begin()
	x.began = x.h.now
	j.err = x.resp.err
	j.wakes = x.waker != nil
	j.awaited = true
	if j.began = x.resp.sent; !j.began {
		j.resp, x.resp = x.resp, j.resp
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
	j.late, j.interim, j.hijack = nil, nil, hijack{}
	for _, b := range []*bytes.Buffer{&j.in, &j.out, &j.taken} {
		if b.Reset(); b.Cap() > keepBytesMax {
			*b = bytes.Buffer{}
		}
	}
}

// The worker's side.

// The job is the Environ's gateway.Conn, since only the loop may ask the real one.

// RemoteAddr is the peer's address.
func (j *job) RemoteAddr() netip.AddrPort { return j.remote }

// LocalAddr is the address that the peer connected to.
func (j *job) LocalAddr() netip.AddrPort { return j.local }

// Waker is gateway.Waker: the worker waits, and the loop knows nothing of it.
func (j *job) Waker() (wake func()) {
	j.wakes = true
	return j.nudge
}

func (j *job) nudge() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.nudged = true
	j.cond.Broadcast()
}

// run is the work.
func (j *job) run() {
	j.work(func() (gateway.Body, error) {
		if j.ended(false) { // while it was queued
			return nil, errOver
		}
		return j.respond(j.serve())
	})
}

// goOn is the rest of run for a call that was taken from its loop, on the goroutine of
// that call, which ends with it.
func (j *job) goOn(rest func() (gateway.Body, error)) {
	defer j.x.h.s.crew.next()
	j.work(rest)
	runtime.Goexit()
}

// work does f, whose Body the loop may pull, and leaves.
//
//go:noinline
func (j *job) work(f func() (gateway.Body, error)) { // stack looks for it by this name
	var rest gateway.Body
	err := errGoexit // unless f returns
	defer func() {
		if j.hijack.conn != nil {
			j.x.h.s.crew.back()
		}
		j.leave(rest, err)
	}()
	rest, err = f()
	runtime.KeepAlive(j) // in the trace
}

// respond brings what the application has returned, or leaves it to the loop.
func (j *job) respond(body gateway.Body, failure error) (rest gateway.Body, err error) {
	if j.hijack.conn != nil { // what it has returned is of no interest
		if body != nil {
			j.close(body)
		}
		return nil, nil
	}
	if failure == nil && (body == nil || isReady(body)) {
		return body, nil
	}
	if body != nil {
		defer j.close(body)
	}
	if failure == nil {
		failure = j.pull(body)
	}
	return nil, failure
}

// isReady reports whether the loop may pull body: it never waits.
func isReady(body gateway.Body) bool {
	_, ok := body.(gateway.Ready)
	return ok
}

func (j *job) serve() (body gateway.Body, err error) {
	defer j.catch(&err)
	return j.x.h.s.app.Serve(&j.x.env, j.start)
}

// pull brings what body has, until it ends or nobody wants it.
func (j *job) pull(body gateway.Body) (err error) {
	defer j.catch(&err)
	for {
		j.settle()
		b, err := body.Next()
		if more, err := j.bring(body, b, err); !more {
			return err
		}
	}
}

// bring is what comes after Next, which has returned b and err. It reports whether to
// ask again.
func (j *job) bring(body gateway.Body, b []byte, err error) (more bool, failure error) {
	if sized, ok := body.(gateway.Sized); ok && !j.asked { // Next may have called start
		j.takeSize(sized.Len())
	}
	j.asked = true
	if err != nil && err != io.EOF && err != gateway.ErrWait {
		return false, err
	}
	if len(b) > 0 {
		if failure := j.put(b, err == io.EOF); failure != nil {
			return false, failure
		}
	}
	if err == io.EOF {
		return false, nil
	}
	if err == gateway.ErrWait && !j.wakes {
		return false, errNoWaker
	}
	if j.ended(err == gateway.ErrWait) {
		return false, errOver
	}
	return true, nil
}

// takeSize notes the length of the content, unless there is more than the body.
func (j *job) takeSize(size int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.wrote {
		j.size = size
	}
}

// settle forgets wakes that came before Next looks.
func (j *job) settle() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.nudged = false
}

// ended reports whether nobody wants more. Where Next waits for a wake it waits, too.
func (j *job) ended(waits bool) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for waits && !j.nudged && j.over == nil {
		j.cond.Wait()
	}
	return j.over != nil
}

func (j *job) close(body gateway.Body) {
	var err error
	defer func() {
		if err != nil && err != errPanic {
			j.log(slog.LevelWarn, "closing the body of a response failed", slog.Any("error", err))
		}
	}()
	defer j.catch(&err)
	err = body.Close()
}

// catch makes a panic an error, and a line of the log.
func (j *job) catch(err *error) {
	if p := recover(); p != nil {
		if *err = abortOf(p); *err != nil {
			return
		}
		j.log(slog.LevelError, panicked, slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		*err = errPanic
	}
}

func (j *job) log(level slog.Level, msg string, attrs ...slog.Attr) {
	method, target := j.x.env.RequestLine()
	j.x.h.c.logRequest(level, msg, strings.Clone(method), strings.Clone(target), j.remote, attrs...)
}

// startResponse is gateway.StartResponse for the worker.
func (j *job) startResponse(status string, headers []gateway.Header, exc error) (io.Writer, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := &j.resp
	switch {
	case j.over != nil || j.left:
		return nil, told(j.over)
	case j.began && exc == nil:
		j.fails(errStartTwice)
		return nil, errStartTwice
	case j.began || j.flushed || j.out.Len() > 0:
		if exc == nil {
			exc = errStartTwice
		}
		j.fails(exc)
		return nil, exc
	}
	if err := r.declare(status, headers, exc); err != nil {
		j.fails(err)
		return nil, err
	}
	return (*jobWriter)(j), nil
}

// fails makes err stick.
func (j *job) fails(err error) {
	if j.err == nil {
		j.err = err
	}
}

// put brings a chunk, when there is room. It returns why there will be none. The loop
// hears of the last chunk when the worker leaves: so it knows that it is the last.
func (j *job) put(b []byte, last bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.over == nil && j.err == nil && !j.writeBy.passed && j.out.Len() >= j.x.h.c.loop.HighWaterBytes {
		j.cond.Wait()
	}
	switch {
	case j.over != nil:
		return j.over
	case j.err != nil:
		return j.err
	case j.writeBy.passed:
		j.fails(errWriteTime)
		return j.err
	case !j.began && !j.resp.started:
		return errNotStarted
	}
	if j.out.Write(b); !last {
		j.tell()
	}
	return nil
}

// tell wakes the loop if it waits for that.
func (j *job) tell() {
	if j.news = !j.awaited; !j.news {
		j.awaited = false
		j.waker.wake()
	}
}

// leave is the last that the worker does. The loop pulls what is left of body.
func (j *job) leave(body gateway.Body, err error) {
	j.mu.Lock()
	j.readBy.stop()
	j.writeBy.stop()
	if j.fails(err); j.over == nil {
		j.rest, j.left = body, true
		j.tell()
		j.mu.Unlock()
		return
	}
	j.mu.Unlock()
	if body != nil {
		j.close(body)
	}
	h, x := j.x.h, j.x
	h.loop.Do(func() {
		j.left = true
		h.give(x)
	})
}

// jobWriter is the write() form of a job.
type jobWriter job

// Write brings p before anything of the Body. It waits where the client is slow.
func (w *jobWriter) Write(p []byte) (int, error) {
	j := (*job)(w)
	if len(p) == 0 {
		return 0, nil
	}
	j.mu.Lock()
	j.wrote = true
	j.mu.Unlock()
	if err := j.put(p, false); err != nil {
		return 0, told(err)
	}
	return len(p), nil
}

// Read is the content for gateway.Input.
func (j *job) Read(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.in.Len() == 0 && j.inEnd == nil && j.over == nil && !j.readBy.passed {
		if j.expect {
			j.expect = false
			j.x.h.loop.Do(j.sayContinue)
		}
		j.cond.Wait()
	}
	if j.readBy.passed {
		j.broken = true
		return 0, os.ErrDeadlineExceeded
	}
	if j.in.Len() == 0 {
		return 0, cmp.Or(j.inEnd, j.over)
	}
	n, _ := j.in.Read(p)
	if j.stopped && j.in.Len() <= j.x.h.c.loop.HighWaterBytes/4 {
		j.stopped = false
		j.x.h.loop.Do(j.readOn)
	}
	return n, nil
}

// The loop's side.

// sayContinue asks the client for the content. RFC 9110 section 10.1.1.
func (j *job) sayContinue() {
	if x := j.x; x.c != nil && x.expects && !x.resp.sent {
		x.expects = false
		x.h.out = append(x.h.out, "HTTP/1.1 100 Continue\r\n\r\n"...)
		x.h.flush(x.c)
		x.measure()
	}
}

// readOn goes on with content when the worker has taken what there was.
func (j *job) readOn() {
	if x := j.x; x.c != nil && x.streams {
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
	j.in.Write(b)
	j.expect = false                                                   // it has not waited
	j.stopped = j.stopped || j.in.Len() >= j.x.h.c.loop.HighWaterBytes // it is Read that goes on
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
	if !j.began && (j.flushed || j.out.Len() > 0 || j.left) {
		j.began = true
		j.x.resp, j.resp = j.resp, j.x.resp
		if j.left && j.x.streams {
			j.x.keep = false // nobody reads the rest of the content
		}
		if j.flushed {
			j.x.commit(-1)
		}
	}
	if j.left && j.late != nil {
		j.x.resp.trailer, j.late = append(j.x.resp.trailer, j.late...), nil
	}
	if j.out.Len() > 0 {
		j.taken, j.out = j.out, j.taken
		j.out.Reset()
		j.cond.Broadcast()
	} else {
		j.taken.Reset()
	}
	switch {
	case !j.left && j.taken.Len() == 0:
		j.awaited = true
		return nil, gateway.ErrWait
	case j.left && j.err == nil && j.rest == nil:
		return j.taken.Bytes(), io.EOF
	case j.taken.Len() > 0:
		return j.taken.Bytes(), nil
	case j.err != nil:
		return nil, j.err
	}
	j.x.body, j.rest = j.rest, nil
	return nil, nil // the exchange asks that one
}

// Close says that the response is over.
func (j *job) Close() error {
	j.cancel(errOver)
	j.mu.Lock()
	rest := j.rest
	j.rest = nil
	if j.x.lent {
		j.taken = bytes.Buffer{} // the socket still has it
	}
	j.mu.Unlock()
	if rest != nil {
		return rest.Close()
	}
	return nil
}

// cancel tells a worker that is still at it that nobody waits for it any more.
func (j *job) cancel(why error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.left || j.over != nil {
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
	stack := loop.StackWith(fmt.Sprintf("(*job).work(%p", j))
	for _, call := range []string{"ask", "askNext"} { // that were taken from their loop
		if stack == nil {
			stack = loop.StackWith(fmt.Sprintf("(*exchange).%s(%p", call, j.x))
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
