package parser

// Overhead of the chunked coding, counted as in Go's net/http: every chunk may have 16
// bytes of chunk line and two more for every byte of data; what exceeds that adds up. It
// is the defence against a peer that sends 1 KiB of extension for each byte of data.
const (
	chunkLineBytesFree  = 16
	chunkExcessBytesMax = 16 << 10 // for senders that are honest but wasteful
)

const chunkDigitsMax = 16 // hexadecimal digits of 64 bits, leading zeros included

// bodyState is where in the content Decode continues.
//
//	bodyPlain -> bodyDone                    Content-Length
//
//	chunkSize -> (extensions) -> chunkLineLF
//	chunkLineLF -> chunkData -> chunkDataCR -> chunkDataLF -> chunkSize
//	chunkLineLF -> trailerLine               after a chunk-size of 0
//	trailerLine -> trailerName -> trailerValue -> trailerLF -> trailerLine
//	trailerLine -> trailerEnd -> bodyDone
type bodyState uint8

const (
	bodyDone  bodyState = iota // the zero Body has no content
	bodyPlain                  // remaining bytes to come

	// A chunk line: these count against Limits.ChunkLineBytes.
	chunkSize      // chunk-size
	extAfterSize   // whitespace after chunk-size or a complete value: ';' must follow
	extBeforeName  // after ';', whitespace
	extName        // in chunk-ext-name
	extAfterName   // whitespace after a name: '=' or ';' must follow
	extBeforeValue // after '=', whitespace
	extToken       // in a value that is a token
	extQuoted      // in a value that is a quoted-string
	extEscaped     // after '\' in a quoted-string
	extQuotedEnd   // after the closing '"'

	chunkLineLF // LF of a chunk line
	chunkData   // remaining bytes of data to come
	chunkDataCR // CR after the data
	chunkDataLF // LF after the data

	trailerLine  // at the start of a trailer line, or of the final CRLF
	trailerName  // in a trailer name
	trailerValue // in a trailer value
	trailerLF    // LF of a trailer line
	trailerEnd   // LF of the final CRLF

	bodyRefused // every call returns errRefused
)

// trailerNameBytes is how much of a name is kept, to compare it with the forbidden ones: one
// byte more than the longest of them.
const trailerNameBytes = len("proxy-authorization") + 1

// Body decodes the content of one request. It has no pointer, and its input can be cut at
// any byte. The zero value is a body without content. For one goroutine at a time.
type Body struct {
	length    int64 // see Length
	remaining int64 // bytes to come: of the content, or of this chunk
	total     int64 // data bytes of all chunks so far, this one included
	size      int64 // chunk-size so far
	excess    int64 // chunk line bytes beyond what the data pays for

	line         int // bytes of this chunk line
	trailerBytes int // bytes of trailer lines
	trailers     int // trailer lines begun
	trailerRun   int // bytes of trailer lines that the last Decode has used
	crlfRun      int // bytes that it has used behind those, of the final CRLF
	state        bodyState
	digits       uint8                  // digits of this chunk-size
	nameLen      uint8                  // bytes in name; stays at the most there is room for
	name         [trailerNameBytes]byte // of this trailer line, in lower case
}

// Body returns a decoder for the content of r, with the framing that Parse has decided.
// For use after Parse has returned n > 0.
func (r *Request) Body() Body {
	switch {
	case r.framing == byChunks:
		return Body{length: -1, state: chunkSize}
	case r.framing == byLength && r.length > 0:
		return Body{length: r.length, remaining: r.length, state: bodyPlain}
	}
	return Body{}
}

// Length returns the length of the content in bytes, 0 if there is none: the
// Content-Length. -1 if it is chunked: the length is unknown.
func (d *Body) Length() int64 { return d.length }

// Remaining returns how many bytes of content are to come, -1 if it is chunked.
func (d *Body) Remaining() int64 {
	if d.length < 0 {
		return -1
	}
	return d.remaining
}

// Done reports whether all of the content has been decoded, for chunked with the trailer
// section and the final CRLF. If the connection ends before that the content is incomplete
// and must not be used as if it were whole: RFC 9112 section 8.
func (d *Body) Done() bool { return d.state == bodyDone }

