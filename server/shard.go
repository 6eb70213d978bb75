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

// shard is one loop's part of the server, and implements loop.Handler. The goroutine of the loop owns
// everything here, except calls, stall and sampling, which the monitor and the ticker use under the lock of
// calls, and counts, which any goroutine may change and read. In a handoff the monitor has it all: the
// goroutine of the loop is in the application then.
type shard struct {
	srv  *Server
	cfg  *config
	loop *loop.Loop
	info gateway.ServerInfo

	out      []byte       // answers of the connection at work that the socket does not have yet
	free     []*exchange  // exchanges without a request
	date     respond.Date // the fields Server and Date for the present second
	epoch    time.Time    // when the shard was made: times count from it, by the monotonic clock
	now      int64        // ns from epoch to the last Tick; a step of the wall clock does not change it
	lateTick int64        // now at the last Tick that came late: input noted before it may have arrived just then

	limit        connLimiter
	tlsLog       rateLimitedLog // a client speaks TLS to a port without
	tempDirLog   rateLimitedLog // content cannot be kept in TempDir
	tempSpaceLog rateLimitedLog // content is refused for want of TempBytes

	stackSecond int64 // second of the last stack that was logged for RequestTimeout

	slice timeSlice // of the present call of Input or Drained

	skipYields int // how many of the next requests are dispatched without a yield: exchange.yieldToWorker

	stopping bool // Shutdown was called

	calls    callstate.Loop
	stall    stallState
	sampling sampling

	counts counts
}

// outBytesMax bounds the answers that are gathered for one write, and the memory that a loop keeps for
// them: enough for the pipelined small requests of one read.
const outBytesMax = 256 << 10

func newShard(s *Server, l *loop.Loop) *shard {
	c := s.config
	sh := &shard{
		srv: s, cfg: c, loop: l, date: respond.NewDate(c.serverHeader), epoch: time.Now(), lateTick: math.MinInt64,
		info: s.info(),
	}
	if s.monitor != nil {
		sh.calls.Wake = s.monitor.wake
	}
	sh.slice = timeSlice{epoch: sh.epoch, checkEvery: 1}
	sh.Tick(time.Now())
	return sh
}

// info is what the server says of itself to applications.
func (s *Server) info() gateway.ServerInfo {
	c := s.config
	return gateway.ServerInfo{
		Scheme: "http", Software: c.serverHeader, Multithread: c.loop.Loops > 1 || s.workers != nil || c.tls != nil, Log: c.appLog,
		Extra: c.environ, Underscores: c.underscorePolicy == KeepUnderscores, Hidden: s.warnHiddenField,
		TempFile: c.openTempFile, Stopping: s.stopBegan,
	}
}

// Opened implements loop.Handler: a connection was accepted. It gets a session, and over MaxConnections an
// idle connection is closed for it, or the new one is refused.
func (sh *shard) Opened(c *loop.Conn) {
	sh.count(accepted)
	s := sh.newSession(c)
	c.SetTimeout(sh.idleTime())
	if sh.srv.connections() > sh.cfg.maxConns {
		s.admit()
		return
	}
	sh.limit.noneIdle = false // a new connection is idle until it sends something
}

// Input implements loop.Handler: it serves the requests in b, and sends their answers in one write.
func (sh *shard) Input(c *loop.Conn, b []byte) (used int) {
	s := c.Context.(*session)
	sh.slice.begin()
	// False after a panic of the application, which guard has answered: more requests may be pipelined in b.
	for !s.serveInput(b, &used) {
	}
	sh.flush(c)
	s.arm()
	return used
}

// isHEAD reports whether the method is HEAD, also where the rest of the head was not parsed or is invalid.
// RFC 9110 section 9.3.2.
func isHEAD(req *parser.Request, b []byte) bool {
	return req.Method.Len == uint16(len(http.MethodHead)) && string(req.Method.Of(b)) == http.MethodHead
}

// isTLS reports whether b begins with a TLS handshake record of version 3: RFC 8446 section 5.1.
func isTLS(b []byte) bool { return len(b) >= 2 && b[0] == 22 && b[1] == 3 }

// Drained implements loop.Handler: the socket has room, or Yield has ended, or a wake came. A suspended
// response continues.
func (sh *shard) Drained(c *loop.Conn) {
	s := c.Context.(*session)
	sh.slice.begin()
	if s.phase == responding {
		s.resume()
		s.afterResume()
	}
	s.arm()
}

// Tick implements loop.Handler: it renews the clock and the field Date.
func (sh *shard) Tick(now time.Time) {
	sh.reportStallEnd()
	before := sh.now
	sh.now = int64(now.Sub(sh.epoch))
	// An application has blocked the loop. Input that came since is noted with the Tick before, and Shutdown
	// would take its connection for one that has been idle for long.
	if sh.now-before > int64(stopIdleTime)/4 {
		sh.lateTick = sh.now
	}
	sh.limit.tick()
	if sh.stopping {
		sh.srv.checkEmpty()
	}
	sh.date.Update(now)
}

// Refusal implements loop.Handler: the answer to a client when the process has no descriptor left for its
// connection.
func (sh *shard) Refusal() []byte {
	sh.count(noDescriptor)
	return respond.AppendError(nil, errTooManyConns.Status, errTooManyConns.Why, false, &sh.date)
}

// flush sends the gathered answers to c. It comes before the end of Input, and before each suspension and
// close, so out never has bytes for two connections.
func (sh *shard) flush(c *loop.Conn) {
	if len(sh.out) == 0 {
		return
	}
	c.Send(sh.out)
	sh.out = sh.out[:0]
	if cap(sh.out) > 2*outBytesMax { // one long head must not cost the loop its size for ever
		sh.out = nil
	}
}
