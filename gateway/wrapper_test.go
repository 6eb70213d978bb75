package gateway_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

type wrapper struct{ gateway.Body }

func (w wrapper) Unwrap() gateway.Body { return w.Body }

// FileOf finds a file in Wrappers, and in no other Body. Bytes that Advance has skipped are not read.
func TestFileOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	file := gateway.FileRange(f, 1, 8)
	for name, body := range map[string]gateway.Body{"itself": file, "wrapped": wrapper{file}, "wrapped twice": wrapper{wrapper{file}}} {
		if gateway.FileOf(body) != file {
			t.Errorf("%s: not seen", name)
		}
	}
	for name, body := range map[string]gateway.Body{"nil": nil, "text": gateway.Text("x"), "wrapped text": wrapper{gateway.Text("x")}, "no wrapper": struct{ gateway.Body }{file}, "wrapped nil": wrapper{}} {
		if got := gateway.FileOf(body); got != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	file.Advance(3)
	if _, off, n := file.Range(); off != 4 || n != 5 || file.Len() != 8 {
		t.Errorf("after 3 bytes of 8 from 1: %d from %d, Len %d", n, off, file.Len())
	}
	if b, err := file.Next(); string(b) != "45678" {
		t.Errorf("the rest is %q, %v", b, err)
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
}
