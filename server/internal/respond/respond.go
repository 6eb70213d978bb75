// Package respond makes the bytes of HTTP/1.1 responses: heads, framing and its end, interim and error
// responses (RFC 9112, RFC 9110). It is the mirror of package parser, and does no input or output.
package respond

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/isbjorn/isbjorn/gateway"
)

// Framing is how a client finds the end of the content, RFC 9112 section 6.3.
type Framing uint8

const (
	ByLength  Framing = iota // Content-Length
	Chunked                  // Transfer-Encoding: chunked
	ByClose                  // the end of the connection, for HTTP/1.0
	NoContent                // HEAD, 204, 304: there is none
)

// Response is one response after another of the same kind of requests: the head of the last one is
// used again where the next declares the same.
type Response struct {
	head
	State
}

// State is the state of one response. Its zero value is the initial state.
type State struct {
	Started  bool // the application has declared status and fields
	HeadSent bool // Commit was called
	Complete bool // and all content was sent
	Gather   bool // what the application writes may wait, see gateway.Gatherer
	Framing  Framing
	Left     int64 // ByLength: bytes still owed
	Err      error // sticks: what was wrong in a call of start

	closeDeclared bool // "Connection: close"
	hasLength     bool // a Content-Length
	trailers      bool // the application has or announces trailer fields
	declared      int64
	trailer       []byte // field lines
}

// Reset begins another response.
func (r *Response) Reset() { r.State = State{} }

// Code is the declared status code.
func (r *Response) Code() int { return r.code }

var (
	ErrStartTwice = errors.New("server: start was called twice without exc")
	ErrTooLong    = errors.New("server: the response is longer than its Content-Length; the rest was cut")
)

// Declare takes what start was called with, checks it, and renders it at once, so that nothing of the
// application's is kept. A second call replaces the first as a whole if it has exc and the head was not
// sent; if it was, exc is the error (PEP 3333, "The start_response() Callable").
func (r *Response) Declare(status string, headers []gateway.Header, exc error) error {
	switch {
	case r.Err != nil:
		return r.Err
	case r.Started && exc == nil:
		return ErrStartTwice
	case r.HeadSent:
		return exc
	}
	if r.Started {
		r.Reset()
	}
	if !r.reusable || !r.matches(status, headers) {
		r.reusable = false
		if err := r.render(status, headers); err != nil {
			return err
		}
	}
	r.Started = true
	return nil
}

// Room is how much content the declared Content-Length has room for, -1 without one.
func (r *Response) Room() int64 {
	if r.hasLength {
		return r.declared
	}
	return -1
}

// Request is what a response depends on.
type Request struct {
	HEAD      bool
	HTTP10    bool
	KeepAlive bool // the connection is to stay open
}

// Commit decides the framing and appends the head to dst. known is the length of the content, -1 if it
// is unknown. keepAlive reports whether the connection stays open, as the head says.
func (r *Response) Commit(dst []byte, known int64, q Request, d *Date) (_ []byte, keepAlive bool) {
	switch {
	case r.hasLength:
		known = r.declared
	case r.trailers && !q.HTTP10: // chunked has a place for them
		known = -1
	}
	s := suffix{second: d.second, flags: r.ownFields, length: -1}
	switch bare := bodiless(r.code); {
	case r.code == http.StatusNoContent: // RFC 9110 section 8.6: no length either
	case known >= 0 && (r.code != http.StatusNotModified || r.hasLength):
		r.Framing, r.Left = ByLength, known
		s.length = known
	case bare: // 304: only the length that GET would have, and that is unknown
	case !q.HTTP10:
		r.Framing = Chunked
		s.flags |= isChunked
	default:
		r.Framing = ByClose
		q.KeepAlive = false
	}
	if Contentless(r.code, q.HEAD) {
		r.Framing = NoContent
	}
	if r.closeDeclared {
		q.KeepAlive = false
	}
	if !q.KeepAlive {
		s.flags |= connClose
	} else if q.HTTP10 {
		s.flags |= connKeepAlive
	}
	if s != r.suffix {
		r.renderSuffix(s, d)
	}
	r.HeadSent = true
	return append(dst, r.bytes...), q.KeepAlive
}

