package parser

// phase is where in a head Parse goes on.
//
//	start -> method -> target -> version -> name <-> value
//	                                        name -> done
type phase uint8

const (
	phaseStart   phase = iota // nothing but, perhaps, half a leading CRLF
	phaseMethod               // mark: the request line
	phaseTarget               // mark: the target
	phaseVersion              // mark: the version
	phaseName                 // mark: the field line; scan == mark: nothing of it yet
	phaseValue                // mark: the field line, whose name is in fields[count]
	phaseDone                 // the head is complete
)

// wait remembers where the next call goes on: the element that begins at mark is
// good so far as scan.
func (r *Request) wait(p phase, mark, scan int) {
	r.phase = p
	r.mark = uint16(mark)
	r.scan = uint16(scan)
}

// Parse reads one request head from b and reports how many bytes it used, a
// skipped leading CRLF included. n == 0 with a nil error means that the head is
// not complete: call again with the same bytes and more; they may have moved.
// r knows how far it has come, so one byte at a time is linear work, and the
// outcome is the same however the bytes are cut.
//
// With n > 0 the spans of r point into b, and the framing of the content has
// been decided: see Body. The bytes stay the caller's; Parse keeps no reference
// to them. Reset comes before the next request; Parse does it if it was
// forgotten.
//
// An error is an *Error and is final for the connection: only Reset may follow.
//
// RFC 9112 sections 2.2, 3, 5 and 6.
func (r *Request) Parse(b []byte, lim *Limits) (n int, err error) {
	if r.phase == phaseDone {
		r.Reset()
	}
	if r.phase == phaseStart {
		start, refusal := leadingCRLF(b)
		if refusal != nil {
			return 0, refusal
		}
		if start == len(b) {
			return 0, nil
		}
		r.start = uint16(start)
		r.wait(phaseMethod, start, start)
	}
	// Bytes past the limit are never looked at. A head that is not complete
	// without them is over it.
	end := int(r.start) + min(lim.HeadBytes, headBytesMax)
	head := b
	if len(head) > end {
		head = b[:max(end, 0):max(end, 0)]
	}
	n, refusal := r.head(head, lim)
	if refusal != nil {
		return 0, refusal
	}
	if n == 0 && len(b) > end {
		return 0, ErrHeadSize
	}
	return n, nil
}

// head goes through the elements in the order they come. Each of the functions
// takes the place where its element begins and the place up to which it is known
// to be good; it returns the place after the element, or 0 if that is not in b
// yet.
func (r *Request) head(b []byte, lim *Limits) (n int, refusal *Error) {
	mark, i := int(r.mark), int(r.scan)
	if i > len(b) {
		return 0, nil // fewer bytes than last time: nothing new
	}
	switch r.phase {
	case phaseMethod:
		i, refusal = r.method(b, mark, i, lim)
		if i == 0 {
			return 0, refusal
		}
		mark = i
		fallthrough
	case phaseTarget:
		i, refusal = r.target(b, mark, i, lim)
		if i == 0 {
			return 0, refusal
		}
		mark = i
		fallthrough
	case phaseVersion:
		i, refusal = r.version(b, mark)
		if i == 0 {
			return 0, refusal
		}
		// Nearly every target is a path, and nearly every path fits its method.
		if b[r.Target.Off] != '/' || r.Method.Len == uint16(len("CONNECT")) {
			if refusal = r.form(b); refusal != nil {
				return 0, refusal
			}
		}
		mark = i
		fallthrough
	default:
		i, refusal = r.fieldLines(b, mark, i, lim)
		if i == 0 {
			return 0, refusal
		}
	}
	// What only the whole head can tell. Without either field there is no
	// content: RFC 9112 section 6.3, step 7.
	if refusal = r.host(b); refusal != nil {
		return 0, refusal
	}
	if r.known[TransferEncoding]|r.known[ContentLength] != 0 {
		if refusal = r.frame(b, lim); refusal != nil {
			return 0, refusal
		}
	}
	if r.Form == AuthorityForm {
		return 0, ErrConnect
	}
	r.phase = phaseDone
	return i, nil
}
