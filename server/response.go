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
		if x.sock == nil || x.resp.Complete {
			err = net.ErrClosed // kept beyond its response
		} else if err = x.resp.Declare(status, headers, exc); err == nil {
			w = (*writer)(x)
		} else if x.resp.Err == nil {
			x.resp.Err = err
		}
		x.call.ReturnToApp(was)
		return w, err
	}
}

// commit decides the framing and puts the head on its way. known is the length of the content, -1 if it
// is unknown.
func (x *exchange) commit(known int64) {
	keep := x.keepAlive && (!x.sh.stopping || x.pipelined)
	x.sh.out, x.keepAlive = x.resp.Commit(x.sh.out, known, respond.Request{HEAD: x.isHEAD, HTTP10: x.req.Minor == 0, KeepAlive: keep}, &x.sh.date)
	if x.expect100 {
		x.bodyClock, x.bodyBytes = x.sh.now, 0 // the client's time for the content begins: see workerDeadline
	}
}

// contentless reports whether the answer to this request has no content if it has this code. Then
// neither loop nor worker pulls a body or keeps what is written.
func (x *exchange) contentless(code int) bool { return respond.Contentless(code, x.isHEAD) }

// copyBytesMax is the largest chunk that is copied behind its head. Above it the
// copy costs more than sending from where it is.
const copyBytesMax = 16 << 10

// send puts a chunk of content on its way. It reports an error when the content
// was longer than promised; what fits is sent.
func (x *exchange) send(b []byte) error {
	if r := &x.resp; r.Framing == respond.ByLength && int64(len(b)) <= min(r.Left, copyBytesMax) { // as most are
		r.Left -= int64(len(b))
		x.sh.out = append(x.sh.out, b...)
		return nil
	}
	out, n, err := x.resp.Frame(x.sh.out, int64(len(b)))
	if b = b[:n]; len(b) <= copyBytesMax {
		out = append(out, b...)
	} else {
		x.sock.SendBorrowed(out, b)
		out = out[:0]
		x.borrowed = x.sock.Unsent() > 0
	}
	x.sh.out = x.resp.EndFrame(out, n)
	return err
}

// sendFile is send for all that is left of a file, which the kernel sends.
func (x *exchange) sendFile(file *gateway.FileBody) error {
	f, off, n := file.Range()
	out, n, err := x.resp.Frame(x.sh.out, n)
	x.file, x.fileSize = file, n
	x.sock.SendFile(out, f, off, n)
	x.borrowed = x.sock.Unsent() > 0
	x.sh.out = x.resp.EndFrame(out[:0], n)
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
	was := x.sh.calls.EnterServer(&x.call)
	if was == callstate.HandedOff {
		return (*jobWriter)(x.job).Write(p)
	}
	defer func() { x.call.ReturnToApp(was) }()
	switch {
	case x.resp.Err != nil:
		return 0, x.resp.Err
	case x.sock == nil || !x.resp.Started || x.resp.Complete: // kept beyond its response
		return 0, net.ErrClosed
	case !x.sock.Alive():
		return 0, gateway.ErrClientGone
	case len(p) == 0:
		return 0, nil
	case !x.resp.HeadSent:
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
			x.resp.Err = errTooMuchUnsent
			return n, errTooMuchUnsent
		}
		k := min(len(p)-n, copyBytesMax)
		if x.resp.Framing == respond.ByLength {
			k = int(min(int64(k), x.resp.Left))
		}
		if k == 0 {
			return n, respond.ErrTooLong
		}
		if _ = x.send(p[n : n+k]); !x.resp.Gather || len(x.sh.out) >= gatherBytes {
			x.sh.flush(x.sock)
		}
		n += k
	}
	return n, nil
}
