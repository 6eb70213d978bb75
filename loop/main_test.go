package loop

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/isbjorn/isbjorn/internal/benchmark"
)

// No goroutine outlives the reactors of the tests.
func TestMain(m *testing.M) {
	benchmark.Units()
	goleak.VerifyTestMain(m)
}
