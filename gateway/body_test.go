package gateway_test

import (
	"bytes"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/isbjorn/isbjorn/gateway"
)

func TestOneChunk(t *testing.T) {
	e := environ(t, smallGet)
	for _, text := range []string{"", "a", "Hello, World!", strings.Repeat("long", 100_000)} {
		for name, body := range map[string]gateway.Sized{
			"Bytes":         gateway.Bytes([]byte(text)),
			"Text":          gateway.Text(text),
			"Environ.Bytes": e.Bytes([]byte(text)),
			"Environ.Text":  e.Text(text),
		} {
			if got := body.Len(); got != int64(len(text)) {
				t.Errorf("%s of %d bytes: Len = %d", name, len(text), got)
			}
			b, err := body.Next()
			if string(b) != text || err != io.EOF {
				t.Errorf("%s of %d bytes: first Next = %d bytes, %v; want all and EOF", name, len(text), len(b), err)
			}
			if b, err := body.Next(); len(b) != 0 || err != io.EOF {
				t.Errorf("%s of %d bytes: second Next = %.20q, %v; want EOF", name, len(text), b, err)
			}
			if got := body.Len(); got != int64(len(text)) {
				t.Errorf("%s of %d bytes: Len after Next = %d", name, len(text), got)
			}
			if err := body.Close(); err != nil {
				t.Errorf("%s: Close: %v", name, err)
			}
		}
	}
	if body := gateway.Bytes(nil); body.Len() != 0 || content(t, body) != "" {
		t.Error("Bytes(nil) is not empty")
	}
}

// The chunk of Bytes is its argument, not a copy.
func TestBytesIsAView(t *testing.T) {
	e := environ(t, smallGet)
	b := []byte("view")
	for name, body := range map[string]gateway.Body{"Bytes": gateway.Bytes(b), "Environ.Bytes": e.Bytes(b)} {
		if got, _ := body.Next(); &got[0] != &b[0] {
			t.Errorf("%s copied", name)
		}
	}
}

// An application may make several Bodies: only the first is the one in the Environ.
func TestBodiesDoNotShare(t *testing.T) {
	var e gateway.ServerEnviron
	r := parse(t, smallGet)
	for round := range 3 {
		r.begin(&e)
		a, b, c := e.Text("first"), e.Bytes([]byte("second body")), e.Text("third")
		if a.Len() != 5 || b.Len() != 11 || c.Len() != 5 {
			t.Errorf("round %d: lengths %d, %d, %d", round, a.Len(), b.Len(), c.Len())
		}
		if got := content(t, b); got != "second body" {
			t.Errorf("round %d: the second body is %q", round, got)
		}
		_ = b.Close()
		if got := content(t, a); got != "first" {
			t.Errorf("round %d: the first body is %q", round, got)
		}
		_ = a.Close()
		d := e.Text("fourth, after the first was closed")
		if got := content(t, c); got != "third" {
			t.Errorf("round %d: the third body is %q", round, got)
		}
		if got := content(t, d); got != "fourth, after the first was closed" {
			t.Errorf("round %d: the fourth body is %q", round, got)
		}
		e.End()
	}
}

// sequence yields the parts, then err if there is one, and notes what happened.
type sequence struct {
	parts  []string
	err    error
	begun  bool
	yields int
	ended  bool // the function returned
	whole  bool // every yield returned true
}

func (s *sequence) seq() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		s.begun = true
		defer func() { s.ended = true }()
		for _, p := range s.parts {
			s.yields++
			if !yield([]byte(p), nil) {
				return
			}
		}
		if s.err != nil && !yield([]byte("with the error"), s.err) {
			return
		}
		s.whole = true
	}
}

func TestStream(t *testing.T) {
	s := &sequence{parts: []string{"one", "", "two", "three"}}
	body := gateway.Stream(s.seq())
	if _, ok := body.(gateway.Sized); ok {
		t.Error("a Stream says that it knows its length")
	}
	if s.begun {
		t.Error("the sequence began before it was asked")
	}
	for i, want := range s.parts {
		b, err := body.Next()
		if string(b) != want || err != nil {
			t.Errorf("Next %d = %q, %v; want %q", i, b, err, want)
		}
		if s.yields != i+1 {
			t.Errorf("after Next %d the sequence has yielded %d times", i, s.yields)
		}
	}
	for range 3 {
		if b, err := body.Next(); len(b) != 0 || err != io.EOF {
			t.Errorf("Next at the end = %q, %v; want EOF", b, err)
		}
	}
	if err := body.Close(); err != nil || !s.whole || !s.ended {
		t.Errorf("Close: %v; the sequence: %+v", err, s)
	}
}

