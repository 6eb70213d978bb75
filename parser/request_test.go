package parser

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// A known name with any byte changed is not that name.
func TestKnown(t *testing.T) {
	lim := DefaultLimits()
	lim.BodyBytes = -1
	for k, name := range []string{"hOST", "cONTENT-lENGTH", "tRANSFER-eNCODING", "cONNECTION", "eXPECT", "uPGRADE"} {
		value := map[Known]string{ContentLength: "7", TransferEncoding: "chunked"}[Known(k)]
		for at := range len(name) {
			for c := range 256 {
				other := []byte(name)
				other[at] = byte(c)
				if !is(byte(c), tokenByte) {
					continue
				}
				in := []byte("GET / HTTP/1.1\r\n" + string(other) + ":" + value + "\r\n")
				if k != int(Host) {
					in = append(in, "Host:\r\n"...)
				}
				in = append(in, "\r\n"...)
				var r Request
				_, err := r.Parse(in, &lim)
				want := lower(byte(c)) == lower(name[at])
				got, ok := r.Known(Known(k))
				if ok != want || string(got.Of(in)) != value && want {
					t.Errorf("%q: Known(%d) = %q, %v (%v), want ok %v", other, k, got.Of(in), ok, err, want)
				}
			}
		}
	}
}

// A call with fewer bytes than before returns nothing and changes nothing.
func TestFewerBytes(t *testing.T) {
	lim := DefaultLimits()
	var r Request
	in := []byte(head)
	r.Parse(in, &lim)
	if n, err := r.Parse(in[:3], &lim); n != 0 || err != nil {
		t.Errorf("Parse of fewer bytes = %d, %v; want 0, nil", n, err)
	}
	if n, err := r.Parse([]byte(head+"\r\n"), &lim); n != len(head)+2 || err != nil {
		t.Errorf("Parse of the whole head = %d, %v", n, err)
	}
}

