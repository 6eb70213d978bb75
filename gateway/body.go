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

// Bytes is a Body of one chunk, which is b itself: it must not change until the Body is closed.
func Bytes(b []byte) Sized { return &chunk{b: b} }

// Text is a Body of one chunk.
func Text(s string) Sized { return Bytes(bytesOf(s)) }

// Bytes returns a Body of one chunk, as gateway.Bytes does. The first Body of a request that Bytes
// or Text makes is a part of the Environ, and allocates nothing. b must not change until the Body is
// closed.
func (e *Environ) Bytes(b []byte) Sized {
	if e.bodyTaken { // a second Body of this request, such as that of an error page: the first may still be in use
		e.check()
		return Bytes(b)
	}
	e.bodyTaken = true
	e.chunk = chunk{b: b}
	return &e.chunk
}

// Text is Bytes for a string.
func (e *Environ) Text(s string) Sized { return e.Bytes(bytesOf(s)) }

// chunkList is a Body of several chunks.
type chunkList struct {
	list [][]byte
	next int
	n    int64
}

func (c *chunkList) Next() ([]byte, error) {
	if c.next == len(c.list) {
		return nil, io.EOF
	}
	c.next++
	if c.next == len(c.list) {
		return c.list[c.next-1], io.EOF
	}
	return c.list[c.next-1], nil
}

func (c *chunkList) Len() int64   { return c.n }
func (c *chunkList) Close() error { return nil }

// Chunks is a Body of several chunks, sent one by one. Neither list nor the chunks in it may change
// until the Body is closed.
func Chunks(list ...[]byte) Sized {
	c := &chunkList{list: list}
	for _, b := range list {
		c.n += int64(len(b))
	}
	return c
}

// Stream is a Body of the chunks that seq yields. An error other than [ErrWait] ends it: the
// response is aborted. If the Body is closed before its end, as when the client has disconnected,
// yield returns false, so that seq can clean up.
func Stream(seq iter.Seq2[[]byte, error]) Body { return &stream{seq: seq} }

type stream struct {
	seq  iter.Seq2[[]byte, error]
	next func() ([]byte, error, bool) // of iter.Pull2, from the first Next on
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
	s.done = err != nil && err != ErrWait
	return b, err
}

func (s *stream) Close() error {
	s.done = true
	if s.stop != nil {
		s.stop()
	}
	return nil
}

// readerChunkBytes is how much Reader reads at once: large enough that a system call for each chunk
// costs little per byte.
const readerChunkBytes = 32 << 10

// Reader is a Body that is read from r, in chunks of up to 32 KiB. If r has a method Len() int, as
// bytes.Reader, strings.Reader and bytes.Buffer have, the response has that length, unless it is
// negative. If r is an io.Closer, Close closes it.
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
	size int // of buf, in bytes
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

// bytesOf is a view of the bytes of s, which must not be written to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// textOf is a view of b, valid as long as b does not change.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Ready is a Body whose Next and Close wait for nothing but a disk: its content is there already,
// and it never returns [ErrWait]. A server that runs an application on a worker may pull and close
// such a Body on its event loop.
type Ready interface {
	Body
	Ready() // does nothing
}

// Ready is empty: the chunk is in memory.
func (c *chunk) Ready() {}

// Ready is empty: the chunks are in memory.
func (c *chunkList) Ready() {}

// Ready is empty: its Next waits for the disk only.
func (b *FileBody) Ready() {}