func TestStreamError(t *testing.T) {
	s := &sequence{parts: []string{"one"}, err: errTest}
	body := gateway.Stream(s.seq())
	chunks, err := drain(body)
	if err != errTest || !slices.Equal(chunks, []string{"one", "with the error"}) {
		t.Errorf("the stream gave %q, %v; want %v", chunks, err, errTest)
	}
	if s.ended {
		t.Error("the sequence went on after its error")
	}
	if err := body.Close(); err != nil || !s.ended || s.whole {
		t.Errorf("Close: %v; the sequence: %+v", err, s)
	}
}

// An early Close runs what the sequence has deferred.
func TestStreamClosedEarly(t *testing.T) {
	parts := []string{"one", "two", "three"}
	for n := range len(parts) + 1 {
		s := &sequence{parts: parts}
		body := gateway.Stream(s.seq())
		for range n {
			if _, err := body.Next(); err != nil {
				t.Errorf("Next: %v", err)
			}
		}
		for i := range 2 { // twice is harmless
			if err := body.Close(); err != nil {
				t.Errorf("Close %d after %d chunks: %v", i, n, err)
			}
		}
		if s.begun != (n > 0) || s.ended != (n > 0) || s.whole || s.yields != n {
			t.Errorf("closed after %d chunks: %+v", n, s)
		}
		if n == 0 {
			continue
		}
		if b, err := body.Next(); len(b) != 0 || err != io.EOF {
			t.Errorf("Next after Close = %q, %v; want EOF", b, err)
		}
	}
}

// A panic of the sequence comes out of Next, or of Close, where the server
// catches it.
func TestStreamPanics(t *testing.T) {
	caught := func(f func()) (p any) {
		defer func() { p = recover() }()
		f()
		return nil
	}
	body := gateway.Stream(func(func([]byte, error) bool) { panic("in the sequence") })
	if p := caught(func() { _, _ = body.Next() }); p != "in the sequence" {
		t.Errorf("Next panicked with %v", p)
	}
	if p := caught(func() { _ = body.Close() }); p != nil {
		t.Errorf("Close panicked with %v", p)
	}
	body = gateway.Stream(func(yield func([]byte, error) bool) {
		defer func() { panic("in a defer") }()
		yield(nil, nil)
	})
	_, _ = body.Next()
	if p := caught(func() { _ = body.Close() }); p != "in a defer" {
		t.Errorf("Close panicked with %v", p)
	}
}

// onlyReader hides everything of a Reader but Read.
type onlyReader struct{ io.Reader }

// file is a Reader that counts its calls of Close.
type file struct {
	io.Reader
	closes int
	err    error
}

func (f *file) Close() error { f.closes++; return f.err }

// sizedFile is a file with Len.
type sizedFile struct {
	file
	n int
}

func (f *sizedFile) Len() int { return f.n }

func TestReader(t *testing.T) {
	for _, size := range []int{0, 1, 100, 32<<10 - 1, 32 << 10, 32<<10 + 1, 200_000} {
		text := strings.Repeat("0123456789abcdef-", size/17+1)[:size]
		partly := bytes.NewReader([]byte("already read" + text))
		_, _ = io.CopyN(io.Discard, partly, int64(len("already read")))
		for _, tt := range []struct {
			name  string
			r     io.Reader
			sized bool
		}{
			{"strings.Reader", strings.NewReader(text), true},
			{"bytes.Reader, partly read", partly, true},
			{"bytes.Buffer", bytes.NewBufferString(text), true},
			{"io.Reader", onlyReader{strings.NewReader(text)}, false},
			{"half of what is asked", iotest.HalfReader(strings.NewReader(text)), false},
			{"data and EOF together", iotest.DataErrReader(strings.NewReader(text)), false},
			{"small pieces", io.MultiReader(strings.NewReader(text[:size/3]), strings.NewReader(text[size/3:])), false},
		} {
			body := gateway.Reader(tt.r)
			sized, ok := body.(gateway.Sized)
			if ok != tt.sized {
				t.Errorf("%s of %d: knows its length: %v", tt.name, size, ok)
			}
			if ok && sized.Len() != int64(size) {
				t.Errorf("%s of %d: Len = %d", tt.name, size, sized.Len())
			}
			chunks, err := drain(body)
			if err != nil {
				t.Errorf("%s of %d: %v", tt.name, size, err)
			}
			if got := strings.Join(chunks, ""); got != text {
				t.Errorf("%s of %d: %d other bytes", tt.name, size, len(got))
			}
			for _, c := range chunks {
				if len(c) > 32<<10 {
					t.Errorf("%s of %d: a chunk of %d bytes", tt.name, size, len(c))
				}
			}
			if n := len(chunks); tt.sized && n != (size+32<<10-1)/(32<<10) {
				t.Errorf("%s of %d: %d chunks", tt.name, size, n)
			}
			if ok && sized.Len() != int64(size) {
				t.Errorf("%s of %d: Len at the end = %d", tt.name, size, sized.Len())
			}
			if b, err := body.Next(); len(b) != 0 || err != io.EOF {
				t.Errorf("%s of %d: Next at the end = %d bytes, %v; want EOF", tt.name, size, len(b), err)
			}
			if err := body.Close(); err != nil {
				t.Errorf("%s of %d: Close: %v", tt.name, size, err)
			}
		}
	}
}

