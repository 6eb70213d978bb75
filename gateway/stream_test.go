package gateway_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/isbjorn/isbjorn/gateway"
)

// streamInput is the Input of a request with the content begun after its head, and the rest in src.
func streamInput(t testing.TB, begun string, src io.Reader, length int64) *gateway.Input {
	t.Helper()
	e := serverEnviron(t, "POST / HTTP/1.1\r\nHost: h\r\n\r\n"+begun)
	e.ContentStream(src, length)
	return e.Input()
}

// ragged is a source that returns its text in pieces of all sizes, and the end with the last piece or after it. A Read
// after the end fails the test.
type ragged struct {
	t      testing.TB
	text   string
	random *rand.Rand
	err    error // io.EOF if nil
	over   bool
}

func (r *ragged) Read(p []byte) (int, error) {
	if r.over || len(p) == 0 {
		r.t.Errorf("the source was asked for %d bytes, after its end: %v", len(p), r.over)
	}
	n := copy(p, r.text[:min(len(r.text), 1+r.random.IntN(1<<r.random.IntN(17)))])
	r.text = r.text[n:]
	if r.text == "" && (n == 0 || r.random.IntN(2) == 0) {
		r.over = true
		if r.err != nil {
			return n, r.err
		}
		return n, io.EOF
	}
	return n, nil
}

// ways are the kinds of sources, and the lengths that they are announced with.
func ways(t testing.TB, random *rand.Rand, text string) map[string]func() *gateway.Input {
	begun := text[:random.IntN(len(text)+1)]
	source := func(text string) *ragged { return &ragged{t: t, text: text, random: random} }
	return map[string]func() *gateway.Input{
		"of unknown length": func() *gateway.Input { return streamInput(t, begun, source(text[len(begun):]), -1) },
		"with a length": func() *gateway.Input {
			return streamInput(t, begun, source(text[len(begun):]), int64(len(text)-len(begun)))
		},
		"with more behind it": func() *gateway.Input {
			return streamInput(t, "", source(text+"next request"), int64(len(text)))
		},
		"all of it later": func() *gateway.Input { return streamInput(t, "", source(text), -1) },
	}
}

// Invariant: content that comes while it is read reads as in memory, for any order of calls, and no view changes.
func TestStreamModel(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for round := range 10 {
		text := lines(random.IntN(200_000))
		for name, stream := range ways(t, random, text) {
			left, in := text, stream()
			var views, copies [][]byte
			for step := 0; left != ""; step++ {
				var got []byte
				var err error
				want := ""
				switch call := random.IntN(24); {
				case call < 10:
					limit := random.IntN(2) * random.IntN(100_000)
					want = left
					if n := strings.IndexByte(left, '\n') + 1; n > 0 {
						want = left[:n]
					}
					if limit > 0 {
						want = want[:min(limit, len(want))]
					}
					got, err = in.ReadLine(limit)
					views, copies = append(views, got), append(copies, bytes.Clone(got))
				case call < 20:
					p := make([]byte, 1+random.IntN(100_000))
					var n int
					n, err = in.Read(p)
					got, want = p[:n], left[:min(n, len(left))]
					if n == 0 && err == nil {
						t.Fatalf("%s: Read gave nothing, and no error", name)
					}
				case step < 5: // the rest takes all
					continue
				case call == 20:
					want = left
					got, err = in.ReadAll()
					views, copies = append(views, got), append(copies, bytes.Clone(got))
				case call == 21:
					var b bytes.Buffer
					want = left
					_, err = in.WriteTo(&b)
					got = b.Bytes()
				case call == 22:
					want = left
					var all [][]byte
					if random.IntN(2) == 0 {
						all, err = in.ReadLines(0)
					} else {
						for line, lineErr := range in.Lines() {
							all, err = append(all, line), lineErr
						}
					}
					got = bytes.Join(all, nil)
				default:
					want = left
					body := in.Body()
					if sized, ok := body.(gateway.Sized); ok && sized.Len() != int64(len(left)) {
						t.Fatalf("%s: Body has Len %d, want %d", name, sized.Len(), len(left))
					}
					got = []byte(content(t, body))
					_ = body.Close()
				}
				left = left[len(want):]
				if string(got) != want || err != nil {
					t.Fatalf("round %d, %s: %d bytes, %v; want %d bytes", round, name, len(got), err, len(want))
				}
				if n := in.Len(); n != len(left) && n != -1 {
					t.Fatalf("round %d, %s: Len = %d, want %d", round, name, n, len(left))
				}
			}
			for in.Len() == -1 { // all has come, but not that it was all
				if n, err := in.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Fatalf("%s: after all content %d, %v", name, n, err)
				}
			}
			wantEnd(t, name, in)
			if !slices.EqualFunc(views, copies, bytes.Equal) {
				t.Errorf("round %d, %s: a view has changed", round, name)
			}
		}
	}
}

