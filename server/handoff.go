package server

import (
	"cmp"
	"log/slog"
	"runtime"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/thrown"
	"github.com/isbjorn/isbjorn/server/internal/callstate"
)

// The handoff: a loop continues on a new goroutine, while its own is in a call of the application and
// becomes the worker of that request. The monitor does it, or the call itself before it would block. The
// model is handoffp of Go's scheduler.

// retakeLoop gives the loop another goroutine than the one that is in a call for x, if the state of the call
// is still was, and returns what names the request: nil if the state is another. If it fails, for want of
// descriptors, nothing has changed but the log. Caller holds the lock of shard.calls.
func (h *shard) retakeLoop(x *exchange, was callstate.State) (request []any) {
	if !h.calls.HandOff(&x.app.call, was) {
		return nil
	}
	request = x.describe()
	if x.app.job == nil {
		x.app.job = newJob(x)
	}
	x.app.job.attachCall() // before Handoff, whose goroutine uses the job at once
	if x.app.closingBody { // the response is over: the worker only finishes Close
		x.app.job.abandonCause = errAbandoned
	}
	if err := h.loop.Handoff(x.sock, x.in.rest, x.afterRetake); err != nil {
		x.app.job.detachCall()
		h.calls.TakeBack(&x.app.call, was)
		if now := time.Now(); now.Sub(h.stall.retakeFailed) > time.Second {
			h.stall.retakeFailed = now
			h.cfg.log.Error(retakeFailed, append([]any{slog.Any("error", err)}, request...)...)
		}
		return nil
	}
	h.srv.workers.AddRunning()
	h.count(loopHandoffs)
	return request
}

const retakeFailed = "a loop that is held cannot be given another goroutine; raise the limit of open files (ulimit -n, LimitNOFILE)"

// afterRetake is the first that the new goroutine of the loop does. To the loop the request is now a body
// that waits, as with any worker.
func (x *exchange) afterRetake() {
	x.app.run = runHandedOff
	if x.app.closingBody {
		x.afterRetakeInClose()
		return
	}
	x.out.source, x.out.bodyDone = source{kind: workerSource, body: x.app.job}, false
	x.out.blocked = !x.app.job.out.socketFull // behind a full socket the source is asked when there is room
	x.suspend()
	x.session.arm()
}

// afterRetakeInClose is afterRetake where the call is Close: the response is over, and the loop does not wait
// for the worker.
func (x *exchange) afterRetakeInClose() {
	s := x.session
	if s.phase == closed {
		s.afterClosed()
		return
	}
	x.finishRequest()
	s.afterResume()
	s.arm()
}

// handOff is retakeLoop on the goroutine of the call, before it waits for its client. It says nothing about
// other requests, so they stay on the loop. It reports false if the loop cannot be handed off, or if the
// state was another. Caller holds the lock of shard.calls.
func (x *exchange) handOff(was callstate.State) bool {
	return x.app.call.CanHandOff && x.sh.retakeLoop(x, was) != nil
}

// handOffInServer is handOff for the server's own code, behind enter, which has returned was.
func (x *exchange) handOffInServer(was callstate.State) bool {
	if was == callstate.None {
		return false
	}
	x.sh.calls.Lock()
	defer x.sh.calls.Unlock()
	return x.handOff(callstate.InServer)
}

// requireJob returns the job of an application that needs a worker, as for Hijack. If the application runs
// on the loop, the loop is handed off first; nil if it cannot be. A goroutine that the application has
// started may call it too: it waits while the goroutine of the loop is in the server's own code.
func (x *exchange) requireJob() *job {
	for try := range requireJobTries {
		if j, again := x.tryJob(); !again {
			return j
		}
		if try < requireJobTries/10 {
			runtime.Gosched()
		} else {
			time.Sleep(requireJobPause)
		}
	}
	return nil
}

// The server's own code takes a system call at most, and on a busy machine some time slices of other
// processes: all tries together take 20 ms.
const (
	requireJobTries = 1000
	requireJobPause = 20 * time.Microsecond
)

// tryJob is one try of requireJob. again says that a later one may succeed.
func (x *exchange) tryJob() (j *job, again bool) {
	x.sh.calls.Lock()
	defer x.sh.calls.Unlock()
	switch state := x.app.call.State(); {
	case state == callstate.HandedOff, (state == callstate.InApp || state == callstate.Observed) && x.handOff(state):
		return x.app.job, false
	}
	return nil, x.app.call.CanHandOff
}

