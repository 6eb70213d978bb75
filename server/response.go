package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/server/internal/callstate"
)

// framing is how a client finds the end of the content, RFC 9112 section 6.3.
type framing uint8

const (
	byLength  framing = iota // Content-Length
	chunked                  // Transfer-Encoding: chunked
	byClose                  // the end of the connection, for HTTP/1.0
	noContent                // HEAD, 204, 304: there is none
)

// response is the answer under way: the head that start declared, and the
// account of the content.
type response struct {
	responseHead // the next response may well have the same
	responseState
}

// account is the state of one response. Its zero value is the beginning.
type responseState struct {
	started        bool // start was called
	headSent       bool // the head has been committed to the wire
	complete       bool // and all of the content
	closeDeclared  bool // the application said "Connection: close"
	hasLength      bool // the application declared a Content-Length
	trailers       bool // the application has or announces trailer fields
	gather         bool // what it writes may wait, see gateway.Gather
	framing        framing
	declaredLength int64  // that Content-Length
	bytesLeft      int64  // byLength: bytes still owed
	trailer        []byte // its trailer fields
	err            error  // sticks: what was wrong in a call of start
}

var (
	errStartTwice = errors.New("server: start was called twice without exc")
	errNotStarted = errors.New("server: the application returned without calling start")
)

// startResponse makes the gateway.StartResponse of x. It renders the head at once, so that
// nothing of the application's is kept.
func (x *exchange) startResponse() gateway.StartResponse {
	return func(status string, headers []gateway.Header, exc error) (io.Writer, error) {
		was := x.sh.calls.EnterServer(&x.call)
		if was == callstate.HandedOff {
			return x.job.start(status, headers, exc)
		}
		var w io.Writer
		var err error
		if x.sock == nil || x.resp.complete {
			err = net.ErrClosed // kept beyond its response
		} else if err = x.resp.declare(status, headers, exc); err == nil {
			w = (*writer)(x)
		} else if x.resp.err == nil {
			x.resp.err = err
		}
		x.call.ReturnToApp(was)
		return w, err
	}
}

// declare takes what start was called with, and checks it.
func (r *response) declare(status string, headers []gateway.Header, exc error) error {
	switch {
	case r.err != nil:
		return r.err
	case r.started && exc == nil:
		return errStartTwice
	case r.headSent:
		return exc
	}
	if r.started {
		r.responseState = responseState{} // replaced as a whole
	}
	if !r.reusable || !r.matches(status, headers) {
		r.reusable = false
		if err := r.render(status, headers); err != nil {
			return err
		}
	}
	r.started = true
	return nil
}

// room is how much content the declared Content-Length has room for, -1 without one.
func (r *response) declaredRoom() int64 {
	if r.hasLength {
		return r.declaredLength
	}
	return -1
}

// commit decides the framing and puts the head on its way. known is the length
// of the content, -1 if nobody knows.
func (x *exchange) commit(known int64) {
	r := &x.resp
	switch {
	case r.hasLength:
		known = r.declaredLength
	case r.trailers && x.req.Minor > 0: // chunked has a place for them
		known = -1
	}
	t := headSuffix{second: x.sh.cachedSecond, flags: r.ownFields, length: -1}
	bare := bodiless(r.code)
	switch {
	case r.code == http.StatusNoContent: // RFC 9110 section 8.6: no length either
	case known >= 0 && (r.code != http.StatusNotModified || r.hasLength):
		r.framing, r.bytesLeft = byLength, known
		t.length = known
	case bare: // 304: only the length that GET would have, and nobody said it
	case x.req.Minor > 0:
		r.framing = chunked
		t.flags |= isChunked
	default:
		r.framing = byClose
		x.keepAlive = false
	}
	if x.contentless(r.code) {
		r.framing = noContent
	}
	if r.closeDeclared || x.sh.stopping && !x.pipelined {
		x.keepAlive = false
	}
	if !x.keepAlive {
		t.flags |= connClose
	} else if x.req.Minor == 0 {
		t.flags |= connKeepAlive
	}
	if t != r.suffix {
		r.renderSuffix(t, x.sh)
	}
	if r.headSent = true; x.expect100 {
		x.bodyClock, x.bodyBytes = x.sh.now, 0 // its time for the content begins: see patience
	}
	x.sh.out = append(x.sh.out, r.bytes...)
}

// bodiless says that a response with this code never has content.
// RFC 9112 section 6.3, item 1.
func bodiless(code int) bool {
	return code == http.StatusNoContent || code == http.StatusNotModified
}

// contentless reports whether the answer to this request has no content if it has this
// code. Loop and worker ask it, and then neither pulls a body nor keeps what is written.
func (x *exchange) contentless(code int) bool { return x.isHEAD || bodiless(code) }

// copyBytesMax is the largest chunk that is copied behind its head. Above it the
// copy costs more than sending from where it is.
const copyBytesMax = 16 << 10

