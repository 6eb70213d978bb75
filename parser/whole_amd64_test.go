//go:build !purego

package parser

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
)

// eachWay runs f with takeLines, if the machine has AVX2, and without.
func eachWay(f func()) {
	f()
	if !canTakeLines {
		return
	}
	canTakeLines = false
	defer func() { canTakeLines = true }()
	f()
}

func needMarks(t *testing.T) {
	if !canTakeLines {
		t.Skip("this machine has no AVX2")
	}
}

// The groups of every byte: a byte without groups is allowed in a token, a host and a value;
// a byte that is not allowed in a value is in one of the last three groups.
func TestMarkGroups(t *testing.T) {
	const plain = "!$&'*+-." + digits + "_" + letters // and no byte else
	for c := range 256 {
		isPlain, isValue := strings.IndexByte(plain, byte(c)) >= 0, is(byte(c), valueByte)
		if isPlain && !(is(byte(c), tokenByte) && is(byte(c), hostByte) && isValue) {
			t.Errorf("byte %#02x is plain, but not in all of token, host and value", c)
		}
		if groups := markTables.high[c>>4] & markTables.low[c&15]; (groups == 0) != isPlain || groups < 1<<5 != isValue {
			t.Errorf("byte %#02x is in the groups %08b", c, groups)
		}
	}
}

// plainLines is a slow takeLines, by the classes of bytes.
func plainLines(b []byte, line, room int) (fields []Field, next, hostEnd int) {
	isPlain := func(c byte) bool { return markTables.high[c>>4]&markTables.low[c&15] == 0 }
	for len(fields) < room {
		colon := line
		for colon < len(b) && isPlain(b[colon]) {
			colon++
		}
		end := colon
		for end < len(b) && is(b[end], valueByte) {
			end++
		}
		if end+1 >= len(b) || colon == line || b[colon] != ':' || !isCRLF(b[end:]) {
			break
		}
		value := trim(b[colon+1 : end])
		first := colon + 1 // of no bytes: where the CR is
		for first < end && isSpace(b[first]) {
			first++
		}
		if colon-line == len("Host") {
			hostEnd = first
			for isPlain(b[hostEnd]) {
				hostEnd++
			}
		}
		fields = append(fields, Field{Span{uint16(line), uint16(colon - line)}, Span{uint16(first), uint16(len(value))}})
		line = end + len("\r\n")
	}
	return fields, line, hostEnd
}

// checkLines compares takeLines with plainLines. hostEnd may be 0 if a block ends inside the
// value, but it must not include a byte that is not plain.
func checkLines(t *testing.T, b []byte, from, room int) {
	t.Helper()
	var got [fieldsRoom]Field
	next, left, hostEnd := takeLines(&b[0], len(b), from, &got[0], room)
	fields, wantNext, wantEnd := plainLines(b, from, room)
	if next != wantNext || room-left != len(fields) || !slices.Equal(got[:room-left], fields) {
		t.Fatalf("%q from %d: %v up to %d, want %v up to %d", b, from, got[:room-left], next, fields, wantNext)
	}
	for _, f := range fields {
		v := f.Value
		if end := int(v.Off + v.Len); hostEnd >= int(v.Off) && hostEnd <= end && hostEnd > wantEnd {
			t.Fatalf("%q from %d: plain up to %d, want %d", b, from, hostEnd, wantEnd)
		}
	}
}

// Every byte at every place of lines, at every place of a block, and every end.
func TestTakeLines(t *testing.T) {
	needMarks(t)
	in := "Host: h.example.of.a.name.that.crosses\r\nA:b\r\nDate : \t x \t \r\nEmpty: \r\nA-name-of-many-bytes: x\r\n\r\n"
	for fill := range 70 {
		b := []byte(strings.Repeat(".", vectorBytes) + "F: " + strings.Repeat("f", fill) + "\r\n" + in)
		for size := vectorBytes + 1; size <= len(b); size++ {
			checkLines(t, b[:size:size], vectorBytes, fieldsRoom)
		}
		for room := 1; room < 6; room++ {
			checkLines(t, b, vectorBytes, room)
		}
	}
	try := func(b []byte, at int, bytes string) {
		was := b[at]
		for i := range len(bytes) {
			b[at] = bytes[i]
			checkLines(t, b, vectorBytes, fieldsRoom)
		}
		b[at] = was
	}
	var all [256]byte
	for c := range all {
		all[c] = byte(c)
	}
	for fill := range 70 {
		b := []byte(strings.Repeat(".", vectorBytes) + "F: " + strings.Repeat("f", fill) + "\r\n" + in + strings.Repeat("n", 70))
		for at := vectorBytes; at < len(b); at++ {
			try(b, at, ",: \t\r\na\x80")
			if fill == 40 {
				try(b, at, string(all[:]))
			}
		}
	}
}

// The usual heads take the fast path. If a bug left them to head no result would show it.
func TestWhole(t *testing.T) {
	needMarks(t)
	for _, tt := range benchmarks {
		in := []byte(tt.in)
		lim := DefaultLimits()
		var r, slow Request
		first := bytes.IndexByte(in, '\n') + 1
		_, _, hostEnd := takeLines(&in[0], len(in), first, &r.fields[0], fieldsRoom)
		if _, _, want := plainLines(in, first, fieldsRoom); hostEnd != want {
			t.Errorf("%s: Host is plain up to %d, want %d", tt.name, hostEnd, want)
		}
		want := bytes.Index(in, []byte("\r\n\r\n")) + 4
		if n := r.whole(in, &lim); n != want {
			t.Errorf("%s: whole takes %d bytes, want %d", tt.name, n, want)
		}
		canTakeLines = false
		n, err := slow.Parse(in, &lim)
		canTakeLines = true
		if n != want || err != nil || describe(&r, in) != describe(&slow, in) {
			t.Errorf("%s:\n%s\nthe long way:\n%s", tt.name, describe(&r, in), describe(&slow, in))
		}
	}
}

// After whole has returned 0 the Request is as after Reset.
func TestNotWhole(t *testing.T) {
	needMarks(t)
	lim := DefaultLimits()
	for _, in := range []string{
		head + "A: b\r\nConnection: close\r\n",
		"GET /a?b HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", // no Host
		"GET /a?b HTTP/1.2\r\nHost: h\r\n\r\n",
		head + "Content-Length: x\r\n\r\n",
		head + "Expect: x\r\nHost: h\r\n\r\n",
		"CONNECT / HTTP/1.1\r\nHost: h.example\r\n\r\n",
		"GET/ HTTP/1.1\r\nHost: a.long.host.example\r\n\r\n",
		"POST/ HTTP/1.1\r\nHost: a.long.host.example\r\n\r\n",
		" / HTTP/1.1\r\nHost: a.long.host.example\r\n\r\n",
		"/ HTTP/1.1\r\nHost: a.long.host.example\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a.long.host.example\r\nHost: a.long.host.example\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: :80\r\nAccept: anything\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h:99999\r\nAccept: anything\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h:9z\r\nAccept: anything\r\n\r\n",
	} {
		var r Request
		if n := r.whole([]byte(in), &lim); n != 0 {
			t.Errorf("%q: whole takes %d bytes", in, n)
		}
		r.fields = [fieldsRoom]Field{}
		if r != (Request{}) {
			t.Errorf("%q leaves %+v", in, r)
		}
	}
}

// Limits that Check refuses are safe.
func TestNoRoom(t *testing.T) {
	needMarks(t)
	lim := DefaultLimits()
	for _, lim.Fields = range []int{0, -1, math.MinInt} {
		var r Request
		if n, err := r.Parse([]byte(browserHead), &lim); n != 0 || err != errFields {
			t.Errorf("Fields %d: Parse = %d, %v", lim.Fields, n, err)
		}
	}
	lim = DefaultLimits()
	lim.Fields = math.MaxInt
	var r Request
	if n, err := r.Parse([]byte(browserHead), &lim); n != len(browserHead) || err != nil {
		t.Errorf("Fields %d: Parse = %d, %v", lim.Fields, n, err)
	}
}

// Names and lines that end at every place around the ends of blocks.
func TestBlocks(t *testing.T) {
	needMarks(t)
	lim := DefaultLimits()
	for _, size := range []int{128, 256} {
		for fill := size - 90; fill < size+10; fill++ {
			for _, in := range []string{
				head + "A: " + strings.Repeat("a", fill) + "\r\nContent-Length: 5\r\nB: b\r\n\r\nhello",
				head + "A: " + strings.Repeat("a", fill/2) + "\r\nX: " + strings.Repeat("b", fill/2) + " \r\nC:\r\n\r\n",
				head + strings.Repeat("n", fill) + ":v\r\nC: d\r\n\r\n",
				line + "X: " + strings.Repeat("x", fill-20) + "\r\nHost: " + strings.Repeat("h", 30) + ":8080\r\n\r\n",
				line + "Host: " + strings.Repeat("h", fill) + "\r\n\r\n",
				line + "Host: " + strings.Repeat("h", fill) + ",\r\n\r\n",
				head + strings.Repeat("A: b\r\n", fill/6) + "A: " + strings.Repeat("a", fill%6) + "\r\n\r\n",
				head + "A: " + strings.Repeat("a", fill) + "\r\n:B: c\r\n\r\n",
				head + "A: " + strings.Repeat("a", fill) + "\r\n B: c\r\n\r\n",
				head + "A: " + strings.Repeat("a", fill) + "\r\nB : c\r\n\r\n",
				head + "A: " + strings.Repeat("a", fill) + "\r\nB c\r\n\r\n",
				head + "A: " + strings.Repeat("a", fill) + "\r\r\nB: c\r\n\r\n",
				head + "A: " + strings.Repeat("a", fill) + "\nB: c\r\n\r\n",
				head + "A: " + strings.Repeat("a", fill) + "\t\r\nB:\t\r\n\r\n",
				head + "A: " + strings.Repeat("a", fill) + "\x7f\r\n\r\n",
				head + strings.Repeat("n", fill) + "\x80:\r\n\r\n",
			} {
				feedCut([]byte(in), lim) // with marks and without
			}
		}
	}
}
