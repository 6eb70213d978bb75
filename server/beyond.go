package server

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/thrown"
)

// What an application gets beyond StartResponse and Body: see gateway/beyond.go. An
// exchange gives it to who runs on the loop, a job to who runs on a worker.

// Flush is gateway.Flusher on the loop.
func (w *writer) Flush() error {
	x := (*exchange)(w)
	was := x.h.hold.surface(&x.asks)
	if was == away {
		return (*jobWriter)(x.job).Flush()
	}
	defer x.asks.dive(was)
	switch {
	case x.resp.err != nil:
		return x.resp.err
	case x.c == nil || !x.resp.started || x.resp.whole: // kept beyond its response
		return net.ErrClosed
	case !x.c.Alive():
		return gateway.ErrClientGone
	case !x.resp.sent:
		x.commit(-1)
	}
	x.h.flush(x.c)
	return nil
}

// Flush is gateway.Flusher on a worker. What was written is on its way already.
func (w *jobWriter) Flush() error {
	j := (*job)(w)
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.gone():
		return told(j.over)
	case j.err != nil:
		return j.err
	case !j.began && !j.resp.started: // kept from a request before
		return net.ErrClosed
	}
	j.flushed, j.due = true, j.out.len()
	j.tell()
	return nil
}

// gatherBytes is how much of what is written waits for more, for an application that
// gathers: what net/http's server gathers.
const gatherBytes = 4 << 10

// Gather is gateway.Gatherer on the loop.
func (w *writer) Gather() {
	x := (*exchange)(w)
	was := x.h.hold.surface(&x.asks)
	if was == away {
		(*jobWriter)(x.job).Gather()
		return
	}
	x.resp.gathers = true
	x.asks.dive(was)
}

// Gather is gateway.Gatherer on a worker.
func (w *jobWriter) Gather() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gathers = true
}

// told is what a call of an application returns whose response is over, and why.
func told(why error) error {
	if why == nil || why == errOver {
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
	if x.c.Alive() { // else it is the client who has left
		x.h.count(aborted)
	}
	x.log(slog.LevelDebug, "the application has aborted its response", slog.Any("error", err))
}

var errInformLate = errors.New("server: Inform was called after start, or after the response has ended; call it before")

// Inform is gateway.Informer on the loop.
func (x *exchange) Inform(code int, headers []gateway.Header) error {
	was := x.h.hold.surface(&x.asks)
	if was == away {
		return x.job.Inform(code, headers)
	}
	defer x.asks.dive(was)
	switch {
	case x.c == nil:
		return net.ErrClosed
	case !x.c.Alive():
		return gateway.ErrClientGone
	case x.resp.started || x.resp.whole:
		return errInformLate
	case x.req.Minor == 0: // RFC 9110 section 15.2
		return nil
	}
	x.h.out = appendInterim(x.h.out, code, headers)
	x.h.flush(x.c)
	return nil
}

// Inform is gateway.Informer on a worker. It waits where the client is slow.
func (j *job) Inform(code int, headers []gateway.Header) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.over == nil && !j.writeBy.passed && len(j.interim) >= j.x.h.c.loop.HighWaterBytes {
		j.cond.Wait()
	}
	switch {
	case j.gone():
		return told(j.over)
	case j.writeBy.passed:
		return os.ErrDeadlineExceeded
	case j.began || j.resp.started:
		return errInformLate
	case j.x.req.Minor == 0:
		return nil
	}
	j.interim = appendInterim(j.interim, code, headers)
	j.tell()
	return nil
}

// takeInterim puts what Inform was given on its way.
func (j *job) takeInterim() {
	if len(j.interim) > 0 {
		j.x.h.out = append(j.x.h.out, j.interim...)
		j.interim = j.interim[:0]
		j.cond.Broadcast()
	}
}

// appendInterim appends an interim response.
func appendInterim(b []byte, code int, headers []gateway.Header) []byte {
	b = append(b, statusPrefix...)
	b = strconv.AppendInt(b, int64(code), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(code)...)
	b = append(b, "\r\n"...)
	b = appendFields(b, headers)
	return append(b, "\r\n"...)
}

// appendFields appends field lines, which are checked.
func appendFields(b []byte, headers []gateway.Header) []byte {
	for _, h := range headers {
		b = append(b, h.Name...)
		b = append(b, ": "...)
		b = append(b, h.Value...)
		b = append(b, "\r\n"...)
	}
	return b
}

// Trailer is gateway.Trailers on the loop.
func (x *exchange) Trailer(headers []gateway.Header) error {
	was := x.h.hold.surface(&x.asks)
	if was == away {
		return x.job.Trailer(headers)
	}
	defer x.asks.dive(was)
	if x.c == nil || x.resp.whole {
		return net.ErrClosed
	}
	x.resp.addTrailer(headers)
	return nil
}

// Trailer is gateway.Trailers on a worker.
func (j *job) Trailer(headers []gateway.Header) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.gone():
		return told(j.over)
	case j.began || j.flushed || j.out.len() > 0: // however far the loop is
		j.late = appendFields(j.late, headers)
	default:
		j.resp.addTrailer(headers)
	}
	return nil
}

func (r *response) addTrailer(headers []gateway.Header) {
	r.trailers = true
	r.trailer = appendFields(r.trailer, headers)
}
