package server

import (
	"cmp"
	"log/slog"
	"runtime"
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
	if x.shuts {
		x.job.over = errOver
	}
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
	if x.shuts {
		x.tookLeave()
		return
	}
	x.body, x.ready, x.waits, x.ended = x.job, true, !x.job.filled, false // one that the socket is full for waits to be asked
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

// call runs f, which calls the application, on the loop. Where the loop is taken meanwhile
// this goroutine is the worker of x's job: it goes on with rest, which is told why f has
// not returned, nil if it has, and ends. Else a panic goes on to guard, and Goexit to
// Exited.
func (x *exchange) call(f func(), rest func(failure error) (gateway.Body, error)) {
	ended := false
	defer func() {
		if !ended && x.h.hold.exit(&x.asks) {
			failure := x.job.threw(thrown.Value(recover()))
			x.job.goOn(func() (gateway.Body, error) { return rest(failure) })
		}
	}()
	x.h.hold.enter(&x.asks)
	f()
	ended = true
	if x.h.hold.exit(&x.asks) {
		x.job.goOn(func() (gateway.Body, error) { return rest(nil) })
	}
}

// ask calls the application. It is call written out: each request comes here, and would pay
// for the functions.
func (x *exchange) ask() (body gateway.Body, err error) {
	ended := false
	defer func() {
		if !ended && x.h.hold.exit(&x.asks) {
			failure := x.job.threw(thrown.Value(recover()))
			x.job.goOn(func() (gateway.Body, error) { return x.job.respond(nil, failure) })
		}
	}()
	x.h.hold.enter(&x.asks)
	body, err = x.h.s.app.Serve(&x.env, x.start)
	ended = true
	if x.h.hold.exit(&x.asks) {
		x.job.goOn(func() (gateway.Body, error) { return x.job.respond(body, err) })
	}
	return body, err
}

// next asks the body for its next chunk.
func (x *exchange) next() (b []byte, err error) {
	body := x.body
	if x.ready {
		return body.Next()
	}
	x.call(func() { b, err = body.Next() }, func(failure error) (gateway.Body, error) {
		return x.job.after(body, b, cmp.Or(failure, err))
	})
	return b, err
}

// fileOf is the file that the body is, or stands for; nil if it is none.
func (x *exchange) fileOf() (file *gateway.FileBody) {
	body := x.body
	if _, wraps := body.(gateway.Wrapper); !wraps || x.ready {
		return gateway.FileOf(body)
	}
	x.call(func() { file = gateway.FileOf(body) }, func(failure error) (gateway.Body, error) {
		return x.job.respond(body, failure)
	})
	return file
}

// sized is the length that the body says, where Next has returned b and err, or was not
// called yet; -1 if it says none.
func (x *exchange) sized(b []byte, err error) (n int64) {
	body := x.body
	sized, ok := body.(gateway.Sized)
	switch {
	case !ok:
		return -1
	case x.ready:
		return sized.Len()
	}
	x.call(func() { n = sized.Len() }, func(failure error) (gateway.Body, error) {
		return x.job.after(body, b, cmp.Or(failure, err))
	})
	return n
}

// after goes on as a worker behind a call of Next, which has returned b and err, or has
// not returned for err.
func (j *job) after(body gateway.Body, b []byte, err error) (_ gateway.Body, failure error) {
	defer j.close(body)
	failure = errGoexit
	defer j.catch(&failure)
	more, failure := j.bring(body, b, err)
	if more {
		failure = j.pull(body)
	}
	return nil, failure
}

// shut closes the body of a response that is over, if it has one. Where the loop is taken
// from that call nothing waits for it: the loop goes on behind the response (tookLeave).
func (x *exchange) shut() {
	body := x.body
	if body == nil {
		return
	}
	x.fileSent()
	x.body = nil // closed once, also if that panics
	if x.ready {
		x.closed(body.Close())
		return
	}
	x.shuts = true
	var err error
	x.call(func() { err = body.Close() }, func(failure error) (gateway.Body, error) {
		x.job.closed(cmp.Or(failure, err))
		return nil, nil
	})
	x.closed(err)
}

// tookLeave is taken for a call of Close.
func (x *exchange) tookLeave() {
	h, c, cn := x.h, x.c, x.conn
	if cn.phase == closed {
		h.leaveBehind(cn)
		return
	}
	x.leave()
	h.flush(c)
	if cn.phase == readingHead || cn.phase == skipping {
		c.Resume()
	}
	h.arm(c, cn)
}

const closeFailed = "closing the body of a response failed"

const panicked = "the application panicked"
