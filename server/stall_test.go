package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/testlog"
	"github.com/isbjorn/isbjorn/internal/testrun"

	"github.com/isbjorn/isbjorn/gateway"
)

const holdLimit = 100 * time.Millisecond

// Lines of the log.
const (
	blockedLine   = "an application blocks its loop, and the other connections"
	blockedByTask = "no application is at work"
	continuesLine = "a loop that was blocked continues"
	blockStack    = "(*blocker).block("
)

// blocker is an application, and a body of it, that blocks at one of its calls.
type blocker struct {
	in            string // "Serve", "Next" or "Close"
	held, release chan bool
}

func newBlocker(in string) *blocker { return &blocker{in, make(chan bool, 1), make(chan bool)} }

//go:noinline
func (b *blocker) block(in string) {
	if in == b.in {
		select {
		case b.held <- true:
		default: // nobody waits for it any more
		}
		<-b.release
	}
}

func (b *blocker) Serve(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if env.Path() == "/hello" {
		return hello(env, start)
	}
	env.Set("REQUEST_METHOD", "NONE") // the report is about what was sent
	b.block("Serve")
	_, err := start("200 OK", nil, nil)
	return &blockerBody{b: b, long: env.Path() == "/long"}, err
}

type blockerBody struct {
	b    *blocker
	long bool
}

func (x *blockerBody) Next() ([]byte, error) {
	x.b.block("Next")
	if x.long {
		return make([]byte, 1<<20), nil
	}
	return []byte("answer"), io.EOF
}

func (x *blockerBody) Close() error {
	x.b.block("Close")
	return nil
}

// lines are the lines of the log that have all of the texts in them. A machine that
// is too busy to run a loop has lines of its own, without these.
func (s *testServer) lines(texts ...string) (lines []string) {
next:
	for line := range strings.Lines(s.log.String()) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue next
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// wantLine waits for the n-th line of the log with these texts and returns it.
func (s *testServer) wantLine(n int, texts ...string) string {
	s.t.Helper()
	eventually(s.t, texts[0], func() bool { return len(s.lines(texts...)) == n })
	return s.lines(texts...)[n-1]
}

// blockedFor is the time that a line says.
func blockedFor(t *testing.T, line string) time.Duration {
	t.Helper()
	_, text, _ := strings.Cut(line, "blocked=")
	text, _, _ = strings.Cut(strings.TrimSpace(text), " ")
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Errorf("%s: %v", line, err)
	}
	return d
}

// An application that blocks, in each of its calls, is reported once, while it
// does, with its request and its stack, and once more when it continues.
func TestStall(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	for name, tt := range map[string]struct {
		in, send string
		client   func(c *client) // before the application blocks
	}{
		"Serve":           {"Serve", "GET /x?a=\\ HTTP/1.1\r\nHost: h\r\n\r\n", nil},
		"Next":            {"Next", "GET /x?a=\\ HTTP/1.1\r\nHost: h\r\n\r\n", nil},
		"Close":           {"Close", "GET /x?a=\\ HTTP/1.1\r\nHost: h\r\n\r\n", nil},
		"behind others":   {"Serve", "GET /hello HTTP/1.1\r\nHost: h\r\n\r\nGET /x?a=\\ HTTP/1.1\r\nHost: h\r\n\r\n", nil},
		"with content":    {"Serve", "GET /x?a=\\ HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", nil},
		"content behind":  {"Next", "GET /x?a=\\ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", nil},
		"the client left": {"Close", "GET /long HTTP/1.1\r\nHost: h\r\n\r\n", func(c *client) { _, _ = io.ReadFull(c.r, make([]byte, 1000)); c.reset() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			b := newBlocker(tt.in)
			s := startOn(Inline, t, b, Options{StallWarning: holdLimit})
			defer close(b.release)
			for n := 1; n <= 2; n++ {
				c := s.dial()
				c.send(tt.send)
				target := `"/x?a=\\"` // as the log escapes it
				if tt.client != nil {
					tt.client(c)
					target = "/long"
				}
				<-b.held
				line := s.wantLine(n, blockedLine, blockStack)
				for _, want := range []string{"level=WARN", "StallWarning", "method=GET target=" + target + " remote=" + c.LocalAddr().String()} {
					if !strings.Contains(line, want) {
						t.Errorf("no %s in %s", want, line)
					}
				}
				reported := blockedFor(t, line)
				if reported < holdLimit {
					t.Errorf("reported after %v", reported)
				}
				time.Sleep(2 * holdLimit) // it could come again
				b.release <- true
				line = s.wantLine(n, continuesLine, "target="+target)
				if d := blockedFor(t, line); d < reported+2*holdLimit || d > time.Since(began) || !strings.Contains(line, "method=GET target="+target+" remote="+c.LocalAddr().String()) {
					t.Errorf("blocked for %v to %v: %s", reported+2*holdLimit, time.Since(began), line)
				}
				if tt.client == nil {
					if resp, _ := c.read("GET"); resp.StatusCode != 200 {
						t.Errorf("answered %d", resp.StatusCode)
					}
					_ = c.Close()
				}
				if len(s.lines(blockedLine, blockStack)) != n || len(s.lines(continuesLine, "target="+target)) != n || s.Stats().LoopStalls < uint64(n) {
					t.Errorf("%d stalls; log: %s", s.Stats().LoopStalls, s.log)
				}
			}
		})
	}
}

