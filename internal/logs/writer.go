// Package logs writes log lines without a wait for the disk, the pipe or the terminal that they go to.
package logs

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	// memoryBytes is how much may wait for one writer: some thousand lines of an access log.
	memoryBytes = 1 << 20

	// writeBytes is how much is written at once, and writeTime how long a line waits for others.
	writeBytes = 64 << 10
	writeTime  = time.Second

	// reportTime is the time between two reports of dropped lines.
	reportTime = 10 * time.Second
)

// A Writer takes lines and writes them on a goroutine of its own. Write never waits: when 1 MiB is queued, lines are
// dropped and counted. Each call of Write is one line, or some whole ones. Its methods may be called from any
// goroutine.
type Writer struct {
	to      io.Writer
	dropped func(lines uint64, err error)

	mu        sync.Mutex
	wake      sync.Cond
	queued    []byte
	lost      uint64    // lines, since the last report
	lostErr   error     // of the last write that failed
	reporting bool      // dropped is about to be called, or runs
	reported  time.Time // when it has returned
	closed    bool
	finished  chan struct{}
}

// NewWriter returns a Writer to w. It calls dropped when lines were lost, because w does not keep up or with the error
// of w: for the first at once, then every 10 s at most, and at Close for the rest. Two calls never run at once, and
// none delays Write.
func NewWriter(w io.Writer, dropped func(lines uint64, err error)) *Writer {
	lw := &Writer{to: w, dropped: dropped, finished: make(chan struct{})}
	lw.wake.L = &lw.mu
	go lw.run()
	return lw
}

// Write queues a copy of p. It returns len(p) and nil also for lines that are dropped.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.queued)+len(p) > memoryBytes {
		w.lost += max(1, countLines(p))
		if w.due() { // by a goroutine of its own: that of run may hang in a write
			w.reporting = true
			go func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.report()
			}()
		}
		return len(p), nil
	}
	was := len(w.queued)
	w.queued = append(w.queued, p...)
	if was == 0 || was < writeBytes && len(w.queued) >= writeBytes {
		w.wake.Signal()
	}
	return len(p), nil
}

func countLines(p []byte) uint64 { return uint64(bytes.Count(p, []byte("\n"))) }

// due reports whether a report should begin. Caller holds mu.
func (w *Writer) due() bool {
	return w.lost > 0 && !w.reporting && time.Since(w.reported) >= reportTime
}

// report calls dropped. Caller holds mu, which is released meanwhile.
func (w *Writer) report() {
	lost, err := w.lost, w.lostErr
	w.lost, w.lostErr, w.reporting = 0, nil, true
	w.mu.Unlock()
	w.dropped(lost, err)
	w.mu.Lock()
	w.reporting, w.reported = false, time.Now()
}

// run writes what is queued: when a second has passed, or 64 KiB are there.
func (w *Writer) run() {
	defer close(w.finished)
	var spare []byte
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for len(w.queued) == 0 && !w.closed {
			w.wake.Wait()
		}
		if len(w.queued) < writeBytes && !w.closed {
			timer := time.AfterFunc(writeTime, w.wake.Broadcast)
			w.wake.Wait() // for more, the time, or Close
			timer.Stop()
		}
		if len(w.queued) == 0 && w.closed {
			return
		}
		lines := w.queued
		w.queued = spare[:0]
		w.mu.Unlock()
		_, err := w.to.Write(lines)
		w.mu.Lock()
		if err != nil {
			w.lost += countLines(lines)
			w.lostErr = err
		}
		if spare = lines; cap(spare) > 4*writeBytes { // a burst must not keep its memory
			spare = nil
		}
		if w.due() {
			w.report()
		}
	}
}

// Close writes what is queued and ends the goroutine. It waits until that is done, at most d, and drops what is still
// queued then; it does not close the writer behind. Later lines are dropped.
func (w *Writer) Close(d time.Duration) {
	w.mu.Lock()
	w.closed = true
	w.wake.Broadcast()
	w.mu.Unlock()
	select {
	case <-w.finished:
	case <-time.After(d):
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost += countLines(w.queued)
	w.queued = nil
	if w.lost > 0 && !w.reporting {
		w.report()
	}
}
