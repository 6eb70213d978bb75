package server

import (
	"bytes"
	"context"
	"errors"
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
	"github.com/isbjorn/isbjorn/server/internal/buffers"
	"github.com/isbjorn/isbjorn/server/internal/callstate"
	"github.com/isbjorn/isbjorn/server/internal/respond"
	"github.com/isbjorn/isbjorn/server/internal/spool"
)

// exchange is one request and its response.
type exchange struct {
	sh      *shard
	sock    *loop.Conn
	session *session
	start   gateway.StartResponse // startResponse, bound once

	req         parser.Request
	content     parser.Body // decoder of the content
	env         gateway.ServerEnviron
	head        *bytebufferpool.ByteBuffer // copy of the head while the content comes
	copy        []byte                     // of the request for a worker, see own
	bodyClock   int64                      // shard.now when the request began to wait: for its content, or else for its client to read
	bodyBytes   int64                      // bytes of content since then, framing included
	received    spool.Content              // the content that has come
	job         *job                       // kept for applications that may block; nil until there was one
	workerStart int64                      // shard.now when the job began
	call        callstate.Call             // a call of the application

	resp           respond.Response
	file           *gateway.FileBody // of body, once the kernel sends it
	fileSize       int64             // how much of it is to be sent
	waker          *waker
	replacedStatus atomic.Int32 // status that the client is sent in place of the declared one; 0 if there is none
	requestState
}

// turn is what is so for one request. Its zero value is the beginning.
type requestState struct {
	body            gateway.Body
	unused          []byte // while Input calls: what is behind this request
	keepAlive       bool   // the connection goes on after this response
	pipelined       bool   // bytes of a next request have come already
	streaming       bool   // content goes to the job as it comes; counted in workers.Pool.uploads
	ownsCopy        bool   // copy has the request: nobody has views of what the loop has read
	expect100       bool   // the client of such content waits for 100 Continue
	isHEAD          bool   // HEAD
	nonBlocking     bool   // the body never waits
	borrowed        bool   // the last chunk, or the file, waits for the socket: no other is asked for before it is sent
	bodyDone        bool   // the body has no more, or no more is wanted
	blocked         bool   // the body has said ErrWait, and was not woken since
	closingBody     bool   // the body is closed, and the response is over
	trailer         []byte // the request's trailer lines
	outputFullSince int64  // shard.now when answers filled the output and content was still to come; 0 while they do not
}

var errPanic = errors.New("server: the application panicked")

// begin goes on from a complete head, the first n bytes of b, with the content that may
// be behind it. It adds what it uses of b to used.
func (x *exchange) onHead(b []byte, n int, used *int) error {
	head, rest := b[:n:n], b[n:]
	*used += n
	x.isHEAD = isHead(&x.req, head)
	if x.req.Expectation() == parser.ExpectUnknown {
		return errExpectation
	}
	if x.req.Repeated(parser.ContentType) { // an application could take either
		return errTypeTwice
	}
	if x.sh.cfg.underscorePolicy == RefuseUnderscores && x.hasUnderscore(head) {
		return errUnderscore
	}
	if x.session.timer != idleTimer {
		x.session.timer = noTimer // the next head and content have their own time
	}
	x.keepAlive = x.req.KeepAlive()
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
	x.head = buffers.Get(head)
	x.bodyClock, x.bodyBytes = x.sh.now, 0
	if x.sh.srv.streamContent && x.sh.srv.workers.BeginUpload() {
		x.streaming = true
		x.expect100 = x.req.Expectation() == parser.ExpectContinue && len(rest) == 0
		x.serve(x.head.B, nil, nil)
		return nil // the rest is fed by the next step
	}
	x.sh.transition(x.sock, x.session, headComplete)
	if x.req.Expectation() == parser.ExpectContinue && len(rest) == 0 {
		x.sh.out = append(x.sh.out, "HTTP/1.1 100 Continue\r\n\r\n"...)
	}
	return x.collect(rest, used)
}

// underscored looks for a field with "_" in its name.
func (x *exchange) hasUnderscore(head []byte) bool {
	return slices.ContainsFunc(x.req.Fields(), func(f parser.Field) bool {
		return bytes.IndexByte(f.Name.Of(head), '_') >= 0
	})
}

