package gateway

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"math"
	"sync"
)

// Input is the request's content (wsgi.input), decoded from its transfer coding.
// It ends with io.EOF after the content, and for ever after; bytes of the next
// request are never in it.
//
// Content may be in memory, in a file of the server's, or come while the
// application reads. Every method reads all three, and waits for what has not come.
// An error of a file or of the client sticks: each call returns it from then on,
// once what had come before it is read. Content that is not whole never looks
// shorter than it is.
type Input struct {
	// What is left: b, and after it what comes from file or else from src.
	b         []byte
	file      io.ReaderAt
	off       int64 // in file
	src       io.Reader
	remaining int64 // what file or src still has; unknown for src of chunked content
	err       error // of file or src

	lease   *guard     // of the Environ
	bodyLen int64      // Len of the Body
	block   *fileBlock // chunks of the Body; nil until they are read
}

// unknown is the length of content that says by its end how long it was.
const unknownLength = -1

// fileBlock is what is read from a file at once: large enough that the call is
// cheap by comparison, and all the memory that a Body of a file takes.
type fileBlock [64 << 10]byte

var fileBlocks = sync.Pool{New: func() any { return new(fileBlock) }}

// fetchBytesMin is the room that has to be there for a read from a source: less is
// not worth the call.
const fetchRoomMin = 512

// finish gives back what the content of one request had.
func (in *Input) release() {
	in.b = nil
	if in.file != nil || in.src != nil || in.err != nil {
		in.reset()
	}
}

func (in *Input) reset() {
	in.releaseBlock()
	*in = Input{}
}

func (in *Input) releaseBlock() {
	if in.block != nil {
		fileBlocks.Put(in.block)
		in.block = nil
	}
}

// Len is the number of bytes left to read; -1 while nobody knows, as the length of
// chunked content that still comes.
func (in *Input) Len() int { return int(min(in.unread(), math.MaxInt)) }

func (in *Input) unread() int64 {
	if in.remaining == unknownLength {
		if g, ok := in.src.(*guard); ok {
			g.panicExpired()
		}
		return unknownLength
	}
	return int64(len(in.b)) + in.remaining
}

// Limit reports whether no more than n bytes are left to read. Where nobody knows yet
// (Len is -1) it reports true, and reading beyond n bytes from here is the error err.
func (in *Input) Limit(n int64, err error) bool {
	if left := in.unread(); left != unknownLength {
		return left <= n
	}
	in.src = &limitedReader{in.src, n - int64(len(in.b)), err}
	return true
}

// limited is a source with a limit.
type limitedReader struct {
	src  io.Reader
	left int64 // may be read; negative when more has come
	err  error
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left >= 0 {
		n, err := l.src.Read(p[:min(int64(len(p)), l.left+1)]) // one more shows that there is more
		if l.left -= int64(n); l.left >= 0 {
			return n, err
		}
	}
	return 0, l.err
}

// Read reads up to len(p) bytes. It waits for the first of them only.
func (in *Input) Read(p []byte) (int, error) {
	switch {
	case len(in.b) > 0:
		n := copy(p, in.b)
		in.b = in.b[n:]
		return n, nil
	case in.remaining == 0:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	n, err := in.readMore(p)
	if n == 0 && err == nil {
		err = io.EOF // which was not known before
	}
	return n, err
}

// more reads from the file or the source, at least one byte unless there is an
// error or none is left. It keeps the error.
func (in *Input) readMore(p []byte) (n int, err error) {
	if in.err != nil || in.remaining == 0 {
		return 0, in.err
	}
	if in.remaining > 0 {
		p = p[:min(int64(len(p)), in.remaining)]
	}
	if in.file != nil {
		n, err = in.file.ReadAt(p, in.off)
		in.off += int64(n)
	} else {
		n, err = in.src.Read(p)
	}
	switch {
	case in.remaining > 0:
		if in.remaining -= int64(n); in.remaining == 0 {
			err = nil // all of it is there
		} else if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
	case err == io.EOF:
		in.remaining, err = 0, nil
	}
	if n == 0 && err == nil && in.remaining != 0 {
		err = io.ErrNoProgress
	}
	in.err = err
	return n, err
}

// ReadAll returns all that is left in one piece, read-only: a view, valid until
// the response is finished, of content in memory, and as much new memory of
// other content. For content of any size there are Read, WriteTo and Body.
func (in *Input) ReadAll() ([]byte, error) {
	if in.file != nil && in.remaining > 0 {
		in.grow(int(in.remaining)) // in one read
	}
	for in.remaining != 0 {
		if err := in.fetch(); err != nil {
			return nil, err
		}
	}
	return in.consume(len(in.b)), nil
}

// fetch reads more behind b. Views of b stay as they are. The buffer doubles with
// the bytes that come, whatever length was announced, so a long line is copied a
// constant number of times.
func (in *Input) fetch() error {
	room := cap(in.b) - len(in.b)
	if room < fetchRoomMin && (in.remaining == unknownLength || int64(room) < in.remaining) {
		more := int64(max(len(fileBlock{}), len(in.b)))
		if in.remaining > 0 {
			more = min(more, in.remaining)
		}
		in.grow(int(more))
	}
	n, err := in.readMore(in.b[len(in.b):cap(in.b)])
	in.b = in.b[:len(in.b)+n]
	return err
}

// grow moves b to new memory with room for n bytes more.
func (in *Input) grow(n int) {
	in.b = append(make([]byte, 0, len(in.b)+n), in.b...)
	if in.lease != nil {
		in.lease.track(in.b[:cap(in.b)])
	}
}

// ReadLine returns the next line with its LF, read-only and valid until the
// response is finished. A line longer than limit bytes comes in parts of that
// size; 0 means no limit. The last line may lack the LF. After it comes io.EOF.
func (in *Input) ReadLine(limit int) ([]byte, error) {
	for searched := 0; ; {
		n := bytes.IndexByte(in.b[searched:], '\n') + 1
		switch {
		case n > 0:
			n += searched
		case in.remaining == 0:
			n = len(in.b)
		case limit <= 0 || len(in.b) < limit:
			searched = len(in.b)
			if err := in.fetch(); err != nil {
				return nil, err
			}
			continue
		default:
			n = limit
		}
		if n == 0 {
			return nil, io.EOF
		}
		if limit > 0 {
			n = min(n, limit)
		}
		return in.consume(n), nil
	}
}

// ReadLines returns the next lines as ReadLine does, until they have hint bytes
// together; 0 means all that are left. At the end there are none, and no error.
// With an error come the lines before it.
func (in *Input) ReadLines(hint int) (lines [][]byte, err error) {
	for n := 0; hint <= 0 || n < hint; {
		line, err := in.ReadLine(0)
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return lines, err
		}
		lines = append(lines, line)
		n += len(line)
	}
	return lines, nil
}

