package server

import (
	"cmp"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/thrown"
	"github.com/isbjorn/isbjorn/server/internal/callstate"
)

// The border between the loop and the application. Out: every call of the application on a loop goes through callApp,
// or callServe for Serve, so that the monitor can hand the loop off meanwhile (handoff.go). In: what the
// application calls of the server begins with enter, or with requireJob where only a worker can do it.

// callApp runs f, which calls the application, on the loop. If the loop was handed off meanwhile, this
// goroutine is the worker of x's job: it calls finish with why f has not returned, nil if it has, and ends
// without returning here. If not, a panic ends in session.guard, and Goexit in shard.Exited.
func (x *exchange) callApp(f func(), finish func(failure error) (gateway.Body, error)) {
	ended := false
	defer func() {
		if !ended && x.sh.calls.ExitApp(&x.app.call) {
			failure := x.app.job.panicError(thrown.Value(recover()))
			x.app.job.continueOnWorker(func() (gateway.Body, error) { return finish(failure) })
		}
	}()
	x.sh.calls.EnterApp(&x.app.call)
	f()
	ended = true
	if x.sh.calls.ExitApp(&x.app.call) {
		x.app.job.continueOnWorker(func() (gateway.Body, error) { return finish(nil) })
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

// enter and leave enclose what an application calls of the server, on the loop or on a goroutine of its own,
// and that uses the exchange: in between the loop is not handed off, unless the function does so itself. Where a
// worker has the request, enter returns its job, which does the call in place of the exchange; then leave is
// not called.
func (x *exchange) enter() (was callstate.State, j *job) {
	if was = x.sh.calls.EnterServer(&x.app.call); was == callstate.HandedOff {
		return was, x.app.job
	}
	return was, nil
}

func (x *exchange) leave(was callstate.State) { x.app.call.ReturnToApp(was) }

// isOver reports whether the response has ended, and the application still uses its writer or Environ.
func (x *exchange) isOver() bool { return x.sock == nil || x.out.Complete }
