package parser

import (
	"math"
	"strings"
	"testing"
)

// Each limit: limit bytes (or lines) pass; one more is refused, at the byte that exceeds the
// limit, without any byte after it.
func TestLimits(t *testing.T) {
	repeat := strings.Repeat
	for _, tt := range []struct {
		name string
		set  func(*Limits, int)
		n    int                       // the limit
		in   func(n int) (pass string) // uses n of it and is complete
		over func(n int) string        // up to the byte that exceeds it
		err  *Error
	}{
		{
			"MethodBytes", func(l *Limits, n int) { l.MethodBytes = n }, 9,
			func(n int) string { return repeat("M", n) + " /" + rest },
			func(n int) string { return repeat("M", n+1) },
			errMethodSize,
		}, {
			"TargetBytes", func(l *Limits, n int) { l.TargetBytes = n }, 50,
			func(n int) string { return "GET /" + repeat("a", n-1) + rest },
			func(n int) string { return "GET /" + repeat("a", n) },
			errTargetSize,
		}, {
			"TargetBytes of a query", func(l *Limits, n int) { l.TargetBytes = n }, 50,
			func(n int) string { return "GET /?" + repeat("a", n-2) + rest },
			func(n int) string { return "GET /?" + repeat("a", n-1) },
			errTargetSize,
		}, {
			"TargetBytes of another form", func(l *Limits, n int) { l.TargetBytes = n }, 50,
			func(n int) string { return "GET http://" + repeat("a", n-7) + rest },
			func(n int) string { return "GET http://" + repeat("a", n-6) },
			errTargetSize,
		}, {
			"HeadBytes in a value", func(l *Limits, n int) { l.HeadBytes = n }, 9000,
			func(n int) string { return head + "X:" + repeat("y", n-len(head)-6) + "\r\n\r\n" },
			func(n int) string { return head + "X:" + repeat("y", n-len(head)-1) },
			errHeadSize,
		}, {
			"HeadBytes at the final LF", func(l *Limits, n int) { l.HeadBytes = n }, 9000,
			func(n int) string { return head + "X:" + repeat("y", n-len(head)-6) + "\r\n\r\n" },
			func(n int) string { return head + "X:" + repeat("y", n-len(head)-5) + "\r\n\r\n" },
			errHeadSize,
		}, {
			"HeadBytes in a name", func(l *Limits, n int) { l.HeadBytes = n }, 9000,
			func(n int) string { return head + repeat("X", n-len(head)-5) + ":\r\n\r\n" },
			func(n int) string { return head + repeat("X", n-len(head)+1) },
			errHeadSize,
		}, {
			"HeadBytes after CRLF", func(l *Limits, n int) { l.HeadBytes = n }, headBytesMax,
			func(n int) string { return "\r\n" + head + "X:" + repeat("y", n-len(head)-6) + "\r\n\r\n" },
			func(n int) string { return "\r\n" + head + "X:" + repeat("y", n-len(head)-1) },
			errHeadSize,
		}, {
			"Fields, the most there can be", func(l *Limits, n int) { l.Fields = n }, fieldsRoom,
			func(n int) string { return head + repeat("X:\r\n", n-1) + "\r\n" },
			func(n int) string { return head + repeat("X:\r\n", n-1) + "X" },
			errFields,
		}, {
			"Fields 1", func(l *Limits, n int) { l.Fields = n }, 1,
			func(int) string { return head + "\r\n" },
			func(int) string { return head + "X" },
			errFields,
		}, {
			"Fields", func(l *Limits, n int) { l.Fields = n }, 3,
			func(n int) string { return head + repeat("X:\r\n", n-1) + "\r\n" },
			func(n int) string { return head + repeat("X:\r\n", n-1) + "X" },
			errFields,
		}, {
			"BodyBytes of Content-Length", func(l *Limits, n int) { l.BodyBytes = int64(n) }, 4,
			func(int) string { return post + "Content-Length: 4\r\n\r\nabcd" },
			func(int) string { return post + "Content-Length: 5\r\n\r\n" },
			errLengthSize,
		}, {
			"BodyBytes 0 of Content-Length", func(l *Limits, n int) { l.BodyBytes = int64(n) }, 0,
			func(int) string { return post + "Content-Length: 00\r\n\r\n" },
			func(int) string { return post + "Content-Length: 01\r\n\r\n" },
			errLengthSize,
		}, {
			"BodyBytes 0 of a chunk", func(l *Limits, n int) { l.BodyBytes = int64(n) }, 0,
			func(int) string { return chunked + "00\r\n\r\n" },
			func(int) string { return chunked + "01" },
			errChunkedSize,
		}, {
			"BodyBytes of a chunk", func(l *Limits, n int) { l.BodyBytes = int64(n) }, 255,
			func(n int) string { return chunked + "ff\r\n" + repeat("d", n) + "\r\n0\r\n\r\n" },
			func(int) string { return chunked + "100" },
			errChunkedSize,
		}, {
			"BodyBytes of two chunks", func(l *Limits, n int) { l.BodyBytes = int64(n) }, 5,
			func(int) string { return chunked + "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" },
			func(int) string { return chunked + "3\r\nabc\r\n3" },
			errChunkedSize,
		}, {
			"ChunkLineBytes", func(l *Limits, n int) { l.ChunkLineBytes = n }, 20,
			func(n int) string { return chunked + "1;" + repeat("a", n-2) + "\r\nx\r\n0\r\n\r\n" },
			func(n int) string { return chunked + "1;" + repeat("a", n-1) },
			errChunkLine,
		}, {
			"ChunkLineBytes of the last chunk", func(l *Limits, n int) { l.ChunkLineBytes = n }, 20,
			func(n int) string { return chunked + "0;" + repeat("a", n-2) + "\r\n\r\n" },
			func(n int) string { return chunked + "0;" + repeat("a", n-1) },
			errChunkLine,
		}, {
			"TrailerBytes", func(l *Limits, n int) { l.TrailerBytes = n }, 20,
			func(n int) string { return chunked + "0\r\nX:y\r\nZ:" + repeat("y", n-9) + "\r\n\r\n" },
			func(n int) string { return chunked + "0\r\nX:y\r\nZ:" + repeat("y", n-6) },
			errTrailerSize,
		}, {
			"TrailerBytes in a name", func(l *Limits, n int) { l.TrailerBytes = n }, 20,
			func(n int) string { return chunked + "0\r\n" + repeat("X", n-3) + ":\r\n\r\n" },
			func(n int) string { return chunked + "0\r\n" + repeat("X", n+1) },
			errTrailerSize,
		}, {
			"TrailerBytes at the LF", func(l *Limits, n int) { l.TrailerBytes = n }, 20,
			func(n int) string { return chunked + "0\r\nX:" + repeat("y", n-4) + "\r\n\r\n" },
			func(n int) string { return chunked + "0\r\nX:" + repeat("y", n-3) + "\r\n" },
			errTrailerSize,
		}, {
			"TrailerBytes 0", func(l *Limits, n int) { l.TrailerBytes = n }, 0,
			func(int) string { return chunked + "0\r\n\r\n" },
			func(int) string { return chunked + "0\r\nX" },
			errTrailerSize,
		}, {
			"TrailerFields 0", func(l *Limits, n int) { l.TrailerFields = n }, 0,
			func(int) string { return chunked + "0\r\n\r\n" },
			func(int) string { return chunked + "0\r\nX" },
			errTrailerFields,
		}, {
			"TrailerFields", func(l *Limits, n int) { l.TrailerFields = n }, 2,
			func(n int) string { return chunked + "0\r\n" + repeat("X:\r\n", n) + "\r\n" },
			func(n int) string { return chunked + "0\r\n" + repeat("X:\r\n", n) + "X" },
			errTrailerFields,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lim := DefaultLimits()
			lim.TargetBytes = 8000 // so that a smaller head is valid
			tt.set(&lim, tt.n)
			if err := lim.Check(); err != nil {
				t.Errorf("Check: %v", err)
			}
			pass, over := []byte(tt.in(tt.n)), []byte(tt.over(tt.n))
			for _, cuts := range [][]int{nil, {1}, {len(pass) - 1}, cutEvery(1, len(pass))} {
				if f := feedCut(pass, lim, cuts...); f.refusal != nil || f.inBody || len(f.requests) != 1 {
					t.Errorf("the limit itself: %.300v", f)
				}
			}
			for _, cuts := range [][]int{nil, {1}, {len(over) - 1}, cutEvery(1, len(over))} {
				if f := feedCut(over, lim, cuts...); f.refusal != tt.err {
					t.Errorf("one more: refusal %v, want %v", f.refusal, tt.err)
				}
			}
			if f := feedCut(over[:len(over)-1], lim); f.refusal != nil {
				t.Errorf("before the byte that crosses it: refused: %v", f.refusal)
			}
		})
	}
}

