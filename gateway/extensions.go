package gateway

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"time"

	"github.com/isbjorn/isbjorn/internal/field"
)

// What PEP 3333 does not have. An application asks its server for it, and goes on without it
// where the error is errors.ErrUnsupported.

// ErrAbort is the error, alone or wrapped, of an application that ends its response here without
// a line in the log: returned by Serve or Next, or thrown by either as a panic. The client sees a
// response that is not complete, unless all bytes of its Content-Length were sent; if nothing was
// sent, the connection ends without an answer. An error of start counts for more.
var ErrAbort = errors.New("gateway: the application aborts its response")

// Flush sends what was declared and written until now, the head too if there is no content yet.
// The content therefore has a declared length, or is chunked, or ends with the connection for
// HTTP/1.0; and start can replace nothing any more. On a worker Flush does not wait for the
// client. Errors are those of Write, and errors.ErrUnsupported if w cannot flush.
//
// w is a writer of [StartResponse]. A middleware that wraps one passes both on, by the methods
// Flush() error and Gather():
//
//	func (w writer) Flush() error { return gateway.Flush(w.inner) }
//	func (w writer) Gather()      { gateway.Gather(w.inner) }
func Flush(w io.Writer) error {
	if f, ok := w.(interface{ Flush() error }); ok {
		return f.Flush()
	}
	return errCannotFlush
}

var errCannotFlush = fmt.Errorf("gateway: this writer cannot flush: %w", errors.ErrUnsupported)

// Gather lets w, a writer of start, collect what is written from now on: it is sent when there
// are some KiB of it, at Flush, or with the end of the response, then in one packet with it. Where
// w has no method Gather it does nothing. It is for bridges to interfaces whose writers have
// buffers: PEP 3333 wants the bytes of each write() on their way before it returns.
func Gather(w io.Writer) {
	if g, ok := w.(interface{ Gather() }); ok {
		g.Gather()
	}
}

// Inform sends an interim response before the final one: 103 with Link fields, for example, or
// 102. For HTTP/1.0 clients Inform does nothing. 100 is not for the application, since the server
// sends it when content is first read, nor is 101, see [Environ.Hijack]. headers are checked like
// those of start; Content-Length, Connection and Trailer are errors, and so is a call after start.
// Then nothing is sent; the error does not stick. RFC 9110 section 15.2, RFC 8297.
func (e *Environ) Inform(code int, headers []Header) error {
	e.check()
	if err := e.validateCall(checkInterim(code, headers), (*validator).checkInform); err != nil {
		return err
	}
	return e.serverConn().Inform(code, headers)
}

// checkInterim checks the arguments of Inform.
func checkInterim(code int, headers []Header) error {
	if code < 102 || code > 199 {
		return fmt.Errorf("gateway: Inform with status %d; use 102 to 199", code)
	}
	for i := range headers {
		switch kind, err := field.Check(headers[i].Name, headers[i].Value); {
		case err != nil:
			return err
		case kind == field.ContentLength, kind == field.Connection, kind == field.Trailer:
			return fmt.Errorf("gateway: Inform with header %s, which is for final responses", headers[i].Name)
		}
	}
	return nil
}

// Trailer adds fields that are sent after the content, such as a checksum of it: until Serve has
// returned, or in Next of a Body before it returns io.EOF. Each is checked like the headers of
// start, and is no field that a client needs before the content, such as Content-Type; where one is
// wrong none is added, and the error does not stick.
//
// Only chunked content has a place for them. They are dropped for a response with a Content-Length
// that the application declared, for HTTP/1.0 clients, for HEAD, and for 204 and 304. Len of the
// Body is no such length, if the application has called Trailer before the head was sent, maybe
// with no headers, or has declared the field "Trailer", which tells the client the names: then the
// response is chunked. A second call of start, with exc, forgets the fields. RFC 9110 section 6.5.
func (e *Environ) Trailer(headers []Header) error {
	e.check()
	var err error
	for i := range headers {
		if err = field.CheckTrailer(headers[i].Name, headers[i].Value); err != nil {
			break
		}
	}
	if err = e.validateCall(err, (*validator).checkTrailer); err != nil {
		return err
	}
	return e.serverConn().Trailer(headers)
}

// RequestTrailer yields the trailer fields of the request as they came, once Input has returned
// io.EOF: chunked content may have some, such as a checksum of it. Before that there are none. The
// server limits them (the options TrailerBytes and TrailerFields of package server), and refuses a
// request with fields that would change what its head has decided. Fields that an Environ hides
// are not among them. RFC 9110 section 6.5.
func (e *Environ) RequestTrailer() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		e.check()
		e.serverConn().ReadTrailer(func(name, value string) bool {
			return e.hidden([]byte(name)) || yield(name, value)
		})
	}
}

