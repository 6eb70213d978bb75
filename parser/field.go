package parser

// fieldLines parses the field lines and the empty line that ends the head. line is where
// the present line begins, and b[line:i] is known to be good. The scans for the ends of
// names and values are inlined by hand: calls would cost a tenth of the whole parse.
// bytes.go explains how they work. RFC 9112 section 5.
func (r *Request) fieldLines(b []byte, line, i int, lim *Limits) (int, *Error) {
	count := int(r.count)
	fieldsMax := min(lim.Fields, fieldsRoom)
	inValue := r.phase == phaseValue
	for {
		if !inValue {
			// At the start of a line: a field line, or the empty line.
			if i == line {
				if i == len(b) {
					break
				}
				if b[i] == '\r' { // the end of the head
					if i+1 == len(b) {
						break
					}
					if b[i+1] != '\n' {
						return 0, errBareCR
					}
					r.count = uint8(count)
					return i + 2, nil
				}
				if count >= fieldsMax {
					return 0, errFields
				}
			}
			// The name, up to the colon.
			for {
				marks := nameMarks(word(b, i))
				if marks == 0 {
					i += 8
					continue
				}
				i += lowest(marks)
				if i >= len(b) || !is(b[i], tokenByte) {
					break
				}
				i++
			}
			if i == len(b) {
				break
			}
			if b[i] != ':' || i == line {
				return 0, notInName(b[i], i == line, count == 0)
			}
			r.fields[count].Name = Span{uint16(line), uint16(i - line)}
			i++
			inValue = true
		}
		// The value, up to CRLF.
		for {
			marks := valueMarks(word(b, i))
			if marks == 0 {
				i += 8
				continue
			}
			i += lowest(marks)
			if i >= len(b) || !is(b[i], valueByte) {
				break
			}
			i++
		}
		if i == len(b) {
			break
		}
		if b[i] != '\r' {
			if b[i] == '\n' {
				return 0, errBareLF
			}
			return 0, errFieldValue
		}
		if i+1 == len(b) {
			break
		}
		if b[i+1] != '\n' {
			return 0, errBareCR
		}
		// The line is complete: trim the value and store it.
		f := &r.fields[count]
		start, end := line+int(f.Name.Len)+len(":"), i
		for start < end && isSpace(b[start]) {
			start++
		}
		for start < end && isSpace(b[end-1]) {
			end--
		}
		f.Value = Span{uint16(start), uint16(end - start)}
		count++
		if mayBeKnown(b[line], int(f.Name.Len)) {
			r.recordKnown(b, f, uint8(count))
		}
		i += 2
		line = i
		inValue = false
	}
	// b has ended inside a line: the next call continues there.
	r.count = uint8(count)
	if inValue {
		r.resumeAt(phaseValue, line, i)
	} else {
		r.resumeAt(phaseName, line, i)
	}
	return 0, nil
}

// mayBeKnown reports whether a name of n bytes that begins with c may be a known one. It
// spares most names the comparison.
func mayBeKnown(c byte, n int) bool { return c|0x20 == knownFirst[uint(n)%uint(len(knownFirst))] }

// knownFirst has the first letter of the known name of each length.
var knownFirst = [32]byte{
	len("Host"):              'h',
	len("Expect"):            'e',
	len("Upgrade"):           'u',
	len("Connection"):        'c',
	len("Content-Type"):      'c',
	len("Content-Length"):    'c',
	len("Transfer-Encoding"): 't',
}

// notInName returns the refusal for a byte that ends a field name too early.
func notInName(c byte, atStart, firstLine bool) *Error {
	switch {
	case c == '\n':
		return errBareLF
	case atStart && isSpace(c) && firstLine:
		return errFirstSpace
	case atStart && isSpace(c):
		return errFold
	case atStart:
		return errFieldName
	case isSpace(c):
		return errFieldSpace
	case c == '\r':
		return errFieldColon
	}
	return errFieldName
}

