package gateway

import (
	"io"
	"os"
)

// File is the rest of f, from its current offset on, as a Body (wsgi.file_wrapper).
// Close closes f. A regular file is a [FileBody], whose length is known and which a
// server may send without reading it; what has no size, such as a pipe, is read as
// [Reader] does.
func File(f *os.File) Body {
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > 0 { // 0 also means that nobody knows, as under /proc
		if off, err := f.Seek(0, io.SeekCurrent); err == nil {
			return FileRange(f, off, max(0, info.Size()-off))
		}
	}
	return Reader(f)
}

// FileRange is n bytes of f from off as a Body. Close closes f. A file that turns
// out to be shorter is an error, io.ErrUnexpectedEOF.
func FileRange(f *os.File, off, n int64) *FileBody {
	return &FileBody{file: f, off: off, left: n, total: n}
}

// FileBody is a range of a file as a Body. A server that gets this very object back
// may send the range by sendfile(2); wrapped into another Body it is read in chunks.
type FileBody struct {
	file      *os.File
	off, left int64
	total     int64
	block     *fileBlock // of the last chunk; nil until there is one
}

// Range is what is left to send: n bytes of f from off. f is the Body's, and is
// closed by its Close.
func (b *FileBody) Range() (f *os.File, off, n int64) { return b.file, b.off, b.left }

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
	b.off += int64(n)
	b.left -= int64(n)
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
