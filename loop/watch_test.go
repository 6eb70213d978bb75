package loop

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// watcher is a WatchHandler of functions; nil does nothing.
type watcher struct {
	readable, writable func(*Watch)
	closed             func(*Watch, error)
}

func (h *watcher) Readable(w *Watch) {
	if h.readable != nil {
		h.readable(w)
	}
}

func (h *watcher) Writable(w *Watch) {
	if h.writable != nil {
		h.writable(w)
	}
}

func (h *watcher) Closed(w *Watch, err error) {
	if h.closed != nil {
		h.closed(w, err)
	}
}

// packets returns an end of a socketpair with records that the first loop of s watches, and the other
// end, which blocks.
func (s *lineServer) packets(h *watcher) (w *Watch, peer int) {
	s.t.Helper()
	if runtime.GOOS == "darwin" {
		s.t.Skip("macOS has no SOCK_SEQPACKET for Unix sockets")
	}
	fds := socketpair(s.t, unix.SOCK_SEQPACKET)
	s.on(func(l *Loop) (err error) {
		w, err = l.Watch(fds[0], h)
		return err
	})
	s.t.Cleanup(func() { _ = unix.Close(fds[1]) })
	return w, fds[1]
}

// Records are sent until there is no room; Writable comes when there is, and none is lost, cut or
// out of order. A record that is taken wakes the loop only while Writable is awaited.
func TestSendRecords(t *testing.T) {
	const n = 3000
	s := startLines(t, Options{Loops: 1}, "")
	rnd := rand.New(rand.NewPCG(1, 2))
	records := make([][]byte, n)
	for i := range records {
		records[i] = fmt.Appendf(nil, "%d %s", i, pattern(rnd.IntN(4000)))
	}
	next, full := 0, 0
	send := func(w *Watch) {
		for next < n {
			sent, err := w.Send(records[next], nil)
			if err != nil {
				t.Error(err)
			}
			if !sent {
				full++
				return
			}
			next++
		}
	}
	readable := 0
	w, peer := s.packets(&watcher{readable: func(*Watch) { readable++ }, writable: send})
	s.on(func(*Loop) error { send(w); return nil })
	b := make([]byte, 8000)
	for i, want := range records {
		size, err := unix.Read(peer, b)
		if err != nil || !bytes.Equal(b[:size], want) {
			t.Fatalf("record %d has %d bytes, %v; want %d", i, size, err, len(want))
		}
	}
	s.on(func(*Loop) error {
		if full < 2 || next != n {
			t.Errorf("it was full %d times, and %d were sent", full, next)
		}
		if readable != 0 {
			t.Errorf("Readable came %d times", readable)
		}
		return nil
	})
}

// What a peer takes makes no event: the loop is woken by what it waits for alone.
func TestTakenRecordsWakeNothing(t *testing.T) {
	if !runResumable {
		t.Skip("counts the events of epoll itself")
	}
	s := newLines(t, Options{Loops: 1})
	l := s.r.loops[0]
	events := 0
	l.poller.on = func(int, readiness) { events++ }
	s.r.Start()
	w, peer := s.packets(&watcher{})
	b := make([]byte, 10)
	for range 100 {
		s.on(func(*Loop) error { _, err := w.Send([]byte("x"), nil); return err })
		if _, err := unix.Read(peer, b); err != nil {
			t.Fatal(err)
		}
	}
	s.on(func(*Loop) error {
		if events != 0 {
			t.Errorf("%d events, want 0", events)
		}
		return nil
	})
}

