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
		x.app.call.Owner, x.app.call.CanHandOff = x, h.srv.workers != nil
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
	x.in.requestInState, x.out.responseOutState, x.app.closingBody = requestInState{}, responseOutState{}, false
	if x.app.job != nil {
		if x.app.job.running() { // who closed the job has told it
			x.sock, x.session = nil, nil
			return
		}
		x.app.job.finish()
	}
	x.app.env.End()
	if x.in.head != nil {
		buffers.Put(x.in.head)
		x.in.head = nil
	}
	if cap(x.in.copied) > ownBytesMax {
		x.in.copied = nil
	}
	if !x.in.content.Empty() {
		x.in.content.Release()
	}
	x.sock, x.session = nil, nil
	x.app.call.Reset()
	if x.app.waker != nil {
		x.app.waker.x, x.app.waker = nil, nil
	}
	if x.out.replacedStatus.Load() != 0 {
		x.out.replacedStatus.Store(0)
	}
	x.in.req.Reset()
	x.out.Response.Reset()
	if len(h.free) < freeMax {
		h.free = append(h.free, x)
	}
}
