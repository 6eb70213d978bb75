package server

import (
	"io"
	"runtime"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/parser"
)

// The way of a request to a worker: see job.

const (
	// yieldMax is how long a worker may take before its loop goes on with others, if
	// it is not to hurry: some ten times what a short response takes.
	yieldMax = 50 * time.Microsecond

	// skipYieldsFor is for how many requests a loop hurries.
	skipYieldsFor = 64
)

// own copies a small request for a worker. Held there, views of what the loop has read would
// keep all of a read buffer, 64 KiB, for a head of some hundred bytes.
func (x *exchange) copyRequest(head, content []byte) ([]byte, []byte) {
	if n := len(head) + len(content); x.in.head != nil || n > copyBytesMax {
		return head, content
	}
	x.in.ownsCopy, x.in.clock.since = true, x.sh.now
	x.in.copied = append(append(x.in.copied[:0], head...), content...)
	return x.in.copied[:len(head):len(head)], x.in.copied[len(head):]
}

// workerBy asks DispatchBy whether a worker is to run the application, and whether the loop
// may be taken.
func (x *exchange) dispatchByOption() bool {
	var d DispatchMode
	x.app.call.CanHandOff = true
	x.callApp(func() { d = x.sh.cfg.dispatchBy(&x.app.env.Environ) }, func(failure error) (gateway.Body, error) {
		if failure != nil {
			return nil, failure
		}
		return x.app.job.deliverResponse(x.app.job.serve()) // wherever it was to run: this is a worker
	})
	x.app.call.CanHandOff = d != Inline
	return d == Pool || d == Auto && (x.upgrades() || x.sh.srv.appBlocks.Load())
}

// upgrades reports whether the client asks for a protocol of the application's, which
// takes the connection by Hijack: RFC 9110 section 7.8.
func (x *exchange) upgrades() bool {
	_, ok := x.in.req.Known(parser.Upgrade)
	return ok
}

// dispatch has a worker run the application. The exchange is held meanwhile.
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
	if x.sock.HungUp() && x.app.job.unqueue() { // see HungUp, which will not come again
		x.session.refuse(errHungup, head)
		return
	}
	x.out.source = source{kind: workerSource, body: x.app.job}
	if !x.in.streaming && x.yieldToWorker() {
		x.pull()
		return
	}
	x.app.job.awaitMore()
	x.out.blocked = true
	x.suspend()
}

// soon lets the worker run for a moment, and reports whether it has left then: most do,
// and the response costs no wake of the loop, and those of pipelined requests no write
// each. Where the moment is long, because many wait for a processor, or the worker
// computes, the loop has better things to do for a while.
func (x *exchange) yieldToWorker() bool {
	h := x.sh
	if h.skipYields > 0 {
		h.skipYields--
		return false
	}
	began := time.Now()
	runtime.Gosched()
	if time.Since(began) > yieldMax {
		h.skipYields = skipYieldsFor
	}
	return !x.app.job.running()
}

// feed gives content of b to the worker as it comes. It adds what it uses of b to used.
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
		x.in.clock.bytes += int64(n)
		x.in.expect100 = false // it has not waited
		room = x.app.job.addContent(data)
	}
	if x.in.decoder.Done() {
		x.endStream()
		x.app.job.setTrailer()
		x.app.job.endContent(io.EOF)
	}
	if !x.in.streaming || !room {
		x.sock.Pause()
	}
	return nil
}

// endStream is for when no more content goes to the job.
func (x *exchange) endStream() {
	if x.in.streaming {
		x.in.streaming = false
		x.sh.srv.workers.EndUpload()
	}
}
