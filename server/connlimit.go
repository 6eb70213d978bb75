package server

import (
	"cmp"
	"context"
	"log/slog"
	"slices"

	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/server/internal/respond"
)

// connLimiter keeps the connections of a loop within MaxConnections. Over the limit, the longest-idle
// connection is closed; if none is idle, the new one is refused with 503.
//
// It costs nothing below the limit. Above it a search for idle connections visits all of the loop, and keeps
// the longest-idle ones for the next new connections.
type connLimiter struct {
	idle       []idleConn // found by the last search, the longest idle last
	noneIdle   bool       // the last search has found nothing, and no connection has become idle since
	refusedLog rateLimitedLog
	evictedLog rateLimitedLog
}

// idleConn is a connection that a search has found idle.
type idleConn struct {
	sock       *loop.Conn
	lastActive int64 // session.lastActive then: if it has another value now the connection was busy since
}

const (
	// idleConnsMax is how many idle connections one search remembers.
	idleConnsMax = 256

	// refusedConnsMax is how many connections beyond MaxConnections may be open while they are refused with
	// an answer and a lingering close. Further ones are closed without an answer.
	refusedConnsMax = 64
)

// tick drops the result of the last search, which is out of date.
func (w *connLimiter) tick() {
	clear(w.idle)
	w.idle = w.idle[:0]
}

// admit closes an idle connection for a new one beyond the limit, or refuses it. If this loop has no idle
// connection the other loops search for one, and the new connection is paused until the result is known.
func (s *session) admit() {
	sh := s.sh
	switch {
	case sh.evictIdle(s.sock):
	case sh.srv.evictIdleTLS():
	case sh.srv.connections()-sh.cfg.maxConns > refusedConnsMax: // a flood of connections
		sh.countRefusedConn()
		s.transition(lastDone)
		s.sock.Drop()
	case sh.cfg.loop.Loops == 1: // there is no other loop to search
		s.refuseConn()
	default:
		s.awaitsAdmission = true
		s.sock.Pause()
		sh.srv.evictIdleOn(sh.srv.reactor.Loops(), func(found bool) {
			sh.loop.Do(func() {
				// The client may have closed the connection meanwhile, or Shutdown.
				if s.awaitsAdmission = false; !s.sock.Alive() || s.phase != readingHead {
					return
				}
				if found {
					sh.limit.noneIdle = false // as in Opened
					s.sock.Resume()
				} else {
					s.refuseConn()
				}
			})
		})
	}
}

// evictIdleOn calls evictIdle on one loop after the other, each on its own goroutine, until one has closed a
// connection. then gets the result, on the goroutine of the last one.
func (s *Server) evictIdleOn(loops []*loop.Loop, then func(found bool)) {
	if len(loops) == 0 {
		then(false)
		return
	}
	loops[0].Do(func() { // a loop that has stopped needs no answer: the others stop too
		if loops[0].Handler().(*shard).evictIdle(nil) {
			then(true)
		} else {
			s.evictIdleOn(loops[1:], then)
		}
	})
}

// refuseConn refuses a connection with 503.
func (s *session) refuseConn() {
	sh := s.sh
	sh.countRefusedConn()
	s.transition(lastDone)
	s.logRefusal(errTooManyConns, nil)
	sh.out = respond.AppendError(sh.out, errTooManyConns.Status, errTooManyConns.Why, false, &sh.date)
	sh.flush(s.sock)
	s.sock.Close()
}

func (sh *shard) countRefusedConn() {
	sh.count(refusedFull)
	sh.limit.refusedLog.warn(sh, "no idle connection to close for a new one, which is refused: raise the option MaxConnections, or lower IdleTimeout and HeadTimeout",
		slog.Int("MaxConnections", sh.cfg.maxConns))
}

// evictIdleTLS closes an idle connection over TLS for a new one of a loop.
func (s *Server) evictIdleTLS() bool {
	f := s.tlsFront()
	return f != nil && f.evictAny()
}

// evictIdle closes the longest-idle connection of this loop other than c. It reports false if there is none.
func (sh *shard) evictIdle(c *loop.Conn) bool {
	w := &sh.limit
	// First the connections that the last search has found, then those of a new search, and no third time.
	for searched := false; !w.noneIdle; searched = true {
		for last := len(w.idle) - 1; last >= 0; last-- {
			i := w.idle[last]
			w.idle[last] = idleConn{}
			w.idle = w.idle[:last]
			// Since the search it may have been closed, or have served a request.
			s, ok := i.sock.Context.(*session)
			if ok && s.lastActive == i.lastActive && isIdle(i.sock, s) && !i.sock.Unread() {
				sh.count(evictedIdle)
				w.evictedLog.warn(sh, "an idle connection is closed for a new one: raise the option MaxConnections, or lower IdleTimeout",
					slog.Int("MaxConnections", sh.cfg.maxConns))
				i.sock.Drop()
				return true
			}
		}
		if searched {
			return false // each idle connection has a request unread in its socket
		}
		sh.loop.Conns(func(other *loop.Conn) {
			if s := other.Context.(*session); other != c && isIdle(other, s) {
				w.idle = append(w.idle, idleConn{other, s.lastActive})
			}
		})
		slices.SortFunc(w.idle, func(a, b idleConn) int { return cmp.Compare(b.lastActive, a.lastActive) })
		if more := len(w.idle) - idleConnsMax; more > 0 {
			w.idle = slices.Delete(w.idle, 0, more)
		}
		w.noneIdle = len(w.idle) == 0
	}
	return false
}

// isIdle reports whether c is open, no request is in progress or left over from a yield, and it is not
// waiting for admission.
func isIdle(c *loop.Conn, s *session) bool {
	return c.Alive() && s.phase == readingHead && !s.awaitsAdmission && !s.inProgress() && !c.Yielded()
}

// rateLimitedLog logs a message that could come with every connection once a second at most, with the number
// of times.
type rateLimitedLog struct {
	lastSecond int64 // of the last line, as respond.Date counts
	count      int   // since the last line
}

func (w *rateLimitedLog) warn(sh *shard, msg string, attrs ...any) {
	w.log(sh, slog.LevelWarn, msg, attrs...)
}

func (w *rateLimitedLog) log(sh *shard, level slog.Level, msg string, attrs ...any) {
	w.count++
	if w.lastSecond == sh.date.Second() {
		return
	}
	sh.cfg.log.Log(context.Background(), level, msg, append(attrs, slog.Int("times", w.count))...)
	w.lastSecond, w.count = sh.date.Second(), 0
}
