package parser

import (
	"encoding/binary"
	"math/bits"
)

// Classes of bytes. A byte may be in several.
const (
	tokenByte  = 1 << iota // tchar, RFC 9110 section 5.6.2
	pathByte               // in a path: RFC 3986 section 3.3 and what browsers send raw
	queryByte              // in a query: RFC 3986 section 3.4 and what browsers send raw
	valueByte              // in a field value: RFC 9110 section 5.5
	hostByte               // in a reg-name: RFC 3986 section 3.2.2, without ','
	quotedByte             // qdtext, RFC 9110 section 5.6.4
	hexByte                // HEXDIG in either case
)

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

// class holds the classes of every byte.
var class = func() (t [256]uint8) {
	add := func(bit uint8, set string) {
		for i := range len(set) {
			t[set[i]] |= bit
		}
	}
	const (
		unreserved = letters + digits + "-._~"
		// subDelims lacks ',': in a Host value it shows that a proxy has joined two lines.
		subDelims = "!$&'()*+;="
		pchar     = unreserved + subDelims + ",:@%"
	)
	add(tokenByte, letters+digits+"!#$%&'*+-.^_`|~")
	add(pathByte, pchar+"/"+"[]|^")
	add(queryByte, pchar+"/?"+"[]{}|\\^`")
	add(hostByte, unreserved+subDelims)
	add(hexByte, digits+"abcdefABCDEF")
	for c := range t {
		if c == '\t' || c >= ' ' && c != 0x7f {
			t[c] |= valueByte
			if c != '"' && c != '\\' {
				t[c] |= quotedByte
			}
		}
	}
	return t
}()

// is reports whether c is in one of the classes in.
func is(c byte, in uint8) bool { return class[c]&in != 0 }

// hexDigit returns the value of a HEXDIG, and 16 or more for any other byte.
func hexDigit(c byte) uint64 {
	switch {
	case c-'0' < 10:
		return uint64(c - '0')
	case c|0x20-'a' < 6:
		return uint64(c|0x20-'a') + 10
	}
	return 16
}

// The scans below read 8 bytes at a time (SWAR) and set the highest bit of each byte
// at which the scan may have to stop: its mark. The tests for a mark are chosen to be
// cheap. Some also mark a few allowed bytes, and where a subtraction borrows from the
// byte above, or an addition carries into it, that byte may get a false mark. A byte
// that is not allowed always has its mark, so all bytes below the lowest mark are
// allowed. The byte at that mark is looked up in class; if it is allowed too, the scan
// continues behind it.
const (
	every = 0x0101010101010101 // times a byte: a word of eight such bytes
	highs = 0x80 * every
)

func load32(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }
func load64(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }

// word returns the 8 bytes from b[i] on, with NUL for those beyond len(b). NUL ends
// every scan, so a scan ends at len(b) at the latest.
func word(b []byte, i int) uint64 {
	if len(b)-i >= 8 {
		return load64(b, i)
	}
	return lastWord(b, i)
}

// lastWord is word for the last 7 bytes.
func lastWord(b []byte, i int) (v uint64) {
	if len(b) >= 8 {
		return load64(b, len(b)-8) >> (8 * (8 - (len(b) - i)))
	}
	for k := len(b) - 1; k >= i; k-- {
		v = v<<8 | uint64(b[k])
	}
	return v
}

// lowest returns the index of the lowest marked byte; marks is not zero.
func lowest(marks uint64) int { return bits.TrailingZeros64(marks) >> 3 }

// pathMarks marks what is not in a path, and '=', '?', '|', '~' and '!'.
func pathMarks(v uint64) uint64 {
	marks := v - 0x24*every // up to '#', so SP too
	marks |= v + 0x05*every // '{' to DEL
	marks |= v              // 0x80 and up
	marks |= v&(0xfc*every) ^ '<'*every - every
	marks |= v ^ '\\'*every - every
	marks |= v ^ '`'*every - every
	return marks & highs
}

// queryMarks marks what is not in a query, and '!'.
func queryMarks(v uint64) uint64 {
	marks := v - 0x24*every // up to '#', so SP too
	marks |= v + 0x01*every // DEL
	marks |= v              // 0x80 and up
	marks |= v&(0xfd*every) ^ '<'*every - every
	return marks & highs
}

// nameMarks marks what is neither a letter nor '-'.
func nameMarks(v uint64) uint64 {
	folded := v | 0x20*every
	marks := ^((folded | highs) - 'a'*every)   // below 'a'
	marks |= folded&^highs + 0x05*every        // above 'z'
	marks &= (v^'-'*every)&^highs + 0x7f*every // but not '-'
	return (marks | v) & highs                 // 0x80 and up
}

// valueMarks marks what is not in a field value, and HTAB.
func valueMarks(v uint64) uint64 {
	marks := v - 0x20*every // controls
	marks |= v + 0x01*every // DEL
	return marks &^ v & highs
}

// endOfPath returns the index of the first byte of b[i:] that is not in a path,
// or len(b).
func endOfPath(b []byte, i int) int {
	for {
		marks := pathMarks(word(b, i))
		if marks == 0 {
			i += 8
			continue
		}
		i += lowest(marks)
		if i >= len(b) || !is(b[i], pathByte) {
			return i
		}
		i++
	}
}

// endOfQuery is endOfPath for a query.
func endOfQuery(b []byte, i int) int {
	for {
		marks := queryMarks(word(b, i))
		if marks == 0 {
			i += 8
			continue
		}
		i += lowest(marks)
		if i >= len(b) || !is(b[i], queryByte) {
			return i
		}
		i++
	}
}

func isCRLF(b []byte) bool { return len(b) >= 2 && b[0] == '\r' && b[1] == '\n' }

// equalFold reports whether a and b are equal without regard to the case of
// ASCII letters. Nothing outside ASCII folds: the Kelvin sign is not a k.
func equalFold(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if c != b[i] && lower(c) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c-'A' < 26 {
		c |= 0x20
	}
	return c
}

// trim cuts whitespace in the sense of RFC 9110 section 5.6.3, SP and HTAB, off
// both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }
