//go:build !purego

package parser

import (
	"bytes"
	"strings"
	"testing"
)

// eachWay runs f with marks, where the machine can make them, and without.
func eachWay(f func()) {
	f()
	if !marking {
		return
	}
	marking = false
	defer func() { marking = true }()
	f()
}

func needMarks(t *testing.T) {
	if !marking {
		t.Skip("this machine has no AVX2")
	}
}

// Every byte, at every place of windows of every size, against the table: what is
// not marked may be in a token and in a host, or in a value. What is behind the
// window is marked.
func TestMarkBytes(t *testing.T) {
	needMarks(t)
	const plain = "!$&'*+-." + digits + "_" + letters // and no byte else
	var m marks
	isSet := func(words *markWords, i int) bool { return words[i/64]>>(i%64)&1 != 0 }
	for c := range 256 {
		isPlain, isValue := strings.IndexByte(plain, byte(c)) >= 0, is(byte(c), valueByte)
		if isPlain && !(is(byte(c), tokenByte) && is(byte(c), hostByte) && isValue) {
			t.Fatalf("byte %#02x is plain, but not in all of token, host and value", c)
		}
		if groups := markTables.high[c>>4] & markTables.low[c&15]; (groups == 0) != isPlain || groups < 1<<5 != isValue {
			t.Fatalf("byte %#02x is in the groups %08b", c, groups)
		}
		b := bytes.Repeat([]byte{byte(c)}, windowBytes+vectorBytes)
		for _, size := range []int{1, 31, 32, 33, 63, 64, 65, 95, 96, 97, 127, 128, 300, windowBytes - 1, windowBytes} {
			markBytes(&m, &b[vectorBytes], size)
			for i := range (size/blockBytes + 1) * blockBytes {
				behind := i >= size
				if isSet(&m.plain, i) != (behind || !isPlain) || isSet(&m.value, i) != (behind || !isValue) {
					t.Fatalf("byte %#02x at %d of %d: marked as not plain %v, as not in a value %v", c, i, size, isSet(&m.plain, i), isSet(&m.value, i))
				}
			}
		}
	}
	// A place is marked for its own byte and for no neighbour.
	for size := 1; size <= windowBytes; size++ {
		for _, at := range []int{0, size / 2, size - 1} {
			b := bytes.Repeat([]byte{'a'}, size+vectorBytes)
			b[vectorBytes+at] = '\r'
			markBytes(&m, &b[vectorBytes], size)
			if p, v := m.plain.next(0), m.value.next(0); p != at || v != at {
				t.Fatalf("CR at %d of %d: next is %d and %d", at, size, p, v)
			}
			if p, v := m.plain.next(at+1), m.value.next(at+1); p < size || v < size {
				t.Fatalf("CR at %d of %d: then next is %d and %d", at, size, p, v)
			}
		}
	}
}

// What a client sends as a rule is taken by the marks alone: a slip that left it to
// fieldLines would show in no result.
func TestWholeLines(t *testing.T) {
	needMarks(t)
	for _, tt := range benchmarks {
		in := []byte(tt.in)
		lim := DefaultLimits()
		var r Request
		n, err := r.Parse(in, &lim)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		want := len(r.Fields())
		r.Reset()
		first := bytes.IndexByte(in, '\n') + 1
		if end := r.wholeLines(in, first, &lim); int(r.count) != want || end != n-len("\r\n") {
			t.Errorf("%s: %d lines up to %d, want %d up to %d", tt.name, r.count, end, want, n-len("\r\n"))
		}
	}
}

// Lines that end, and names, at every place around the ends of windows.
func TestWindows(t *testing.T) {
	needMarks(t)
	lim := DefaultLimits()
	for _, size := range []int{firstWindowBytes, windowBytes, firstWindowBytes + windowBytes, 2 * windowBytes} {
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
