package server

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/server/internal/callstate"
	"github.com/isbjorn/isbjorn/server/internal/respond"
)

var errNotStarted = errors.New("server: the application returned without calling start")

// startResponse makes the gateway.StartResponse of x. The head is rendered in the call: status and headers
// are the application's again when it returns.
func (x *exchange) startResponse() gateway.StartResponse {
	return func(status string, headers []gateway.Header, exc error) (io.Writer, error) {
		was := x.sh.calls.EnterServer(&x.app.call) // enter written out: every request comes here
		if was == callstate.HandedOff {
			return x.app.job.start(status, headers, exc)
		}
		var w io.Writer
		var err error
		if x.isOver() {
			err = net.ErrClosed
		} else if err = x.out.Declare(status, headers, exc); err == nil {
			w = (*writer)(x)
		} else if x.out.Err == nil {
			x.out.Err = err
		}
		x.leave(was)
		return w, err
	}
}

// commit decides the framing and appends the head to the output. known is the length of the content, -1 if
// it is unknown.
func (x *exchange) commit(known int64) {
	// While the server stops the answer says close, unless a next request was already read: that is served too.
	keep := x.out.keepAlive && (!x.sh.stopping || x.in.pipelined)
	request := respond.Request{HEAD: x.in.isHEAD, HTTP10: x.in.req.Minor == 0, KeepAlive: keep}
	x.sh.out, x.out.keepAlive = x.out.Commit(x.sh.out, known, request, &x.sh.date)
	if x.in.expect100 {
		x.in.clock.start(x.sh.now) // for the content: see workerDeadline
	}
}

// contentless reports whether the answer to this request has no content if its status is code. Then neither
// loop nor worker pulls a body, and what the application writes is dropped.
func (x *exchange) contentless(code int) bool { return respond.Contentless(code, x.in.isHEAD) }

// copyBytesMax is the largest chunk that is copied behind its head. A larger one is borrowed: a copy of it
// costs more than a second element of writev.
const copyBytesMax = 16 << 10

// send sends a chunk of content. A chunk over copyBytesMax is borrowed: b must not change until all output
// is sent (out.awaitSent). It returns an error if the content is longer than declared; what fits is sent.
func (x *exchange) send(b []byte) error {
	// The common case: a small chunk with a Content-Length.
	if r := &x.out.Response; r.Framing == respond.ByLength && int64(len(b)) <= min(r.Left, copyBytesMax) {
		r.Left -= int64(len(b))
		x.sh.out = append(x.sh.out, b...)
		return nil
	}
	out, n, err := x.out.Frame(x.sh.out, int64(len(b)))
	if b = b[:n]; len(b) <= copyBytesMax {
		out = append(out, b...)
	} else {
		x.sock.SendBorrowed(out, b)
		out = out[:0]
		x.out.awaitSent = x.sock.Unsent() > 0
	}
	x.sh.out = x.out.EndFrame(out, n)
	return err
}

// sendFile is send for the rest of a file, which the kernel sends (sendfile).
func (x *exchange) sendFile(file *gateway.FileBody) error {
	f, off, n := file.Range()
	out, n, err := x.out.Frame(x.sh.out, n)
	x.out.source.file, x.out.source.fileSize = file, n
	x.sock.SendFile(out, f, off, n)
	x.out.awaitSent = x.sock.Unsent() > 0
	x.sh.out = x.out.EndFrame(out[:0], n)
	return err
}

// unsentHighWaters is how many times HighWaterBytes may be unsent of what an application writes on a loop
// that cannot be handed off, as with Inline: write() cannot wait for the client there. By default it is
// 2 MiB: usual answers fit, and a thousand clients that do not read cost 2 GiB at most.
const unsentHighWaters = 8

var errTooMuchUnsent = fmt.Errorf("server: %d times the option HighWaterBytes of what was given to write() is unsent, and write() cannot wait for the client on the event loop; "+
	"return a Body, which is pulled as fast as the client reads, or use Auto or Pool for the option Dispatch", unsentHighWaters)

// writer is the write() form of a response.
type writer exchange

// Write implements io.Writer. It sends p before the chunks of the Body: at once, unless the application
// gathers. Gathered content is sent when the call of the application returns, or when the loop is handed off.
func (w *writer) Write(p []byte) (n int, err error) {
	x := (*exchange)(w)
	was, j := x.enter()
	if j != nil {
		return (*jobWriter)(j).Write(p)
	}
	defer func() { x.leave(was) }()
	switch {
	case x.out.Err != nil:
		return 0, x.out.Err
	case x.isOver() || !x.out.Started:
		return 0, net.ErrClosed
	case !x.sock.Alive():
		return 0, gateway.ErrClientGone
	case len(p) == 0:
		return 0, nil
	case !x.out.HeadSent:
		x.commit(-1)
	}
	// p is the caller's again after the call, so it is sent in pieces that send copies.
	for n < len(p) {
		switch {
		case !x.sock.Full():
		case x.handOffInServer(was): // the client reads slowly: the call waits for it as a worker
			was = callstate.HandedOff
			k, err := (*jobWriter)(x.app.job).Write(p[n:])
			return n + k, err
		case x.sock.Unsent() > int64(unsentHighWaters*x.sh.cfg.loop.HighWaterBytes): // Inline: it cannot wait
			x.out.Err = errTooMuchUnsent
			return n, errTooMuchUnsent
		}
		k := min(len(p)-n, copyBytesMax)
		if x.out.Framing == respond.ByLength {
			k = int(min(int64(k), x.out.Left))
		}
		if k == 0 {
			return n, respond.ErrTooLong
		}
		if _ = x.send(p[n : n+k]); !x.out.Gather || len(x.sh.out) >= gatherBytes {
			x.sh.flush(x.sock)
		}
		n += k
	}
	return n, nil
}
