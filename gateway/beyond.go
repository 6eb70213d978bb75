package gateway

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"strings"
	"time"
)

// What is beyond PEP 3333's idea: an application that needs it asks its server, and
// works on without it where the answer is errors.ErrUnsupported.

// ErrAbort is the error, alone or wrapped, of an application that wants its response to
// end here, and nothing said of it: returned by Serve or Next, or thrown by either as a
// panic. What was sent does not look whole, unless it is, with its Content-Length; if
// nothing was, the client sees the end of the connection and no answer. An error of
// start counts for more.
var ErrAbort = errors.New("gateway: the application aborts its response")

// Flusher is a writer of [StartResponse] that can send at once. Those of a server's own
// are, and a middleware that wraps one passes Flush on: see [Flush].
type Flusher interface {
	// Flush sends what was declared and written until now, the head too if there is no
	// content yet. So the length of the content has to be declared, or is unknown: it is
	// chunked, or ends with the connection for HTTP/1.0. After it start can replace
	// nothing any more. On a goroutine of the application's own Flush does not wait for
	// the client. An error is that of a Write.
	Flush() error
}

// Flush flushes w, a writer of start or one that wraps such a writer. The error is
// errors.ErrUnsupported if w is no [Flusher].
func Flush(w io.Writer) error {
	if f, ok := w.(Flusher); ok {
		return f.Flush()
	}
	return errNoFlush
}

var errNoFlush = fmt.Errorf("gateway: this writer cannot flush: %w", errors.ErrUnsupported)

// Gatherer is a writer of [StartResponse] that can gather what is written. Those of package
// server are, and a middleware that wraps one and passes Flush on does so with Gather.
type Gatherer interface {
	// Gather says that what is written from now on need not be sent at once: it waits
	// until it is some KiB, or for Flush, or the end of the response, with which the last
	// of it then leaves in one packet.
	Gather()
}

// Gather has w, a writer of start, gather what is written; it does nothing if w is no
// [Gatherer]. It is for bridges to interfaces whose writers have buffers: PEP 3333 wants
// each write() on its way before it returns.
func Gather(w io.Writer) {
	if g, ok := w.(Gatherer); ok {
		g.Gather()
	}
}

// Inform sends an interim response before the final one: 103 with Link fields, say, or
// 102. Only HTTP/1.1 clients get it; for others, Inform does nothing. Not 100, which is
// the server's to send when content is first read, nor 101, see [Environ.Hijack]. headers
// are checked like those of start, and Content-Length, Connection and Trailer are wrong;
// so is a call after start. Then nothing is sent; the error does not stick. RFC 9110
// section 15.2, RFC 8297.
func (e *Environ) Inform(code int, headers []Header) error {
	e.check()
	if err := e.validated(checkInterim(code, headers), (*validator).inform); err != nil {
		return err
	}
	if c, ok := e.conn.(Informer); ok {
		return c.Inform(code, headers)
	}
	return fmt.Errorf("gateway: this server has no Inform: %w", errors.ErrUnsupported)
}

// Informer is a Conn whose server sends interim responses. For servers: what they are
// given is checked, and lent for the call. After start they return an error.
type Informer interface {
	Inform(code int, headers []Header) error
}

// checkInterim checks what Inform is given.
func checkInterim(code int, headers []Header) error {
	if code < 102 || code > 199 {
		return fmt.Errorf("gateway: Inform with status %d; use 102 to 199", code)
	}
	for i := range headers {
		switch kind, err := CheckHeader(&headers[i]); {
		case err != nil:
			return err
		case kind == ContentLength, kind == Connection, kind == Trailer:
			return fmt.Errorf("gateway: Inform with header %s, which is for final responses", headers[i].Name)
		}
	}
	return nil
}

// validated asks those who validate the request of e about a call that has the error
// err: the first of them to find something answers.
func (e *Environ) validated(err error, ask func(v *validator, err error) error) error {
	for l := e.lease; l != nil; l = l.of.lease {
		if l.v == nil {
			continue
		}
		if l.v.failed != nil {
			return l.v.failed
		}
		if breach := ask(l.v, err); breach != nil {
			return breach
		}
	}
	return err
}

