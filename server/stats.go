package server

import (
	"sync/atomic"

	"github.com/isbjorn/isbjorn/server/internal/workers"
)

// Stats has counters and gauges for an operator's graphs. Connections, Hijacked, Working and Waiting are
// gauges, how many there are now; all others are counters since New. One event may count in several fields:
// a head that takes too long is in HeadTimeouts and in Refused.
type Stats struct {
	Connections int    // open now, those in a lingering close included, those in Hijacked not
	Hijacked    int    // taken over by Hijack, whose application has not returned
	Accepted    uint64 // connections, those in NoDescriptor not included

	// Connections that the peer or the network ended by an error, mostly a reset.
	Lost     uint64 // inside a request, or before the socket had taken all of an answer
	LostIdle uint64 // between two requests: some load balancers probe a server by such a connection

	// Connections that the server cut, whose client may miss a part of an answer.
	Stalled uint64 // the client acknowledged nothing for WriteTimeout
	Stopped uint64 // open when Close was called, or when the time of Shutdown was over

	// Requests that the application failed, each with a line in the log.
	Failed  uint64 // by an error, a panic, or an invalid response
	Aborted uint64 // those of them whose answer had begun, also by gateway.ErrAbort; the others got a 500

	// Requests that the server itself answered by 4xx or 5xx, in place of the application; also those that
	// the client ended in the middle by closing its side in order.
	Refused uint64

	// Timeouts, by the option that sets the time.
	HeadTimeouts    uint64 // HeadTimeout
	BodyTimeouts    uint64 // BodyTimeout
	RateTimeouts    uint64 // BodyRate
	IdleTimeouts    uint64 // IdleTimeout; closed in order
	RequestTimeouts uint64 // RequestTimeout; each with a line in the log

	// Requests on workers: none with Dispatch: Inline. If Working is near the option Workers, and Waiting
	// over 0 for a while, requests wait for each other.
	Working     int    // on a worker now, abandoned ones included whose application has not returned
	Waiting     int    // queued for a worker now
	RefusedBusy uint64 // refused by 503: Workers were busy, and WorkerQueue full

	LoopStalls   uint64 // times that a loop was blocked for StallWarning
	LoopHandoffs uint64 // times that a loop got a new goroutine (Auto): a call took long, or needed a worker

	// Limits that were reached.
	EvictedIdle  uint64 // idle connections closed for a new one: MaxConnections
	RefusedFull  uint64 // connections refused, since none was idle: MaxConnections
	NoDescriptor uint64 // connections refused: the limit of open files (RLIMIT_NOFILE)
}

// counter is a field of Stats that grows. Each loop has its own. A request that is served in order, on the
// loop or by a worker, changes none.
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

func (sh *shard) count(c counter) { sh.counts[c].Add(1) }

// Stats returns the sums of the counters of all loops. It may be called from any goroutine, also after the
// server has stopped. The numbers are read one after the other while the loops run, so they may be of
// slightly different moments.
func (s *Server) Stats() Stats {
	var n [counters]uint64
	for _, l := range s.reactor.Loops() {
		sh := l.Handler().(*shard)
		for c := range n {
			n[c] += sh.counts[c].Load()
		}
	}
	f := s.tlsFront()
	if f != nil {
		for c := range n {
			n[c] += f.counted(counter(c))
		}
	}
	// First: Hijack counts a connection in Hijacked before it leaves Connections, so none is in neither.
	connections := s.connections()
	var load workers.Load
	if f != nil { // its pool is that of the loops, if these have one
		load = f.workers().Load()
	} else if s.workers != nil {
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
