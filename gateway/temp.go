package gateway

import (
	"errors"
	"io"
	"os"
)

// TempFile is a file without a name, so that the kernel frees it however the program ends. Close
// frees its room; after it every call returns os.ErrClosed.
type TempFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

// ErrTempSpace is the error of a TempFile that would exceed the room that the server allows all such
// files together.
var ErrTempSpace = errors.New("gateway: the temporary files of all requests have no room left; " +
	"raise the option TempBytes of the server, or limit what they are for")

// TempFile makes a temporary file in dir; "" is the directory of the server's own. What is written
// to it counts in the room of all such files (the option TempBytes of package server) until the
// application closes it, which it does as soon as it can: the server does not. An error may be
// ErrTempSpace, syscall.ENOSPC or EMFILE: answer those by 503 or 507, since the client is not at
// fault.
func (e *Environ) TempFile(dir string) (TempFile, error) {
	e.check()
	if e.info.TempFile != nil {
		return e.info.TempFile(dir)
	}
	f, err := os.CreateTemp(dir, "isbjorn-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
