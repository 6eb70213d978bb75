package openloop

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"go.uber.org/goleak"

	"github.com/isbjorn/isbjorn/internal/testrun"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	answer  = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
)

// serve answers each request with what say returns for it, until it returns false.
func serve(t *testing.T, say func() (string, bool)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				for in := bufio.NewReader(c); ; {
					for line := ""; line != "\r\n"; {
						if line, err = in.ReadString('\n'); err != nil {
							return
						}
					}
					out, more := say()
					if _, err := io.WriteString(c, out); err != nil || !more {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); running.Wait() })
	return l.Addr().String()
}

func good() (string, bool) { return answer, true }

func load(addr string) Load {
	return Load{Addr: addr, Request: request, Answer: len(answer), Conns: 4, Rate: 1000, Duration: time.Second}
}

func TestRun(t *testing.T) {
	l := load(serve(t, good))
	l.Duration = 300 * time.Millisecond
	r, err := Run(t.Context(), l)
	if err != nil || r.Requests != 300 || r.Errors != 0 || r.Unanswered != 0 || r.Latency.TotalCount() != 300 || r.Late.TotalCount() != 300 {
		t.Fatalf("%v, %+v", err, r)
	}
	if r.Answered < 200 || r.Answered > 1000 {
		t.Errorf("%g answers a second, want about 1000", r.Answered)
	}
	if r.Busy <= 0 || r.Busy >= 1 {
		t.Errorf("busy %g", r.Busy)
	}
}

// Of 1000 requests, one each millisecond, the 200 that are due while the server stalls wait
// for its end: the first for 200 ms, the last for 0. Which is what a closed loop on 4
// connections omits: it would see 4 that wait.
func TestStallShowsInProportion(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it measures for a second")
	}
	const stall = 200 * time.Millisecond
	var lock sync.Mutex
	served := 0
	addr := serve(t, func() (string, bool) {
		lock.Lock()
		defer lock.Unlock()
		if served++; served == 300 {
			time.Sleep(stall) // it is what is measured
		}
		return answer, true
	})
	r, err := Run(t.Context(), load(addr))
	if err != nil || r.Errors != 0 || r.Unanswered != 0 {
		t.Fatalf("%v, %+v", err, r)
	}
	for _, tt := range []struct {
		quantile float64
		atLeast  time.Duration
	}{
		{99.9, 195 * time.Millisecond},
		{99, 185 * time.Millisecond},
		{95, 145 * time.Millisecond},
		{90, 95 * time.Millisecond},
		{85, 45 * time.Millisecond},
	} {
		if got := time.Duration(r.Latency.ValueAtQuantile(tt.quantile)); got < tt.atLeast {
			t.Errorf("p%g is %v, want %v at least", tt.quantile, got, tt.atLeast)
		}
	}
	if got := time.Duration(r.Latency.ValueAtQuantile(50)); got > 100*time.Millisecond {
		t.Errorf("p50 is %v: four fifths were not in the stall", got)
	}
	if late := time.Duration(r.Late.ValueAtQuantile(95)); late > 100*time.Millisecond {
		t.Errorf("the generator was late by %v: it takes the server's stall for its own", late)
	}
}

// Who is never answered waits until the end, and that is in the percentiles.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	l := load(serve(t, func() (string, bool) { return "", true }))
	l.Duration = 200 * time.Millisecond
	r, err := Run(t.Context(), l)
	if err != nil || r.Requests != 200 || r.Unanswered != 200 || r.Answered != 0 || r.Latency.TotalCount() != 200 {
		t.Fatalf("%v, %+v", err, r)
	}
	if r.Busy > 0.5 {
		t.Errorf("busy %.2f with nothing to do", r.Busy)
	}
	if least := time.Duration(r.Latency.Min()); least < drain*99/100 /* as exact as the histogram */ {
		t.Errorf("one waited %v, all waited %v at least", least, drain)
	}
}

// All are due at once and can all be sent, which takes the generator its time: no server
// is to blame.
func TestGeneratorThatCannotKeepUp(t *testing.T) {
	l := load(serve(t, good))
	l.Conns, l.Rate, l.Duration = 2000, 2e9, time.Microsecond
	r, err := Run(t.Context(), l)
	if err != nil || r.Requests != l.Conns {
		t.Fatalf("%v, %+v", err, r)
	}
	if r.KeptUp() {
		t.Errorf("%d requests at once: busy %.2f, late %v", l.Conns, r.Busy, time.Duration(r.Late.ValueAtQuantile(99)))
	}
}

func TestKeptUp(t *testing.T) {
	for _, tt := range []struct {
		late time.Duration
		busy float64
		want bool
	}{
		{time.Microsecond, 0.5, true},
		{2 * time.Millisecond, 0.5, false},
		{time.Microsecond, 0.97, false}, // answers lie unread
	} {
		r := Result{Late: hdrhistogram.New(1, latencyMax, digits), Busy: tt.busy}
		_ = r.Late.RecordValue(int64(tt.late))
		if got := r.KeptUp(); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "runs a load")
	for name, out := range map[string]string{
		"status": strings.Replace(answer, "200", "500", 1),
		"long":   answer + "!",
		"twice":  answer + answer,
	} {
		t.Run(name, func(t *testing.T) {
			l := load(serve(t, func() (string, bool) { return out, true }))
			r, err := Run(t.Context(), l)
			if !errors.Is(err, errNoConnection) || r.Errors != l.Conns || r.Latency.TotalCount() != 0 {
				t.Errorf("%v, %+v", err, r)
			}
		})
	}
	t.Run("lost", func(t *testing.T) {
		var lock sync.Mutex
		served := 0
		r, err := Run(t.Context(), load(serve(t, func() (string, bool) {
			lock.Lock()
			defer lock.Unlock()
			served++
			return answer, served != 50 && served != 60 // two of the four connections
		})))
		if err != nil || r.Errors != 2 || r.Latency.TotalCount() < 990 {
			t.Errorf("%v, %+v", err, r)
		}
	})
}

func TestRefused(t *testing.T) {
	addr := serve(t, good)
	for name, spoil := range map[string]func(*Load){
		"conns":    func(l *Load) { l.Conns = 0 },
		"rate":     func(l *Load) { l.Rate = 0 },
		"duration": func(l *Load) { l.Duration = 0 },
		"answer":   func(l *Load) { l.Answer = 0 },
		"addr":     func(l *Load) { l.Addr = "127.0.0.1" },
		"nobody":   func(l *Load) { l.Addr = "127.0.0.1:1" },
	} {
		l := load(addr)
		spoil(&l)
		if r, err := Run(t.Context(), l); err == nil || !strings.HasPrefix(err.Error(), "openloop: ") {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, load(addr)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
