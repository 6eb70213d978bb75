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
	// momentMost is how long a worker may take before its loop goes on with others, if
	// it is not to hurry: some ten times what a short response takes.
	momentMost = 50 * time.Microsecond

	// hurryRequests is for how many requests a loop hurries.
	hurryRequests = 64
)

// own copies a small request for a worker. Held there, views of what the loop has read would
// keep all of a read buffer, 64 KiB, for a head of some hundred bytes.
func (x *exchange) own(head, content []byte) ([]byte, []byte) {
	if n := len(head) + len(content); x.head != nil || n > copyBytesMax {
		return head, content
	}
	x.owns, x.since = true, x.h.now
	x.copy = append(append(x.copy[:0], head...), content...)
	return x.copy[:len(head):len(head)], x.copy[len(head):]
}

// workerBy asks DispatchBy whether a worker is to run the application, and whether the loop
// may be taken.
func (x *exchange) workerBy() bool {
	var d Dispatching
	x.asks.takeable = true
	x.call(func() { d = x.h.c.dispatchBy(&x.env) }, func(failure error) (gateway.Body, error) {
		if failure != nil {
			return nil, failure
		}
		return x.job.respond(x.job.serve()) // wherever it was to run: this is a worker
	})
	x.asks.takeable = d != Inline
	return d == Pool || d == Auto && (x.upgrades() || x.h.s.blocks.Load())
}

// upgrades reports whether the client asks for a protocol of the application's, which
// takes the connection by Hijack: RFC 9110 section 7.8.
func (x *exchange) upgrades() bool {
	_, ok := x.req.Known(parser.Upgrade)
	return ok
}

// dispatch has a worker run the application. The exchange is held meanwhile.
func (x *exchange) dispatch(head, content []byte) {
	if x.job == nil {
		x.job = newJob(x)
	}
	x.job.begin()
	x.job.trailer = x.trailer
	x.began = x.h.now
	x.env.Begin(&x.req, head, content, &x.h.host, x.job)
	if x.streams {
		x.job.inEnd, x.job.expect = nil, x.expects
		x.env.ContentStream(x.job, x.content.Length())
	} else if x.data.file != nil {
		x.env.ContentFrom(x.data.file, x.data.size)
	}
	if !x.h.s.crew.give(x.job) {
		x.job.left = true
		x.h.count(busy)
		x.h.refuse(x.c, x.conn, errBusy, head)
		return
	}
	if x.c.Hung() && x.job.withdraw() { // see Hungup, which will not come again
		x.h.refuse(x.c, x.conn, errHungup, head)
		return
	}
	x.body, x.ready = x.job, true
	if !x.streams && x.soon() {
		x.pull()
		return
	}
	x.job.await()
	x.waits = true
	x.hold()
}

// soon lets the worker run for a moment, and reports whether it has left then: most do,
// and the response costs no wake of the loop, and those of pipelined requests no write
// each. Where the moment is long, because many wait for a processor, or the worker
// computes, the loop has better things to do for a while.
func (x *exchange) soon() bool {
	h := x.h
	if h.hurry > 0 {
		h.hurry--
		return false
	}
	began := time.Now()
	runtime.Gosched()
	if time.Since(began) > momentMost {
		h.hurry = hurryRequests
	}
	return !x.job.atWork()
}

// feed gives content of b to the worker as it comes. It adds what it uses of b to used.
func (x *exchange) feed(b []byte, used *int) error {
	room := true
	for !x.content.Done() && room {
		data, n, err := x.content.Decode(b, &x.h.c.limits)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		x.trailer = append(x.trailer, x.content.Trailer(b[:n])...)
		b = b[n:]
		*used += n
		x.came += int64(n)
		x.expects = false // it has not waited
		room = x.job.feed(data)
	}
	if x.content.Done() {
		x.endStream()
		x.job.takeTrailer()
		x.job.end(io.EOF)
	}
	if !x.streams || !room {
		x.c.Pause()
	}
	return nil
}

// endStream is for when no more content goes to the job.
func (x *exchange) endStream() {
	if x.streams {
		x.streams = false
		x.h.s.crew.endUpload()
	}
}
