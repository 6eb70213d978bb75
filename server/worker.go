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

// This is the worker's side of a job: what runs on the worker's goroutine, or on the one
// that was taken from its loop.
//
// The job is the Environ's gateway.Conn, since only the loop may ask the real one.

// RemoteAddr is the peer's address.
func (j *job) RemoteAddr() netip.AddrPort { return j.remote }

// LocalAddr is the address that the peer connected to.
func (j *job) LocalAddr() netip.AddrPort { return j.local }

// run is the work.
func (j *job) run() {
	j.work(func() (gateway.Body, error) {
		if j.abandoned(false) { // while it was queued
			return nil, errAbandoned
		}
		return j.deliverResponse(j.serve())
	})
}

// continueOnWorker is the rest of run for a call that was taken from its loop, on the goroutine
// of that call. It never returns: its callers are frames of the loop, which another goroutine
// runs now (loop.Loop.Handoff). Goexit runs their deferred functions and leaves them.
func (j *job) continueOnWorker(rest func() (gateway.Body, error)) {
	defer j.x.sh.srv.workers.Release()
	j.work(rest)
	runtime.Goexit()
}

// work does f, whose Body the loop may pull, and leaves.
//
//go:noinline
func (j *job) work(f func() (gateway.Body, error)) { // stack looks for it by this name
	var rest gateway.Body
	err := errGoexit // unless f returns
	defer func() { j.exit(rest, err) }()
	rest, err = f()
	runtime.KeepAlive(j) // in the trace
}

// respond brings what the application has returned, or leaves it to the loop.
func (j *job) deliverResponse(body gateway.Body, failure error) (rest gateway.Body, err error) {
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
	if thrown.Is(failure, gateway.ErrAbort) {
		j.noteAborted()
	}
	return nil, failure
}

// sendsNothing is sendsInstead for a response that the application aborts.
func (j *job) noteAborted() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.headTaken && !j.flushed && j.out.Len() == 0 {
		j.x.out.replacedStatus.CompareAndSwap(0, gateway.StatusNoResponse)
	}
}

// isReady reports whether the loop may pull body: it never waits.
func isReady(body gateway.Body) bool {
	_, ok := body.(gateway.Ready)
	return ok
}

func (j *job) serve() (body gateway.Body, err error) {
	err = errGoexit
	defer j.catch(&err)
	return j.x.sh.srv.app.Serve(&j.x.app.env.Environ, j.start)
}

// pull brings what body has, until it ends or nobody wants it. Of a response that has no
// content it asks nothing, as soon as it knows: that may be only after the first Next,
// which may call start.
func (j *job) pull(body gateway.Body) (err error) {
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

// bring is what comes after Next, which has returned b and err. It reports whether to
// ask again.
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

// takeSize notes the length of the content, unless there is more than the body.
func (j *job) setSize(size int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.usedWrite {
		j.size = size
	}
}

// passesOver reports whether nothing of body is sent: start has failed, or the response has
// no content. Then the head says of the length
// of body what it says in the answer to a GET.
func (j *job) skipsBody(body gateway.Body) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil { // of start: what the body has is not sent
		return true
	}
	if !j.contentless {
		return false
	}
	if sized, ok := body.(gateway.Sized); ok && !j.usedWrite {
		j.size = sized.Len()
	} else {
		j.flushed = true
	}
	return true
}

// settle forgets wakes that came before Next looks.
func (j *job) clearWake() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.woken = false
}

// ended reports whether nobody wants more. Where Next waits for a wake it waits, too.
func (j *job) abandoned(waits bool) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for waits && !j.woken && j.abandonCause == nil {
		j.cond.Wait()
	}
	return j.abandonCause != nil
}

// close closes the body of a response, of which nothing more is sent, as on the loop.
func (j *job) close(body gateway.Body) {
	j.mu.Lock()
	j.closingBody = true
	j.mu.Unlock()
	err := errGoexit
	defer func() { j.noteClosed(err) }()
	defer j.catch(&err)
	err = body.Close()
}

// closed takes note of how a body was closed, as fail does on the loop.
func (j *job) noteClosed(err error) {
	if err == errPanic || err == errGoexit {
		j.x.sh.count(failed)
	}
	if err != nil && err != errPanic { // which has its line already
		j.log(slog.LevelWarn, closeFailed, slog.Any("error", err))
	}
}

// catch makes a panic an error, and a line of the log. Its caller has set err to errGoexit,
// which a call that returns replaces.
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

// threw is the error of a call that has panicked with p, which is a line of the log, or has
// ended its goroutine. The deferred function that has recovered p calls it.
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
	r := &j.resp
	switch {
	case j.closedToApp():
		return nil, writerError(j.abandonCause)
	case j.headTaken && exc == nil:
		j.setErr(respond.ErrStartTwice)
		return nil, respond.ErrStartTwice
	case j.headTaken || j.flushed || j.out.Len() > 0:
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
	j.contentless = j.x.contentless(r.Code())
	j.owed = r.Room()
	return (*jobWriter)(j), nil
}

