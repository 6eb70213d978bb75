package openloop

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Load is what to ask for.
type Load struct {
	Addr     string  // of the server, host:port
	Request  string  // the bytes of one request
	Answer   int     // length of its whole answer in bytes, the same for all
	Conns    int     // connections; each has one request under way at most
	Rate     float64 // requests a second, of all connections together
	Duration time.Duration
}

// drain is how long answers are waited for after the last request was due.
const drain = 500 * time.Millisecond

// Result is what came of it. Times are in nanoseconds.
type Result struct {
	// Latency is from when a request was due to the last byte of its answer. A request
	// that had none at the end is in it with the time it waited until then. One whose
	// answer was wrong, or whose connection was lost, is not.
	Latency *hdrhistogram.Histogram
	// Late is from when a request could be sent, due and with a connection that is known
	// to be free, to when it was: the generator's own fault.
	Late *hdrhistogram.Histogram
	// Busy is the share of the time in which the generator had something to do. When it
	// comes near 1, answers wait for the generator.
	Busy float64

	Requests   int     // due
	Unanswered int     // without an answer at the end, sent or not
	Errors     int     // wrong answers and lost connections
	Answered   float64 // requests a second, until the last was due
}

// What is left for the generator to be slow, before its slowness is taken for the server's.
const (
	lateMax = time.Millisecond // 99th percentile of Late
	busyMax = 0.95
)

// KeptUp says that the generator was no limit: Latency and Answered are the server's.
func (r *Result) KeptUp() bool {
	return r.Busy < busyMax && r.Late.ValueAtQuantile(99) < int64(lateMax)
}
