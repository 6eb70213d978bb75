package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/valyala/bytebufferpool"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/parser"
)

// handler is one loop's side of the server.
type handler struct {
	s    *Server
	c    *config
	loop *loop.Loop
	host gateway.Host

	out    []byte      // answers of the connection at work, not yet given to the socket
	free   []*exchange // between two requests
	stamp  []byte      // "Server: ...\r\nDate: ...\r\n", renewed every second
	dateAt int         // where Date begins in stamp
	second int64       // of stamp
	now    int64       // ns since 1970, of the last Tick

	stopping bool // Shutdown was called
}

// conn is what the server knows of a connection between two events.
type conn struct {
	phase  phase
	timer  timer     // what the timeout that runs is for
	served bool      // at least one request
	active int64     // handler.now at the last sign of life
	x      *exchange // the request at work; nil while there is none
}

// timer says what a connection's timeout is for.
type timer uint8

const (
	noTimer   timer = iota
	idleTimer       // between two requests; stays while requests come and go
	headTimer       // from the first byte of a head, absolute
	bodyTimer       // since the last progress of the content
)

// exchange is one request and its response.
type exchange struct {
	h     *handler
	c     *loop.Conn
	conn  *conn
	start gateway.StartResponse // startResponse, bound once

	req     parser.Request
	content parser.Body // decoder of the content
	env     gateway.Environ
	head    *bytebufferpool.ByteBuffer // copy of the head while the content comes
	data    *bytebufferpool.ByteBuffer // the content that has come

	resp     response
	body     gateway.Body
	keep     bool // the connection goes on after this response
	more     bool // bytes of a next request have come already
	headOnly bool // HEAD
	lent     bool // the last chunk is in the socket's queue, not copied
	ended    bool // the body has no more, or no more is wanted
}

const (
	// turnChunks is how many chunks of one body are pulled before other
	// connections have their turn.
	turnChunks = 64

	// outBytesMax bounds the answers that are gathered for one write, and the
	// memory a loop keeps for them: a read's worth of pipelined small requests.
	outBytesMax = 256 << 10

	// keepBytesMax is the largest buffer that goes back to the pool.
	keepBytesMax = 64 << 10

	// freeMax is how many unused exchanges (about 2 KiB each) a loop keeps.
	freeMax = 256
)

func newHandler(s *Server, l *loop.Loop) *handler {
	c := s.config
	h := &handler{s: s, c: c, loop: l, host: gateway.Host{
		Scheme: "http", Software: c.name, Multithread: c.loop.Loops > 1, Log: c.log,
	}}
	h.Tick(time.Now())
	return h
}

// Opened begins a connection.
func (h *handler) Opened(c *loop.Conn) {
	c.Context = &conn{phase: readingHead, timer: idleTimer, active: h.now}
	c.SetTimeout(h.idleTime())
}

// idleTime is how long a connection may be idle, from now on.
func (h *handler) idleTime() time.Duration {
	if h.stopping {
		return freshGrace
	}
	return h.c.idleTime
}

// Input serves the requests in b. Their answers leave in one write.
func (h *handler) Input(c *loop.Conn, b []byte) (used int) {
	cn := c.Context.(*conn)
	for !h.serveInput(c, cn, b, &used) {
	}
	h.flush(c)
	h.arm(c, cn)
	return used
}

// serveInput goes on at b[*used:]. It reports whether it came to the end: false
// says that an application has panicked, and that there may be more to do.
func (h *handler) serveInput(c *loop.Conn, cn *conn, b []byte, used *int) (ended bool) {
	defer cn.guard()
	for *used < len(b) && !c.Full() {
		before := *used
		h.step(c, cn, b, used)
		if *used == before {
			break
		}
		if len(h.out) >= outBytesMax {
			h.flush(c)
		}
	}
	return true
}

