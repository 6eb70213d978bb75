package loop

import (
	"errors"
	"syscall"
)

// Why a connection ended, as given to Handler.Closed besides the errors of the
// kernel (syscall.Errno) and nil for an orderly end.
var (
	ErrAborted    = errors.New("loop: aborted by the handler")
	ErrWriteStall = errors.New("loop: the peer took no output for too long")
	ErrStopped    = errors.New("loop: stopped with the connection open")
	ErrFile       = errors.New("loop: the range of a file could not be sent whole") // wrapped, with the cause
)

// ErrClosed says that the reactor was stopped before the call.
var ErrClosed = errors.New("loop: reactor is stopped")

// errGoexit is the failure of a loop whose handler has ended its goroutine, and that
// cannot have another (TakeOver).
var errGoexit = errors.New("loop: a callback or task called runtime.Goexit, and no descriptor is left for another poller")

// errAgain says that the kernel has no more for now. Not an error.
const errAgain = syscall.EAGAIN
