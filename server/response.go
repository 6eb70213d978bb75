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

// enter and leave are around all of the server that an application may call, whatever its goroutine: the
// loop is not handed off in between, unless the code itself does that. Where a worker has the request, enter
// returns its job, which answers in place of the exchange; leave is not called then.
func (x *exchange) enter() (was callstate.State, j *job) {
	if was = x.sh.calls.EnterServer(&x.app.call); was == callstate.HandedOff {
		return was, x.app.job
	}
	return was, nil
}

func (x *exchange) leave(was callstate.State) { x.app.call.ReturnToApp(was) }

// isOver reports whether the application has kept what it got for longer than its response.
func (x *exchange) isOver() bool { return x.sock == nil || x.out.Complete }

// startResponse makes the gateway.StartResponse of x. It renders the head at once, so that
// nothing of the application's is kept.
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

// commit decides the framing and puts the head on its way. known is the length of the content, -1 if it
// is unknown.
func (x *exchange) commit(known int64) {
	keep := x.out.keepAlive && (!x.sh.stopping || x.in.pipelined)
	request := respond.Request{HEAD: x.in.isHEAD, HTTP10: x.in.req.Minor == 0, KeepAlive: keep}
	x.sh.out, x.out.keepAlive = x.out.Commit(x.sh.out, known, request, &x.sh.date)
	if x.in.expect100 {
		x.in.clock.since, x.in.clock.bytes = x.sh.now, 0 // the client's time for the content begins: see workerDeadline
	}
}

// contentless reports whether the answer to this request has no content if it has this code. Then
// neither loop nor worker pulls a body or keeps what is written.
func (x *exchange) contentless(code int) bool { return respond.Contentless(code, x.in.isHEAD) }

// copyBytesMax is the largest chunk that is copied behind its head. Above it the
// copy costs more than sending from where it is.
const copyBytesMax = 16 << 10

// send puts a chunk of content on its way. It reports an error when the content
// was longer than promised; what fits is sent.
func (x *exchange) send(b []byte) error {
	if r := &x.out.Response; r.Framing == respond.ByLength && int64(len(b)) <= min(r.Left, copyBytesMax) { // as most are
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

// sendFile is send for all that is left of a file, which the kernel sends.
func (x *exchange) sendFile(file *gateway.FileBody) error {
	f, off, n := file.Range()
	out, n, err := x.out.Frame(x.sh.out, n)
	x.out.source.file, x.out.source.fileSize = file, n
	x.sock.SendFile(out, f, off, n)
	x.out.awaitSent = x.sock.Unsent() > 0
	x.sh.out = x.out.EndFrame(out[:0], n)
	return err
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
	// p is the caller's again after the call: in pieces small enough to copy.
	for n < len(p) {
		switch {
		case !x.sock.Full():
		case x.handOffInServer(was):
			was = callstate.HandedOff
			k, err := (*jobWriter)(x.app.job).Write(p[n:])
			return n + k, err
		case x.sock.Unsent() > int64(unsentHighWaters*x.sh.cfg.loop.HighWaterBytes):
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
