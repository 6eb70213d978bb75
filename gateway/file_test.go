package gateway_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/isbjorn/isbjorn/gateway"
)

// File gives what is unread, of a file of the system alone.
func TestInputFile(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("content"); err != nil {
		t.Fatal(err)
	}
	var e gateway.ServerEnviron
	e.ContentFrom(f, 7)
	if _, err := io.ReadFull(e.Input(), make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	if got, off, n := e.Input().File(); got != f || off != 3 || n != 4 {
		t.Errorf("%v, %d bytes from %d", got, n, off)
	}
	e.ContentFrom(strings.NewReader("content"), 7)
	if got, _, _ := e.Input().File(); got != nil {
		t.Errorf("a file of content in memory: %v", got)
	}
}

// fileInput is the Input of a request whose content is in file.
func fileInput(t testing.TB, file io.ReaderAt, size int) *gateway.Input {
	t.Helper()
	e := serverEnviron(t, smallGet)
	e.ContentFrom(file, int64(size))
	return e.Input()
}

// lines is n bytes with lines of all lengths up to 200,000, all different.
func lines(n int) string {
	random := rand.New(rand.NewPCG(3, 4))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + random.IntN(26))
	}
	for i := 0; i < n; i += 1 + random.IntN(1<<random.IntN(18)) {
		b[i] = '\n'
	}
	return string(b)
}

// Invariant: content in a file reads as in memory, for any order of calls.
func TestFileInputModel(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for round := range 100 {
		text := lines(random.IntN(400_000))
		memory, file := input(t, text), fileInput(t, strings.NewReader(text), len(text))
		for memory.Len() > 0 {
			var want, got []byte
			var wantErr, err error
			call := random.IntN(20)
			switch {
			case call < 8:
				limit := random.IntN(2) * random.IntN(100_000)
				want, wantErr = memory.ReadLine(limit)
				got, err = file.ReadLine(limit)
			case call < 17:
				want, got = make([]byte, random.IntN(100_000)), make([]byte, 100_000)
				var n int
				n, wantErr = memory.Read(want)
				want = want[:n]
				got = got[:n]
				_, err = io.ReadFull(file, got) // which may come in two
			case call == 17:
				want, wantErr = memory.ReadAll()
				got, err = file.ReadAll()
			case call == 18:
				var b bytes.Buffer
				want, wantErr = memory.ReadAll()
				_, err = file.WriteTo(&b)
				got = b.Bytes()
			default:
				want, wantErr = memory.ReadAll()
				if n := file.Body().(gateway.Sized).Len(); n != int64(len(want)) {
					t.Errorf("Body has Len %d, want %d", n, len(want))
				}
				got = []byte(content(t, file.Body()))
			}
			if !bytes.Equal(got, want) || err != wantErr || file.Len() != memory.Len() || file.String() != memory.String() {
				t.Fatalf("round %d, call %d: %d bytes, %v, then %v; want %d bytes, %v, then %v", round, call, len(got), err, file, len(want), wantErr, memory)
			}
		}
		wantEnd(t, "file", file)
	}
}

