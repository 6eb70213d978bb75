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

// chunksPerTurn is how many chunks of one body are pulled before other connections have their turn.
const chunksPerTurn = 64

// source is where the content of a response comes from.
type source struct {
	kind     sourceKind
	body     gateway.Body      // nil for noSource
	file     *gateway.FileBody // of body, once the kernel sends it
	fileSize int64             // how much of it is to be sent
}

type sourceKind uint8

const (
	noSource     sourceKind = iota // no content, or the body was closed
	readySource                    // gateway.Ready: text, bytes, files, whose calls do not block
	appSource                      // calls run the application
	workerSource                   // a worker delivers it: body is the job
)

func sourceOf(body gateway.Body) source {
	switch {
	case body == nil:
		return source{}
	case isReady(body):
		return source{kind: readySource, body: body}
	}
	return source{kind: appSource, body: body}
}

// verdict is why pull stops.
type verdict uint8

const (
	again      verdict = iota // there may be another chunk now
	complete                  // all content was sent
	fails                     // x.fail ends the response
	waitSocket                // Drained comes when the socket has room
	waitSent                  // Drained comes when the socket has sent all that it has borrowed
	waitWake                  // Drained comes when the waker is called
	waitClosed                // the connection is dead: Closed comes next
	yield                     // Drained comes after the other connections
)

// pull sends the body until it ends or must wait, and then does what that calls for. x may be released
// when it returns.
func (x *exchange) pull() {
	v, err := again, error(nil)
	for chunks := 0; v == again; chunks++ {
		if v = x.mayPull(chunks); v == again {
			v, err = x.pullChunk()
		}
	}
	switch v {
	case complete:
		x.completeBody()
	case fails:
		x.fail(err)
	default:
		x.suspend()
		switch v {
		case waitSent:
			x.sock.AwaitSent() // else Drained comes at the low-water mark, when a part of the borrowed chunk is left
		case yield:
			x.sock.Yield()
		}
	}
}

// mayPull decides whether the source is asked for another chunk. chunks is how many it had in this turn.
func (x *exchange) mayPull(chunks int) verdict {
	out := &x.out
	switch {
	case !x.sock.Alive():
		return waitClosed
	case out.awaitSent && x.sock.Unsent() > 0:
		return waitSent
	case out.Started && !out.bodyDone && x.contentless(out.Code()) && out.source.kind != workerSource:
		// HEAD, 204, 304: nothing of the body is sent. A worker continues until it exits, and its Context with it.
		if !out.HeadSent {
			x.commit(x.contentLength(-1, nil, nil))
		}
		out.bodyDone = true
	}
	out.awaitSent = false
	switch {
	case out.bodyDone:
		return complete
	case out.awaitsWake:
		return waitWake
	case x.sock.Full():
		return waitSocket
	case chunks == chunksPerTurn, chunks > 0 && x.sh.slice.expired():
		return yield
	}
	return again
}

// pullChunk asks the source for a chunk and sends it.
func (x *exchange) pullChunk() (verdict, error) {
	out := &x.out
	if file := x.bodyFile(); file != nil && x.pullFile(file) {
		return again, nil
	}
	b, err := x.nextChunk()
	if out.Err != nil {
		err = out.Err
	}
	switch err {
	case nil:
	case io.EOF:
		out.bodyDone = true
	case gateway.ErrWait:
		if x.app.waker == nil && out.source.kind != workerSource {
			return fails, errNoWaker
		}
		out.awaitsWake = true
	default:
		return fails, err
	}
	if len(b) == 0 {
		return again, nil
	}
	if !out.HeadSent {
		if !out.Started {
			return fails, errNotStarted
		}
		known := int64(-1)
		if out.bodyDone {
			known = int64(len(b)) // the only chunk: no need for chunked framing
		}
		x.commit(x.contentLength(known, b, err))
	}
	if err := x.send(b); err != nil {
		x.log(slog.LevelError, err.Error())
		out.bodyDone = true
	}
	if out.Framing == respond.ByLength && out.Left == 0 {
		out.bodyDone = true
	}
	if !out.bodyDone {
		x.sh.flush(x.sock) // before the next chunk is pulled, which may take a while
		if out.source.kind == workerSource && x.sock.Unsent() > 0 {
			out.awaitSent = true // job.write counts the chunk as unsent until then
		}
	}
	return again, nil
}

