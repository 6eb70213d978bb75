package parser

// leadingCRLF returns where in b the request line begins: at 0, or at 2 after one empty
// line, which some clients send after a body. It returns len(b) if more bytes are needed.
// RFC 9112 section 2.2.
func leadingCRLF(b []byte) (start int, refusal *Error) {
	switch {
	case len(b) == 0 || b[0] != '\r':
		return 0, nil
	case len(b) == 1:
		return 1, nil
	case b[1] != '\n':
		return 0, errLeading
	}
	return 2, nil
}

// isGet reports whether b begins with "GET ", as nearly every request.
func isGet(b []byte) bool { return len(b) >= len("GET ") && string(b[:len("GET ")]) == "GET " }

// method parses the method and the one SP after it. RFC 9112 section 3.1.
func (r *Request) method(b []byte, start, i int, lim *Limits) (int, *Error) {
	for i < len(b) && is(b[i], tokenByte) {
		i++
	}
	switch {
	case i-start > lim.MethodBytes:
		return 0, errMethodSize
	case i == len(b):
		r.resumeAt(phaseMethod, start, i)
		return 0, nil
	case i == start && b[i] <= ' ': // a second empty line, or whitespace: rule 21
		return 0, errLeading
	case b[i] != ' ' || i == start:
		return 0, errMethod
	}
	r.Method = Span{uint16(start), uint16(i - start)}
	return i + 1, nil
}

// version11 is the end of nearly every request line.
const version11 = "HTTP/1.1\r\n"

// isHTTP11 reports whether b begins with version11.
func isHTTP11(b []byte) bool {
	return len(b) >= len(version11) && string(b[:len(version11)]) == version11
}

// version parses the HTTP-version and the CRLF after it. If b ends inside, the next call
// parses it again from its start: it has ten bytes. RFC 9112 section 2.3.
func (r *Request) version(b []byte, start int) (int, *Error) {
	for k := range len(version11) {
		if start+k == len(b) {
			r.resumeAt(phaseVersion, start, start)
			return 0, nil
		}
		c := b[start+k]
		switch {
		case k == len("HTTP/") || k == len("HTTP/1."): // any digit so far: rules 15 and 16
			if c-'0' > 9 {
				return 0, errVersion
			}
		case c == version11[k]:
		case k < len("HTTP/1.1"):
			return 0, errVersion
		case c == '\n':
			return 0, errBareLF
		case k == len("HTTP/1.1"): // neither CR nor LF after the version
			return 0, errRequestLineTrail
		default:
			return 0, errBareCR
		}
	}
	if b[start+len("HTTP/")] != '1' {
		return 0, errVersionMajor
	}
	r.Minor = b[start+len("HTTP/1.")] - '0'
	return start + len(version11), nil
}
