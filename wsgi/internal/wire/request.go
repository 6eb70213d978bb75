package wire

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"unicode/utf8"
)

// Flags of a request message.
const (
	Fence  = 1 << iota // no request: whoever takes it says so on the scoreboard
	Stream             // the content comes by DATA frames, as the worker asks with WANT
	ByFile             // the content comes by descriptor, when the worker asks with OPEN
)

// ErrMessageSize says that a request message is over [MessageBytesMax], or its content over [InlineBytesMax].
var ErrMessageSize = errors.New("wire: request message over its limit; send the content by descriptor")

// Codes of Python's marshal format, version 4. Interned strings ('Z', 'A', 't') are never written: CPython keeps those
// for ever, and names of header fields are the client's choice.
const (
	codeNull       = '0' // ends a dict
	codeNone       = 'N'
	codeFalse      = 'F'
	codeTrue       = 'T'
	codeInt        = 'i' // int32
	codeLong       = 'l' // digits of 15 bits
	codeBytes      = 's' // uint32 length
	codeShortLatin = 'z' // uint8 length; CPython takes bytes from 0x80 on as Latin-1
	codeLatin      = 'a' // uint32 length
	codeUTF8       = 'u' // uint32 length
	codeShortTuple = ')' // uint8 length
	codeList       = '['
	codeDict       = '{'
)

// Encoder writes one request message: Begin, the pairs of the environ in any order, End, Message. Of equal keys the
// last counts. The zero value is ready; it keeps its buffer, so that in steady state nothing is allocated.
type Encoder struct {
	b []byte // idSpace bytes for what stands before the environ, and the rest
}

// idSpace is where Message puts the beginning of the tuple and the id: 2 bytes, and 15 for an id over 31 bits.
const idSpace = 2 + 5 + 2*5

// Begin starts a message. It ends the use of what Message returned.
func (e *Encoder) Begin() {
	e.b = append(slices.Grow(e.b[:0], 1<<10)[:idSpace], codeDict)
}

// Text adds a string: each byte of value is one code point up to U+00FF, as WSGI wants it. Both are copied.
func (e *Encoder) Text(key, value string) {
	e.b = appendLatin(appendLatin(e.b, key), value)
}

// TextBytes is Text for bytes.
func (e *Encoder) TextBytes(key, value []byte) {
	e.b = appendLatin(appendLatin(e.b, key), value)
}

// Field adds a field of the request as HTTP_NAME, with name in upper case and "_" for "-".
func (e *Encoder) Field(name, value string) {
	const prefix = "HTTP_"
	if n := len(prefix) + len(name); n < 256 {
		e.b = append(e.b, codeShortLatin, byte(n))
	} else {
		e.b = appendLength(e.b, codeLatin, n)
	}
	e.b = append(e.b, prefix...)
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		case c == '-':
			c = '_'
		}
		e.b = append(e.b, c)
	}
	e.b = appendLatin(e.b, value)
}

// Bool adds True or False.
func (e *Encoder) Bool(key string, value bool) {
	e.b = appendBool(appendLatin(e.b, key), value)
}

// Int adds an int.
func (e *Encoder) Int(key string, value int32) {
	e.b = appendInt(appendLatin(e.b, key), value)
}

// IntPair adds a tuple of two ints, such as wsgi.version.
func (e *Encoder) IntPair(key string, first, second int32) {
	e.b = append(appendLatin(e.b, key), codeShortTuple, 2)
	e.b = appendInt(appendInt(e.b, first), second)
}

// Pairs returns a copy of what was added since Begin, for Add: pairs that are the same in each request.
func (e *Encoder) Pairs() []byte { return append([]byte(nil), e.b[idSpace+1:]...) }

// Add adds what Pairs returned.
func (e *Encoder) Add(pairs []byte) { e.b = append(e.b, pairs...) }

