package server

import (
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/thrown"
	"github.com/isbjorn/isbjorn/parser"
)

// turnChunks is how many chunks of one body are pulled before other
// connections have their turn.
const turnChunks = 64

// pull sends the body until it ends or must wait: for the socket, because it is
// full or has borrowed the last chunk, or for its next turn.
func (x *exchange) pull() {
	r := &x.resp
	for turn := 0; ; turn++ {
		switch {
		case !x.c.Alive():
			x.hold() // Closed comes next
			return
		case x.lent && x.c.Unsent() > 0:
			x.hold()
			x.c.AwaitSent()
			return
		case r.started && !x.ended && x.contentless(r.code) && x.body != x.job: // a worker goes on, with its Context, until it leaves
			if !r.sent {
				x.commit(x.known(-1, nil, nil))
			}
			x.ended = true
		}
		x.lent = false
		switch {
		case x.ended:
			x.done()
			return
		case x.waits || x.c.Full():
			x.hold()
			return
		case turn == turnChunks, turn > 0 && x.h.slice.over():
			x.hold()
			x.c.Yield()
			return
		}
		if file := x.fileOf(); file != nil && x.pullFile(file) {
			continue
		}
		b, err := x.next()
		if r.err != nil {
			err = r.err
		}
		switch err {
		case nil:
		case io.EOF:
			x.ended = true
		case gateway.ErrWait:
			if x.waker == nil && x.body != x.job {
				x.fail(errNoWaker)
				return
			}
			x.waits = true
		default:
			x.fail(err)
			return
		}
		if len(b) == 0 {
			continue
		}
		if !r.sent {
			if !r.started {
				x.fail(errNotStarted)
				return
			}
			known := int64(-1)
			if x.ended {
				known = int64(len(b))
			}
			x.commit(x.known(known, b, err))
		}
		if err := x.send(b); err != nil {
			x.log(slog.LevelError, err.Error())
			x.ended = true
		}
		if r.framing == byLength && r.left == 0 {
			x.ended = true
		}
		if !x.ended {
			x.h.flush(x.c) // on its way before the next is asked for
			if x.body == x.job && x.c.Unsent() > 0 {
				x.lent = true // what was copied is not asked for more either: job.put counts it until then
			}
		}
	}
}

// pullFile sends the rest of a file at once. It reports false for one that Next
// should read.
func (x *exchange) pullFile(file *gateway.FileBody) bool {
	if _, _, n := file.Range(); n <= copyBytesMax || !x.resp.started {
		return false
	}
	if !x.resp.sent {
		x.commit(file.Len())
	}
	if err := x.sendFile(file); err != nil {
		x.log(slog.LevelError, err.Error())
	}
	x.ended = true
	return true
}

// fileSent tells the file how much of it was sent, for who wraps it.
func (x *exchange) fileSent() {
	if x.file != nil {
		x.file.Advance(x.fileSize - x.c.UnsentFile())
		x.file = nil
	}
}

// known is the length of the content: what the body says, else n. Next has returned b and
// err, or was not called yet.
func (x *exchange) known(n int64, b []byte, err error) int64 {
	if x.body == nil {
		return 0
	}
	if j, ok := x.body.(*job); ok && j.length() >= 0 {
		return j.length()
	}
	if size := x.sized(b, err); size >= 0 {
		return size
	}
	return n
}

// hold suspends the response. Views of the request stay good until it goes on.
func (x *exchange) hold() {
	x.unused = nil
	if x.conn.phase == handling {
		if !x.streams {
			x.c.Pause()
		}
		if x.head == nil && !x.owns {
			x.c.Retain()
			x.since = x.h.now
		}
		if x.conn.hungup && !x.c.Unread() {
			x.env.Cancel(gateway.ErrClientGone)
		}
	}
	x.h.move(x.c, x.conn, responseHeld)
	x.h.flush(x.c)
}

// resume is pull for a response that was held.
func (cn *conn) resume() {
	ended := false
	defer cn.guard(&ended)
	cn.x.pull()
	ended = true
}

// dropBody closes the body of a response that is not going on, where no guard
// may be at work.
func (x *exchange) dropBody() {
	if x.body != nil {
		closed := false
		defer func() {
			if closed {
				return
			}
			if p := thrown.Value(recover()); p != nil {
				x.closed(fmt.Errorf("%w: %v", errPanic, p))
			}
		}()
		x.shut()
		closed = true
	}
}

// fail answers 500, or cuts the connection if a part of the response is sent, so
// that the client does not take it as whole. An application that was told by the
// writer that its client is gone, and passes this on, has not failed, nor has one that
// wants the end (gateway.ErrAbort), which gets no 500.
func (x *exchange) fail(err error) {
	quiet := thrown.Is(err, gateway.ErrAbort)
	switch {
	case quiet:
		x.noteAbort(err)
	case x.c.Alive() || !thrown.Is(err, net.ErrClosed):
		x.h.count(failed)
		if x.resp.sent && !x.resp.whole {
			x.h.count(aborted)
		}
		if err != errPanic { // which has its line already
			x.log(slog.LevelError, "the application failed", slog.Any("error", err))
		}
	}
	if quiet {
		x.sendsInstead(gateway.StatusNoResponse)
	}
	switch {
	case x.resp.whole: // in Close: the client has all of the answer, and the next request is another
	case quiet && !x.resp.sent:
		x.keep = false
	case x.resp.sent:
		x.keep = false
		if x.resp.framing == byClose {
			x.c.Abort() // nothing else shows that it is not whole
		}
	default:
		const text = "Internal Server Error\n"
		x.resp.account = account{}
		_ = x.resp.declare("500 Internal Server Error", errorHeaders, nil)
		x.commit(int64(len(text)))
		_ = x.send([]byte(text))
		x.resp.whole = true // Close writes nothing behind it
	}
	x.dropBody()
	x.leave()
}

var errorHeaders = []gateway.Header{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}}

// sendsInstead notes what the client is sent in place of an answer of which nothing was
// sent, for who logs it.
func (x *exchange) sendsInstead(status int) {
	if !x.resp.sent {
		x.instead.CompareAndSwap(0, int32(status))
	}
}

// SentStatus is gateway.StatusSender on the loop.
func (x *exchange) SentStatus() int { return int(x.instead.Load()) }

// SentStatus is gateway.StatusSender on a worker.
func (j *job) SentStatus() int { return j.x.SentStatus() }

// breakOff ends an exchange that cannot go on, by a refusal if that can still be said.
func (x *exchange) breakOff(why *parser.Error) {
	if x.streams {
		x.job.end(uploadError(why))
	}
	x.sendsInstead(why.Status)
	x.dropBody()
	if !x.resp.sent {
		x.h.refuse(x.c, x.conn, why, nil)
		return
	}
	x.h.count(refused)
	x.keep = false
	if x.resp.framing == byClose {
		x.c.Abort()
	}
	x.leave()
}
