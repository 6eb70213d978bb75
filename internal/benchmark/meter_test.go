//go:build unix

package benchmark

import (
	"testing"
	"time"
)

// The CPU time of this process grows while it works.
func TestProcessorTime(t *testing.T) {
	before, err := processorTime(0)
	if err != nil {
		t.Fatal(err)
	}
	const wanted = 20 * time.Millisecond
	for deadline := time.Now().Add(20 * time.Second); ; {
		now, err := processorTime(0)
		if err != nil {
			t.Fatal(err)
		}
		if now-before >= wanted {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it used %v in 20 s of work", now-before)
		}
	}
}
