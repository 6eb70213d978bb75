package server

import (
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/thrown"
	"github.com/isbjorn/isbjorn/parser"
	"github.com/isbjorn/isbjorn/server/internal/respond"
)

// chunksPerTurn is how many chunks of one body are pulled before other
// connections have their turn.
const chunksPerTurn = 64

// pull sends the body until it ends or must wait: for the socket, because it is
// full or has borrowed the last chunk, or for its next turn.
func (x *exchange) pull() {
	r := &x.out.Response
	for turn := 0; ; turn++ {
		switch {
		case !x.sock.Alive():
			x.suspend() // Closed comes next
			return
		case x.out.borrowed && x.sock.Unsent() > 0:
			x.suspend()
			x.sock.AwaitSent()
			return
		case r.Started && !x.out.bodyDone && x.contentless(r.Code()) && x.out.source.body != x.app.job: // a worker goes on, with its Context, until it leaves
			if !r.HeadSent {
				x.commit(x.contentLength(-1, nil, nil))
			}
			x.out.bodyDone = true
		}
		x.out.borrowed = false
		switch {
		case x.out.bodyDone:
			x.completeBody()
			return
		case x.out.blocked || x.sock.Full():
			x.suspend()
			return
		case turn == chunksPerTurn, turn > 0 && x.sh.slice.expired():
			x.suspend()
			x.sock.Yield()
			return
		}
		if file := x.bodyFile(); file != nil && x.pullFile(file) {
			continue
		}
		b, err := x.nextChunk()
		if r.Err != nil {
			err = r.Err
		}
		switch err {
		case nil:
		case io.EOF:
			x.out.bodyDone = true
		case gateway.ErrWait:
			if x.app.waker == nil && x.out.source.body != x.app.job {
				x.fail(errNoWaker)
				return
			}
			x.out.blocked = true
		default:
			x.fail(err)
			return
		}
		if len(b) == 0 {
			continue
		}
		if !r.HeadSent {
			if !r.Started {
				x.fail(errNotStarted)
				return
			}
			known := int64(-1)
			if x.out.bodyDone {
				known = int64(len(b))
			}
			x.commit(x.contentLength(known, b, err))
		}
		if err := x.send(b); err != nil {
			x.log(slog.LevelError, err.Error())
			x.out.bodyDone = true
		}
		if r.Framing == respond.ByLength && r.Left == 0 {
			x.out.bodyDone = true
		}
		if !x.out.bodyDone {
			x.sh.flush(x.sock) // on its way before the next is asked for
			if x.out.source.body == x.app.job && x.sock.Unsent() > 0 {
				x.out.borrowed = true // what was copied is not asked for more either: job.write counts it until then
			}
		}
	}
}

// pullFile sends the rest of a file at once. It reports false for one that Next
// should read.
func (x *exchange) pullFile(file *gateway.FileBody) bool {
	if _, _, n := file.Range(); n <= copyBytesMax || !x.out.Response.Started {
		return false
	}
	if !x.out.Response.HeadSent {
		x.commit(file.Len())
	}
	if err := x.sendFile(file); err != nil {
		x.log(slog.LevelError, err.Error())
	}
	x.out.bodyDone = true
	return true
}

// fileSent tells the file how much of it was sent, for who wraps it.
func (x *exchange) noteFileSent() {
	if x.out.source.file != nil {
		x.out.source.file.Advance(x.out.source.fileSize - x.sock.UnsentFile())
		x.out.source.file = nil
	}
}

// known is the length of the content: what the body says, else n. Next has returned b and
// err, or was not called yet.
func (x *exchange) contentLength(n int64, b []byte, err error) int64 {
	if x.out.source.body == nil {
		return 0
	}
	if j, ok := x.out.source.body.(*job); ok && j.contentLength() >= 0 {
		return j.contentLength()
	}
	if size := x.bodyLength(b, err); size >= 0 {
		return size
	}
	return n
}

// hold suspends the response. Views of the request stay good until it goes on.
func (x *exchange) suspend() {
	x.in.rest = nil
	if x.session.phase == handling {
		if !x.in.streaming {
			x.sock.Pause()
		}
		if x.in.head == nil && !x.in.ownsCopy {
			x.sock.Retain()
			x.in.clock.since = x.sh.now
		}
		if x.session.hungUp && !x.sock.Unread() {
			x.app.env.Cancel(gateway.ErrClientGone)
		}
	}
	x.sh.transition(x.sock, x.session, responseSuspended)
	x.sh.flush(x.sock)
}

// resume is pull for a response that was held.
func (cn *session) resume() {
	ended := false
	defer cn.guard(&ended)
	cn.x.pull()
	ended = true
}

// dropBody closes the body of a response that is not going on, where no guard
// may be at work.
func (x *exchange) closeBodyGuarded() {
	if x.out.source.body != nil {
		closed := false
		defer func() {
			if closed {
				return
			}
			if p := thrown.Value(recover()); p != nil {
				x.noteClosed(fmt.Errorf("%w: %v", errPanic, p))
			}
		}()
		x.closeBody()
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
	case x.sock.Alive() || !thrown.Is(err, net.ErrClosed):
		x.sh.count(failed)
		if x.out.Response.HeadSent && !x.out.Response.Complete {
			x.sh.count(aborted)
		}
		if err != errPanic { // which has its line already
			x.log(slog.LevelError, "the application failed", slog.Any("error", err))
		}
	}
	if quiet {
		x.replaceStatus(gateway.StatusNoResponse)
	}
	switch {
	case x.out.Response.Complete: // in Close: the client has all of the answer, and the next request is another
	case quiet && !x.out.Response.HeadSent:
		x.out.keepAlive = false
	case x.out.Response.HeadSent:
		x.out.keepAlive = false
		if x.out.Response.Framing == respond.ByClose {
			x.sock.Abort() // nothing else shows that it is not whole
		}
	default:
		const text = "Internal Server Error\n"
		x.out.Response.Reset()
		_ = x.out.Response.Declare("500 Internal Server Error", errorHeaders, nil)
		x.commit(int64(len(text)))
		_ = x.send([]byte(text))
		x.out.Response.Complete = true // Close writes nothing behind it
	}
	x.closeBodyGuarded()
	x.finishRequest()
}

var errorHeaders = []gateway.Header{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}}

// sendsInstead notes what the client is sent in place of an answer of which nothing was
// sent, for who logs it.
func (x *exchange) replaceStatus(status int) {
	if !x.out.Response.HeadSent {
		x.out.replacedStatus.CompareAndSwap(0, int32(status))
	}
}

// SentStatus implements gateway.Conn on the loop.
func (x *exchange) SentStatus() int { return int(x.out.replacedStatus.Load()) }

// SentStatus implements gateway.Conn on a worker.
func (j *job) SentStatus() int { return j.x.SentStatus() }

// breakOff ends an exchange that cannot go on, by a refusal if that can still be said.
func (x *exchange) abortWith(why *parser.Error) {
	if x.in.streaming {
		x.app.job.endContent(uploadError(why))
	}
	x.replaceStatus(why.Status)
	x.closeBodyGuarded()
	if !x.out.Response.HeadSent {
		x.sh.refuse(x.sock, x.session, why, nil)
		return
	}
	x.sh.count(refused)
	x.out.keepAlive = false
	if x.out.Response.Framing == respond.ByClose {
		x.sock.Abort()
	}
	x.finishRequest()
}
