package parser

// target parses the request-target and the one SP after it. A path with its query is fully
// checked here; form checks the other forms when the line is complete. RFC 9112 section 3.2.
func (r *Request) target(b []byte, start, i int, lim *Limits) (int, *Error) {
	if start < len(b) && b[start] == '/' {
		if r.Query.Off == 0 {
			// Many paths are so short that a scan by words costs more.
			for short := min(len(b), i+4); i < short && is(b[i], pathByte); {
				i++
			}
			if i < len(b) && is(b[i], pathByte) {
				i = endOfPath(b, i)
			}
			if i < len(b) && b[i] == '?' {
				i++
				r.Query.Off = uint16(i) // not 0: a later call continues in the query
			}
		}
		if r.Query.Off != 0 {
			i = endOfQuery(b, i)
		}
	} else {
		for i < len(b) && is(b[i], pathByte|queryByte) {
			i++
		}
	}
	switch {
	case i-start > lim.TargetBytes:
		return 0, errTargetSize
	case i == len(b):
		r.resumeAt(phaseTarget, start, i)
		return 0, nil
	case b[i] != ' ':
		return 0, notInTarget(b[i])
	case i == start:
		return 0, errTargetEmpty
	}
	r.Target = Span{uint16(start), uint16(i - start)}
	r.split(start, i)
	return i + 1, nil
}

// split sets Path and Query. The path begins at start; path and query together end at end.
// There is a query if Query.Off is not 0.
func (r *Request) split(start, end int) {
	if r.Query.Off != 0 {
		r.Query.Len = uint16(end) - r.Query.Off
		end = int(r.Query.Off) - len("?")
	}
	r.Path = Span{uint16(start), uint16(end - start)}
}

// notInTarget returns the refusal for a byte that ends a target too early.
func notInTarget(c byte) *Error {
	switch {
	case c == '\n':
		return errBareLF
	case c == '\r':
		return errVersionMissing // HTTP/0.9 has none
	case c < ' ' || c >= 0x7f:
		return errTargetByte
	}
	return errTargetDelimiter
}

// form decides which form the target has, and whether the method allows it. It runs when
// the request line is complete, so that the HTTP/2 preface is refused for its version (505)
// and not for its target. RFC 9112 section 3.2.
func (r *Request) form(b []byte) *Error {
	target := r.Target.Of(b)
	connect := r.Method.Len == 7 && string(r.Method.Of(b)) == "CONNECT"
	switch {
	case connect:
		// Section 3.2.3. The port has no default.
		colon, ok := hostPort(target, 0)
		if !ok || colon+1 >= len(target) || isZero(target[colon+1:]) {
			return errConnectTarget
		}
		r.targetForm = authorityForm
		r.Authority = r.Target
		r.Path = Span{}
		return nil

	case target[0] == '/':
		// Section 3.2.1. "//x" is a path too, not an authority.
		return nil

	case len(target) == 1 && target[0] == '*':
		// Section 3.2.4.
		if string(r.Method.Of(b)) != "OPTIONS" {
			return errAsterisk
		}
		r.targetForm = asteriskForm
		return nil
	}
	return r.absoluteForm(target)
}

// absoluteForm splits "http://host/path?query". RFC 9112 section 3.2.2, RFC 9110
// section 4.2.
func (r *Request) absoluteForm(target []byte) *Error {
	i := 0
	for i < len(target) && target[i] != ':' {
		i++
	}
	scheme := target[:i]
	if len(target)-i < len("://") || string(target[i:i+len("://")]) != "://" {
		return errTargetForm
	}
	if !equalFold(scheme, "http") && !equalFold(scheme, "https") {
		return errTargetScheme
	}
	i += len("://")
	start := i
	for i < len(target) && target[i] != '/' && target[i] != '?' {
		i++
	}
	if colon, ok := hostPort(target[start:i], 0); !ok || colon == 0 {
		return errTargetAuthority // also for userinfo: '@' is not allowed in a host
	}
	offset := int(r.Target.Off)
	r.targetForm = absoluteForm
	r.Authority = Span{uint16(offset + start), uint16(i - start)}

	// The path may be empty, also before a query.
	end := endOfPath(target, i)
	if end < len(target) && target[end] == '?' {
		end++
		r.Query.Off = uint16(offset + end)
		end = endOfQuery(target, end)
	}
	if end < len(target) {
		return errTargetDelimiter
	}
	r.split(offset+i, offset+end)
	return nil
}

func isZero(port []byte) bool {
	for _, c := range port {
		if c != '0' {
			return false
		}
	}
	return true
}
