package logqueue

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/testlog"
)

// Lines that a Logger does not take wait, within bounds; those beyond are counted.
func TestQueue(t *testing.T) {
	stuck, log := testlog.NewStuck()
	var q Queue
	l := q.Logger(slog.New(stuck))
	l.Warn("first")
	<-stuck.At
	for i := range linesMax + 10 {
		l.Warn("line", "i", i)
	}
	large := strings.Repeat("x", bytesMax)
	l.Warn("large", "stack", large)
	close(stuck.Release)
	q.Flush(20 * time.Second)
	l.Warn("last")
	q.Flush(20 * time.Second)
	text := log.String()
	if n := strings.Count(text, "msg=line"); n != linesMax {
		t.Errorf("%d lines, want %d", n, linesMax)
	}
	if !strings.Contains(text, "lines=11") || strings.Contains(text, large) {
		t.Errorf("no line says that 11 were dropped: %.300s", text)
	}
	if strings.Index(text, "msg=first") > strings.Index(text, "i=0") || !strings.HasSuffix(text, "msg=last\n") {
		t.Errorf("out of order: %.300s", text)
	}
}

// A Logger that panics or ends its goroutine costs its line and nothing else.
func TestBadLogger(t *testing.T) {
	log := &testlog.Buffer{}
	var q Queue
	l := q.Logger(slog.New(badLog{slog.NewTextHandler(log, nil)}))
	for _, msg := range []string{"one", "panic", "two", "goexit", "three"} {
		l.Warn(msg)
	}
	q.Flush(20 * time.Second)
	if text := log.String(); strings.Count(text, "\n") != 3 || !strings.HasSuffix(text, "msg=three\n") {
		t.Fatalf("want three of five lines, the last of them three:\n%s", text)
	}
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
func TestRenders(t *testing.T) {
	stuck, log := testlog.NewStuck()
	var q Queue
	l := q.Logger(slog.New(stuck)).With("with", 1)
	text := "before"
	l.Warn("line", slog.Any("error", lentError{&text}), slog.Any("panic", &text), slog.Any("wrapped", fmt.Errorf("why: %w", lentError{&text})))
	text = "after"
	close(stuck.Release)
	q.Flush(20 * time.Second)
	if got := log.String(); !strings.Contains(got, `with=1 error=before panic=`) || !strings.Contains(got, `wrapped="why: before"`) || strings.Contains(got, "after") {
		t.Errorf("logged %s", got)
	}
}

type lentError struct{ text *string }

func (e lentError) Error() string { return *e.text }