// gone reports whether nothing that the application does comes to the client any more. What
// it has kept from a request that is over finds that it has left, until the next begins. With mu.
func (j *job) closedToApp() bool { return j.abandonCause != nil || j.exited || j.closingBody }

// fails makes err stick.
func (j *job) setErr(err error) {
	if j.err == nil {
		j.err = err
	}
}

// put brings a chunk, piece by piece as there is room: no more than HighWaterBytes wait,
// those that the loop has taken and the socket has not among them. It returns how much it
// has brought, and why there will be no room for the rest. With later the loop does not hear
// of the end of it now: of the last chunk it hears when the worker leaves, and so knows that
// it is the last.
func (j *job) write(b []byte, later bool) (n int, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	most := j.x.sh.cfg.loop.HighWaterBytes
	for {
		for j.abandonCause == nil && j.err == nil && !j.writeDeadline.passed && j.unsent() >= most {
			j.cond.Wait()
		}
		switch {
		case j.abandonCause != nil:
			return n, j.abandonCause
		case j.closedToApp():
			return n, errAbandoned
		case j.err != nil:
			return n, j.err
		case j.writeDeadline.passed:
			j.setErr(errWriteTime)
			return n, j.err
		case !j.headTaken && !j.resp.Started:
			return n, errNotStarted
		case j.contentless: // it is dropped, but the head goes out, as on the loop
			j.flushed = true
			j.wakeLoop()
			return len(b), nil
		}
		// One half of a large chunk can be on its way while the other is copied.
		piece := b[n:min(len(b), n+max(most/2, 1), n+most-j.unsent())]
		j.out.Add(piece, most)
		if j.owed >= 0 {
			j.owed = max(j.owed-int64(len(piece)), 0)
		}
		if n += len(piece); n < len(b) || !later {
			j.wakeLoop()
		}
		if n == len(b) {
			return n, nil
		}
	}
}

// waiting is how much content was brought and is not sent. With mu.
func (j *job) unsent() int {
	if j.socketFull { // by what was written before the loop was taken: it asks when there is room
		return j.x.sh.cfg.loop.HighWaterBytes
	}
	return j.out.Len() + j.inFlight.Len()
}

// tell wakes the loop if it waits for that.
func (j *job) wakeLoop() {
	if j.pendingWake = !j.loopWaiting; !j.pendingWake {
		j.loopWaiting = false
		j.waker.wake()
	}
}

// leave is the last that the worker does. The loop pulls what is left of body.
func (j *job) exit(body gateway.Body, err error) {
	j.mu.Lock()
	j.readDeadline.stop()
	j.writeDeadline.stop()
	switch {
	case j.hijack.conn != nil:
		j.x.sh.srv.workers.HijackEnded()
	case j.hijack.requested: // by a goroutine that the application has left behind
		j.hijack = hijack{err: net.ErrClosed}
		j.cond.Broadcast()
	}
	if j.setErr(err); j.abandonCause == nil {
		j.body, j.exited = body, true
		j.wakeLoop()
		j.mu.Unlock()
		return
	}
	j.mu.Unlock()
	if body != nil {
		j.close(body)
	}
	h, x := j.x.sh, j.x
	x.in.content.Release() // here: a loop that has stopped brings nothing back
	h.loop.Do(func() {
		j.exited = true
		h.release(x)
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
	fits, gathers, err := j.beginWrite(len(p))
	if err != nil {
		return 0, err
	}
	n, err := j.write(p[:fits], gathers)
	if err != nil {
		return n, writerError(err)
	}
	if gathers {
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

// beginWrite says how many of n bytes fit in the declared Content-Length, and whether they
// may wait.
func (j *job) beginWrite(n int) (fits int, gathers bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.headTaken && !j.resp.Started { // kept from a request before, or start has failed
		return 0, false, cmp.Or(j.err, writerError(j.abandonCause))
	}
	j.usedWrite = true
	if j.owed >= 0 && !j.contentless {
		n = int(min(int64(n), j.owed))
	}
	return n, j.gathers, nil
}

// Read is the content for gateway.Input.
func (j *job) Read(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.in.Len() == 0 && j.inEnd == nil && j.abandonCause == nil && !j.readDeadline.passed {
		if j.expect100 {
			j.expect100 = false
			j.taskNumber = j.number
			j.x.sh.loop.Do(j.sayContinue)
		}
		j.cond.Wait()
	}
	if j.readDeadline.passed {
		j.readBroken = true
		return 0, os.ErrDeadlineExceeded
	}
	if j.in.Len() == 0 {
		return 0, cmp.Or(j.inEnd, j.abandonCause)
	}
	n := j.in.Read(p)
	if j.inputPaused && j.in.Len() <= j.x.sh.cfg.loop.HighWaterBytes/4 {
		j.inputPaused = false
		j.taskNumber = j.number
		j.x.sh.loop.Do(j.readOn)
	}
	return n, nil
}
