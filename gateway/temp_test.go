package gateway_test

import (
	"errors"
	"log/slog"
	"os"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

// TempFile is that of the server, if it has one, else a file without a name.
func TestTempFile(t *testing.T) {
	dir := t.TempDir()
	f, err := environ(t, smallGet).TempFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 3)
	if _, err := f.WriteAt([]byte("abcdef"), 0); err != nil {
		t.Error(err)
	}
	if _, err := f.ReadAt(b, 2); err != nil || string(b) != "cde" {
		t.Errorf("%q, %v", b, err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("it has a name: %v, %v", names, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := f.ReadAt(b, 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := environ(t, smallGet).TempFile(dir + "/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}

	r := parse(t, smallGet)
	var asked string
	r.host = &gateway.ServerInfo{Scheme: "http", Log: slog.New(slog.DiscardHandler), TempFile: func(dir string) (gateway.TempFile, error) {
		asked = dir
		return nil, gateway.ErrTempSpace
	}}
	e := new(gateway.ServerEnviron)
	r.begin(e)
	if f, err := e.TempFile("d"); f != nil || err != gateway.ErrTempSpace || asked != "d" {
		t.Errorf("the server's: %v, %v, in %q", f, err, asked)
	}
}
