package server

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/isbjorn/isbjorn/internal/benchmark"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// No goroutine outlives the servers of the tests.
func TestMain(m *testing.M) {
	if os.Getenv(withoutTLS) == "" {
		EnableTLS()
	}
	if os.Getenv(programFile) != "" {
		programMain()
		return
	}
	benchmark.Units()
	if raceEnabled { // everything takes longer, and a client that is late is out of time
		testrun.Together(3)
	} else {
		testrun.Together(16)
	}
	goleak.VerifyTestMain(m)
}
