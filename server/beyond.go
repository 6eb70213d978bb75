package server

import (
	"errors"
	"log/slog"
	"net"

	"github.com/isbjorn/isbjorn/gateway"
)

// What an application gets beyond StartResponse and Body: see gateway/beyond.go. An
// exchange gives it to who runs on the loop, a job to who runs on a worker.

// Flush is gateway.Flusher on the loop.
func (w *writer) Flush() error {
	x := (*exchange)(w)
	switch {
	case x.resp.err != nil:
		return x.resp.err
	case x.c == nil || !x.resp.started || x.resp.whole || !x.c.Alive():
		return net.ErrClosed
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
	case j.over != nil || j.left:
		return told(j.over)
	case j.err != nil:
		return j.err
	}
	j.flushed = true
	j.tell()
	return nil
}

// told is what a call of an application returns whose response is over, and why.
func told(why error) error {
	if why == nil || why == errOver || why == gateway.ErrClientGone {
		return net.ErrClosed
	}
	return why
}

// abortOf is what was thrown as an error, if that is gateway.ErrAbort.
func abortOf(p any) error {
	if err, ok := p.(error); ok && errors.Is(err, gateway.ErrAbort) {
		return err
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