// inform checks a call of Inform whose arguments have the error err.
func (v *validator) inform(err error) error {
	switch {
	case err != nil:
		return v.fail(&ruleInform, "%v", err)
	case v.started:
		return v.fail(&ruleInform, "it was called before")
	}
	return nil
}

// Trailer adds fields that are sent after the content, such as a checksum of it: until
// Serve has returned, or in Next of a Body before it says io.EOF. Each is checked, see
// CheckTrailer; where one is wrong none is added, and the error does not stick.
//
// Only chunked content has a place for them. Other responses go without: those with a
// Content-Length that the application declared, to HTTP/1.0 clients, to HEAD, and 204 or
// 304. What the Body says by Len is no such length, if the application has called
// Trailer before the head was sent, with no headers maybe, or declares the field
// "Trailer", which tells the client the names: then the response is chunked. A second
// call of start, with exc, forgets the fields. RFC 9110 section 6.5.
func (e *Environ) Trailer(headers []Header) error {
	e.check()
	var err error
	for i := range headers {
		if err = CheckTrailer(&headers[i]); err != nil {
			break
		}
	}
	if err = e.validated(err, (*validator).trailer); err != nil {
		return err
	}
	if c, ok := e.conn.(Trailers); ok {
		return c.Trailer(headers)
	}
	return fmt.Errorf("gateway: this server has no Trailer: %w", errors.ErrUnsupported)
}

// Trailers is a Conn whose server sends trailer fields. For servers: what they are given
// is checked, and lent for the call.
type Trailers interface {
	Trailer(headers []Header) error
}

// trailer checks a call of Trailer whose arguments have the error err.
func (v *validator) trailer(err error) error {
	if err != nil {
		return v.fail(&ruleTrailer, "%v", err)
	}
	return nil
}

// RequestTrailer yields the trailer fields of the request as they came, when Input has
// said io.EOF: chunked content may have some, a checksum of it say. Before that there are
// none. They are bounded by the server, for package server by its options TrailerBytes and
// TrailerFields; those that would change what was decided by the head are refused. Fields
// that an Environ does not show are not among them. RFC 9110 section 6.5.
func (e *Environ) RequestTrailer() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		e.check()
		c, ok := e.conn.(TrailerReader)
		if !ok {
			return
		}
		c.ReadTrailer(func(name, value string) bool {
			return e.hidden([]byte(name)) || yield(name, value)
		})
	}
}

// TrailerReader is a Conn that has the trailer fields of its request, when their content
// has been read. For servers. What it yields is lent until [Environ.End].
type TrailerReader interface {
	ReadTrailer(yield func(name, value string) bool)
}

// CheckTrailer checks a field as given to [Environ.Trailer]: like a header, and it is
// none that a client must know before the content.
func CheckTrailer(h *Header) error {
	if _, err := CheckHeader(h); err != nil {
		return err
	}
	if name := strings.ToLower(h.Name); early[name] || strings.HasPrefix(name, "if-") {
		return fmt.Errorf("gateway: header %s has no meaning after the content; pass it to start", h.Name)
	}
	return nil
}

// early are the fields that cannot be trailers, besides those that are the server's:
// RFC 9110 section 6.5.1.
var early = map[string]bool{
	// framing and routing
	"content-length": true, "connection": true, "host": true, "trailer": true,
	// how a message is to be taken
	"cache-control": true, "expect": true, "max-forwards": true, "pragma": true, "range": true,
	// authentication
	"authorization": true, "cookie": true, "set-cookie": true, "www-authenticate": true,
	// control data of responses
	"age": true, "date": true, "expires": true, "location": true, "retry-after": true, "vary": true, "warning": true,
	// what the content is
	"content-encoding": true, "content-range": true, "content-type": true,
}

// ErrHijacked is what start, its writer and Input return when the connection is the
// application's.
var ErrHijacked = errors.New("gateway: the connection was taken over by Hijack")

