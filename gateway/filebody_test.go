package gateway_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

// openFile is a file with this content, at its beginning.
func openFile(t *testing.T, text string) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// A File is the rest of the file, whatever its size.
func TestFile(t *testing.T) {
	for _, size := range []int{0, 1, 100, 64<<10 - 1, 64 << 10, 64<<10 + 1, 300_000} {
		text := lines(size)
		for _, off := range []int{0, size / 2, size, size + 10} {
			f := openFile(t, text)
			if _, err := f.Seek(int64(off), io.SeekStart); err != nil {
				t.Fatal(err)
			}
			body, ok := gateway.File(f).(*gateway.FileBody)
			if !ok {
				t.Fatalf("%d bytes from %d: not a FileBody", size, off)
			}
			want := text[min(off, size):]
			if _, at, n := body.Range(); at != int64(off) || n != int64(len(want)) || body.Len() != n {
				t.Errorf("%d bytes from %d: Range is %d from %d, Len %d", size, off, n, at, body.Len())
			}
			if got := content(t, body); got != want || body.Len() != int64(len(want)) {
				t.Errorf("%d bytes from %d: got %d", size, off, len(got))
			}
			if b, err := body.Next(); len(b) > 0 || err != io.EOF {
				t.Errorf("Next at the end = %d bytes, %v", len(b), err)
			}
			if err := body.Close(); err != nil {
				t.Error(err)
			}
			if err := f.Close(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("Close did not close the file: %v", err)
			}
		}
	}
}

// A file without a size, or with a wrong one, is read to its end.
func TestFileWithoutSize(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.WriteString("through a pipe")
	_ = w.Close()
	body := gateway.File(r)
	if got := content(t, body); got != "through a pipe" || body.Close() != nil || !errors.Is(r.Close(), os.ErrClosed) {
		t.Errorf("a pipe gave %q", got)
	}
	if f, err := os.Open("/proc/self/status"); err == nil {
		body := gateway.File(f)
		if got := content(t, body); len(got) < 100 {
			t.Errorf("/proc/self/status gave %q", got)
		}
		_ = body.Close()
	}
}

// A file that has become shorter is an error, and bytes that were appended after the range are not sent.
func TestFileChanges(t *testing.T) {
	f := openFile(t, lines(200_000))
	body := gateway.File(f)
	if err := os.Truncate(f.Name(), 100_000); err != nil {
		t.Fatal(err)
	}
	if chunks, err := drain(body); err != io.ErrUnexpectedEOF {
		t.Errorf("%d chunks, %v; want %v", len(chunks), err, io.ErrUnexpectedEOF)
	}
	_ = body.Close()

	text := lines(100_000)
	f = openFile(t, text)
	body = gateway.File(f)
	if err := os.WriteFile(f.Name(), []byte(text+"more"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := content(t, body); got != text {
		t.Errorf("%d bytes, want %d", len(got), len(text))
	}
	_ = body.Close()
	if b, err := body.Next(); len(b) > 0 || err == nil {
		t.Errorf("Next after Close = %d bytes, %v", len(b), err)
	}
}

// Close of a SharedRange leaves the file open, and says that the Body no longer uses it.
func TestSharedRange(t *testing.T) {
	f := openFile(t, "0123456789")
	closed := 0
	users := []*gateway.FileBody{
		gateway.SharedRange(f, 2, 3, closer{&closed}), gateway.SharedRange(f, 5, 5, closer{&closed}),
	}
	for i, want := range []string{"234", "56789"} {
		if got := content(t, users[i]); got != want || !users[i].Shared() {
			t.Errorf("%q, want %q", got, want)
		}
		if err := users[i].Close(); err != nil || closed != i+1 {
			t.Errorf("%v, closed %d", err, closed)
		}
	}
	if body := gateway.FileRange(f, 0, 1); body.Shared() || body.Close() != nil {
		t.Error("FileRange is shared")
	}
}

type closer struct{ n *int }

func (c closer) Close() error {
	*c.n++
	return nil
}
