package server

import (
	"errors"
	"log/slog"
	"net"
	"os"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/thrown"
	"github.com/isbjorn/isbjorn/server/internal/respond"
)

// What an application gets beyond StartResponse and Body: see gateway/extensions.go. An
// exchange gives it to who runs on the loop, a job to who runs on a worker.

// Flush is that of gateway.Flush on the loop.
func (w *writer) Flush() error {
	x := (*exchange)(w)
	was, j := x.enter()
	if j != nil {
		return (*jobWriter)(j).Flush()
	}
	defer x.leave(was)
	switch {
	case x.out.Err != nil:
		return x.out.Err
	case x.isOver() || !x.out.Started:
		return net.ErrClosed
	case !x.sock.Alive():
		return gateway.ErrClientGone
	case !x.out.HeadSent:
		x.commit(-1)
	}
	x.sh.flush(x.sock)
	return nil
}

// Flush is that of gateway.Flush on a worker. What was written is on its way already.
func (w *jobWriter) Flush() error {
	j := (*job)(w)
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.closedToApp():
		return writerError(j.abandonCause)
	case j.out.err != nil:
		return j.out.err
	case !j.out.headTaken && !j.out.resp.Started: // kept from a request before
		return net.ErrClosed
	}
	j.out.flushed, j.out.flushedTo = true, j.out.queue.Len()
	j.wakeLoop()
	return nil
}

// gatherBytes is how much of what is written waits for more, for an application that
// gathers: what net/http's server gathers.
const gatherBytes = 4 << 10

// Gather is that of gateway.Gather on the loop.
func (w *writer) Gather() {
	x := (*exchange)(w)
	was, j := x.enter()
	if j != nil {
		(*jobWriter)(j).Gather()
		return
	}
	x.out.Gather = true
	x.leave(was)
}

// Gather is that of gateway.Gather on a worker.
func (w *jobWriter) Gather() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out.gathers = true
}

// told is what a call of an application returns whose response is over, and why.
func writerError(why error) error {
	if why == nil || why == errAbandoned {
		return net.ErrClosed
	}
	return why
}

// abortOf is what was thrown as an error, if that is gateway.ErrAbort.
func abortOf(p any) error {
	if thrown.Is(p, gateway.ErrAbort) {
		return p.(error)
	}
	return nil
}

// noteAbort counts a response that the application aborts.
func (x *exchange) noteAbort(err error) {
	if x.sock.Alive() { // else it is the client who has left
		x.sh.count(aborted)
	}
	x.log(slog.LevelDebug, "the application has aborted its response", slog.Any("error", err))
}

var errInformLate = errors.New("server: Inform was called after start, or after the response has ended; call it before")

// Inform implements gateway.Conn on the loop.
func (x *exchange) Inform(code int, headers []gateway.Header) error {
	was, j := x.enter()
	if j != nil {
		return j.Inform(code, headers)
	}
	defer x.leave(was)
	switch {
	case x.sock == nil:
		return net.ErrClosed
	case !x.sock.Alive():
		return gateway.ErrClientGone
	case x.out.Started || x.out.Complete:
		return errInformLate
	case x.in.req.Minor == 0: // RFC 9110 section 15.2
		return nil
	}
	x.sh.out = respond.AppendInterim(x.sh.out, code, headers)
	x.sh.flush(x.sock)
	return nil
}

// Inform implements gateway.Conn on a worker. It waits where the client is slow.
func (j *job) Inform(code int, headers []gateway.Header) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.abandonCause == nil && !j.out.deadline.passed && len(j.out.interim) >= j.x.sh.cfg.loop.HighWaterBytes {
		j.cond.Wait()
	}
	switch {
	case j.closedToApp():
		return writerError(j.abandonCause)
	case j.out.deadline.passed:
		return os.ErrDeadlineExceeded
	case j.out.headTaken || j.out.resp.Started:
		return errInformLate
	case j.x.in.req.Minor == 0:
		return nil
	}
	j.out.interim = respond.AppendInterim(j.out.interim, code, headers)
	j.wakeLoop()
	return nil
}

// takeInterim puts what Inform was given on its way.
func (j *job) sendInterim() {
	if len(j.out.interim) > 0 {
		j.x.sh.out = append(j.x.sh.out, j.out.interim...)
		j.out.interim = j.out.interim[:0]
		j.cond.Broadcast()
	}
}

// Trailer implements gateway.Conn on the loop.
func (x *exchange) Trailer(headers []gateway.Header) error {
	was, j := x.enter()
	if j != nil {
		return j.Trailer(headers)
	}
	defer x.leave(was)
	if x.isOver() {
		return net.ErrClosed
	}
	x.out.AddTrailer(headers)
	return nil
}

// Trailer implements gateway.Conn on a worker.
func (j *job) Trailer(headers []gateway.Header) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.closedToApp():
		return writerError(j.abandonCause)
	case j.out.headTaken || j.out.flushed || j.out.queue.Len() > 0: // however far the loop is
		j.out.lateTrailer = respond.AppendFields(j.out.lateTrailer, headers)
	default:
		j.out.resp.AddTrailer(headers)
	}
	return nil
}
