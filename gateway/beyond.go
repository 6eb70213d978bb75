package gateway

import (
	"errors"
	"fmt"
	"io"
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

// Inform sends an interim response before the final one: 103 with Link fields, say, or
// 102. Only HTTP/1.1 clients get it; for others, Inform does nothing. Not 100, which is
// the server's to send when content is first read, nor 101, see [Environ.Hijack]. headers
// are checked like those of start, and Content-Length, Connection and Trailer are wrong;
// so is a call after start. Then nothing is sent; the error does not stick. RFC 9110
// section 15.2, RFC 8297.
func (e *Environ) Inform(code int, headers []Header) error {
	e.check()
	err := checkInterim(code, headers)
	for l := e.lease; l != nil; l = l.of.lease {
		if l.v != nil {
			if breach := l.v.inform(err); breach != nil {
				return breach
			}
		}
	}
	if err != nil {
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
		case kind == ContentLength, kind == Connection:
			return fmt.Errorf("gateway: Inform with header %s, which is for final responses", headers[i].Name)
		}
	}
	return nil
}

// inform checks a call of Inform whose arguments have the error err.
func (v *validator) inform(err error) error {
	switch {
	case v.failed != nil:
		return v.failed
	case err != nil:
		return v.fail(&ruleInform, "%v", err)
	case v.started:
		return v.fail(&ruleInform, "it was called before")
	}
	return nil
}