// guard makes a panic of the application under way an answer and a line of the
// log. There is one guard for all that a turn calls, since it costs more than
// most of that.
func (cn *conn) guard() {
	p := recover()
	if p == nil {
		return
	}
	x := cn.x
	if x == nil || cn.phase != handling && cn.phase != writing {
		panic(p) // not the application's: a fault of ours, and not to be hidden
	}
	x.log(slog.LevelError, "the application panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
	x.fail(errPanic)
}

var errPanic = errors.New("server: the application panicked")

// step uses what it can of b[*used:] for one request: nothing if more must come,
// or if the phase wants none. used is right whenever the application runs.
func (h *handler) step(c *loop.Conn, cn *conn, b []byte, used *int) {
	var err error
	switch cn.phase {
	case readingHead:
		if cn.x == nil {
			h.take(c, cn)
		}
		var n int
		if n, err = cn.x.req.Parse(b[*used:], &h.c.limits); n > 0 {
			head := b[*used:][:n:n]
			*used += n
			err = cn.x.begin(head, b, used)
		}
	case readingBody:
		err = cn.x.collect(b, used)
	}
	if err != nil {
		h.refuse(c, cn, err.(*parser.Error))
		*used = len(b)
	}
}

// move changes the phase of a connection. What the table does not know ends it.
func (h *handler) move(c *loop.Conn, cn *conn, e event) {
	was := cn.phase
	cn.phase = was.next(e)
	if cn.phase == closed && e != gone {
		h.c.log.Error("a connection in a phase that cannot be", slog.String("phase", was.String()), slog.Int("event", int(e)))
		c.Abort()
	}
}

// begin goes on from a complete head, with the content that may be behind it.
func (x *exchange) begin(head, b []byte, used *int) error {
	x.headOnly = string(x.req.Method.Of(head)) == http.MethodHead
	if x.req.Expectation() == parser.ExpectUnknown {
		return errExpectation
	}
	if x.typeTwice(head) {
		return errTypeTwice
	}
	if x.conn.timer != idleTimer {
		x.conn.timer = noTimer // the next head and content have their own time
	}
	x.keep = x.req.KeepAlive()
	if !x.req.HasContent() {
		x.more = *used < len(b)
		x.serve(head, nil)
		return nil
	}
	if string(x.req.Method.Of(head)) == http.MethodTrace {
		return errTraceContent
	}
	x.content = x.req.Body()
	rest := b[*used:]
	if want := x.content.Length(); want >= 0 && int64(len(rest)) >= want {
		*used += int(want)
		x.more = *used < len(b)
		x.serve(head, rest[:want:want])
		return nil
	}
	x.head = takeBuffer(head)
	x.data = takeBuffer(nil)
	x.h.move(x.c, x.conn, headComplete)
	if x.req.Expectation() == parser.ExpectContinue && len(rest) == 0 {
		x.h.out = append(x.h.out, "HTTP/1.1 100 Continue\r\n\r\n"...)
	}
	return x.collect(b, used)
}

// typeTwice looks for a second Content-Type: an application could take either.
func (x *exchange) typeTwice(head []byte) bool {
	const name = "content-type"
	seen := false
	for _, f := range x.req.Fields() {
		if int(f.Name.Len) == len(name) && bytes.EqualFold(f.Name.Of(head), []byte(name)) {
			if seen {
				return true
			}
			seen = true
		}
	}
	return false
}

// collect takes content from b and serves the request when it is complete.
func (x *exchange) collect(b []byte, used *int) error {
	for !x.content.Done() {
		data, n, err := x.content.Decode(b[*used:], &x.h.c.limits)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		x.data.B = append(x.data.B, data...)
		*used += n
	}
	x.more = *used < len(b)
	x.serve(x.head.B, x.data.B)
	return nil
}

// serve runs the application and sends what it answers.
func (x *exchange) serve(head, content []byte) {
	x.h.move(x.c, x.conn, requestComplete)
	x.conn.served = true
	x.env.Begin(&x.req, head, content, &x.h.host, x.c)
	var err error
	x.body, err = x.h.s.app.Serve(&x.env, x.start)
	switch {
	case x.resp.err != nil:
		x.fail(x.resp.err)
	case err != nil:
		x.fail(err)
	default:
		x.ended = x.body == nil
		x.pull()
	}
}

// pull sends the body until it ends or must wait: for the socket, because it is
// full or has borrowed the last chunk, or for its next turn.
func (x *exchange) pull() {
	r := &x.resp
	for turn := 0; ; turn++ {
		switch {
		case !x.c.Alive():
			x.hold() // Closed comes next
			return
		case x.lent && x.c.Unsent() > 0:
			x.hold()
			x.c.AwaitSent()
			return
		case r.started && !x.ended && (x.headOnly || bodiless(r.code)):
			if !r.sent {
				x.commit(x.known(-1))
			}
			x.ended = true
		}
		x.lent = false
		switch {
		case x.ended:
			x.done()
			return
		case x.c.Full():
			x.hold()
			return
		case turn == turnChunks:
			x.hold()
			x.c.Yield()
			return
		}
		b, err := x.body.Next()
		if r.err != nil {
			err = r.err
		}
		if err != nil && err != io.EOF {
			x.fail(err)
			return
		}
		x.ended = err == io.EOF
		if len(b) == 0 {
			continue
		}
		if !r.sent {
			if !r.started {
				x.fail(errNotStarted)
				return
			}
			known := int64(-1)
			if x.ended {
				known = int64(len(b))
			}
			x.commit(x.known(known))
		}
		if err := x.send(b); err != nil {
			x.log(slog.LevelError, err.Error())
			x.ended = true
		}
		if r.framing == byLength && r.left == 0 {
			x.ended = true
		}
		if !x.ended {
			x.h.flush(x.c) // on its way before the next is asked for
		}
	}
}

// known is the length of the content: what the body says, else n.
func (x *exchange) known(n int64) int64 {
	if x.body == nil {
		return 0
	}
	if sized, ok := x.body.(gateway.Sized); ok {
		return sized.Len()
	}
	return n
}

// hold suspends the response. Views of the request stay good until it goes on.
func (x *exchange) hold() {
	if x.conn.phase == handling {
		x.c.Pause()
		if x.head == nil { // else it has its own copies
			x.c.Retain()
		}
	}
	x.h.move(x.c, x.conn, responseHeld)
	x.h.flush(x.c)
}

// Drained goes on with a response that was held.
func (h *handler) Drained(c *loop.Conn) {
	cn := c.Context.(*conn)
	if cn.phase == writing {
		cn.resume()
		h.flush(c)
		if cn.phase == readingHead {
			c.Resume()
		}
	}
	h.arm(c, cn)
}

// resume is pull for a response that was held.
func (cn *conn) resume() {
	defer cn.guard()
	cn.x.pull()
}

// done ends a response whose body has ended.
func (x *exchange) done() {
	r := &x.resp
	if !r.sent {
		if !r.started {
			x.fail(errNotStarted)
			return
		}
		x.commit(x.known(0))
	}
	if !x.finish() {
		x.fail(fmt.Errorf("server: the response is %d bytes shorter than its Content-Length", r.left))
		return
	}
	r.whole = true
	if body := x.body; body != nil {
		x.body = nil // closed once, also if that panics
		x.closed(body.Close())
	}
	x.leave()
}

// closed takes note of how the body of a response was closed.
func (x *exchange) closed(err error) {
	if err != nil {
		x.log(slog.LevelWarn, "closing the body of a response failed", slog.Any("error", err))
	}
}

// dropBody closes the body of a response that is not going on, where no guard
// may be at work.
func (x *exchange) dropBody() {
	if body := x.body; body != nil {
		x.body = nil
		defer func() {
			if p := recover(); p != nil {
				x.closed(fmt.Errorf("%w: %v", errPanic, p))
			}
		}()
		x.closed(body.Close())
	}
}

// fail answers 500, or cuts the connection if a part of the response is sent, so
// that the client does not take it as whole.
func (x *exchange) fail(err error) {
	if err != errPanic { // which has its line already
		x.log(slog.LevelError, "the application failed", slog.Any("error", err))
	}
	x.dropBody()
	switch {
	case x.resp.whole:
		x.keep = false
	case x.resp.sent:
		x.keep = false
		if x.resp.framing == byClose {
			x.c.Abort() // nothing else shows that it is not whole
		}
	default:
		const text = "Internal Server Error\n"
		x.resp.account = account{}
		_ = x.declare("500 Internal Server Error", errorHeaders, nil)
		x.commit(int64(len(text)))
		_ = x.send([]byte(text))
	}
	x.leave()
}

var errorHeaders = []gateway.Header{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}}

