package loop

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// takeOver gives the loop of a hold another goroutine, where c says that it is held.
func (h *lineHold) takeOver(t *testing.T) {
	t.Helper()
	if err := h.c.Loop().TakeOver(h.c, h.unused, func() {
		h.c.Pause()
		h.c.Send([]byte("held\n"))
	}); err != nil {
		t.Fatal(err)
	}
}

// A loop whose goroutine is held goes on with another: with what had come in the same
// batch of events, tasks, timers, new connections, and what was behind.
func TestTakeOver(t *testing.T) {
	for _, command := range []string{"hold\necho behind\n", "hold later\necho behind\n"} {
		t.Run(command[:10], func(t *testing.T) {
			s := startLines(t, Options{Loops: 1}, "")
			l := s.r.Loops()[0]
			first := s.dial()
			first.send("echo a\ntimeout 1\n")
			first.want("a\ntimeout\n")
			var others []*client
			for range 50 {
				c := s.dial()
				c.send("echo b\n")
				c.want("b\n")
				others = append(others, c)
			}

			busy, goOn := make(chan bool), make(chan bool)
			l.Do(func() { close(busy); <-goOn })
			<-busy
			first.send(command)
			for i, c := range others { // all of them come in one batch
				c.send(fmt.Sprintf("echo c%d\n", i))
			}
			late := s.dial()
			late.send("echo d\n")
			ran := make(chan bool)
			l.Do(func() { close(ran) })
			close(goOn)
			hold := <-s.holds
			hold.takeOver(t)

			first.want("held\n")
			for i, c := range others {
				c.want(fmt.Sprintf("c%d\n", i))
			}
			late.want("d\n")
			<-ran
			late.send("timeout 10\n")
			late.want("timeout\n")
			last := s.dial()
			last.send("echo e\nbig 3000000\n")
			last.want("e\n")
			last.wantBytes(pattern(3000000))
			l.Do(hold.c.Resume)
			first.want("behind\n")

			// The goroutine that was held comes back, or does not before the loop ends.
			if command == "hold later\necho behind\n" {
				close(hold.release)
				first.send("echo f\n")
				first.want("f\n")
				return
			}
			s.r.Stop()
			select {
			case <-s.r.Done():
			case <-time.After(10 * time.Second):
				t.Error("it does not stop")
			}
			close(hold.release)
		})
	}
}

// It may happen again and again; the first one comes back in between.
func TestTakeOverAgain(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	var holds []*lineHold
	for range 5 {
		c := s.dial()
		c.send("hold\n")
		hold := <-s.holds
		hold.takeOver(t)
		c.want("held\n")
		holds = append(holds, hold)
	}
	for _, i := range []int{0, 4, 2, 1, 3} {
		close(holds[i].release)
		c := s.dial()
		c.send("echo a\n")
		c.want("a\n")
	}
}

// The connection that holds the loop may be lost meanwhile.
func TestTakeOverOfALostConnection(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	c := s.dial()
	c.send("hold\n")
	hold := <-s.holds
	c.reset()
	hold.takeOver(t)
	if err := s.waitClosed(1)[0]; err == nil { // by the write, or by the event of the reset
		t.Error("it ended in order")
	}
	close(hold.release)
}

// Timers of the wheel fire although one of their callbacks holds the loop.
func TestTakeOverOfTimers(t *testing.T) {
	var w wheel
	w.init()
	conns := make([]Conn, 4)
	for i := range conns {
		conns[i].timeout.conn = &conns[i]
		w.schedule(&conns[i].timeout, int64(1+i/2)) // two in each slot
	}
	fired := map[*Conn]int{}
	held := make(chan bool)
	go func() {
		defer close(held)
		w.advance(3, func(c *Conn) {
			fired[c]++
			runtime.Goexit()
		})
	}()
	<-held
	w.advance(3, func(c *Conn) { fired[c]++ })
	for i := range conns {
		if fired[&conns[i]] != 1 {
			t.Errorf("timer %d fired %d times, want once", i, fired[&conns[i]])
		}
	}
}

// A callback that ends its goroutine ends its connection, after what was sent before, and
// nothing else: not what came in the same batch of events, nor tasks, timers and listeners.
func TestGoexit(t *testing.T) {
	for _, where := range []string{"Input", "Drained", "Timeout", "EOF", "Hungup", "Closed", "Input, Exited", "Input, Closed", "Opened", "Tick", "task"} {
		t.Run(where, func(t *testing.T) {
			s := startLines(t, Options{Loops: 1, Tick: time.Millisecond}, "")
			l := s.r.Loops()[0]
			c := s.dial()
			c.send("echo a\n")
			c.want("a\n")
			var others []*client
			for range 50 {
				c := s.dial()
				c.send("echo b\n")
				c.want("b\n")
				others = append(others, c)
			}
			busy, goOn := make(chan bool), make(chan bool)
			l.Do(func() { close(busy); <-goOn })
			<-busy
			want := "exited\n"
			switch where {
			case "Opened":
				s.exitOpened.Store(true)
				c = s.dial()
			case "Tick":
				s.exitTick.Store(true)
			case "task":
				l.Do(runtime.Goexit)
			case "Closed":
				c.send("exit " + where + "\n")
				want = ""
			default:
				c.send("echo before\nexit " + where + "\n")
				want = "before\nexited\n"
			}
			if where == "EOF" || where == "Hungup" {
				_ = c.Conn.(*net.TCPConn).CloseWrite()
			}
			for i, c := range others { // all of them come in one batch
				c.send(fmt.Sprintf("echo c%d\n", i))
			}
			late := s.dial()
			late.send("echo d\n")
			ran := make(chan bool)
			l.Do(func() { close(ran) })
			close(goOn)

			for i, c := range others {
				c.want(fmt.Sprintf("c%d\n", i))
			}
			late.want("d\n")
			<-ran
			late.send("timeout 10\n")
			late.want("timeout\n")
			switch where {
			case "Tick", "task":
				c.send("echo e\n")
				c.want("e\n")
			case "Closed", "Input, Exited":
				b, _ := io.ReadAll(c)
				if got := string(b); !strings.HasPrefix("before\nexited\n", got) {
					t.Errorf("read %q", got)
				}
			default:
				if b, err := io.ReadAll(c); string(b) != want || err != nil {
					t.Errorf("read %q, %v; want %q and the end", b, err, want)
				}
			}
			if n := s.exited.Load(); n == 0 || n > 2 {
				t.Errorf("Exited came %d times", n)
			}
			s.dial().send("exit Closed\n")
			last := s.dial()
			last.send("echo f\n")
			last.want("f\n")
			s.r.Stop()
			if err := s.r.Wait(); err != nil {
				t.Errorf("Wait: %v", err)
			}
		})
	}
}

// It may come from every connection that the end of the loop closes.
func TestGoexitAtTheEnd(t *testing.T) {
	s := startLines(t, Options{Loops: 2}, "")
	for range 10 {
		c := s.dial()
		c.send("exits in Closed\necho a\n")
		c.want("a\n")
	}
	s.r.Stop()
	if err := s.r.Wait(); err != nil {
		t.Errorf("Wait: %v", err)
	}
	if n := s.closed.Load(); n != 10 {
		t.Errorf("%d connections were closed", n)
	}
}
