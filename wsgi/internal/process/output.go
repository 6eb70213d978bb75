//go:build linux

package process

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// recordBytesMax is the longest record of what a worker prints; more is another one.
	recordBytesMax = 64 << 10

	// joinTime: lines that come this soon after each other are one record, so that a traceback is not mixed with
	// those of other workers.
	joinTime = 10 * time.Millisecond

	// partTime is how long a line without its end, or lines without a pause, are waited for.
	partTime = 150 * time.Millisecond

	// lastBytes of what was printed are kept, for the report of a death.
	lastBytes = 4 << 10

	// restBytesMax is how much is read after the end of the process: what its pipe can have, and no more of what a
	// child of it that prints on and on writes.
	restBytesMax = 1 << 20
)

// output reads what a worker prints, and writes it to the log.
type output struct {
	f      *os.File
	log    *slog.Logger
	number int
	done   chan struct{}

	mu    sync.Mutex
	tail  []byte
	ended bool // the process has ended

	rest int // bytes that were read since
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
		n, err := o.read(chunk, wait)
		if n > 0 {
			if len(buf) == 0 {
				first = time.Now()
			}
			buf = append(buf, chunk[:n]...)
			o.keep(chunk[:n])
		}
		for len(buf) >= recordBytesMax {
			buf = o.writeLines(buf, recordBytesMax)
		}
		switch {
		case err == nil:
			if time.Since(first) > partTime && bytes.IndexByte(buf, '\n') >= 0 {
				buf, first = o.writeLines(buf, len(buf)), time.Now()
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

// read waits for what is printed, until a time. When the process has ended it waits for nothing: a child of it may
// have the pipe still.
func (o *output) read(b []byte, until time.Time) (n int, err error) {
	o.mu.Lock()
	ended := o.ended
	if !ended {
		_ = o.f.SetReadDeadline(until)
	}
	o.mu.Unlock()
	if !ended {
		n, err = o.f.Read(b)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		o.mu.Lock()
		ended = o.ended
		o.mu.Unlock()
		if !ended {
			return n, err
		}
	}
	_ = o.f.SetReadDeadline(time.Time{})
	raw, err := o.f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, failed = unix.Read(int(fd), b)
		return true
	})
	if o.rest += max(n, 0); err != nil || failed != nil || n <= 0 || o.rest > restBytesMax {
		return max(n, 0), io.EOF
	}
	return n, nil
}

// finish has run read what the process has printed before its end, and waits for that.
func (o *output) finish() {
	o.mu.Lock()
	o.ended = true
	_ = o.f.SetReadDeadline(time.Now())
	o.mu.Unlock()
	<-o.done
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
	return readable(o.tail)
}

// writeLines writes the whole lines of the first max bytes of buf, or all of these if there is none, and returns what
// is left.
func (o *output) writeLines(buf []byte, max int) []byte {
	cut := bytes.LastIndexByte(buf[:max], '\n') + 1
	if cut == 0 {
		cut = max
	}
	o.write(buf[:cut])
	return append(buf[:0], buf[cut:]...)
}

// write makes one record.
func (o *output) write(b []byte) {
	if text := strings.Trim(readable(b), "\n"); text != "" {
		o.log.Info(text, slog.Int("worker", o.number))
	}
}

// readable is b as UTF-8 without NUL.
func readable(b []byte) string {
	return strings.ReplaceAll(strings.ToValidUTF8(string(b), "\ufffd"), "\x00", "")
}