// ErrHijacked is the error of start, its writer and Input after [Environ.Hijack].
var ErrHijacked = errors.New("gateway: the connection was taken over by Hijack")

// Hijack gives the connection to the application, for an upgrade for example: conn is a TCP or
// Unix connection, which the application closes, and rest the bytes that the server has read
// beyond this request and that belong before what conn reads, such as a pipelined request. The
// server sends and closes nothing on it any more, and ignores what Serve returns. Context lasts
// until Serve returns. When the server stops, [Environ.Stopping] is closed, and the server waits
// for Serve to return, within the time that its stop may take; it does not wait for a goroutine
// that uses conn after that.
//
// Hijack waits until the answers before this one are sent. It is an error after a part of this
// answer was sent, and while content of the request is unread: Read has to have returned io.EOF,
// or as many bytes as Content-Length says. After an error the request goes on as before.
//
// It needs a worker (the option Dispatch: Pool of package server); elsewhere the error is
// errors.ErrUnsupported. Its goroutine does not count among Workers any more; conn may be used on
// another goroutine.
func (e *Environ) Hijack() (conn net.Conn, rest []byte, err error) {
	e.check()
	switch {
	case e.hijacked():
		return nil, nil, ErrHijacked
	case e.input.unread() != 0:
		return nil, nil, errHijackContent
	}
	if conn, rest, err = e.serverConn().Hijack(); err != nil {
		return nil, nil, err
	}
	e.input.remaining, e.input.err = unknownLength, ErrHijacked
	for g := e.guard; g != nil; g = g.of.guard { // also of the Environs that Debug and Validate have wrapped
		g.of.input.remaining, g.of.input.err = unknownLength, ErrHijacked
		if g.validator != nil {
			g.validator.hijacked = true
		}
	}
	return conn, rest, nil
}

func (e *Environ) hijacked() bool { return e.input.err == ErrHijacked }

var errHijackContent = errors.New("gateway: Hijack with content that is not read; read Input to io.EOF first")

// SetReadDeadline sets when a Read of Input stops waiting: at t, or at once if t is past, it
// returns os.ErrDeadlineExceeded, which sticks like every error of Input. The rest of the content
// is not read, and the connection closes after the response. The zero Time sets no deadline. It
// may be called from any goroutine until Serve and Next have returned, also while a Read waits,
// and ends with the request.
//
// Only content that is still on its way is waited for. Where the server has collected all of it
// before the call, and on event loops, the error may be errors.ErrUnsupported: see the option
// Dispatch: Pool of package server.
func (e *Environ) SetReadDeadline(t time.Time) error {
	e.check()
	return e.serverConn().SetReadDeadline(t)
}

// SetWriteDeadline sets when the writer of start, Inform, and the pulling of a Body that is not
// [Ready] stop waiting for room to a slow client, as SetReadDeadline does for Input; after it each
// Write fails. A response that has missed a write is cut, as by ErrAbort, whatever the application
// returns. What was written before it is still sent, as long as the server waits for the client.
func (e *Environ) SetWriteDeadline(t time.Time) error {
	e.check()
	return e.serverConn().SetWriteDeadline(t)
}

// CloseInput says that the application reads no more of Input. A Read in which another goroutine
// of the application waits returns an error, and the connection closes after the response, since
// the rest of the content is not read. It is for bridges to interfaces that let a goroutine read
// after the handler has returned, as net/http's does: the bridge waits for that goroutine before
// it returns from Serve. Where content does not come while the application runs it does nothing.
func (e *Environ) CloseInput() { e.serverConn().CloseInput() }

// Statuses that are never sent: for logs, as nginx has them.
const (
	StatusNoResponse   = 444 // the connection ended without an answer: ErrAbort, or the server stopped
	StatusClientClosed = 499 // the client closed the connection before the answer
)

// SentStatus is the status that the client was sent instead of the one that start declared: a
// refusal by the server (504 for RequestTimeout, 408 for content that does not come),
// StatusNoResponse or StatusClientClosed; 101 after [Environ.Hijack], when the application speaks
// with the client itself; 0 if it is the declared one. For middlewares that log, when the response
// is closed.
func (e *Environ) SentStatus() int {
	if e.hijacked() {
		return 101
	}
	return e.serverConn().SentStatus()
}
