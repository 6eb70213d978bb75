package gateway

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"sync"
)

// Input is the content of the request (wsgi.input), decoded from its transfer coding. After the
// content each read returns io.EOF; bytes of the next request are never in it.
//
// Content may be in memory, in a temporary file of the server, or come while the application reads.
// Every method reads all three, and waits for what has not come. An error of the file or of the client
// sticks: each call returns it once what came before it is read. Content that is cut ends with an
// error such as io.ErrUnexpectedEOF, never with io.EOF.
type Input struct {
	// The unread content: b, and after it what comes from file or else from src.
	b         []byte
	file      io.ReaderAt
	off       int64 // in file
	src       io.Reader
	remaining int64 // bytes in file or src; unknownLength for src of chunked content
	err       error // of file or src

	guard   *guard     // of the Environ
	bodyLen int64      // Len of the Body, in bytes
	block   *fileBlock // chunk of the Body; nil before the first
}

// unknownLength is the length of chunked content until its last chunk has come.
const unknownLength = -1

// fileBlock is what is read from a file at once, and all the memory that a Body of a file takes: large
// enough that a system call for each costs little per byte.
type fileBlock [64 << 10]byte

var fileBlocks = sync.Pool{New: func() any { return new(fileBlock) }}

// fetchRoomMin is the least free room in b for a read from a source, in bytes: with less a new array
// is made.
const fetchRoomMin = 512

// release drops the content of one request.
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

// Len is the number of unread bytes; -1 while it is unknown, for chunked content that still comes.
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

// Limit reports whether at most n bytes are unread. Where that is unknown (Len is -1) it reports true,
// and a read beyond the next n bytes returns err.
func (in *Input) Limit(n int64, err error) bool {
	if left := in.unread(); left != unknownLength {
		return left <= n
	}
	in.src = &limitedReader{in.src, n - int64(len(in.b)), err} // chunked content: counted while it comes
	return true
}

// limitedReader is a source of at most left bytes; a read beyond them returns err.
type limitedReader struct {
	src  io.Reader
	left int64 // negative when more has come
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

// Read reads up to len(p) bytes. It waits until there is at least one.
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
		err = io.EOF // chunked content: the last chunk has just come
	}
	return n, err
}

// readMore reads from the file or the source: at least one byte, unless it returns an error or the
// content ends. It keeps the error in err.
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
	case in.remaining > 0: // a file, or a Content-Length
		if in.remaining -= int64(n); in.remaining == 0 {
			err = nil // all bytes are there: an error after them does not matter
		} else if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
	case err == io.EOF: // the last chunk: now the length is known
		in.remaining, err = 0, nil
	}
	if n == 0 && err == nil && in.remaining != 0 {
		err = io.ErrNoProgress
	}
	in.err = err
	return n, err
}

// File returns the open file that has the unread content, n bytes from off on, where all of it is in one; else nil.
// The file is the server's, and valid until the response is finished; its own offset must not be used.
func (in *Input) File() (f *os.File, off, n int64) {
	if f, ok := in.file.(*os.File); ok && len(in.b) == 0 && in.err == nil {
		return f, in.off, in.remaining
	}
	return nil, 0, 0
}

// Coming reports whether content is still to come, so that a read may wait for the client.
func (in *Input) Coming() bool { return in.src != nil && in.remaining != 0 && in.err == nil }

// ReadAll returns the unread content in one piece, read-only, valid until the response is finished. It
// is a view of content in memory; for other content it allocates memory for all of it. Content of any
// size is for Read, WriteTo and Body.
func (in *Input) ReadAll() ([]byte, error) {
	if in.file != nil && in.remaining > 0 {
		in.grow(int(in.remaining)) // the size is known: one array, one read
	}
	for in.remaining != 0 {
		if err := in.fetch(); err != nil {
			return nil, err
		}
	}
	return in.consume(len(in.b)), nil
}

// fetch appends more content to b. Views of b stay valid. The array doubles with the bytes that have
// come, not with the announced length: a Content-Length of 1 GB costs a client nothing and must cost
// no memory here, and a long line is copied a constant number of times per byte.
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

// grow moves b to a new array with room for n bytes more.
func (in *Input) grow(n int) {
	in.b = append(make([]byte, 0, len(in.b)+n), in.b...)
	if in.guard != nil {
		in.guard.track(in.b[:cap(in.b)])
	}
}

// ReadLine returns the next line with its LF, read-only, valid until the response is finished. A line
// longer than limit bytes comes in parts of that size; 0 is no limit. The last line may lack the LF.
// After it the error is io.EOF.
func (in *Input) ReadLine(limit int) ([]byte, error) {
	for searched := 0; ; {
		n := bytes.IndexByte(in.b[searched:], '\n') + 1
		switch {
		case n > 0:
			n += searched
		case in.remaining == 0: // the last line, without LF
			n = len(in.b)
		case limit <= 0 || len(in.b) < limit:
			searched = len(in.b) // no LF up to here: the next search begins there
			if err := in.fetch(); err != nil {
				return nil, err
			}
			continue
		default: // a part of a line longer than limit
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

// ReadLines returns the next lines, as ReadLine does, until together they have at least hint bytes; 0
// is all of them. At the end of the content it returns no lines and no error. An error comes with the
// lines before it.
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

// Lines yields the unread lines, as ReadLine does. An error comes last; the end of the content is no
// error.
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

// WriteTo writes the unread content to w, each piece as it comes.
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
				in.b = bytes.Clone(in.b) // what w did not take, out of the block that goes back
				fileBlocks.Put(block)
			}
			return written, err
		}
		if block == nil {
			block = fileBlocks.Get().(*fileBlock)
		}
		n, _ = in.readMore(block[:]) // its error is in.err, for after the write
		in.b = block[:n:n]
	}
}

// Body returns the unread content as the Body of a response: content in memory as one view, other
// content in chunks of at most 64 KiB as it comes. It is Sized if Len is known. It is a part of the
// Input, of which no other method may be called any more.
func (in *Input) Body() Body {
	if in.bodyLen = in.unread(); in.bodyLen == unknownLength {
		return (*inputBody)(in)
	}
	return (*sizedInputBody)(in)
}

// inputBody is an Input as a Body, of unknown length.
type inputBody Input

func (b *inputBody) Next() ([]byte, error) {
	in := (*Input)(b)
	if in.remaining == 0 {
		return in.consume(len(in.b)), io.EOF // with the end: a response of one chunk is one write
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

// String is for environs that are printed: it shows no content.
func (in *Input) String() string {
	if in.remaining == unknownLength {
		return "content of unknown length"
	}
	return fmt.Sprintf("%d bytes of content", in.unread())
}

// clone is a copy of the unread content, in memory. in keeps the content too: where clone has read it
// from a file or a source it moves to in.b.
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