// collect takes content from b and serves the request when it is complete. It adds what
// it uses of b to used.
func (x *exchange) collect(b []byte, used *int) error {
	for !x.content.Done() {
		data, n, err := x.content.Decode(b, &x.sh.cfg.limits)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if err := x.received.Add(data, &x.sh.cfg.content); err != nil {
			return x.contentError(err)
		}
		x.trailer = append(x.trailer, x.content.Trailer(b[:n])...)
		b = b[n:]
		*used += n
		x.bodyBytes += int64(n)
	}
	if err := x.received.Flush(); err != nil {
		return x.contentError(err)
	}
	if x.content.Done() {
		x.serve(x.head.B, x.received.Bytes(), b)
	}
	return nil
}

// serve runs the application and sends what it answers. unused is what has come behind
// this request.
func (x *exchange) serve(head, content, unused []byte) {
	x.unused, x.pipelined = unused, len(unused) > 0
	x.sh.transition(x.sock, x.session, requestComplete)
	x.session.hadRequest = true
	if x.streaming || x.sh.srv.usesWorkers() || x.sh.srv.workers != nil && x.sh.cfg.dispatchBy == nil && x.upgrades() {
		x.dispatch(x.copyRequest(head, content))
		return
	}
	x.env.Begin(&x.req, head, content, &x.sh.info, x)
	if x.received.File() != nil {
		x.env.ContentFrom(x.received.File(), x.received.Size())
	}
	if x.sh.cfg.dispatchBy != nil && x.dispatchByOption() { // what it has seen of the request are views: no copy can take their place
		x.dispatch(head, content)
		return
	}
	body, err := x.callServe()
	if content, ok := gateway.BytesOf(body); ok && err == nil && x.respondSmall(content) {
		return
	}
	x.body, x.nonBlocking = body, body == nil || isReady(body)
	switch {
	case x.resp.Err != nil:
		x.fail(x.resp.Err)
	case err != nil:
		x.fail(err)
	default:
		x.bodyDone = x.body == nil
		x.pull()
	}
}

// answer is pull for a body that is one small chunk in memory, as most are. It reports
// false, and has done nothing, where anything is not as it mostly is.
func (x *exchange) respondSmall(content []byte) bool {
	r := &x.resp
	if !r.Started || r.HeadSent || r.Err != nil || x.contentless(r.Code()) || len(content) > copyBytesMax || !x.sock.Alive() || x.sock.Full() {
		return false
	}
	x.commit(int64(len(content)))
	if len(content) > 0 {
		if err := x.send(content); err != nil {
			x.log(slog.LevelError, err.Error())
		}
	}
	x.completeBody()
	return true
}

// done ends a response whose body has ended.
func (x *exchange) completeBody() {
	r := &x.resp
	if !r.HeadSent {
		if !r.Started {
			x.fail(errNotStarted)
			return
		}
		x.commit(x.contentLength(0, nil, io.EOF))
	}
	var complete bool
	if x.sh.out, complete = r.End(x.sh.out); !complete {
		x.fail(r.TooShort())
		return
	}
	r.Complete = true
	x.closeBody()
	x.finishRequest()
}

// closed takes note of how the body of a response was closed.
func (x *exchange) noteClosed(err error) {
	if err != nil {
		x.log(slog.LevelWarn, closeFailed, slog.Any("error", err))
	}
}

// leave takes the request back from the application and decides what comes
// after it.
func (x *exchange) finishRequest() {
	h, c, cn := x.sh, x.sock, x.session
	// Content that has not come yet would be taken for a request: it is thrown away first.
	keep, skips, content := x.keepAlive, x.streaming, x.content
	if skips && !x.canSkipContent() {
		keep = false
	}
	h.release(x)
	switch {
	case keep && skips:
		h.skipContent(c, cn, content)
		return
	case keep:
		h.transition(c, cn, responseDone)
		return
	}
	h.transition(c, cn, lastDone)
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
	x.sh.cfg.logRequest(level, msg, method, target, x.sock.RemoteAddr(), attrs...)
}

// logRequest says something about a request.
func (c *config) logRequest(level slog.Level, msg, method, target string, remote netip.AddrPort, attrs ...slog.Attr) {
	c.log.LogAttrs(context.Background(), level, msg, append(attrs,
		slog.String("method", method), slog.String("target", target), slog.Any("remote", remote))...)
}
