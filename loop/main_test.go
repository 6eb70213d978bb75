package loop

import (
	"testing"

	"go.uber.org/goleak"
)

// No goroutine outlives the reactors of the tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
