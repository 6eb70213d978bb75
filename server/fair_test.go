package server

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// A client that pipelines without end gets the answers to the requests of one read. Then other connections are
// served.
func TestPipeliningIsFair(t *testing.T) {
	const readBytes, reads = 4 << 10, 15 // less than a socket takes without a reader
	const requests int64 = reads * readBytes / int64(len(get))
	most := map[DispatchMode]int64{
		Inline: readBytes/int64(len(get)) + 1,
		Pool:   requests / 2, // the other client's worker may have to wait for a processor
	}
	for _, d := range []DispatchMode{Inline, Pool} {
		t.Run(fmt.Sprintf("dispatch %d", d), func(t *testing.T) {
			atWork, release := make(chan bool), make(chan bool)
			var pipelined, before atomic.Int64
			s := startOn(Auto, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				switch env.Path() {
				case "/hold":
					atWork <- true
					<-release
				case "/other":
					before.Store(pipelined.Load())
				default:
					pipelined.Add(1)
				}
				_, err := start("204 No Content", nil, nil)
				return nil, err
			}), Options{Loops: 1, DispatchBy: func(env *gateway.Environ) DispatchMode {
				if env.Path() == "/hold" {
					return Inline
				}
				return d
			}, tune: func(c *config) { c.loop.ReadBytes = readBytes }})
			hold, greedy, other := s.dial(), s.dial(), s.dial()
			s.waitPhases(readingHead, 3)
			hold.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n")
			<-atWork // and what is sent now waits in the sockets
			greedy.send(strings.Repeat(get, int(requests)))
			go func() { _, _ = io.Copy(io.Discard, greedy.r) }()
			other.send("GET /other HTTP/1.1\r\nHost: h\r\n\r\n")
			close(release)
			other.want("GET", 204, "")
			eventually(t, "all are answered", func() bool { return pipelined.Load() == requests })
			if n := before.Load(); n > most[d] {
				t.Errorf("%d of %d pipelined requests were answered before another client's only one, want %d at most", n, requests, most[d])
			}
		})
	}
}

// compute keeps its goroutine busy for d.
func compute(d time.Duration) {
	for began := time.Now(); time.Since(began) < d; {
	}
}

// A client that pipelines requests of a millisecond each, and one whose body computes three for a chunk, use the
// loop for a few milliseconds: then another client is served.
func TestComputingIsFair(t *testing.T) {
	testrun.Slow(t, "it computes for 0.5 s")
	for _, d := range []DispatchMode{Inline, Auto} {
		for _, kind := range []string{"requests", "chunks"} {
			t.Run(fmt.Sprintf("%s, dispatch %d", kind, d), func(t *testing.T) {
				const steps = 60
				atWork, release := make(chan bool), make(chan bool)
				var done, before atomic.Int64
				s := startOn(Auto, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
					switch env.Path() {
					case "/hold":
						atWork <- true
						<-release
					case "/other":
						before.Store(done.Load())
					case "/chunks":
						if _, err := start("200 OK", nil, nil); err != nil {
							return nil, err
						}
						left := steps
						return next(func() ([]byte, error) {
							compute(3 * time.Millisecond)
							done.Add(1)
							if left--; left == 0 {
								return []byte("x"), io.EOF
							}
							return []byte("x"), nil
						}), nil
					default:
						compute(time.Millisecond)
						done.Add(1)
					}
					_, err := start("204 No Content", nil, nil)
					return nil, err
				}), Options{Loops: 1, DispatchBy: func(env *gateway.Environ) DispatchMode {
					if env.Path() == "/hold" {
						return Inline // or the loop would be handed off
					}
					return d
				}})
				hold, greedy, other := s.dial(), s.dial(), s.dial()
				s.waitPhases(readingHead, 3)
				hold.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n")
				<-atWork // what is sent now waits in the sockets
				if kind == "chunks" {
					greedy.send("GET /chunks HTTP/1.1\r\nHost: h\r\n\r\n")
				} else {
					greedy.send(strings.Repeat(get, steps))
				}
				other.send("GET /other HTTP/1.1\r\nHost: h\r\n\r\n")
				close(release)
				other.want("GET", 204, "")
				if n := before.Load(); n > 4 {
					t.Errorf("%d of %d %s of one client came before the only request of another", n, steps, kind)
				}
				if kind == "chunks" {
					greedy.want("GET", 200, strings.Repeat("x", steps))
					return
				}
				for range steps {
					greedy.want("GET", 204, "")
				}
			})
		}
	}
}

// The slice reads the clock after each step while steps take long, and after sliceStepsMax when they are short.
func TestSlice(t *testing.T) {
	s := timeSlice{epoch: time.Now().Add(-time.Hour), checkEvery: 1}
	turn := func(steps int, d time.Duration) (taken int) {
		s.begin()
		for taken < steps {
			compute(d)
			if taken++; s.expired() {
				break
			}
		}
		return taken
	}
	if n := turn(100, sliceTime/2); n > 2 {
		t.Errorf("the first turn had %d long steps", n)
	}
	for range 100 { // a busy machine may make a short step long
		if turn(1000, 0); s.checkEvery == sliceStepsMax {
			break
		}
	}
	if s.checkEvery != sliceStepsMax {
		t.Errorf("a look every %d short steps", s.checkEvery)
	}
	if n := turn(100, sliceTime/2); n > 2*sliceStepsMax {
		t.Errorf("after short steps a turn had %d long ones", n)
	}
	if n := turn(100, sliceTime/2); n > 2 {
		t.Errorf("and the next %d", n)
	}
}
