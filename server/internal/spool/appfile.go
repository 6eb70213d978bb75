package spool

import (
	"cmp"
	"os"
	"sync"
)

// AppFile is a temporary file of an application, such as one of a form. Its bytes come from the same
// account as those of content. Any goroutine may use it.
type AppFile struct {
	File
	space *Space
	full  error // of WriteAt where there is no room

	mu     sync.Mutex
	size   int64
	closed bool
}

// OpenForApp makes one in dir; "" is the directory of the options. full is the error of WriteAt where
// the account has no room.
func (o *Options) OpenForApp(dir string, full error) (*AppFile, error) {
	file, err := o.Open(cmp.Or(dir, o.Dir))
	if err != nil {
		return nil, err
	}
	return &AppFile{File: file, space: o.Space, full: full}, nil
}

// WriteAt reserves the bytes before it writes.
func (f *AppFile) WriteAt(b []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, os.ErrClosed
	}
	if more := off + int64(len(b)) - f.size; more > 0 {
		if !f.space.reserve(int(more)) {
			return 0, f.full
		}
		f.size += more
	}
	return f.File.WriteAt(b, off)
}

// Close closes the file and gives its bytes back. The application closes it, and perhaps the end of
// its request does again: that returns os.ErrClosed.
func (f *AppFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return os.ErrClosed
	}
	f.closed = true
	err := f.File.Close()
	f.space.unreserve(f.size)
	return err
}
