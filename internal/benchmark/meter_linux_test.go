package benchmark

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// The clock of a process is that process's, and no other's.
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
		t.Errorf("one that sleeps has used %v, %v, this one %v", other, err, own)
	}
	if _, err := processorTime(1 << 28); err == nil {
		t.Error("a process that cannot be has a clock")
	}
}
