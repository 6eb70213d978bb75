package server

import (
	"log/slog"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/thrown"
)

// The rescue: a loop is taken from a call of the application, and the goroutine that is
// in the call becomes a worker. The watchman does it, or the call itself before it waits.

// takeLoop gives the loop another goroutine than the one that is in a call for x, if its
// state is still was, and says of which request: nil if the state is another. If it fails,
// for want of descriptors, nothing has changed but the log. With hold.mu.
func (h *handler) takeLoop(x *exchange, was uint32) (request []any) {
	if !x.asks.state.CompareAndSwap(was, away) {
		return nil
	}
	request = x.named()
	if x.job == nil {
		x.job = newJob(x)
	}
	x.job.adopt()
	if err := h.loop.TakeOver(x.c, x.unused, x.taken); err != nil {
		x.job.disown()
		x.asks.state.Store(was)
		if now := time.Now(); now.Sub(h.hold.failed) > time.Second {
			h.hold.failed = now
			h.c.log.Error(takeFailed, append([]any{slog.Any("error", err)}, request...)...)
		}
		return nil
	}
	h.s.crew.adopt()
	h.count(rescued)
	return request
}

const takeFailed = "a loop that is held cannot be given another goroutine; raise the limit of open files (ulimit -n, LimitNOFILE)"

// taken goes on with the loop where a call of the application was, on its new
// goroutine.
func (x *exchange) taken() {
	x.body, x.ready, x.waits = x.job, true, true
	x.hold()
	x.h.arm(x.c, x.conn)
}

// handOff is takeLoop before the call itself waits for something: for its client, which
// says nothing of other requests, so they stay on the loop. It reports false if that
// cannot be, or the state was another. Caller holds hold.mu.
func (x *exchange) handOff(was uint32) bool {
	return x.asks.takeable && x.h.takeLoop(x, was) != nil
}

// leaveLoop is handOff for the server's own code, after surface.
func (x *exchange) leaveLoop(was uint32) bool {
	if was == outside {
		return false
	}
	x.h.hold.mu.Lock()
	defer x.h.hold.mu.Unlock()
	return x.handOff(calling)
}

// asJob is the job of an application that is to go on as a worker, if it is not one
// already; nil if it cannot. Other goroutines of the application may call it, too: they
// wait until that of the loop is not in the server's own code.
func (x *exchange) asJob() *job {
	for try := range asJobTries {
		if j, again := x.tryJob(); !again {
			return j
		}
		if try < asJobTries/10 {
			runtime.Gosched()
		} else {
			time.Sleep(asJobPause)
		}
	}
	return nil
}

// The server's own code takes a system call at most, so these are 20 ms in the end.
const (
	asJobTries = 1000
	asJobPause = 20 * time.Microsecond
)

func (x *exchange) tryJob() (j *job, again bool) {
	x.h.hold.mu.Lock()
	defer x.h.hold.mu.Unlock()
	switch state := x.asks.state.Load(); {
	case state == away, (state == inside || state == suspect) && x.handOff(state):
		return x.job, false
	}
	return nil, x.asks.takeable
}

// ask calls the application. If the loop is taken away meanwhile this goroutine is the
// worker of x's job, and what it has got is the job's.
func (x *exchange) ask() (body gateway.Body, isAway bool, err error) {
	ended := false
	defer func() {
		if !ended {
			isAway, err = x.emerge(nil, thrown.Value(recover()))
		}
	}()
	x.h.hold.enter(&x.asks)
	body, err = x.h.s.app.Serve(&x.env, x.start)
	ended = true
	return body, x.h.hold.exit(&x.asks), err
}

// next asks the body for its next chunk, in the same way.
func (x *exchange) next() ([]byte, error) {
	if x.ready {
		return x.body.Next()
	}
	body := x.body
	b, isAway, err := x.askNext(body)
	if isAway {
		x.job.goOn(func() (_ gateway.Body, failure error) {
			defer x.job.close(body)
			failure = errGoexit
			defer x.job.catch(&failure)
			more, failure := x.job.bring(body, b, err)
			if more {
				failure = x.job.pull(body)
			}
			return nil, failure
		})
	}
	return b, err
}

func (x *exchange) askNext(body gateway.Body) (b []byte, isAway bool, err error) {
	ended := false
	defer func() {
		if !ended {
			isAway, err = x.emerge(body, thrown.Value(recover()))
		}
	}()
	x.h.hold.enter(&x.asks)
	b, err = body.Next()
	ended = true
	return b, x.h.hold.exit(&x.asks), err
}

// emerge ends a call of the application, of body if that is not nil, that has panicked
// with p, or is ending its goroutine.
func (x *exchange) emerge(body gateway.Body, p any) (isAway bool, err error) {
	isAway = x.h.hold.exit(&x.asks)
	if p == nil && isAway {
		defer x.h.s.crew.next()
		x.job.work(func() (gateway.Body, error) {
			if body != nil {
				x.job.close(body)
			}
			return nil, errGoexit
		})
	}
	if p == nil { // the goroutine ends; the loop goes on with another, and comes to Exited
		return isAway, errGoexit
	}
	if err = abortOf(p); err != nil {
		return isAway, err
	}
	attrs := []slog.Attr{slog.Any("panic", p), slog.String("stack", string(debug.Stack()))}
	if isAway {
		x.job.log(slog.LevelError, panicked, attrs...)
	} else {
		x.log(slog.LevelError, panicked, attrs...)
	}
	return isAway, errPanic
}

const panicked = "the application panicked"