// The known names in lower case, 4 or 8 bytes at a time, little-endian. If the length is
// not a multiple of that, the last word overlaps the one before.
const (
	wordHost = 0x74736f68 // "host"
	wordExpe = 0x65707865 // "expe"
	wordPect = 0x74636570 // "pect"
	wordType = 0x65707974 // "type"
	wordUpgr = 0x72677075 // "upgr"
	wordRade = 0x65646172 // "rade"
	wordClos = 0x736f6c63 // "clos"

	wordConnecti = 0x697463656e6e6f63 // "connecti"
	wordNnection = 0x6e6f697463656e6e // "nnection"
	wordContent  = 0x2d746e65746e6f63 // "content-"
	wordTLength  = 0x6874676e656c2d74 // "t-length"
	wordTransfer = 0x726566736e617274 // "transfer"
	wordEncodin  = 0x6e69646f636e652d // "-encodin"
	wordKeepAli  = 0x696c612d7065656b // "keep-ali"
	wordEpAlive  = 0x6576696c612d7065 // "ep-alive"
)

// fold is bit 0x20 of every byte: it makes letters lower case. Of the other bytes only CR
// becomes one that known names have, '-'; but a token has no CR.
const (
	fold   = 0x20 * every
	fold32 = fold & (1<<32 - 1)
)

// knownName returns the known name that name is, or knownCount.
func knownName(name []byte) Known {
	switch len(name) {
	case len("Host"):
		if load32(name, 0)|fold32 == wordHost {
			return Host
		}
	case len("Expect"):
		if load32(name, 0)|fold32 == wordExpe && load32(name, 2)|fold32 == wordPect {
			return Expect
		}
	case len("Upgrade"):
		if load32(name, 0)|fold32 == wordUpgr && load32(name, 3)|fold32 == wordRade {
			return Upgrade
		}
	case len("Connection"):
		if load64(name, 0)|fold == wordConnecti && load64(name, 2)|fold == wordNnection {
			return Connection
		}
	case len("Content-Type"):
		if load64(name, 0)|fold == wordContent && load32(name, 8)|fold32 == wordType {
			return ContentType
		}
	case len("Content-Length"):
		if load64(name, 0)|fold == wordContent && load64(name, 6)|fold == wordTLength {
			return ContentLength
		}
	case len("Transfer-Encoding"):
		if load64(name, 0)|fold == wordTransfer && load64(name, 8)|fold == wordEncodin && name[16]|0x20 == 'g' {
			return TransferEncoding
		}
	}
	return knownCount
}

// recordKnown records that f, field line number place, has a known name, and returns it; or
// knownCount if the name is not known.
func (r *Request) recordKnown(b []byte, f *Field, place uint8) Known {
	k := knownName(b[f.Name.Off:][:f.Name.Len])
	switch k {
	case knownCount:
		return k
	case Connection:
		r.connection(f.Value.Of(b))
	case Expect:
		r.expect(f.Value.Of(b))
	}
	if r.known[k] == 0 {
		r.known[k] = place
	} else {
		r.repeated |= 1 << k
	}
	return k
}

// connection records the options of one Connection line, a list of tokens. Options other
// than close and keep-alive are ignored; none changes the framing. RFC 9110 section 7.6.1.
func (r *Request) connection(value []byte) {
	if isKeepAlive(value) { // nearly always the whole value
		r.options |= connectionKeepAlive
		return
	}
	for len(value) > 0 {
		var element []byte
		element, value = cutElement(value)
		switch {
		case isKeepAlive(element):
			r.options |= connectionKeepAlive
		case len(element) == len("close") && load32(element, 0)|fold32 == wordClos && element[4]|0x20 == 'e':
			r.options |= connectionClose
		}
	}
}

func isKeepAlive(b []byte) bool {
	return len(b) == len("keep-alive") && load64(b, 0)|fold == wordKeepAli && load64(b, 2)|fold == wordEpAlive
}

// expect records the expectations of one Expect line, a list. The only known element is
// 100-continue, without parameters. A ',' inside a quoted string cuts it into two elements,
// which are unknown like the whole. RFC 9110 section 10.1.1.
func (r *Request) expect(value []byte) {
	for len(value) > 0 {
		var element []byte
		element, value = cutElement(value)
		switch {
		case len(element) == 0: // RFC 9110 section 5.6.1.2: ignored
		case equalFold(element, "100-continue"):
			r.options |= expectContinue
		default:
			r.options |= expectUnknown
		}
	}
}

// cutElement returns the first element of a comma-separated list, trimmed and possibly
// empty, and what follows its comma; rest is nil if there is no comma.
func cutElement(list []byte) (element, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), nil
}
