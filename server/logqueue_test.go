package server

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testlog"
)

// stuckLog is a slog.Handler that does not return until it is released.
type stuckLog struct {
	slog.Handler
	once    sync.Once
	at      chan bool // closed by the first line
	release chan bool
}

func newStuckLog() (*stuckLog, *testlog.Buffer) {
	b := &testlog.Buffer{}
	return &stuckLog{Handler: slog.NewTextHandler(b, nil), at: make(chan bool), release: make(chan bool)}, b
}

func (l *stuckLog) Handle(ctx context.Context, r slog.Record) error {
	l.once.Do(func() { close(l.at) })
	<-l.release
	return l.Handler.Handle(ctx, r)
}

// A Logger that does not return holds nothing but the log: requests are served and
// timeouts come, on the loop whose line it is and on the others; also where the report of
// a held loop is what it does not take.
func TestLoggerBlocks(t *testing.T) {
	for _, d := range []DispatchMode{Inline, Auto, Pool} {
		for _, held := range []bool{false, true} {
			if held && d != Inline {
				continue // the loop would go on at once
			}
			t.Run(fmt.Sprintf("held %v, dispatch %d", held, d), func(t *testing.T) {
				stuck, log := newStuckLog()
				hold := make(chan bool)
				s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
					switch env.Path() {
					case "/panic":
						panic("a line of the log")
					case "/hold":
						<-hold
					}
					return hello(env, start)
				}), Logger(slog.New(stuck)), Dispatch(d), Loops(1), StallWarning(10*time.Millisecond), HeadTimeout(50*time.Millisecond))
				defer close(stuck.release)
				c := s.dial()
				if held {
					c.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n")
					<-stuck.at
					close(hold)
					c.want("GET", 200, "Hello, World!")
				} else {
					c.send("GET /panic HTTP/1.1\r\nHost: h\r\n\r\n")
					c.want("GET", 500, "Internal Server Error\n")
					<-stuck.at
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

// Lines that a Logger does not take wait, within bounds; those beyond are counted.
func TestLogQueue(t *testing.T) {
	stuck, log := newStuckLog()
	var q logQueue
	l := q.logger(slog.New(stuck))
	l.Warn("first")
	<-stuck.at
	for i := range logLinesMax + 10 {
		l.Warn("line", "i", i)
	}
	large := strings.Repeat("x", logBytesMax)
	l.Warn("large", "stack", large)
	close(stuck.release)
	q.flush(20 * time.Second)
	l.Warn("last")
	q.flush(20 * time.Second)
	text := log.String()
	if n := strings.Count(text, "msg=line"); n != logLinesMax {
		t.Errorf("%d lines, want %d", n, logLinesMax)
	}
	if !strings.Contains(text, "lines=11") || strings.Contains(text, large) {
		t.Errorf("no line says that 11 were dropped: %.300s", text)
	}
	if strings.Index(text, "msg=first") > strings.Index(text, "i=0") || !strings.HasSuffix(text, "msg=last\n") {
		t.Errorf("out of order: %.300s", text)
	}
}

// A Logger that panics or ends its goroutine costs its line and nothing else.
func TestLogQueueOfABadLogger(t *testing.T) {
	log := &testlog.Buffer{}
	var q logQueue
	l := q.logger(slog.New(badLog{slog.NewTextHandler(log, nil)}))
	for _, msg := range []string{"one", "panic", "two", "goexit", "three"} {
		l.Warn(msg)
	}
	eventually(t, "all but two lines", func() bool {
		text := log.String()
		return strings.Count(text, "\n") == 3 && strings.HasSuffix(text, "msg=three\n")
	})
}

type badLog struct{ slog.Handler }

func (l badLog) Handle(ctx context.Context, r slog.Record) error {
	switch r.Message {
	case "panic":
		panic("the log is full")
	case "goexit":
		runtime.Goexit()
	}
	return l.Handler.Handle(ctx, r)
}

// What is logged is rendered when it is: a text that is lent may change afterwards.
func TestLogQueueRenders(t *testing.T) {
	stuck, log := newStuckLog()
	var q logQueue
	l := q.logger(slog.New(stuck)).With("with", 1)
	text := "before"
	l.Warn("line", slog.Any("error", lentError{&text}), slog.Any("panic", &text), slog.Any("wrapped", fmt.Errorf("why: %w", lentError{&text})))
	text = "after"
	close(stuck.release)
	q.flush(20 * time.Second)
	if got := log.String(); !strings.Contains(got, `with=1 error=before panic=`) || !strings.Contains(got, `wrapped="why: before"`) || strings.Contains(got, "after") {
		t.Errorf("logged %s", got)
	}
}

type lentError struct{ text *string }

func (e lentError) Error() string { return *e.text }
