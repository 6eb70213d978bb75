package openloop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"
	"unsafe"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// conn is one connection. What is read goes to in, which has a byte more than an answer,
// so that what is too long shows.
type conn struct {
	fd   int
	in   []byte
	got  int           // bytes of the answer under way
	due  time.Duration // of the request under way
	free time.Duration // when it was seen to have none
	busy bool          // a request is under way
}

// generator is one run. Times are since began.
type generator struct {
	Load
	began   time.Time
	epoll   int
	conns   []conn
	idle    []int32 // ring of the free connections, the longest free first
	first   int     // of idle
	free    int     // how many are
	lost    int     // connections
	next    int     // request
	answers int     // in time
	result  Result
}

const (
	latencyMax = int64(time.Hour)
	digits     = 3 // of the histograms
	// connectMax bounds a connect to a server that does not accept.
	connectMax = 5 * time.Second
)

var errNoConnection = errors.New("openloop: the server has closed all connections")

// Run runs l on the calling goroutine, which has a thread to itself meanwhile, and takes
// Duration and up to half a second more. It returns early when ctx is done, with its
// error, or when no connection is left.
func Run(ctx context.Context, l Load) (*Result, error) {
	if l.Conns < 1 || l.Rate <= 0 || l.Duration <= 0 || l.Answer < 1 {
		return nil, fmt.Errorf("openloop: %d connections, %g requests a second for %v, answers of %d bytes; each must be above 0",
			l.Conns, l.Rate, l.Duration, l.Answer)
	}
	g := &generator{Load: l, conns: make([]conn, l.Conns), idle: make([]int32, l.Conns), epoll: -1}
	g.result = Result{
		Latency:  hdrhistogram.New(1, latencyMax, digits),
		Late:     hdrhistogram.New(1, latencyMax, digits),
		Requests: int(l.Rate * l.Duration.Seconds()),
	}
	for i := range g.conns {
		g.conns[i].fd = -1
	}
	defer g.close()
	if err := g.open(); err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return &g.result, g.run(ctx)
}

func (g *generator) open() (err error) {
	if g.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	for i := range g.conns {
		fd, err := dial(g.Addr)
		if err != nil {
			return fmt.Errorf("openloop: connection %d of %d: %w", i+1, g.Conns, err)
		}
		g.conns[i] = conn{fd: fd, in: make([]byte, g.Answer+1)}
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(g.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			return err
		}
		g.release(int32(i))
	}
	return nil
}

// dial returns a connection that does not block, and that Go's scheduler does not watch.
func dial(addr string) (fd int, err error) {
	c, err := net.DialTimeout("tcp", addr, connectMax)
	if err != nil {
		return -1, err
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return -1, err
	}
	if failed := raw.Control(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) }); failed != nil {
		return -1, failed
	}
	return fd, err
}

func (g *generator) close() {
	for _, c := range g.conns {
		if c.fd >= 0 {
			_ = unix.Close(c.fd)
		}
	}
	if g.epoll >= 0 {
		_ = unix.Close(g.epoll)
	}
}

// dueAt is when request n is due.
func (g *generator) dueAt(n int) time.Duration {
	return time.Duration(float64(n) / g.Rate * float64(time.Second))
}

func (g *generator) run(ctx context.Context) error {
	events := make([]unix.EpollEvent, 256)
	g.began = time.Now()
	var idle, turn time.Duration // time without work; when this turn began
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		worked := g.send()
		wait := 0 * time.Millisecond
		if !worked {
			wait = g.pause(turn)
		}
		ready, err := poll(g.epoll, events, wait)
		if err != nil {
			return err
		}
		if wait > 0 {
			now := time.Since(g.began)
			idle += now - turn
			turn = now
		}
		for i := range events[:ready] {
			g.receive(events[i].Fd)
		}
		now := time.Since(g.began)
		if !worked && ready == 0 {
			idle += now - turn
		}
		turn = now
		switch {
		case g.lost == g.Conns:
			return errNoConnection
		case g.next == g.result.Requests && g.free+g.lost == g.Conns, now > g.Duration+drain:
			g.end(now, idle)
			return nil
		}
	}
}

