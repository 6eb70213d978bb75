package parser

// Span is a run of bytes in the slice given to Parse: offset and length, not a pointer. It
// stays valid when the bytes move, as long as they move together.
type Span struct{ Off, Len uint16 }

// Of returns the bytes of s. b is the slice given to Parse, or a copy of it that starts at
// the same byte. The result is a part of b; its capacity is its length, so that an append
// cannot overwrite what follows.
func (s Span) Of(b []byte) []byte {
	end := int(s.Off) + int(s.Len)
	return b[s.Off:end:end]
}

// Field is one field line. The name is as sent; the value is without whitespace at its ends
// and may be empty. RFC 9112 section 5.
type Field struct{ Name, Value Span }

// targetForm is one of the four forms of a request-target. RFC 9112 section 3.2.
type targetForm uint8

const (
	originForm    targetForm = iota // /path?query
	absoluteForm                    // http://host/path?query
	authorityForm                   // host:port, with CONNECT only
	asteriskForm                    // *, with OPTIONS only
)

// Known is the name of a field that every server needs. Parse records where these fields
// are.
type Known uint8

const (
	Host Known = iota
	ContentLength
	TransferEncoding
	Connection
	Expect
	Upgrade
	ContentType
	knownCount = iota
)

// Expectation is what the Expect fields ask for. RFC 9110 section 10.1.1.
type Expectation uint8

const (
	ExpectNothing  Expectation = iota // no Expect, or HTTP/1.0
	ExpectContinue                    // 100-continue and nothing else
	ExpectUnknown                     // anything else: answer 417
)

// Request is one request head. It has no pointer and no byte of the input, only spans of
// the slice that was given to Parse. The zero value is ready to use; Reset makes a used
// one ready again. For one goroutine at a time.
//
// The exported fields are for reading, after Parse has returned n > 0.
type Request struct {
	Method    Span
	Target    Span  // as sent
	Path      Span  // undecoded; "*" for asterisk-form; empty for authority-form, and absolute-form without path
	Query     Span  // after the '?', undecoded; empty if there is none
	Authority Span  // host and port: of the target if it has them, else the value of Host; empty if neither has
	Minor     uint8 // of HTTP/1.Minor, as sent

	phase      phase
	targetForm targetForm
	count      uint8             // fields[:count] are complete
	known      [knownCount]uint8 // 1 + index in fields of the first of that name; 0 for none
	repeated   uint8             // bit k set: Known(k) came more than once
	options    option            // of Connection and Expect
	framing    framing           // how the end of the content is found
	start      uint16            // where the request line begins: 0, or 2 after a leading CRLF
	mark       uint16            // where the present element begins
	scan       uint16            // bytes before this offset are good
	length     int64             // Content-Length, if framing is byLength

	fields [fieldsRoom]Field
}

// Reset clears the request for the next one.
func (r *Request) Reset() {
	r.Method = Span{}
	r.Target = Span{}
	r.Path = Span{}
	r.Query = Span{}
	r.Authority = Span{}
	r.targetForm = originForm
	r.Minor = 0
	r.phase = phaseStart
	r.count = 0 // which clears fields too: they are read only by way of count and known
	r.known = [knownCount]uint8{}
	r.repeated = 0
	r.options = 0
	r.framing = byNothing
	r.start = 0
	r.mark = 0
	r.scan = 0
	r.length = 0
}

// Fields returns the field lines in their order, repeated ones too. The slice belongs to r
// and is valid until Reset.
func (r *Request) Fields() []Field { return r.fields[:r.count:r.count] }

// Known returns the value of the first field line of that name; ok is false if there is
// none. It is a lookup: Parse has recorded where the field is.
func (r *Request) Known(k Known) (value Span, ok bool) {
	i := r.known[k]
	if i == 0 {
		return Span{}, false
	}
	return r.fields[i-1].Value, true
}

// Repeated reports whether there is more than one field line of that name.
func (r *Request) Repeated(k Known) bool { return r.repeated&(1<<k) != 0 }

// Started reports whether Parse has seen a part of a head but not its end. A leading CRLF
// does not count as a part.
func (r *Request) Started() bool {
	switch r.phase {
	case phaseStart, phaseDone, phaseRefused:
		return false
	case phaseMethod:
		return r.scan > r.start
	}
	return true
}

// option is a set of bits: the options of the Connection and Expect fields.
type option uint8

const (
	connectionClose     option = 1 << iota // "close"
	connectionKeepAlive                    // "keep-alive"
	expectContinue                         // "100-continue"
	expectUnknown                          // any other expectation
)

// KeepAlive reports whether the connection persists after this request: not with close;
// otherwise in HTTP/1.1, and in HTTP/1.0 with keep-alive. RFC 9112 section 9.3.
func (r *Request) KeepAlive() bool {
	if r.options&connectionClose != 0 {
		return false
	}
	return r.Minor > 0 || r.options&connectionKeepAlive != 0
}

// HasContent reports whether the request has a Content-Length or is chunked. The content
// may still be empty.
func (r *Request) HasContent() bool { return r.framing != byNothing }

// Expectation returns what the Expect fields ask for. Those of HTTP/1.0 are ignored.
func (r *Request) Expectation() Expectation {
	switch {
	case r.options&(expectUnknown|expectContinue) == 0, r.Minor == 0:
		return ExpectNothing
	case r.options&expectUnknown != 0:
		return ExpectUnknown
	}
	return ExpectContinue
}
