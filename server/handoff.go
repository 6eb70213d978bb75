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

// The rescue: a loop is taken from a call of the application, and the goroutine that is
// in the call becomes a worker. The monitor does it, or the call itself before it waits.

// takeLoop gives the loop another goroutine than the one that is in a call for x, if its
// state is still was, and says of which request: nil if the state is another. If it fails,
// for want of descriptors, nothing has changed but the log. With the lock of shard.calls.
func (h *shard) retakeLoop(x *exchange, was callstate.State) (request []any) {
	if !h.calls.HandOff(&x.app.call, was) {
		return nil
	}
	request = x.describe()
	if x.app.job == nil {
		x.app.job = newJob(x)
	}
	x.app.job.attachCall()
	if x.app.closingBody {
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

// taken goes on with the loop where a call of the application was, on its new
// goroutine.
func (x *exchange) afterRetake() {
	if x.app.closingBody {
		x.afterRetakeInClose()
		return
	}
	x.out.source.body, x.out.source.nonBlocking, x.out.blocked, x.out.bodyDone = x.app.job, true, !x.app.job.socketFull, false // one that the socket is full for waits to be asked
	x.suspend()
	x.sh.arm(x.sock, x.session)
}

// handOff is takeLoop before the call itself waits for something: for its client, which
// says nothing of other requests, so they stay on the loop. It reports false if that
// cannot be, or the state was another. Caller holds the lock of shard.calls.
func (x *exchange) handOff(was callstate.State) bool {
	return x.app.call.CanHandOff && x.sh.retakeLoop(x, was) != nil
}

// leaveLoop is handOff for the server's own code, after surface.
func (x *exchange) handOffInServer(was callstate.State) bool {
	if was == callstate.None {
		return false
	}
	x.sh.calls.Lock()
	defer x.sh.calls.Unlock()
	return x.handOff(callstate.InServer)
}

// asJob is the job of an application that is to go on as a worker, if it is not one
// already; nil if it cannot. Other goroutines of the application may call it, too: they
// wait until that of the loop is not in the server's own code.
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

// The server's own code takes a system call at most, so these are 20 ms in the end.
const (
	requireJobTries = 1000
	requireJobPause = 20 * time.Microsecond
)

func (x *exchange) tryJob() (j *job, again bool) {
	x.sh.calls.Lock()
	defer x.sh.calls.Unlock()
	switch state := x.app.call.State(); {
	case state == callstate.HandedOff, (state == callstate.InApp || state == callstate.Observed) && x.handOff(state):
		return x.app.job, false
	}
	return nil, x.app.call.CanHandOff
}

// call runs f, which calls the application, on the loop. Where the loop is taken meanwhile
// this goroutine is the worker of x's job: it goes on with rest, which is told why f has
// not returned, nil if it has, and ends. Else a panic goes on to guard, and Goexit to
// Exited.
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

// ask calls the application. It is call written out: each request comes here, and would pay
// for the functions.
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

// next asks the body for its next chunk.
func (x *exchange) nextChunk() (b []byte, err error) {
	body := x.out.source.body
	if x.out.source.nonBlocking {
		return body.Next()
	}
	x.callApp(func() { b, err = body.Next() }, func(failure error) (gateway.Body, error) {
		return x.app.job.continueBody(body, b, cmp.Or(failure, err))
	})
	return b, err
}

// fileOf is the file that the body is, or stands for; nil if it is none.
func (x *exchange) bodyFile() (file *gateway.FileBody) {
	body := x.out.source.body
	if _, wraps := body.(gateway.Wrapper); !wraps || x.out.source.nonBlocking {
		return gateway.FileOf(body)
	}
	x.callApp(func() { file = gateway.FileOf(body) }, func(failure error) (gateway.Body, error) {
		return x.app.job.deliverResponse(body, failure)
	})
	return file
}

// sized is the length that the body says, where Next has returned b and err, or was not
// called yet; -1 if it says none.
func (x *exchange) bodyLength(b []byte, err error) (n int64) {
	body := x.out.source.body
	sized, ok := body.(gateway.Sized)
	switch {
	case !ok:
		return -1
	case x.out.source.nonBlocking:
		return sized.Len()
	}
	x.callApp(func() { n = sized.Len() }, func(failure error) (gateway.Body, error) {
		return x.app.job.continueBody(body, b, cmp.Or(failure, err))
	})
	return n
}

// after goes on as a worker behind a call of Next, which has returned b and err, or has
// not returned for err.
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

// shut closes the body of a response that is over, if it has one. Where the loop is taken
// from that call nothing waits for it: the loop goes on behind the response (tookLeave).
func (x *exchange) closeBody() {
	body := x.out.source.body
	if body == nil {
		return
	}
	x.noteFileSent()
	x.out.source.body = nil // closed once, also if that panics
	if x.out.source.nonBlocking {
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

// tookLeave is taken for a call of Close.
func (x *exchange) afterRetakeInClose() {
	h, c, cn := x.sh, x.sock, x.session
	if cn.phase == closed {
		h.releaseClosed(cn)
		return
	}
	x.finishRequest()
	h.flush(c)
	if cn.phase == readingHead || cn.phase == skipping {
		c.Resume()
	}
	h.arm(c, cn)
}

const closeFailed = "closing the body of a response failed"

const panicked = "the application panicked"
