package server

import (
	"math"
	"net/http"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/parser"
	"github.com/isbjorn/isbjorn/server/internal/callstate"
	"github.com/isbjorn/isbjorn/server/internal/respond"
)

// shard is one loop's part of the server. Its goroutine owns everything here, but for what calls and
// counts say of other goroutines. It implements loop.Handler.
type shard struct {
	srv  *Server
	cfg  *config
	loop *loop.Loop
	info gateway.ServerInfo

	out      []byte       // answers of the connection at work, not yet given to the socket
	free     []*exchange  // between two requests
	date     respond.Date // Server and Date of the second
	epoch    time.Time    // when this handler was made: durations count from it, by the monotonic clock
	now      int64        // ns from epoch to the last Tick; a step of the wall clock does not move it
	lateTick int64        // now at the last Tick that was late: what counts from the Tick before may have come just then

	limit        connLimiter
	tlsLog       rateLimitedLog // about TLS where there is none
	tempDirLog   rateLimitedLog // about content that cannot be kept
	tempSpaceLog rateLimitedLog // about the same for want of TempBytes

	stackSecond int64 // second of the last stack that RequestTimeout has logged

	slice timeSlice // of the turn at hand

	skipYields int // so many requests are held at once, see exchange.yieldToWorker

	stopping bool // Shutdown was called

	calls    callstate.Loop
	stall    stallState
	sampling sampling

	counts counts
}

// outBytesMax bounds the answers that are gathered for one write, and the
// memory a loop keeps for them: a read's worth of pipelined small requests.
const outBytesMax = 256 << 10

func newShard(s *Server, l *loop.Loop) *shard {
	c := s.config
	h := &shard{
		srv: s, cfg: c, loop: l, date: respond.NewDate(c.name), epoch: time.Now(), lateTick: math.MinInt64,
		info: gateway.ServerInfo{
			Scheme: "http", Software: c.name, Multithread: c.loop.Loops > 1 || s.workers != nil, Log: c.appLog,
			Extra: c.environ, Underscores: c.underscorePolicy == KeepUnderscores, Hidden: s.warnHiddenField,
			TempFile: c.openTempFile, Stopping: s.stopBegan,
		},
	}
	if s.monitor != nil {
		h.calls.Wake = s.monitor.wake
	}
	h.slice = timeSlice{epoch: h.epoch, checkEvery: 1}
	h.Tick(time.Now())
	return h
}

// Opened begins a connection.
func (h *shard) Opened(c *loop.Conn) {
	h.count(accepted)
	s := h.newSession(c)
	c.SetTimeout(h.idleTime())
	if h.srv.reactor.Len() > h.cfg.maxConns {
		s.admit()
		return
	}
	h.limit.noneIdle = false // idle until it sends something
}

// Input serves the requests in b. Their answers leave in one write.
func (h *shard) Input(c *loop.Conn, b []byte) (used int) {
	s := c.Context.(*session)
	h.slice.begin()
	for !s.serveInput(b, &used) {
	}
	h.flush(c)
	s.arm()
	return used
}

// isHEAD reports whether the method is HEAD, as far as it is known. RFC 9110
// section 9.3.2.
func isHEAD(req *parser.Request, b []byte) bool {
	return req.Method.Len == uint16(len(http.MethodHead)) && string(req.Method.Of(b)) == http.MethodHead
}

// isTLS reports whether b begins as a client of TLS does: with a handshake record
// of version 3. RFC 8446 section 5.1.
func isTLS(b []byte) bool { return len(b) >= 2 && b[0] == 22 && b[1] == 3 }

// Drained goes on with a response that was suspended.
func (h *shard) Drained(c *loop.Conn) {
	s := c.Context.(*session)
	h.slice.begin()
	if s.phase == writing {
		s.resume()
		s.afterResume()
	}
	s.arm()
}

// Tick renews what depends on the time of day.
func (h *shard) Tick(now time.Time) {
	h.reportStallEnd()
	before := h.now
	h.now = int64(now.Sub(h.epoch))
	if h.now-before > int64(stopIdleTime)/4 { // an application has held the loop
		h.lateTick = h.now
	}
	h.limit.tick()
	if h.stopping {
		h.srv.checkEmpty()
	}
	h.date.Update(now)
}

// Refusal is for a client that no descriptor is left for.
func (h *shard) Refusal() []byte {
	h.count(noDescriptor)
	return respond.AppendError(nil, errTooManyConns.Status, errTooManyConns.Why, false, &h.date)
}

// flush gives the gathered answers to the socket.
func (h *shard) flush(c *loop.Conn) {
	if len(h.out) == 0 {
		return
	}
	c.Send(h.out)
	h.out = h.out[:0]
	if cap(h.out) > 2*outBytesMax {
		h.out = nil
	}
}
