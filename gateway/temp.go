package gateway

import (
	"errors"
	"io"
	"os"
)

// TempFile is a file that has no name, so that nothing is left of it however the program
// ends. Close frees its room; after it every call is os.ErrClosed.
type TempFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

// ErrTempSpace is the error of a TempFile that would take more room than the server allows
// all such files together.
var ErrTempSpace = errors.New("gateway: the temporary files of all requests have no room left; raise the option TempBytes of the server, or limit what they are for")

// TempFile makes a temporary file in dir; "" is the directory that the server uses itself.
// What is written to it takes part of the room that the server has for such files (the
// option TempBytes of package server), until it is closed: by the application, as soon as it
// can, since the server does not. An error may be ErrTempSpace, syscall.ENOSPC or EMFILE,
// which are no fault of the client: 503 and 507 say so.
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
