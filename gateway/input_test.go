package gateway_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/isbjorn/isbjorn/gateway"
)

// input is the Input of a request with this content.
func input(t testing.TB, content string) *gateway.Input {
	t.Helper()
	return environ(t, "POST / HTTP/1.1\r\nHost: h\r\n\r\n"+content).Input()
}

func TestReadLine(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		limit    int
		want     []string
	}{
		{"empty", "", 0, nil},
		{"one line", "a\n", 0, []string{"a\n"}},
		{"no LF at the end", "a\nb", 0, []string{"a\n", "b"}},
		{"empty lines", "\n\n", 0, []string{"\n", "\n"}},
		{"CRLF", "a\r\nb\r\n", 0, []string{"a\r\n", "b\r\n"}},
		{"CR is none", "a\rb", 0, []string{"a\rb"}},
		{"limit under the line", "abcd\n", 3, []string{"abc", "d\n"}},
		{"limit at the LF", "abc\nd", 3, []string{"abc", "\n", "d"}},
		{"limit with the LF", "abc\nd", 4, []string{"abc\n", "d"}},
		{"limit over the line", "abc\nd", 100, []string{"abc\n", "d"}},
		{"limit of one", "a\nb", 1, []string{"a", "\n", "b"}},
		{"NUL", "a\x00b\n\x00", 0, []string{"a\x00b\n", "\x00"}},
	} {
		in := input(t, tt.in)
		left := len(tt.in)
		for _, want := range tt.want {
			if got := in.Len(); got != left {
				t.Errorf("%s: Len = %d, want %d", tt.name, got, left)
			}
			left -= len(want)
			if got, err := in.ReadLine(tt.limit); string(got) != want || err != nil {
				t.Errorf("%s: ReadLine(%d) = %q, %v; want %q", tt.name, tt.limit, got, err, want)
			}
		}
		wantEnd(t, tt.name, in)
	}
}

// wantEnd checks that every method is at the end of the content.
func wantEnd(t *testing.T, name string, in *gateway.Input) {
	t.Helper()
	for range 3 {
		if n := in.Len(); n != 0 {
			t.Errorf("%s: Len at the end = %d", name, n)
		}
		if n, err := in.Read(make([]byte, 4)); n != 0 || err != io.EOF {
			t.Errorf("%s: Read at the end = %d, %v; want 0, EOF", name, n, err)
		}
		if b, err := in.ReadLine(0); len(b) != 0 || err != io.EOF {
			t.Errorf("%s: ReadLine at the end = %q, %v; want EOF", name, b, err)
		}
		if b, err := in.ReadLine(1); len(b) != 0 || err != io.EOF {
			t.Errorf("%s: ReadLine(1) at the end = %q, %v; want EOF", name, b, err)
		}
		if b, err := in.ReadAll(); len(b) != 0 || err != nil {
			t.Errorf("%s: ReadAll at the end = %q, %v", name, b, err)
		}
		if n, err := in.WriteTo(io.Discard); n != 0 || err != nil {
			t.Errorf("%s: WriteTo at the end = %d, %v", name, n, err)
		}
	}
}

