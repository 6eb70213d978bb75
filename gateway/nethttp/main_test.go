package nethttp_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/isbjorn/isbjorn/internal/benchmark"
)

func TestMain(m *testing.M) {
	benchmark.Units()
	goleak.VerifyTestMain(m)
}
