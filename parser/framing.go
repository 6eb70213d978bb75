package parser

import "math"

// framing is how the end of the content is found.
type framing uint8

const (
	byNothing framing = iota // there is none
	byLength                 // Content-Length
	byChunks                 // Transfer-Encoding: chunked
)

// frame decides how long the content is: RFC 9112 section 6.3, for a request.
// Version, Transfer-Encoding and Content-Length decide, and nothing else does:
// not the method, not Content-Type, Connection, Expect or Upgrade.
//
// The steps have the numbers of that section; 1 and 2 are about responses, 6 to
// 8 are left over for those who guess.
func (r *Request) frame(b []byte, lim *Limits) *Error {
	coding, isCoded := r.Known(TransferEncoding)
	length, hasLength := r.Known(ContentLength)

	// 3. Both: a request that another server may read as two. Sending it on or
	// answering it is allowed; it is refused. Section 6.1 makes a coding in
	// HTTP/1.0 faulty framing as well.
	if isCoded {
		if r.Minor == 0 {
			return errCodingVersion
		}
		if hasLength {
			return errLengthAndCoding
		}
	}

	// 4. Transfer-Encoding: chunked must be the final coding, and it is the only
	// one we can undo.
	if isCoded {
		if r.Repeated(TransferEncoding) || !equalFold(coding.Of(b), "chunked") {
			return r.notChunked(b)
		}
		r.framing = byChunks
		return nil
	}

	// 5. and 6. Content-Length: one line, one number. Equal ones in a list might be
	// folded; they are refused, because somebody before us may have added to it.
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

// notChunked says what is wrong with a Transfer-Encoding that is not plainly "chunked".
// Several lines are one list: RFC 9112 section 6.1, RFC 9110 section 5.3.
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

// parseLength reads 1*DIGIT of any number of digits. What does not fit stays at
// the highest value: it is over any limit. RFC 9110 section 8.6.
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

// bodyBytesMax returns the limit as a number that can be compared.
func bodyBytesMax(lim *Limits) int64 {
	if lim.BodyBytes < 0 {
		return math.MaxInt64
	}
	return lim.BodyBytes
}