// A call again of a response that waited is reported with its own request, though
// others have been served since.
func TestStallAgain(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	b := newBlocker("none")
	s := startOn(Inline, t, b, Options{Loops: 1, StallWarning: holdLimit})
	defer close(b.release)
	slow := s.dial()
	slow.send("GET /long HTTP/1.1\r\nHost: h\r\n\r\n")
	s.waitPhases(responding, 1)
	other := s.dial()
	other.send("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n")
	other.want("GET", 200, "Hello, World!")
	s.reactor.Loops()[0].Do(func() { b.in = "Next" })
	go func() { _, _ = io.Copy(io.Discard, slow.r) }()
	<-b.held
	if line := s.wantLine(1, blockedLine, blockStack); !strings.Contains(line, "target=/long remote="+slow.LocalAddr().String()) {
		t.Errorf("reported %s", line)
	}
	_ = slow.Close()
}

// A task blocks the loop: the stack is there, and no request, though one waits for
// its client, and one is over.
func TestStallByATask(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	s := start(t, appFunc(echoBody), Options{Loops: 1, StallWarning: holdLimit, BodyBytes: NoLimit})
	waits := s.dial()
	_ = waits.SetReadBuffer(64 << 10) // or the kernel may take the whole answer
	go func() { _, _ = io.WriteString(waits, upload(pattern(8<<20), 0)) }()
	s.waitPhases(responding, 1)
	for n := 1; n <= 2; n++ {
		b := newBlocker("task")
		release := sync.OnceFunc(func() { close(b.release) })
		defer release()
		s.reactor.Loops()[0].Do(func() { b.block("task") })
		if line := s.wantLine(n, blockedByTask, blockStack); strings.Contains(line, "target=") {
			t.Errorf("reported %s", line)
		}
		release()
		eventually(t, continuesLine, func() bool { return len(s.lines(continuesLine))-len(s.lines(continuesLine, "target=")) >= n })
		c := s.dial() // one that is over
		c.send(get)
		c.want("GET", 200, "")
	}
}

// An application that blocks for ever is reported, also while the server stops.
func TestStallForEver(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	b := newBlocker("Serve")
	s := startOn(Inline, t, b, Options{StallWarning: holdLimit})
	defer close(b.release)
	s.dial().send(get)
	<-b.held
	s.wantLine(1, blockedLine, blockStack)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); err != errLoopBlocked {
		t.Errorf("Shutdown: %v, want %v", err, errLoopBlocked)
	}
	if len(s.lines(blockedLine, blockStack)) != 1 || len(s.lines(continuesLine, "target=")) != 0 {
		t.Errorf("log: %s", s.log)
	}
}

