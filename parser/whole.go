package parser

import "math"

// This file is the fast path. Nearly every head comes whole and is plain: a path,
// HTTP/1.1, fields without a byte that needs a second check, a simple Host. On a machine
// with 32-byte vectors (AVX2) such a head is parsed here in one pass. This code refuses
// nothing and keeps no state for a next call: a head that is not plain, or not complete,
// is left to head, which starts again and has all the rules.

// vectorBytes is how many bytes takeLines classifies at once.
const vectorBytes = 32

// The beginning and the end of nearly every request line, little-endian.
const (
	wordGet    = 0x20544547         // "GET "
	wordHTTP11 = 0x312e312f50545448 // "HTTP/1.1"
)

// whole parses a head that is complete and plain, and returns its length. Otherwise it
// returns 0, with r as after Reset.
//
// It is one function because each call would cost a twentieth of a short head.
func (r *Request) whole(b []byte, lim *Limits) int {
	if len(b) > lim.HeadBytes {
		b = b[:max(lim.HeadBytes, 0)]
	}
	if len(b) > headBytesMax {
		b = b[:headBytesMax]
	}
	room := min(lim.Fields, fieldsRoom)
	if len(b) < vectorBytes || room < 1 {
		return 0
	}

	// The request line: a path, perhaps a query, and HTTP/1.1. RFC 9112 section 3.
	path := len("GET ")
	if load32(b, 0) != wordGet {
		path = afterMethod(b)
	}
	if path == 0 || b[path] != '/' {
		return 0
	}
	i := path + len("/")
	for i < len(b) && is(b[i], pathByte) {
		if i++; i == byteScanMax {
			i = endOfPath(b, i)
			break
		}
	}
	if i == len(b) {
		return 0
	}
	var query Span
	pathEnd := i
	if b[i] == '?' {
		i = endOfQuery(b, i+1)
		query = Span{uint16(pathEnd + 1), uint16(i - pathEnd - 1)}
	}
	if len(b)-i < len(" "+version11) || b[i] != ' ' || load64(b, i+1) != wordHTTP11 || !isCRLF(b[i+len(" HTTP/1.1"):]) ||
		path-1 > lim.MethodBytes || i-path > lim.TargetBytes {
		return 0 // nothing of r is set yet
	}
	r.Method = Span{0, uint16(path - 1)}
	r.Target = Span{uint16(path), uint16(i - path)}
	r.Path = Span{uint16(path), uint16(pathEnd - path)}
	r.Query = query
	r.Minor = 1

	// The field lines, and the known ones among them. RFC 9112 section 5.
	end, left, hostEnd := takeLines(&b[0], len(b), i+len(" "+version11), &r.fields[0], room)
	taken := r.fields[:room-left]
	r.count = uint8(len(taken))
	plainHostSeen := false
	for i := range taken {
		f := &taken[i]
		name, n := int(f.Name.Off), int(f.Name.Len)
		if n == len("Host") && load32(b, name)|fold32 == wordHost && r.known[Host] == 0 && plainHost(b, f.Value, hostEnd) {
			r.known[Host] = uint8(i + 1)
			r.Authority = Span{f.Value.Off, f.Value.Len}
			plainHostSeen = true
		} else if mayBeKnown(b[name], n) {
			r.recordKnown(b, f, uint8(i+1))
		}
	}
	if !isCRLF(b[end:]) ||
		(!plainHostSeen || r.repeated != 0) && r.host(b, hostEnd) != nil ||
		r.known[TransferEncoding]|r.known[ContentLength] != 0 && r.frame(b, lim) != nil {
		r.Reset() // head parses it again and returns the refusal
		return 0
	}
	r.phase = phaseDone
	return end + len("\r\n")
}

// byteScanMax is the offset in a head up to which a path is scanned byte by byte. Most
// paths end before it; for longer ones the scan by words is quicker.
const byteScanMax = 24

// afterMethod returns the offset of the target after a method other than GET, or 0 if no
// path can follow.
func afterMethod(b []byte) int {
	i := 0
	for i < vectorBytes-len(" /") && is(b[i], tokenByte) {
		i++
	}
	if i == 0 || i == len("CONNECT") || b[i] != ' ' {
		return 0
	}
	return i + 1
}

// portOf returns the decimal number in the lowest n bytes of v, at most 8, the first digit
// lowest; more than 65535 if they are not all digits.
func portOf(v uint64, n int) uint64 {
	const zeros = '0' * every
	v = v<<(64-8*n) | zeros>>(8*n) // 8 digits, with leading zeros
	v ^= zeros
	if (v|(v+0x76*every))&highs != 0 {
		return math.MaxUint64
	}
	v = v*10 + v>>8 // the number of each pair of digits, in every other byte
	const pairs = 0x000000ff000000ff
	return ((v&pairs)*(1_000_000<<32|100) + (v>>16&pairs)*(10_000<<32|1)) >> 32
}

// plainHost reports whether value is a host, perhaps with a port, given that takeLines has
// found its bytes up to hostEnd to be plain. false does not mean that the host is invalid.
func plainHost(b []byte, value Span, hostEnd int) bool {
	end := int(value.Off) + int(value.Len)
	if hostEnd <= int(value.Off) {
		return false
	}
	if hostEnd >= end {
		return hostEnd == end
	}
	if b[hostEnd] != ':' || end-hostEnd > len(":65535") {
		return false
	}
	port := b[hostEnd+1:]
	if len(port) < 8 {
		return false
	}
	return portOf(load64(port, 0), end-hostEnd-1) <= 65535
}
