package parser

// phase is where in a head Parse continues.
//
//	start -> method -> target -> version -> name <-> value
//	                                        name -> done
type phase uint8

const (
	phaseStart   phase = iota // no byte yet, except half a leading CRLF
	phaseMethod               // mark: where the request line begins
	phaseTarget               // mark: where the target begins
	phaseVersion              // mark: where the version begins
	phaseName                 // mark: where the field line begins; scan == mark: no byte of it yet
	phaseValue                // mark: where the field line begins; its name is in fields[count]
	phaseDone                 // the head is complete
	phaseRefused              // every call returns errRefused
)

// resumeAt records where the next call continues: in the element that begins at mark, whose
// bytes up to scan are good.
func (r *Request) resumeAt(p phase, mark, scan int) {
	r.phase = p
	r.mark = uint16(mark)
	r.scan = uint16(scan)
}

// Parse parses one request head at the start of b and returns how many bytes it used, a
// skipped leading CRLF included. n == 0 with a nil error means that the head is not
// complete: call again with the same bytes, which may have moved, followed by more. r
// records how far it has come, so the work is linear even for one byte at a time, and
// the result is the same however the bytes are cut.
//
// With n > 0 the spans of r are offsets into b, and the framing of the content is
// decided: see Body. Parse keeps no reference to b. Call Reset before the next request;
// Parse does it if it was not called.
//
// An error is an *Error and is final for the connection: every later call returns an
// error, until Reset.
//
// RFC 9112 sections 2.2, 3, 5 and 6.
func (r *Request) Parse(b []byte, lim *Limits) (n int, err error) {
	// Nearly always b begins with a whole head. If not, the general way starts from the
	// same byte, and finds out what is missing or wrong.
	if canTakeLines && r.phase == phaseStart {
		if n := r.whole(b, lim); n > 0 {
			return n, nil
		}
	}
	mark, scan := int(r.mark), int(r.scan)
	switch r.phase {
	case phaseRefused:
		return 0, errRefused
	case phaseDone:
		r.Reset()
		fallthrough
	case phaseStart:
		start, refusal := leadingCRLF(b)
		if refusal != nil {
			return 0, r.refuse(refusal)
		}
		if start == len(b) {
			return 0, nil
		}
		r.start = uint16(start)
		r.phase = phaseMethod
		mark, scan = start, start
	}
	// Bytes beyond the limit are not parsed. A head that is not complete without them
	// is too long.
	end := int(r.start) + min(lim.HeadBytes, headBytesMax)
	head := b
	if len(head) > end {
		head = b[:max(end, 0):max(end, 0)]
	}
	n, refusal := r.head(head, mark, scan, lim)
	if refusal == nil && n == 0 && len(b) > end { // needs more bytes than the limit allows
		refusal = errHeadSize
	}
	if refusal != nil {
		return 0, r.refuse(refusal)
	}
	return n, nil
}

// refuse makes every later call return errRefused.
func (r *Request) refuse(why *Error) error {
	r.phase = phaseRefused
	return why
}

// head parses the elements in their order. Each element's function gets the offset where
// the element begins and the offset up to which it is known to be good; it returns the
// offset after the element, or 0 if its end is not in b yet.
func (r *Request) head(b []byte, mark, i int, lim *Limits) (n int, refusal *Error) {
	if i > len(b) {
		return 0, nil // fewer bytes than last time: nothing new
	}
	switch r.phase {
	case phaseMethod:
		if isGet(b[mark:]) && lim.MethodBytes >= len("GET") {
			r.Method = Span{uint16(mark), uint16(len("GET"))}
			i = mark + len("GET ")
		} else if i, refusal = r.method(b, mark, i, lim); i == 0 {
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
		if isHTTP11(b[mark:]) {
			r.Minor = 1
			i = mark + len(version11)
		} else if i, refusal = r.version(b, mark); i == 0 {
			return 0, refusal
		}
		// Nearly every target is a path, which is valid with every method but CONNECT.
		if b[r.Target.Off] != '/' || r.Method.Len == uint16(len("CONNECT")) {
			if refusal = r.form(b); refusal != nil {
				return 0, refusal
			}
		}
		mark = i
		r.phase = phaseName
	}
	if i, refusal = r.fieldLines(b, mark, i, lim); i == 0 {
		return 0, refusal
	}
	if refusal = r.finish(b, 0, lim); refusal != nil {
		return 0, refusal
	}
	return i, nil
}

// finish checks what depends on the whole head: Host and the framing. The Host value is
// known to be plain up to hostEnd, if that offset is inside it.
func (r *Request) finish(b []byte, hostEnd int, lim *Limits) *Error {
	if refusal := r.host(b, hostEnd); refusal != nil {
		return refusal
	}
	if r.known[TransferEncoding]|r.known[ContentLength] != 0 { // most requests have neither
		if refusal := r.frame(b, lim); refusal != nil {
			return refusal
		}
	}
	if r.targetForm == authorityForm {
		return errConnect
	}
	r.phase = phaseDone
	return nil
}
