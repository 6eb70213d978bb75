package gateway

import (
	"io"
	"os"
)

// File is the rest of f, from its current offset on, as a Body (wsgi.file_wrapper). Close closes f. A
// regular file is a [FileBody], of the length that it has now; a file without a size, such as a pipe,
// is read as by [Reader].
func File(f *os.File) Body {
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		off, err := f.Seek(0, io.SeekCurrent)
		if n := info.Size() - off; err == nil && (n > 0 || atEOF(f, off)) { // /proc: size 0, and not empty
			return FileRange(f, off, max(0, n))
		}
	}
	return Reader(f)
}

// atEOF reports whether f has no byte at off.
func atEOF(f *os.File, off int64) bool {
	_, err := f.ReadAt(make([]byte, 1), off)
	return err == io.EOF
}

// FileRange is n bytes of f from off as a Body; neither is negative. Close closes f. If the file is
// shorter when it is sent, Next returns io.ErrUnexpectedEOF, and the response is cut.
func FileRange(f *os.File, off, n int64) *FileBody {
	return &FileBody{file: f, closer: f, off: off, left: n, total: n}
}

// SharedRange is FileRange of a file that several responses send at once: Close closes user in place of
// f, which stays open until then. The offset of f is not used, and must not be.
func SharedRange(f *os.File, off, n int64, user io.Closer) *FileBody {
	return &FileBody{file: f, closer: user, shared: true, off: off, left: n, total: n}
}

// Wrapper is a Body that passes on the chunks of another one unchanged, and does something besides: it
// counts them, or acts on Close. Unwrap returns the other Body, or nil if the content is no longer
// that of the other.
//
// A Wrapper of a [Ready] Body is Ready only if it has that method too: its own Next or Close may wait,
// as that of a log. A server that sends the file inside by itself calls no Next of the Wrapper, and its
// Close where it sends.
type Wrapper interface {
	Body
	Unwrap() Body
}

// FileOf returns the FileBody that body is, or wraps (see [Wrapper]); nil if there is none.
func FileOf(body Body) *FileBody {
	switch body.(type) {
	case *chunk, *chunkList: // most responses: this much is inlined
		return nil
	}
	return fileOf(body)
}

//go:noinline
func fileOf(body Body) *FileBody {
	for {
		switch b := body.(type) {
		case *FileBody:
			return b
		case Wrapper:
			body = b.Unwrap()
		default:
			return nil
		}
	}
}

// FileBody is a range of a file as a Body. A server that finds one in a response, by [FileOf], may
// send its Range by sendfile(2) instead of calling Next: it passes the bytes that it has sent to
// Advance, and closes the Body of the response. Either way a file that is not in the page cache is
// read from the disk on the goroutine that pulls it.
type FileBody struct {
	file      *os.File
	closer    io.Closer // what Close closes: file, unless it is shared
	shared    bool
	off, left int64
	total     int64
	block     *fileBlock // of the last chunk; nil before the first
}

// Range is what is left to send: n bytes of f from off. f belongs to the Body, and is open until its
// Close. If it is Shared read by pread(2) or sendfile(2) with an offset, which is always right.
func (b *FileBody) Range() (f *os.File, off, n int64) { return b.file, b.off, b.left }

// Shared reports whether other responses send the same open file: its own offset must not be used.
func (b *FileBody) Shared() bool { return b.shared }

// Advance takes n bytes off the beginning of Range, which a server has sent without Next.
func (b *FileBody) Advance(n int64) {
	b.off += n
	b.left -= n
}

// Len is the length of the whole range, in bytes, also when a part of it was read.
func (b *FileBody) Len() int64 { return b.total }

// Next reads the next chunk, of up to 64 KiB.
func (b *FileBody) Next() ([]byte, error) {
	if b.left == 0 {
		return nil, io.EOF
	}
	if b.block == nil {
		b.block = fileBlocks.Get().(*fileBlock)
	}
	n, err := b.file.ReadAt(b.block[:min(int64(len(b.block)), b.left)], b.off)
	b.Advance(int64(n))
	switch {
	case b.left == 0:
		err = io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return b.block[:n], err
}

// Close closes the file, or says that this Body no longer uses it (see [SharedRange]).
func (b *FileBody) Close() error {
	if b.block != nil {
		fileBlocks.Put(b.block)
		b.block = nil
	}
	return b.closer.Close()
}
