package nethttp

import (
	"io"
	"io/fs"
	"math"
	"os"
	"sync"
	"syscall"

	"github.com/isbjorn/isbjorn/gateway"
	"golang.org/x/sys/unix"
)

// copyBytes is how much ReadFrom reads at once.
const copyBytes = 32 << 10

// ReadFrom adds the rest of src to the content. A file, or an io.LimitedReader of one, that is all of the
// content becomes a gateway.FileBody, which the server may send by sendfile(2). For io.Copy from an *os.File the
// handler has to declare the Content-Length, as http.ServeContent does.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	if n, ok := w.takeFile(src); ok {
		return n, nil
	}
	block := copyBlocks.Get().(*[copyBytes]byte)
	defer copyBlocks.Put(block)
	return io.CopyBuffer(struct{ io.Writer }{w}, src, block[:])
}

var copyBlocks = sync.Pool{New: func() any { return new([copyBytes]byte) }}

// file is an *os.File, or the type by which its WriteTo calls ReadFrom. It may also be another type that wraps a
// file and reads it differently: net/http uses the file of such a type if there is a Content-Length, and so does
// takeFile.
type file interface {
	fs.File
	io.Seeker
	syscall.Conn
	Name() string
}

// takeFile makes src the file of the response, and advances it by the n bytes that will be sent. ok is false if
// src is no file, or too small, or other content was written before.
func (w *response) takeFile(src io.Reader) (n int64, ok bool) {
	n = math.MaxInt64
	limited, _ := src.(*io.LimitedReader)
	if limited != nil {
		src, n = limited.R, limited.N
	}
	f, ok := src.(file)
	if !ok {
		return 0, false
	}
	_, itself := src.(*os.File)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.prepareWrite(0) != nil || !itself && w.declared < 0 ||
		w.written > 0 || w.isHEAD || !bodyAllowed(w.code) {
		return 0, false
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	off, err := f.Seek(0, io.SeekCurrent)
	if n = min(n, info.Size()-off); err != nil || n <= bufferBytes || w.declared >= 0 && n > w.declared {
		return 0, false
	}
	own, err := dup(f) // the handler closes f when it returns, before the file is sent
	if err != nil {
		return 0, false
	}
	if _, err := f.Seek(n, io.SeekCurrent); err != nil {
		_ = own.Close()
		return 0, false
	}
	if limited != nil {
		limited.N -= n
	}
	w.file, w.written = gateway.FileRange(own, off, n), n
	return n, true
}

// dup is f with a descriptor of its own.
func dup(f file) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var own int
	var failed error
	err = raw.Control(func(fd uintptr) { own, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, os.NewSyscallError("fcntl", failed)
	}
	return os.NewFile(uintptr(own), f.Name()), nil
}

// bufferFile writes the file to the buffer, since more content follows it.
func (w *response) bufferFile() error {
	if w.file == nil {
		return nil
	}
	file := w.file
	w.file = nil
	defer file.Close()
	f, off, n := file.Range()
	_, err := io.Copy(struct{ io.Writer }{w.buf.content}, io.NewSectionReader(f, off, n))
	return err
}

func (w *response) fileBody() (gateway.Body, error) {
	var first [sniffBytes]byte
	if w.sniffType {
		f, off, n := w.file.Range()
		k, err := f.ReadAt(first[:min(n, sniffBytes)], off)
		if err != nil {
			return nil, err
		}
		w.sniff(first[:k])
	}
	if err := w.callStart(); err != nil {
		return nil, err
	}
	file := w.file
	w.file = nil
	return file, nil
}
