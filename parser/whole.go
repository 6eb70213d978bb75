package parser

// Nearly every head comes whole, and is plainly good: a path, HTTP/1.1, fields of
// which no byte needs a second look, a simple Host. Where the machine looks at 32
// bytes at once, such a head is taken here in one go. Nothing is refused here and
// nothing remembered for a next call: whatever is not plain, or not yet there, is
// left to head, which begins again and knows all the rules.

// vectorBytes are looked at at once, by takeLines.
const vectorBytes = 32

// whole takes a head that is whole and plainly good, and returns its length.
// Otherwise it returns 0, with r as Reset leaves it.
func (r *Request) whole(b []byte, lim *Limits) int {
	b = b[:max(min(len(b), lim.HeadBytes, headBytesMax), 0)]
	line := r.plainLine(b, lim)
	if line == 0 {
		return 0
	}
	room := min(lim.Fields, FieldsMax)
	end, left, hostEnd := takeLines(&b[0], len(b), line, &r.fields[0], room)
	taken := r.fields[:room-left]
	r.count = uint8(len(taken))
	for i := range taken {
		f := &taken[i]
		if mayBeKnown(b[f.Name.Off], int(f.Name.Len)) {
			r.note(b, f, uint8(i+1))
		}
	}
	if !isCRLF(b[end:]) || r.settle(b, hostEnd, lim) != nil {
		r.Reset()
		return 0
	}
	return end + len("\r\n")
}

// plainLine takes a request line with a path, perhaps a query, and HTTP/1.1. It
// returns the place after it, or 0 with nothing changed. RFC 9112 section 3.
func (r *Request) plainLine(b []byte, lim *Limits) int {
	if len(b) < vectorBytes {
		return 0
	}
	path := len("GET ")
	if string(b[:path]) != "GET " {
		path = 0
		for path < vectorBytes-len(" /") && is(b[path], tokenByte) {
			path++
		}
		if path == 0 || path == len("CONNECT") || b[path] != ' ' {
			return 0
		}
		path++
	}
	if b[path] != '/' {
		return 0
	}
	i := path + len("/")
	for {
		if len(b)-i < 8 {
			return 0
		}
		marks := pathMarks(load64(b, i))
		if marks == 0 {
			i += 8
			continue
		}
		i += lowest(marks)
		if !is(b[i], pathByte) {
			break
		}
		i++
	}
	var query Span
	pathEnd := i
	if b[i] == '?' {
		i = endOfQuery(b, i+1)
		query = Span{uint16(pathEnd + 1), uint16(i - pathEnd - 1)}
	}
	if len(b)-i < len(" "+version11) || b[i] != ' ' || !isHTTP11(b[i+1:]) ||
		path-1 > lim.MethodBytes || i-path > lim.TargetBytes {
		return 0
	}
	r.Method = Span{0, uint16(path - 1)}
	r.Target = Span{uint16(path), uint16(i - path)}
	r.Path = Span{uint16(path), uint16(pathEnd - path)}
	r.Query = query
	r.Minor = 1
	return i + len(" "+version11)
}
