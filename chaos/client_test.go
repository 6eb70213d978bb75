package chaos

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// client is one connection, and what was sent and came on it.
type client struct {
	*net.TCPConn
	*job
	local  netip.AddrPort
	r      *bufio.Reader
	opened time.Time

	narrow  bool         // the server's socket is soon full
	slow    int          // reads that come after a pause
	limit   int          // bytes that are read before it goes away; -1 is all
	offered atomic.Int64 // bytes that send was to send, counted before
	written atomic.Int64 // bytes given to the socket, counted after
	wrote   atomic.Int64 // when the last of them were: ns after opened
	writer  sync.WaitGroup

	// The requests it makes.
	never   string // a method that it does not use
	content bool   // all have content
	expect  bool   // all that have content expect 100

	mu   sync.Mutex
	sent []byte // the first bytes of all that was sent
	got  []byte // the last bytes of all that came
}

// shownBytes is how much of each direction a report shows.
const shownBytes = 1000

// patience is how long a client waits for anything. It is long since machines
// are slow: nobody waits that long for a server that works.
var patience = flag.Duration("patience", 90*time.Second, "how long a client waits for anything")

// errSlow says that the server has ended a request for being slow, and that it
// was: the machine, or the link, has held the client up.
var errSlow = errors.New("slower than the server's timeouts")

// wasSlow says whether a 408 can be the client's own fault: it sent for about as
// long as the shortest of those, 10 s for a head. What the link holds up nobody
// knows.
func (c *client) wasSlow() bool {
	return time.Since(c.opened) > 9*time.Second && (*lossy || c.wrote.Load() > int64(5*time.Second))
}

// client makes a client of job j. It makes its requests before it connects: that
// takes time on a slow machine, and the server does not wait for ever.
func (j *job) client() *client {
	c := &client{job: j, limit: -1}
	j.clients = append(j.clients, c)
	return c
}

func (c *client) connect() error {
	dialer := net.Dialer{Timeout: *patience}
	if c.narrow {
		dialer.Control = narrow
	}
	conn, err := dialer.Dial("tcp", c.addr)
	if err != nil {
		return err
	}
	c.TCPConn, c.opened = conn.(*net.TCPConn), time.Now()
	c.local = conn.LocalAddr().(*net.TCPAddr).AddrPort()
	if *lossy { // the link swaps the addresses, not the ports
		c.local = netip.AddrPortFrom(netip.MustParseAddr(linkFar), c.local.Port())
	}
	c.r = bufio.NewReaderSize(source{c}, 4096)
	return nil
}

// source is what a client reads from: the socket, with its pauses and its end.
type source struct{ c *client }

func (s source) Read(b []byte) (int, error) {
	c := s.c
	if c.slow > 0 {
		if c.slow--; c.slow == 0 {
			c.widen()
		}
		b = b[:1+int(uint(len(b)-1)*uint(c.slow%7)/7)]
		time.Sleep(time.Duration(c.slow%4) * time.Millisecond)
	}
	if c.limit >= 0 {
		b = b[:min(len(b), c.limit)]
		if len(b) == 0 {
			return 0, errLimit
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(*patience))
	n, err := c.TCPConn.Read(b)
	if c.limit >= 0 {
		c.limit -= n
	}
	c.mu.Lock()
	if c.got = append(c.got, b[:n]...); len(c.got) > 2*shownBytes {
		c.got = append(c.got[:0], c.got[len(c.got)-shownBytes:]...)
	}
	c.mu.Unlock()
	return n, err
}

// narrow makes a socket whose peer is soon full: with the large segments of
// loopback the kernel would take megabytes.
func narrow(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1400)
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 16<<10)
	})
}

func (c *client) widen() { _ = c.SetReadBuffer(1 << 20) }

// errLimit ends the reading of a client that goes away.
var errLimit = errors.New("read enough")

