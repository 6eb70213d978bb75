package server

import (
	"errors"
	"fmt"
	"strconv"
	"unsafe"

	"github.com/isbjorn/isbjorn/gateway"
)

// head is a rendered response head: what was declared, and the tail.
type head struct {
	bytes  []byte
	status string           // what bytes were rendered from: these texts are views of them
	fields []gateway.Header // the same; good if plain
	plain  bool             // bytes are all that was declared: they may be used again
	own    says             // ownDate, ownName
	code   int
	tailAt int  // where the tail begins in bytes
	tail   tail // that it was rendered from; noTail before there is one
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
func (h *head) is(status string, headers []gateway.Header) bool {
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
	r.own = 0
	plain := true
	b := append(r.bytes[:0], statusPrefix...)
	b = append(b, status...)
	b = append(b, "\r\n"...)
	for i := range headers {
		h := &headers[i]
		kind, err := gateway.CheckHeader(h)
		if err != nil {
			return err
		}
		plain = plain && kind == gateway.Plain
		switch kind {
		case gateway.ContentLength: // sent when the framing is decided
			if r.hasLen {
				return errLengthTwice
			}
			n, err := strconv.ParseUint(h.Value, 10, 63)
			if err != nil {
				return fmt.Errorf("server: the response's Content-Length is %q; use a decimal number", h.Value)
			}
			r.declared, r.hasLen = int64(n), true
			continue
		case gateway.Connection:
			r.closes = true
			continue
		case gateway.Trailer:
			r.trailers = true
		case gateway.Date:
			if r.own&ownDate != 0 {
				return errDateTwice
			}
			r.own |= ownDate
			if h.Value == "" { // none at all
				continue
			}
		case gateway.ServerName:
			if r.own&ownName != 0 {
				return errNameTwice
			}
			r.own |= ownName
			if h.Value == "" {
				continue
			}
		}
		b = append(b, h.Name...)
		b = append(b, ": "...)
		b = append(b, h.Value...)
		b = append(b, "\r\n"...)
	}
	r.bytes, r.code, r.plain = b, code, plain
	r.tailAt, r.tail = len(b), noTail
	r.remember(status, headers)
	return nil
}

// remember keeps what the bytes were rendered from, if these may be used again.
func (h *head) remember(status string, headers []gateway.Header) {
	h.fields = h.fields[:0]
	if !h.plain {
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
type tail struct {
	second int64 // handler.second
	length int64 // Content-Length; -1 for none
	says   says
}

// noTail is that of no response.
var noTail = tail{length: -2}

// says is what the end of a head says, or does not.
type says uint8

const (
	ownDate       says = 1 << iota // not Date: the application sent its own
	ownName                        // the same for Server
	isChunked                      // Transfer-Encoding
	connClose                      // Connection: close
	connKeepAlive                  // Connection: keep-alive, as HTTP/1.0 needs it
)

// renderTail gives r the tail t, in place of the last one. h has the stamp.
func (r *response) renderTail(t tail, h *handler) {
	stamp := h.stamp
	if t.says&ownDate != 0 {
		stamp = stamp[:h.dateAt]
	}
	if t.says&ownName != 0 {
		stamp = stamp[min(h.dateAt, len(stamp)):]
	}
	b := append(r.bytes[:r.tailAt], stamp...)
	if t.length >= 0 {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, t.length, 10)
		b = append(b, "\r\n"...)
	}
	if t.says&isChunked != 0 {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if t.says&connClose != 0 {
		b = append(b, "Connection: close\r\n"...)
	}
	if t.says&connKeepAlive != 0 {
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	r.tail, r.bytes = t, append(b, "\r\n"...)
}
