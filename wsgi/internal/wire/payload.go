package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/field"
)

// Head is the head of a response, checked as a head of an application in Go is.
type Head struct {
	Code   int
	Status string
	Fields []gateway.Header
	Length int64 // of Content-Length; -1 if there is none
}

// DecodeHead decodes the head at the start of the payload of RESP, HEAD or INFO into h, whose Fields it reuses. rest is
// the content of a RESP. The texts of h are one string of their own: payload may be overwritten.
func DecodeHead(h *Head, payload []byte, interim bool) (rest []byte, err error) {
	if len(payload) < 2 {
		return nil, ErrHead
	}
	n := int(binary.LittleEndian.Uint16(payload))
	payload = payload[2:]
	if n > len(payload) || n == 0 || payload[n-1] != 0 {
		return nil, fmt.Errorf("%w: %d bytes, which is not its length", ErrHead, n)
	}
	text := string(payload[:n])
	h.Fields, h.Length = h.Fields[:0], -1
	h.Status, text, _ = strings.Cut(text, "\x00")
	if h.Code, err = gateway.CheckStatus(h.Status); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHead, err)
	}
	if interim != (h.Code < 200) || h.Code <= 101 {
		return nil, fmt.Errorf("%w: status %q here", ErrHead, h.Status)
	}
	for text != "" {
		var f gateway.Header
		var whole bool
		f.Name, text, _ = strings.Cut(text, "\x00")
		f.Value, text, whole = strings.Cut(text, "\x00")
		if !whole || len(h.Fields) == FieldsMax {
			return nil, fmt.Errorf("%w: a name without a value, or more than %d fields", ErrHead, FieldsMax)
		}
		if err := gateway.CheckHeader(&f); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrHead, err)
		}
		switch kind := field.KindOf(f.Name); {
		case interim && (kind == field.ContentLength || kind == field.Connection || kind == field.Trailer):
			return nil, fmt.Errorf("%w: field %s of a 1xx response", ErrHead, f.Name)
		case kind == field.ContentLength:
			length, err := contentLength(f.Value)
			if err != nil || h.Length >= 0 {
				return nil, fmt.Errorf("%w: Content-Length %q, or a second one", ErrHead, f.Value)
			}
			h.Length = length
		}
		h.Fields = append(h.Fields, f)
	}
	return payload[n:], nil
}

// contentLength reads 1*DIGIT (RFC 9110 section 8.6).
func contentLength(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63) // no sign
	return int64(n), err
}

// DecodeWant reads how many bytes of input a WANT asks for.
func DecodeWant(payload []byte) (int, error) {
	if len(payload) != 4 {
		return 0, ErrLength
	}
	n := binary.LittleEndian.Uint32(payload)
	if n == 0 || n > WantBytesMax {
		return 0, fmt.Errorf("%w: WANT of %d bytes", ErrLength, n)
	}
	return int(n), nil
}

// DecodeFile reads the part of the file that a FILE sends: its offset and length, in bytes.
func DecodeFile(payload []byte) (offset, length int64, err error) {
	if len(payload) != 16 {
		return 0, 0, ErrLength
	}
	o, l := binary.LittleEndian.Uint64(payload), binary.LittleEndian.Uint64(payload[8:])
	if l == 0 || o > math.MaxInt64 || l > math.MaxInt64-o {
		return 0, 0, fmt.Errorf("%w: FILE of %d bytes from %d", ErrLength, l, o)
	}
	return int64(o), int64(l), nil
}

// DecodeTexts reads n texts of UTF-8 that each end with NUL, the payload of FAIL (where, type, message, traceback),
// LOAD_ERROR (kind, message, mend, traceback), READY (target, why, type), STACKS (text), LOG (level, text) and HELLO
// (protocol, version, implementation, pid, GIL, probe). Bytes that are not UTF-8 become U+FFFD.
func DecodeTexts(payload []byte, n int) ([]string, error) {
	parts := strings.Split(strings.ToValidUTF8(string(payload), "\ufffd"), "\x00")
	if len(parts) != n+1 || parts[n] != "" {
		return nil, fmt.Errorf("%w: %d texts instead of %d", ErrLength, len(parts)-1, n)
	}
	return parts[:n], nil
}
