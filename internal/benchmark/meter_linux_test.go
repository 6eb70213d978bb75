package benchmark

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// The CPU time of a process is that of this process alone.
func TestProcessorTimeOfOthers(t *testing.T) {
	sleeps := exec.Command("sleep", "60")
	if err := sleeps.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleeps.Process.Kill(); _ = sleeps.Wait() }()
	own, err := processorTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for own < 100*time.Millisecond {
		if own, err = processorTime(0); err != nil {
			t.Fatal(err)
		}
	}
	if other, err := processorTime(sleeps.Process.Pid); err != nil || other >= own {
		t.Errorf("a process that sleeps has used %v, %v; this one %v", other, err, own)
	}
	if _, err := processorTime(1 << 28); err == nil {
		t.Error("a process that does not exist has a clock")
	}
}
