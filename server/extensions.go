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

// What an application has beyond StartResponse and Body: see gateway/extensions.go. The exchange provides it
// on the loop, the job on a worker.

// Flush implements gateway.Flush on the loop.
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
	case !x.out.HeadSent: // more content may follow, so its length is unknown
		x.commit(-1)
	}
	x.sh.flush(x.sock)
	return nil
}

// Flush implements gateway.Flush on a worker. What was written is in the queue already: Flush has the loop
// send the head, and what is gathered.
func (w *jobWriter) Flush() error {
	j := (*job)(w)
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.closedToApp():
		return writerError(j.abandonCause)
	case j.out.err != nil:
		return j.out.err
	case !j.out.headTaken && !j.out.resp.Started: // the writer is of an earlier request
		return net.ErrClosed
	}
	j.out.flushed, j.out.flushedTo = true, j.out.queue.Len()
	j.wakeLoop()
	return nil
}

// gatherBytes is how much written content is gathered before it is sent, for an application that has called
// Gather: as much as net/http's server gathers.
const gatherBytes = 4 << 10

// Gather implements gateway.Gather on the loop.
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

// Gather implements gateway.Gather on a worker.
func (w *jobWriter) Gather() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out.gathers = true
}

// writerError is what the methods of the writer and of the Environ return when the response is over. why is
// job.abandonCause.
func writerError(why error) error {
	if why == nil || why == errAbandoned {
		return net.ErrClosed
	}
	return why
}

// abortOf returns p, the value of a panic, as an error if it is gateway.ErrAbort, else nil.
func abortOf(p any) error {
	if thrown.Is(p, gateway.ErrAbort) {
		return p.(error)
	}
	return nil
}

// noteAbort counts and logs a response that the application aborts.
func (x *exchange) noteAbort(err error) {
	if x.sock.Alive() { // else the client has ended it, and Closed counts that
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
	case x.in.req.Minor == 0: // no interim responses to HTTP/1.0: RFC 9110 section 15.2
		return nil
	}
	x.sh.out = respond.AppendInterim(x.sh.out, code, headers)
	x.sh.flush(x.sock)
	return nil
}

// Inform implements gateway.Conn on a worker. It waits while HighWaterBytes of interim responses are unsent.
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
	case j.x.in.req.Minor == 0: // as on the loop
		return nil
	}
	j.out.interim = respond.AppendInterim(j.out.interim, code, headers)
	j.wakeLoop()
	return nil
}

// sendInterim sends the interim responses of Inform. On the loop. Caller holds mu.
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
	case j.out.headTaken || j.out.flushed || j.out.queue.Len() > 0: // the loop may take resp at any time
		j.out.lateTrailer = respond.AppendFields(j.out.lateTrailer, headers)
	default:
		j.out.resp.AddTrailer(headers)
	}
	return nil
}

// LoopKey is the key of the Environ with the event loop of the connection, a *loop.Loop: for an application that
// waits for other connections on it (its Attach, Dial and Watch). Only Do of it may be called on another goroutine
// than the loop's, as where the application runs on a worker. The connections of TLS have no loop.
const LoopKey = "isbjorn.loop"

// Key and Keys: a connection of a loop has no TLS.
func (x *exchange) Key(key string) any {
	if key == LoopKey {
		return x.sh.loop
	}
	return nil
}

func (x *exchange) Keys() []string { return nil }
