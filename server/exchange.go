package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/valyala/bytebufferpool"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/parser"
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
	copy    []byte                     // of the request for a worker, see own
	since   int64                      // handler.now when the request began to wait: for its content, or else for its client to read
	came    int64                      // bytes of content since then, framing included
	data    content                    // the content that has come
	job     *job                       // kept for applications that may block; nil until there was one
	began   int64                      // handler.now when the job began
	asks    work                       // a call of the application

	resp     response
	file     *gateway.FileBody // of body, once the kernel sends it
	fileSize int64             // how much of it is to be sent
	waker    *waker
	instead  atomic.Int32 // status that the client is sent in place of the declared one; 0 if there is none
	turn
}

// turn is what is so for one request. Its zero value is the beginning.
type turn struct {
	body     gateway.Body
	unused   []byte // while Input calls: what is behind this request
	keep     bool   // the connection goes on after this response
	more     bool   // bytes of a next request have come already
	streams  bool   // content goes to the job as it comes; counted in crew.uploads
	owns     bool   // copy has the request: nobody has views of what the loop has read
	expects  bool   // the client of such content waits for 100 Continue
	headOnly bool   // HEAD
	ready    bool   // the body never waits
	lent     bool   // the last chunk, or the file, waits for the socket: no other is asked for before it is sent
	ended    bool   // the body has no more, or no more is wanted
	waits    bool   // the body has said ErrWait, and was not woken since
	shuts    bool   // the body is closed, and the response is over
	trailer  []byte // the request's trailer lines
	filled   int64  // handler.now when answers filled the output and content was still to come; 0 while they do not
}

var errPanic = errors.New("server: the application panicked")

// begin goes on from a complete head, the first n bytes of b, with the content that may
// be behind it. It adds what it uses of b to used.
func (x *exchange) begin(b []byte, n int, used *int) error {
	head, rest := b[:n:n], b[n:]
	*used += n
	x.headOnly = isHead(&x.req, head)
	if x.req.Expectation() == parser.ExpectUnknown {
		return errExpectation
	}
	if x.req.Repeated(parser.ContentType) { // an application could take either
		return errTypeTwice
	}
	if x.h.c.unders == RefuseUnderscores && x.underscored(head) {
		return errUnderscore
	}
	if x.conn.timer != idleTimer {
		x.conn.timer = noTimer // the next head and content have their own time
	}
	x.keep = x.req.KeepAlive()
	if !x.req.HasContent() {
		x.serve(head, nil, rest)
		return nil
	}
	if string(x.req.Method.Of(head)) == http.MethodTrace {
		return errTraceContent
	}
	x.content = x.req.Body()
	if want := x.content.Length(); want >= 0 && int64(len(rest)) >= want {
		*used += int(want)
		x.serve(head, rest[:want:want], rest[want:])
		return nil
	}
	x.head = takeBuffer(head)
	x.since, x.came = x.h.now, 0
	if x.h.s.streams && x.h.s.crew.beginUpload() {
		x.streams = true
		x.expects = x.req.Expectation() == parser.ExpectContinue && len(rest) == 0
		x.serve(x.head.B, nil, nil)
		return nil // the rest is fed by the next step
	}
	x.h.move(x.c, x.conn, headComplete)
	if x.req.Expectation() == parser.ExpectContinue && len(rest) == 0 {
		x.h.out = append(x.h.out, "HTTP/1.1 100 Continue\r\n\r\n"...)
	}
	return x.collect(rest, used)
}

// underscored looks for a field with "_" in its name.
func (x *exchange) underscored(head []byte) bool {
	return slices.ContainsFunc(x.req.Fields(), func(f parser.Field) bool {
		return bytes.IndexByte(f.Name.Of(head), '_') >= 0
	})
}

// collect takes content from b and serves the request when it is complete. It adds what
// it uses of b to used.
func (x *exchange) collect(b []byte, used *int) error {
	for !x.content.Done() {
		data, n, err := x.content.Decode(b, &x.h.c.limits)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if err := x.data.add(data, x.h.c); err != nil {
			return x.notKept(err)
		}
		x.trailer = append(x.trailer, x.content.Trailer(b[:n])...)
		b = b[n:]
		*used += n
		x.came += int64(n)
	}
	if err := x.data.settle(); err != nil {
		return x.notKept(err)
	}
	if x.content.Done() {
		x.serve(x.head.B, x.data.bytes(), b)
	}
	return nil
}