// leave takes the request back from the application and decides what comes
// after it.
func (x *exchange) leave() {
	h, c, cn := x.h, x.c, x.conn
	h.give(x)
	if x.keep {
		h.move(c, cn, responseDone)
		return
	}
	h.move(c, cn, lastDone)
	h.flush(c)
	c.Close()
}

// refuse answers what cannot be served, and lets the connection end.
func (h *handler) refuse(c *loop.Conn, cn *conn, why *parser.Error) {
	h.c.log.Debug("request refused", slog.Any("remote", c.RemoteAddr()),
		slog.Int("status", why.Status), slog.Int("rule", why.Rule), slog.String("why", why.Why))
	h.out = h.appendRefusal(h.out, why.Status, why.Why, cn.x != nil && cn.x.headOnly)
	h.flush(c)
	if cn.x != nil {
		h.give(cn.x)
	}
	h.move(c, cn, lastDone)
	c.Close()
}

// EOF: a client that has sent its last byte gets the answers it still waits for;
// in the phases that read there are none.
func (h *handler) EOF(c *loop.Conn) {
	cn := c.Context.(*conn)
	switch {
	case cn.phase == readingBody, cn.phase == readingHead && cn.x != nil && cn.x.req.Started():
		h.refuse(c, cn, errIncomplete)
	default:
		c.Close()
	}
}

