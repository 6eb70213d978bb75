package server

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testlog"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// A Logger that blocks delays only the log: requests are served and timeouts happen on all loops, also if the line is
// the report of a stalled loop.
func TestLoggerBlocks(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	for _, d := range []DispatchMode{Inline, Auto, Pool} {
		for _, held := range []bool{false, true} {
			if held && d != Inline {
				continue // the loop would not stall
			}
			t.Run(fmt.Sprintf("held %v, dispatch %d", held, d), func(t *testing.T) {
				stuck, log := testlog.NewStuck()
				hold := make(chan bool)
				s := startOn(d, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
					switch env.Path() {
					case "/panic":
						panic("a line of the log")
					case "/hold":
						<-hold
					}
					return hello(env, start)
				}), Options{Logger: slog.New(stuck), Loops: 1, StallWarning: 10 * time.Millisecond, HeadTimeout: 50 * time.Millisecond})
				defer close(stuck.Release)
				c := s.dial()
				if held {
					c.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n")
					<-stuck.At
					close(hold)
					c.want("GET", 200, "Hello, World!")
				} else {
					c.send("GET /panic HTTP/1.1\r\nHost: h\r\n\r\n")
					c.want("GET", 500, "Internal Server Error\n")
					<-stuck.At
				}
				c = s.dial()
				for range 3 {
					c.send(get)
					c.want("GET", 200, "Hello, World!")
				}
				c.send("GET / HTTP/1.1\r\nHo")
				if resp, _ := c.read("GET"); resp.StatusCode != 408 {
					t.Errorf("half a head is answered by %d, want 408", resp.StatusCode)
				}
				if log.String() != "" {
					t.Errorf("logged already: %s", log)
				}
			})
		}
	}
}
