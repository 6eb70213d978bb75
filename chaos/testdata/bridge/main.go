// Bridge is an echo on net/http's interface. It blocks only after some time, so that
// it has run on the loop and runs on workers then.
package main

import (
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server"
)

func main() { server.Main(nethttp.App(http.HandlerFunc(echo)), server.Options{}) }

var calls atomic.Int64

func echo(w http.ResponseWriter, r *http.Request) {
	n := calls.Add(1)
	if n%5000 == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client sees that something is missing, or is gone
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	_, _ = w.Write(content[:len(content)/2])
	if n%3 == 0 {
		_ = http.NewResponseController(w).Flush()
	}
	_, _ = w.Write(content[len(content)/2:])
}