// send sends b at once.
func (c *client) send(b []byte) error {
	c.offered.Add(int64(len(b)))
	c.mu.Lock()
	c.sent = append(c.sent, b[:min(len(b), shownBytes-len(c.sent))]...)
	c.mu.Unlock()
	for len(b) > 0 { // in parts, so that others see how far it is
		_ = c.SetWriteDeadline(time.Now().Add(2 * *patience)) // the reader's comes first
		n, err := c.Write(b[:min(len(b), 16<<10)])
		c.written.Add(int64(n))
		c.wrote.Store(int64(time.Since(c.opened)))
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// sending sends the pieces in a goroutine, with pauses up to pause between
// them, and then what is to be done then. An error ends it: who reads will see
// what is wrong.
func (c *client) sending(pieces [][]byte, pause time.Duration, then func()) {
	rng := rand.New(rand.NewPCG(c.rng.Uint64(), 0))
	c.writer.Go(func() {
		for i, b := range pieces {
			if i > 0 && pause > 0 {
				time.Sleep(time.Duration(rng.Int64N(int64(pause))))
			}
			if c.send(b) != nil {
				return
			}
		}
		if then != nil {
			then()
		}
	})
}

// answers reads and checks an answer to each request.
func (c *client) answers(requests []*request) error {
	for i, r := range requests {
		if err := c.answerTo(r); err != nil {
			return fmt.Errorf("answer %d of %d, to %s %.60s: %w", i+1, len(requests), r.method, r.target, err)
		}
	}
	return nil
}

func (c *client) answerTo(r *request) error {
	a, err := readAnswer(c.r, r.method)
	if err == nil && a.status == http.StatusContinue && r.expect {
		c.tally.interim.Add(1)
		a, err = readAnswer(c.r, r.method)
	}
	if err != nil {
		return err
	}
	if a.status == http.StatusRequestTimeout && c.wasSlow() {
		return errSlow
	}
	if err := r.check(a, c); err != nil {
		return err
	}
	c.tally.answers.Add(1)
	return nil
}

// end expects the end of the connection, in order.
func (c *client) end() error { return readEnd(c.r) }

// refusal expects an answer that refuses, then the end.
func (c *client) refusal(statuses ...int) error {
	a, err := readAnswer(c.r, "")
	if err == nil && a.status == http.StatusContinue {
		a, err = readAnswer(c.r, "")
	}
	if err != nil {
		return fmt.Errorf("instead of a refusal: %w", err)
	}
	return c.refused(a, statuses...)
}

// refused looks at a refusal, and that nothing follows.
func (c *client) refused(a *answer, statuses ...int) error {
	known := false
	for _, status := range statuses {
		known = known || a.status == status
	}
	switch {
	case a.status == http.StatusRequestTimeout && !known && c.wasSlow():
		return errSlow
	case !known:
		return fmt.Errorf("answered %d: %.300q; want one of %v", a.status, a.content, statuses)
	case !a.closes():
		return fmt.Errorf("%d does not say Connection: close", a.status)
	}
	c.tally.refusals.Add(1)
	return c.end()
}

// reset ends the connection with RST.
func (c *client) reset() {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// leave ends the connection in one of the ways there are.
func (c *client) leave() {
	if c.rng.IntN(2) == 0 {
		c.reset()
	} else {
		_ = c.Close()
	}
}

// pieces cuts b at n random places, some of them where lines end.
func (c *client) pieces(b []byte, n int, ends []int) (pieces [][]byte) {
	for range n {
		if len(b) < 2 {
			break
		}
		at := 1 + c.rng.IntN(min(len(b)-1, 1+2*len(b)/n))
		for _, end := range ends {
			if end += c.rng.IntN(3) - 1; c.rng.IntN(4) == 0 && 0 < end && end < len(b) {
				at = end
				break
			}
		}
		pieces = append(pieces, b[:at])
		b, ends = b[at:], nil
	}
	return append(pieces, b)
}

// several makes n good requests. If last is set the connection ends with them.
func (c *client) several(n int, s size, last bool) (requests []*request, raw []byte) {
	for i := range n {
		r := c.newRequest(s, last && i == n-1)
		requests = append(requests, r)
		raw = append(raw, r.raw...)
	}
	return requests, raw
}
