// Gnet is examples/hello on the engine of panjf2000/gnet with the parser evanphx/wildcat.
// It is the least that HTTP/1.1 on that engine can cost, and no correct server: it
// reads no content, refuses next to nothing, and what it queues for a client has no bound.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evanphx/wildcat"
	"github.com/panjf2000/gnet/v2"
	"go.uber.org/zap"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on, host:port")
	flag.Parse()
	log.Fatal(gnet.Run(&server{}, "tcp://"+*addr,
		gnet.WithMulticore(true), gnet.WithTicker(true), gnet.WithLogger(zap.NewNop().Sugar())))
}

type server struct {
	gnet.BuiltinEventEngine
	answer atomic.Pointer[[]byte] // whole, with the Date of this second
}

func (s *server) OnBoot(engine gnet.Engine) gnet.Action {
	s.refresh()
	fd, err := engine.Dup()
	if err != nil {
		log.Print(err)
		return gnet.Shutdown
	}
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		log.Print(err)
		return gnet.Shutdown
	}
	defer l.Close()
	fmt.Printf("listening on http://%s\n", l.Addr())
	return gnet.None
}

func (s *server) OnTick() (time.Duration, gnet.Action) {
	s.refresh()
	return time.Second, gnet.None
}

func (s *server) refresh() {
	b := []byte("HTTP/1.1 200 OK\r\nServer: gnet\r\nDate: " + time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") +
		"\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!")
	s.answer.Store(&b)
}

// turn is what one event needs.
type turn struct {
	parser *wildcat.HTTPParser
	out    []byte
}

var turns = sync.Pool{New: func() any { return &turn{parser: wildcat.NewHTTPParser()} }}

func (s *server) OnTraffic(c gnet.Conn) gnet.Action {
	in, err := c.Peek(-1)
	if err != nil {
		return gnet.Close
	}
	t := turns.Get().(*turn)
	defer turns.Put(t)
	t.out = t.out[:0]
	used := 0
	for used < len(in) {
		n, err := t.parser.Parse(in[used:])
		if errors.Is(err, wildcat.ErrMissingData) {
			break // the rest comes
		}
		if err != nil {
			return gnet.Close
		}
		used += n
		t.out = append(t.out, *s.answer.Load()...)
	}
	_, _ = c.Discard(used)
	if len(t.out) > 0 {
		if _, err := c.Write(t.out); err != nil {
			return gnet.Close
		}
	}
	return gnet.None
}
