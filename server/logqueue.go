package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

const (
	// logLinesMax and logBytesMax bound the lines that wait for a Logger that does not keep
	// up: more than a burst has, and little memory even where each has a stack. Those
	// beyond are dropped, and counted.
	logLinesMax = 1024
	logBytesMax = 4 << 20

	// logFlushTime is how long the end of a server, and the start and the end of a process, wait
	// for them to be written. A reader that reads takes it in microseconds; the rest is for a
	// machine that is busy.
	logFlushTime = time.Second
)

// logQueue hands log lines, and refusals for an access log, over to the operator's Logger, in
// order, on a goroutine of its own, which ends when there are none. So a Logger that blocks (a
// full pipe, a slow disk, a network) holds no loop, no lock, no timer and no signal. What a
// process prints and what it tells systemd have one each, for the same reason.
type logQueue struct {
	mu      sync.Mutex
	lines   []logLine
	bytes   int           // of lines
	dropped int           // lines, since the last that was handed over
	idle    chan struct{} // closed when all is handed over; nil while there is no goroutine
}

// logLine is a line for a Logger, or a call that logs by itself.
type logLine struct {
	to     slog.Handler
	record slog.Record
	call   func() // in place of both
	bytes  int
}

// logger returns a Logger that queues what is logged, for l to write.
func (q *logQueue) logger(l *slog.Logger) *slog.Logger {
	return slog.New(&queueHandler{q, l.Handler()})
}

// do has call made, which logs so many bytes.
func (q *logQueue) do(bytes int, call func()) { q.put(logLine{call: call, bytes: bytes}) }

// print has a line written to w.
func (q *logQueue) print(w io.Writer, line string) {
	q.do(len(line), func() { fmt.Fprintln(w, line) })
}

func (q *logQueue) put(line logLine) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) == logLinesMax || q.bytes+line.bytes > logBytesMax {
		q.dropped++
		return
	}
	q.lines = append(q.lines, line)
	q.bytes += line.bytes
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.write()
	}
}

// write hands lines over until there are none.
func (q *logQueue) write() {
	ended := false
	defer func() {
		if !ended {
			go q.write() // a Logger has ended the goroutine: runtime.Goexit
		}
	}()
	dropped := 0
	for line, more := q.next(&dropped); more; line, more = q.next(&dropped) {
		if line.call != nil {
			called(line.call)
			continue
		}
		if dropped > 0 {
			r := slog.NewRecord(time.Now(), slog.LevelWarn, "lines of the log were dropped: it does not keep up", 0)
			r.AddAttrs(slog.Int("lines", dropped))
			dropped = 0
			handOver(line.to, r)
		}
		handOver(line.to, line.record)
	}
	ended = true
}

// next takes the oldest line, if there is one, and adds those dropped before it.
func (q *logQueue) next(dropped *int) (line logLine, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) == 0 {
		q.lines = nil // grown by a burst
		close(q.idle)
		q.idle, q.dropped = nil, *dropped
		return logLine{}, false
	}
	line = q.lines[0]
	*dropped += q.dropped
	q.lines[0] = logLine{}
	q.lines = q.lines[1:]
	q.bytes -= line.bytes
	q.dropped = 0
	return line, true
}

func handOver(to slog.Handler, r slog.Record) {
	called(func() { _ = to.Handle(context.Background(), r) })
}

// called calls the operator's code: a line that panics is lost, and no more.
func called(call func()) {
	defer func() { _ = recover() }()
	call()
}

// flush waits until the lines so far are written, but not longer than d.
func (q *logQueue) flush(d time.Duration) {
	q.mu.Lock()
	idle := q.idle
	q.mu.Unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-time.After(d):
	}
}

// queueHandler is the slog.Handler that fills the queue.
type queueHandler struct {
	q  *logQueue
	to slog.Handler
}

func (h *queueHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.to.Enabled(ctx, level)
}

func (h *queueHandler) Handle(_ context.Context, r slog.Record) error {
	line := logLine{to: h.to, record: slog.NewRecord(r.Time, r.Level, r.Message, r.PC), bytes: len(r.Message)}
	r.Attrs(func(a slog.Attr) bool {
		a.Value = rendered(a.Value)
		line.bytes += len(a.Key) + len(a.Value.String())
		line.record.AddAttrs(a)
		return true
	})
	h.q.put(line)
	return nil
}

func (h *queueHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &queueHandler{h.q, h.to.WithAttrs(attrs)}
}

func (h *queueHandler) WithGroup(name string) slog.Handler {
	return &queueHandler{h.q, h.to.WithGroup(name)}
}

// rendered is v as a value that does not change any more. The text of an error or of what
// was thrown may be that of a request, which is lent: it is made while it is good, and by
// package fmt, which recovers where the methods of such a value panic.
func rendered(v slog.Value) slog.Value {
	v = v.Resolve()
	if v.Kind() != slog.KindAny {
		return v
	}
	switch x := v.Any().(type) {
	case netip.AddrPort:
		return v
	case error:
		return slog.StringValue(fmt.Sprint(x))
	default:
		return slog.StringValue(fmt.Sprintf("%+v", x))
	}
}
