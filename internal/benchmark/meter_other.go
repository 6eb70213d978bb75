//go:build unix && !linux

package benchmark

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// processorTime is the processor time that this process, 0, has used, in the kernel too.
// There is no exact way to ask for that of another one.
func processorTime(pid int) (time.Duration, error) {
	if pid != 0 {
		return 0, errors.ErrUnsupported
	}
	var u unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}
