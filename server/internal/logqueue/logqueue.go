// Package logqueue hands log lines over to an operator's Logger on a goroutine of its own, so that a
// Logger that blocks (a full pipe, a slow disk, a network) holds no event loop, no lock, no timer and
// no signal.
package logqueue

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
	// linesMax and bytesMax bound the lines that wait: more than a burst has, and little memory even
	// where each has a stack. Further lines are dropped and counted.
	linesMax = 1024
	bytesMax = 4 << 20

	// FlushTime is how long the end of a server, and the start and the end of a process, wait for
	// Flush. A reader that reads takes microseconds; the rest is for a busy machine.
	FlushTime = time.Second
)

// Queue is a bounded queue of lines and calls, handed over in order by one goroutine, which ends when
// the queue is empty. The zero value is ready. Its methods may be called from any goroutine and do not
// wait, except Flush.
type Queue struct {
	mu      sync.Mutex
	lines   []line
	bytes   int           // of lines
	dropped int           // lines, since the last that was handed over
	idle    chan struct{} // closed when all is handed over; nil while there is no goroutine
}

// line is a record for a slog.Handler, or a call that logs by itself.
type line struct {
	to     slog.Handler
	record slog.Record
	call   func() // in place of both
	bytes  int
}

// Logger returns a Logger whose lines are queued and then written by l. The text of errors and of
// other values is made at once: they may be views of a request.
func (q *Queue) Logger(l *slog.Logger) *slog.Logger {
	return slog.New(&handler{q, l.Handler()})
}

// Do queues a call that logs so many bytes.
func (q *Queue) Do(bytes int, call func()) { q.put(line{call: call, bytes: bytes}) }

// Print queues a line for w.
func (q *Queue) Print(w io.Writer, text string) {
	q.Do(len(text), func() { fmt.Fprintln(w, text) })
}

func (q *Queue) put(l line) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) == linesMax || q.bytes+l.bytes > bytesMax {
		q.dropped++
		return
	}
	q.lines = append(q.lines, l)
	q.bytes += l.bytes
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.run()
	}
}

// run hands lines over until the queue is empty.
func (q *Queue) run() {
	ended := false
	defer func() {
		if !ended {
			go q.run() // a Logger has called runtime.Goexit
		}
	}()
	dropped := 0
	for l, ok := q.next(&dropped); ok; l, ok = q.next(&dropped) {
		if l.call != nil {
			guarded(l.call)
			continue
		}
		if dropped > 0 {
			r := slog.NewRecord(time.Now(), slog.LevelWarn, "lines of the log were dropped: it does not keep up", 0)
			r.AddAttrs(slog.Int("lines", dropped))
			dropped = 0
			handOver(l.to, r)
		}
		handOver(l.to, l.record)
	}
	ended = true
}

// next removes the oldest line and adds the lines that were dropped before it to dropped. It reports
// false when the queue is empty; then Flush returns and the next put starts another goroutine.
func (q *Queue) next(dropped *int) (l line, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) == 0 {
		q.lines = nil // it may have grown in a burst
		close(q.idle)
		q.idle, q.dropped = nil, *dropped // calls alone have no Handler to tell of them
		return line{}, false
	}
	l = q.lines[0]
	*dropped += q.dropped
	q.lines[0] = line{}
	q.lines = q.lines[1:]
	q.bytes -= l.bytes
	q.dropped = 0
	return l, true
}

func handOver(to slog.Handler, r slog.Record) {
	guarded(func() { _ = to.Handle(context.Background(), r) })
}

// guarded calls the operator's code. A line that panics is lost, and no other.
func guarded(call func()) {
	defer func() { _ = recover() }()
	call()
}

// Flush waits until the lines queued so far are handed over, at most d.
func (q *Queue) Flush(d time.Duration) {
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

// handler is the slog.Handler that fills the queue.
type handler struct {
	q  *Queue
	to slog.Handler
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.to.Enabled(ctx, level)
}

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	l := line{to: h.to, record: slog.NewRecord(r.Time, r.Level, r.Message, r.PC), bytes: len(r.Message)}
	r.Attrs(func(a slog.Attr) bool {
		a.Value = rendered(a.Value)
		l.bytes += len(a.Key) + len(a.Value.String())
		l.record.AddAttrs(a)
		return true
	})
	h.q.put(l)
	return nil
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.q, h.to.WithAttrs(attrs)}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.q, h.to.WithGroup(name)}
}

// rendered is v as a value that does not change any more. The text of an error, or of the value of a
// panic, may be that of a request, whose memory is used again: it is made while it is good, and by
// package fmt, which recovers from a panic in the methods of such a value.
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
