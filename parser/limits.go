package parser

import "fmt"

// fieldsRoom is how many field lines a Request has room for. 100 is the default of Apache
// httpd (LimitRequestFields); browsers send fewer than 30.
const fieldsRoom = 100

// headBytesMax is the longest head whose offsets fit in the 16 bits of a Span, with a
// leading CRLF before it.
const headBytesMax = 1<<16 - 1 - len("\r\n")

// Limits bound the cost of one request. They are read only: all connections may share one
// value.
type Limits struct {
	// MethodBytes is the longest method in bytes. Default 32: the longest
	// registered method, UPDATEREDIRECTREF, has 17. Longer: 501.
	// RFC 9112 section 3.
	MethodBytes int

	// TargetBytes is the longest request-target in bytes. Default 8192: RFC 9112
	// section 3 asks for request lines of 8000. Longer: 414.
	TargetBytes int

	// HeadBytes is the longest head in bytes, from the request line to the final
	// CRLF; a skipped leading CRLF is not counted. Default 32768: room for a full
	// target and 16 KiB of cookies. At most 65533, so that a Span can point
	// anywhere in it. Longer: 431.
	HeadBytes int

	// Fields is how many field lines a head may have. Default and maximum: 100.
	// More: 431.
	Fields int

	// BodyBytes is the longest content in bytes, after decoding. Default 1 MiB,
	// as in nginx (client_max_body_size). Negative: no limit. More: 413.
	BodyBytes int64

	// ChunkLineBytes is the longest chunk-size with its extensions in bytes,
	// without CRLF. Default 1024: 16 digits and more extension than clients send.
	// Longer: 400.
	ChunkLineBytes int

	// TrailerBytes is how many bytes all trailer field lines may have, with their CRLFs.
	// Default 8192: trailers carry digests and signatures. More: 431.
	TrailerBytes int

	// TrailerFields is how many trailer field lines there may be. Default 32. More: 431.
	TrailerFields int
}

// DefaultLimits returns Limits with every field set to its default.
func DefaultLimits() Limits {
	return Limits{
		MethodBytes:    32,
		TargetBytes:    8192,
		HeadBytes:      32768,
		Fields:         fieldsRoom,
		BodyBytes:      1 << 20,
		ChunkLineBytes: 1024,
		TrailerBytes:   8192,
		TrailerFields:  32,
	}
}

// The smallest limits with which a server works.
const (
	methodBytesMin    = len("OPTIONS") // the longest method RFC 9110 gives a general server
	targetBytesMin    = 1              // "/"
	fieldsMin         = 1              // Host
	chunkLineBytesMin = 16             // a chunk-size with all 16 digits
	lineRestBytes     = len("  HTTP/1.1\r\n\r\n")
)

// Check returns an error for limits that cannot work: it names the field, the value and
// what to use instead. Call it once, when the program starts. Parse and Decode are safe with
// any limits.
func (l *Limits) Check() error {
	headBytesMin := l.MethodBytes + l.TargetBytes + lineRestBytes
	switch {
	case l.MethodBytes < methodBytesMin:
		return fmt.Errorf("parser: Limits.MethodBytes is %d; set it to %d or more, so that OPTIONS fits",
			l.MethodBytes, methodBytesMin)
	case l.TargetBytes < targetBytesMin:
		return fmt.Errorf("parser: Limits.TargetBytes is %d; set it to %d or more, so that \"/\" fits",
			l.TargetBytes, targetBytesMin)
	case l.HeadBytes > headBytesMax:
		return fmt.Errorf("parser: Limits.HeadBytes is %d; set it to %d or less, which is as far as the parser counts",
			l.HeadBytes, headBytesMax)
	case l.MethodBytes > headBytesMax || l.TargetBytes > headBytesMax || l.HeadBytes < headBytesMin:
		return fmt.Errorf("parser: Limits.HeadBytes is %d; set it to %d or more, "+
			"so that a request line of MethodBytes and TargetBytes fits, or lower those", l.HeadBytes, headBytesMin)
	case l.Fields < fieldsMin || l.Fields > fieldsRoom:
		return fmt.Errorf("parser: Limits.Fields is %d; set it between %d and %d", l.Fields, fieldsMin, fieldsRoom)
	case l.ChunkLineBytes < chunkLineBytesMin:
		return fmt.Errorf("parser: Limits.ChunkLineBytes is %d; set it to %d or more, so that every chunk-size fits",
			l.ChunkLineBytes, chunkLineBytesMin)
	case l.TrailerBytes < 0:
		return fmt.Errorf("parser: Limits.TrailerBytes is %d; set it to 0 to refuse trailers, or more",
			l.TrailerBytes)
	case l.TrailerFields < 0:
		return fmt.Errorf("parser: Limits.TrailerFields is %d; set it to 0 to refuse trailers, or more",
			l.TrailerFields)
	}
	return nil
}