// Hijack gives the connection to the application, for an upgrade say: conn is a TCP or
// Unix connection, to be closed by its new owner, and rest what was read from it and
// belongs before what conn reads, such as a request behind this one. The server does not
// touch it again: it sends and closes nothing, and what Serve returns is ignored. Context goes
// on until Serve returns. When the server stops, [Environ.Stopping] tells, and the server
// waits for Serve to return, as long as its stop may take; not for a goroutine that goes on
// with conn after that.
//
// It waits until the answers before this one are sent, and is an error after a part of
// this one was, or while content of the request is unread: Read has to have said io.EOF,
// or as many bytes as Content-Length have to be read. Then the request goes on.
//
// Only on a goroutine of the application's own (the option Dispatch(Pool) of package
// server), elsewhere the error is errors.ErrUnsupported. The goroutine has no place
// among Workers any more; conn may go to another.
func (e *Environ) Hijack() (conn net.Conn, rest []byte, err error) {
	e.check()
	c, ok := e.conn.(Hijacker)
	switch {
	case !ok:
		return nil, nil, fmt.Errorf("gateway: this server has no Hijack: %w", errors.ErrUnsupported)
	case e.Hijacked():
		return nil, nil, ErrHijacked
	case e.input.left() != 0:
		return nil, nil, errHijackContent
	}
	if conn, rest, err = c.Hijack(); err != nil {
		return nil, nil, err
	}
	e.input.rest, e.input.err = unknown, ErrHijacked
	for l := e.lease; l != nil; l = l.of.lease {
		l.of.input.rest, l.of.input.err = unknown, ErrHijacked
		if l.v != nil {
			l.v.hijacked = true
		}
	}
	return conn, rest, nil
}

// Hijacked reports whether the connection is the application's. For middlewares that
// log or count.
func (e *Environ) Hijacked() bool { return e.input.err == ErrHijacked }

var errHijackContent = errors.New("gateway: Hijack with content that is not read; read Input to io.EOF first")

// Hijacker is a Conn whose server can give its connection up. For servers: Hijack is
// called when no content is left.
type Hijacker interface {
	Hijack() (conn net.Conn, rest []byte, err error)
}

// SetReadDeadline sets when reading Input waits no more: then, or if t is past already, it
// is the error os.ErrDeadlineExceeded, which sticks there like every error of Input. The
// rest of the content is not read, and the connection closes after the response. The zero
// Time is for no deadline; it may be set from any goroutine until Serve and Next have
// returned, also while a read waits, and ends with the request.
//
// What waits is content that still comes. Where all of it is there before the application
// is called, and on event loops, the error may be errors.ErrUnsupported: see the option
// Dispatch(Pool) of package server.
func (e *Environ) SetReadDeadline(t time.Time) error {
	e.check()
	if c, ok := e.conn.(Deadliner); ok {
		return c.SetReadDeadline(t)
	}
	return errNoDeadline
}

// SetWriteDeadline sets when the writer of start, Inform, and the pulling of a Body that
// is not [Ready] wait no more for a client to make room, as SetReadDeadline does for
// Input; after it each Write fails. A response that has missed a write is cut, as by
// ErrAbort, whatever the application returns. What was written before it is still sent,
// as long as the server waits for the client.
func (e *Environ) SetWriteDeadline(t time.Time) error {
	e.check()
	if c, ok := e.conn.(Deadliner); ok {
		return c.SetWriteDeadline(t)
	}
	return errNoDeadline
}

// CloseInput says that the application reads no more of Input. A Read of it that another
// goroutine of the application waits in returns an error, and the connection closes after
// the response, since nothing else of the content is read. For bridges to interfaces that
// let a goroutine of a handler read when the handler has returned: the bridge has to wait
// for it before it returns from Serve. Where content does not come while the application
// runs it does nothing.
func (e *Environ) CloseInput() {
	if c, ok := e.conn.(InputCloser); ok {
		c.CloseInput()
	}
}

// InputCloser is a Conn whose content may be waited for. For servers. It is called from
// any goroutine of the application before Serve has returned.
type InputCloser interface {
	CloseInput()
}

var errNoDeadline = fmt.Errorf("gateway: this server has no deadlines: %w", errors.ErrUnsupported)

// Deadliner is a Conn whose server has deadlines for content and response. For servers.
// Both may be called from any goroutine.
type Deadliner interface {
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}
