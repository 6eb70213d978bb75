package apps

import (
	"testing"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"
)

// No goroutine outlives the servers and clients of the tests.
func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	goleak.VerifyTestMain(m)
}
