package server

import (
	"log/slog"
	"net/netip"
	"runtime/debug"

	"github.com/isbjorn/isbjorn/internal/thrown"
	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/parser"
	"github.com/isbjorn/isbjorn/server/internal/buffers"
)

// session is one connection: its phase, its timer, and the request at work. Only this file changes the
// phase and acquires an exchange. A request ends in this order: completeBody (all is sent), finishRequest
// (whether the connection is kept), endRequest (the phase), release (the memory).
type session struct {
	sh   *shard
	sock *loop.Conn
	x    *exchange // the request at work; nil while there is none

	phase           phase
	timer           timerKind       // what the timeout that runs is for
	hadRequest      bool            // at least one request
	awaitsAdmission bool            // the other loops are asked to make room for it
	hungUp          bool            // HungUp was called: once, for the request at work then
	lastActive      int64           // shard.now at the last sign of life, or when a head began
	local           *netip.AddrPort // nil until a worker needed it
}

const (
	// freeMax is how many exchanges without a request (about 2 KiB each, 6 with a large copy) a loop
	// keeps.
	freeMax = 256

	// copiedBytesMax is the largest copy of a request that an exchange keeps for the next one: a
	// browser's head has less.
	copiedBytesMax = 4 << 10
)

func (sh *shard) newSession(c *loop.Conn) *session {
	s := &session{sh: sh, sock: c, phase: readingHead, timer: idleTimer, lastActive: sh.now}
	c.Context = s
	return s
}

// transition changes the phase. A pair that the table does not have ends the connection.
func (s *session) transition(e event) {
	if next := transitions[s.phase][e]; next != closed {
		s.phase = next
	} else {
		s.noTransition(e)
	}
}

// noTransition closes the session: in order for connClosed, else with a line in the log.
func (s *session) noTransition(e event) {
	if e != connClosed {
		s.sh.cfg.log.Error("a fault of the server: a connection is cut after an event that its phase does not have", slog.String("phase", s.phase.String()), slog.Int("event", int(e)))
		s.sock.Abort()
	}
	s.phase = closed
}

// acquire gives the session an exchange, for a request that begins.
func (s *session) acquire() {
	sh := s.sh
	var x *exchange
	if last := len(sh.free) - 1; last >= 0 {
		x = sh.free[last]
		sh.free = sh.free[:last]
	} else {
		x = &exchange{sh: sh}
		x.app.call.Owner, x.app.call.CanHandOff = x, sh.srv.workers != nil
		x.start = x.startResponse()
	}
	x.sock, x.session, s.x = s.sock, s, x
}

// endRequest releases the request at work, if there is one, and changes the phase.
func (s *session) endRequest(e event) {
	if s.x != nil {
		s.sh.release(s.x)
	}
	s.transition(e)
}

// skipContent is endRequest(contentLeft), and has the rest of the content skipped. For that the session gets
// another exchange: a worker may still use the first.
func (s *session) skipContent(decoder parser.Body) {
	s.sh.release(s.x)
	s.acquire()
	s.x.in.decoder = decoder
	s.x.in.clock.start(s.sh.now)
	s.transition(contentLeft)
}

// release ends a request. There must be no views of it any more; nothing names x afterwards. If a worker
// still runs the application, x stays with the worker, which has the loop release it by a task (job.exit).
func (sh *shard) release(x *exchange) {
	if x.session != nil {
		x.session.x = nil
	}
	x.endStream()
	// Also if an abandoned worker keeps x: these fields pin the read buffer, and the application's body.
	x.in.requestInState, x.out.responseOutState = requestInState{}, responseOutState{}
	x.sock, x.session = nil, nil
	if x.app.onWorker() {
		if x.app.job.running() { // whatever has ended the request has cancelled the job
			x.app.run = runAbandoned
			return
		}
		x.app.job.finish()
	}
	x.app.run, x.app.closingBody = runIdle, false
	x.in.req.Reset()
	x.out.Reset()
	x.app.env.End()
	x.app.call.Reset()
	if x.in.head != nil || cap(x.in.copied) > copiedBytesMax || !x.in.content.Empty() || x.app.waker != nil {
		x.releaseBuffers()
	}
	if x.out.replacedStatus.Load() != 0 { // a load is cheaper than a store, which is a locked instruction
		x.out.replacedStatus.Store(0)
	}
	if len(sh.free) < freeMax {
		sh.free = append(sh.free, x)
	}
}