// Timeout: the client was too slow in the phase it is in.
func (h *handler) Timeout(c *loop.Conn) {
	cn := c.Context.(*conn)
	switch cn.timer {
	case headTimer:
		h.refuse(c, cn, errHeadTime)
	case bodyTimer:
		h.refuse(c, cn, errBodyTime)
	case idleTimer:
		if left := h.idleTime() - time.Duration(h.now-cn.active); left > 0 {
			c.SetTimeout(left)
		} else {
			c.Close()
		}
	}
}

// arm sets the timeout of the phase. Between two requests this only notes the
// time: Timeout looks how long it was, so that a busy connection costs no timer.
// Where it is not the client that we wait for there is none: the loop watches
// whether a full socket empties.
func (h *handler) arm(c *loop.Conn, cn *conn) {
	switch {
	case c.Full() || cn.phase == writing:
		cn.timer = noTimer
		c.SetTimeout(0)
	case cn.phase == readingBody:
		cn.timer = bodyTimer
		c.SetTimeout(h.c.bodyTime)
	case cn.phase == readingHead:
		if cn.x != nil && cn.x.req.Started() {
			if cn.timer != headTimer { // however the head drips
				cn.timer = headTimer
				c.SetTimeout(h.c.headTime)
			}
			return
		}
		if h.stopping && cn.served && c.Unused() == 0 {
			c.Close()
			return
		}
		cn.active = h.now
		if cn.timer != idleTimer {
			cn.timer = idleTimer
			c.SetTimeout(h.idleTime())
		}
	}
}

// Closed takes back what a connection has left.
func (h *handler) Closed(c *loop.Conn, err error) {
	cn := c.Context.(*conn)
	if cn.x != nil {
		cn.x.dropBody()
		h.give(cn.x)
	}
	h.move(c, cn, gone)
	if err != nil {
		h.c.log.Debug("connection lost", slog.Any("remote", c.RemoteAddr()), slog.Any("error", err))
	}
	if h.stopping {
		h.s.checkEmpty()
	}
}

// stop is Shutdown's part on this loop.
func (h *handler) stop() {
	h.stopping = true
	h.loop.Conns(func(c *loop.Conn) {
		cn := c.Context.(*conn)
		switch {
		case cn.phase != readingHead || c.Full() || c.Unused() > 0 || cn.x != nil && cn.x.req.Started():
			// at work: its last answer says close
		case cn.served:
			c.Close()
		default:
			cn.active = h.now
			c.SetTimeout(freshGrace)
		}
	})
	h.s.checkEmpty()
}

// Tick renews what depends on the time of day.
func (h *handler) Tick(now time.Time) {
	h.now = now.UnixNano()
	if h.stopping {
		h.s.checkEmpty()
	}
	if now.Unix() == h.second {
		return
	}
	h.second = now.Unix()
	h.stamp = h.stamp[:0]
	if h.c.name != "" {
		h.stamp = append(h.stamp, "Server: "...)
		h.stamp = append(h.stamp, h.c.name...)
		h.stamp = append(h.stamp, "\r\n"...)
	}
	h.dateAt = len(h.stamp)
	h.stamp = append(h.stamp, "Date: "...)
	h.stamp = now.UTC().AppendFormat(h.stamp, http.TimeFormat)
	h.stamp = append(h.stamp, "\r\n"...)
}

// Refusal is for a client that no descriptor is left for.
func (h *handler) Refusal() []byte {
	return h.appendRefusal(nil, http.StatusServiceUnavailable, "too many connections", false)
}

// flush gives the gathered answers to the socket.
func (h *handler) flush(c *loop.Conn) {
	if len(h.out) == 0 {
		return
	}
	c.Send(h.out)
	h.out = h.out[:0]
	if cap(h.out) > 2*outBytesMax {
		h.out = nil
	}
}

// take begins a request on cn.
func (h *handler) take(c *loop.Conn, cn *conn) {
	var x *exchange
	if last := len(h.free) - 1; last >= 0 {
		x = h.free[last]
		h.free = h.free[:last]
	} else {
		x = &exchange{h: h}
		x.start = x.startResponse
	}
	x.c, x.conn, cn.x = c, cn, x
}

// give ends it. Nobody may hold a view of it any more.
func (h *handler) give(x *exchange) {
	x.conn.x = nil
	x.env.End()
	giveBuffer(x.head)
	giveBuffer(x.data)
	x.c, x.conn, x.head, x.data, x.body = nil, nil, nil, nil, nil
	x.headOnly, x.lent, x.ended = false, false, false
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

// log says something about this request.
func (x *exchange) log(level slog.Level, msg string, attrs ...slog.Attr) {
	x.h.c.log.LogAttrs(context.Background(), level, msg, append(attrs,
		slog.String("method", x.env.Method()), slog.String("target", x.env.Target()), slog.Any("remote", x.c.RemoteAddr()))...)
}
