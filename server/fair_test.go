package server

import (
	"io"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

// A client that pipelines without end gets the answers to one read's worth of
// requests, then it is the others' turn.
func TestPipeliningIsFair(t *testing.T) {
	const readBytes, reads = 4 << 10, 15 // less than a socket takes while nobody reads it
	atWork, release := make(chan bool), make(chan bool)
	var pipelined, before int // counted by the one loop
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		switch env.Path() {
		case "/hold":
			atWork <- true
			<-release
		case "/other":
			before = pipelined
		default:
			pipelined++
		}
		_, err := start("204 No Content", nil, nil)
		return nil, err
	}), Loops(1), func(c *config) { c.loop.ReadBytes = readBytes })
	hold, greedy, other := s.dial(), s.dial(), s.dial()
	s.waitPhases(readingHead, 3)
	hold.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n")
	<-atWork // and what is sent now waits in the sockets
	const requests = reads * readBytes / len(get)
	greedy.send(strings.Repeat(get, requests))
	go func() { _, _ = io.Copy(io.Discard, greedy.r) }()
	other.send("GET /other HTTP/1.1\r\nHost: h\r\n\r\n")
	close(release)
	other.want("GET", 204, "")
	first := 0
	eventually(t, "all are answered", func() bool {
		all := make(chan int)
		s.reactor.Loops()[0].Do(func() { first = before; all <- pipelined })
		return <-all == requests
	})
	if most := readBytes/len(get) + 1; first > most {
		t.Errorf("%d of %d pipelined requests were answered before another client's only one, want %d at most", first, requests, most)
	}
}