// releaseBuffers is the part of release that most requests do not need.
func (x *exchange) releaseBuffers() {
	if x.in.head != nil {
		buffers.Put(x.in.head)
		x.in.head = nil
	}
	if cap(x.in.copied) > copiedBytesMax {
		x.in.copied = nil
	}
	x.in.content.Release()
	if x.app.waker != nil {
		x.app.waker.x, x.app.waker = nil, nil // the application may keep it for longer
	}
}

// serveInput serves the requests in b[*used:]. It reports false if an application has panicked: then
// there may be more to do.
func (s *session) serveInput(b []byte, used *int) (ended bool) {
	defer s.guard(&ended)
	sh := s.sh
	for *used < len(b) && !s.sock.Full() {
		before := *used
		if !s.step(b[*used:], used) { // refused or aborted: the rest cannot be parsed
			*used = len(b)
			break
		}
		if *used == before { // an incomplete head or chunk, or a response that was suspended
			break
		}
		if len(sh.out) >= outBytesMax { // many pipelined answers: a slow client makes Full true here
			sh.flush(s.sock)
		}
		if sh.slice.expired() && s.phase == readingHead && *used < len(b) {
			s.sock.Yield() // the rest is offered again, after the other connections
			break
		}
	}
	return true
}

// guard answers a panic of the application by an error response and a line of the log. One guard covers
// all that an event calls, since a deferred call costs more than most of that. The caller sets ended
// when it returns.
func (s *session) guard(ended *bool) {
	if *ended {
		return
	}
	p := thrown.Value(recover())
	if p == nil { // runtime.Goexit: the goroutine ends, and Exited comes next
		return
	}
	x := s.x
	if x == nil || s.phase != handling && s.phase != responding {
		panic(p) // a fault of the server, not of the application, and not to be hidden
	}
	if err := abortOf(p); err != nil {
		x.fail(err)
		return
	}
	x.log(slog.LevelError, panicked, slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
	x.fail(errPanic)
}

// step uses what it can of b for one request and adds that to used: nothing if more must come, or if the
// phase wants none. used is right whenever the application runs. It reports false if no further input is
// wanted.
func (s *session) step(b []byte, used *int) (goesOn bool) {
	var err error
	switch s.phase {
	case readingHead:
		if s.x == nil {
			s.acquire()
		}
		in := &s.x.in
		var n int
		if n, err = in.req.Parse(b, &s.sh.cfg.limits); n > 0 {
			err = s.x.onHead(b, n, used)
		} else { // the refusal of a HEAD request has no content either, whatever else is wrong with it
			in.isHEAD = isHEAD(&in.req, b)
		}
	case readingBody:
		err = s.x.collect(b, used)
	case responding:
		if s.x.in.streaming && !s.sock.Paused() {
			err = s.x.streamContent(b, used)
		}
	case skipping:
		err = s.x.skip(b, used)
	}
	if err == nil {
		return true
	}
	if s.phase == readingHead && !s.hadRequest && isTLS(b) {
		s.sh.tlsLog.warn(s.sh, "a client speaks TLS to a port that does not; serve it on an https address (option TLS), or put a proxy that terminates TLS in front",
			slog.Any("remote", s.sock.RemoteAddr()))
	}
	switch s.phase {
	case responding:
		s.x.abortWith(err.(*parser.Error))
	case skipping:
		s.endSkipping()
	default:
		s.refuse(err.(*parser.Error), b)
	}
	return false
}

// resume continues a suspended response.
func (s *session) resume() {
	ended := false
	defer s.guard(&ended)
	s.x.pull()
	ended = true
}

// afterResume sends what resume has put out, and offers more input if the response has ended: in resume, or
// in a call of Close that was handed off.
func (s *session) afterResume() {
	s.sh.flush(s.sock)
	if s.phase == readingHead || s.phase == skipping {
		s.sock.Resume()
	}
}

// inProgress reports whether a request has begun, or a part of an answer is unsent.
func (s *session) inProgress() bool {
	return s.x != nil && (s.phase != readingHead || s.x.in.req.Started()) || s.sock.Unsent() > 0
}

// addresses are those of the connection. The kernel is asked once for the local one.
func (s *session) addresses() (remote, local netip.AddrPort) {
	if s.local == nil {
		addr := s.sock.LocalAddr()
		s.local = &addr
	}
	return s.sock.RemoteAddr(), *s.local
}
