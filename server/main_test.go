package server

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/isbjorn/isbjorn/internal/benchmark"
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
	waitTogether()
	goleak.VerifyTestMain(m)
}

// waitTogether runs 16 of the tests that call Parallel at once, on any number of processors, unless -parallel is set:
// they wait for timeouts most of the time.
func waitTogether() {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	n := "16"
	if raceEnabled { // everything takes longer, and a client that is late is out of time
		n = "3"
	}
	if !given {
		_ = flag.Set("test.parallel", n)
	}
}
