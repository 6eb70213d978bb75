package gateway

import (
	"io"
	"iter"
	"unsafe"
)

// chunk is a Body of one chunk.
type chunk struct {
	b    []byte
	used bool
}

func (c *chunk) Next() ([]byte, error) {
	if c.used {
		return nil, io.EOF
	}
	c.used = true
	return c.b, io.EOF
}

func (c *chunk) Len() int64   { return int64(len(c.b)) }
func (c *chunk) Close() error { return nil }

// Bytes is a Body of one chunk. b must not change until the Body is closed.
func Bytes(b []byte) Sized { return &chunk{b: b} }

// Text is a Body of one chunk.
func Text(s string) Sized { return Bytes(bytesOf(s)) }

// Bytes returns a Body of one chunk without allocating: it is a part of the
// Environ, and the first one asked for. b must not change until it is closed.
func (e *Environ) Bytes(b []byte) Sized {
	if e.lent { // the application has both: the pooled one can be only one of them
		e.check()
		return Bytes(b)
	}
	e.lent = true
	e.chunk = chunk{b: b}
	return &e.chunk
}

// Text is Bytes for a string.
func (e *Environ) Text(s string) Sized { return e.Bytes(bytesOf(s)) }

// Stream is a Body of the chunks that seq yields. An error ends it: the response
// is aborted. If the Body is closed before its end (the client left) yield
// returns false, so that seq can clean up.
func Stream(seq iter.Seq2[[]byte, error]) Body { return &stream{seq: seq} }

type stream struct {
	seq  iter.Seq2[[]byte, error]
	next func() ([]byte, error, bool) // seq as a coroutine, once it was asked
	stop func()
	done bool // ended, failed or closed
}

func (s *stream) Next() ([]byte, error) {
	if s.done {
		return nil, io.EOF
	}
	if s.next == nil {
		s.next, s.stop = iter.Pull2(s.seq)
	}
	b, err, ok := s.next()
	if !ok {
		err = io.EOF
	}
	s.done = err != nil
	return b, err
}

func (s *stream) Close() error {
	s.done = true
	if s.stop != nil {
		s.stop()
	}
	return nil
}

// readerChunkBytes is how much Reader reads at once: large enough that the call
// to send it is cheap by comparison.
const readerChunkBytes = 32 << 10

// Reader is a Body that is read from r. If r has a method Len() int (as
// bytes.Reader, strings.Reader and bytes.Buffer have), the response has that
// length, unless it is negative. If r is an io.Closer, Close closes it.
func Reader(r io.Reader) Body {
	body := &reader{r: r, size: readerChunkBytes}
	if l, ok := r.(interface{ Len() int }); ok && l.Len() >= 0 {
		body.size = max(1, min(body.size, l.Len()))
		return &sizedReader{reader: body, n: int64(l.Len())}
	}
	return body
}

type reader struct {
	r    io.Reader
	size int // of buf
	buf  []byte
}

func (r *reader) Next() ([]byte, error) {
	if r.buf == nil {
		r.buf = make([]byte, r.size)
	}
	n, err := r.r.Read(r.buf)
	return r.buf[:n], err
}

func (r *reader) Close() error {
	if c, ok := r.r.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

type sizedReader struct {
	*reader
	n int64
}

func (r *sizedReader) Len() int64 { return r.n }

// bytesOf is a view of s. It must not be written to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// textOf is a view of b, good as long as b does not change.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
