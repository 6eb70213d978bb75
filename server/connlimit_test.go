package server

import (
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/loop"
)

// nextTick returns when the clock of the server's loops has moved: what came before
// is older than what comes.
func (s *testServer) nextTick() {
	s.t.Helper()
	for _, l := range s.reactor.Loops() {
		now := func() int64 {
			is := make(chan int64)
			l.Do(func() { is <- l.Handler().(*shard).now })
			return <-is
		}
		before := now()
		eventually(s.t, "a tick", func() bool { return now() > before })
	}
}

// waitPhases returns when n connections are in the phase.
func (s *testServer) waitPhases(p phase, n int) {
	s.t.Helper()
	eventually(s.t, p.String(), func() bool {
		have := 0
		for _, l := range s.reactor.Loops() {
			done := make(chan struct{})
			l.Do(func() {
				for _, c := range connsOf(l) {
					if c.Context.(*session).phase == p {
						have++
					}
				}
				close(done)
			})
			<-done
		}
		return have == n
	})
}

// started is the number of connections in the middle of a head.
func (s *testServer) started() (n int) {
	s.t.Helper()
	for _, l := range s.reactor.Loops() {
		done := make(chan struct{})
		l.Do(func() {
			for _, c := range connsOf(l) {
				if x := c.Context.(*session).x; x != nil && x.in.req.Started() {
					n++
				}
			}
			close(done)
		})
		<-done
	}
	return n
}

// One connection more than MaxConnections: the longest idle one goes, and none that
// is at work.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "a flood of connections")
	const halfUpload = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe"
	began := time.Now()
	s := startOn(collecting, t, appFunc(echo), Options{Loops: 1, MaxConnections: 3})
	dial := func() *client {
		c := s.dial()
		c.send(get)
		c.want("GET", 200, "")
		s.nextTick()
		return c
	}
	a, b, c := dial(), dial(), dial()
	a.send(get) // a is the oldest, but b has been idle for longer
	a.want("GET", 200, "")
	s.nextTick()
	d := dial()
	b.wantEnd()
	if log := s.log.String(); strings.Count(log, "closed for a new one") != 1 || !strings.Contains(log, "MaxConnections=3 times=1") {
		t.Errorf("log: %s; want a line that names the option", log)
	}
	for _, c := range []*client{a, c, d} {
		c.send(halfUpload)
	}
	s.waitPhases(readingBody, 3)

	// No connection is idle: the new one is refused, and the others are still served.
	refused := s.dial()
	resp, text := refused.read("GET")
	if resp.StatusCode != 503 || !resp.Close || !strings.Contains(text, "too many connections") {
		t.Errorf("answered %d %q, want 503 and the end", resp.StatusCode, text)
	}
	refused.wantEnd()
	_ = refused.Close()
	s.untilConns(3)
	if log := s.log.String(); !strings.Contains(log, "no idle connection") {
		t.Errorf("no line of the log says so: %s", log)
	}
	for _, c := range []*client{a, c, d} {
		c.send("llo")
		c.want("POST", 200, "hello")
	}

	s.nextTick()
	d.send(get)
	d.want("GET", 200, "")

	// Half a head is a request in progress, and so is an answer that is not sent yet: neither connection is idle.
	a.send("GET / HTTP/1.1\r\nHo")
	eventually(t, "half a head is here", func() bool { return s.started() == 1 })
	s.nextTick()
	dial()
	c.wantEnd() // the oldest but for a
	a.send("st: h\r\n\r\n")
	a.want("GET", 200, "")

	// Connections that say nothing are idle too: they do not keep others out.
	for range 20 {
		dial()
	}
	if n := s.reactor.Len(); n > 3 {
		t.Errorf("%d connections, want 3 at most", n)
	}
	if log, n := s.log.String(), s.Stats().EvictedIdle; n < 20 || strings.Count(log, "closed for a new one") > int(time.Since(began)/time.Second)+2 {
		t.Errorf("%d were closed for new ones, and the log is %s; want a line a second", n, log)
	}
}