var errTooLong = errors.New("server: the response is longer than its Content-Length; the rest was cut")

// send puts a chunk of content on its way. It reports an error when the content
// was longer than promised; what fits is sent.
func (x *exchange) send(b []byte) error {
	if r := &x.resp; r.framing == byLength && int64(len(b)) <= min(r.bytesLeft, copyBytesMax) { // as most are
		r.bytesLeft -= int64(len(b))
		x.sh.out = append(x.sh.out, b...)
		return nil
	}
	n, err := x.frame(int64(len(b)))
	if b = b[:n]; len(b) <= copyBytesMax {
		x.sh.out = append(x.sh.out, b...)
	} else {
		x.sock.SendBorrowed(x.sh.out, b)
		x.sh.out = x.sh.out[:0]
		x.borrowed = x.sock.Unsent() > 0
	}
	x.endFrame(n)
	return err
}

// sendFile is send for all that is left of a file, which the kernel sends.
func (x *exchange) sendFile(file *gateway.FileBody) error {
	f, off, n := file.Range()
	n, err := x.frame(n)
	x.file, x.fileSize = file, n
	x.sock.SendFile(x.sh.out, f, off, n)
	x.sh.out = x.sh.out[:0]
	x.borrowed = x.sock.Unsent() > 0
	x.endFrame(n)
	return err
}

// frame begins n bytes of content, and says how many of them may be sent.
func (x *exchange) frame(n int64) (int64, error) {
	r := &x.resp
	switch r.framing {
	case noContent:
		return 0, nil
	case byLength:
		if n > r.bytesLeft {
			n, r.bytesLeft = r.bytesLeft, 0
			return n, errTooLong
		}
		r.bytesLeft -= n
	case chunked:
		x.sh.out = strconv.AppendInt(x.sh.out, n, 16)
		x.sh.out = append(x.sh.out, "\r\n"...)
	}
	return n, nil
}

// endFrame ends the n bytes that frame has begun.
func (x *exchange) endFrame(n int64) {
	if x.resp.framing == chunked && n > 0 {
		x.sh.out = append(x.sh.out, "\r\n"...)
	}
}

// finish ends the content. It reports whether the client can see that it is
// whole.
func (x *exchange) endContent() (whole bool) {
	switch x.resp.framing {
	case byLength:
		return x.resp.bytesLeft == 0
	case chunked:
		x.sh.out = append(x.sh.out, "0\r\n"...)
		x.sh.out = append(x.sh.out, x.resp.trailer...)
		x.sh.out = append(x.sh.out, "\r\n"...)
	}
	return true
}

// unsentHighWaters is how many times HighWaterBytes may wait for the socket of what write() was
// given on a loop, which cannot wait for the client: 2 MiB by default, so that the answers
// fit that are usually written, and a thousand clients that do not read cost 2 GiB and not
// whatever the application writes.
const unsentHighWaters = 8

var errTooMuchUnsent = fmt.Errorf("server: write() was given %d times the option HighWaterBytes more than the client has taken, and cannot wait for it on the event loop; "+
	"return a Body, which is asked for as much as the client takes, or use Auto or Pool for the option Dispatch", unsentHighWaters)

// writer is the write() form of a response.
type writer exchange

// Write sends p before anything of the Body: at once, unless the application gathers. What
// waits in h.out goes out when the call returns, and when its loop is taken from it.
func (w *writer) Write(p []byte) (n int, err error) {
	x := (*exchange)(w)
	was := x.sh.calls.EnterServer(&x.call)
	if was == callstate.HandedOff {
		return (*jobWriter)(x.job).Write(p)
	}
	defer func() { x.call.ReturnToApp(was) }()
	switch {
	case x.resp.err != nil:
		return 0, x.resp.err
	case x.sock == nil || !x.resp.started || x.resp.complete: // kept beyond its response
		return 0, net.ErrClosed
	case !x.sock.Alive():
		return 0, gateway.ErrClientGone
	case len(p) == 0:
		return 0, nil
	case !x.resp.headSent:
		x.commit(-1)
	}
	// p is the caller's again after the call: in pieces small enough to copy.
	for n < len(p) {
		switch {
		case !x.sock.Full():
		case x.handOffInServer(was):
			was = callstate.HandedOff
			k, err := (*jobWriter)(x.job).Write(p[n:])
			return n + k, err
		case x.sock.Unsent() > int64(unsentHighWaters*x.sh.cfg.loop.HighWaterBytes):
			x.resp.err = errTooMuchUnsent
			return n, errTooMuchUnsent
		}
		k := min(len(p)-n, copyBytesMax)
		if x.resp.framing == byLength {
			k = int(min(int64(k), x.resp.bytesLeft))
		}
		if k == 0 {
			return n, errTooLong
		}
		if _ = x.send(p[n : n+k]); !x.resp.gather || len(x.sh.out) >= gatherBytes {
			x.sh.flush(x.sock)
		}
		n += k
	}
	return n, nil
}
