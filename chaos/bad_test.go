package chaos

import (
	"math/rand/v2"
	"slices"
	"strings"
)

type malformedRequest struct {
	name   string
	status int
	text   string        // the request
	long   func() string // or this makes it
}

func (m *malformedRequest) raw() string {
	if m.long != nil {
		return m.long()
	}
	return m.text
}

// malformedRequests must be refused, whatever a server is like: each is one that
// two servers could read in two ways, or over a limit of docs/options.md.
var malformedRequests = []malformedRequest{
	{name: "space before colon", status: 400, text: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello"},
	{name: "LF alone", status: 400, text: "GET / HTTP/1.1\nHost: h\n\n"},
	{name: "CR alone", status: 400, text: "GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n"},
	{name: "NUL in a value", status: 400, text: "GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n"},
	{name: "folded line", status: 400, text: "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n"},
	{name: "space before the first field", status: 400, text: "GET / HTTP/1.1\r\n Host: h\r\n\r\n"},
	{name: "two spaces", status: 400, text: "GET  / HTTP/1.1\r\nHost: h\r\n\r\n"},
	{name: "no version", status: 400, text: "GET /\r\nHost: h\r\n\r\n"},
	{name: "version in small letters", status: 400, text: "GET / http/1.1\r\nHost: h\r\n\r\n"},
	{name: "another version", status: 505, text: "GET / HTTP/3.0\r\nHost: h\r\n\r\n"},
	{name: "no Host", status: 400, text: "GET / HTTP/1.1\r\nX: y\r\n\r\n"},
	{name: "Host twice", status: 400, text: "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n"},
	{name: "Host with a path", status: 400, text: "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n"},
	{name: "target with a fragment", status: 400, text: "GET /#x HTTP/1.1\r\nHost: h\r\n\r\n"},
	{name: "relative target", status: 400, text: "GET x HTTP/1.1\r\nHost: h\r\n\r\n"},
	{name: "asterisk with GET", status: 400, text: "GET * HTTP/1.1\r\nHost: h\r\n\r\n"},
	{name: "CONNECT", status: 501, text: "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n"},
	{name: "two lengths", status: 400, text: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"},
	{name: "negative length", status: 400, text: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n"},
	{name: "length with a sign", status: 400, text: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello"},
	{name: "length and coding", status: 400, text: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{name: "coding in HTTP/1.0", status: 400, text: "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{name: "chunked twice", status: 400, text: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"},
	{name: "another coding", status: 501, text: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
	{name: "chunk size is no number", status: 400, text: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n\r\n"},
	{name: "chunk size has a prefix", status: 400, text: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"},
	{name: "chunk is longer than its size", status: 400, text: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n"},
	{name: "chunk ends in LF", status: 400, text: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n"},
	{name: "length in the trailers", status: 400, text: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n"},
	{name: "unknown expectation", status: 417, text: "POST / HTTP/1.1\r\nHost: h\r\nExpect: more\r\nContent-Length: 5\r\n\r\nhello"},
	{name: "long method", status: 501, long: func() string { return strings.Repeat("M", 40) + " / HTTP/1.1\r\nHost: h\r\n\r\n" }},
	{name: "long target", status: 414, long: func() string { return "GET /" + strings.Repeat("t", 9000) + " HTTP/1.1\r\nHost: h\r\n\r\n" }},
	{name: "many fields", status: 431, long: func() string {
		return "GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("X: y\r\n", 101) + "\r\n"
	}},
	{name: "long head", status: 431, long: func() string {
		return "GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("v", 40000) + "\r\n\r\n"
	}},
	{name: "long content", status: 413, long: func() string {
		return "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\n" + strings.Repeat("c", 1<<20+1)
	}},
	{name: "long chunked content", status: 413, long: func() string {
		return "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" +
			strings.Repeat("10000\r\n"+strings.Repeat("c", 1<<16)+"\r\n", 17) + "0\r\n\r\n"
	}},
}

// mutate returns a changed copy of a request.
func mutate(rng *rand.Rand, b []byte) []byte {
	b = slices.Clone(b)
	for range 1 + rng.IntN(3) {
		most := len(b)
		if rng.IntN(4) > 0 {
			most = min(most, 200) // where the head is
		}
		if most == 0 {
			break
		}
		at := rng.IntN(most)
		n := min(1+rng.IntN(20), len(b)-at)
		switch rng.IntN(8) {
		case 0:
			b[at] = byte(rng.IntN(256))
		case 1:
			b[at] ^= 1 << rng.IntN(8)
		case 2:
			b = slices.Delete(b, at, at+1)
		case 3:
			b = slices.Delete(b, at, at+n)
		case 4:
			b = slices.Insert(b, at, b[at:at+n]...)
		case 5:
			b = slices.Insert(b, at, nasty[rng.IntN(len(nasty))]...)
		case 6:
			if i := strings.Index(string(b[at:]), "\r\n"); i >= 0 { // a line end
				b = slices.Replace(b, at+i, at+i+2, []byte(pick(rng, "\n", "\r", "\r\r\n", "\r\n\r\n", "\r\n ", ""))...)
			}
		case 7:
			if i := strings.Index(string(b), ": "); i >= 0 {
				b = slices.Insert(b, i, nasty[rng.IntN(len(nasty))]...)
			}
		}
	}
	return b
}

var nasty = [][]byte{
	[]byte(" "), []byte("\t"), []byte("\x00"), []byte("\n"), []byte("\r"), []byte(":"), []byte(","), []byte("\x80"), []byte("\xff\xff"),
	[]byte("\r\nContent-Length: 5"), []byte("\r\nTransfer-Encoding: chunked"), []byte("\r\nConnection: close"), []byte("\r\nHost: x"),
	[]byte("\r\nExpect: 100-continue"), []byte("0\r\n\r\n"), []byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), []byte(" HTTP/1.1"), []byte("%"),
}

func tlsHello(rng *rand.Rand) []byte {
	b := []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
	for range 506 {
		b = append(b, byte(rng.Uint32()))
	}
	return b
}

func http2Preface(*rand.Rand) []byte {
	return []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64")
}

func sshBanner(*rand.Rand) []byte { return []byte("SSH-2.0-OpenSSH_9.2p1\r\n") }

// randomGarbage begins with a byte that is in no request.
func randomGarbage(rng *rand.Rand) []byte {
	b := []byte{pick(rng, byte(0), 1, '\n', ' ', ':', 0x7f, 0x80, 0xff)}
	for range rng.IntN(3000) {
		b = append(b, byte(rng.Uint32()))
	}
	return b
}