// Any order of calls, compared with a string that gets shorter.
func TestInputModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 2000 {
		text := make([]byte, random.IntN(60))
		for i := range text {
			text[i] = "ab\r\n\n"[random.IntN(5)]
		}
		in, left := input(t, string(text)), string(text)
		for step := 0; left != "" || step < 3; step++ {
			var got, want string
			var err, wantErr error
			call := random.IntN(12)
			switch {
			case call < 5:
				k := random.IntN(8)
				want = left[:min(k, len(left))]
				if left == "" {
					wantErr = io.EOF
				}
				p := make([]byte, k)
				var n int
				n, err = in.Read(p)
				got = string(p[:n])
			case call < 10:
				limit := random.IntN(6)
				line, _, lf := strings.Cut(left, "\n")
				if want = line; lf {
					want += "\n"
				}
				if limit > 0 {
					want = want[:min(limit, len(want))]
				}
				if left == "" {
					wantErr = io.EOF
				}
				var b []byte
				b, err = in.ReadLine(limit)
				got = string(b)
			case step > 2 && call == 10:
				want = left
				var b []byte
				b, err = in.ReadAll()
				got = string(b)
			case step > 2:
				want = left
				var b bytes.Buffer
				var n int64
				if n, err = in.WriteTo(&b); n != int64(b.Len()) {
					t.Errorf("WriteTo = %d, wrote %d", n, b.Len())
				}
				got = b.String()
			}
			left = left[len(want):]
			if got != want || err != wantErr || in.Len() != len(left) {
				t.Fatalf("round %d, call %d of %q: %q, %v, Len %d; want %q, %v, %d",
					round, step, text, got, err, in.Len(), want, wantErr, len(left))
			}
		}
		wantEnd(t, string(text), in)
	}
}

func TestInputAsReader(t *testing.T) {
	for _, text := range []string{"", "a", "some content\nof two lines", strings.Repeat("0123456789", 10_000)} {
		if err := iotest.TestReader(input(t, text), []byte(text)); err != nil {
			t.Errorf("%.30q: %v", text, err)
		}
		var b bytes.Buffer
		if n, err := io.Copy(&b, input(t, text)); n != int64(len(text)) || err != nil || b.String() != text {
			t.Errorf("io.Copy of %.30q = %d, %v, %.30q", text, n, err, b.String())
		}
	}
}

// The slices are views, with no capacity beyond their ends.
func TestInputViews(t *testing.T) {
	in := input(t, "one\ntwo\nthree")
	line, _ := in.ReadLine(0)
	if cap(line) != len(line) {
		t.Errorf("ReadLine: cap %d, len %d", cap(line), len(line))
	}
	_ = append(line, "end"...)
	rest, _ := in.ReadAll()
	if string(rest) != "two\nthree" || cap(rest) != len(rest) {
		t.Errorf("ReadAll = %q with cap %d", rest, cap(rest))
	}
	if string(line) != "one\n" {
		t.Errorf("the line became %q", line)
	}
}

// Read copies: the reader may write to its own memory.
func TestReadCopies(t *testing.T) {
	r := parse(t, "POST / HTTP/1.1\r\nHost: h\r\n\r\ncontent")
	var e gateway.ServerEnviron
	r.begin(&e)
	p := make([]byte, 7)
	_, _ = e.Input().Read(p)
	copy(p, "changed")
	if got := string(r.memory[r.head:]); got != "content" {
		t.Errorf("the content became %q", got)
	}
}

func TestWriteToError(t *testing.T) {
	in := input(t, "0123456789")
	n, err := in.WriteTo(&failing{after: 4})
	if n != 4 || !errors.Is(err, errTest) || in.Len() != 6 {
		t.Errorf("WriteTo = %d, %v, Len %d; want 4, %v, 6", n, err, in.Len(), errTest)
	}
	rest, err := in.ReadAll()
	if string(rest) != "456789" || err != nil {
		t.Errorf("then ReadAll = %q, %v", rest, err)
	}
}

// failing is a Writer that takes some bytes and fails.
type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if len(p) > f.after {
		return f.after, errTest
	}
	f.after -= len(p)
	return len(p), nil
}

// A writer that takes less than it was given, without an error, is io.ErrShortWrite, as for bytes.Reader and
// bytes.Buffer: content must not get lost without an error.
func TestWriteToShort(t *testing.T) {
	in := input(t, "0123456789")
	n, err := in.WriteTo(short{})
	if n != 5 || err != io.ErrShortWrite || in.Len() != 5 {
		t.Errorf("WriteTo = %d, %v, Len %d; want 5, %v, 5", n, err, in.Len(), io.ErrShortWrite)
	}
}

// short takes one half, without an error.
type short struct{}

func (short) Write(p []byte) (int, error) { return len(p) / 2, nil }