func TestReaderError(t *testing.T) {
	for name, r := range map[string]io.Reader{
		"alone":       io.MultiReader(strings.NewReader("start"), iotest.ErrReader(errTest)),
		"with a part": iotest.DataErrReader(io.MultiReader(strings.NewReader("start"), iotest.ErrReader(errTest))),
		"unexpected":  io.MultiReader(strings.NewReader("start"), iotest.ErrReader(io.ErrUnexpectedEOF)), // is not EOF
	} {
		want := errTest
		if name == "unexpected" {
			want = io.ErrUnexpectedEOF
		}
		chunks, err := drain(gateway.Reader(r))
		if err != want || strings.Join(chunks, "") != "start" {
			t.Errorf("%s: %q, %v; want %v", name, chunks, err, want)
		}
	}
}

func TestReaderCloses(t *testing.T) {
	for _, err := range []error{nil, errTest} {
		for reads := range 3 {
			plain := &file{Reader: strings.NewReader("content"), err: err}
			sized := &sizedFile{file{Reader: strings.NewReader("content"), err: err}, 7}
			for name, body := range map[string]gateway.Body{"plain": gateway.Reader(plain), "sized": gateway.Reader(sized)} {
				for range reads {
					_, _ = body.Next()
				}
				if plain.closes > 1 || sized.closes > 1 {
					t.Errorf("%s: closed before Close", name)
				}
				if got := body.Close(); got != err {
					t.Errorf("%s: Close after %d reads = %v, want %v", name, reads, got, err)
				}
			}
			if plain.closes != 1 || sized.closes != 1 {
				t.Errorf("after %d reads: closed %d and %d times, want once", reads, plain.closes, sized.closes)
			}
		}
	}
	if _, ok := gateway.Reader(&sizedFile{n: 7}).(gateway.Sized); !ok {
		t.Error("a Reader with Len has no length")
	}
}

// After Close of a Stream its sequence does not begin: its deferred cleanup would never run.
func TestStreamAfterClose(t *testing.T) {
	s := &sequence{parts: []string{"one", "two"}}
	body := gateway.Stream(s.seq())
	_ = body.Close()
	if b, err := body.Next(); len(b) != 0 || err != io.EOF || s.begun {
		t.Errorf("Next after Close = %q, %v, sequence begun: %v; want EOF", b, err, s.begun)
	}
}

// "An error ends it", says Stream.
func TestStreamAfterError(t *testing.T) {
	body := gateway.Stream(func(yield func([]byte, error) bool) {
		_ = yield(nil, errTest) && yield([]byte("more"), nil)
	})
	_, _ = body.Next()
	if b, err := body.Next(); len(b) != 0 || err == nil {
		t.Errorf("Next after an error = %q, %v; want no more content", b, err)
	}
}

func TestChunks(t *testing.T) {
	for _, parts := range [][]string{nil, {""}, {"one"}, {"one", "two"}, {"", "one", "", "", "two", ""}} {
		list := make([][]byte, len(parts))
		for i, p := range parts {
			list[i] = []byte(p)
		}
		body := gateway.Chunks(list...)
		want := strings.Join(parts, "")
		if body.Len() != int64(len(want)) {
			t.Errorf("%q: Len = %d", parts, body.Len())
		}
		chunks, err := drain(body)
		if strings.Join(chunks, "") != want || err != nil || body.Len() != int64(len(want)) {
			t.Errorf("%q: %q, %v, Len %d", parts, chunks, err, body.Len())
		}
		for i := range 2 { // each its own
			if len(parts) == 2 && chunks[i] != parts[i] {
				t.Errorf("chunk %d is %q", i, chunks[i])
			}
		}
		if b, err := body.Next(); len(b) > 0 || err != io.EOF {
			t.Errorf("%q: Next at the end = %q, %v", parts, b, err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
}

// ErrWait does not end a Stream, and what is yielded with it is a chunk.
func TestStreamWaits(t *testing.T) {
	body := gateway.Stream(func(yield func([]byte, error) bool) {
		_ = yield([]byte("one"), gateway.ErrWait) && yield(nil, gateway.ErrWait) && yield([]byte("two"), nil)
	})
	for _, want := range []struct {
		text string
		err  error
	}{{"one", gateway.ErrWait}, {"", gateway.ErrWait}, {"two", nil}, {"", io.EOF}} {
		if b, err := body.Next(); string(b) != want.text || err != want.err {
			t.Errorf("Next = %q, %v; want %q, %v", b, err, want.text, want.err)
		}
	}
}

// Under a server that cannot wait the function of Waker does nothing.
func TestWakerOfNoServer(t *testing.T) { environ(t, smallGet).Waker()() }