// Lines yields the lines that are left as ReadLine does. An error is the last that
// it yields; the end of the content is none.
func (in *Input) Lines() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for {
			line, err := in.ReadLine(0)
			if err == io.EOF || !yield(line, err) || err != nil {
				return
			}
		}
	}
}

// WriteTo writes all that is left to w, each piece when it has come.
func (in *Input) WriteTo(w io.Writer) (written int64, err error) {
	var block *fileBlock
	for {
		var n int
		if len(in.b) > 0 {
			n, err = w.Write(in.b)
		}
		if err == nil && n < len(in.b) {
			err = io.ErrShortWrite
		}
		written += int64(n)
		in.b = in.b[n:]
		if err == nil {
			err = in.err
		}
		if err != nil || in.remaining == 0 {
			if block != nil {
				in.b = bytes.Clone(in.b) // what w did not take
				fileBlocks.Put(block)
			}
			return written, err
		}
		if block == nil {
			block = fileBlocks.Get().(*fileBlock)
		}
		n, _ = in.readMore(block[:])
		in.b = block[:n:n]
	}
}

// Body returns all that is left as the Body of a response: as one view of content
// in memory, in chunks of at most 64 KiB of other content, each when it has come.
// It is Sized if Len is known. It is a part of the Input, which is not to be used
// otherwise any more.
func (in *Input) Body() Body {
	if in.bodyLen = in.unread(); in.bodyLen == unknownLength {
		return (*inputBody)(in)
	}
	return (*sizedInputBody)(in)
}

// inputBody is an Input as a Body.
type inputBody Input

func (b *inputBody) Next() ([]byte, error) {
	in := (*Input)(b)
	if in.remaining == 0 {
		return in.consume(len(in.b)), io.EOF
	}
	if len(in.b) > 0 {
		return in.consume(len(in.b)), nil
	}
	if in.block == nil {
		in.block = fileBlocks.Get().(*fileBlock)
	}
	n, err := in.readMore(in.block[:])
	if err == nil && in.remaining == 0 {
		err = io.EOF
	}
	return in.block[:n], err
}

func (b *inputBody) Close() error {
	(*Input)(b).releaseBlock()
	return nil
}

// sizedInputBody is an Input whose length is known.
type sizedInputBody Input

func (b *sizedInputBody) Next() ([]byte, error) { return (*inputBody)(b).Next() }
func (b *sizedInputBody) Close() error          { return (*inputBody)(b).Close() }
func (b *sizedInputBody) Len() int64            { return b.bodyLen }

// String is for those who print an environ: it shows no content.
func (in *Input) String() string {
	if in.remaining == unknownLength {
		return "content of unknown length"
	}
	return fmt.Sprintf("%d bytes of content", in.unread())
}

// clone is a copy of what is left, in memory. What it had to fetch in has, too.
func (in *Input) clone() Input {
	if b, err := in.ReadAll(); err == nil {
		in.b = b
	}
	return Input{b: bytes.Clone(in.b), remaining: in.remaining, err: in.err}
}

func (in *Input) consume(n int) []byte {
	b := in.b[:n:n]
	in.b = in.b[n:]
	return b
}
