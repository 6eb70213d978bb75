package server

import (
	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/server/internal/buffers"
)

const (
	// freeMax is how many unused exchanges (about 2 KiB each, 6 with a large copy) a loop keeps.
	freeMax = 256

	// ownBytesMax is the largest copy of a request that an exchange keeps for the next one:
	// a head of a browser has less.
	ownBytesMax = 4 << 10
)

// take begins a request on cn.
func (h *shard) acquire(c *loop.Conn, cn *session) {
	var x *exchange
	if last := len(h.free) - 1; last >= 0 {
		x = h.free[last]
		h.free = h.free[:last]
	} else {
		x = &exchange{sh: h}
		x.call.Owner, x.call.CanHandOff = x, h.srv.workers != nil
		x.start = x.startResponse()
	}
	x.sock, x.session, cn.x = c, cn, x
}

// give ends it. Nobody may hold a view of it any more, but a worker that is still at
// it: then it is the worker who brings it back.
func (h *shard) release(x *exchange) {
	if x.session != nil {
		x.session.x = nil
	}
	x.endStream()
	x.requestState = requestState{}
	if x.job != nil {
		if x.job.running() { // who closed the job has told it
			x.sock, x.session = nil, nil
			return
		}
		x.job.finish()
	}
	x.env.End()
	if x.head != nil {
		buffers.Put(x.head)
		x.head = nil
	}
	if cap(x.copy) > ownBytesMax {
		x.copy = nil
	}
	if !x.received.Empty() {
		x.received.Release()
	}
	x.sock, x.session = nil, nil
	x.call.Reset()
	if x.waker != nil {
		x.waker.x, x.waker = nil, nil
	}
	if x.replacedStatus.Load() != 0 {
		x.replacedStatus.Store(0)
	}
	x.req.Reset()
	x.resp.Reset()
	if len(h.free) < freeMax {
		h.free = append(h.free, x)
	}
}