// An idle connection of another loop is closed for a new one too.
func TestMaxConnectionsOfAllLoops(t *testing.T) {
	const conns = 20
	s := startOn(collecting, t, appFunc(echo), Options{Loops: 2, MaxConnections: conns})
	all := map[string]*client{}
	for range conns {
		c := s.dial()
		c.send(get)
		c.want("GET", 200, "")
		all[c.LocalAddr().String()] = c
	}
	const halfUpload = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe"
	var busy []*client
	s.onLoops(func(sh *shard, c *loop.Conn) {
		if sh.loop == s.reactor.Loops()[0] {
			busy = append(busy, all[c.RemoteAddr().String()])
		}
	})
	for _, c := range busy {
		c.send(halfUpload)
	}
	s.waitPhases(readingBody, len(busy))
	for n := len(busy); n < conns; n++ { // one after the other, the idle ones go
		c := s.dial()
		c.send(halfUpload)
		busy = append(busy, c)
		s.waitPhases(readingBody, len(busy))
	}
	refused := s.dial()
	if resp, _ := refused.read("GET"); resp.StatusCode != 503 || !resp.Close {
		t.Errorf("answered %d, want 503 and the end", resp.StatusCode)
	}
	refused.wantEnd()
	for _, c := range busy {
		c.send("llo")
		c.want("POST", 200, "hello")
	}
}

// While the other loops search for an idle connection, the new one is neither served nor closed as an idle one:
// each is refused by an answer in the end.
func TestMaxConnectionsWaitsForOtherLoops(t *testing.T) {
	atWork, release := make(chan bool), make(chan bool)
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if env.Path() == "/hold" {
			atWork <- true
			<-release
		}
		return hello(env, start)
	}), Options{Loops: 2, MaxConnections: 1})
	letGo := sync.OnceFunc(func() { close(release) })
	t.Cleanup(letGo) // before the server's end, which waits for it
	busy := s.dial()
	busy.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\nPOST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe")
	<-atWork // one loop cannot answer the other now
	var late []*client
	for i := range 20 { // so many that some come to the other loop
		c := s.dial()
		if i%2 == 0 { // the others have sent nothing
			c.send(get)
		}
		late = append(late, c)
	}
	eventually(t, "some wait on the other loop", func() bool { return s.reactor.Len() >= 3 })
	letGo()
	for _, c := range late {
		if resp, _, err := c.tryRead("GET"); err != nil || resp.StatusCode != 503 || !resp.Close {
			t.Errorf("answered %v, %v; want 503 and the end", resp, err)
		}
	}
	busy.want("GET", 200, "Hello, World!")
	busy.send("llo")
	busy.want("POST", 200, "Hello, World!")
}

// A connection that waits for its admission is not idle, and not closed for the next.
func TestWaitingIsNotIdle(t *testing.T) {
	s := start(t, appFunc(hello), Options{Loops: 1})
	c := s.dial()
	s.waitPhases(readingHead, 1)
	for _, waits := range []bool{true, false} {
		s.onLoops(func(sh *shard, on *loop.Conn) {
			on.Context.(*session).awaitsAdmission = waits
			if sh.limit.noneIdle = false; sh.evictIdle(nil) == waits {
				t.Errorf("it waits: %v, and was closed: %v", waits, waits)
			}
		})
	}
	c.wantEnd()
}

