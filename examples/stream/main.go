// Stream is a clock of server-sent events, one every second. Each client has a small
// queue: one that reads too slowly misses ticks, and delays no other. Nothing waits
// on the loop: the Body says gateway.ErrWait, and the clock wakes it. When the program is
// stopped (SIGTERM), or replaced (SIGUSR2), the streams end, and so it does in a second.
//
//	go run ./examples/stream -every 500ms
//	curl -N http://127.0.0.1:8080/
package main

import (
	"flag"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/server"
)

func main() {
	every := flag.Duration("every", time.Second, "time between two events, such as 500ms")
	server.Flags()
	flag.Parse()
	if *every <= 0 {
		log.Fatalf("-every is %v; use a positive duration", *every)
	}
	server.Main(&clock{every: *every, watchers: make(map[*watcher]bool)}, server.Options{})
}

// queued is how many events wait for a slow client, beside those in its socket.
const queued = 8

// clock sends events to those who watch it.
type clock struct {
	every time.Duration
	runs  sync.Once

	mu       sync.Mutex
	watchers map[*watcher]bool
	joined   int // since the beginning
}

// watcher is one client.
type watcher struct {
	events chan []byte
	wake   func()
	sent   int

	number, missed int // under the clock's lock
}

var headers = []gateway.Header{{Name: "Content-Type", Value: "text/event-stream"}, {Name: "Cache-Control", Value: "no-store"}}

func (c *clock) Serve(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if _, err := start("200 OK", headers, nil); err != nil {
		return nil, err
	}
	w := &watcher{events: make(chan []byte, queued), wake: env.Waker()}
	stopping := env.Stopping()
	return gateway.Stream(func(yield func([]byte, error) bool) {
		c.join(w)
		defer c.leave(w)
		if !yield([]byte(": the time\n\n"), nil) { // the client sees that it is connected
			return
		}
		for {
			select {
			case event := <-w.events:
				if !yield(event, nil) {
					return
				}
				w.sent++
			case <-stopping: // a stream in order: the client connects again, to the next process
				return
			default:
				if !yield(nil, gateway.ErrWait) {
					return
				}
			}
		}
	}), nil
}

// join begins to send events to w.
func (c *clock) join(w *watcher) {
	c.runs.Do(func() { go c.run() })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.joined++
	w.number = c.joined
	c.watchers[w] = true
	fmt.Printf("client %d has come\n", w.number)
}

// leave ends it: the Body is closed, since the client has gone or the server stops.
func (c *clock) leave(w *watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.watchers, w)
	fmt.Printf("client %d has left after %d events, and missed %d\n", w.number, w.sent, w.missed)
}

// run is the clock, on a goroutine of its own. It waits for no client.
func (c *clock) run() {
	for now := range time.Tick(c.every) {
		event := fmt.Appendf(nil, "event: time\ndata: %s\n\n", now.Format(time.RFC3339Nano))
		c.mu.Lock()
		for w := range c.watchers {
			select {
			case w.events <- event:
				w.wake()
			default:
				if w.missed++; w.missed == 1 {
					fmt.Printf("client %d is slow and misses events\n", w.number)
				}
			}
		}
		c.mu.Unlock()
	}
}
