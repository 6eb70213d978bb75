package logs

import (
	"bytes"
	"errors"
	"fmt"
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
	reports := make(chan string, 1)
	w := NewWriter(b, func(lines uint64, err error) { reports <- fmt.Sprint(lines, err) })
	line := []byte(strings.Repeat("x", 1023) + "\n")
	const sent = 4096
	for range sent { // 4 MiB
		if n, err := w.Write(line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	go func() {
		for {
			b.let <- nil
		}
	}()
	got := <-reports
	w.Close(time.Minute)
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := bytes.Count(b.text.Bytes(), line)
	if want := fmt.Sprint(sent-kept, " <nil>"); got != want || kept < memoryBytes/len(line) || kept > 2*memoryBytes/len(line) {
		t.Errorf("reported %s, want %s", got, want)
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

// Close does not wait for a destination that blocks.
func TestWriterClose(t *testing.T) {
	b := &blocked{let: make(chan error)}
	w := NewWriter(b, func(uint64, error) {})
	_, _ = w.Write([]byte("x\n"))
	w.Close(time.Millisecond)
	b.let <- nil
	<-w.finished
}
