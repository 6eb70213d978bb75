package gateway_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

// flushes counts its calls of Flush.
type flushes struct {
	io.Writer
	n int
}

func (f *flushes) Flush() error { f.n++; return nil }

// A writer that can flush can do so behind Validate and Debug, as long as the response
// lasts; another one says that it cannot.
func TestFlush(t *testing.T) {
	for name, wrap := range map[string]gateway.Middleware{"Validate": gateway.Validate, "Debug": gateway.Debug} {
		f := &flushes{Writer: io.Discard}
		for _, inner := range []io.Writer{f, new(bytes.Buffer)} {
			var w io.Writer
			app := wrap(gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (_ gateway.Body, err error) {
				if w, err = start("200 OK", nil, nil); err == nil {
					err = gateway.Flush(w)
				}
				return nil, err
			}))
			_, err := app.Serve(environ(t, smallGet), func(string, []gateway.Header, error) (io.Writer, error) { return inner, nil })
			if can := inner == f; can != (err == nil) || can == errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%s: Flush of a %T: %v", name, inner, err)
			}
			if err := gateway.Flush(w); err == nil || !strings.Contains(err.Error(), "start and its writer end with the response") {
				t.Errorf("%s: Flush after the end: %v", name, err)
			}
		}
		if f.n != 1 {
			t.Errorf("%s: flushed %d times, want 1", name, f.n)
		}
	}
}
