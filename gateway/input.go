package gateway

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"sync"
)

// Input is the request's content (wsgi.input), decoded from its transfer coding.
// It ends with io.EOF after the content, and for ever after; bytes of the next
// request are never in it.
//
// Content may be in memory or in a file of the server's. Every method reads
// both. An error of the file is returned: content that cannot be read never looks
// shorter than it is.
type Input struct {
	// What is left: b, and after it file[off:end].
	b        []byte
	file     io.ReaderAt // nil if all of it is in memory
	off, end int64

	total int64      // Len of the Body
	block *fileBlock // chunks of the Body; nil until they are read
}

// fileBlock is what is read from a file at once: large enough that the call is
// cheap by comparison, and all the memory that a Body of a file takes.
type fileBlock [64 << 10]byte

var fileBlocks = sync.Pool{New: func() any { return new(fileBlock) }}

// finish gives back what the content of one request had.
func (in *Input) finish() {
	in.b = nil
	if in.file != nil {
		in.giveBlock()
		*in = Input{}
	}
}

func (in *Input) giveBlock() {
	if in.block != nil {
		fileBlocks.Put(in.block)
		in.block = nil
	}
}

// Len is the number of bytes left to read.
func (in *Input) Len() int { return int(min(in.left(), math.MaxInt)) }

func (in *Input) left() int64 { return int64(len(in.b)) + in.end - in.off }

// Read reads up to len(p) bytes.
func (in *Input) Read(p []byte) (int, error) {
	switch {
	case len(in.b) > 0:
		n := copy(p, in.b)
		in.b = in.b[n:]
		return n, nil
	case in.off == in.end:
		return 0, io.EOF
	}
	return in.readFile(p)
}

// readFile fills p from the file, as far as there is content.
func (in *Input) readFile(p []byte) (int, error) {
	p = p[:min(int64(len(p)), in.end-in.off)]
	n, err := in.file.ReadAt(p, in.off)
	in.off += int64(n)
	switch {
	case n == len(p):
		err = nil
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// ReadAll returns all that is left in one piece, read-only: a view, valid until
// the response is finished, of content in memory, and as much new memory of
// content in a file. For content of any size there are Read, WriteTo and Body.
func (in *Input) ReadAll() ([]byte, error) {
	if in.off < in.end {
		if err := in.fetch(in.end - in.off); err != nil {
			return nil, err
		}
	}
	return in.take(len(in.b)), nil
}

// fetch moves n more bytes of the file behind b, in new memory: who holds a view
// of the old b keeps it.
func (in *Input) fetch(n int64) error {
	grown := make([]byte, int64(len(in.b))+n)
	got, err := in.readFile(grown[copy(grown, in.b):])
	in.b = grown[:len(in.b)+got]
	return err
}

// ReadLine returns the next line with its LF, read-only and valid until the
// response is finished. A line longer than limit bytes comes in parts of that
// size; 0 means no limit. The last line may lack the LF. After it comes io.EOF.
func (in *Input) ReadLine(limit int) ([]byte, error) {
	if in.left() == 0 {
		return nil, io.EOF
	}
	for searched := 0; ; {
		n := bytes.IndexByte(in.b[searched:], '\n') + 1
		switch {
		case n > 0:
			n += searched
		case in.off == in.end:
			n = len(in.b)
		case limit <= 0 || len(in.b) < limit:
			searched = len(in.b)
			more := max(len(fileBlock{}), len(in.b)) // doubles: a long line is copied a constant number of times
			if err := in.fetch(min(int64(more), in.end-in.off)); err != nil {
				return nil, err
			}
			continue
		default:
			n = limit
		}
		if limit > 0 {
			n = min(n, limit)
		}
		return in.take(n), nil
	}
}

// WriteTo writes all that is left to w.
func (in *Input) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(in.b)
	if err == nil && n < len(in.b) {
		err = io.ErrShortWrite
	}
	in.b = in.b[n:]
	if err != nil || in.off == in.end {
		return int64(n), err
	}
	block := fileBlocks.Get().(*fileBlock)
	defer fileBlocks.Put(block)
	written := int64(n)
	for in.off < in.end {
		got, err := in.readFile(block[:])
		n, writeErr := w.Write(block[:got])
		written += int64(n)
		in.off -= int64(got - n)
		switch {
		case writeErr != nil:
			return written, writeErr
		case n < got:
			return written, io.ErrShortWrite
		case err != nil:
			return written, err
		}
	}
	return written, nil
}

// Body returns all that is left as the Body of a response: as one view of content
// in memory, in chunks of at most 64 KiB of content in a file. It is a part of the
// Input, which is not to be used otherwise any more.
func (in *Input) Body() Sized {
	in.total = in.left()
	return (*inputBody)(in)
}

// inputBody is an Input as a Body.
type inputBody Input

func (b *inputBody) Len() int64 { return b.total }

func (b *inputBody) Next() ([]byte, error) {
	in := (*Input)(b)
	if in.off == in.end {
		return in.take(len(in.b)), io.EOF
	}
	if len(in.b) > 0 {
		return in.take(len(in.b)), nil
	}
	if in.block == nil {
		in.block = fileBlocks.Get().(*fileBlock)
	}
	n, err := in.readFile(in.block[:])
	if err == nil && in.off == in.end {
		err = io.EOF
	}
	return in.block[:n], err
}

func (b *inputBody) Close() error {
	(*Input)(b).giveBlock()
	return nil
}

// String is for those who print an environ: it shows no content.
func (in *Input) String() string { return fmt.Sprintf("%d bytes of content", in.left()) }

// clone is a copy of what is left, in memory.
func (in *Input) clone() Input {
	b := make([]byte, in.left())
	if rest := b[copy(b, in.b):]; len(rest) > 0 {
		if n, err := in.file.ReadAt(rest, in.off); n < len(rest) {
			return Input{file: unreadable{err}, end: int64(len(b))}
		}
	}
	return Input{b: b}
}

// unreadable is a file that could not be read.
type unreadable struct{ err error }

func (u unreadable) ReadAt([]byte, int64) (int, error) { return 0, u.err }

func (in *Input) take(n int) []byte {
	b := in.b[:n:n]
	in.b = in.b[n:]
	return b
}
