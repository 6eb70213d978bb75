package server

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/loop"
)

// Slow uploads take half of the workers at most: others are served meanwhile, and so are
// the uploads, whole, those beyond the half when all of their content has come.
func TestSlowUploadsLeaveWorkers(t *testing.T) {
	const workers = 8
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%s %d %v", r.Method, n, err)
	})
	for _, where := range []DispatchMode{Pool, Auto} {
		for _, expect := range []string{"", "Expect: 100-continue\r\n"} {
			s := startOn(where, t, nethttp.App(handler), Options{Workers: workers, WorkerQueue: None, BodyMemory: 1 << 10})
			var uploads []*client
			for range 3 * workers {
				c := s.dial()
				c.send("POST / HTTP/1.1\r\nHost: h\r\n" + expect + "Content-Length: 5000\r\n\r\n")
				if expect != "" {
					c.want("POST", 100, "")
				}
				c.send(pattern(2000))
				uploads = append(uploads, c)
			}
			began := time.Now()
			for range 10 {
				c := s.dial()
				c.send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nwhole")
				c.want("PUT", 200, "PUT 5 <nil>")
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("10 requests beside slow uploads took %v", took)
			}
			s.untilLoad(workers/2, 0, 0)
			for i, c := range uploads {
				if i%5 == 0 {
					c.reset() // its place is free again
					continue
				}
				c.send(pattern(3000))
				c.want("POST", 200, "POST 5000 <nil>")
			}
			s.untilLoad(0, 0, 0)
			if n := s.workers.Load().Uploads; n != 0 {
				t.Errorf("%d uploads are counted, want 0", n)
			}
			if n := s.Stats().RefusedBusy; n != 0 {
				t.Errorf("%d were refused", n)
			}
		}
	}
}

// A handler returns when it has written an answer of HighWaterBytes to a client that does not read, and its worker is
// free.
func TestSlowReadersLeaveWorkers(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	const size = 8 << 20 // more than any socket takes
	text := []byte(pattern(size))
	for name, app := range map[string]gateway.App{
		"Write": nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) })),
		"small writes": nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for b := text; len(b) > 0; b = b[1<<10:] {
				_, _ = w.Write(b[:1<<10])
			}
		})),
		"Body": ok(next(func() ([]byte, error) { return text, io.EOF })),
	} {
		s := start(t, app, Options{Dispatch: Pool, Workers: 1, WorkerQueue: None, HighWaterBytes: size})
		var readers []*client
		for range 3 {
			c := s.dial()
			c.send(get)
			readers = append(readers, c)
			eventually(t, "the answer waits for its reader, and no worker does", func() bool {
				waits := 0
				s.onLoops(func(_ *shard, lc *loop.Conn) {
					if x := lc.Context.(*session).x; x != nil && x.app.job != nil && !x.app.job.running() {
						waits++
					}
				})
				return waits == len(readers) && s.Stats().Working == 0
			})
		}
		for _, c := range readers {
			if _, got := c.read("GET"); got != string(text) {
				t.Errorf("%s: %d bytes, want %d", name, len(got), size)
			}
		}
		if log := s.log.String(); strings.Contains(log, "level=ERROR") {
			t.Errorf("%s: log:\n%s", name, log)
		}
	}
}

