package loop

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/testrun"
)

// handoff continues the loop on a new goroutine, on which c answers "handed off".
func (b *blockedCallback) handoff(t *testing.T) {
	t.Helper()
	if err := b.c.loop.Handoff(b.c, b.unused, func() {
		b.c.Pause()
		b.c.Send([]byte("handed off\n"))
	}); err != nil {
		t.Fatal(err)
	}
}

// A loop whose goroutine is blocked continues on another one: with the rest of the batch of
// events, tasks, timers, new connections, and the unused input of the blocked connection.
func TestHandoff(t *testing.T) {
	for _, command := range []string{"block\necho behind\n", "block later\necho behind\n"} {
		t.Run(command[:11], func(t *testing.T) {
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

			busy, proceed := make(chan bool), make(chan bool)
			l.Do(func() { close(busy); <-proceed })
			<-busy
			first.send(command)
			for i, c := range others { // all of them come in one batch
				c.send(fmt.Sprintf("echo c%d\n", i))
			}
			late := s.dial()
			late.send("echo d\n")
			ran := make(chan bool)
			l.Do(func() { close(ran) })
			close(proceed)
			b := <-s.blocked
			b.handoff(t)

			first.want("handed off\n")
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
			l.Do(b.c.Resume)
			first.want("behind\n")

			// The blocked callback returns, or does not before the loop ends.
			if command == "block later\necho behind\n" {
				close(b.release)
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
			close(b.release)
		})
	}
}

// A loop may be handed off several times; callbacks return in any order.
func TestHandoffAgain(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	var blocked []*blockedCallback
	for range 5 {
		c := s.dial()
		c.send("block\n")
		b := <-s.blocked
		b.handoff(t)
		c.want("handed off\n")
		blocked = append(blocked, b)
	}
	for _, i := range []int{0, 4, 2, 1, 3} {
		close(blocked[i].release)
		c := s.dial()
		c.send("echo a\n")
		c.want("a\n")
	}
}

// The connection of the blocked callback may fail meanwhile.
func TestHandoffOfALostConnection(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	c := s.dial()
	c.send("block\n")
	b := <-s.blocked
	c.reset()
	b.handoff(t)
	if err := s.waitClosed(1)[0]; err == nil { // by the write, or by the event of the reset
		t.Error("it ended in order")
	}
	close(b.release)
}

// The other timers of a slot fire although the callback of one does not return.
func TestHandoffOfTimers(t *testing.T) {
	var w wheel
	w.init()
	conns := make([]Conn, 4)
	for i := range conns {
		conns[i].timerLink.conn = &conns[i]
		w.schedule(&conns[i].timerLink, int64(1+i/2)) // two in each slot
	}
	fired := map[*Conn]int{}
	exited := make(chan bool)
	go func() {
		defer close(exited)
		w.advance(3, func(c *Conn) {
			fired[c]++
			runtime.Goexit()
		})
	}()
	<-exited
	w.advance(3, func(c *Conn) { fired[c]++ })
	for i := range conns {
		if fired[&conns[i]] != 1 {
			t.Errorf("timer %d fired %d times, want once", i, fired[&conns[i]])
		}
	}
}

// A callback that calls runtime.Goexit ends its connection, after what was sent before, and
// nothing else: not the rest of the batch of events, nor tasks, timers and listeners.
func TestGoexit(t *testing.T) {
	testrun.Slow(t, "waits for timers")
	for _, where := range []string{
		"Input", "Drained", "Drained, woken", "Timeout", "EOF", "HungUp", "Closed", "Input, Exited", "Input, Closed", "Opened", "Tick", "task",
	} {
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
			busy, proceed := make(chan bool), make(chan bool)
			l.Do(func() { close(busy); <-proceed })
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
			if where == "EOF" || where == "HungUp" {
				_ = c.Conn.(*net.TCPConn).CloseWrite()
			}
			for i, c := range others { // all of them come in one batch
				c.send(fmt.Sprintf("echo c%d\n", i))
			}
			late := s.dial()
			late.send("echo d\n")
			ran := make(chan bool)
			l.Do(func() { close(ran) })
			close(proceed)

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

// Closed of every connection may call Goexit while the loop cleans up.
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
