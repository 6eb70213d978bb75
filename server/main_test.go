package server

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/isbjorn/isbjorn/internal/benchmark"
)

// No goroutine outlives the servers of the tests.
func TestMain(m *testing.M) {
	if os.Getenv(programFile) != "" {
		programMain()
		return
	}
	benchmark.Units()
	goleak.VerifyTestMain(m)
}
