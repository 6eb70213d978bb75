package parser

// Span is a run of bytes in the slice given to Parse: a place, not a pointer.
// It stays right when the bytes move, as long as they move together.
type Span struct{ Off, Len uint16 }

// Of returns the bytes of s. b is the slice given to Parse, or a copy of it that
// starts at the same byte. The result is a part of b, owned by whoever owns b;
// its capacity is its length, so that an append cannot reach what follows.
func (s Span) Of(b []byte) []byte {
	end := int(s.Off) + int(s.Len)
	return b[s.Off:end:end]
}

// Field is one field line. The name is as sent; the value has no whitespace at
// its ends and may be empty. RFC 9112 section 5.
type Field struct{ Name, Value Span }

// Form tells the four forms of a request-target apart. RFC 9112 section 3.2.
type Form uint8

const (
	OriginForm    Form = iota // /path?query
	AbsoluteForm              // http://host/path?query
	AuthorityForm             // host:port, with CONNECT only
	AsteriskForm              // *, with OPTIONS only
)

// Known names the fields every server asks for. Parse finds them on its way.
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

// Request is one request head. It holds no pointer and no byte of the input:
// spans only, into the slice that was given to Parse. The zero value is ready;
// Reset makes a used one ready again. One goroutine at a time.
//
// The exported fields are for reading, once Parse has returned n > 0.
type Request struct {
	Method    Span
	Target    Span // as sent
	Path      Span // of the target, undecoded; "*" for asterisk-form; Len 0 for authority-form, and for absolute-form without a path (read "/")
	Query     Span // after the '?', undecoded; Len 0 if there is none
	Authority Span // who is asked: from the target if it says so, else the value of Host; Len 0 if neither does
	Form      Form
	Minor     uint8 // of HTTP/1.Minor, as sent

	phase    phase
	count    uint8             // fields[:count] are complete
	known    [knownCount]uint8 // 1 + index in fields of the first of that name; 0 for none
	repeated uint8             // bit k set: Known(k) came more than once
	options  option            // what Connection and Expect said
	framing  framing           // how long the content is
	start    uint16            // where the request line begins: 0, or 2 after a leading CRLF
	mark     uint16            // where the element under way begins
	scan     uint16            // bytes before this one have been looked at
	length   int64             // Content-Length, if framing is byLength

	fields [FieldsMax]Field
}

// Reset forgets the request, so that nothing of it shows in the next one.
func (r *Request) Reset() {
	r.Method = Span{}
	r.Target = Span{}
	r.Path = Span{}
	r.Query = Span{}
	r.Authority = Span{}
	r.Form = OriginForm
	r.Minor = 0
	r.phase = phaseStart
	r.count = 0 // and with it every field: they are read through count and known only
	r.known = [knownCount]uint8{}
	r.repeated = 0
	r.options = 0
	r.framing = byNothing
	r.start = 0
	r.mark = 0
	r.scan = 0
	r.length = 0
}

// Fields returns the field lines in the order they came, repeated ones too. The
// slice belongs to r and is good until Reset.
func (r *Request) Fields() []Field { return r.fields[:r.count:r.count] }

// Known returns the value of the first field line of that name; ok is false if
// there is none. It costs nothing: Parse has found it already.
func (r *Request) Known(k Known) (value Span, ok bool) {
	i := r.known[k]
	if i == 0 {
		return Span{}, false
	}
	return r.fields[i-1].Value, true
}

// Repeated reports whether more than one field line of that name came.
func (r *Request) Repeated(k Known) bool { return r.repeated&(1<<k) != 0 }

// Find returns the value of the first field line called name, without regard to
// the case of ASCII letters; ok is false if there is none. b is as for Span.Of.
func (r *Request) Find(b []byte, name string) (value Span, ok bool) {
	if name == "" {
		return Span{}, false
	}
	first := name[0] | 0x20
	for i := range r.fields[:r.count] {
		f := &r.fields[i]
		if int(f.Name.Len) == len(name) && b[f.Name.Off]|0x20 == first && equalFold(f.Name.Of(b), name) {
			return f.Value, true
		}
	}
	return Span{}, false
}

// Started reports whether Parse has seen the beginning of a request and not yet
// the end of its head. A leading CRLF, or half of one, is no beginning.
func (r *Request) Started() bool {
	switch r.phase {
	case phaseStart, phaseDone, phaseRefused:
		return false
	case phaseMethod:
		return r.scan > r.start
	}
	return true
}

// option is a set of bits: what the Connection and Expect fields said.
type option uint8

const (
	connectionClose     option = 1 << iota // "close"
	connectionKeepAlive                    // "keep-alive"
	expectContinue                         // "100-continue"
	expectUnknown                          // any other expectation
)

// KeepAlive reports whether the connection may carry another request after this
// one: close says no; without it HTTP/1.1 says yes, and HTTP/1.0 only with
// keep-alive. RFC 9112 section 9.3.
func (r *Request) KeepAlive() bool {
	if r.options&connectionClose != 0 {
		return false
	}
	return r.Minor > 0 || r.options&connectionKeepAlive != 0
}

// HasContent reports whether the request is framed to have content, which may
// be empty all the same.
func (r *Request) HasContent() bool { return r.framing != byNothing }

// Expectation reports what the Expect fields ask for. HTTP/1.0 cannot ask.
func (r *Request) Expectation() Expectation {
	switch {
	case r.options&(expectUnknown|expectContinue) == 0, r.Minor == 0:
		return ExpectNothing
	case r.options&expectUnknown != 0:
		return ExpectUnknown
	}
	return ExpectContinue
}
