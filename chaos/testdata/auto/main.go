// Auto is an echo on the loop that now and then computes for so long that its loop is
// taken from it.
package main

import (
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/server"
)

func main() { server.Main(gateway.AppFunc(echo), server.Options{}) }

var calls atomic.Int64

func echo(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	n := calls.Add(1)
	compute(n)
	content, err := env.Input().ReadAll()
	if err != nil {
		return nil, err
	}
	headers := []gateway.Header{
		{Name: "Content-Type", Value: "application/octet-stream"},
		{Name: "Content-Length", Value: strconv.Itoa(len(content))},
	}
	if _, err := start("200 OK", headers, nil); err != nil {
		return nil, err
	}
	return &halves{[][]byte{content[:len(content)/2], content[len(content)/2:]}, n + 1}, nil
}

// halves is a Body that may block its loop, too. Not by a generator, which is a
// goroutine: the race detector keeps memory for each.
type halves struct {
	left [][]byte
	n    int64
}

func (h *halves) Next() ([]byte, error) {
	if len(h.left) == 0 {
		return nil, io.EOF
	}
	compute(h.n)
	b := h.left[0]
	h.left = h.left[1:]
	return b, nil
}

func (*halves) Close() error { return nil }

// compute blocks the loop in one of some thousand calls.
func compute(n int64) {
	if n%5000 == 0 {
		for began := time.Now(); time.Since(began) < 40*time.Millisecond; {
		}
	}
}
