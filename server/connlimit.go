package server

import (
	"cmp"
	"context"
	"log/slog"
	"slices"

	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/server/internal/respond"
)

// connLimiter keeps the connections within MaxConnections: for one that is too many the
// one goes that has been idle longest, or else the new one is refused.
//
// Nothing is kept for this while there is room. The search for idle connections
// looks at all of a loop, so it remembers more than it needs at once.
type connLimiter struct {
	idle       []idleConn // the longest idle last
	noneIdle   bool       // a search has found nothing, and since then nothing has become idle
	refusedLog rateLimitedLog
	evictedLog rateLimitedLog
}

// idleConn is a connection that was idle when the search came by.
type idleConn struct {
	sock       *loop.Conn
	lastActive int64 // session.lastActive at that time: another value says that it was busy since
}

const (
	// idleConnsMax is how many idle connections one search remembers.
	idleConnsMax = 256

	// refusedConnsMax is how many refused connections may still be taking leave, beyond
	// MaxConnections. Those after them are closed without an answer.
	refusedConnsMax = 64
)

// tick forgets what the last search has found.
func (w *connLimiter) tick() {
	clear(w.idle)
	w.idle = w.idle[:0]
}

// admit makes room for a connection beyond the limit, or refuses it. Where this loop has no idle connection
// the other loops are asked, and the connection waits for their answer.
func (s *session) admit() {
	h := s.sh
	switch {
	case h.evictIdle(s.sock):
	case h.srv.reactor.Len()-h.cfg.maxConns > refusedConnsMax:
		h.countRefusedConn()
		s.transition(lastDone)
		s.sock.Drop()
	case h.cfg.loop.Loops == 1:
		s.refuseConn()
	default:
		s.awaitsAdmission = true
		s.sock.Pause()
		h.srv.evictIdleOn(h.srv.reactor.Loops(), func(found bool) {
			h.loop.Do(func() {
				if s.awaitsAdmission = false; !s.sock.Alive() || s.phase != readingHead {
					return
				}
				if found {
					h.limit.noneIdle = false // as in Opened
					s.sock.Resume()
				} else {
					s.refuseConn()
				}
			})
		})
	}
}

// closeIdlerOf is closeIdler on one loop after the other, each on its own goroutine.
// It tells then what came of it.
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

// refuseCrowded answers c that there is no room for it.
func (s *session) refuseConn() {
	h := s.sh
	h.countRefusedConn()
	s.transition(lastDone)
	s.logRefusal(errTooManyConns, nil)
	h.out = respond.AppendError(h.out, errTooManyConns.Status, errTooManyConns.Why, false, &h.date)
	h.flush(s.sock)
	s.sock.Close()
}

func (h *shard) countRefusedConn() {
	h.count(refusedFull)
	h.limit.refusedLog.warn(h, "no idle connection to close for a new one, which is refused: raise the option MaxConnections, or lower IdleTimeout and HeadTimeout",
		slog.Int("MaxConnections", h.cfg.maxConns))
}

// closeIdler closes the connection of this loop that has been idle longest, but
// not c. It reports false if there is none.
func (h *shard) evictIdle(c *loop.Conn) bool {
	w := &h.limit
	for searched := false; !w.noneIdle; searched = true {
		for last := len(w.idle) - 1; last >= 0; last-- {
			i := w.idle[last]
			w.idle[last] = idleConn{}
			w.idle = w.idle[:last]
			cn, ok := i.sock.Context.(*session)
			if ok && cn.lastActive == i.lastActive && isIdle(i.sock, cn) && !i.sock.Unread() {
				h.count(evictedIdle)
				w.evictedLog.warn(h, "an idle connection is closed for a new one: raise the option MaxConnections, or lower IdleTimeout",
					slog.Int("MaxConnections", h.cfg.maxConns))
				i.sock.Drop()
				return true
			}
		}
		if searched {
			return false // what is idle has a request waiting in its socket
		}
		h.loop.Conns(func(other *loop.Conn) {
			if cn := other.Context.(*session); other != c && isIdle(other, cn) {
				w.idle = append(w.idle, idleConn{other, cn.lastActive})
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

// idle reports whether c is open, nothing is going on, no requests are left of a turn, and it
// does not wait to be let in.
func isIdle(c *loop.Conn, cn *session) bool {
	return c.Alive() && cn.phase == readingHead && !cn.awaitsAdmission && !cn.inProgress() && !c.Yielded()
}

// rateLimitedLog keeps a warning that could come with every connection down to one line
// a second.
type rateLimitedLog struct {
	lastSecond int64 // shard.cachedSecond of the last line
	count      int   // since then
}

func (w *rateLimitedLog) warn(h *shard, msg string, attrs ...any) {
	w.log(h, slog.LevelWarn, msg, attrs...)
}

func (w *rateLimitedLog) log(h *shard, level slog.Level, msg string, attrs ...any) {
	w.count++
	if w.lastSecond == h.date.Second() {
		return
	}
	h.cfg.log.Log(context.Background(), level, msg, append(attrs, slog.Int("times", w.count))...)
	w.lastSecond, w.count = h.date.Second(), 0
}
