//go:build linux

package dispatch

import (
	"os"
	"time"

	"github.com/isbjorn/isbjorn/wsgi/internal/wire"
)

// Request is one request on its way: its message, and what has come of its answer. The caller makes it, fills the
// first group of fields and Message, and gives it to [Queue.Submit]; then it calls Take after each Wake until Part.End
// or Part.Failure, and Release once. Its own fields may be read by the caller; Queue writes them.
type Request struct {
	Message wire.Encoder // complete

	Wake     func()        // there may be something for Take; from any goroutine
	Gone     func() bool   // the client has left; from the goroutine that calls Queue's sweep
	Line     func() string // the request line, for logs, until Release
	File     *os.File      // the content, where the message has wire.ByFile; the caller's, until Release
	Streamed bool          // the message has wire.Stream: the worker asks for content, see Part.Wants
	Owned    *os.File      // File is closed by the queue when it is done with the request

	queue *Queue
	next  *Request // of the list that waits

	state   state
	id      uint64
	tries   int       // times that it was handed out
	since   time.Time // it was submitted
	slot    *slot     // that runs it, once a frame has come
	handled bool      // Release was called: frames are thrown away
	gone    bool      // the client has left: the worker is told
	late    bool      // a sweep has seen that it waits too long

	// The answer, under the lock of the queue.
	interim []wire.Head
	head    wire.Head
	headed  bool   // head is there
	taken   bool   // and was taken
	close   bool   // the connection is to be closed after the response
	buf     []byte // content that was not taken
	spare   []byte // the chunk that was taken last
	over    *overflow
	file    *filePart
	ended   bool // all has come
	failure *Failure
	paused  bool // the stream of the slot waits until buf is taken
	wants   int  // bytes of content that the worker waits for
	told    bool // the caller knows it
}

type state uint8

const (
	unsent  state = iota
	waiting       // in the queue of this process
	out           // handed to the workers
	done          // nothing of it comes any more
)

// filePart is a part of a file that the application has returned.
type filePart struct {
	f      *os.File
	off, n int64
}

// Failure is why a request has no whole answer.
type Failure struct {
	Kind    FailureKind
	Message string // for the log: several lines where Python has a traceback
}

// FailureKind is what the client is to see, while no head was sent: after one the response is cut.
type FailureKind uint8

const (
	AppFailed   FailureKind = iota // 500: the application raised
	WorkerDied                     // 502
	Unavailable                    // 503, and Retry-After
	TimedOut                       // 504
	ClientGone                     // no client waits for an answer
)

// Part is what has come of an answer since the Take before.
type Part struct {
	Interim []wire.Head // 1xx responses
	Head    *wire.Head  // valid until Release; nil if it has not come, or was taken
	Close   bool        // the connection is to be closed after the response
	Content []byte      // valid until the next Take or Release
	File    *os.File    // after Content: N bytes from Off are the rest of it. The caller closes it
	Off, N  int64
	Wants   int      // the worker waits for so many bytes of content: the caller calls Feed
	End     bool     // the answer is complete
	Failure *Failure // nothing follows
}

// Take returns what has come. All zero is nothing: Wake is called when there is more.
func (r *Request) Take() (p Part) {
	q := r.queue
	q.mu.Lock()
	defer q.unlock()
	if len(r.interim) > 0 {
		p.Interim, r.interim = r.interim, nil
	}
	if r.headed && !r.taken {
		p.Head, r.taken = &r.head, true
	}
	p.Close = r.close
	if r.wants > 0 && !r.told {
		p.Wants, r.told = r.wants, true
	}
	switch {
	case len(r.buf) > 0:
		p.Content, r.buf, r.spare = r.buf, r.spare[:0], r.buf
	case r.over != nil:
		p.Content, r.spare = r.over.read(q, r.spare)
		if r.over.left() == 0 {
			r.over.release(q)
			r.over = nil
		}
	}
	if len(r.buf) == 0 && r.over == nil {
		if r.file != nil && (r.ended || r.failure != nil) { // the end, or why it is short, comes with it
			p.File, p.Off, p.N, r.file = r.file.f, r.file.off, r.file.n, nil
		}
		p.End, p.Failure = r.ended && r.failure == nil, r.failure
	}
	if r.paused && (r.buffered() < highBytes/4 || r.over != nil && r.over.left() < fileBytesMax/2) {
		r.paused = false
		if s := r.slot; s != nil {
			q.onHome(s.resume)
		}
	}
	return p
}

// Feed gives content that Part.Wants has asked for: at most as many bytes, and whether there is no more; an error tells
// the worker that there will be none. b is the caller's again when Feed returns.
func (r *Request) Feed(b []byte, end bool, err error) {
	q := r.queue
	q.mu.Lock()
	defer q.unlock()
	if r.wants == 0 {
		return // the worker has died
	}
	r.wants, r.told = 0, false
	if err != nil {
		r.slot.send(wire.AppendAbort(nil, r.id))
	} else {
		r.slot.send(wire.AppendData(nil, r.id, b, end))
	}
}

// buffered is how many bytes of content wait to be taken.
func (r *Request) buffered() int64 {
	n := int64(len(r.buf))
	if r.over != nil {
		n += r.over.left()
	}
	return n
}

// Release ends the caller's use of r. A worker that still runs it is told that the client has left. r may not be used
// any more; the queue gives it to [Queue.Get] again when the worker is done with it.
func (r *Request) Release() {
	q := r.queue
	if q == nil { // it was not submitted
		if r.Owned != nil {
			_ = r.Owned.Close()
		}
		return
	}
	q.mu.Lock()
	defer q.unlock()
	r.handled = true
	switch r.state {
	case waiting:
		q.unlink(r)
		q.recycle(r)
	case out:
		q.dropContent(r)
		if r.wants > 0 {
			r.wants = 0
			r.slot.send(wire.AppendAbort(nil, r.id))
		}
		if r.paused {
			r.paused = false
			if r.slot != nil {
				q.onHome(r.slot.resume)
			}
		}
		q.cancel(r)
	default:
		q.recycle(r)
	}
}