// serve runs the application and sends what it answers. unused is what has come behind
// this request.
func (x *exchange) serve(head, content, unused []byte) {
	x.unused, x.more = unused, len(unused) > 0
	x.h.move(x.c, x.conn, requestComplete)
	x.conn.served = true
	if x.streams || x.h.s.pools() || x.h.s.crew != nil && x.h.c.dispatchBy == nil && x.upgrades() {
		x.dispatch(x.own(head, content))
		return
	}
	x.env.Begin(&x.req, head, content, &x.h.host, x)
	if x.data.file != nil {
		x.env.ContentFrom(x.data.file, x.data.size)
	}
	if x.h.c.dispatchBy != nil && x.workerBy() { // what it has seen of the request are views: no copy can take their place
		x.dispatch(head, content)
		return
	}
	body, err := x.ask()
	if content, ok := gateway.BytesOf(body); ok && err == nil && x.answer(content) {
		return
	}
	x.body, x.ready = body, body == nil || isReady(body)
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

// answer is pull for a body that is one small chunk in memory, as most are. It reports
// false, and has done nothing, where anything is not as it mostly is.
func (x *exchange) answer(content []byte) bool {
	r := &x.resp
	if !r.started || r.sent || r.err != nil || x.contentless(r.code) || len(content) > copyBytesMax || !x.c.Alive() || x.c.Full() {
		return false
	}
	x.commit(int64(len(content)))
	if len(content) > 0 {
		if err := x.send(content); err != nil {
			x.log(slog.LevelError, err.Error())
		}
	}
	x.done()
	return true
}

// done ends a response whose body has ended.
func (x *exchange) done() {
	r := &x.resp
	if !r.sent {
		if !r.started {
			x.fail(errNotStarted)
			return
		}
		x.commit(x.known(0, nil, io.EOF))
	}
	if !x.finish() {
		x.fail(fmt.Errorf("server: the response is %d bytes shorter than its Content-Length", r.left))
		return
	}
	r.whole = true
	x.shut()
	x.leave()
}

// closed takes note of how the body of a response was closed.
func (x *exchange) closed(err error) {
	if err != nil {
		x.log(slog.LevelWarn, closeFailed, slog.Any("error", err))
	}
}

// leave takes the request back from the application and decides what comes
// after it.
func (x *exchange) leave() {
	h, c, cn := x.h, x.c, x.conn
	// Content that has not come yet would be taken for a request: it is thrown away first.
	keep, skips, content := x.keep, x.streams, x.content
	if skips && !x.skippable() {
		keep = false
	}
	h.give(x)
	switch {
	case keep && skips:
		h.skipContent(c, cn, content)
		return
	case keep:
		h.move(c, cn, responseDone)
		return
	}
	h.move(c, cn, lastDone)
	h.flush(c)
	c.Close()
}

// requestLine returns copies of the method and the target, once the head is
// complete.
func (x *exchange) requestLine() (method, target string) {
	if x.head != nil { // the application may not be at work yet
		return string(x.req.Method.Of(x.head.B)), string(x.req.Target.Of(x.head.B))
	}
	method, target = x.env.RequestLine()
	return strings.Clone(method), strings.Clone(target)
}

// log says something about this request.
func (x *exchange) log(level slog.Level, msg string, attrs ...slog.Attr) {
	method, target := x.requestLine()
	x.h.c.logRequest(level, msg, method, target, x.c.RemoteAddr(), attrs...)
}

// logRequest says something about a request.
func (c *config) logRequest(level slog.Level, msg, method, target string, remote netip.AddrPort, attrs ...slog.Attr) {
	c.log.LogAttrs(context.Background(), level, msg, append(attrs,
		slog.String("method", method), slog.String("target", target), slog.Any("remote", remote))...)
}
