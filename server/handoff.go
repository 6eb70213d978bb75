package server

import (
	"log/slog"
	"runtime"
	"time"

	"github.com/isbjorn/isbjorn/server/internal/callstate"
)

// The handoff: a loop continues on a new goroutine, while its own is in a call of the application and
// becomes the worker of that request. The monitor does it, or the call itself before it would block. The
// model is handoffp of Go's scheduler.

// retakeLoop gives the loop another goroutine than the one that is in a call for x, if the state of the call
// is still was, and returns what names the request: nil if the state is another. If it fails, for want of
// descriptors, nothing has changed but the log. Caller holds the lock of shard.calls.
func (sh *shard) retakeLoop(x *exchange, was callstate.State) (request []any) {
	if !sh.calls.HandOff(&x.app.call, was) {
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
	if err := sh.loop.Handoff(x.sock, x.in.rest, x.afterRetake); err != nil {
		x.app.job.detachCall()
		sh.calls.TakeBack(&x.app.call, was)
		if now := time.Now(); now.Sub(sh.stall.retakeFailed) > time.Second {
			sh.stall.retakeFailed = now
			sh.cfg.log.Error(retakeFailed, append([]any{slog.Any("error", err)}, request...)...)
		}
		return nil
	}
	sh.srv.workers.AddRunning()
	sh.count(loopHandoffs)
	return request
}

const retakeFailed = "a loop that is blocked cannot be given another goroutine; raise the limit of open files (ulimit -n, LimitNOFILE)"

// afterRetake is the first that the new goroutine of the loop does. To the loop the request is now a body
// that waits, as with any worker.
func (x *exchange) afterRetake() {
	x.app.run = runHandedOff
	if x.app.closingBody {
		x.afterRetakeInClose()
		return
	}
	x.out.source, x.out.bodyDone = source{kind: workerSource, body: x.app.job}, false
	x.out.awaitsWake = !x.app.job.out.socketFull // behind a full socket the source is asked when there is room
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

// handOff is retakeLoop by the application itself, before it waits for its client: in a write, or where only a
// worker can do what it asks for (Hijack, deadlines). Other requests stay on the loop. It reports false if the
// loop cannot be handed off, or if the state was another. Caller holds the lock of shard.calls.
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
