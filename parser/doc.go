// Package parser reads HTTP/1.1 requests: the head into spans of the caller's bytes,
// the content in place. It refuses whatever two servers might read in two ways. It
// does no I/O, has no clock, starts no goroutine, allocates nothing and does not
// panic on any input.
//
// # How to use it
//
//	lim := parser.DefaultLimits() // one for the program
//	var r parser.Request          // one for each connection
//
//	r.Reset()
//	n, err := r.Parse(buf, &lim) // n == 0 && err == nil: read more, call again
//	...
//	body := r.Body()
//	for !body.Done() {
//		data, n, err := body.Decode(buf, &lim) // n == 0 && err == nil: read more
//		...
//	}
//
// The input of both calls can be cut anywhere: the same bytes give the same result
// and the same *Error however they are fed, with work in proportion to the bytes.
//
// # Ownership
//
// The bytes stay the caller's. A Request keeps offsets into them (Span), a Body keeps
// numbers; neither has a pointer, so the garbage collector scans nothing and the
// buffer may move between calls, as long as the bytes of a head stay together. A Span
// is valid as long as its bytes are. Content is returned as a part of the input.
//
// A Request and a Body are for one goroutine at a time; Limits are read only and may
// be shared.
//
// # What is refused although it is allowed
//
// The RFCs leave some choices to the recipient. Where a lenient choice would allow
// that a proxy in front of us saw another request, the request is refused: bare LF at
// the end of a line (also in chunked, where no RFC allows it), whitespace around the
// parts of a request line, folded field lines, equal Content-Length values in a
// list, Transfer-Encoding beside Content-Length, empty elements in
// Transfer-Encoding, ',' in a host, more than one empty line before a request,
// control bytes in field values.
//
// # What is accepted although RFC 3986 does not
//
// Browsers send "[]|^" raw in a path and "[]{}|\^`" raw in a query, and '%'
// without digits in both. All parsers agree on where these end. This package never
// decodes '%'; the decoder of a path has to check it anyway.
//
// # What the caller does
//
// Timeouts, the answer, 417 for an unknown expectation, 405 and 501 for methods, the
// decision to send 100 (Continue), names with '_' that collide with '-' in CGI. Trailer
// fields are checked here, and Body.Trailer returns their lines.
//
// # The rules
//
// Error.Rule is a number of this list. Sections are of RFC 9112 unless said
// otherwise.
//
// Request line:
//
//  1. method SP request-target SP HTTP-version CRLF, with exactly one SP each and
//     no other whitespace. Section 3.
//  2. The method is a token of at most Limits.MethodBytes; case counts; a longer one
//     is answered with 501. Section 3.1.
//  3. Which methods exist is the application's business. RFC 9110 section 9.1.
//  4. The target is not empty and at most Limits.TargetBytes long, else 414.
//     Section 3.
//  5. Target bytes are 0x21 to 0x7E. Section 3.2.
//  6. '"', '#', '<' and '>' are in no target; '\', '`', '{' and '}' in no path.
//     RFC 3986 section 3.3.
//  7. '%' is left alone.
//  8. origin-form begins with '/'; "//x" is a path. Section 3.2.1.
//  9. absolute-form with http or https; an empty path is "/"; its authority counts,
//     not Host, which must still be there. Section 3.2.2.
//  10. absolute-form has a host, no userinfo, a valid port, no fragment.
//     RFC 9110 section 4.2.
//  11. authority-form with CONNECT, CONNECT with authority-form; port 1 to 65535.
//     Section 3.2.3.
//  12. Well-formed CONNECT is answered with 501. RFC 9110 section 9.3.6.
//  13. "*" with OPTIONS only. Section 3.2.4.
//  14. HTTP-version is "HTTP/" DIGIT "." DIGIT; case counts. Section 2.3.
//  15. 1.2 to 1.9 are read as 1.1. RFC 9110 section 6.2.
//  16. Another major version is answered with 505, the HTTP/2 preface too.
//  17. HTTP/0.9, a request line without version, is refused.
//  18. Input that is not HTTP is refused at its first wrong byte.
//
// Lines and fields:
//
//  19. Lines end in CRLF, never in LF alone. Section 2.2.
//  20. CR without LF is refused. Section 2.2.
//  21. One empty line before a request line is skipped; nothing else may be there.
//     Section 2.2.
//  22. No whitespace before the first field line. Section 2.2.
//  23. No folded field lines. Section 5.2.
//  24. A field name is a token, right before its colon. Section 5.1.
//  25. A field value has no control bytes but HTAB. RFC 9110 section 5.5.
//  26. SP and HTAB are cut off both ends of a value, nothing else. Section 5.1.
//  27. Bytes from 0x80 on in values are opaque. RFC 9110 section 5.5.
//  28. Order and repetition of fields are kept. RFC 9110 section 5.3.
//  29. A head has at most Limits.HeadBytes and Limits.Fields, else 431.
//     RFC 6585 section 5.
//  30. Content_Length is not Content-Length.
//
// Host:
//
//  31. Exactly one Host line; none only in HTTP/1.0. Section 3.2.
//  32. Its value is uri-host [ ":" port ]: IPv6 in brackets and valid, '%' with two
//     digits, port up to 65535, no ','. RFC 9110 section 7.2.
//  33. An empty value is accepted.
//
// Framing of the content:
//
//  34. Without Transfer-Encoding and Content-Length there is no content. Section 6.3.
//  35. Content-Length is 1*DIGIT. RFC 9110 section 8.6.
//  36. Over Limits.BodyBytes it is answered with 413, before any content.
//  37. There is one Content-Length, with one value. Section 6.3.
//  38. Content-Length and Transfer-Encoding exclude each other. Section 6.1.
//  39. No Transfer-Encoding in HTTP/1.0. Section 6.1.
//  40. Transfer-Encoding is one line that says "chunked". Section 7.
//  41. Where chunked is not the final coding: 400. Section 6.3.
//  42. Where other codings come before it: 501. Section 6.1.
//  43. chunked twice, an empty element, quotes or parameters: 400. Section 7. Several lines
//     are one list, as for 41 and 42.
//  44. Incomplete content is never Done. Section 8.
//
// Chunked:
//
//  45. chunk-size is 1 to 16 HEXDIG. Section 7.1.
//  46. Chunk lines and chunk data end in CRLF. Section 7.1.
//  47. Chunk extensions are checked by their grammar and ignored. Section 7.1.1.
//  48. A chunk line has at most Limits.ChunkLineBytes, and all of them together are
//     in proportion to the data. Section 7.1.1.
//  49. The sum of the chunks is at most Limits.BodyBytes, else 413.
//  50. Trailer lines follow 19 to 27, are at most Limits.TrailerBytes and
//     Limits.TrailerFields, else 431, and may not change what was decided before.
//     RFC 9110 section 6.5.1.
//  51. The last chunk, the trailer section and the final CRLF must all be there; the
//     next byte is the next request. Section 7.1.
//
// Connection and Expect:
//
//  52. Connection is a list over all its lines; close wins; then 1.1 keeps the
//     connection and 1.0 does with keep-alive only. Section 9.3.
//  54. Connection options do not change the framing. RFC 9110 section 7.6.1.
//  55. The only expectation is 100-continue, and HTTP/1.0 has none.
//     RFC 9110 section 10.1.1.
//  58. After a refusal nothing more is read. Sections 2.2 and 6.3.
package parser