// bodiless says that a response with this code never has content. RFC 9112 section 6.3, item 1.
func bodiless(code int) bool {
	return code == http.StatusNoContent || code == http.StatusNotModified
}

// Contentless reports whether the response has no content if it has this code.
func Contentless(code int, isHEAD bool) bool { return isHEAD || bodiless(code) }

// Frame begins n bytes of content behind dst, and returns how many of them may be sent. The error is
// ErrTooLong where that is less.
func (r *Response) Frame(dst []byte, n int64) ([]byte, int64, error) {
	switch r.Framing {
	case NoContent:
		return dst, 0, nil
	case ByLength:
		if n > r.Left {
			n, r.Left = r.Left, 0
			return dst, n, ErrTooLong
		}
		r.Left -= n
	case Chunked:
		dst = strconv.AppendInt(dst, n, 16)
		dst = append(dst, "\r\n"...)
	}
	return dst, n, nil
}

// EndFrame ends the n bytes that Frame has begun.
func (r *Response) EndFrame(dst []byte, n int64) []byte {
	if r.Framing == Chunked && n > 0 {
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// Short reports whether content is missing that the head has promised.
func (r *Response) Short() bool { return r.Framing == ByLength && r.Left > 0 }

// End ends the content of a response that is not Short.
func (r *Response) End(dst []byte) []byte {
	if r.Framing == Chunked {
		dst = append(dst, "0\r\n"...)
		dst = append(dst, r.trailer...)
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// TooShort is the error of a response that is Short.
func (r *Response) TooShort() error {
	return fmt.Errorf("server: the response is %d bytes shorter than its Content-Length", r.Left)
}

// AddTrailer adds checked trailer fields. They are sent where the framing is Chunked.
func (r *Response) AddTrailer(headers []gateway.Header) {
	r.trailers = true
	r.trailer = AppendFields(r.trailer, headers)
}

// AddTrailerLines adds field lines, made by AppendFields.
func (r *Response) AddTrailerLines(lines []byte) { r.trailer = append(r.trailer, lines...) }

// AppendInterim appends an interim response, of checked fields. RFC 9110 section 15.2.
func AppendInterim(dst []byte, code int, headers []gateway.Header) []byte {
	dst = appendStatus(dst, code)
	dst = AppendFields(dst, headers)
	return append(dst, "\r\n"...)
}

func appendStatus(dst []byte, code int) []byte {
	dst = append(dst, statusPrefix...)
	dst = strconv.AppendInt(dst, int64(code), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(code)...)
	return append(dst, "\r\n"...)
}

// AppendFields appends field lines of checked fields.
func AppendFields(dst []byte, headers []gateway.Header) []byte {
	for _, h := range headers {
		dst = append(dst, h.Name...)
		dst = append(dst, ": "...)
		dst = append(dst, h.Value...)
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// ErrorText is the content of an error response.
func ErrorText(code int, why string) string { return http.StatusText(code) + ": " + why + "\n" }

// AppendError appends the whole response to a request that is not served. The connection closes after
// it.
func AppendError(dst []byte, code int, why string, isHEAD bool, d *Date) []byte {
	text := ErrorText(code, why)
	dst = appendStatus(dst, code)
	dst = append(dst, d.line...)
	if code == http.StatusServiceUnavailable {
		dst = append(dst, "Retry-After: 1\r\n"...) // seconds: too many at once, RFC 9110 section 10.2.3
	}
	dst = append(dst, "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(text)), 10)
	dst = append(dst, "\r\n\r\n"...)
	if isHEAD {
		return dst
	}
	return append(dst, text...)
}
