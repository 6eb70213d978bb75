package gateway

import (
	"io"
	"os"
	"time"
)

// File is the rest of f, from its current offset on, as a Body (wsgi.file_wrapper).
// Close closes f. A regular file is a [FileBody], of the length that it has now; what
// has no size, such as a pipe, is read as [Reader] does.
func File(f *os.File) Body {
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		off, err := f.Seek(0, io.SeekCurrent)
		if n := info.Size() - off; err == nil && (n > 0 || atEOF(f, off)) {
			return FileRange(f, off, max(0, n))
		}
	}
	return Reader(f)
}

// ModTime is when a file was changed, if it says so: ok is false for a time before 1980-01-02,
// which is the same before and after the file was replaced. Reproducible builds set all times
// alike: Nix to 1 s after 1970, Bazel to 0, those with zip archives to 1980-01-01 in some time
// zone, the first day that zip has; embedded files have no time. A Last-Modified or an ETag of
// such a time would match for ever, also when the content is another.
func ModTime(info os.FileInfo) (t time.Time, ok bool) {
	t = info.ModTime()
	return t, !t.Before(earliestModTime)
}

var earliestModTime = time.Date(1980, 1, 2, 0, 0, 0, 0, time.UTC)

// ends reports whether there is nothing in f at off: the files of /proc say that their
// size is 0, and are not empty.
func atEOF(f *os.File, off int64) bool {
	_, err := f.ReadAt(make([]byte, 1), off)
	return err == io.EOF
}

// FileRange is n bytes of f from off as a Body, neither negative. Close closes f. A
// file that turns out to be shorter is an error, io.ErrUnexpectedEOF.
func FileRange(f *os.File, off, n int64) *FileBody {
	return &FileBody{file: f, off: off, left: n, total: n}
}

// Wrapper is a Body that hands on the chunks of another one as they are, and does
// something besides: it counts them, or learns of Close. Unwrap returns the other, and
// nil from when on the content is no longer that of the other.
//
// Only a Wrapper that says so itself is [Ready], whatever it wraps: its own Next or
// Close may wait, as that of a log. One of which a server takes the file is asked for
// no chunks, and closed where the server sends.
type Wrapper interface {
	Body
	Unwrap() Body
}

// FileOf returns the FileBody that body is, or hands on as it is (see Wrapper); nil
// if there is none.
func FileOf(body Body) *FileBody {
	switch body.(type) {
	case *chunk, *chunkList: // inlined, and no more than this for most responses
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

// FileBody is a range of a file as a Body. A server that gets it back from an
// application, by [FileOf], may send the Range by sendfile(2) in place of Next; it
// tells Advance what it has sent, and closes the Body that it got. Package server does so
// for a FileBody that comes back as it is; one that is wrapped it reads in chunks. Either
// way the disk is waited for where the kernel has not cached the file, on the goroutine
// that pulls it.
type FileBody struct {
	file      *os.File
	off, left int64
	total     int64
	block     *fileBlock // of the last chunk; nil until there is one
}

// Range is what is left to send: n bytes of f from off. f is the Body's, and is
// closed by its Close.
func (b *FileBody) Range() (f *os.File, off, n int64) { return b.file, b.off, b.left }

// Advance takes n bytes off the beginning of Range: they were sent without Next.
// For servers.
func (b *FileBody) Advance(n int64) {
	b.off += n
	b.left -= n
}

// Len is the length of the range, whatever has been read of it.
func (b *FileBody) Len() int64 { return b.total }

// Next reads the next 64 KiB.
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

// Close closes the file.
func (b *FileBody) Close() error {
	if b.block != nil {
		fileBlocks.Put(b.block)
		b.block = nil
	}
	return b.file.Close()
}
