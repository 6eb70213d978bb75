package server

import (
	"cmp"
	"context"
	"log/slog"
	"slices"

	"github.com/isbjorn/isbjorn/loop"
)

// crowd keeps the connections within MaxConnections: for one that is too many the
// one goes that has been idle longest, or else the new one is refused.
//
// Nothing is kept for this while there is room. The search for idle connections
// looks at all of a loop, so it remembers more than it needs at once.
type crowd struct {
	idle      []idler // the longest idle last
	none      bool    // a search has found nothing, and since then nothing has become idle
	refuses   complaint
	displaces complaint
}

// idler is a connection that was idle when the search came by.
type idler struct {
	c      *loop.Conn
	active int64 // conn.active at that time: another value says that it was busy since
}

const (
	// idlersMax is how many idle connections one search remembers.
	idlersMax = 256

	// refusedMax is how many refused connections may still be taking leave, beyond
	// MaxConnections. Those after them are closed without an answer.
	refusedMax = 64
)

// tick forgets what the last search has found.
func (w *crowd) tick() {
	clear(w.idle)
	w.idle = w.idle[:0]
}

// crowded makes room for c, which is one too many, or refuses it. Where this loop
// has no idle connection the others are asked, and c waits for what they say.
func (h *handler) crowded(c *loop.Conn, cn *conn) {
	switch {
	case h.closeIdler(c):
	case h.s.reactor.Len()-h.c.maxConns > refusedMax:
		h.complainCrowded()
		h.move(c, cn, lastDone)
		c.Drop()
	case h.c.loop.Loops == 1:
		h.refuseCrowded(c, cn)
	default:
		cn.waits = true
		c.Pause()
		h.s.closeIdlerOf(h.s.reactor.Loops(), func(found bool) {
			h.loop.Do(func() {
				if cn.waits = false; !c.Alive() || cn.phase != readingHead {
					return
				}
				if found {
					h.crowd.none = false // as in Opened
					c.Resume()
				} else {
					h.refuseCrowded(c, cn)
				}
			})
		})
	}
}

// closeIdlerOf is closeIdler on one loop after the other, each on its own goroutine.
// It tells then what came of it.
func (s *Server) closeIdlerOf(loops []*loop.Loop, then func(found bool)) {
	if len(loops) == 0 {
		then(false)
		return
	}
	loops[0].Do(func() { // a loop that has stopped needs no answer: the others stop too
		if loops[0].Handler().(*handler).closeIdler(nil) {
			then(true)
		} else {
			s.closeIdlerOf(loops[1:], then)
		}
	})
}

// refuseCrowded answers c that there is no room for it.
func (h *handler) refuseCrowded(c *loop.Conn, cn *conn) {
	h.complainCrowded()
	h.move(c, cn, lastDone)
	h.logRefusal(c, cn, errCrowded, nil)
	h.out = h.appendRefusal(h.out, errCrowded.Status, errCrowded.Why, false)
	h.flush(c)
	c.Close()
}

func (h *handler) complainCrowded() {
	h.count(crowded)
	h.crowd.refuses.warn(h, "no idle connection to close for a new one, which is refused: raise the option MaxConnections, or lower IdleTimeout and HeadTimeout",
		slog.Int("MaxConnections", h.c.maxConns))
}

// closeIdler closes the connection of this loop that has been idle longest, but
// not c. It reports false if there is none.
func (h *handler) closeIdler(c *loop.Conn) bool {
	w := &h.crowd
	for searched := false; !w.none; searched = true {
		for last := len(w.idle) - 1; last >= 0; last-- {
			i := w.idle[last]
			w.idle[last] = idler{}
			w.idle = w.idle[:last]
			if cn, ok := i.c.Context.(*conn); ok && cn.active == i.active && idle(i.c, cn) && !i.c.Unread() {
				h.count(displaced)
				w.displaces.warn(h, "an idle connection is closed for a new one: raise the option MaxConnections, or lower IdleTimeout",
					slog.Int("MaxConnections", h.c.maxConns))
				i.c.Drop()
				return true
			}
		}
		if searched {
			return false // what is idle has a request waiting in its socket
		}
		h.loop.Conns(func(other *loop.Conn) {
			if cn := other.Context.(*conn); other != c && idle(other, cn) {
				w.idle = append(w.idle, idler{other, cn.active})
			}
		})
		slices.SortFunc(w.idle, func(a, b idler) int { return cmp.Compare(b.active, a.active) })
		if more := len(w.idle) - idlersMax; more > 0 {
			w.idle = slices.Delete(w.idle, 0, more)
		}
		w.none = len(w.idle) == 0
	}
	return false
}

// idle reports whether c is open, nothing is going on, no requests are left of a turn, and it
// does not wait to be let in.
func idle(c *loop.Conn, cn *conn) bool {
	return c.Alive() && cn.phase == readingHead && !cn.waits && !cn.atWork(c) && !c.Yielded()
}

// complaint keeps a warning that could come with every connection down to one line
// a second.
type complaint struct {
	second int64 // handler.second of the last line
	times  int   // since then
}

func (w *complaint) warn(h *handler, msg string, attrs ...any) {
	w.say(h, slog.LevelWarn, msg, attrs...)
}

func (w *complaint) say(h *handler, level slog.Level, msg string, attrs ...any) {
	w.times++
	if w.second == h.second {
		return
	}
	h.c.log.Log(context.Background(), level, msg, append(attrs, slog.Int("times", w.times))...)
	w.second, w.times = h.second, 0
}
