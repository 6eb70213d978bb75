package server

import (
	"sync/atomic"

	"github.com/isbjorn/isbjorn/server/internal/workers"
)

// Stats is what an operator graphs: how many connections there are, and what has
// happened to them since the server was made. Connections, Hijacked, Working and Waiting
// are how many there are now; all others only grow. One event can count in several fields:
// a head that takes too long is in HeadTimeouts and in Refused.
type Stats struct {
	Connections int    // those that are taking leave included, without those in Hijacked
	Hijacked    int    // taken over by Hijack, whose application has not returned
	Accepted    uint64 // connections, without those in NoDescriptor

	// Connections that the peer or the network ended by an error, mostly a reset.
	Lost     uint64 // inside a request, or before the socket had taken all of an answer
	LostIdle uint64 // with nothing under way: some load balancers look so whether a server lives

	// Connections that the server ended and whose peer may miss something.
	Stalled uint64 // cut: the client took nothing for WriteTimeout
	Stopped uint64 // cut: they were there when Close was called, or Shutdown's time was over

	// Requests that the application failed, each with a line in the log.
	Failed  uint64 // by an error, a panic, or a response that cannot be
	Aborted uint64 // those of them whose answer had begun, also by gateway.ErrAbort; the others got a 500

	// Requests that the server itself answered by 4xx or 5xx, in place of the
	// application; also those that the client ended in the middle, but in order.
	Refused uint64

	// Time was up.
	HeadTimeouts    uint64 // HeadTimeout
	BodyTimeouts    uint64 // BodyTimeout
	RateTimeouts    uint64 // BodyRate
	IdleTimeouts    uint64 // IdleTimeout; closed in order
	RequestTimeouts uint64 // RequestTimeout; each with a line in the log

	// Requests on workers: none with Dispatch: Inline. Working near Workers, and Waiting over
	// 0 for a while, say that requests wait for each other.
	Working     int    // at work now; abandoned ones that have not returned included
	Waiting     int    // for a worker, now
	RefusedBusy uint64 // refused: as many were at work and waited as Workers and WorkerQueue allow

	LoopStalls   uint64 // times that a loop was held for StallWarning
	LoopHandoffs uint64 // times that a loop was held with Dispatch: Auto, and went on with another goroutine

	// There was no room.
	EvictedIdle  uint64 // idle connections closed for a new one: MaxConnections is reached
	RefusedFull  uint64 // connections refused, since none was idle: MaxConnections
	NoDescriptor uint64 // connections refused: the limit of open files
}

// counter is a field of Stats. Each loop counts for itself, at events of a
// connection or of a refusal: a request that is served counts nothing.
type counter uint8

const (
	accepted counter = iota
	lost
	lostIdle
	stalled
	stopped
	failed
	aborted
	refused
	headTimeouts
	bodyTimeouts
	rateTimeouts
	idleTimeouts
	requestTimeouts
	refusedBusy
	loopStalls
	loopHandoffs
	evictedIdle
	refusedFull
	noDescriptor
	counters
)

type counts [counters]atomic.Uint64

func (h *shard) count(c counter) { h.counts[c].Add(1) }

// Stats adds up what the loops have counted. From any goroutine, also after the
// server has stopped. The numbers are read one after the other, while the loops
// go on.
func (s *Server) Stats() Stats {
	var n [counters]uint64
	for _, l := range s.reactor.Loops() {
		h := l.Handler().(*shard)
		for c := range n {
			n[c] += h.counts[c].Load()
		}
	}
	connections := s.reactor.Len() // first: a connection is taken over before it is none of these
	var load workers.Load
	if s.workers != nil {
		load = s.workers.Load()
	}
	return Stats{
		Connections: connections, Hijacked: load.Hijacked, Working: load.Running, Waiting: load.Waiting,
		Accepted: n[accepted],
		Lost:     n[lost], LostIdle: n[lostIdle],
		Stalled: n[stalled], Stopped: n[stopped],
		Failed: n[failed], Aborted: n[aborted],
		Refused:      n[refused],
		HeadTimeouts: n[headTimeouts], BodyTimeouts: n[bodyTimeouts],
		RateTimeouts: n[rateTimeouts], IdleTimeouts: n[idleTimeouts],
		RequestTimeouts: n[requestTimeouts], RefusedBusy: n[refusedBusy],
		LoopStalls: n[loopStalls], LoopHandoffs: n[loopHandoffs],
		EvictedIdle: n[evictedIdle], RefusedFull: n[refusedFull], NoDescriptor: n[noDescriptor],
	}
}
