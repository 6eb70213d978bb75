package wsgi_test

import (
	"os"
	"testing"

	"github.com/isbjorn/isbjorn/internal/testrun"
)

func TestMain(m *testing.M) {
	testrun.Together(6) // most wait for a process
	os.Exit(m.Run())
}
