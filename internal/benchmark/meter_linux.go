package benchmark

import (
	"time"

	"golang.org/x/sys/unix"
)

// processorTime returns the CPU time that process pid has used, user and kernel, to the
// nanosecond; 0 is this process. The clock is that of clock_getcpuclockid(3).
func processorTime(pid int) (time.Duration, error) {
	const scheduler = 2 // CPUCLOCK_SCHED of the kernel
	var ts unix.Timespec
	err := unix.ClockGettime(int32(^pid<<3|scheduler), &ts)
	return time.Duration(ts.Nano()), err
}