func TestFileInputAsReader(t *testing.T) {
	for _, n := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 200_000} {
		text := lines(n)
		if err := iotest.TestReader(fileInput(t, strings.NewReader(text), n), []byte(text)); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// Bytes of a file after the content are not content.
func TestFileInputEnds(t *testing.T) {
	if b, err := io.ReadAll(fileInput(t, strings.NewReader("content and more"), 7)); string(b) != "content" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
}

// Lines stay valid while the next ones are read.
func TestFileInputViews(t *testing.T) {
	text := lines(500_000)
	in := fileInput(t, strings.NewReader(text), len(text))
	var all [][]byte
	for in.Len() > 0 {
		line, err := in.ReadLine(0)
		if err != nil || cap(line) != len(line) {
			t.Fatalf("ReadLine: %v, len %d, cap %d", err, len(line), cap(line))
		}
		all = append(all, line)
	}
	if string(bytes.Join(all, nil)) != text {
		t.Error("the lines have changed")
	}
}

// A body of a file comes in chunks of bounded size, and takes no memory of its own
// for each request.
func TestFileBodyIsBounded(t *testing.T) {
	text := lines(1 << 20)
	file := strings.NewReader(text)
	e := serverEnviron(t, smallGet)
	pull := func() {
		e.ContentFrom(file, int64(len(text)))
		body, n := e.Input().Body(), 0
		for {
			b, err := body.Next()
			if len(b) > 64<<10 {
				t.Fatalf("a chunk of %d bytes", len(b))
			}
			if n += len(b); err != nil {
				break
			}
		}
		if n != len(text) || body.Close() != nil {
			t.Fatalf("%d bytes", n)
		}
	}
	pull()
	if n := testing.AllocsPerRun(20, pull); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A part of a long line does not take memory for all of it.
func TestFileLinesAreBounded(t *testing.T) {
	file := &deepest{Reader: strings.NewReader(strings.Repeat("x", 1<<20))}
	in := fileInput(t, file, 1<<20)
	for range 100 {
		if b, err := in.ReadLine(10); len(b) != 10 || err != nil {
			t.Fatalf("ReadLine(10) = %q, %v", b, err)
		}
	}
	if file.end > 64<<10 {
		t.Errorf("for 1000 bytes %d were read", file.end)
	}
}

// deepest notes how far a file was read.
type deepest struct {
	*strings.Reader
	end int64
}

func (d *deepest) ReadAt(p []byte, off int64) (int, error) {
	d.end = max(d.end, off+int64(len(p)))
	return d.Reader.ReadAt(p, off)
}

// broken is a file that ends, or fails, before its size.
type broken struct {
	text string
	err  error
}

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if off < int64(len(b.text)) {
		n = copy(p, b.text[off:])
	}
	if n < len(p) {
		return n, b.err
	}
	return n, nil
}

// Content that cannot be read ends with an error.
func TestFileInputFails(t *testing.T) {
	for _, tt := range []struct{ is, want error }{{errTest, errTest}, {io.EOF, io.ErrUnexpectedEOF}} {
		for _, n := range []int{0, 1, 70_000} {
			file := broken{strings.Repeat("x", n), tt.is}
			for name, read := range map[string]func(in *gateway.Input) error{
				"Read":     func(in *gateway.Input) error { _, err := io.ReadAll(in); return err },
				"ReadAll":  func(in *gateway.Input) error { _, err := in.ReadAll(); return err },
				"ReadLine": func(in *gateway.Input) error { _, err := in.ReadLine(0); return err },
				"WriteTo":  func(in *gateway.Input) error { _, err := in.WriteTo(io.Discard); return err },
				"Body": func(in *gateway.Input) error {
					body := in.Body()
					for {
						if _, err := body.Next(); err != nil {
							return err
						}
					}
				},
			} {
				if err := read(fileInput(t, file, 100_000)); !errors.Is(err, tt.want) {
					t.Errorf("%s of %d bytes that should be more: %v, want %v", name, n, err, tt.want)
				}
				e := serverEnviron(t, smallGet)
				e.ContentFrom(file, 100_000)
				if err := read(e.Clone().Input()); !errors.Is(err, tt.want) {
					t.Errorf("%s of a clone, %d bytes that should be more: %v, want %v", name, n, err, tt.want)
				}
			}
		}
	}
	in := fileInput(t, strings.NewReader(lines(100_000)), 100_000)
	if n, err := in.WriteTo(&failing{after: 70_000}); !errors.Is(err, errTest) || int(n) != 100_000-in.Len() {
		t.Errorf("WriteTo a failing writer: %d, %v, %d left", n, err, in.Len())
	}
	in = fileInput(t, strings.NewReader(lines(100_000)), 100_000)
	if n, err := in.WriteTo(short{}); err != io.ErrShortWrite || int(n) != 100_000-in.Len() {
		t.Errorf("WriteTo a short writer: %d, %v, %d left", n, err, in.Len())
	}
}

// A clone has the unread content, and does not need the file.
func TestFileInputClone(t *testing.T) {
	text := lines(300_000)
	e := serverEnviron(t, smallGet)
	e.ContentFrom(strings.NewReader(text), int64(len(text)))
	line, _ := e.Input().ReadLine(0)
	c := e.Clone()
	e.End()
	if n := e.Input().Len(); n != 0 {
		t.Errorf("after End %d bytes can be read", n)
	}
	if b, err := io.ReadAll(c.Input()); string(b) != text[len(line):] || err != nil {
		t.Errorf("the clone has %d bytes, %v; want %d", len(b), err, len(text)-len(line))
	}
}