// callApp runs f, which calls the application, on the loop. If the loop was handed off meanwhile, this
// goroutine is the worker of x's job: it calls rest with why f has not returned, nil if it has, and ends
// without returning here. If not, a panic ends in session.guard, and Goexit in shard.Exited.
func (x *exchange) callApp(f func(), rest func(failure error) (gateway.Body, error)) {
	ended := false
	defer func() {
		if !ended && x.sh.calls.ExitApp(&x.app.call) {
			failure := x.app.job.panicError(thrown.Value(recover()))
			x.app.job.continueOnWorker(func() (gateway.Body, error) { return rest(failure) })
		}
	}()
	x.sh.calls.EnterApp(&x.app.call)
	f()
	ended = true
	if x.sh.calls.ExitApp(&x.app.call) {
		x.app.job.continueOnWorker(func() (gateway.Body, error) { return rest(nil) })
	}
}

// callServe calls the application. It is callApp written out, since every request would pay for the
// closures.
func (x *exchange) callServe() (body gateway.Body, err error) {
	ended := false
	defer func() {
		if !ended && x.sh.calls.ExitApp(&x.app.call) {
			failure := x.app.job.panicError(thrown.Value(recover()))
			x.app.job.continueOnWorker(func() (gateway.Body, error) { return x.app.job.deliverResponse(nil, failure) })
		}
	}()
	x.sh.calls.EnterApp(&x.app.call)
	body, err = x.sh.srv.app.Serve(&x.app.env.Environ, x.start)
	ended = true
	if x.sh.calls.ExitApp(&x.app.call) {
		x.app.job.continueOnWorker(func() (gateway.Body, error) { return x.app.job.deliverResponse(body, err) })
	}
	return body, err
}

// nextChunk returns the next chunk of the body.
func (x *exchange) nextChunk() (b []byte, err error) {
	body := x.out.source.body
	if x.out.source.kind != appSource {
		return body.Next()
	}
	x.callApp(func() { b, err = body.Next() }, func(failure error) (gateway.Body, error) {
		return x.app.job.continueBody(body, b, cmp.Or(failure, err))
	})
	return b, err
}

// bodyFile returns the file that the body is, or wraps; nil if there is none.
func (x *exchange) bodyFile() (file *gateway.FileBody) {
	body := x.out.source.body
	// Only a Wrapper of the application is code that may block.
	if _, wraps := body.(gateway.Wrapper); !wraps || x.out.source.kind != appSource {
		return gateway.FileOf(body)
	}
	x.callApp(func() { file = gateway.FileOf(body) }, func(failure error) (gateway.Body, error) {
		return x.app.job.deliverResponse(body, failure)
	})
	return file
}

// bodyLength returns the length that the body declares, -1 if it declares none. b and err are what Next has
// returned, nil if it was not called yet: if the loop is handed off, the worker continues with them.
func (x *exchange) bodyLength(b []byte, err error) (n int64) {
	body := x.out.source.body
	sized, ok := body.(gateway.Sized)
	switch {
	case !ok:
		return -1
	case x.out.source.kind != appSource:
		return sized.Len()
	}
	x.callApp(func() { n = sized.Len() }, func(failure error) (gateway.Body, error) {
		return x.app.job.continueBody(body, b, cmp.Or(failure, err))
	})
	return n
}

// continueBody delivers the rest of a body, as a worker, behind a call of Next. Next has returned b and err,
// or has panicked or ended its goroutine, which err says.
func (j *job) continueBody(body gateway.Body, b []byte, err error) (_ gateway.Body, failure error) {
	defer j.close(body)
	failure = errGoexit
	defer j.catch(&failure)
	more, failure := j.deliver(body, b, err)
	if more {
		failure = j.pull(body)
	}
	return nil, failure
}

// closeBody closes the body of a response that is over, if it has one. Where the loop is handed off in that
// call, it continues behind the response (afterRetakeInClose).
func (x *exchange) closeBody() {
	x.noteFileSent()
	kind, body := x.out.source.kind, x.out.source.body
	x.out.source = source{} // first: the body is closed once, also if that panics
	switch kind {
	case noSource:
		return
	case readySource, workerSource:
		x.noteClosed(body.Close())
		return
	}
	x.app.closingBody = true
	var err error
	x.callApp(func() { err = body.Close() }, func(failure error) (gateway.Body, error) {
		x.app.job.noteClosed(cmp.Or(failure, err))
		return nil, nil
	})
	x.noteClosed(err)
}

const closeFailed = "closing the body of a response failed"

const panicked = "the application panicked"