// Decode returns the next run of content in b. data is a part of b, as long as possible; n
// is how many bytes of b were used, framing included, so len(data) <= n. The caller may
// drop the used bytes. Call it until Done, or until n == 0 with a nil error, which means
// that more bytes are needed. Bytes after the content are not used: they belong to the
// next request.
//
// Trailer fields are checked like field lines and are not part of data: see Trailer.
//
// An error is an *Error and is final for the connection: data is nil, n is 0, and every
// later call returns an error.
//
// RFC 9112 sections 6.3 and 7.1.
func (d *Body) Decode(b []byte, lim *Limits) (data []byte, n int, err error) {
	if d.state <= bodyPlain { // Content-Length, or no content: no framing between the data
		data = d.takeData(b)
		if d.remaining == 0 {
			d.state = bodyDone
		}
		return data, len(data), nil
	}
	lines := d.trailerBytes
	n, refusal := d.frame(b, lim)
	if refusal != nil {
		d.state = bodyRefused
		return nil, 0, refusal
	}
	if d.trailerRun = d.trailerBytes - lines; d.trailerRun > 0 {
		switch d.state { // the final CRLF follows the lines
		case bodyDone:
			d.crlfRun = len("\r\n")
		case trailerEnd:
			d.crlfRun = len("\r")
		}
	}
	if d.state == chunkData { // frame has stopped at the data of a chunk
		data = d.takeData(b[n:])
		n += len(data)
		if d.remaining == 0 {
			d.state = chunkDataCR
		}
	}
	return data, n, nil
}

// Trailer returns the part of used that is trailer field lines. used must be what the last
// Decode has used of its b: b[:n]. When the content is Done, the parts of all calls together
// are whole lines "name: value", each with its CRLF: checked, at most Limits.TrailerBytes
// long, and without forbidden names. RFC 9112 section 7.1.2.
func (d *Body) Trailer(used []byte) []byte {
	if d.trailerRun == 0 {
		return nil
	}
	end := len(used) - d.crlfRun
	return used[end-d.trailerRun : end : end]
}

// takeData returns what b has of the remaining bytes.
func (d *Body) takeData(b []byte) []byte {
	n := len(b)
	if int64(n) > d.remaining {
		n = int(d.remaining)
	}
	d.remaining -= int64(n)
	return b[:n:n]
}

// frame parses what is not data, up to the next data or the end of b, and returns how many
// bytes that was. RFC 9112 section 7.1.
func (d *Body) frame(b []byte, lim *Limits) (n int, refusal *Error) {
	if d.state == bodyRefused {
		return 0, errRefused
	}
	for i, c := range b {
		switch {
		case d.state == chunkData || d.state == bodyDone:
			return i, nil

		case d.state < chunkLineLF:
			if c == '\n' {
				return 0, errChunkEnd
			}
			if c != '\r' {
				if d.line >= lim.ChunkLineBytes {
					return 0, errChunkLine
				}
				d.line++
			}
			if d.state == chunkSize {
				refusal = d.sizeByte(c, lim)
			} else {
				refusal = d.extensionByte(c)
			}

		case d.state == chunkLineLF:
			if c != '\n' {
				return 0, errChunkEnd
			}
			refusal = d.endLine()

		case d.state == chunkDataCR:
			if c != '\r' {
				return 0, errChunkEnd
			}
			d.state = chunkDataLF

		case d.state == chunkDataLF:
			if c != '\n' {
				return 0, errChunkEnd
			}
			d.state = chunkSize

		default:
			refusal = d.trailerByte(c, lim)
		}
		if refusal != nil {
			return 0, refusal
		}
	}
	return len(b), nil
}

// sizeByte parses a byte of chunk-size, or the one after it. A size over the limit is
// refused at the digit that exceeds it, so it cannot overflow. RFC 9112 section 7.1.
func (d *Body) sizeByte(c byte, lim *Limits) *Error {
	digit := hexDigit(c)
	switch {
	case digit > 15 && d.digits == 0: // a line without a size
		return errChunkSize
	case digit > 15: // the byte after the size
		if !d.afterExtension(c) {
			return errChunkSize
		}
		return nil
	case d.digits == chunkDigitsMax:
		return errChunkSize
	}
	size := uint64(d.size)<<4 | digit
	if size > uint64(max(bodyBytesMax(lim)-d.total, 0)) {
		return errChunkedSize
	}
	d.digits++
	d.size = int64(size)
	return nil
}

// afterExtension parses the byte after a chunk-size, or after an extension that is complete
// without it. It reports whether the byte is allowed there.
func (d *Body) afterExtension(c byte) bool {
	switch {
	case c == '\r':
		d.state = chunkLineLF
	case c == ';':
		d.state = extBeforeName
	case isSpace(c):
		d.state = extAfterSize
	default:
		return false
	}
	return true
}

