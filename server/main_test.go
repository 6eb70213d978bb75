package server

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// No goroutine outlives the servers of the tests.
func TestMain(m *testing.M) {
	if os.Getenv(programFile) != "" {
		programMain()
		return
	}
	goleak.VerifyTestMain(m)
}
