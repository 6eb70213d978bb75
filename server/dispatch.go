package server

import (
	"io"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/sched"
	"github.com/isbjorn/isbjorn/parser"
)

// The loop's side of a request on a worker: see job.

const (
	// yieldMax is how long yieldToWorker should take: some ten times what a short response takes.
	yieldMax = 50 * time.Microsecond

	// skipYieldsFor is how many requests are dispatched without a yield after one that took longer.
	skipYieldsFor = 64
)

// copyRequest copies a small request for a worker: a view of some hundred bytes would keep all of a read
// buffer, 64 KiB, while the worker runs.
func (x *exchange) copyRequest(head, content []byte) ([]byte, []byte) {
	if n := len(head) + len(content); x.in.head != nil || n > copyBytesMax {
		return head, content
	}
	x.in.ownsCopy, x.in.clock.since = true, x.sh.now
	x.in.copied = append(append(x.in.copied[:0], head...), content...)
	return x.in.copied[:len(head):len(head)], x.in.copied[len(head):]
}

// dispatchByOption asks DispatchBy for the mode of this request. It reports whether a worker is to run it,
// and sets whether the loop may be handed off.
func (x *exchange) dispatchByOption() bool {
	var d DispatchMode
	x.app.call.CanHandOff = true
	x.callApp(func() { d = x.sh.cfg.dispatchBy(&x.app.env.Environ) }, func(failure error) (gateway.Body, error) {
		if failure != nil {
			return nil, failure
		}
		// DispatchBy itself has blocked, and this goroutine is a worker: whatever the mode, Serve runs here.
		return x.app.job.deliverResponse(x.app.job.serve())
	})
	x.app.call.CanHandOff = d != Inline
	return d == Pool || d == Auto && (x.upgrades() || x.sh.srv.allOnWorkers.Load())
}

// upgrades reports whether the client asks for another protocol, which an application begins by Hijack:
// RFC 9110 section 7.8.
func (x *exchange) upgrades() bool {
	_, ok := x.in.req.Known(parser.Upgrade)
	return ok
}

// dispatch has a worker run the application. The exchange is suspended until the worker has output, or the
// request is refused because all workers are busy and their queue is full.
func (x *exchange) dispatch(head, content []byte) {
	if x.app.job == nil {
		x.app.job = newJob(x)
	}
	x.app.run = runOnWorker
	x.app.job.begin()
	x.app.job.in.trailer = x.in.trailer
	x.app.workerStart = x.sh.now
	x.app.env.Begin(&x.in.req, head, content, &x.sh.info, x.app.job)
	if x.in.streaming {
		x.app.job.in.end, x.app.job.in.expect100 = nil, x.in.expect100
		x.app.env.ContentStream(x.app.job, x.in.decoder.Length())
	} else if x.in.content.File() != nil {
		x.app.env.ContentFrom(x.in.content.File(), x.in.content.Size())
	}
	if !x.sh.srv.workers.Submit(&x.app.job.slot) {
		x.app.job.exited = true
		x.sh.count(refusedBusy)
		x.session.refuse(errBusy, head)
		return
	}
	// The client has pipelined requests and closed its sending side. shard.HungUp was called for an earlier
	// one, and is called once only: this one is queued, and refused here.
	if x.sock.HungUp() && x.app.job.unqueue() {
		x.session.refuse(errHungup, head)
		return
	}
	x.out.source = source{kind: workerSource, body: x.app.job}
	if !x.in.streaming && x.yieldToWorker() {
		x.pull()
		return
	}
	x.app.job.awaitMore()
	x.out.awaitsWake = true
	x.suspend()
}

// yieldToWorker runs the scheduler once and reports whether the worker already finished. Short handlers
// have: that saves a wake-up of the loop, and lets pipelined responses share a write.
func (x *exchange) yieldToWorker() bool {
	sh := x.sh
	if sh.skipYields > 0 {
		sh.skipYields--
		return false
	}
	began := time.Now()
	sched.Yield()                     // the worker was made ready on this processor
	if time.Since(began) > yieldMax { // the worker computes, or many goroutines want a processor
		sh.skipYields = skipYieldsFor
	}
	return !x.app.job.running()
}

// streamContent gives the content in b to the worker. It adds what it uses of b to used.
func (x *exchange) streamContent(b []byte, used *int) error {
	room := true
	for !x.in.decoder.Done() && room {
		data, n, err := x.in.decoder.Decode(b, &x.sh.cfg.limits)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		x.in.trailer = append(x.in.trailer, x.in.decoder.Trailer(b[:n])...)
		b = b[n:]
		*used += n
		x.in.clock.add(n, x.sh.now)
		x.in.expect100 = false // the client has not waited for 100 Continue
		room = x.app.job.addContent(data)
	}
	if x.in.decoder.Done() {
		x.endStream()
		x.app.job.setTrailer()
		x.app.job.endContent(io.EOF)
	}
	if !x.in.streaming || !room { // until the response has ended, or until the worker has read (job.readOn)
		x.sock.Pause()
	}
	return nil
}

// endStream ends streaming: all content was given to the job, or the rest is not wanted.
func (x *exchange) endStream() {
	if x.in.streaming {
		x.in.streaming = false
		x.sh.srv.workers.EndUpload()
	}
}