// With a negative BodyBytes there is no limit; numbers still do not overflow.
func TestNoBodyLimit(t *testing.T) {
	lim := DefaultLimits()
	lim.BodyBytes = -1
	for _, tt := range []struct {
		name, in string
		err      error
	}{
		{"most", post + "Content-Length: 9223372036854775807\r\n\r\n", nil},
		{"over", post + "Content-Length: 9223372036854775808\r\n\r\n", errLengthSize},
		{"chunk", chunked + "7fffffffffffffff\r\n", nil},
		{"chunk over", chunked + "8000000000000000\r\n", errChunkedSize},
		{"sum over", chunked + "1\r\nx\r\n7fffffffffffffff\r\n", errChunkedSize},
	} {
		if f := feedCut([]byte(tt.in), lim); f.refusal != tt.err {
			t.Errorf("%s: refusal %v, want %v", tt.name, f.refusal, tt.err)
		}
	}
}

func TestLimitsCheck(t *testing.T) {
	lim := DefaultLimits()
	if err := lim.Check(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for _, tt := range []struct {
		field string
		set   func(*Limits)
	}{
		{"MethodBytes", func(l *Limits) { l.MethodBytes = 6 }},
		{"TargetBytes", func(l *Limits) { l.TargetBytes = 0 }},
		{"HeadBytes", func(l *Limits) { l.HeadBytes = 65534 }},
		{"HeadBytes", func(l *Limits) { l.HeadBytes = 8192 }},
		{"HeadBytes", func(l *Limits) { l.TargetBytes = math.MaxInt }},
		{"Fields", func(l *Limits) { l.Fields = 0 }},
		{"Fields", func(l *Limits) { l.Fields = fieldsRoom + 1 }},
		{"ChunkLineBytes", func(l *Limits) { l.ChunkLineBytes = 15 }},
		{"TrailerBytes", func(l *Limits) { l.TrailerBytes = -1 }},
		{"TrailerFields", func(l *Limits) { l.TrailerFields = -1 }},
		{"MethodBytes", func(l *Limits) { *l = Limits{} }},
	} {
		lim := DefaultLimits()
		tt.set(&lim)
		err := lim.Check()
		if err == nil || !strings.Contains(err.Error(), "Limits."+tt.field+" ") {
			t.Errorf("%+v: Check = %v, want an error about %s", lim, err, tt.field)
		}
	}
}

// Parse and Decode are safe with limits that Check refuses.
func TestUncheckedLimits(t *testing.T) {
	long := []byte(head + strings.Repeat("X:"+strings.Repeat("y", 700)+"\r\n", 120) + "\r\n")
	for _, n := range []int{math.MinInt, -1, 0, 1, math.MaxInt} {
		lim := Limits{n, n, n, n, int64(n), n, n, n}
		for _, in := range [][]byte{long, []byte(chunked + "1;a=b\r\nx\r\n0\r\nX: y\r\n\r\n")} {
			whole := feedCut(in, lim)
			if got := feedCut(in, lim, cutEvery(9, len(in))...); got.String() != whole.String() {
				t.Errorf("limits %d: %.100v cut, %.100v whole", n, got, whole)
			}
		}
	}
}