func TestStreamAsReader(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	for _, n := range []int{0, 1, 1000, 200_000} {
		text := lines(n)
		for name, stream := range ways(t, random, text) {
			if err := iotest.TestReader(stream(), []byte(text)); err != nil {
				t.Errorf("%d bytes %s: %v", n, name, err)
			}
		}
	}
}

// reads is every way to read content to its end.
var reads = map[string]func(in *gateway.Input) (string, error){
	"Read":    func(in *gateway.Input) (string, error) { b, err := io.ReadAll(in); return string(b), err },
	"ReadAll": func(in *gateway.Input) (string, error) { b, err := in.ReadAll(); return string(b), err },
	"ReadLine": func(in *gateway.Input) (string, error) {
		var b []byte
		for {
			line, err := in.ReadLine(0)
			if b = append(b, line...); err == io.EOF {
				return string(b), nil
			} else if err != nil {
				return string(b), err
			}
		}
	},
	"ReadLines": func(in *gateway.Input) (string, error) {
		b, err := in.ReadLines(0)
		return string(bytes.Join(b, nil)), err
	},
	"Lines": func(in *gateway.Input) (string, error) {
		var b []byte
		for line, err := range in.Lines() {
			if b = append(b, line...); err != nil {
				return string(b), err
			}
		}
		return string(b), nil
	},
	"WriteTo": func(in *gateway.Input) (string, error) {
		var b strings.Builder
		n, err := in.WriteTo(&b)
		if int(n) != b.Len() {
			return "", errors.New("WriteTo miscounts")
		}
		return b.String(), err
	},
	"Body": func(in *gateway.Input) (string, error) {
		body := in.Body()
		defer body.Close()
		b, err := drain(body)
		return strings.Join(b, ""), err
	},
	"Clone": nil, // of the Environ
}

// Content whose client has disconnected, was too slow or has sent less than announced ends with an error, for every
// method and every call.
func TestStreamFails(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	for _, tt := range []struct {
		name      string
		err, want error
		length    int64
	}{
		{"the client is gone", errTest, errTest, -1},
		{"the client is gone, with a length", errTest, errTest, 100_001},
		{"truncated", io.EOF, io.ErrUnexpectedEOF, 100_001},
	} {
		for _, came := range []int{0, 1, 70_000} {
			for first, read := range reads {
				for then, again := range reads {
					if again == nil || came > 1 && then != "Read" {
						continue
					}
					text := lines(came)
					e := serverEnviron(t, smallGet)
					e.ContentStream(&ragged{t: t, text: text, random: random, err: tt.err}, tt.length)
					in := e.Input()
					if read == nil {
						in = e.Clone().Input()
					} else if got, err := read(in); !errors.Is(err, tt.want) || !strings.HasPrefix(text, got) {
						t.Errorf("%s after %d bytes: %s: %d bytes, %v; want %v", tt.name, came, first, len(got), err, tt.want)
					}
					if _, err := again(in); !errors.Is(err, tt.want) {
						t.Errorf("%s after %d bytes: %s, then %s: %v; want %v", tt.name, came, first, then, err, tt.want)
					}
					if in.Len() == 0 {
						t.Errorf("%s after %d bytes: %s, then %s: nothing is left", tt.name, came, first, then)
					}
				}
			}
		}
	}
}

// Bytes that came before an error can be read.
func TestStreamBeforeError(t *testing.T) {
	src := io.MultiReader(strings.NewReader("line\npart"), iotest.ErrReader(errTest))
	in := streamInput(t, "", iotest.OneByteReader(src), -1)
	if line, err := in.ReadLine(0); string(line) != "line\n" || err != nil {
		t.Errorf("ReadLine = %q, %v", line, err)
	}
	if line, err := in.ReadLine(0); line != nil || err != errTest {
		t.Errorf("ReadLine of half a line = %q, %v", line, err)
	}
	if b, err := io.ReadAll(in); string(b) != "part" || err != errTest {
		t.Errorf("the rest: %q, %v", b, err)
	}
	lines, err := streamInput(t, "a\nb\nc", iotest.ErrReader(errTest), 5).ReadLines(0)
	if len(lines) != 2 || err != errTest {
		t.Errorf("ReadLines = %q, %v", lines, err)
	}
}