// Started is true from the first byte of a request: the server's HeadTimeout runs from there.
func TestStarted(t *testing.T) {
	in := []byte("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
	lim := DefaultLimits()
	var r Request
	for n := range len(in) + 1 {
		if _, err := r.Parse(in[:n], &lim); err != nil {
			t.Fatal(err)
		}
		want := n > len("\r\n") && n < len(in)
		if r.Started() != want {
			t.Errorf("after %d bytes: Started = %v, want %v", n, r.Started(), want)
		}
	}
}

// The spans stay valid when the buffer moves, before and after the head is complete.
func TestBufferMoves(t *testing.T) {
	in := []byte("POST http://a/b?c HTTP/1.1\r\nHost: h\r\nX-Name: value \r\nContent-Length: 0\r\n\r\n")
	want := feedCut(in, DefaultLimits()).requests[0].words
	lim := DefaultLimits()
	var r Request
	for n := range in {
		moved := bytes.Clone(in[:n])
		if used, err := r.Parse(moved, &lim); used != 0 || err != nil {
			t.Fatalf("Parse of %d bytes = %d, %v", n, used, err)
		}
		for i := range moved {
			moved[i] = 0xff // a read of the old place would show
		}
	}
	if used, err := r.Parse(bytes.Clone(in), &lim); used != len(in) || err != nil {
		t.Fatalf("Parse = %d, %v", used, err)
	}
	if got := describe(&r, bytes.Clone(in)) + ` content=""`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Bytes beyond len(b) are stale: they must not change the result.
func TestReadsNothingBehind(t *testing.T) {
	in := []byte(head + "X: y\r\n\r\nGET /next HTTP/1.1\r\n")
	lim := DefaultLimits()
	for n := range len(head) + len("X: y\r\n") {
		var r Request
		if used, err := r.Parse(in[:n], &lim); used != 0 || err != nil {
			t.Errorf("Parse of %d bytes = %d, %v; want 0, nil", n, used, err)
		}
	}
	var s Span
	if got := (Span{Off: 2, Len: 3}).Of(in); len(got) != 3 || cap(got) != 3 || len(s.Of(in)) != 0 {
		t.Errorf("Of returns %d bytes with capacity %d, want 3 and 3", len(got), cap(got))
	}
}

// Also without Reset nothing of a request is in the next one.
func TestParseResets(t *testing.T) {
	lim := DefaultLimits()
	var r, fresh Request
	first := []byte("POST http://a/b?c HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: 9\r\n\r\n")
	second := []byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if _, err := r.Parse(first, &lim); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Parse(second, &lim); err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.Parse(second, &lim); err != nil {
		t.Fatal(err)
	}
	if got, want := describe(&r, second), describe(&fresh, second); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Reset leaves a Request as new, except for fields that cannot be reached.
func TestReset(t *testing.T) {
	lim := DefaultLimits()
	var r Request
	in := []byte("POST http://a/b?c HTTP/1.3\r\nHost: h\r\nhost: h\r\nExpect: x\r\nConnection: close\r\nContent-Length: 9\r\nX: y\r\n\r\n")
	for _, cut := range []int{20, 60, len(in) - 3, len(in)} {
		r.Parse(in[:cut], &lim)
		r.length = 9
		r.Reset()
		r.fields = [fieldsRoom]Field{}
		if r != (Request{}) {
			t.Errorf("after %d bytes Reset leaves %+v", cut, r)
		}
	}
}

// Nothing for the garbage collector to scan, no write barriers.
func TestPointerFree(t *testing.T) {
	var check func(path string, typ reflect.Type)
	check = func(path string, typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Struct:
			for i := range typ.NumField() {
				check(path+"."+typ.Field(i).Name, typ.Field(i).Type)
			}
		case reflect.Array:
			check(path+"[]", typ.Elem())
		case reflect.Bool, reflect.Int, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.Uint64:
		default:
			t.Errorf("%s is a %v", path, typ)
		}
	}
	check("Request", reflect.TypeFor[Request]())
	check("Body", reflect.TypeFor[Body]())
}

// One request of each kind, refused ones too, from a used Request.
func TestAllocates(t *testing.T) {
	lim := DefaultLimits()
	inputs := map[string]string{
		"hello":    helloHead,
		"browser":  browserHead,
		"absolute": "GET http://[::1]:80/?q HTTP/1.1\r\nHost: h\r\n\r\n",
		"IPv6":     line + "Host: [2001:db8::192.0.2.1]:8080\r\n\r\n",
		"no IPv6":  line + "Host: [2001:db8::1::2]\r\n\r\n",
		"lists":    head + "Connection: a, b, keep-alive\r\nExpect: 100-continue, x\r\n\r\n",
		"coding":   post + "Transfer-Encoding: gzip, chunked\r\n\r\n",
		"chunked":  chunked + "5;a=\"b\"\r\nhello\r\n0\r\nX: y\r\n\r\n",
		"trailer":  chunked + "0\r\nContent-Length: 5\r\n\r\n",
	}
	for _, tt := range ruleTests {
		inputs[fmt.Sprintf("rule %d, %s", tt.rule, tt.name)] = tt.in
	}
	var r Request
	for name, in := range inputs {
		b := []byte(in)
		for _, cuts := range [][]int{nil, cutEvery(7, len(b))} {
			got := testing.AllocsPerRun(10, func() { parseAll(&r, b, cuts, &lim) })
			if got != 0 {
				t.Errorf("%s, cut at %v: %v allocations, want 0", name, cuts, got)
			}
		}
	}
}

// parseAll parses the requests in b, cut at cuts, up to a refusal, as a server does.
func parseAll(r *Request, b []byte, cuts []int, lim *Limits) {
	r.Reset()
	var body Body
	used := 0
	for i := range len(cuts) + 1 {
		arrived := len(b)
		if i < len(cuts) {
			arrived = cuts[i]
		}
		for n := 1; n > 0; used += n {
			var err error
			if !body.Done() {
				_, n, err = body.Decode(b[used:arrived], lim)
			} else if n, err = r.Parse(b[used:arrived], lim); n > 0 {
				body = r.Body()
			}
			if err != nil {
				return
			}
		}
	}
}

// scanAgainMax is how many bytes of one call the next may read again: a version is always
// parsed from its start.
const scanAgainMax = len("HTTP/1.1\r\n")

// Feeding byte by byte is linear: 64 times the bytes must not cost 64 times 64. Not time is
// counted but bytes read, according to scan. That scan is right is checked too: the bytes
// before it are overwritten with NUL for the next call.
func TestLinear(t *testing.T) {
	lim := DefaultLimits()
	lim.TargetBytes = 16000
	for _, tt := range []struct{ name, before, spent, after string }{
		{"target", "GET /", strings.Repeat("a", 15000), rest},
		{"query", "GET /?", strings.Repeat("a", 15000), rest},
		{"name", head, strings.Repeat("a", 30000), ":\r\n\r\n"},
		{"value", head + "X: ", strings.Repeat("a", 30000), "\r\n\r\n"},
		{"spaces", head + "X: ", strings.Repeat(" ", 30000), "\r\n\r\n"},
		{"fields", head, strings.Repeat("X: y\r\n", 90), "\r\n"},
	} {
		var r Request
		b := []byte(tt.before + tt.spent + tt.after)
		gone := b[:len(b)-len(tt.after)]
		from := len(tt.before)
		for n := range len(b) {
			if used, err := r.Parse(b[:n], &lim); used != 0 || err != nil {
				t.Fatalf("%s: Parse of %d bytes = %d, %v", tt.name, n, used, err)
			}
			if again := n - int(r.scan); again > scanAgainMax {
				t.Fatalf("%s: after %d bytes %d are looked at again", tt.name, n, again)
			}
			if to := min(int(r.scan), len(gone)); from < to {
				clear(gone[from:to])
				from = to
			}
		}
		if used, err := r.Parse(b, &lim); used != len(b) || err != nil {
			t.Errorf("%s: Parse of all = %d, %v, want %d", tt.name, used, err, len(b))
		}
	}
}

// spent returns b with NUL for the bytes before scan that are not needed any more. Needed once
// more, when the element or the head is complete, are a method, a target that is not a path,
// a field with a known name, and the whitespace around a value.
func spent(b []byte, scan int) []byte {
	b = bytes.Clone(b)
	crlf := []byte("\r\n")
	line, lines, _ := bytes.Cut(bytes.TrimPrefix(b[:scan], crlf), crlf)
	if _, target, ok := bytes.Cut(line, []byte(" ")); ok && len(target) > 0 && target[0] == '/' {
		erase(target[1:])
	}
	for len(lines) > 0 {
		line, lines, _ = bytes.Cut(lines, crlf)
		if name, _, _ := bytes.Cut(line, []byte(":")); !beginsKnown(string(name)) {
			erase(line)
		}
	}
	return b
}

func erase(b []byte) {
	for i, c := range b {
		if !isSpace(c) {
			b[i] = 0
		}
	}
}

// beginsKnown reports whether a known name begins with name.
func beginsKnown(name string) bool {
	for _, known := range []string{"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade"} {
		if strings.HasPrefix(known, asciiLower(name)) {
			return true
		}
	}
	return false
}

func TestIPv6(t *testing.T) {
	for _, in := range []string{
		"::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::8",
		"::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "::1.2.3.4", "1:2:3:4:5::1.2.3.4", "ABCD:ef01::",
		"", ":", ":::", "1", "1:", ":1", "1:2", "1::2::3", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::",
		"::1:2:3:4:5:6:7:8", "12345::", "1:::2", "g::", "1.2.3.4", "::1.2.3", "::1.2.3.4.5", "::1.2.3.256",
		"::01.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:6::1.2.3.4", "::1.2.3.4:5", "::1%eth0", "fe80::1%", "::0001.2.3.4",
		"::0.10.200.255", "::255.255.255.255", "::ffff:192.0.2.1", "::1.2.3.:", "::1.2.3.4:", "::/.2.3.4",
		"::1.2.3.4a", "::a.2.3.4", "0::0:0:0:0:0:0:0", "::.", "::1.", "::1..2.3",
	} {
		address, err := netip.ParseAddr(in)
		want := err == nil && address.Is6() && address.Zone() == ""
		if got := isIPv6([]byte(in)); got != want {
			t.Errorf("isIPv6(%q) = %v, net/netip says %v", in, got, want)
		}
	}
}

// Every row of a few parts against the reference, in brackets too.
func TestHosts(t *testing.T) {
	parts := []string{
		"[", "]", ":", "::", ".", "%", "a", "g", "v", "0", "809", "65535", "65536", "1.2.3.4", "@", ",", "/",
	}
	const most = 4
	var check func(s string, n int)
	check = func(s string, n int) {
		for _, in := range []string{s, "[" + s + "]", "[" + s + "]:80"} {
			if _, ok := hostPort([]byte(in), 0); ok != referenceHost(in) {
				t.Errorf("hostPort(%q) = %v, the reference says %v", in, ok, !ok)
			}
		}
		if n < most {
			for _, part := range parts {
				check(s+part, n+1)
			}
		}
	}
	check("", 0)
}

// The marks against the table, for every byte at every place in a word, with neighbours that
// borrow and carry: a byte that ends a scan is never below the lowest mark, nor in a word
// without marks.
func TestMarks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		marks func(uint64) uint64
		bit   uint8
		fills string
	}{
		{"path", pathMarks, pathByte, "a~=|'$z!\x00"},
		{"query", queryMarks, queryByte, "a~=}{`!?\x00"},
		{"name", nameMarks, tokenByte, "aZ-9_~!\x00"},
		{"value", valueMarks, valueByte, "a\t\xff\x80 ~\xa0\xfe\x00"},
	} {
		for _, fill := range []byte(tt.fills) {
			for at := range 8 {
				for c := range 256 {
					b := bytes.Repeat([]byte{fill}, 8)
					b[at] = byte(c)
					end, low := 0, 8
					for end < 8 && is(b[end], tt.bit) {
						end++
					}
					if marks := tt.marks(word(b, 0)); marks != 0 {
						low = lowest(marks)
					}
					if low > end {
						t.Errorf("%s: %q: lowest mark %d, ends at %d", tt.name, b, low, end)
					}
				}
			}
		}
	}
}

// The scans end where the table says, for every length and place.
func TestScans(t *testing.T) {
	for _, tt := range []struct {
		name string
		scan func([]byte, int) int
		bit  uint8
		fill byte
	}{
		{"path", endOfPath, pathByte, '~'},
		{"query", endOfQuery, queryByte, '!'},
	} {
		for size := range 20 {
			for at := range size {
				for c := range 256 {
					b := bytes.Repeat([]byte{tt.fill}, size)
					b[at] = byte(c)
					want := size
					if !is(byte(c), tt.bit) {
						want = at
					}
					if got := tt.scan(b, 0); got != want {
						t.Fatalf("%s: %q ends at %d, want %d", tt.name, b, got, want)
					}
				}
			}
		}
	}
}

func TestWord(t *testing.T) {
	const in = "0123456789abcdef"
	for size := range len(in) + 1 {
		for i := range size + 1 {
			var want [8]byte
			copy(want[:], in[i:size])
			if got := word([]byte(in[:size]), i); got != load64(want[:], 0) {
				t.Errorf("word(%q, %d) = %#x, want %#x", in[:size], i, got, load64(want[:], 0))
			}
		}
	}
}