// send sends what is due, and says whether it did.
func (g *generator) send() (worked bool) {
	for g.free > 0 && g.next < g.result.Requests {
		due, now := g.dueAt(g.next), time.Since(g.began)
		if due > now {
			break
		}
		g.next++
		worked = true
		i := g.idle[g.first]
		g.first = (g.first + 1) % g.Conns
		g.free--
		c := &g.conns[i]
		c.due, c.got, c.busy = due, 0, true
		_ = g.result.Late.RecordValue(int64(now - max(due, c.free)))
		n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(c.fd),
			uintptr(unsafe.Pointer(unsafe.StringData(g.Request))), uintptr(len(g.Request)))
		if errno != 0 || int(n) != len(g.Request) { // one request always fits into an empty socket
			g.lose(c)
		}
	}
	return worked
}

// pause is how long there is nothing to send, as far as epoll can wait for it, which is in
// milliseconds. What is shorter is spent polling, for exactness.
func (g *generator) pause(now time.Duration) time.Duration {
	until := g.Duration + drain
	if g.free > 0 && g.next < g.result.Requests {
		until = g.dueAt(g.next)
	}
	return max(0, min(until-now, 100*time.Millisecond).Truncate(time.Millisecond)-time.Millisecond)
}

// poll waits for events. Without waiting it does not trouble the scheduler.
func poll(epoll int, events []unix.EpollEvent, wait time.Duration) (int, error) {
	var n int
	var err error
	if wait > 0 {
		n, err = unix.EpollWait(epoll, events, int(wait.Milliseconds()))
	} else {
		r, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll),
			uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
		n = int(r)
		if errno != 0 {
			err = errno
		}
	}
	if err == unix.EINTR {
		return 0, nil
	}
	return max(n, 0), err
}

var ok200 = []byte("HTTP/1.1 200 ")

// receive reads what has come on connection i.
func (g *generator) receive(i int32) {
	c := &g.conns[i]
	if c.fd < 0 {
		return
	}
	rest := c.in[c.got:]
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(&rest[0])), uintptr(len(rest)))
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return
	}
	c.got += int(n)
	if errno != 0 || n == 0 || c.got > g.Answer || !c.busy {
		g.lose(c)
		return
	}
	if c.got < g.Answer {
		return
	}
	if !bytes.HasPrefix(c.in, ok200) {
		g.lose(c)
		return
	}
	now := time.Since(g.began)
	_ = g.result.Latency.RecordValue(int64(now - c.due))
	if now <= g.Duration {
		g.answers++
	}
	c.busy, c.free = false, now
	g.release(i)
}

// release makes connection i the last of the free ones.
func (g *generator) release(i int32) {
	g.idle[(g.first+g.free)%g.Conns] = i
	g.free++
}

// lose gives a connection up, and the request on it. It is not in idle, or is dropped
// from there.
func (g *generator) lose(c *conn) {
	g.result.Errors++
	g.lost++
	_ = unix.Close(c.fd)
	c.fd = -1
	if c.busy {
		c.busy = false
		return
	}
	kept := g.idle[:0:0]
	for k := range g.free {
		if i := g.idle[(g.first+k)%g.Conns]; &g.conns[i] != c {
			kept = append(kept, i)
		}
	}
	g.first, g.free = 0, copy(g.idle, kept)
}

// end notes what has no answer, and the sums.
func (g *generator) end(now, idle time.Duration) {
	r := &g.result
	unanswered := func(due time.Duration) {
		r.Unanswered++
		_ = r.Latency.RecordValue(int64(now - due))
	}
	for i := range g.conns {
		if c := &g.conns[i]; c.busy {
			unanswered(c.due)
		}
	}
	for ; g.next < r.Requests; g.next++ {
		unanswered(g.dueAt(g.next))
	}
	r.Busy = 1 - idle.Seconds()/now.Seconds()
	r.Answered = float64(g.answers) / g.Duration.Seconds()
}
