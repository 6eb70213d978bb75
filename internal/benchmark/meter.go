//go:build unix

package benchmark

import (
	"errors"
	"testing"
	"time"
)

// Meter measures what requests take.
type Meter struct {
	pid   int
	began time.Duration
}

// Start begins to measure, where the timer of b begins. pid is the process that serves
// the requests, 0 for this one.
func Start(b *testing.B, pid int) Meter {
	began, _ := used(b, pid)
	return Meter{pid, began}
}

// Report reports what each of b.N requests took, when they are done: req/s and
// cpu-us/req, which is of the process as a whole. Of another process the latter is known
// on Linux alone, and left out elsewhere.
func (m Meter) Report(b *testing.B) {
	if now, known := used(b, m.pid); known {
		b.ReportMetric(float64(now-m.began)/float64(time.Microsecond)/float64(b.N), "cpu-us/req")
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// used is the processor time that a process has used, if that is known.
func used(b *testing.B, pid int) (d time.Duration, known bool) {
	d, err := processorTime(pid)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		b.Fatalf("processor time of process %d: %v", pid, err)
	}
	return d, err == nil
}
