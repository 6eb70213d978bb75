package parser

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// The rest of a request whose first line is of no interest.
const (
	line    = "GET / HTTP/1.1\r\n"
	rest    = " HTTP/1.1\r\nHost: h\r\n\r\n"
	head    = "GET / HTTP/1.1\r\nHost: h\r\n"
	post    = "POST / HTTP/1.1\r\nHost: h\r\n"
	chunked = post + "Transfer-Encoding: chunked\r\n\r\n"
)

// At least one row for each rule of the list in doc.go. want is what must be in
// the words for the last request, if it is not refused.
var ruleTests = []struct {
	rule     int
	name, in string
	want     string
	err      *Error
}{
	{1, "plain", "GET /" + rest, `"GET" "/" path="/" query="" authority="h" form=0 minor=1`, nil},
	{1, "SP after version", "GET / HTTP/1.1 \r\n", "", ErrRequestLineTrail},
	{1, "two SP before target", "GET  /" + rest, "", ErrTargetEmpty},
	{1, "two SP before version", "GET / " + rest, "", ErrVersion},
	{1, "HTAB after method", "GET\t/" + rest, "", ErrMethod},
	{1, "HTAB after target", "GET /\tHTTP/1.1\r\n", "", ErrTargetByte},
	{1, "CR after target", "GET /\rHTTP/1.1\r\n", "", ErrVersionMissing},
	{2, "any token", "a!#$%&'*+-.^_`|~9 /" + rest, "\"a!#$%&'*+-.^_`|~9\"", nil},
	{2, "delimiter", "GE(T /" + rest, "", ErrMethod},
	{2, "32 bytes", strings.Repeat("M", 32) + " /" + rest, `"/" path="/"`, nil},
	{2, "33 bytes", strings.Repeat("M", 33), "", ErrMethodSize},
	{3, "HEAD", "HEAD /" + rest, `"HEAD"`, nil},
	{3, "case", "get /" + rest, `"get"`, nil},
	{4, "empty", "GET  HTTP/1.1\r\n", "", ErrTargetEmpty},
	{4, "8193 bytes", "GET /" + strings.Repeat("a", 8192), "", ErrTargetSize},
	{5, "NUL", "GET /a\x00", "", ErrTargetByte},
	{5, "DEL", "GET /a?\x7f", "", ErrTargetByte},
	{5, "0x80", "GET /a\x80", "", ErrTargetByte},
	{6, "fragment", "GET /a#", "", ErrTargetDelimiter},
	{6, "quote in query", "GET /?\"", "", ErrTargetDelimiter},
	{6, "angle in query", "GET /?>", "", ErrTargetDelimiter},
	{6, "backslash in path", "GET /\\", "", ErrTargetDelimiter},
	{6, "brace in path", "GET /{", "", ErrTargetDelimiter},
	{6, "raw in path", "GET /[]|^" + rest, `path="/[]|^"`, nil},
	{6, "raw in query", "GET /?[]{}|\\^`" + rest, "query=\"[]{}|\\\\^`\"", nil},
	{7, "lone percent", "GET /%?%zz" + rest, `path="/%" query="%zz"`, nil},
	{8, "two slashes", "GET //x/y?z?" + rest, `path="//x/y" query="z?" authority="h" form=0`, nil},
	{8, "empty query", "GET /?" + rest, `path="/" query="" `, nil},
	{8, "no form", "GET index.html" + rest, "", ErrTargetForm},
	{8, "host and port", "GET h:80" + rest, "", ErrTargetForm},
	{9, "absolute", "GET http://a:80/x?y" + rest, `path="/x" query="y" authority="a:80" form=1`, nil},
	{9, "case of scheme", "GET hTTpS://a" + rest, `path="" query="" authority="a" form=1`, nil},
	{9, "percent in the host", "GET http://a%84:80/" + rest, `path="/" query="" authority="a%84:80" form=1`, nil},
	{9, "query only", "GET http://a?y" + rest, `path="" query="y" authority="a" form=1`, nil},
	{9, "no Host", "GET http://a/ HTTP/1.1\r\n\r\n", "", ErrHostMissing},
	{10, "userinfo", "GET http://u@a/" + rest, "", ErrTargetAuthority},
	{10, "empty host", "GET http:///" + rest, "", ErrTargetAuthority},
	{10, "port only", "GET http://:80/" + rest, "", ErrTargetAuthority},
	{10, "port", "GET http://a:65536/" + rest, "", ErrTargetAuthority},
	{10, "scheme", "GET ftp://a/" + rest, "", ErrTargetScheme},
	{10, "empty scheme", "GET ://a/" + rest, "", ErrTargetScheme},
	{10, "path", "GET http://a/{" + rest, "", ErrTargetDelimiter},
	{11, "no port", "CONNECT h" + rest, "", ErrConnectTarget},
	{11, "empty port", "CONNECT h:" + rest, "", ErrConnectTarget},
	{11, "port 0", "CONNECT h:00" + rest, "", ErrConnectTarget},
	{11, "port 65536", "CONNECT h:65536" + rest, "", ErrConnectTarget},
	{11, "path", "CONNECT /" + rest, "", ErrConnectTarget},
	{11, "absolute", "CONNECT http://h:80" + rest, "", ErrConnectTarget},
	{12, "port 8", "CONNECT h:8" + rest, "", ErrConnect},
	{12, "port 80", "CONNECT h:80" + rest, "", ErrConnect},
	{12, "well-formed", "CONNECT [::1]:443" + rest, "", ErrConnect},
	{13, "GET", "GET *" + rest, "", ErrAsterisk},
	{13, "OPTIONS", "OPTIONS *" + rest, `path="*" query="" authority="h" form=3`, nil},
	{13, "two", "OPTIONS **" + rest, "", ErrTargetForm},
	{14, "case", "GET / http/1.1\r\n", "", ErrVersion},
	{14, "letter", "GET / HTTP/1.a", "", ErrVersion},
	{14, "two digits", "GET / HTTP/1.10", "", ErrRequestLineTrail},
	{15, "1.0", "GET / HTTP/1.0\r\n\r\n", "minor=0", nil},
	{15, "1.9", "GET / HTTP/1.9\r\nHost: h\r\n\r\n", "minor=9 keep=true", nil},
	{16, "2.0", "GET / HTTP/2.0\r\n", "", ErrVersionMajor},
	{16, "preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", ErrVersionMajor},
	{17, "0.9", "GET /\r\n", "", ErrVersionMissing},
	{18, "TLS", "\x16\x03\x01", "", ErrLeading},
	{18, "binary", "\x80", "", ErrMethod},
	{18, "status line", "HTTP/", "", ErrMethod},
	{18, "other protocol", "OPTIONS rtsp://h/ R", "", ErrVersion},
	{19, "after version", "GET / HTTP/1.1\n", "", ErrBareLF},
	{19, "in name", line + "Ho\n", "", ErrBareLF},
	{19, "in value", line + "Host: h\n", "", ErrBareLF},
	{19, "at the end", head + "\n", "", ErrBareLF},
	{20, "after version", "GET / HTTP/1.1\rH", "", ErrBareCR},
	{20, "in value", line + "Host: h\rX", "", ErrBareCR},
	{20, "twice", line + "Host: h\r\r\n", "", ErrBareCR},
	{20, "at the end", head + "\rX", "", ErrBareCR},
	{21, "one", "\r\nGET /" + rest, `"GET" "/"`, nil},
	{21, "places after it", "\r\nOPTIONS HTTP://a/b?c" + rest, `"OPTIONS" "HTTP://a/b?c" path="/b" query="c" authority="a"`, nil},
	{21, "two", "\r\n\r\nGET /" + rest, "", ErrLeading},
	{21, "LF", "\nGET /" + rest, "", ErrLeading},
	{21, "CR", "\rG", "", ErrLeading},
	{21, "SP", " GET /" + rest, "", ErrLeading},
	{21, "SP after CRLF", "\r\n GET /" + rest, "", ErrLeading},
	{22, "SP", line + " Host: h", "", ErrFirstSpace},
	{22, "HTAB", line + "\t", "", ErrFirstSpace},
	{23, "SP", head + " x", "", ErrFold},
	{23, "HTAB", head + "\tx", "", ErrFold},
	{24, "token", head + "!#$%&'*+-.^_`|~09azAZ: v\r\n\r\n", "\"!#$%&'*+-.^_`|~09azAZ\"=\"v\"", nil},
	{24, "empty", head + ":", "", ErrFieldName},
	{24, "SP before colon", head + "X ", "", ErrFieldSpace},
	{24, "HTAB before colon", head + "X\t", "", ErrFieldSpace},
	{24, "no colon", head + "X\r", "", ErrFieldColon},
	{24, "delimiter", head + "X/", "", ErrFieldName},
	{24, "0x80", head + "X\x80", "", ErrFieldName},
	{25, "NUL", head + "X: \x00", "", ErrFieldValue},
	{25, "CTL", head + "X: 12345678\x1f", "", ErrFieldValue},
	{25, "DEL", head + "X: \xff\x7f", "", ErrFieldValue},
	{26, "SP and HTAB", head + "X: \t y z \t\r\n\r\n", `"X"="y z"`, nil},
	{26, "others", head + "X: \xa0\x85y\x85\xa0\r\n\r\n", `"X"="\xa0\x85y\x85\xa0"`, nil},
	{26, "empty", head + "X:\r\nY: \t \r\n\r\n", `"X"="" "Y"=""`, nil},
	{27, "obs-text", head + "X: \x80\xff\r\n\r\n", `"X"="\x80\xff"`, nil},
	{28, "order", head + "A: 1\r\nB: 2\r\na: 3\r\n\r\n", `"A"="1" "B"="2" "a"="3"`, nil},
	{29, "101 lines", head + strings.Repeat("X:\r\n", 99) + "X", "", ErrFields},
	{29, "100 lines", head + strings.Repeat("X:\r\n", 99) + "\r\n", `"X"=""`, nil},
	{29, "32769 bytes", head + "X:" + strings.Repeat(" ", 32769-len(head)-len("X:")), "", ErrHeadSize},
	{30, "underscore", head + "Content_Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n", "length=0", nil},
	{31, "missing", line + "\r\n", "", ErrHostMissing},
	{31, "missing in 1.0", "GET / HTTP/1.0\r\n\r\n", `authority=""`, nil},
	{31, "twice", head + "hOST: h\r\n\r\n", "", ErrHostRepeated},
	{31, "twice in 1.0", "GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", "", ErrHostRepeated},
	{31, "invalid in 1.0", "GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", "", ErrHost},
	{32, "port", line + "Host: a.b:65535\r\n\r\n", `authority="a.b:65535"`, nil},
	{32, "port over", line + "Host: a:65536\r\n\r\n", "", ErrHost},
	{32, "comma", line + "Host: a,b\r\n\r\n", "", ErrHost},
	{32, "userinfo", line + "Host: u@a\r\n\r\n", "", ErrHost},
	{32, "percent", line + "Host: a%41\r\n\r\n", `authority="a%41"`, nil},
	{32, "broken percent", line + "Host: a%4\r\n\r\n", "", ErrHost},
	{32, "IPv6", line + "Host: [2001:db8::1]:8080\r\n\r\n", `authority="[2001:db8::1]:8080"`, nil},
	{32, "not IPv6", line + "Host: [2001:db8::1::2]\r\n\r\n", "", ErrHost},
	{32, "IPvFuture", line + "Host: [v1f.a:b]\r\n\r\n", `authority="[v1f.a:b]"`, nil},
	{32, "IPvFuture without version", line + "Host: [v.a]\r\n\r\n", "", ErrHost},
	{32, "IPvFuture without address", line + "Host: [v1.]\r\n\r\n", "", ErrHost},
	{32, "IPvFuture with another byte", line + "Host: [v1.a/]\r\n\r\n", "", ErrHost},
	{33, "empty", line + "Host:\r\n\r\n", `authority=""`, nil},
	{34, "POST", post + "\r\n", "length=0", nil},
	{35, "number", post + "Content-Length:\t 0005 \r\n\r\nhello", `length=5 .*content="hello"`, nil},
	{35, "sign", post + "Content-Length: +5\r\n\r\n", "", ErrLength},
	{35, "empty", post + "Content-Length:\r\n\r\n", "", ErrLength},
	{35, "over and no number", post + "Content-Length: 99999999999999999999x\r\n\r\n", "", ErrLength},
	{36, "over", post + "Content-Length: 1048577\r\n\r\n", "", ErrLengthSize},
	{36, "2^64+5", post + "Content-Length: 18446744073709551621\r\n\r\n", "", ErrLengthSize},
	{37, "lines", post + "Content-Length: 5\r\ncontent-length: 5\r\n\r\n", "", ErrLengthRepeated},
	{37, "list", post + "Content-Length: 5, 5\r\n\r\n", "", ErrLengthRepeated},
	{38, "both", post + "Content-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n", "", ErrLengthAndCoding},
	{39, "1.0", "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "", ErrCodingVersion},
	{40, "case", post + "TRANSFER-ENCODING:chunKED\r\n\r\n0\r\n\r\n", `length=-1 .*content=""`, nil},
	{41, "gzip", post + "Transfer-Encoding: gzip\r\n\r\n", "", ErrCodingFinal},
	{41, "chunked first", post + "Transfer-Encoding: chunked, gzip\r\n\r\n", "", ErrCodingFinal},
	{42, "gzip before", post + "Transfer-Encoding: gzip, chunked\r\n\r\n", "", ErrCoding},
	{43, "chunked twice", post + "Transfer-Encoding: chunked, chunked\r\n\r\n", "", ErrCodingList},
	{42, "gzip before, on a line of its own", post + "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", "", ErrCoding},
	{41, "chunked first, on a line of its own", post + "Transfer-Encoding: chunked\r\nX: y\r\ntransfer-encoding: gzip\r\n\r\n", "", ErrCodingFinal},
	{43, "chunked twice, on two lines", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "", ErrCodingList},
	{43, "an empty line of two", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n\r\n", "", ErrCodingList},
	{43, "parameter", post + "Transfer-Encoding: chunked;q=1\r\n\r\n", "", ErrCodingList},
	{43, "empty element", post + "Transfer-Encoding: chunked,\r\n\r\n", "", ErrCodingList},
	{43, "empty", post + "Transfer-Encoding:\r\n\r\n", "", ErrCodingList},
	{44, "incomplete", post + "Content-Length: 5\r\n\r\nhell", `and "hell" of its content`, nil},
	{45, "16 digits", chunked + "0000000000000005\r\nhello\r\n0\r\n\r\n", `content="hello"`, nil},
	{45, "17 digits", chunked + "00000000000000000", "", ErrChunkSize},
	{45, "none", chunked + "\r", "", ErrChunkSize},
	{45, "prefix", chunked + "0x", "", ErrChunkSize},
	{45, "leading SP", chunked + " 5", "", ErrChunkSize},
	{46, "LF after size", chunked + "5\n", "", ErrChunkEnd},
	{46, "CR after size", chunked + "5\rX", "", ErrChunkEnd},
	{46, "LF after data", chunked + "1\r\nx\n", "", ErrChunkEnd},
	{46, "CR after data", chunked + "1\r\nx\rX", "", ErrChunkEnd},
	{46, "LF at the end", chunked + "0\r\n\n", "", ErrBareLF},
	{46, "CR at the end", chunked + "0\r\n\rX", "", ErrChunkEnd},
	{47, "all of it", chunked + "1 \t;\ta = b;c;d=\"\\\"\xe9 ;\" ; e\r\nx\r\n0;f\r\n\r\n", `content="x"`, nil},
	{47, "BWS after name", chunked + "1;a \t ;b\t=c\r\nx\r\n0\r\n\r\n", `content="x"`, nil},
	{47, "no value", chunked + "1;a=;", "", ErrChunkExt},
	{47, "no name", chunked + "1;\r", "", ErrChunkExt},
	{47, "trailing BWS", chunked + "1 \r", "", ErrChunkExt},
	{47, "trailing BWS after name", chunked + "1;a \r", "", ErrChunkExt},
	{47, "trailing BWS after value", chunked + "1;a=b \r", "", ErrChunkExt},
	{47, "two words", chunked + "1;a b", "", ErrChunkExt},
	{47, "CR in quotes", chunked + "1;a=\"\r", "", ErrChunkExt},
	{47, "LF in quotes", chunked + "1;a=\"\n", "", ErrChunkEnd},
	{47, "CTL after backslash", chunked + "1;a=\"\\\x01", "", ErrChunkExt},
	{48, "line", chunked + "1;" + strings.Repeat("a", 1023), "", ErrChunkLine},
	{48, "overhead", chunked + strings.Repeat("1;"+strings.Repeat("a", 1022)+"\r\nx\r\n", 17), "", ErrChunkOverhead},
	{48, "one byte a chunk", chunked + strings.Repeat("1\r\nx\r\n", 20000) + "0\r\n\r\n", "xxx", nil},
	{49, "over", chunked + "100001", "", ErrChunkedSize},
	{49, "sum over", chunked + "8\r\n12345678\r\nffff9", "", ErrChunkedSize},
	{50, "dropped", chunked + "0\r\nX: y\r\nZ:\r\n\r\n", `content=""`, nil},
	{50, "refused name", chunked + "0\r\nCONTENT-Length:", "", ErrTrailerName},
	{50, "longer name", chunked + "0\r\nContent-Lengthx: y\r\nproxy-authorizations: y\r\n\r\n", `content=""`, nil},
	{50, "SP before colon", chunked + "0\r\nX ", "", ErrFieldSpace},
	{50, "fold", chunked + "0\r\nX: y\r\n ", "", ErrFold},
	{50, "NUL", chunked + "0\r\nX: \x00", "", ErrFieldValue},
	{50, "LF", chunked + "0\r\nX: y\n", "", ErrBareLF},
	{50, "CR", chunked + "0\r\nX: y\rZ", "", ErrBareCR},
	{50, "33 lines", chunked + "0\r\n" + strings.Repeat("X:\r\n", 32) + "X", "", ErrTrailerFields},
	{50, "8193 bytes", chunked + "0\r\nX:" + strings.Repeat("y", 8191), "", ErrTrailerSize},
	{51, "no trailer", chunked + "0\r\n\r\nGET /next" + rest, `"/next"`, nil},
	{51, "no final CRLF", chunked + "0\r\nX: y\r\n", `and "" of its content`, nil},
	{52, "1.1", head + "\r\n", "keep=true", nil},
	{52, "close", head + "Connection: a , CLOSE\r\nConnection: keep-alive\r\n\r\n", "keep=false", nil},
	{52, "not close", head + "Connection: closed, \"close\", close-x\r\n\r\n", "keep=true", nil},
	{52, "1.0", "GET / HTTP/1.0\r\n\r\n", "keep=false", nil},
	{52, "1.0 keep-alive", "GET / HTTP/1.0\r\nConnection: x,,Keep-Alive\r\n\r\n", "keep=true", nil},
	{52, "1.0 both", "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "keep=false", nil},
	{54, "nominated", head + "Connection: Content-Length\r\nContent-Length: 1\r\n\r\nx", `length=1 .*content="x"`, nil},
	{55, "none", head + "Expect:\r\n\r\n", "expect=0", nil},
	{55, "continue", head + "Expect: , 100-Continue\r\n\r\n", "expect=1", nil},
	{55, "unknown", head + "Expect: y 100-continue\r\n\r\n", "expect=2", nil},
	{55, "list", head + "Expect: 100-continue\r\nExpect: x\r\n\r\n", "expect=2", nil},
	{55, "1.0", "GET / HTTP/1.0\r\nExpect: x\r\n\r\n", "expect=0", nil},
}

// Each row runs whole and byte by byte. A refused one must not be refused without
// its last byte: the refusal comes as soon as it is due, and no sooner.
func TestRules(t *testing.T) {
	for _, tt := range ruleTests {
		t.Run(fmt.Sprintf("rule=%d/%s", tt.rule, tt.name), func(t *testing.T) {
			in := []byte(tt.in)
			whole := feedCut(in, DefaultLimits())
			bytewise := feedCut(in, DefaultLimits(), cutEvery(1, len(in))...)
			if whole.String() != bytewise.String() || whole.refusal != bytewise.refusal {
				t.Errorf("%.200q\nwhole:\n%s\nbyte by byte:\n%s", in, whole, bytewise)
			}
			if tt.err != nil {
				if whole.refusal != tt.err {
					t.Errorf("%.200q: refusal %v, want %v", in, whole.refusal, tt.err)
				}
				return
			}
			if whole.refusal != nil {
				t.Errorf("%.200q: refused: %v", in, whole.refusal)
			}
			rest := whole.String()
			for want := range strings.SplitSeq(tt.want, ".*") {
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Errorf("%.200q:\n%s\nwant in it: %s", in, whole, tt.want)
				}
				rest = after
			}
		})
	}
}

// A refusal does not wait for bytes that cannot change it.
func TestRefusedAtOnce(t *testing.T) {
	waits := map[*Error]bool{ // these need the whole head, line or target
		ErrTargetForm: true, ErrTargetScheme: true, ErrTargetAuthority: true,
		ErrConnect: true, ErrConnectTarget: true, ErrAsterisk: true,
		ErrVersionMajor: true, ErrHost: true, ErrHostMissing: true, ErrHostRepeated: true,
		ErrLength: true, ErrLengthSize: true, ErrLengthRepeated: true, ErrLengthAndCoding: true,
		ErrCoding: true, ErrCodingFinal: true, ErrCodingList: true, ErrCodingVersion: true,
	}
	for _, tt := range ruleTests {
		if tt.err == nil || waits[tt.err] {
			continue
		}
		// The first cut after which it is refused is the one after the last byte
		// of the shortest prefix that is refused: find it, and look at both sides.
		at := len(tt.in)
		for at > 0 && feedCut([]byte(tt.in[:at-1]), DefaultLimits()).refusal != nil {
			at--
		}
		f := feedCut([]byte(tt.in[:at]), DefaultLimits())
		if f.refusal != tt.err {
			t.Errorf("rule %d, %s: refused after %d bytes with %v, want %v", tt.rule, tt.name, at, f.refusal, tt.err)
		}
	}
}

// What was refused stays so, whatever comes then, until Reset.
func TestRefusalStays(t *testing.T) {
	lim := DefaultLimits()
	good := []byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	for _, tt := range ruleTests {
		if tt.err == nil {
			continue
		}
		f := feedCut([]byte(tt.in), lim)
		if f.inBody {
			for _, in := range [][]byte{[]byte("0\r\n\r\n"), good, nil} {
				if data, n, err := f.body.Decode(in, &lim); data != nil || n != 0 || err != ErrRefused || f.body.Done() {
					t.Errorf("rule %d, %s: Decode after the refusal = %q, %d, %v", tt.rule, tt.name, data, n, err)
				}
			}
			continue
		}
		for _, in := range [][]byte{append([]byte(tt.in), good...), good, nil} {
			if n, err := f.r.Parse(in, &lim); n != 0 || err != ErrRefused || f.r.Started() {
				t.Errorf("rule %d, %s: Parse after the refusal = %d, %v", tt.rule, tt.name, n, err)
			}
		}
		f.r.Reset()
		if n, err := f.r.Parse(good, &lim); n != len(good) || err != nil {
			t.Errorf("rule %d, %s: Parse after Reset = %d, %v", tt.rule, tt.name, n, err)
		}
	}
}

// What comes behind a refused request changes nothing: it is refused for the same
// reason, and no request that follows is served. The bytes behind come at once, or
// in a call of their own.
func TestNothingFollowsRefusal(t *testing.T) {
	const good = "GET /good" + rest
	for _, tt := range ruleTests {
		if tt.err == nil {
			continue
		}
		alone := feedCut([]byte(tt.in), DefaultLimits())
		for _, after := range []string{
			good, " " + good, ":" + good, "\n" + good, "\r\n" + good, "\r\n\r\n" + good, " HTTP/1.1\r\n\r\n" + good,
			"0\r\n\r\n" + good, "\r\n0\r\n\r\n" + good, "\"\r\n0\r\n\r\n" + good, ": y\r\n\r\n" + good,
		} {
			in := []byte(tt.in + after)
			for _, cuts := range [][]int{nil, {len(tt.in) - 1}, {len(tt.in)}, {len(tt.in) + 1}} {
				f := feedCut(in, DefaultLimits(), cuts...)
				f.expect(t, alone, in, "rule %d, %s, followed by %q, cut at %v", tt.rule, tt.name, after, cuts)
			}
		}
	}
}

// Every refusal there is: its rule is in the list, and a row shows it.
func TestEveryRefusalHasARow(t *testing.T) {
	source, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	if made := bytes.Count(source, []byte("= &Error{")); made != len(refusals) {
		t.Errorf("errors.go makes %d refusals, the list below has %d", made, len(refusals))
	}
	shown := map[*Error]bool{ErrRefused: true} // by TestRefusalStays
	for _, tt := range ruleTests {
		shown[tt.err] = true
	}
	for _, e := range refusals {
		if !shown[e] {
			t.Errorf("no row for %v", e)
		}
		if e.Rule < 1 || e.Rule > 58 || e.Status < 400 || e.Status > 599 || e.Why == "" {
			t.Errorf("%+v is not complete", e)
		}
	}
}

var refusals = []*Error{
	ErrLeading, ErrMethod, ErrMethodSize, ErrTargetEmpty, ErrTargetSize, ErrTargetByte, ErrTargetDelimiter,
	ErrTargetForm, ErrTargetScheme, ErrTargetAuthority, ErrConnectTarget, ErrConnect, ErrAsterisk,
	ErrVersion, ErrVersionMajor, ErrVersionMissing, ErrRequestLineTrail,
	ErrBareLF, ErrBareCR, ErrFirstSpace, ErrFold, ErrFieldName, ErrFieldSpace, ErrFieldColon, ErrFieldValue,
	ErrHeadSize, ErrFields, ErrHostMissing, ErrHostRepeated, ErrHost,
	ErrLength, ErrLengthSize, ErrLengthRepeated, ErrLengthAndCoding,
	ErrCodingVersion, ErrCodingFinal, ErrCoding, ErrCodingList,
	ErrChunkSize, ErrChunkEnd, ErrChunkExt, ErrChunkLine, ErrChunkOverhead, ErrChunkedSize,
	ErrTrailerSize, ErrTrailerFields, ErrTrailerName, ErrRefused,
}
