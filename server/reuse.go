package server

import (
	"github.com/valyala/bytebufferpool"

	"github.com/isbjorn/isbjorn/loop"
)

const (
	// freeMax is how many unused exchanges (about 2 KiB each, 6 with a large copy) a loop keeps.
	freeMax = 256

	// ownBytesMax is the largest copy of a request that an exchange keeps for the next one:
	// a head of a browser has less.
	ownBytesMax = 4 << 10

	// keepBytesMax is the largest buffer that goes back to the pool: one large
	// upload must not pin its memory.
	keepBytesMax = 64 << 10
)

// take begins a request on cn.
func (h *handler) take(c *loop.Conn, cn *conn) {
	var x *exchange
	if last := len(h.free) - 1; last >= 0 {
		x = h.free[last]
		h.free = h.free[:last]
	} else {
		x = &exchange{h: h}
		x.asks.x, x.asks.takeable = x, h.s.crew != nil
		x.start = x.startResponse()
	}
	x.c, x.conn, cn.x = c, cn, x
}

// give ends it. Nobody may hold a view of it any more, but a worker that is still at
// it: then it is the worker who brings it back.
func (h *handler) give(x *exchange) {
	if x.conn != nil {
		x.conn.x = nil
	}
	x.endStream()
	x.turn = turn{}
	if x.job != nil {
		if x.job.atWork() { // who closed the job has told it
			x.c, x.conn = nil, nil
			return
		}
		x.job.finish()
	}
	x.env.End()
	if x.head != nil {
		giveBuffer(x.head)
		x.head = nil
	}
	if cap(x.copy) > ownBytesMax {
		x.copy = nil
	}
	if x.data.memory != nil || x.data.file != nil {
		x.data.close()
	}
	x.c, x.conn = nil, nil
	if x.asks.state.Load() == away {
		x.asks.state.Store(outside)
	}
	if x.waker != nil {
		x.waker.x, x.waker = nil, nil
	}
	if x.instead.Load() != 0 {
		x.instead.Store(0)
	}
	x.req.Reset()
	x.resp.account = account{}
	if len(h.free) < freeMax {
		h.free = append(h.free, x)
	}
}

// takeBuffer returns a pooled buffer that holds a copy of b.
func takeBuffer(b []byte) *bytebufferpool.ByteBuffer {
	buf := bytebufferpool.Get()
	buf.B = append(buf.B[:0], b...)
	return buf
}

func giveBuffer(b *bytebufferpool.ByteBuffer) {
	if b != nil && cap(b.B) <= keepBytesMax {
		bytebufferpool.Put(b)
	}
}