// A line is returned as soon as it has come: the source is not read again.
func TestStreamDoesNotWait(t *testing.T) {
	pieces := []string{"one\ntw", "o\n", "three"}
	asked := 0
	src := readerFunc(func(p []byte) (int, error) {
		if asked++; asked > len(pieces) {
			return 0, io.EOF
		}
		return copy(p, pieces[asked-1]), nil
	})
	in := streamInput(t, "zero\n", src, -1)
	for _, want := range []struct {
		line  string
		asked int
	}{{"zero\n", 0}, {"one\n", 1}, {"two\n", 2}, {"three", 4}} {
		if line, err := in.ReadLine(0); string(line) != want.line || err != nil || asked != want.asked {
			t.Errorf("ReadLine = %q, %v after %d reads; want %q after %d", line, err, asked, want.line, want.asked)
		}
	}
	asked = 0
	body := streamInput(t, "zero", src, -1).Body()
	for i, want := range []string{"zero", pieces[0], pieces[1], pieces[2]} {
		if b, err := body.Next(); string(b) != want || err != nil || asked != i {
			t.Errorf("Next = %q, %v after %d reads; want %q after %d", b, err, asked, want, i)
		}
	}
	if b, err := body.Next(); len(b) != 0 || err != io.EOF {
		t.Errorf("Next at the end = %q, %v", b, err)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A source that returns no bytes and no error does not hang the application.
func TestStreamWithoutProgress(t *testing.T) {
	in := streamInput(t, "", readerFunc(func([]byte) (int, error) { return 0, nil }), -1)
	if _, err := in.ReadLine(0); err != io.ErrNoProgress {
		t.Errorf("ReadLine: %v", err)
	}
}

// Memory after the content that came with the head is not written to.
func TestStreamLeavesServerMemory(t *testing.T) {
	r := parse(t, "POST / HTTP/1.1\r\nHost: h\r\n\r\nbegun|next request")
	end := r.head + len("begun")
	var e gateway.ServerEnviron
	e.Begin(&r.req, r.memory[:r.head], r.memory[r.head:end], r.host, r.conn) // with capacity behind it
	e.ContentStream(strings.NewReader("rest"), 4)
	if b, err := e.Input().ReadAll(); string(b) != "begunrest" || err != nil {
		t.Errorf("ReadAll = %q, %v", b, err)
	}
	if got := string(r.memory[end:]); got != "|next request" {
		t.Errorf("the server's memory became %q", got)
	}
}

// After End nothing is read, and the next request has nothing of this one.
func TestStreamEnds(t *testing.T) {
	for _, read := range []int{0, 3} {
		e := serverEnviron(t, smallGet)
		asked := 0
		e.ContentStream(readerFunc(func(p []byte) (int, error) { asked++; return copy(p, "content"), nil }), -1)
		in := e.Input()
		_, _ = in.Read(make([]byte, read))
		was := asked
		e.End()
		wantEnd(t, "after End", in)
		if asked != was {
			t.Error("the source was read after End")
		}
	}
}

// Clone and request both have the content, and neither changes the other's.
func TestStreamClone(t *testing.T) {
	random := rand.New(rand.NewPCG(13, 14))
	text := lines(200_000)
	e := serverEnviron(t, "POST / HTTP/1.1\r\nHost: h\r\n\r\n"+text[:1000])
	e.ContentStream(&ragged{t: t, text: text[1000:], random: random}, -1)
	line, _ := e.Input().ReadLine(10)
	c := e.Clone()
	again := c.Clone()
	want := text[len(line):]
	for name, e := range map[string]*gateway.Environ{"request": &e.Environ, "clone": c, "clone of the clone": again} {
		if n := e.Input().Len(); n != len(want) {
			t.Errorf("%s: Len = %d, want %d", name, n, len(want))
		}
		if b, err := io.ReadAll(e.Input()); string(b) != want || err != nil {
			t.Errorf("%s: %d bytes, %v; want %d", name, len(b), err, len(want))
		}
	}
}

// Reading lines, and WriteTo, need memory for one piece at a time, and none for a length that was only announced.
func TestStreamIsBounded(t *testing.T) {
	deep := &asked{r: strings.NewReader(strings.Repeat("x", 1<<20))}
	in := streamInput(t, "", deep, 1<<40)
	for range 100 {
		if b, err := in.ReadLine(10); len(b) != 10 || err != nil {
			t.Fatalf("ReadLine(10) = %q, %v", b, err)
		}
	}
	if deep.n > 64<<10 {
		t.Errorf("for 1000 bytes %d were read", deep.n)
	}
	for name, read := range reads {
		if read == nil {
			continue
		}
		largest := &asked{r: iotest.ErrReader(errTest)}
		if _, err := read(streamInput(t, "", largest, 1<<40)); err != errTest || largest.n > 64<<10 {
			t.Errorf("%s: %v; memory for %d bytes, and none had come", name, err, largest.n)
		}
	}
	body, n := streamInput(t, "", strings.NewReader(lines(1<<20)), -1).Body(), 0
	for {
		b, err := body.Next()
		if len(b) > 64<<10 {
			t.Fatalf("a chunk of %d bytes", len(b))
		}
		if n += len(b); err != nil {
			break
		}
	}
	if n != 1<<20 {
		t.Errorf("the body had %d bytes", n)
	}
}

// asked counts the bytes that Read was asked for.
type asked struct {
	r io.Reader
	n int
}

func (a *asked) Read(p []byte) (int, error) { a.n += len(p); return a.r.Read(p) }

// A Reader over content of unknown length has no length.
func TestReaderOfStream(t *testing.T) {
	body := gateway.Reader(streamInput(t, "", strings.NewReader("content"), -1))
	if _, ok := body.(gateway.Sized); ok {
		t.Error("it has a length")
	}
	if got := content(t, body); got != "content" {
		t.Errorf("got %q", got)
	}
}

func TestReadLines(t *testing.T) {
	for _, tt := range []struct {
		hint int
		want []string
	}{
		{0, []string{"one\ntwo\nthree"}},
		{-1, []string{"one\ntwo\nthree"}},
		{1, []string{"one\n", "two\n", "three"}},
		{4, []string{"one\n", "two\n", "three"}},
		{5, []string{"one\ntwo\n", "three"}},
		{100, []string{"one\ntwo\nthree"}},
	} {
		in := input(t, "one\ntwo\nthree")
		for _, want := range append(tt.want, "", "") {
			lines, err := in.ReadLines(tt.hint)
			if got := string(bytes.Join(lines, nil)); got != want || err != nil || len(lines) < strings.Count(want, "\n") {
				t.Errorf("ReadLines(%d) = %q, %v; want %q", tt.hint, lines, err, want)
			}
		}
	}
}

// After a break out of Lines the rest is unread.
func TestLinesLeft(t *testing.T) {
	in := input(t, "one\ntwo\nthree")
	for line, err := range in.Lines() {
		if string(line) != "one\n" || err != nil {
			t.Errorf("%q, %v", line, err)
		}
		break
	}
	if b, err := in.ReadAll(); string(b) != "two\nthree" || err != nil {
		t.Errorf("the rest is %q, %v", b, err)
	}
}

// Bytes that a writer has not taken stay in the Input, also when another request uses the block they were read
// into.
func TestWriteToKeepsTheRest(t *testing.T) {
	text := lines(100_000)
	in := fileInput(t, strings.NewReader(text), len(text))
	n, err := in.WriteTo(&failing{after: 70_000})
	if !errors.Is(err, errTest) {
		t.Errorf("WriteTo: %v", err)
	}
	for range 10 {
		other := strings.Repeat("#", 100_000)
		_, _ = fileInput(t, strings.NewReader(other), len(other)).WriteTo(io.Discard)
	}
	if b, err := in.ReadAll(); string(b) != text[n:] || err != nil {
		t.Errorf("the rest is %d bytes, %v, and not those that were left", len(b), err)
	}
}

// Limit allows n bytes, wherever they come from, and not one more.
func TestInputLimit(t *testing.T) {
	for _, known := range []bool{true, false} {
		for held := range 8 { // come with the head
			for n := range 8 {
				r := parse(t, smallGet)
				r.memory = append(r.memory, "content"[:held]...)
				e := new(gateway.ServerEnviron)
				r.begin(e)
				length := int64(-1)
				if known {
					length = int64(len("content") - held)
				}
				e.ContentStream(strings.NewReader("content"[held:]), length)
				ok := e.Input().Limit(int64(n), errTest)
				if known && ok != (n >= len("content")) || !known && !ok {
					t.Fatalf("known %v: Limit(%d) = %v", known, n, ok)
				}
				if !ok {
					continue
				}
				b, err := e.Input().ReadAll()
				if fits := n >= len("content"); fits && (err != nil || string(b) != "content") || !fits && err != errTest {
					t.Errorf("known %v, %d at once, limit %d: %q, %v", known, held, n, b, err)
				}
				if n < len("content") {
					if _, err := e.Input().Read(make([]byte, 1)); err == io.EOF {
						t.Errorf("limit %d: the end", n)
					}
				}
			}
		}
	}
}
