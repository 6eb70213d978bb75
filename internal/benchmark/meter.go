//go:build unix

package benchmark

import (
	"errors"
	"testing"
	"time"
)

// Meter measures the CPU time of requests.
type Meter struct {
	pid    int
	before time.Duration // CPU time of the process at Start
}

// Start starts a measurement, when the timer of b starts. pid is the process that serves the
// requests, 0 for this one.
func Start(b *testing.B, pid int) Meter {
	before, _ := cpuTime(b, pid)
	return Meter{pid, before}
}

// Report reports req/s and cpu-us/req of the b.N requests since Start. The CPU time is that
// of the whole process. That of another process is known on Linux only; elsewhere
// cpu-us/req is left out.
func (m Meter) Report(b *testing.B) {
	if now, known := cpuTime(b, m.pid); known {
		b.ReportMetric(float64(now-m.before)/float64(time.Microsecond)/float64(b.N), "cpu-us/req")
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// cpuTime is processorTime for a benchmark. known is false if the system cannot say.
func cpuTime(b *testing.B, pid int) (d time.Duration, known bool) {
	d, err := processorTime(pid)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		b.Fatalf("processor time of process %d: %v", pid, err)
	}
	return d, err == nil
}