// A flood of refused connections has a bound: connections in their lingering close count too.
func TestMaxConnectionsFlood(t *testing.T) {
	s := startOn(collecting, t, appFunc(echo), Options{Loops: 1, MaxConnections: 1})
	busy := s.dial()
	busy.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe")
	s.waitPhases(readingBody, 1)
	const flood = 3 * refusedConnsMax
	l := s.reactor.Loops()[0]
	for range flood {
		c, err := net.Dial("tcp", s.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		have := make(chan int)
		l.Do(func() { have <- len(connsOf(l)) })
		if n := <-have; n > 1+refusedConnsMax+1 {
			t.Fatalf("%d connections", n)
		}
	}
	busy.send("llo")
	busy.want("POST", 200, "hello")
}

// A search that finds more than it keeps takes the oldest.
func TestIdlest(t *testing.T) {
	const conns = idleConnsMax + 20
	s := start(t, appFunc(hello), Options{Loops: 1, MaxConnections: conns})
	first := s.dial()
	first.send(get)
	first.want("GET", 200, "Hello, World!")
	s.nextTick()
	for range conns - 1 {
		s.dial()
	}
	s.untilConns(conns)
	s.nextTick()
	s.dial()
	first.wantEnd()
	s.untilConns(conns)
	eventually(t, "what the search found is forgotten", func() bool {
		left := make(chan int)
		l := s.reactor.Loops()[0]
		l.Do(func() { left <- len(l.Handler().(*shard).limit.idle) })
		return <-left == 0
	})
}

// An answer that its client has not yet read keeps the connection from being idle.
func TestUnsentIsNotIdle(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	const requests = 2000
	content := pattern(10 << 10)
	app := appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return env.Text(content), err
	})
	s := start(t, app, Options{Loops: 1, MaxConnections: 1})
	slow := s.dial()
	slow.send(strings.Repeat(get, requests))
	l := s.reactor.Loops()[0]
	eventually(t, "the answer is on its way", func() bool {
		unsent := make(chan int)
		l.Do(func() {
			n := 0
			for _, c := range connsOf(l) {
				if c.Context.(*session).phase == readingHead || suite == Pool { // where a job may wait with its answer
					n += int(c.Unsent())
					if c.Yielded() { // it yielded when the socket had room, which is full now
						n++
					}
				}
			}
			unsent <- n
		})
		return <-unsent > 0
	})
	if resp, _ := s.dial().read("GET"); resp.StatusCode != 503 {
		t.Errorf("answered %d, want 503", resp.StatusCode)
	}
	for range requests {
		slow.want("GET", 200, content)
	}
}

// A client that speaks TLS to a plain port is disconnected, with a line in the log.
func TestTLS(t *testing.T) {
	s := start(t, appFunc(hello), Options{})
	c, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake(); err == nil {
		t.Error("a handshake succeeded")
	}
	eventually(t, "a line of the log", func() bool { return strings.Contains(s.log.String(), "speaks TLS") })
	fine := s.dial()
	fine.send("GET /x HTTP/1.1\r\nHost: h\r\nX: \x16\x03\r\n\r\n") // no TLS, though refused
	if resp, _ := fine.read("GET"); resp.StatusCode != 400 {
		t.Errorf("answered %d, want 400", resp.StatusCode)
	}
	if log := s.log.String(); strings.Count(log, "speaks TLS") != 1 {
		t.Errorf("log: %s", log)
	}
}

func TestMaxConnsDefault(t *testing.T) {
	for descriptors, want := range map[int]int{1: 1, 20: 10, 64: 32, 256: 192, 1024: 864, 1 << 20: 917472} {
		if got := maxConnsDefault(descriptors); got != want {
			t.Errorf("for %d descriptors: %d, want %d", descriptors, got, want)
		}
	}
	if n := loop.DescriptorLimit(); n < 20 {
		t.Errorf("%d descriptors", n)
	}
}

// A search that has found no idle connection is forgotten when others come: those that have
// sent nothing yet make room, too.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	s := startOn(collecting, t, appFunc(echo), Options{Loops: 1, MaxConnections: 2})
	busy := []*client{s.dial(), s.dial()}
	for _, c := range busy {
		c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe")
	}
	s.waitPhases(readingBody, 2)
	refused := s.dial()
	if resp, _ := refused.read("GET"); resp.StatusCode != 503 {
		t.Fatalf("answered %d, want 503: nothing is idle", resp.StatusCode)
	}
	_ = refused.Close()
	for _, c := range busy {
		_ = c.Close()
	}
	s.untilConns(0)

	silent := s.dial()
	s.waitPhases(readingHead, 1)
	s.nextTick()
	s.dial()
	s.waitPhases(readingHead, 2)
	c := s.dial()
	c.send(get)
	c.want("GET", 200, "")
	silent.wantEnd()
}
