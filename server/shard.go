package server

import (
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/thrown"
	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/parser"
	"github.com/isbjorn/isbjorn/server/internal/callstate"
	"github.com/isbjorn/isbjorn/server/internal/respond"
)

// handler is one loop's side of the server.
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

// conn is what the server knows of a connection between two events.
type session struct {
	phase           phase
	timer           timer           // what the timeout that runs is for
	hadRequest      bool            // at least one request
	awaitsAdmission bool            // for the other loops to make room for it
	hungUp          bool            // HungUp has come: it comes once, to the request at work then
	lastActive      int64           // shard.now at the last sign of life, or when a head began
	x               *exchange       // the request at work; nil while there is none
	local           *netip.AddrPort // for workers; nil until there was one
}

// ends are the addresses of the connection. The local one is asked for once.
func (cn *session) addresses() (remote, local netip.AddrPort) {
	c := cn.x.sock
	if cn.local == nil {
		addr := c.LocalAddr()
		cn.local = &addr
	}
	return c.RemoteAddr(), *cn.local
}

// outBytesMax bounds the answers that are gathered for one write, and the
// memory a loop keeps for them: a read's worth of pipelined small requests.
const outBytesMax = 256 << 10

func newShard(s *Server, l *loop.Loop) *shard {
	c := s.config
	h := &shard{srv: s, cfg: c, loop: l, date: respond.NewDate(c.name), epoch: time.Now(), lateTick: math.MinInt64, info: gateway.ServerInfo{
		Scheme: "http", Software: c.name, Multithread: c.loop.Loops > 1 || s.workers != nil, Log: c.appLog,
		Extra: c.environ, Underscores: c.underscorePolicy == KeepUnderscores, Hidden: s.warnHiddenField, TempFile: c.openTempFile, Stopping: s.stopBegan,
	}}
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
	cn := &session{phase: readingHead, timer: idleTimer, lastActive: h.now}
	c.Context = cn
	c.SetTimeout(h.idleTime())
	if h.srv.reactor.Len() > h.cfg.maxConns {
		h.admit(c, cn)
		return
	}
	h.limit.noneIdle = false // idle until it sends something
}

// Input serves the requests in b. Their answers leave in one write.
func (h *shard) Input(c *loop.Conn, b []byte) (used int) {
	cn := c.Context.(*session)
	h.slice.begin()
	for !h.serveInput(c, cn, b, &used) {
	}
	h.flush(c)
	h.arm(c, cn)
	return used
}

// serveInput goes on at b[*used:]. It reports whether it came to the end: false
// says that an application has panicked, and that there may be more to do.
func (h *shard) serveInput(c *loop.Conn, cn *session, b []byte, used *int) (ended bool) {
	defer cn.guard(&ended)
	for *used < len(b) && !c.Full() {
		before := *used
		if !h.step(c, cn, b[*used:], used) {
			*used = len(b)
			break
		}
		if *used == before {
			break
		}
		if len(h.out) >= outBytesMax {
			h.flush(c)
		}
		if h.slice.expired() && cn.phase == readingHead && *used < len(b) {
			c.Yield() // the rest is offered again
			break
		}
	}
	return true
}

// guard makes a panic of the application under way an answer and a line of the
// log. There is one guard for all that a turn calls, since it costs more than
// most of that. Its caller sets ended when it returns.
func (cn *session) guard(ended *bool) {
	if *ended {
		return
	}
	p := thrown.Value(recover())
	if p == nil { // the goroutine ends, and Exited comes next
		return
	}
	x := cn.x
	if x == nil || cn.phase != handling && cn.phase != writing {
		panic(p) // not the application's: a fault of ours, and not to be hidden
	}
	if err := abortOf(p); err != nil {
		x.fail(err)
		return
	}
	x.log(slog.LevelError, panicked, slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
	x.fail(errPanic)
}

// step uses what it can of b for one request, and adds it to used: nothing if more must
// come, or if the phase wants none. used is right whenever the application runs. It
// reports false if nothing that comes is wanted any more.
func (h *shard) step(c *loop.Conn, cn *session, b []byte, used *int) (goesOn bool) {
	var err error
	switch cn.phase {
	case readingHead:
		if cn.x == nil {
			h.acquire(c, cn)
		}
		var n int
		if n, err = cn.x.in.req.Parse(b, &h.cfg.limits); n > 0 {
			err = cn.x.onHead(b, n, used)
		} else { // a refusal of HEAD has no content either, whatever is wrong with the rest
			cn.x.in.isHEAD = isHead(&cn.x.in.req, b)
		}
	case readingBody:
		err = cn.x.collect(b, used)
	case writing:
		if cn.x.in.streaming && !c.Paused() {
			err = cn.x.streamContent(b, used)
		}
	case skipping:
		err = cn.x.skip(b, used)
	}
	if err == nil {
		return true
	}
	if cn.phase == readingHead && !cn.hadRequest && isTLS(b) {
		h.tlsLog.warn(h, "a client speaks TLS to a port that does not; put a server that ends TLS before it",
			slog.Any("remote", c.RemoteAddr()))
	}
	switch cn.phase {
	case writing:
		cn.x.abortWith(err.(*parser.Error))
	case skipping:
		h.endSkipping(c, cn)
	default:
		h.refuse(c, cn, err.(*parser.Error), b)
	}
	return false
}

// isHead reports whether the method is HEAD, as far as it is known. RFC 9110
// section 9.3.2.
func isHead(req *parser.Request, b []byte) bool {
	return req.Method.Len == uint16(len(http.MethodHead)) && string(req.Method.Of(b)) == http.MethodHead
}

// isTLS reports whether b begins as a client of TLS does: with a handshake record
// of version 3. RFC 8446 section 5.1.
func isTLS(b []byte) bool { return len(b) >= 2 && b[0] == 22 && b[1] == 3 }

// move changes the phase of a connection. What the table does not know ends it.
func (h *shard) transition(c *loop.Conn, cn *session, e event) {
	next := cn.phase.next(e)
	if next == closed {
		h.invalidTransition(c, cn, e)
	}
	cn.phase = next
}

func (h *shard) invalidTransition(c *loop.Conn, cn *session, e event) {
	h.cfg.log.Error("a connection in a phase that cannot be", slog.String("phase", cn.phase.String()), slog.Int("event", int(e)))
	c.Abort()
}

// Drained goes on with a response that was held.
func (h *shard) Drained(c *loop.Conn) {
	cn := c.Context.(*session)
	h.slice.begin()
	if cn.phase == writing {
		cn.resume()
		h.flush(c)
		if cn.phase == readingHead || cn.phase == skipping {
			c.Resume()
		}
	}
	h.arm(c, cn)
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
