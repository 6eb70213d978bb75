package proxy

import (
	"bytes"
	"log"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	log.SetOutput(unexpected{})
	goleak.VerifyTestMain(m)
}

// unexpected is standard error for the standard log, without what an http.Transport says of an answer that comes while
// no request waits for one: upstreams of these tests answer so.
type unexpected struct{}

func (unexpected) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("Unsolicited response received on idle HTTP channel")) {
		return len(line), nil
	}
	return os.Stderr.Write(line)
}
