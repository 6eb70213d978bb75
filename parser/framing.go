package parser

import "math"

// framing is how the end of the content is found.
type framing uint8

const (
	byNothing framing = iota // no content
	byLength                 // Content-Length
	byChunks                 // Transfer-Encoding: chunked
)

// frame decides how long the content is: RFC 9112 section 6.3, for a request. It depends
// on version, Transfer-Encoding and Content-Length alone: not on the method, Content-Type,
// Connection, Expect or Upgrade.
//
// The steps have the numbers of that section; 1 and 2 are about responses, 8 is too.
func (r *Request) frame(b []byte, lim *Limits) *Error {
	coding, isCoded := r.Known(TransferEncoding)
	length, hasLength := r.Known(ContentLength)

	// 3. Both: another server may read such a request as two (request smuggling). The RFC
	// allows to answer it; it is refused. Section 6.1: Transfer-Encoding in HTTP/1.0 is
	// faulty framing as well.
	if isCoded {
		if r.Minor == 0 {
			return errCodingVersion
		}
		if hasLength {
			return errLengthAndCoding
		}
	}

	// 4. Transfer-Encoding: chunked must be the final coding, and is the only one that
	// this package decodes.
	if isCoded {
		if r.Repeated(TransferEncoding) || !equalFold(coding.Of(b), "chunked") {
			return r.notChunked(b)
		}
		r.framing = byChunks
		return nil
	}

	// 5. and 6. Content-Length: one line, one number. The RFC allows to accept a list of
	// equal numbers; it is refused, because a proxy may have joined two lines.
	if hasLength {
		if r.Repeated(ContentLength) {
			return errLengthRepeated
		}
		n, refusal := parseLength(length.Of(b))
		if refusal != nil {
			return refusal
		}
		if n > uint64(bodyBytesMax(lim)) {
			return errLengthSize
		}
		r.framing = byLength
		r.length = int64(n)
		return nil
	}

	// 7. Neither: no content, whatever the method.
	return nil
}

// notChunked returns the refusal for a Transfer-Encoding that is not exactly one line
// "chunked". Several lines are one list: RFC 9112 section 6.1, RFC 9110 section 5.3.
func (r *Request) notChunked(b []byte) *Error {
	chunkedBefore, final := false, false
	for _, f := range r.Fields() {
		if !equalFold(f.Name.Of(b), "transfer-encoding") {
			continue
		}
		for rest := f.Value.Of(b); ; {
			var element []byte
			element, rest = cutElement(rest)
			if len(element) == 0 {
				return errCodingList
			}
			for _, c := range element {
				if !is(c, tokenByte) {
					return errCodingList
				}
			}
			chunkedBefore = chunkedBefore || final
			final = equalFold(element, "chunked")
			if final && chunkedBefore {
				return errCodingList
			}
			if rest == nil {
				break
			}
		}
	}
	if !final {
		return errCodingFinal
	}
	return errCoding
}

// parseLength parses 1*DIGIT, any number of digits. A number that does not fit becomes the
// highest value, which is over every limit. RFC 9110 section 8.6.
func parseLength(value []byte) (n uint64, refusal *Error) {
	if len(value) == 0 {
		return 0, errLength
	}
	for _, c := range value {
		digit := uint64(c - '0')
		switch {
		case c == ',':
			return 0, errLengthRepeated
		case digit > 9:
			return 0, errLength
		case n > (math.MaxUint64-9)/10:
			n = math.MaxUint64
		default:
			n = n*10 + digit
		}
	}
	return n, nil
}

// bodyBytesMax returns Limits.BodyBytes, or the highest value if there is no limit.
func bodyBytesMax(lim *Limits) int64 {
	if lim.BodyBytes < 0 {
		return math.MaxInt64
	}
	return lim.BodyBytes
}
