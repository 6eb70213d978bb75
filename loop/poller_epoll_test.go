//go:build linux && !poll_opt

package loop

import (
	"encoding/binary"
	"errors"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A task that always adds itself again does not starve the events.
func TestTasksLeaveEventsTheirTurn(t *testing.T) {
	s := startLines(t, Options{Loops: 1}, "")
	l := s.r.Loops()[0]
	runs, stop := 0, false
	ended := make(chan int)
	var again func()
	again = func() {
		if runs++; stop {
			ended <- runs
			return
		}
		l.Do(again)
	}
	l.Do(again)
	c := s.dial() // accepting is an event, too
	for range 20 {
		c.send("echo a\n")
		c.want("a\n")
	}
	l.Do(func() { stop = true })
	if n := <-ended; n < 20 {
		t.Errorf("the task ran %d times beside 20 requests", n)
	}
}

// Tasks that a callback has announced run after the events at hand, without a write to the eventfd; later ones write
// to it again.
func TestExpectTasks(t *testing.T) {
	var p *poller
	ran := 0
	p, err := openPoller(func(int, readiness) {})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	count := func() uint64 {
		var b [8]byte
		if _, err := unix.Read(p.eventfd, b[:]); err != nil {
			return 0
		}
		return binary.NativeEndian.Uint64(b[:])
	}
	p.expectTasks()
	for range 3 {
		if err := p.wake(func() bool { ran++; return ran == 3 }); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(); n != 0 {
		t.Errorf("tasks that were expected wrote %d to the eventfd", n)
	}
	if err := p.run(); err != nil || ran != 3 {
		t.Errorf("run = %v, and %d of 3 tasks ran", err, ran)
	}
	if err := p.wake(func() bool { return true }); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 1 {
		t.Errorf("a task after that wrote %d to the eventfd, want 1", n)
	}
}

// Any number of wakes before the loop runs the tasks is one event, and no later wake is lost.
func TestWakesAreOneEvent(t *testing.T) {
	p, err := openPoller(func(fd int, r readiness) { t.Errorf("an event of %d: %d", fd, r) })
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	order := []int(nil)
	for i := range 10 {
		if err := p.wake(func() bool { order = append(order, i); return i == 9 }); err != nil {
			t.Fatal(err)
		}
	}
	var count [8]byte
	if _, err := unix.Read(p.eventfd, count[:]); err != nil || binary.NativeEndian.Uint64(count[:]) != 1 {
		t.Errorf("10 wakes wrote %d to the eventfd, want 1; %v", binary.NativeEndian.Uint64(count[:]), err)
	}
	p.wakePending.Store(false)
	if err := p.trigger(); err != nil { // in place of the one that was read
		t.Fatal(err)
	}
	if err := p.run(); err != nil || len(order) != 10 || order[0] != 0 || order[9] != 9 {
		t.Errorf("run = %v, and the tasks ran in the order %v", err, order)
	}

	const wakers, each = 4, 1000
	left := wakers * each // on the loop
	var all sync.WaitGroup
	for range wakers {
		all.Go(func() {
			for range each {
				if err := p.wake(func() bool { left--; return left == 0 }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if err := p.run(); err != nil { // for ever, if one is lost
		t.Error(err)
	}
	all.Wait()
}

// Tasks that are left when the source is renewed run on the new one.
func TestRenewKeepsTasks(t *testing.T) {
	p, err := openPoller(func(int, readiness) {})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { p.close() }()
	ran := 0
	for range 3 {
		if err := p.wake(func() bool { ran++; return ran == 3 }); err != nil {
			t.Fatal(err)
		}
	}
	if p.nextTask()() { // the one that blocks its goroutine
		t.Error("the first task stops the loop")
	}
	if err := p.renew(); err != nil {
		t.Fatal(err)
	}
	if err := p.run(); err != nil || ran != 3 {
		t.Errorf("run = %v after %d tasks, want nil after 3", err, ran)
	}
}

// wake, run and add of a poller whose descriptors are closed return the error.
func TestPollerFails(t *testing.T) {
	p, err := openPoller(func(int, readiness) {})
	if err != nil {
		t.Fatal(err)
	}
	p.close()
	p.fd, p.eventfd = -1, -1 // numbers that no open file can get
	if err := p.wake(func() bool { return true }); !errors.Is(err, unix.EBADF) {
		t.Errorf("wake = %v, want %v", err, unix.EBADF)
	}
	if err := p.run(); !errors.Is(err, unix.EBADF) {
		t.Errorf("run = %v, want %v", err, unix.EBADF)
	}
	if err := p.add(new(attachment)); !errors.Is(err, unix.EBADF) {
		t.Errorf("add = %v, want %v", err, unix.EBADF)
	}
}
