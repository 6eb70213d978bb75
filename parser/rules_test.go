package parser

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// The rest of a request, after its method and target.
const (
	line    = "GET / HTTP/1.1\r\n"
	rest    = " HTTP/1.1\r\nHost: h\r\n\r\n"
	head    = "GET / HTTP/1.1\r\nHost: h\r\n"
	post    = "POST / HTTP/1.1\r\nHost: h\r\n"
	chunked = post + "Transfer-Encoding: chunked\r\n\r\n"
)

// At least one row for each rule in doc.go. want is a part of the text (describe) of the last
// request, if it is not refused.
var ruleTests = []struct {
	rule     int
	name, in string
	want     string
	err      *Error
}{
	{1, "plain", "GET /" + rest, `"GET" "/" path="/" query="" authority="h" form=0 minor=1`, nil},
	{1, "SP after version", "GET / HTTP/1.1 \r\n", "", errRequestLineTrail},
	{1, "two SP before target", "GET  /" + rest, "", errTargetEmpty},
	{1, "two SP before version", "GET / " + rest, "", errVersion},
	{1, "HTAB after method", "GET\t/" + rest, "", errMethod},
	{1, "HTAB after target", "GET /\tHTTP/1.1\r\n", "", errTargetByte},
	{1, "CR after target", "GET /\rHTTP/1.1\r\n", "", errVersionMissing},
	{2, "any token", "a!#$%&'*+-.^_`|~9 /" + rest, "\"a!#$%&'*+-.^_`|~9\"", nil},
	{2, "delimiter", "GE(T /" + rest, "", errMethod},
	{2, "32 bytes", strings.Repeat("M", 32) + " /" + rest, `"/" path="/"`, nil},
	{2, "33 bytes", strings.Repeat("M", 33), "", errMethodSize},
	{3, "HEAD", "HEAD /" + rest, `"HEAD"`, nil},
	{3, "case", "get /" + rest, `"get"`, nil},
	{4, "empty", "GET  HTTP/1.1\r\n", "", errTargetEmpty},
	{4, "8193 bytes", "GET /" + strings.Repeat("a", 8192), "", errTargetSize},
	{5, "NUL", "GET /a\x00", "", errTargetByte},
	{5, "DEL", "GET /a?\x7f", "", errTargetByte},
	{5, "0x80", "GET /a\x80", "", errTargetByte},
	{6, "fragment", "GET /a#", "", errTargetDelimiter},
	{6, "quote in query", "GET /?\"", "", errTargetDelimiter},
	{6, "angle in query", "GET /?>", "", errTargetDelimiter},
	{6, "backslash in path", "GET /\\", "", errTargetDelimiter},
	{6, "brace in path", "GET /{", "", errTargetDelimiter},
	{6, "raw in path", "GET /[]|^" + rest, `path="/[]|^"`, nil},
	{6, "raw in query", "GET /?[]{}|\\^`" + rest, "query=\"[]{}|\\\\^`\"", nil},
	{7, "lone percent", "GET /%?%zz" + rest, `path="/%" query="%zz"`, nil},
	{8, "two slashes", "GET //x/y?z?" + rest, `path="//x/y" query="z?" authority="h" form=0`, nil},
	{8, "empty query", "GET /?" + rest, `path="/" query="" `, nil},
	{8, "no form", "GET index.html" + rest, "", errTargetForm},
	{8, "host and port", "GET h:80" + rest, "", errTargetForm},
	{9, "absolute", "GET http://a:80/x?y" + rest, `path="/x" query="y" authority="a:80" form=1`, nil},
	{9, "case of scheme", "GET hTTpS://a" + rest, `path="" query="" authority="a" form=1`, nil},
	{9, "percent in the host", "GET http://a%84:80/" + rest, `path="/" query="" authority="a%84:80" form=1`, nil},
	{9, "query only", "GET http://a?y" + rest, `path="" query="y" authority="a" form=1`, nil},
	{9, "no Host", "GET http://a/ HTTP/1.1\r\n\r\n", "", errHostMissing},
	{10, "userinfo", "GET http://u@a/" + rest, "", errTargetAuthority},
	{10, "empty host", "GET http:///" + rest, "", errTargetAuthority},
	{10, "port only", "GET http://:80/" + rest, "", errTargetAuthority},
	{10, "port", "GET http://a:65536/" + rest, "", errTargetAuthority},
	{10, "scheme", "GET ftp://a/" + rest, "", errTargetScheme},
	{10, "empty scheme", "GET ://a/" + rest, "", errTargetScheme},
	{10, "path", "GET http://a/{" + rest, "", errTargetDelimiter},
	{11, "no port", "CONNECT h" + rest, "", errConnectTarget},
	{11, "empty port", "CONNECT h:" + rest, "", errConnectTarget},
	{11, "port 0", "CONNECT h:00" + rest, "", errConnectTarget},
	{11, "port 65536", "CONNECT h:65536" + rest, "", errConnectTarget},
	{11, "path", "CONNECT /" + rest, "", errConnectTarget},
	{11, "absolute", "CONNECT http://h:80" + rest, "", errConnectTarget},
	{12, "port 8", "CONNECT h:8" + rest, "", errConnect},
	{12, "port 80", "CONNECT h:80" + rest, "", errConnect},
	{12, "well-formed", "CONNECT [::1]:443" + rest, "", errConnect},
	{13, "GET", "GET *" + rest, "", errAsterisk},
	{13, "OPTIONS", "OPTIONS *" + rest, `path="*" query="" authority="h" form=3`, nil},
	{13, "two", "OPTIONS **" + rest, "", errTargetForm},
	{14, "case", "GET / http/1.1\r\n", "", errVersion},
	{14, "letter", "GET / HTTP/1.a", "", errVersion},
	{14, "two digits", "GET / HTTP/1.10", "", errRequestLineTrail},
	{15, "1.0", "GET / HTTP/1.0\r\n\r\n", "minor=0", nil},
	{15, "1.9", "GET / HTTP/1.9\r\nHost: h\r\n\r\n", "minor=9 keep=true", nil},
	{16, "2.0", "GET / HTTP/2.0\r\n", "", errVersionMajor},
	{16, "preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", errVersionMajor},
	{17, "0.9", "GET /\r\n", "", errVersionMissing},
	{18, "TLS", "\x16\x03\x01", "", errLeading},
	{18, "binary", "\x80", "", errMethod},
	{18, "status line", "HTTP/", "", errMethod},
	{18, "other protocol", "OPTIONS rtsp://h/ R", "", errVersion},
	{19, "after version", "GET / HTTP/1.1\n", "", errBareLF},
	{19, "in name", line + "Ho\n", "", errBareLF},
	{19, "in value", line + "Host: h\n", "", errBareLF},
	{19, "at the end", head + "\n", "", errBareLF},
	{20, "after version", "GET / HTTP/1.1\rH", "", errBareCR},
	{20, "in value", line + "Host: h\rX", "", errBareCR},
	{20, "twice", line + "Host: h\r\r\n", "", errBareCR},
	{20, "at the end", head + "\rX", "", errBareCR},
	{21, "one", "\r\nGET /" + rest, `"GET" "/"`, nil},
	{21, "places after it", "\r\nOPTIONS HTTP://a/b?c" + rest, `"OPTIONS" "HTTP://a/b?c" path="/b" query="c" authority="a"`, nil},
	{21, "two", "\r\n\r\nGET /" + rest, "", errLeading},
	{21, "LF", "\nGET /" + rest, "", errLeading},
	{21, "CR", "\rG", "", errLeading},
	{21, "SP", " GET /" + rest, "", errLeading},
	{21, "SP after CRLF", "\r\n GET /" + rest, "", errLeading},
	{22, "SP", line + " Host: h", "", errFirstSpace},
	{22, "HTAB", line + "\t", "", errFirstSpace},
	{23, "SP", head + " x", "", errFold},
	{23, "HTAB", head + "\tx", "", errFold},
	{24, "token", head + "!#$%&'*+-.^_`|~09azAZ: v\r\n\r\n", "\"!#$%&'*+-.^_`|~09azAZ\"=\"v\"", nil},
	{24, "empty", head + ":", "", errFieldName},
	{24, "SP before colon", head + "X ", "", errFieldSpace},
	{24, "HTAB before colon", head + "X\t", "", errFieldSpace},
	{24, "no colon", head + "X\r", "", errFieldColon},
	{24, "delimiter", head + "X/", "", errFieldName},
	{24, "0x80", head + "X\x80", "", errFieldName},
	{25, "NUL", head + "X: \x00", "", errFieldValue},
	{25, "CTL", head + "X: 12345678\x1f", "", errFieldValue},
	{25, "DEL", head + "X: \xff\x7f", "", errFieldValue},
	{26, "SP and HTAB", head + "X: \t y z \t\r\n\r\n", `"X"="y z"`, nil},
	{26, "others", head + "X: \xa0\x85y\x85\xa0\r\n\r\n", `"X"="\xa0\x85y\x85\xa0"`, nil},
	{26, "empty", head + "X:\r\nY: \t \r\n\r\n", `"X"="" "Y"=""`, nil},
	{27, "obs-text", head + "X: \x80\xff\r\n\r\n", `"X"="\x80\xff"`, nil},
	{28, "order", head + "A: 1\r\nB: 2\r\na: 3\r\n\r\n", `"A"="1" "B"="2" "a"="3"`, nil},
	{29, "101 lines", head + strings.Repeat("X:\r\n", 99) + "X", "", errFields},
	{29, "100 lines", head + strings.Repeat("X:\r\n", 99) + "\r\n", `"X"=""`, nil},
	{29, "32769 bytes", head + "X:" + strings.Repeat(" ", 32769-len(head)-len("X:")), "", errHeadSize},
	{30, "underscore", head + "Content_Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n", "length=0", nil},
	{31, "missing", line + "\r\n", "", errHostMissing},
	{31, "missing in 1.0", "GET / HTTP/1.0\r\n\r\n", `authority=""`, nil},
	{31, "twice", head + "hOST: h\r\n\r\n", "", errHostRepeated},
	{31, "twice in 1.0", "GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", "", errHostRepeated},
	{31, "invalid in 1.0", "GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", "", errHost},
	{32, "port", line + "Host: a.b:65535\r\n\r\n", `authority="a.b:65535"`, nil},
	{32, "port over", line + "Host: a:65536\r\n\r\n", "", errHost},
	{32, "comma", line + "Host: a,b\r\n\r\n", "", errHost},
	{32, "userinfo", line + "Host: u@a\r\n\r\n", "", errHost},
	{32, "percent", line + "Host: a%41\r\n\r\n", `authority="a%41"`, nil},
	{32, "broken percent", line + "Host: a%4\r\n\r\n", "", errHost},
	{32, "IPv6", line + "Host: [2001:db8::1]:8080\r\n\r\n", `authority="[2001:db8::1]:8080"`, nil},
	{32, "not IPv6", line + "Host: [2001:db8::1::2]\r\n\r\n", "", errHost},
	{32, "IPvFuture", line + "Host: [v1f.a:b]\r\n\r\n", `authority="[v1f.a:b]"`, nil},
	{32, "IPvFuture without version", line + "Host: [v.a]\r\n\r\n", "", errHost},
	{32, "IPvFuture without address", line + "Host: [v1.]\r\n\r\n", "", errHost},
	{32, "IPvFuture with another byte", line + "Host: [v1.a/]\r\n\r\n", "", errHost},
	{33, "empty", line + "Host:\r\n\r\n", `authority=""`, nil},
	{34, "POST", post + "\r\n", "length=0", nil},
	{35, "number", post + "Content-Length:\t 0005 \r\n\r\nhello", `length=5 .*content="hello"`, nil},
	{35, "sign", post + "Content-Length: +5\r\n\r\n", "", errLength},
	{35, "empty", post + "Content-Length:\r\n\r\n", "", errLength},
	{35, "over and no number", post + "Content-Length: 99999999999999999999x\r\n\r\n", "", errLength},
	{36, "over", post + "Content-Length: 1048577\r\n\r\n", "", errLengthSize},
	{36, "2^64+5", post + "Content-Length: 18446744073709551621\r\n\r\n", "", errLengthSize},
	{37, "lines", post + "Content-Length: 5\r\ncontent-length: 5\r\n\r\n", "", errLengthRepeated},
	{37, "list", post + "Content-Length: 5, 5\r\n\r\n", "", errLengthRepeated},
	{38, "both", post + "Content-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n", "", errLengthAndCoding},
	{39, "1.0", "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "", errCodingVersion},
	{40, "case", post + "TRANSFER-ENCODING:chunKED\r\n\r\n0\r\n\r\n", `length=-1 .*content=""`, nil},
	{41, "gzip", post + "Transfer-Encoding: gzip\r\n\r\n", "", errCodingFinal},
	{41, "chunked first", post + "Transfer-Encoding: chunked, gzip\r\n\r\n", "", errCodingFinal},
	{42, "gzip before", post + "Transfer-Encoding: gzip, chunked\r\n\r\n", "", errCoding},
	{43, "chunked twice", post + "Transfer-Encoding: chunked, chunked\r\n\r\n", "", errCodingList},
	{42, "gzip before, on a line of its own", post + "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", "", errCoding},
	{41, "chunked first, on a line of its own", post + "Transfer-Encoding: chunked\r\nX: y\r\ntransfer-encoding: gzip\r\n\r\n", "", errCodingFinal},
	{43, "chunked twice, on two lines", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "", errCodingList},
	{43, "an empty line of two", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n\r\n", "", errCodingList},
	{43, "parameter", post + "Transfer-Encoding: chunked;q=1\r\n\r\n", "", errCodingList},
	{43, "empty element", post + "Transfer-Encoding: chunked,\r\n\r\n", "", errCodingList},
	{43, "empty", post + "Transfer-Encoding:\r\n\r\n", "", errCodingList},
	{44, "incomplete", post + "Content-Length: 5\r\n\r\nhell", `and "hell" of its content`, nil},
	{45, "16 digits", chunked + "0000000000000005\r\nhello\r\n0\r\n\r\n", `content="hello"`, nil},
	{45, "17 digits", chunked + "00000000000000000", "", errChunkSize},
	{45, "none", chunked + "\r", "", errChunkSize},
	{45, "prefix", chunked + "0x", "", errChunkSize},
	{45, "leading SP", chunked + " 5", "", errChunkSize},
	{46, "LF after size", chunked + "5\n", "", errChunkEnd},
	{46, "CR after size", chunked + "5\rX", "", errChunkEnd},
	{46, "LF after data", chunked + "1\r\nx\n", "", errChunkEnd},
	{46, "CR after data", chunked + "1\r\nx\rX", "", errChunkEnd},
	{46, "LF at the end", chunked + "0\r\n\n", "", errBareLF},
	{46, "CR at the end", chunked + "0\r\n\rX", "", errChunkEnd},
	{47, "all of it", chunked + "1 \t;\ta = b;c;d=\"\\\"\xe9 ;\" ; e\r\nx\r\n0;f\r\n\r\n", `content="x"`, nil},
	{47, "BWS after name", chunked + "1;a \t ;b\t=c\r\nx\r\n0\r\n\r\n", `content="x"`, nil},
	{47, "no value", chunked + "1;a=;", "", errChunkExt},
	{47, "no name", chunked + "1;\r", "", errChunkExt},
	{47, "trailing BWS", chunked + "1 \r", "", errChunkExt},
	{47, "trailing BWS after name", chunked + "1;a \r", "", errChunkExt},
	{47, "trailing BWS after value", chunked + "1;a=b \r", "", errChunkExt},
	{47, "two words", chunked + "1;a b", "", errChunkExt},
	{47, "CR in quotes", chunked + "1;a=\"\r", "", errChunkExt},
	{47, "LF in quotes", chunked + "1;a=\"\n", "", errChunkEnd},
	{47, "CTL after backslash", chunked + "1;a=\"\\\x01", "", errChunkExt},
	{48, "line", chunked + "1;" + strings.Repeat("a", 1023), "", errChunkLine},
	{48, "overhead", chunked + strings.Repeat("1;"+strings.Repeat("a", 1022)+"\r\nx\r\n", 17), "", errChunkOverhead},
	{48, "one byte a chunk", chunked + strings.Repeat("1\r\nx\r\n", 20000) + "0\r\n\r\n", "xxx", nil},
	{49, "over", chunked + "100001", "", errChunkedSize},
	{49, "sum over", chunked + "8\r\n12345678\r\nffff9", "", errChunkedSize},
	{50, "dropped", chunked + "0\r\nX: y\r\nZ:\r\n\r\n", `content=""`, nil},
	{50, "refused name", chunked + "0\r\nCONTENT-Length:", "", errTrailerName},
	{50, "longer name", chunked + "0\r\nContent-Lengthx: y\r\nproxy-authorizations: y\r\n\r\n", `content=""`, nil},
	{50, "SP before colon", chunked + "0\r\nX ", "", errFieldSpace},
	{50, "fold", chunked + "0\r\nX: y\r\n ", "", errFold},
	{50, "NUL", chunked + "0\r\nX: \x00", "", errFieldValue},
	{50, "LF", chunked + "0\r\nX: y\n", "", errBareLF},
	{50, "CR", chunked + "0\r\nX: y\rZ", "", errBareCR},
	{50, "33 lines", chunked + "0\r\n" + strings.Repeat("X:\r\n", 32) + "X", "", errTrailerFields},
	{50, "8193 bytes", chunked + "0\r\nX:" + strings.Repeat("y", 8191), "", errTrailerSize},
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

// Each row is fed whole and byte by byte. A refused row must not be refused without its last
// byte: the refusal comes at the first wrong byte.
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
	waits := map[*Error]bool{ // refused at the end of the head, line or target
		errTargetForm: true, errTargetScheme: true, errTargetAuthority: true,
		errConnect: true, errConnectTarget: true, errAsterisk: true,
		errVersionMajor: true, errHost: true, errHostMissing: true, errHostRepeated: true,
		errLength: true, errLengthSize: true, errLengthRepeated: true, errLengthAndCoding: true,
		errCoding: true, errCodingFinal: true, errCodingList: true, errCodingVersion: true,
	}
	for _, tt := range ruleTests {
		if tt.err == nil || waits[tt.err] {
			continue
		}
		// The shortest prefix that is refused at all must be refused for this reason.
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

// After a refusal every call is refused, for any input, until Reset.
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
				if data, n, err := f.body.Decode(in, &lim); data != nil || n != 0 || err != errRefused || f.body.Done() {
					t.Errorf("rule %d, %s: Decode after the refusal = %q, %d, %v", tt.rule, tt.name, data, n, err)
				}
			}
			continue
		}
		for _, in := range [][]byte{append([]byte(tt.in), good...), good, nil} {
			if n, err := f.r.Parse(in, &lim); n != 0 || err != errRefused || f.r.Started() {
				t.Errorf("rule %d, %s: Parse after the refusal = %d, %v", tt.rule, tt.name, n, err)
			}
		}
		f.r.Reset()
		if n, err := f.r.Parse(good, &lim); n != len(good) || err != nil {
			t.Errorf("rule %d, %s: Parse after Reset = %d, %v", tt.rule, tt.name, n, err)
		}
	}
}