// A record carries descriptors. One that is too large is refused, and others can be sent. When the other
// end is closed, Readable comes, and a send is EPIPE.
func TestSendDescriptors(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	gone := make(chan error, 1)
	w, peer := s.packets(&watcher{readable: func(w *Watch) {
		n, err := unix.Read(w.FD(), make([]byte, 10))
		if err == errAgain {
			return
		}
		if n != 0 && err != unix.ECONNRESET {
			t.Errorf("read %d, %v; want the end", n, err)
		}
		_, err = w.Send([]byte("x"), nil)
		gone <- err
		w.Close()
		w.Close()
		w.Rearm()
		w.AwaitWritable()
		if _, err := w.Send([]byte("x"), nil); !errors.Is(err, os.ErrClosed) || w.FD() != -1 {
			t.Errorf("after Close: Send gives %v, FD %d", err, w.FD())
		}
	}})
	s.on(func(*Loop) error {
		if _, err := w.Send(make([]byte, 64<<20), nil); err != unix.EMSGSIZE {
			t.Errorf("64 MiB: %v, want %v", err, unix.EMSGSIZE)
		}
		sent, err := w.Send([]byte("a file"), unix.UnixRights(int(s.file.Fd())))
		if !sent {
			t.Error("it was not sent")
		}
		return err
	})
	b, oob := make([]byte, 100), make([]byte, 100)
	n, oobn, _, _, err := unix.Recvmsg(peer, b, oob, 0)
	if err != nil || string(b[:n]) != "a file" {
		t.Fatalf("received %q, %v", b[:n], err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d control messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("%d descriptors, %v", len(fds), err)
	}
	f := os.NewFile(uintptr(fds[0]), "sent")
	defer f.Close()
	if _, err := f.ReadAt(b[:23], 23); err != nil || !bytes.Equal(b[:23], pattern(23)) {
		t.Errorf("the file has %q, %v", b[:23], err)
	}
	if err := unix.Shutdown(peer, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, gone); err != unix.EPIPE && err != unix.ECONNRESET {
		t.Errorf("Send to a closed end: %v, want EPIPE", err)
	}
}

// Readable comes for each arrival; a handler that takes one record in each turn asks for the next.
func TestWatchReadable(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	got := make(chan string, 100)
	_, peer := s.packets(&watcher{readable: func(w *Watch) {
		b := make([]byte, 100)
		if n, err := unix.Read(w.FD(), b); err == nil && n > 0 {
			got <- string(b[:n])
			w.Rearm()
		}
	}})
	for i := range 50 {
		if _, err := unix.Write(peer, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		if s := receive(t, got); s != fmt.Sprint(i) {
			t.Fatalf("record %d is %q", i, s)
		}
	}
}

// Watch refuses a file, and what the loop has already; it stays the caller's.
func TestWatchRefuses(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	w, _ := s.packets(&watcher{})
	s.on(func(l *Loop) error {
		fds := []int{w.FD(), -1, 1 << 20}
		if runtime.GOOS == "linux" { // kqueue takes files
			fds = append(fds, int(s.file.Fd()))
		}
		for _, fd := range fds {
			if w, err := l.Watch(fd, &watcher{}); w != nil || err == nil {
				t.Errorf("Watch(%d) = %v, %v", fd, w, err)
			}
		}
		return nil
	})
	if _, err := s.file.Stat(); err != nil {
		t.Error(err)
	}
}

// Stop closes a Watch: Closed comes, once, and the loop takes no other.
func TestStopClosesWatches(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	before := descriptors(t)
	var errs []error
	again := func(w *Watch, err error) {
		errs = append(errs, err)
		if _, err := w.loop.Watch(0, &watcher{}); err != errClosed {
			t.Errorf("Watch: %v, want %v", err, errClosed)
		}
	}
	for range 20 {
		s.packets(&watcher{closed: again})
	}
	own, _ := s.packets(&watcher{closed: again})
	s.on(func(*Loop) error { own.Close(); return nil })
	s.r.Stop()
	if len(errs) != 20 {
		t.Errorf("Closed came %d times, want 20", len(errs))
	}
	for _, err := range errs {
		if err != ErrStopped {
			t.Errorf("Closed(%v), want %v", err, ErrStopped)
		}
	}
	if after := descriptors(t); runtime.GOOS == "linux" && after > before+21 { // the ends of the test
		t.Errorf("%d descriptors, want %d", after, before+21)
	}
}

// A callback of a Watch may block, and its loop is given to another goroutine, or it calls Goexit: the
// loop has all watches still, and the rest of the event is not lost.
func TestHandoffOfAWatch(t *testing.T) {
	for _, way := range []string{"handoff", "goexit"} {
		t.Run(way, func(t *testing.T) {
			s := startLines(t, Options{Loops: 1}, "")
			blocked, release, got := make(chan bool), make(chan bool), make(chan string, 10)
			first := true
			w, peer := s.packets(&watcher{
				readable: func(w *Watch) {
					b := make([]byte, 10)
					if n, err := unix.Read(w.FD(), b); err == nil && n > 0 {
						got <- string(b[:n])
						w.Rearm()
					}
					if first {
						first = false
						if way == "handoff" {
							close(blocked)
							<-release
						}
						runtime.Goexit()
					}
				},
				writable: func(*Watch) { got <- "writable" },
			})
			other, otherPeer := s.packets(&watcher{readable: func(w *Watch) {
				b := make([]byte, 10)
				if n, err := unix.Read(w.FD(), b); err == nil && n > 0 {
					got <- string(b[:n])
				}
			}})
			s.on(func(*Loop) error { // one event: readable and writable
				w.AwaitWritable()
				_, err := unix.Write(peer, []byte("a"))
				return err
			})
			want := map[string]bool{"a": true, "writable": true, "b": true}
			if way == "handoff" {
				receive(t, blocked)
				if err := other.loop.Handoff(nil, nil, func() {}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := unix.Write(otherPeer, []byte("b")); err != nil {
				t.Fatal(err)
			}
			for len(want) > 0 {
				delete(want, receive(t, got))
			}
			s.r.Stop()
			close(release)
		})
	}
}

// A small record allocates nothing.
func TestSendAllocates(t *testing.T) {
	s := newLines(t, Options{Loops: 1})
	fds := socketpair(t, unix.SOCK_SEQPACKET)
	defer unix.Close(fds[1])
	w, err := s.r.loops[0].Watch(fds[0], &watcher{})
	if err != nil {
		t.Fatal(err)
	}
	record, rights, got := []byte("record"), unix.UnixRights(fds[1]), make([]byte, 64)
	for name, oob := range map[string][]byte{"plain": nil, "with a descriptor": rights} {
		if n := testing.AllocsPerRun(100, func() {
			if sent, err := w.Send(record, oob); !sent || err != nil {
				t.Fatal(sent, err)
			}
			_, _ = unix.Read(fds[1], got) // which closes a descriptor that it does not ask for
		}); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}
