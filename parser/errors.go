package parser

// Error is a refusal. Parse and Decode return pointers to values made once, so a refusal
// allocates nothing. Status and Rule tell refusals apart. No byte of the peer is in it, so
// it can be logged as it is.
//
// Every refusal is final for the connection: answer with Status and
// "Connection: close", and parse nothing more. RFC 9112 sections 2.2 and 6.3.
type Error struct {
	Status int    // status code of the answer
	Rule   int    // number of the rule in the package comment
	Why    string // for the log; names the field of Limits if one was exceeded
}

func (e *Error) Error() string { return "parser: " + e.Why }

// The request line. RFC 9112 sections 2.2 and 3.
var (
	errLeading          = &Error{400, 21, "byte not allowed before a request line"}
	errMethod           = &Error{400, 2, "method is empty or not a token"}
	errMethodSize       = &Error{501, 2, "method longer than the limit MethodBytes"}
	errTargetEmpty      = &Error{400, 4, "request-target is empty"}
	errTargetSize       = &Error{414, 4, "request-target longer than the limit TargetBytes"}
	errTargetByte       = &Error{400, 5, "byte not allowed in a request-target"}
	errTargetDelimiter  = &Error{400, 6, "delimiter not allowed in this part of a request-target"}
	errTargetForm       = &Error{400, 8, "request-target in none of the four forms"}
	errTargetScheme     = &Error{400, 10, "absolute-form with a scheme other than http and https"}
	errTargetAuthority  = &Error{400, 10, "absolute-form without a valid host and port"}
	errConnectTarget    = &Error{400, 11, "CONNECT without a valid host and port"}
	errConnect          = &Error{501, 12, "CONNECT is not offered"}
	errAsterisk         = &Error{400, 13, "asterisk-form without OPTIONS"}
	errVersion          = &Error{400, 14, "no valid HTTP-version"}
	errVersionMajor     = &Error{505, 16, "HTTP major version other than 1"}
	errVersionMissing   = &Error{400, 17, "request line ends before the HTTP-version"}
	errRequestLineTrail = &Error{400, 1, "bytes between HTTP-version and CRLF"}
)

// Line ends and field lines. RFC 9112 sections 2.2 and 5.
var (
	errBareLF     = &Error{400, 19, "LF without CR"}
	errBareCR     = &Error{400, 20, "CR without LF"}
	errFirstSpace = &Error{400, 22, "whitespace before the first field line"}
	errFold       = &Error{400, 23, "folded field line"}
	errFieldName  = &Error{400, 24, "field name is empty or not a token"}
	errFieldSpace = &Error{400, 24, "whitespace after a field name"}
	errFieldColon = &Error{400, 24, "field line without a colon"}
	errFieldValue = &Error{400, 25, "byte not allowed in a field value"}
	errHeadSize   = &Error{431, 29, "request head longer than the limit HeadBytes"}
	errFields     = &Error{431, 29, "more field lines than the limit Fields"}
)

// Host. RFC 9112 section 3.2, RFC 9110 section 7.2.
var (
	errHostMissing  = &Error{400, 31, "HTTP/1.1 request without Host"}
	errHostRepeated = &Error{400, 31, "more than one Host field line"}
	errHost         = &Error{400, 32, "Host is not a valid host and port"}
)

// Framing of the content. RFC 9112 section 6.
var (
	errLength          = &Error{400, 35, "Content-Length is not a number"}
	errLengthSize      = &Error{413, 36, "Content-Length over the limit BodyBytes"}
	errLengthRepeated  = &Error{400, 37, "more than one Content-Length"}
	errLengthAndCoding = &Error{400, 38, "Content-Length together with Transfer-Encoding"}
	errCodingVersion   = &Error{400, 39, "Transfer-Encoding in HTTP/1.0"}
	errCodingFinal     = &Error{400, 41, "chunked is not the final transfer coding"}
	errCoding          = &Error{501, 42, "transfer coding other than chunked"}
	errCodingList      = &Error{400, 43, "malformed Transfer-Encoding, or chunked twice"}
)

// The chunked coding. RFC 9112 section 7.1.
var (
	errChunkSize     = &Error{400, 45, "chunk-size is not 1 to 16 hexadecimal digits"}
	errChunkEnd      = &Error{400, 46, "chunk not ended by CRLF"}
	errChunkExt      = &Error{400, 47, "malformed chunk extension"}
	errChunkLine     = &Error{400, 48, "chunk line longer than the limit ChunkLineBytes"}
	errChunkOverhead = &Error{400, 48, "too many chunk line bytes for the data carried"}
	errChunkedSize   = &Error{413, 49, "chunked content over the limit BodyBytes"}
	errTrailerSize   = &Error{431, 50, "trailer section longer than the limit TrailerBytes"}
	errTrailerFields = &Error{431, 50, "more trailer field lines than the limit TrailerFields"}
	errTrailerName   = &Error{400, 50, "field not allowed in a trailer section"}
)

// errRefused is the error of every call after a refusal: a connection on which one
// request was refused serves no other. RFC 9112 sections 2.2 and 6.3.
var errRefused = &Error{400, 58, "something on this connection was refused before"}