// pullFile sends the rest of a file at once, by the kernel. It reports false for one that is so short that
// Next should read it.
func (x *exchange) pullFile(file *gateway.FileBody) bool {
	if _, _, n := file.Range(); n <= copyBytesMax || !x.out.Started {
		return false
	}
	if !x.out.HeadSent {
		x.commit(file.Len())
	}
	if err := x.sendFile(file); err != nil {
		x.log(slog.LevelError, err.Error())
	}
	x.out.bodyDone = true
	return true
}

// noteFileSent tells the file how much of it was sent, for a body that wraps it.
func (x *exchange) noteFileSent() {
	source := &x.out.source
	if source.file != nil {
		source.file.Advance(source.fileSize - x.sock.UnsentFile())
		source.file = nil
	}
}

// contentLength is the length of the content: what the source says, else n. Next has returned b and err, or
// was not called yet.
func (x *exchange) contentLength(n int64, b []byte, err error) int64 {
	switch x.out.source.kind {
	case noSource:
		return 0
	case workerSource:
		if length := x.app.job.contentLength(); length >= 0 {
			return length
		}
		return n
	}
	if length := x.bodyLength(b, err); length >= 0 {
		return length
	}
	return n
}

// suspend stops the response for now. Views of the request stay valid until the response has ended.
func (x *exchange) suspend() {
	x.in.rest = nil
	if x.session.phase == handling {
		if !x.in.streaming {
			x.sock.Pause() // a next request waits in the socket
		}
		if x.in.head == nil && !x.in.ownsCopy {
			x.sock.Retain() // the request is in the loop's read buffer
			x.in.clock.since = x.sh.now
		}
		if x.session.hungUp && !x.sock.Unread() {
			x.app.env.Cancel(gateway.ErrClientGone)
		}
	}
	x.session.transition(responseSuspended)
	x.sh.flush(x.sock)
}

// closeBodyGuarded closes the body of a response that ends here, and recovers a panic of Close: in Closed, and
// in a response that session.guard itself ends, no guard would.
func (x *exchange) closeBodyGuarded() {
	if x.out.source.kind != noSource {
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

// fail answers 500, or cuts the connection if a part of the response was sent, so that the client does not
// take it for the whole. Neither an application that returns the writer's error that its client is gone
// has failed, nor one that ends its response on purpose (gateway.ErrAbort), which gets no 500.
func (x *exchange) fail(err error) {
	quiet := thrown.Is(err, gateway.ErrAbort)
	switch {
	case quiet:
		x.noteAbort(err)
	case x.sock.Alive() || !thrown.Is(err, net.ErrClosed):
		x.sh.count(failed)
		if x.out.HeadSent && !x.out.Complete {
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
	case x.out.Complete: // in Close: the client has all of the answer, and the next request is another
	case quiet && !x.out.HeadSent:
		x.out.keepAlive = false
	case x.out.HeadSent:
		x.out.keepAlive = false
		if x.out.Framing == respond.ByClose {
			x.sock.Abort() // nothing else shows that it is not whole
		}
	default:
		const text = "Internal Server Error\n"
		x.out.Reset()
		_ = x.out.Declare("500 Internal Server Error", errorHeaders, nil)
		x.commit(int64(len(text)))
		_ = x.send([]byte(text))
		x.out.Complete = true // Close writes nothing behind it
	}
	x.closeBodyGuarded()
	x.finishRequest()
}

var errorHeaders = []gateway.Header{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}}

// replaceStatus notes, for the access log, the status that the client is sent in place of an answer of which
// nothing was sent.
func (x *exchange) replaceStatus(status int) {
	if !x.out.HeadSent {
		x.out.replacedStatus.CompareAndSwap(0, int32(status))
	}
}

// SentStatus implements gateway.Conn on the loop.
func (x *exchange) SentStatus() int { return int(x.out.replacedStatus.Load()) }

// SentStatus implements gateway.Conn on a worker.
func (j *job) SentStatus() int { return j.x.SentStatus() }

// abortWith ends a request for a reason of the server's, such as a timeout: with an error response if nothing
// was sent yet, else by closing the connection.
func (x *exchange) abortWith(why *parser.Error) {
	if x.in.streaming {
		x.app.job.endContent(uploadError(why))
	}
	x.replaceStatus(why.Status)
	x.closeBodyGuarded()
	if !x.out.HeadSent {
		x.session.refuse(why, nil)
		return
	}
	x.sh.count(refused)
	x.out.keepAlive = false
	if x.out.Framing == respond.ByClose {
		x.sock.Abort()
	}
	x.finishRequest()
}
