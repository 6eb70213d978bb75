package parser

// host checks the Host field and sets Authority. The bytes of its value before plainEnd
// need no check, if that offset is inside the value. RFC 9112 section 3.2, RFC 9110
// section 7.2.
func (r *Request) host(b []byte, plainEnd int) *Error {
	at := r.known[Host]
	if at == 0 {
		if r.Minor > 0 {
			return errHostMissing
		}
		return nil // HTTP/1.0: Authority is that of the target, or empty
	}
	if r.Repeated(Host) {
		return errHostRepeated
	}
	// An empty value is allowed: the target has no authority.
	value := r.fields[at-1].Value
	if plain := plainEnd - int(value.Off); plain != int(value.Len) {
		if plain < 0 || plain > int(value.Len) {
			plain = 0
		}
		if _, ok := hostPort(value.Of(b), plain); !ok {
			return errHost
		}
	}
	if r.targetForm == originForm || r.targetForm == asteriskForm {
		r.Authority = value
	}
	return nil
}

// hostPort checks uri-host [ ":" port ] and returns the index of that colon, or len(b).
// An empty b is valid; a port without a host is not. The first i bytes are known to be
// valid in any host. RFC 3986 section 3.2.
func hostPort(b []byte, i int) (colon int, ok bool) {
	if i == 0 && len(b) > 0 && b[0] == '[' { // IP-literal
		i = ipLiteral(b)
		if i == 0 {
			return 0, false
		}
	} else {
		for i < len(b) { // reg-name, which includes IPv4
			if is(b[i], hostByte) {
				i++
			} else if b[i] == '%' && len(b)-i > 2 && is(b[i+1], hexByte) && is(b[i+2], hexByte) {
				i += len("%41")
			} else {
				break
			}
		}
	}
	if i == len(b) { // no port
		return i, true
	}
	if b[i] != ':' || i == 0 { // a byte that is not allowed, or a port without a host
		return 0, false
	}
	port := 0 // *DIGIT: it may be empty
	if len(b)-i > len(":65535") {
		return 0, false
	}
	for _, c := range b[i+1:] {
		if c-'0' > 9 {
			return 0, false
		}
		port = port*10 + int(c-'0')
	}
	return i, port <= 65535
}

// ipLiteral returns the length of the "[...]" that b begins with, or 0 if it is not valid.
// RFC 3986 section 3.2.2.
func ipLiteral(b []byte) int {
	end := 1
	for end < len(b) && b[end] != ']' {
		end++
	}
	if end == len(b) {
		return 0
	}
	address := b[1:end]
	if !isIPv6(address) && !isIPvFuture(address) {
		return 0
	}
	return end + len("]")
}

// isIPv6 checks an IPv6 address without a zone, which has a meaning on one host only.
// netip.ParseAddr is not used because its errors allocate, and a peer decides how many
// there are. A test compares the two. RFC 3986 section 3.2.2.
func isIPv6(b []byte) bool {
	groups, gap := 0, false // gap: "::" seen, which stands for one group or more
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		gap = true
		b = b[2:]
	}
	for len(b) > 0 {
		n := 0
		for n < len(b) && is(b[n], hexByte) {
			n++
		}
		if n < len(b) && b[n] == '.' { // an IPv4 address in place of the last two groups
			groups += 2
			if !isIPv4(b) {
				return false
			}
			break
		}
		if n == 0 || n > 4 {
			return false
		}
		groups++
		b = b[n:]
		if len(b) == 0 {
			break
		}
		if b[0] != ':' || len(b) == 1 { // not a colon, or one at the end
			return false
		}
		b = b[1:]
		if b[0] == ':' {
			if gap {
				return false
			}
			gap = true
			b = b[1:]
		}
	}
	return groups == 8 && !gap || groups < 8 && gap
}

// isIPv4 checks four decimal numbers up to 255, without leading zeros.
func isIPv4(b []byte) bool {
	for part := range 4 {
		if part > 0 {
			if len(b) == 0 || b[0] != '.' {
				return false
			}
			b = b[1:]
		}
		n, value := 0, 0
		for n < len(b) && n < 3 && b[n]-'0' < 10 {
			value = value*10 + int(b[n]-'0')
			n++
		}
		if n == 0 || value > 255 || n > 1 && b[0] == '0' {
			return false
		}
		b = b[n:]
	}
	return len(b) == 0
}

// isIPvFuture checks "v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" ).
func isIPvFuture(b []byte) bool {
	if len(b) == 0 || b[0]|0x20 != 'v' {
		return false
	}
	i := 1
	for i < len(b) && is(b[i], hexByte) {
		i++
	}
	if i == 1 || i == len(b) || b[i] != '.' || i+1 == len(b) {
		return false
	}
	for _, c := range b[i+1:] {
		if !is(c, hostByte) && c != ':' {
			return false
		}
	}
	return true
}
