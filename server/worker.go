package server

import (
	"cmp"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/thrown"
	"github.com/isbjorn/isbjorn/server/internal/respond"
)

// The worker's side of a job: what runs on the goroutine of a worker, or of a call that was handed off. The
// job implements gateway.Conn for the environ, since only the loop may use the connection.

// RemoteAddr is the peer's address.
func (j *job) RemoteAddr() netip.AddrPort { return j.remote }

// LocalAddr is the address that the peer connected to.
func (j *job) LocalAddr() netip.AddrPort { return j.local }

// Key and Keys are those of the exchange.
func (j *job) Key(key string) any { return j.x.Key(key) }

func (j *job) Keys() []string { return nil }

// run serves the request. The pool calls it.
func (j *job) run() {
	j.work(func() (gateway.Body, error) {
		if j.abandoned(false) { // while it was queued
			return nil, errAbandoned
		}
		return j.deliverResponse(j.serve())
	})
}

// continueOnWorker is the rest of run for a call whose loop was handed off, on the goroutine of the call. It
// never returns: its callers are frames of the loop, which another goroutine runs now (loop.Loop.Handoff).
// Goexit runs their deferred functions and ends the goroutine.
func (j *job) continueOnWorker(rest func() (gateway.Body, error)) {
	defer j.x.sh.srv.workers.Release()
	j.work(rest)
	runtime.Goexit()
}

// work calls f and exits, with the Body that f returns for the loop to pull.
//
//go:noinline
func (j *job) work(f func() (gateway.Body, error)) { // job.stack looks for this frame
	var rest gateway.Body
	err := errGoexit // unless f returns
	defer func() { j.exit(rest, err) }()
	rest, err = f()
	runtime.KeepAlive(j) // so that the trace has its address
}

// deliverResponse delivers what Serve has returned, or leaves it to the loop where its calls do not block.
func (j *job) deliverResponse(body gateway.Body, failure error) (rest gateway.Body, err error) {
	if j.out.hijack.conn != nil { // the connection is the application's
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
		failure = j.pullBody(body)
	}
	if thrown.Is(failure, gateway.ErrAbort) {
		j.noteAborted()
	}
	return nil, failure
}

// noteAborted is replaceStatus for a response that the application aborts.
func (j *job) noteAborted() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.out.headTaken && !j.out.flushed && j.out.queue.Len() == 0 {
		j.x.out.replacedStatus.CompareAndSwap(0, gateway.StatusNoResponse)
	}
}

// isReady reports whether the loop may pull body: its calls do not block.
func isReady(body gateway.Body) bool {
	_, ok := body.(gateway.Ready)
	return ok
}

func (j *job) serve() (body gateway.Body, err error) {
	err = errGoexit
	defer j.catch(&err)
	return j.x.sh.srv.app.Serve(&j.x.app.env.Environ, j.start)
}

// pullBody delivers what body has, until it ends or the response is abandoned. A body whose response has no
// content is not asked: that may be known only after the first Next, which may call start.
func (j *job) pullBody(body gateway.Body) (err error) {
	err = errGoexit
	defer j.catch(&err)
	for {
		if j.skipsBody(body) {
			return nil
		}
		j.clearWake()
		b, err := body.Next()
		if more, err := j.deliver(body, b, err); !more {
			return err
		}
	}
}

// deliver is what follows a call of Next, which has returned b and err. It reports whether to ask again.
func (j *job) deliver(body gateway.Body, b []byte, err error) (more bool, failure error) {
	if sized, ok := body.(gateway.Sized); ok && !j.pulled { // Next may have called start
		j.setSize(sized.Len())
	} else if !j.pulled && err == io.EOF {
		j.setSize(int64(len(b)))
	}
	j.pulled = true
	if err != nil && err != io.EOF && err != gateway.ErrWait {
		return false, err
	}
	if len(b) > 0 {
		if _, failure := j.write(b, err == io.EOF); failure != nil {
			return false, failure
		}
	}
	if err == io.EOF {
		return false, nil
	}
	if err == gateway.ErrWait && !j.hasWaker {
		return false, errNoWaker
	}
	if j.abandoned(err == gateway.ErrWait) {
		return false, errAbandoned
	}
	return true, nil
}

// continueBody delivers the rest of a body, as a worker, behind a call of Next. Next has returned b and err,
// or has panicked or ended its goroutine, which err says.
func (j *job) continueBody(body gateway.Body, b []byte, err error) (_ gateway.Body, failure error) {
	defer j.close(body)
	failure = errGoexit
	defer j.catch(&failure)
	more, failure := j.deliver(body, b, err)
	if more {
		failure = j.pullBody(body)
	}
	return nil, failure
}

