package parser

import "fmt"

// FieldsMax is the most field lines a Request has room for. 100 is the default
// of Apache httpd (LimitRequestFields) and of PHP-side frameworks behind it;
// browsers send fewer than 30.
const FieldsMax = 100

// headBytesMax keeps every offset inside a head, with one leading CRLF before
// it, within the 16 bits of a Span.
const headBytesMax = 1<<16 - 1 - len("\r\n")

// Limits bound what one request may cost. They are read only: one value may
// serve every connection.
type Limits struct {
	// MethodBytes is the longest method in bytes. Default 32: the longest
	// registered one, UPDATEREDIRECTREF, has 17. Longer: 501.
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

	// Fields is the most field lines in a head. Default and most: FieldsMax.
	// More: 431.
	Fields int

	// BodyBytes is the longest content in bytes, after decoding. Default 1 MiB,
	// as in nginx (client_max_body_size). Negative lifts the limit. More: 413.
	BodyBytes int64

	// ChunkLineBytes is the longest chunk-size with its extensions in bytes,
	// without CRLF. Default 1024: 16 digits and far more extension than anyone
	// sends. Longer: 400.
	ChunkLineBytes int

	// TrailerBytes is the most bytes of trailer field lines, with their CRLFs.
	// Default 8192: trailers carry digests and signatures. Longer: 431.
	TrailerBytes int

	// TrailerFields is the most trailer field lines. Default 32. More: 431.
	TrailerFields int
}

// DefaultLimits returns the limits described at the fields of Limits.
func DefaultLimits() Limits {
	return Limits{
		MethodBytes:    32,
		TargetBytes:    8192,
		HeadBytes:      32768,
		Fields:         FieldsMax,
		BodyBytes:      1 << 20,
		ChunkLineBytes: 1024,
		TrailerBytes:   8192,
		TrailerFields:  32,
	}
}

// The least a server can work with.
const (
	methodBytesMin    = len("OPTIONS") // the longest method RFC 9110 gives a general server
	targetBytesMin    = 1              // "/"
	fieldsMin         = 1              // Host
	chunkLineBytesMin = 16             // a chunk-size with all digits we take
	lineRestBytes     = len("  HTTP/1.1\r\n\r\n")
)

// Check refuses limits that make no sense. The error names the field and how to
// mend it. Call it once, at the start of the program; Parse and Decode rely on
// it for sense, not for safety.
func (l *Limits) Check() error {
	headBytesMin := l.MethodBytes + l.TargetBytes + lineRestBytes
	switch {
	case l.MethodBytes < methodBytesMin:
		return fmt.Errorf("parser: Limits.MethodBytes is %d; set it to %d or more, so that OPTIONS fits", l.MethodBytes, methodBytesMin)
	case l.TargetBytes < targetBytesMin:
		return fmt.Errorf("parser: Limits.TargetBytes is %d; set it to %d or more, so that \"/\" fits", l.TargetBytes, targetBytesMin)
	case l.HeadBytes > headBytesMax:
		return fmt.Errorf("parser: Limits.HeadBytes is %d; set it to %d or less, which is as far as the parser counts", l.HeadBytes, headBytesMax)
	case l.MethodBytes > headBytesMax || l.TargetBytes > headBytesMax || l.HeadBytes < headBytesMin:
		return fmt.Errorf("parser: Limits.HeadBytes is %d; set it to %d or more, so that a request line of MethodBytes and TargetBytes fits, or lower those", l.HeadBytes, headBytesMin)
	case l.Fields < fieldsMin || l.Fields > FieldsMax:
		return fmt.Errorf("parser: Limits.Fields is %d; set it between %d and %d", l.Fields, fieldsMin, FieldsMax)
	case l.ChunkLineBytes < chunkLineBytesMin:
		return fmt.Errorf("parser: Limits.ChunkLineBytes is %d; set it to %d or more, so that every chunk-size fits", l.ChunkLineBytes, chunkLineBytesMin)
	case l.TrailerBytes < 0:
		return fmt.Errorf("parser: Limits.TrailerBytes is %d; set it to 0 to refuse trailers, or more", l.TrailerBytes)
	case l.TrailerFields < 0:
		return fmt.Errorf("parser: Limits.TrailerFields is %d; set it to 0 to refuse trailers, or more", l.TrailerFields)
	}
	return nil
}