// Bytes after a refused request change nothing: the reason is the same, and no later request
// is served. The bytes come in the same call or in the next.
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

// Every refusal of errors.go has a rule number of the list, and a row.
func TestEveryRefusalHasARow(t *testing.T) {
	source, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	if made := bytes.Count(source, []byte("= &Error{")); made != len(refusals) {
		t.Errorf("errors.go makes %d refusals, the list below has %d", made, len(refusals))
	}
	shown := map[*Error]bool{errRefused: true} // by TestRefusalStays
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
	errLeading, errMethod, errMethodSize, errTargetEmpty, errTargetSize, errTargetByte, errTargetDelimiter,
	errTargetForm, errTargetScheme, errTargetAuthority, errConnectTarget, errConnect, errAsterisk,
	errVersion, errVersionMajor, errVersionMissing, errRequestLineTrail,
	errBareLF, errBareCR, errFirstSpace, errFold, errFieldName, errFieldSpace, errFieldColon, errFieldValue,
	errHeadSize, errFields, errHostMissing, errHostRepeated, errHost,
	errLength, errLengthSize, errLengthRepeated, errLengthAndCoding,
	errCodingVersion, errCodingFinal, errCoding, errCodingList,
	errChunkSize, errChunkEnd, errChunkExt, errChunkLine, errChunkOverhead, errChunkedSize,
	errTrailerSize, errTrailerFields, errTrailerName, errRefused,
}
