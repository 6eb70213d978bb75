package logs

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// blocked is a writer that waits in each Write for a value, and takes what it is given.
type blocked struct {
	let  chan error
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *blocked) Write(p []byte) (int, error) {
	err := <-b.let
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.text.Write(p)
	}
	return len(p), err
}

// Lines come in order and whole, from many goroutines, and all of them before Close returns.
func TestWriter(t *testing.T) {
	var text bytes.Buffer
	w := NewWriter(&text, func(lines uint64, err error) { t.Errorf("%d lines dropped, %v", lines, err) })
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for n := range 1000 {
				fmt.Fprintf(w, "%d %d\n", i, n)
			}
		})
	}
	group.Wait()
	w.Close(time.Minute)
	next := [4]int{}
	for line := range strings.Lines(text.String()) {
		var i, n int
		if _, err := fmt.Sscanf(line, "%d %d\n", &i, &n); err != nil || n != next[i] {
			t.Fatalf("%q after %d lines of this goroutine", line, next[i])
		}
		next[i]++
	}
	if next != [4]int{1000, 1000, 1000, 1000} {
		t.Errorf("%d lines", next)
	}
}

// A destination that blocks costs lines, which are counted, and never a wait.
func TestWriterDrops(t *testing.T) {
	b := &blocked{let: make(chan error)}
	reported := make(chan uint64, 8)
	w := NewWriter(b, func(lines uint64, err error) {
		if reported <- lines; err != nil {
			t.Error(err)
		}
	})
	line := []byte(strings.Repeat("x", 1023) + "\n")
	const sent = 4096
	for range sent { // 4 MiB
		if n, err := w.Write(line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	dropped := <-reported // while the destination still blocks
	go func() {
		for {
			b.let <- nil
		}
	}()
	w.Close(time.Minute)
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := bytes.Count(b.text.Bytes(), line)
	for len(reported) > 0 {
		dropped += <-reported
	}
	if want := uint64(sent - kept); dropped != want || kept < memoryBytes/len(line) || kept > 2*memoryBytes/len(line) {
		t.Errorf("%d lines were reported, want %d", dropped, want)
	}
}

// An error of the destination is reported, and later lines are written.
func TestWriterError(t *testing.T) {
	b := &blocked{let: make(chan error, 1)}
	reports := make(chan string, 1)
	w := NewWriter(b, func(lines uint64, err error) { reports <- fmt.Sprint(lines, " ", err) })
	b.let <- errors.New("disk full")
	_, _ = w.Write([]byte(strings.Repeat("lost\n", writeBytes)))
	if got, want := <-reports, fmt.Sprint(writeBytes, " disk full"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	_, _ = w.Write([]byte("kept\n"))
	b.let <- nil
	w.Close(time.Minute)
	if b.text.String() != "kept\n" {
		t.Errorf("%q", b.text.String())
	}
}

// What is lost between two reports is reported by Close.
func TestWriterLastReport(t *testing.T) {
	b := &blocked{let: make(chan error, 2)}
	reports := make(chan string, 2)
	w := NewWriter(b, func(lines uint64, err error) { reports <- fmt.Sprint(lines, " ", err) })
	for range 2 {
		b.let <- errors.New("disk full")
	}
	full := []byte(strings.Repeat("x", writeBytes) + "\n")
	_, _ = w.Write(full)
	first := <-reports
	_, _ = w.Write(append(full, "y\n"...))
	w.Close(time.Minute)
	if second := <-reports; first != "1 disk full" || second != "2 disk full" {
		t.Errorf("%s, %s", first, second)
	}
}

// Close does not wait for a destination that blocks, and what is queued behind is reported.
func TestWriterClose(t *testing.T) {
	b := &blocked{let: make(chan error)}
	reports := make(chan uint64, 1)
	w := NewWriter(b, func(lines uint64, _ error) { reports <- lines })
	_, _ = w.Write([]byte(strings.Repeat("x", writeBytes) + "\n"))
	for queued := true; queued; { // until the first is being written
		w.mu.Lock()
		queued = len(w.queued) > 0
		w.mu.Unlock()
		runtime.Gosched()
	}
	_, _ = w.Write([]byte("y\nz\n"))
	w.Close(time.Millisecond)
	if n := <-reports; n != 2 {
		t.Errorf("%d lines were reported, want 2", n)
	}
	b.let <- nil
	<-w.finished
}
