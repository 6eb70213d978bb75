package server

import (
	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/parser"
)

// skipBytesMax is how much of the content that an application has left unread is read
// behind its answer and thrown away, so that the connection goes on. As in net/http: a
// client of an API that refuses a request sends less, and for more a new connection costs
// less. BodyTimeout and BodyRate hold meanwhile.
const skipBytesMax = 256 << 10

// errSkipBytes ends a connection. No client sees it: the request was answered.
var errSkipBytes = &parser.Error{Status: 413, Why: "more content was left unread than is read behind an answer"}

// skippable reports whether the connection can go on although a part of the content has
// not come yet: its end may be near, and the client does send it. One that waits for 100
// Continue may send it or not when it sees another answer (RFC 9110 section 10.1.1), so
// nobody knows what its next bytes are.
func (x *exchange) canSkipContent() bool {
	return !x.in.expect100 && !x.sh.stopping && x.in.decoder.Remaining() <= skipBytesMax
}

// skipContent begins to throw away content, of the request that has just ended. An
// exchange of its own has the state of that: the worker may not have given the other
// back yet.
func (h *shard) skipContent(c *loop.Conn, cn *session, content parser.Body) {
	h.acquire(c, cn)
	cn.x.in.decoder = content
	cn.x.in.clock.since, cn.x.in.clock.bytes = h.now, 0
	h.transition(c, cn, contentLeft)
}

// skip throws content of b away. It adds what it uses of b to used.
func (x *exchange) skip(b []byte, used *int) error {
	for !x.in.decoder.Done() {
		_, n, err := x.in.decoder.Decode(b, &x.sh.cfg.limits)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		b = b[n:]
		*used += n
		// Chunked content may turn out to be more. The client was not told of an end of the
		// connection, and its next request may be behind the content: it is worth as much as
		// what is read behind a last answer.
		if x.in.clock.bytes += int64(n); x.in.clock.bytes > max(skipBytesMax, x.sh.cfg.loop.LingerBytes) {
			return errSkipBytes
		}
	}
	h, c, cn := x.sh, x.sock, x.session
	h.release(x)
	h.transition(c, cn, responseDone)
	return nil
}

// skipNoMore ends a connection whose content does not end, or not well. Its request was
// answered.
func (h *shard) endSkipping(c *loop.Conn, cn *session) {
	h.release(cn.x)
	h.transition(c, cn, lastDone)
	c.Close()
}
