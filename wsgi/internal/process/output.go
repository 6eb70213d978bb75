//go:build linux

package process

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// recordBytesMax is the longest record of what a worker prints; more is another one.
	recordBytesMax = 64 << 10

	// joinTime: lines that come this soon after each other are one record, so that a traceback is not mixed with
	// those of other workers.
	joinTime = 10 * time.Millisecond

	// partTime is how long a line without its end is waited for.
	partTime = 150 * time.Millisecond

	// lastBytes of what was printed are kept, for a worker that does not start.
	lastBytes = 4 << 10
)

// output reads what a worker prints, and writes it to the log.
type output struct {
	f      *os.File
	log    *slog.Logger
	number int
	done   chan struct{}

	mu   sync.Mutex
	tail []byte
}

func newOutput(f *os.File, log *slog.Logger, number int) *output {
	return &output{f: f, log: log, number: number, done: make(chan struct{})}
}

// run reads to the end.
func (o *output) run() {
	defer close(o.done)
	defer o.f.Close()
	var buf []byte
	chunk := make([]byte, 16<<10)
	var first time.Time // of what is in buf
	for {
		wait := time.Time{}
		switch {
		case len(buf) == 0:
		case buf[len(buf)-1] == '\n':
			wait = time.Now().Add(joinTime)
		default:
			wait = first.Add(partTime)
		}
		_ = o.f.SetReadDeadline(wait)
		n, err := o.f.Read(chunk)
		if n > 0 {
			if len(buf) == 0 {
				first = time.Now()
			}
			buf = append(buf, chunk[:n]...)
			o.keep(chunk[:n])
		}
		for len(buf) >= recordBytesMax {
			cut := bytes.LastIndexByte(buf[:recordBytesMax], '\n') + 1
			if cut == 0 {
				cut = recordBytesMax
			}
			o.write(buf[:cut])
			buf = append(buf[:0], buf[cut:]...)
		}
		switch {
		case err == nil:
			if time.Since(first) > partTime { // it prints without a pause
				if cut := bytes.LastIndexByte(buf, '\n') + 1; cut > 0 {
					o.write(buf[:cut])
					buf, first = append(buf[:0], buf[cut:]...), time.Now()
				}
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
			o.write(buf)
			buf = buf[:0]
		default:
			o.write(buf)
			return
		}
	}
}

func (o *output) keep(b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail = append(o.tail, b...)
	if n := len(o.tail) - lastBytes; n > 0 {
		o.tail = append(o.tail[:0], o.tail[n:]...)
	}
}

// last is the last that was printed.
func (o *output) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.ToValidUTF8(string(o.tail), "\ufffd")
}

// write makes one record.
func (o *output) write(b []byte) {
	text := strings.Trim(strings.ToValidUTF8(string(b), "\ufffd"), "\n")
	if text = strings.ReplaceAll(text, "\x00", ""); text != "" {
		o.log.Info(text, slog.Int("worker", o.number))
	}
}

// finish ends run when the process has ended: what it has printed is read, and a child that has the pipe is not waited
// for.
func (o *output) finish() {
	select {
	case <-o.done:
		return
	case <-time.After(200 * time.Millisecond):
	}
	_ = o.f.Close()
	<-o.done
}