// extensionByte parses a byte of
//
//	*( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )
//
// Extensions are checked and ignored. RFC 9112 section 7.1.1.
func (d *Body) extensionByte(c byte) *Error {
	ok := true
	switch d.state {
	case extAfterSize:
		ok = c != '\r' && d.afterExtension(c)

	case extBeforeName:
		switch {
		case isSpace(c):
		case is(c, tokenByte):
			d.state = extName
		default:
			ok = false
		}

	case extName:
		switch {
		case is(c, tokenByte):
		case c == '=':
			d.state = extBeforeValue
		case isSpace(c):
			d.state = extAfterName
		default:
			ok = d.afterExtension(c)
		}

	case extAfterName:
		switch {
		case isSpace(c):
		case c == '=':
			d.state = extBeforeValue
		case c == ';':
			d.state = extBeforeName
		default:
			ok = false
		}

	case extBeforeValue:
		switch {
		case isSpace(c):
		case c == '"':
			d.state = extQuoted
		case is(c, tokenByte):
			d.state = extToken
		default:
			ok = false
		}

	case extToken:
		ok = is(c, tokenByte) || d.afterExtension(c)

	case extQuoted:
		switch {
		case c == '"':
			d.state = extQuotedEnd
		case c == '\\':
			d.state = extEscaped
		default:
			ok = is(c, quotedByte)
		}

	case extEscaped:
		ok = is(c, valueByte)
		d.state = extQuoted

	case extQuotedEnd:
		ok = d.afterExtension(c)
	}
	if !ok {
		return errChunkExt
	}
	return nil
}

// endLine ends a chunk line: it checks the overhead, and data or the trailer follows.
func (d *Body) endLine() *Error {
	d.excess += int64(d.line) + int64(len("\r\n")) - chunkLineBytesFree
	d.excess = max(d.excess, 0)
	d.excess -= min(d.excess, 2*min(d.size, d.excess)) // min first: 2*size might not fit
	if d.excess > chunkExcessBytesMax {
		return errChunkOverhead
	}
	d.state = chunkData
	if d.size == 0 { // the last chunk
		d.state = trailerLine
	}
	d.total += d.size
	d.remaining = d.size
	d.size, d.digits, d.line = 0, 0, 0
	return nil
}

// trailerByte parses a byte of the trailer section or of the final CRLF. RFC 9112 section
// 7.1.2.
func (d *Body) trailerByte(c byte, lim *Limits) *Error {
	if d.state == trailerEnd {
		if c != '\n' {
			return errChunkEnd
		}
		d.state = bodyDone
		return nil
	}
	if d.state == trailerLine && c == '\r' {
		d.state = trailerEnd
		return nil
	}
	if d.trailerBytes >= lim.TrailerBytes {
		return errTrailerSize
	}
	d.trailerBytes++

	switch d.state {
	case trailerLine:
		if d.trailers >= lim.TrailerFields {
			return errTrailerFields
		}
		if !is(c, tokenByte) {
			return notInName(c, true, d.trailers == 0)
		}
		d.trailers++
		d.name[0] = lower(c)
		d.nameLen = 1
		d.state = trailerName

	case trailerName:
		switch {
		case is(c, tokenByte):
			if int(d.nameLen) < len(d.name) { // longer names are not forbidden ones
				d.name[d.nameLen] = lower(c)
				d.nameLen++
			}
		case c != ':':
			return notInName(c, false, false)
		case isForbiddenTrailer(d.name[:d.nameLen]):
			return errTrailerName
		default:
			d.state = trailerValue
		}

	case trailerValue:
		switch {
		case c == '\r':
			d.state = trailerLF
		case c == '\n':
			return errBareLF
		case !is(c, valueByte):
			return errFieldValue
		}

	case trailerLF:
		if c != '\n' {
			return errBareCR
		}
		d.state = trailerLine
	}
	return nil
}

// isForbiddenTrailer reports whether a field of that name, in lower case, would change what
// was decided before the content: framing, routing, authentication, or how the content is
// read. RFC 9110 section 6.5.1.
func isForbiddenTrailer(name []byte) bool {
	switch string(name) {
	case "content-length", "transfer-encoding", "trailer", "te", "connection",
		"host", "expect",
		"authorization", "proxy-authorization", "cookie",
		"content-encoding", "content-range", "content-type":
		return true
	}
	return false
}