// Shorter than the limit, or without one: nothing to say.
func TestNoStall(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	for name, o := range map[string]Options{"shorter": {StallWarning: time.Minute}, "none": {StallWarning: None}} {
		t.Run(name, func(t *testing.T) {
			b := newBlocker("Serve")
			s := startOn(Inline, t, b, Options{Loops: 1}.with(o))
			defer close(b.release)
			c := s.dial()
			c.send(get)
			<-b.held
			time.Sleep(holdLimit)
			b.release <- true
			c.want("GET", 200, "answer")
			s.nextTick()
			if log := s.log.String(); strings.Contains(log, "blocked") || s.Stats().LoopStalls > 0 {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// A loop that has much to do is late too, but no request blocks it.
func TestBusyIsNoStall(t *testing.T) {
	testrun.Slow(t, "its loop is busy for 0.8 s")
	const requests, each, limit = 150, 5 * time.Millisecond, 200 * time.Millisecond
	s := startOn(Inline, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		time.Sleep(each)
		return hello(env, start)
	}), Options{Loops: 1, StallWarning: limit, tune: func(c *config) { c.loop.Tick = limit }})
	c := s.dial()
	c.send(strings.Repeat(get, requests)) // one read
	for range requests {
		c.want("GET", 200, "Hello, World!")
	}
	s.nextTick()
	if lines := s.lines("blocked"); len(lines) > 0 {
		t.Errorf("log: %s", lines)
	}
}

// What suspectStall and reportStall report of a request, whenever they are called: in the
// application ("in") or when the request is over ("after").
func TestStallSteps(t *testing.T) {
	for name, tt := range map[string]struct {
		in, after string
		reported  bool
		named     bool
	}{
		"in one call":                       {in: "LH", reported: true, named: true},
		"in the server's own code":          {in: "CH", reported: true, named: true},
		"over before reportStall":           {in: "L", after: "H"},
		"begun since suspectStall":          {in: "H"},
		"over, and then a task":             {in: "L", after: "LH", reported: true},
		"a task":                            {after: "LH", reported: true},
		"reported, and then a task":         {in: "LHT", after: "LH", reported: true},
		"reported, and over by reportStall": {in: "LHTL", after: "H"},
	} {
		log := &testlog.Buffer{}
		var act func(calls string)
		s, err := New(appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			act(tt.in)
			return hello(env, start)
		}), Options{Loops: 1, Logger: slog.New(slog.NewTextHandler(log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		logged := func() string {
			s.config.logs.Flush(20 * time.Second)
			return log.String()
		}
		sh := s.reactor.Loops()[0].Handler().(*shard)
		var reported, named bool // by the last reportStall
		act = func(calls string) {
			for _, call := range calls {
				switch call {
				case 'L':
					sh.suspectStall()
				case 'C': // suspectStall, while the application calls the server
					w := sh.calls.Latest()
					was := sh.calls.EnterServer(w)
					done := make(chan bool)
					go func() {
						sh.suspectStall()
						close(done)
					}()
					select {
					case <-done:
					case <-time.After(2 * stallPause):
					}
					w.ReturnToApp(was)
					<-done
				case 'H':
					before := logged()
					reported = sh.reportStall(time.Second)
					named = strings.Contains(strings.TrimPrefix(logged(), before), "target=/")
				case 'T':
					sh.reportStallEnd()
				}
			}
		}
		s.openMemory().Feed([]byte(get))
		act(tt.after)
		if reported != tt.reported || named != tt.named {
			t.Errorf("%s: reported %v, with a request %v; want %v, %v", name, reported, named, tt.reported, tt.named)
		}
		s.Close()
	}
}

// When the steps come: a limit that is just reached, nearly reached, and none; another tick; and a loop that
// makes progress.
func TestStallWarning(t *testing.T) {
	const tick = 100 * time.Millisecond
	for name, tt := range map[string]struct {
		limit    time.Duration
		missed   []time.Duration // for how long, at one tick after the other
		taken    int             // the loop takes its tick before that one
		progress bool
		want     []stallStep
	}{
		"reached":  {time.Second, []time.Duration{tick, 9 * tick, 10 * tick, 11 * tick, 12 * tick}, -1, false, []stallStep{noStep, noStep, suspectStep, reportStep, noStep}},
		"nearly":   {time.Second, []time.Duration{9 * tick, 10*tick - 1}, -1, false, []stallStep{noStep, noStep}},
		"none":     {-1, []time.Duration{time.Hour, 2 * time.Hour}, -1, false, []stallStep{noStep, noStep}},
		"taken":    {time.Second, []time.Duration{10 * tick, 11 * tick}, 1, false, []stallStep{suspectStep, suspectStep}},
		"another":  {time.Second, []time.Duration{20 * tick, 10 * tick, 11 * tick}, -1, false, []stallStep{suspectStep, suspectStep, reportStep}},
		"progress": {time.Second, []time.Duration{10 * tick, 11 * tick, 12 * tick, 21 * tick, 22 * tick}, -1, true, []stallStep{suspectStep, reportStep, noStep, suspectStep, reportStep}},
	} {
		s, err := New(appFunc(hello), Options{Loops: 1, StallWarning: tt.limit})
		if err != nil {
			t.Fatal(err)
		}
		sh := s.reactor.Loops()[0].Handler().(*shard)
		for i, d := range tt.missed {
			if i == tt.taken {
				sh.Tick(time.Now())
			}
			step := sh.nextStallStep(d)
			if step != tt.want[i] {
				t.Errorf("%s: step %d at %v, want %d", name, step, d, tt.want[i])
			}
			if step == reportStep {
				sh.endStallCheck(d, !tt.progress)
			}
		}
		s.Close()
	}
}

// Applications that let go at the very time of the report: what it reads of a
// request stays as it is until it has read it, and is of that request.
func TestStallThatEnds(t *testing.T) {
	testrun.Slow(t, "it blocks its loops for 0.7 s")
	const requests, limit = 200, 4 * time.Millisecond
	s := startOn(Inline, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if i, _ := strconv.Atoi(env.Path()[1:]); i%4 == 0 {
			time.Sleep(limit + time.Duration(i)*limit/requests)
		}
		_, err := start("200 OK", nil, nil)
		return env.Text(env.Path()), err
	}), Options{StallWarning: limit, tune: func(c *config) { c.loop.Tick = time.Millisecond }})
	var all sync.WaitGroup
	for range 4 {
		c := s.dial()
		all.Go(func() {
			var in strings.Builder
			for i := range requests {
				fmt.Fprintf(&in, "GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", i)
			}
			_, _ = io.WriteString(c, in.String())
			for i := range requests {
				if _, got, err := c.tryRead("GET"); err != nil || got != fmt.Sprintf("/%d", i) {
					t.Errorf("request %d answered %q, %v", i, got, err)
					return
				}
			}
		})
	}
	all.Wait()
	named := s.lines(blockedLine)
	if len(named) == 0 {
		t.Error("no report")
	}
	for _, line := range named {
		i, err := strconv.Atoi(regexp.MustCompile(` target=/(\d+) `).FindStringSubmatch(line)[1])
		if err != nil || i >= requests {
			t.Errorf("reported %s", line)
		}
	}
}
