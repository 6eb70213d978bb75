package sched_test

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/isbjorn/isbjorn/internal/sched"
)

// On one processor all that is ready runs before Yield returns, and in its turn.
func TestYield(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var ran atomic.Int32
	ends := make(chan struct{})
	const n = 100
	for range n {
		go func() {
			<-ends
			ran.Add(1)
		}()
	}
	for range n { // each has to be at its receive
		sched.Yield()
	}
	close(ends)
	for range n { // the scheduler looks elsewhere each 61st time
		sched.Yield()
	}
	if ran.Load() != n {
		t.Errorf("%d of %d goroutines have run", ran.Load(), n)
	}
}

func BenchmarkYield(b *testing.B) {
	for b.Loop() {
		sched.Yield()
	}
}

func BenchmarkGosched(b *testing.B) {
	for b.Loop() {
		runtime.Gosched()
	}
}
