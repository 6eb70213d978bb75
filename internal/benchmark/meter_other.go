//go:build unix && !linux

package benchmark

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// processorTime returns the CPU time that this process, 0, has used, user and kernel. For
// another process the system has no exact call: errors.ErrUnsupported.
func processorTime(pid int) (time.Duration, error) {
	if pid != 0 {
		return 0, errors.ErrUnsupported
	}
	var u unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}
