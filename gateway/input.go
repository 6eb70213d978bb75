package gateway

import (
	"bytes"
	"fmt"
	"io"
)

// Input is the request's content (wsgi.input), decoded from its transfer coding.
// It ends with io.EOF after the content, and for ever after; bytes of the next
// request are never in it.
type Input struct {
	b []byte // what is left
}

// Len is the number of bytes left to read.
func (in *Input) Len() int { return len(in.b) }

// Read reads up to len(p) bytes.
func (in *Input) Read(p []byte) (int, error) {
	if len(in.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, in.b)
	in.b = in.b[n:]
	return n, nil
}

// ReadAll returns all that is left, as a view: read-only, valid until the
// response is finished.
func (in *Input) ReadAll() ([]byte, error) { return in.take(len(in.b)), nil }

// ReadLine returns the next line with its LF, as a view. A line longer than
// limit bytes comes in parts of that size; 0 means no limit. The last line may
// lack the LF. After it comes io.EOF.
func (in *Input) ReadLine(limit int) ([]byte, error) {
	if len(in.b) == 0 {
		return nil, io.EOF
	}
	n := bytes.IndexByte(in.b, '\n') + 1
	if n == 0 {
		n = len(in.b)
	}
	if limit > 0 {
		n = min(n, limit)
	}
	return in.take(n), nil
}

// WriteTo writes all that is left to w.
func (in *Input) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(in.b)
	if err == nil && n < len(in.b) {
		err = io.ErrShortWrite
	}
	in.b = in.b[n:]
	return int64(n), err
}

// String is for those who print an environ: it shows no content.
func (in *Input) String() string { return fmt.Sprintf("%d bytes of content", len(in.b)) }

func (in *Input) take(n int) []byte {
	b := in.b[:n:n]
	in.b = in.b[n:]
	return b
}
