package server

import (
	"errors"
	"fmt"
	"strconv"
	"unsafe"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/field"
)

// head is a rendered response head: what was declared, and the tail.
type responseHead struct {
	bytes        []byte
	status       string           // what bytes were rendered from: these texts are views of them
	fields       []gateway.Header // the same; good if plain
	reusable     bool             // bytes are all that was declared: they may be used again
	ownFields    suffixFlags      // ownDate, ownName
	code         int
	suffixOffset int        // where the tail begins in bytes
	suffix       headSuffix // that it was rendered from; noSuffix before there is one
}

var (
	errInterim     = errors.New("server: a 1xx status is not a final response")
	errLengthTwice = errors.New("server: more than one Content-Length in the response")
	errDateTwice   = errors.New("server: more than one Date in the response")
	errNameTwice   = errors.New("server: more than one Server in the response")
)

// is says whether rendering would give the bytes that are there. Most responses of an
// application look like its last one, and to compare is several times cheaper than
// to check and copy.
func (h *responseHead) matches(status string, headers []gateway.Header) bool {
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
func (r *response) render(status string, headers []gateway.Header) error {
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
			r.declaredLength, r.hasLength = int64(n), true
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
func (h *responseHead) remember(status string, headers []gateway.Header) {
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

// tail is all that the end of a head depends on, the part that the server writes: its
// Server and Date, the framing and the final CRLF. Most responses have that of the one
// before.
type headSuffix struct {
	second int64 // shard.cachedSecond
	length int64 // Content-Length; -1 for none
	flags  suffixFlags
}

// noSuffix is that of no response.
var noSuffix = headSuffix{length: -2}

// says is what the end of a head says, or does not.
type suffixFlags uint8

const (
	ownDate       suffixFlags = 1 << iota // not Date: the application sent its own
	ownName                               // the same for Server
	isChunked                             // Transfer-Encoding
	connClose                             // Connection: close
	connKeepAlive                         // Connection: keep-alive, as HTTP/1.0 needs it
)

// renderTail gives r the tail t, in place of the last one. h has the stamp.
func (r *response) renderSuffix(t headSuffix, h *shard) {
	stamp := h.serverDate
	if t.flags&ownDate != 0 {
		stamp = stamp[:h.dateOffset]
	}
	if t.flags&ownName != 0 {
		stamp = stamp[min(h.dateOffset, len(stamp)):]
	}
	b := append(r.bytes[:r.suffixOffset], stamp...)
	if t.length >= 0 {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, t.length, 10)
		b = append(b, "\r\n"...)
	}
	if t.flags&isChunked != 0 {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if t.flags&connClose != 0 {
		b = append(b, "Connection: close\r\n"...)
	}
	if t.flags&connKeepAlive != 0 {
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	r.suffix, r.bytes = t, append(b, "\r\n"...)
}
