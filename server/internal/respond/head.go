package respond

import (
	"errors"
	"fmt"
	"strconv"
	"unsafe"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/field"
)

// head is a rendered response head: what was declared, and the suffix.
type head struct {
	bytes        []byte
	status       string           // what bytes were rendered from: these texts are views of them
	fields       []gateway.Header // the same; valid if reusable
	reusable     bool             // bytes are all that was declared: they may be used again
	ownFields    suffixFlags      // ownDate, ownName
	code         int
	suffixOffset int    // where the suffix begins in bytes
	suffix       suffix // that it was rendered from; noSuffix before there is one
}

var (
	errInterim     = errors.New("server: a 1xx status is not a final response")
	errLengthTwice = errors.New("server: more than one Content-Length in the response")
	errDateTwice   = errors.New("server: more than one Date in the response")
	errNameTwice   = errors.New("server: more than one Server in the response")
)

// matches reports whether rendering would give the bytes that are there. Most responses of an
// application look like its last one, and to compare is several times cheaper than to check and copy.
func (h *head) matches(status string, headers []gateway.Header) bool {
	if status != h.status || len(headers) != len(h.fields) {
		return false
	}
	for i := range headers {
		if headers[i] != h.fields[i] {
			return false
		}
	}
	return true
}

const statusPrefix = "HTTP/1.1 "

// render checks what the application declares and renders it.
func (r *Response) render(status string, headers []gateway.Header) error {
	code, err := gateway.CheckStatus(status)
	if err != nil {
		return err
	}
	if code < 200 {
		return errInterim
	}
	r.ownFields = 0
	plain := true
	b := append(r.bytes[:0], statusPrefix...)
	b = append(b, status...)
	b = append(b, "\r\n"...)
	for i := range headers {
		h := &headers[i]
		kind, err := field.Check(h.Name, h.Value)
		if err != nil {
			return err
		}
		plain = plain && kind == field.Plain
		switch kind {
		case field.ContentLength: // sent when the framing is decided
			if r.hasLength {
				return errLengthTwice
			}
			n, err := strconv.ParseUint(h.Value, 10, 63)
			if err != nil {
				return fmt.Errorf("server: the response's Content-Length is %q; use a decimal number", h.Value)
			}
			r.declared, r.hasLength = int64(n), true
			continue
		case field.Connection:
			r.closeDeclared = true
			continue
		case field.Trailer:
			r.trailers = true
		case field.Date:
			if r.ownFields&ownDate != 0 {
				return errDateTwice
			}
			r.ownFields |= ownDate
			if h.Value == "" { // none at all
				continue
			}
		case field.ServerName:
			if r.ownFields&ownName != 0 {
				return errNameTwice
			}
			r.ownFields |= ownName
			if h.Value == "" {
				continue
			}
		}
		b = append(b, h.Name...)
		b = append(b, ": "...)
		b = append(b, h.Value...)
		b = append(b, "\r\n"...)
	}
	r.bytes, r.code, r.reusable = b, code, plain
	r.suffixOffset, r.suffix = len(b), noSuffix
	r.remember(status, headers)
	return nil
}

// remember keeps what the bytes were rendered from, if these may be used again.
func (h *head) remember(status string, headers []gateway.Header) {
	h.fields = h.fields[:0]
	if !h.reusable {
		return
	}
	at := len(statusPrefix)
	next := func(n, gap int) string {
		s := unsafe.String(&h.bytes[at], n)
		at += n + gap
		return s
	}
	h.status = next(len(status), len("\r\n"))
	for _, f := range headers {
		h.fields = append(h.fields, gateway.Header{Name: next(len(f.Name), len(": ")), Value: next(len(f.Value), len("\r\n"))})
	}
}

// suffix is all that the end of a head depends on, the part that the server writes: its Server and
// Date, the framing and the final CRLF. Most responses have that of the one before.
type suffix struct {
	second int64 // Date.second
	length int64 // Content-Length; -1 for none
	flags  suffixFlags
}

// noSuffix never matches.
var noSuffix = suffix{length: -2}

// suffixFlags is what the suffix has, or does not have.
type suffixFlags uint8

const (
	ownDate       suffixFlags = 1 << iota // no Date: the application has declared its own
	ownName                               // the same for Server
	isChunked                             // Transfer-Encoding
	connClose                             // Connection: close
	connKeepAlive                         // Connection: keep-alive, as HTTP/1.0 needs it
)

// renderSuffix replaces the suffix by s.
func (r *Response) renderSuffix(s suffix, d *Date) {
	line := d.line
	if s.flags&ownDate != 0 {
		line = line[:d.offset]
	}
	if s.flags&ownName != 0 {
		line = line[min(d.offset, len(line)):]
	}
	b := append(r.bytes[:r.suffixOffset], line...)
	if s.length >= 0 {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, s.length, 10)
		b = append(b, "\r\n"...)
	}
	if s.flags&isChunked != 0 {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if s.flags&connClose != 0 {
		b = append(b, "Connection: close\r\n"...)
	}
	if s.flags&connKeepAlive != 0 {
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	r.suffix, r.bytes = s, append(b, "\r\n"...)
}
