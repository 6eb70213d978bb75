package loop

import (
	"errors"
	"syscall"
)

// The errors of Handler.Closed, besides ErrDetached, those of the kernel (syscall.Errno),
// and nil for an orderly end.
var (
	ErrAborted      = errors.New("loop: aborted by the handler")
	ErrWriteTimeout = errors.New("loop: the peer took no output for too long")
	ErrDialTimeout  = errors.New("loop: no connection within the timeout") // wrapped, with the address
	ErrStopped      = errors.New("loop: stopped with the connection open")
	ErrFile         = errors.New("loop: the range of a file could not be sent whole") // wrapped, with the cause
)

// errClosed is returned by Listen, Adopt, AdoptFile, Attach, Dial and Watch when the reactor has stopped.
var errClosed = errors.New("loop: reactor is stopped")

// errGoexit is the failure of a loop whose goroutine was ended by a callback or task, and
// that cannot continue on another one (Handoff).
var errGoexit = errors.New("loop: a callback or task called runtime.Goexit, " +
	"and no descriptor is left for another poller; raise the limit of open files (ulimit -n, LimitNOFILE)")

// errAgain: the kernel has nothing more, or takes nothing more, at present. Not a failure.
const errAgain = syscall.EAGAIN