// End finishes the message. content is nil for a request without content, and with Stream or ByFile. It is copied.
func (e *Encoder) End(content []byte, flags int32) error {
	e.b = append(e.b, codeNull)
	if len(content) > InlineBytesMax {
		return ErrMessageSize
	}
	if content == nil {
		e.b = append(e.b, codeNone)
	} else {
		e.b = appendLength(e.b, codeBytes, len(content))
		e.b = append(e.b, content...)
	}
	e.b = appendInt(e.b, flags)
	if len(e.b) > MessageBytesMax {
		return ErrMessageSize
	}
	return nil
}

// Message returns the message with an id, which is not 0 and below 1<<63, until the next Begin or Message. A message
// that is sent a second time gets another id.
func (e *Encoder) Message(id uint64) []byte {
	var space [idSpace]byte
	head := appendUint(append(space[:0], codeShortTuple, 4), id)
	b := e.b[idSpace-len(head):]
	copy(b, head)
	return b
}

// Release drops a buffer that has grown beyond what most requests need.
func (e *Encoder) Release() {
	if cap(e.b) > 16<<10 {
		e.b = nil
	}
}

// AppendFence appends the message of a fence. Its id comes from the same counter as those of requests.
func AppendFence(dst []byte, id uint64) []byte {
	dst = appendUint(append(dst, codeShortTuple, 4), id)
	return appendInt(append(dst, codeNone, codeNone), Fence)
}

// Config is what a worker has to know before it loads the application. Texts are UTF-8.
type Config struct {
	Target  string   // as on the command line; empty: look for one
	Dir     string   // sys.path[0]; empty: the working directory
	Path    []string // goes before the rest of sys.path
	Factory bool     // the target is called to get the application
	Strict  bool     // raise where a worker mends, and check by wsgiref.validate
	Slots   int32    // threads that run the application, or greenlets
	Gevent  bool     // the slots are greenlets: gevent patches the standard library
}

// AppendConfig appends the CONFIG frame.
func AppendConfig(dst []byte, c *Config) []byte {
	return appendFrame(dst, FrameConfig, 0, 0, func(b []byte) []byte {
		b = append(b, codeDict)
		b = appendUTF8(appendLatin(b, "target"), c.Target)
		b = appendUTF8(appendLatin(b, "dir"), c.Dir)
		b = appendLength(appendLatin(b, "path"), codeList, len(c.Path))
		for _, dir := range c.Path {
			b = appendUTF8(b, dir)
		}
		b = appendBool(appendLatin(b, "factory"), c.Factory)
		b = appendBool(appendLatin(b, "strict"), c.Strict)
		b = appendInt(appendLatin(b, "slots"), c.Slots)
		b = appendBool(appendLatin(b, "gevent"), c.Gevent)
		return append(b, codeNull)
	})
}

func appendLatin[T string | []byte](dst []byte, s T) []byte {
	if len(s) < 256 {
		dst = append(dst, codeShortLatin, byte(len(s)))
	} else {
		dst = appendLength(dst, codeLatin, len(s))
	}
	return append(dst, s...)
}

// appendUTF8 appends a text whose bytes need not be UTF-8, as names of files: others become U+FFFD.
func appendUTF8(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	return append(appendLength(dst, codeUTF8, len(s)), s...)
}

// appendLength appends a length that marshal reads as an int32. Above that the bytes could be read as something else,
// so it is a panic: End's limit is far below.
func appendLength(dst []byte, code byte, n int) []byte {
	if n > math.MaxInt32 {
		panic("wire: a text over 2 GiB")
	}
	return binary.LittleEndian.AppendUint32(append(dst, code), uint32(n))
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, codeTrue)
	}
	return append(dst, codeFalse)
}

func appendInt(dst []byte, v int32) []byte {
	return binary.LittleEndian.AppendUint32(append(dst, codeInt), uint32(v))
}

// appendUint appends v as an int where it fits, else by digits of 15 bits, the lowest first.
func appendUint(dst []byte, v uint64) []byte {
	if v <= math.MaxInt32 {
		return appendInt(dst, int32(v))
	}
	digits := 0
	for rest := v; rest > 0; rest >>= 15 {
		digits++
	}
	dst = appendLength(dst, codeLong, digits)
	for ; v > 0; v >>= 15 {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(v&0x7fff))
	}
	return dst
}