// setSize notes the length of the content, unless write() was used: then there is more than the body.
func (j *job) setSize(size int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.out.usedWrite {
		j.out.size = size
	}
}

// skipsBody reports whether nothing of body is sent: start has failed, or the response has no content. Then
// the head has the length that it has in the answer to a GET.
func (j *job) skipsBody(body gateway.Body) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.out.err != nil { // of start
		return true
	}
	if !j.out.contentless {
		return false
	}
	if sized, ok := body.(gateway.Sized); ok && !j.out.usedWrite {
		j.out.size = sized.Len()
	} else {
		j.out.flushed = true
	}
	return true
}

// clearWake drops an earlier wake. Next is called now, and finds what that wake was for.
func (j *job) clearWake() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.woken = false
}

// abandoned reports whether the response was abandoned. With waits it first waits until the application calls
// its waker, or until the response is abandoned.
func (j *job) abandoned(waits bool) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for waits && !j.woken && j.abandonCause == nil {
		j.cond.Wait()
	}
	return j.abandonCause != nil
}

// close closes the body. Nothing more is sent meanwhile, as on the loop.
func (j *job) close(body gateway.Body) {
	j.mu.Lock()
	j.out.closing = true
	j.mu.Unlock()
	err := errGoexit
	defer func() { j.noteClosed(err) }()
	defer j.catch(&err)
	err = body.Close()
}

// noteClosed counts and logs how a body was closed, as fail does on the loop.
func (j *job) noteClosed(err error) {
	if err == errPanic || err == errGoexit {
		j.x.sh.count(failed)
	}
	if err != nil && err != errPanic { // which has its line already
		j.log(slog.LevelWarn, closeFailed, slog.Any("error", err))
	}
}

// catch makes a panic an error and a line of the log. The caller has set err to errGoexit, which a call that
// returns replaces.
func (j *job) catch(err *error) {
	if *err != errGoexit {
		return
	}
	p := thrown.Value(recover())
	if p == nil {
		return
	}
	*err = j.panicError(p)
}

