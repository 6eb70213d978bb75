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

	mu       sync.Mutex
	wake     sync.Cond
	queued   []byte
	lost     uint64 // lines, since the last report
	lostErr  error  // of the last write that failed
	closed   bool
	finished chan struct{}
}

// NewWriter returns a Writer to w. It calls dropped, on its goroutine and every 10 s at most, when lines were lost:
// because w does not keep up, or with the error of w.
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
		w.lost += uint64(max(1, bytes.Count(p, []byte("\n"))))
		return len(p), nil
	}
	was := len(w.queued)
	w.queued = append(w.queued, p...)
	if was == 0 || was < writeBytes && len(w.queued) >= writeBytes {
		w.wake.Signal()
	}
	return len(p), nil
}

// run writes what is queued: when a second has passed, or 64 KiB are there.
func (w *Writer) run() {
	defer close(w.finished)
	var spare []byte
	var reported time.Time
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
			w.lost += uint64(bytes.Count(lines, []byte("\n")))
			w.lostErr = err
		}
		if spare = lines; cap(spare) > 4*writeBytes { // a burst must not keep its memory
			spare = nil
		}
		if w.lost > 0 && time.Since(reported) >= reportTime {
			lost, err := w.lost, w.lostErr
			w.lost, w.lostErr, reported = 0, nil, time.Now()
			w.mu.Unlock()
			w.dropped(lost, err)
			w.mu.Lock()
		}
	}
}

// Close writes what is queued and ends the goroutine. It waits until that is done, at most d; it does not close the
// writer behind. Later lines are dropped.
func (w *Writer) Close(d time.Duration) {
	w.mu.Lock()
	w.closed = true
	w.wake.Broadcast()
	w.mu.Unlock()
	select {
	case <-w.finished:
	case <-time.After(d):
	}
}
