package server

import (
	"cmp"
	"os"
	"sync"

	"github.com/isbjorn/isbjorn/gateway"
)

// appTempFile is a temporary file of an application, such as the files of a form. It takes its
// room from that of all, as content does.
type appTempFile struct {
	tempFile
	space *tempSpace

	mu     sync.Mutex
	size   int64
	closed bool
}

// lend makes a temporary file for an application; "" is the directory of the option TempDir.
func (o *contentOptions) openForApp(dir string) (gateway.TempFile, error) {
	file, err := o.open(cmp.Or(dir, o.dir))
	if err != nil {
		return nil, err
	}
	return &appTempFile{tempFile: file, space: o.space}, nil
}

// WriteAt takes the room before it writes.
func (f *appTempFile) WriteAt(b []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, os.ErrClosed
	}
	if more := off + int64(len(b)) - f.size; more > 0 {
		if !f.space.reserve(int(more)) {
			return 0, gateway.ErrTempSpace
		}
		f.size += more
	}
	return f.tempFile.WriteAt(b, off)
}

// Close gives the room back. It is closed by the application, and at the end of its request
// maybe again.
func (f *appTempFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return os.ErrClosed
	}
	f.closed = true
	err := f.tempFile.Close()
	f.space.unreserve(f.size)
	return err
}