// The time in which a client reads an answer that fills the output is not that of its content,
// of which nothing is read meanwhile.
func TestFullOutputIsNoContentTime(t *testing.T) {
	for name, test := range map[string]struct {
		size int // of the answer before the content
		full func(sn *session) bool
	}{
		"more than the socket takes": {16 << 20, func(sn *session) bool { return sn.sock.Full() || sn.sock.Yielded() }},
		"just what the socket takes": {1 << 10, func(sn *session) bool { // without an event that it has room
			if sn.sock.Unsent() > 0 || sn.timer != bodyTimer {
				return false
			}
			sn.sock.Yield()
			sn.arm()
			return true
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := startOn(Pool, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				w, err := start("200 OK", nil, nil)
				if err != nil {
					return nil, err
				}
				if _, err := w.Write(make([]byte, test.size)); err != nil {
					return nil, err
				}
				content, err := env.Input().ReadAll()
				if err != nil {
					return nil, err
				}
				return env.Bytes(content), nil
			}), Options{Loops: 1})
			c := s.dial()
			c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n01234")
			eventually(t, "the output is full, and an hour passes", func() (full bool) {
				s.onLoops(func(_ *shard, c *loop.Conn) {
					sn := c.Context.(*session)
					if sn.x == nil || sn.phase != responding || !test.full(sn) {
						return
					}
					full = true
					clock := &sn.x.in.clock
					clock.since -= int64(time.Hour)
					clock.last -= int64(time.Hour)
					if clock.fullSince != 0 {
						clock.fullSince -= int64(time.Hour)
					}
				})
				return full
			})
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, resp.Body, int64(test.size)); err != nil {
				t.Fatal(err)
			}
			var left time.Duration
			eventually(t, "content is waited for", func() (waits bool) {
				s.onLoops(func(_ *shard, c *loop.Conn) {
					if sn := c.Context.(*session); sn.x != nil && (sn.timer == bodyTimer || sn.timer == rateTimer) {
						_, left = sn.x.bodyDeadline()
						waits = true
					}
				})
				return waits || s.Stats().BodyTimeouts+s.Stats().RateTimeouts > 0
			})
			if left < time.Second {
				t.Fatalf("%v are left for the content", left)
			}
			c.send("56789")
			if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "0123456789" {
				t.Errorf("%q, %v", rest, err)
			}
		})
	}
}

// What a worker writes is no content: a client that has sent a lot, so that BodyRate has earned it hours, and then
// nothing, is out of time after BodyTimeout although the response makes progress.
func TestBodyTimeoutBesideAResponse(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	const (
		timeout = 500 * time.Millisecond
		sent    = 200_000
	)
	read := make(chan error, 1)
	s := startOn(Pool, t, nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		done := make(chan struct{})
		ended := make(chan struct{})
		_ = http.NewResponseController(w).EnableFullDuplex()
		go func() {
			defer close(ended)
			for {
				select {
				case <-done:
					return
				case <-time.After(timeout / 20):
					_, _ = io.WriteString(w, "progress\n")
					_ = http.NewResponseController(w).Flush()
				}
			}
		}()
		_, err := io.Copy(io.Discard, r.Body)
		close(done)
		<-ended
		read <- err
	})), Options{BodyTimeout: timeout, BodyRate: 1})
	c := s.dial()
	c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + pattern(sent))
	go func() { _, _ = io.Copy(io.Discard, c.r) }()
	began := time.Now()
	select {
	case err := <-read:
		if err == nil {
			t.Error("the content looks whole")
		}
		if took := time.Since(began); took < timeout/2 {
			t.Errorf("out of time after %v, want %v", took, timeout)
		}
	case <-time.After(20 * timeout):
		t.Fatalf("the client has sent nothing for %v, and still has time", 20*timeout)
	}
	if stats := s.Stats(); stats.BodyTimeouts != 1 {
		t.Errorf("%+v, want one of BodyTimeouts", stats)
	}
}

// Content that has come while something else blocked the loop is in time.
func TestBodyTimeoutOfABlockedLoop(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	const timeout = 300 * time.Millisecond
	for i := range 5 { // the order of a tick and of an event is chance
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			s := startOn(Inline, t, appFunc(reads), Options{BodyTimeout: timeout, Loops: 1, StallWarning: None})
			c := s.dial()
			c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe")
			eventually(t, "a part of it is here", func() bool { return s.collected() == 2 })
			blocked, release := make(chan struct{}), make(chan struct{})
			s.reactor.Loops()[0].Do(func() { close(blocked); <-release })
			<-blocked
			c.send("llo")
			time.Sleep(2 * timeout)
			close(release)
			if resp, text := c.read("POST"); resp.StatusCode != 200 {
				t.Errorf("answered %d %q", resp.StatusCode, text)
			}
		})
	}
}
