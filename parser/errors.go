package parser

// Error is a refusal: a value made once, so that returning it costs nothing and
// a caller may compare with ==. It never holds a byte of the peer, so it may go
// into a log as it is.
//
// Every refusal is final for the connection: answer with Status, say
// "Connection: close", and parse nothing more. RFC 9112 sections 2.2 and 6.3.
type Error struct {
	Status int    // status code to answer with
	Rule   int    // number of the rule in the list at the top of this package
	Why    string // for the log; names the Limits field where one decided
}

func (e *Error) Error() string { return "parser: " + e.Why }

// The request line. RFC 9112 sections 2.2 and 3.
var (
	ErrLeading          = &Error{400, 21, "byte not allowed before a request line"}
	ErrMethod           = &Error{400, 2, "method is empty or not a token"}
	ErrMethodSize       = &Error{501, 2, "method longer than the limit MethodBytes"}
	ErrTargetEmpty      = &Error{400, 4, "request-target is empty"}
	ErrTargetSize       = &Error{414, 4, "request-target longer than the limit TargetBytes"}
	ErrTargetByte       = &Error{400, 5, "byte not allowed in a request-target"}
	ErrTargetDelimiter  = &Error{400, 6, "delimiter not allowed in this part of a request-target"}
	ErrTargetForm       = &Error{400, 8, "request-target in none of the four forms"}
	ErrTargetScheme     = &Error{400, 10, "absolute-form with a scheme other than http and https"}
	ErrTargetAuthority  = &Error{400, 10, "absolute-form without a valid host and port"}
	ErrConnectTarget    = &Error{400, 11, "CONNECT without a valid host and port"}
	ErrConnect          = &Error{501, 12, "CONNECT is not offered"}
	ErrAsterisk         = &Error{400, 13, "asterisk-form without OPTIONS"}
	ErrVersion          = &Error{400, 14, "no valid HTTP-version"}
	ErrVersionMajor     = &Error{505, 16, "HTTP major version other than 1"}
	ErrVersionMissing   = &Error{400, 17, "request line ends before the HTTP-version"}
	ErrRequestLineTrail = &Error{400, 1, "bytes between HTTP-version and CRLF"}
)

// Line ends and field lines. RFC 9112 sections 2.2 and 5.
var (
	ErrBareLF     = &Error{400, 19, "LF without CR"}
	ErrBareCR     = &Error{400, 20, "CR without LF"}
	ErrFirstSpace = &Error{400, 22, "whitespace before the first field line"}
	ErrFold       = &Error{400, 23, "folded field line"}
	ErrFieldName  = &Error{400, 24, "field name is empty or not a token"}
	ErrFieldSpace = &Error{400, 24, "whitespace after a field name"}
	ErrFieldColon = &Error{400, 24, "field line without a colon"}
	ErrFieldValue = &Error{400, 25, "byte not allowed in a field value"}
	ErrHeadSize   = &Error{431, 29, "request head longer than the limit HeadBytes"}
	ErrFields     = &Error{431, 29, "more field lines than the limit Fields"}
)

// Host. RFC 9112 section 3.2, RFC 9110 section 7.2.
var (
	ErrHostMissing  = &Error{400, 31, "HTTP/1.1 request without Host"}
	ErrHostRepeated = &Error{400, 31, "more than one Host field line"}
	ErrHost         = &Error{400, 32, "Host is not a valid host and port"}
)

// Framing of the content. RFC 9112 section 6.
var (
	ErrLength          = &Error{400, 35, "Content-Length is not a number"}
	ErrLengthSize      = &Error{413, 36, "Content-Length over the limit BodyBytes"}
	ErrLengthRepeated  = &Error{400, 37, "more than one Content-Length"}
	ErrLengthAndCoding = &Error{400, 38, "Content-Length together with Transfer-Encoding"}
	ErrCodingVersion   = &Error{400, 39, "Transfer-Encoding in HTTP/1.0"}
	ErrCodingFinal     = &Error{400, 41, "chunked is not the final transfer coding"}
	ErrCoding          = &Error{501, 42, "transfer coding other than chunked"}
	ErrCodingList      = &Error{400, 43, "malformed Transfer-Encoding, or chunked twice"}
)

// The chunked coding. RFC 9112 section 7.1.
var (
	ErrChunkSize     = &Error{400, 45, "chunk-size is not 1 to 16 hexadecimal digits"}
	ErrChunkEnd      = &Error{400, 46, "chunk not ended by CRLF"}
	ErrChunkExt      = &Error{400, 47, "malformed chunk extension"}
	ErrChunkLine     = &Error{400, 48, "chunk line longer than the limit ChunkLineBytes"}
	ErrChunkOverhead = &Error{400, 48, "too many chunk line bytes for the data carried"}
	ErrChunkedSize   = &Error{413, 49, "chunked content over the limit BodyBytes"}
	ErrTrailerSize   = &Error{431, 50, "trailer section longer than the limit TrailerBytes"}
	ErrTrailerFields = &Error{431, 50, "more trailer field lines than the limit TrailerFields"}
	ErrTrailerName   = &Error{400, 50, "field not allowed in a trailer section"}
)

// ErrRefused is what follows a refusal, whatever is asked: a connection on which
// one request was refused serves no other. RFC 9112 sections 2.2 and 6.3.
var ErrRefused = &Error{400, 58, "something on this connection was refused before"}
