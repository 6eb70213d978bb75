package loop

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2/pkg/socket"

	"github.com/isbjorn/isbjorn/internal/benchmark"
)

// Every benchmark works, and its output is readable by benchstat.
func TestBenchmarks(t *testing.T) { benchmark.Verify(t) }

// answers is a handler that gives the same answer to any input.
type answers struct{ send func(c *Conn) }

func (h answers) Input(c *Conn, b []byte) int {
	h.send(c)
	return len(b)
}

func (answers) EOF(c *Conn)              { c.Close() }
func (answers) Opened(*Conn)             {}
func (answers) HungUp(*Conn)             {}
func (answers) Drained(*Conn)            {}
func (answers) Timeout(*Conn)            {}
func (answers) Closed(*Conn, error)      {}
func (answers) Tick(time.Time)           {}
func (answers) TickMissed(time.Duration) {}
func (answers) Exited(*Conn)             {}
func (answers) Refusal() []byte          { return nil }

// benchLoop makes a loop that runs until b ends.
func benchLoop(b *testing.B, send func(*Conn)) *Reactor {
	b.Helper()
	r, err := New(Options{Loops: 1, Log: slog.New(slog.DiscardHandler)}, func(*Loop) Handler { return answers{send} })
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(r.Stop)
	r.Start()
	return r
}

// roundTrips measures a byte that is answered with want, over loopback.
func roundTrips(b *testing.B, want []byte, send func(*Conn)) {
	b.Helper()
	addr, err := benchLoop(b, send).Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	ask, got := []byte("?"), make([]byte, len(want))
	b.SetBytes(int64(len(want)))
	b.ReportAllocs()
	meter := benchmark.Start(b, 0)
	for b.Loop() {
		if _, err := c.Write(ask); err != nil {
			b.Fatal(err)
		}
		if n, err := io.ReadFull(c, got); err != nil {
			b.Fatalf("after %d bytes: %v", n, err)
		}
	}
	meter.Report(b)
	if !bytes.Equal(got, want) {
		b.Errorf("%d wrong bytes", len(got))
	}
}

// BenchmarkEcho is an event, a read and a write: all that the reactor does for most requests.
func BenchmarkEcho(b *testing.B) {
	answer := pattern(200)
	roundTrips(b, answer, func(c *Conn) { c.Send(answer) })
}

// BenchmarkSend is output that the socket does not take at once: it is queued, copied or
// not, and written when the socket has room.
func BenchmarkSend(b *testing.B) {
	const socketBytes = 64 << 10 // or the kernel would take all of it
	answer := pattern(1 << 20)
	for _, way := range []struct {
		name string
		send func(*Conn)
	}{
		{"copy", func(c *Conn) { c.Send(answer) }},
		{"borrow", func(c *Conn) { c.SendBorrowed(nil, answer) }},
	} {
		b.Run("bytes=1m/by="+way.name, func(b *testing.B) {
			roundTrips(b, answer, func(c *Conn) {
				_ = socket.SetSendBuffer(int(c.fd), socketBytes)
				way.send(c)
				if c.Unsent() == 0 {
					b.Error("the socket has taken all at once")
				}
			})
		})
	}
}

// BenchmarkDo is a task for the loop. A single one, whose caller waits, wakes the loop each
// time; 64 at once share a wake-up. Every response of a worker that has blocked needs one.
func BenchmarkDo(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprintf("tasks=%d", n), func(b *testing.B) {
			l := benchLoop(b, nil).Loops()[0]
			done, left := make(chan bool, 1), n
			f := func() {
				if left--; left == 0 {
					left = n
					done <- true
				}
			}
			b.ReportAllocs()
			for range benchmark.Batches(b, n) {
				for range n {
					if !l.Do(f) {
						b.Fatal("the loop has stopped")
					}
				}
				<-done
			}
		})
	}
}

// BenchmarkWheel is a deadline in the timer wheel: moved later, as by every request; set and
// removed, as by a connection that ends; or reached.
func BenchmarkWheel(b *testing.B) {
	newWheel := func(n int) (w *wheel, conns []Conn) {
		w, conns = new(wheel), make([]Conn, n)
		w.init()
		for i := range conns {
			conns[i].timerLink.conn = &conns[i]
		}
		return w, conns
	}
	b.Run("deadline=moved", func(b *testing.B) {
		w, conns := newWheel(1)
		t := &conns[0].timerLink
		w.schedule(t, 100)
		b.ReportAllocs()
		for due := int64(100); b.Loop(); due++ {
			w.schedule(t, due)
		}
		if t.slotTick != 100 {
			b.Errorf("it is in the slot of tick %d", t.slotTick)
		}
	})
	b.Run("deadline=dropped", func(b *testing.B) {
		w, conns := newWheel(1)
		t := &conns[0].timerLink
		b.ReportAllocs()
		for due := int64(1); b.Loop(); due++ {
			w.schedule(t, due)
			t.unlink()
		}
		if t.linked() {
			b.Error("it is in a slot")
		}
	})
	b.Run("deadline=reached", func(b *testing.B) {
		const n = 2 * wheelSlots // two in each slot
		w, conns := newWheel(n)
		fired := 0
		b.ReportAllocs()
		batches := 0
		for range benchmark.Batches(b, n) {
			batches++
			for i := range conns {
				w.schedule(&conns[i].timerLink, w.now+1+int64(i%wheelSlots))
			}
			w.advance(w.now+wheelSlots, func(*Conn) { fired++ })
		}
		if fired != n*batches {
			b.Errorf("%d fired, want %d", fired, n*batches)
		}
	})
}