// panicError is the error of a call that has panicked with p, which it logs, or that has ended its goroutine
// (nil). The deferred function that has recovered p calls it.
func (j *job) panicError(p any) error {
	if p == nil {
		return errGoexit
	}
	if err := abortOf(p); err != nil {
		return err
	}
	j.log(slog.LevelError, panicked, slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
	return errPanic
}

func (j *job) log(level slog.Level, msg string, attrs ...slog.Attr) {
	method, target := j.x.app.env.RequestLine()
	j.x.sh.cfg.logRequest(level, msg, strings.Clone(method), strings.Clone(target), j.remote, attrs...)
}

// startResponse is gateway.StartResponse for the worker.
func (j *job) startResponse(status string, headers []gateway.Header, exc error) (io.Writer, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := &j.out.resp
	switch {
	case j.closedToApp():
		return nil, writerError(j.abandonCause)
	case j.out.headTaken && exc == nil:
		j.setErr(respond.ErrStartTwice)
		return nil, respond.ErrStartTwice
	// The loop may have sent the head, or is about to: PEP 3333 has start raise exc then.
	case j.out.headTaken || j.out.flushed || j.out.queue.Len() > 0:
		if exc == nil {
			exc = respond.ErrStartTwice
		}
		j.setErr(exc)
		return nil, exc
	}
	if err := r.Declare(status, headers, exc); err != nil {
		j.setErr(err)
		return nil, err
	}
	j.out.contentless = j.x.contentless(r.Code())
	j.out.owed = r.Room()
	return (*jobWriter)(j), nil
}

// closedToApp reports whether nothing that the application does reaches the client any more. What it has kept
// of a request that is over finds exited set, until the next request begins. Caller holds mu.
func (j *job) closedToApp() bool { return j.abandonCause != nil || j.exited || j.out.closing }

// setErr keeps the first error. Caller holds mu.
func (j *job) setErr(err error) {
	if j.out.err == nil {
		j.out.err = err
	}
}

// write queues a chunk, piece by piece as there is room: no more than HighWaterBytes are unsent, including
// those that the loop has taken. It returns how much it has queued, and why there will be no room for the
// rest. With later the loop is not woken for the end of the chunk: for the last chunk it is woken when the
// worker exits, and so knows that it is the last.
func (j *job) write(b []byte, later bool) (n int, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	most := j.x.sh.cfg.loop.HighWaterBytes
	for {
		for j.abandonCause == nil && j.out.err == nil && !j.out.deadline.passed && j.unsent() >= most {
			j.cond.Wait()
		}
		switch {
		case j.abandonCause != nil:
			return n, j.abandonCause
		case j.closedToApp():
			return n, errAbandoned
		case j.out.err != nil:
			return n, j.out.err
		case j.out.deadline.passed:
			j.setErr(errWriteTime)
			return n, j.out.err
		case !j.out.headTaken && !j.out.resp.Started:
			return n, errNotStarted
		case j.out.contentless: // the chunk is dropped, but the head is sent, as on the loop
			j.out.flushed = true
			j.wakeLoop()
			return len(b), nil
		}
		// The loop sends one half of a large chunk while the other is copied.
		piece := b[n:min(len(b), n+max(most/2, 1), n+most-j.unsent())]
		j.out.queue.Add(piece, most)
		if j.out.owed >= 0 {
			j.out.owed = max(j.out.owed-int64(len(piece)), 0)
		}
		if n += len(piece); n < len(b) || !later {
			j.wakeLoop()
		}
		if n == len(b) {
			return n, nil
		}
	}
}

// unsent is how much content was queued and is not sent. Caller holds mu.
func (j *job) unsent() int {
	if j.out.socketFull { // by what was written before the handoff: the loop asks when there is room
		return j.x.sh.cfg.loop.HighWaterBytes
	}
	return j.out.queue.Len() + j.out.inFlight.Len()
}

// wakeLoop wakes the loop if it waits for more. Caller holds mu.
func (j *job) wakeLoop() {
	if j.out.pendingWake = !j.out.loopWaiting; !j.out.pendingWake {
		j.out.loopWaiting = false
		j.waker.wake()
	}
}

// exit is the last that the worker does. The loop pulls the rest of body.
func (j *job) exit(body gateway.Body, err error) {
	j.mu.Lock()
	j.in.deadline.stop()
	j.out.deadline.stop()
	switch {
	case j.out.hijack.conn != nil:
		j.x.sh.srv.workers.HijackEnded()
	case j.out.hijack.requested: // by a goroutine that the application has started
		j.out.hijack = hijack{err: net.ErrClosed}
		j.cond.Broadcast()
	}
	if j.setErr(err); j.abandonCause == nil {
		j.out.body, j.exited = body, true
		j.wakeLoop()
		j.mu.Unlock()
		return
	}
	j.mu.Unlock()
	if body != nil {
		j.close(body)
	}
	sh, x := j.x.sh, j.x
	x.in.content.Release() // here: a loop that has stopped runs no task
	sh.loop.Do(func() {
		j.exited = true
		sh.release(x)
	})
}

// jobWriter is the write() form of a job.
type jobWriter job

// Write queues p before anything of the Body. It waits while the client is slow.
func (w *jobWriter) Write(p []byte) (int, error) {
	j := (*job)(w)
	if len(p) == 0 {
		return 0, nil
	}
	fits, gathers, err := j.beginWrite(len(p))
	if err != nil {
		return 0, err
	}
	n, err := j.write(p[:fits], gathers)
	if err != nil {
		return n, writerError(err)
	}
	if gathers { // write has not woken the loop for the end of p: it is woken for gatherBytes
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.takeable() > 0 {
			j.wakeLoop()
		}
	}
	if n < len(p) {
		return n, respond.ErrTooLong
	}
	return n, nil
}

// beginWrite returns how many of n bytes fit in the declared Content-Length, and whether they may be
// gathered.
func (j *job) beginWrite(n int) (fits int, gathers bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.out.headTaken && !j.out.resp.Started { // the writer is of an earlier request, or start has failed
		return 0, false, cmp.Or(j.out.err, writerError(j.abandonCause))
	}
	j.out.usedWrite = true
	if j.out.owed >= 0 && !j.out.contentless {
		n = int(min(int64(n), j.out.owed))
	}
	return n, j.out.gathers, nil
}

// Read is the content for gateway.Input.
func (j *job) Read(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.in.queue.Len() == 0 && j.in.end == nil && j.abandonCause == nil && !j.in.deadline.passed {
		if j.in.expect100 { // the client waits for 100 Continue before it sends content
			j.in.expect100 = false
			if !j.out.flushed { // else the head is on its way, and the client sends or not as that says
				j.taskNumber = j.number
				j.x.sh.loop.Do(j.sayContinue)
			}
		}
		j.cond.Wait()
	}
	if j.in.deadline.passed {
		j.in.broken = true
		return 0, os.ErrDeadlineExceeded
	}
	if j.in.queue.Len() == 0 {
		return 0, cmp.Or(j.in.end, j.abandonCause)
	}
	n := j.in.queue.Read(p)
	// At a quarter, so that the loop reads again before the worker has to wait, and not for every few bytes.
	if j.in.paused && j.in.queue.Len() <= j.x.sh.cfg.loop.HighWaterBytes/4 {
		j.in.paused = false
		j.taskNumber = j.number
		j.x.sh.loop.Do(j.readOn)
	}
	return n, nil
}
