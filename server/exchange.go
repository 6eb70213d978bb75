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

// exchange is one request and its response. The goroutine of its loop owns it. While app.run says that a
// worker has the request, the worker owns app.env, and reads what does not change meanwhile (in.req, in.isHEAD).
//
// Each part has a struct ...State of what release resets; the capital fields of responseOut are those of
// respond.Response.
type exchange struct {
	sh      *shard
	sock    *loop.Conn // nil between two requests, and while only an abandoned worker uses the exchange
	session *session
	start   gateway.StartResponse // startResponse, bound once

	in  requestIn
	out responseOut
	app appRun
}

// requestIn is the request. The zero value of requestInState is the initial state.
type requestIn struct {
	req     parser.Request
	decoder parser.Body                // of the content
	head    *bytebufferpool.ByteBuffer // copy of the head while the content comes
	copied  []byte                     // copy of a small request for a worker
	content spool.Content              // what was collected of it
	requestInState
}

type requestInState struct {
	rest      []byte // the unused input behind this request, while an Input event runs the application
	trailer   []byte // trailer field lines
	clock     contentClock
	pipelined bool // bytes of the next request were read with this one
	isHEAD    bool
	ownsCopy  bool // copied has the request: there are no views of the read buffer
	streaming bool // content goes to the job as it comes; counted by workers.Pool.BeginUpload
	expect100 bool // the client of streamed content waits for 100 Continue
}

// contentClock measures the client's time for content, in shard.now.
type contentClock struct {
	since     int64 // when the request began to wait: for its content, or else for its client to read
	last      int64 // when content came last; since before there was any
	bytes     int64 // of content since then, framing included
	fullSince int64 // when answers filled the output while content was still to come; 0 while they do not
}

// start begins the client's time.
func (c *contentClock) start(now int64) { *c = contentClock{since: now, last: now} }

// add counts n bytes of content that have come.
func (c *contentClock) add(n int, now int64) {
	c.bytes += int64(n)
	c.last = now
}

// responseOut is the response. The zero value of responseOutState is the initial state.
type responseOut struct {
	respond.Response
	replacedStatus atomic.Int32 // the status that is sent in place of the declared one; 0 if there is none
	responseOutState
}

type responseOutState struct {
	source     source
	keepAlive  bool // the connection stays open after this response
	awaitSent  bool // all output is sent before the source is asked again: the socket has a chunk of it, or a file
	bodyDone   bool // the source has ended, or the rest of it is not wanted
	awaitsWake bool // not pulled until waker.run: the body has returned ErrWait, or a worker has begun
}

// runState says what runs the application, and so which goroutine may use the exchange.
type runState uint8

const (
	runIdle      runState = iota // no request, or its content is still coming
	runOnLoop                    // the loop
	runOnWorker                  // a worker, or the job is queued for one
	runHandedOff                 // the goroutine of a call in which the loop was handed off; now a worker
	runAbandoned                 // a worker whose response is over
)

// onWorker reports whether app.job has the request.
func (a *appRun) onWorker() bool { return a.run >= runOnWorker }

// appRun is the run of the application for the request.
type appRun struct {
	run         runState
	env         gateway.ServerEnviron
	call        callstate.Call // the call of the application on the loop
	job         *job           // made for the first request on a worker, and used again; nil before
	waker       *waker         // nil until the application has asked for one
	workerStart int64          // shard.now when the job began
	closingBody bool           // the response is over, and the body's Close runs
}

var errPanic = errors.New("server: the application panicked")

// onHead continues from a complete head, the first n bytes of b: it serves the request if the content is
// in b too, and else streams or collects it. It adds what it uses of b to used.
func (x *exchange) onHead(b []byte, n int, used *int) error {
	head, rest := b[:n:n], b[n:]
	*used += n
	x.in.isHEAD = isHEAD(&x.in.req, head)
	if x.in.req.Expectation() == parser.ExpectUnknown {
		return errExpectation
	}
	if x.in.req.Repeated(parser.ContentType) { // an application may use either one
		return errTypeTwice
	}
	if x.sh.cfg.underscorePolicy == RefuseUnderscores && x.hasUnderscore(head) {
		return errUnderscore
	}
	if x.session.timer != idleTimer {
		x.session.timer = noTimer // the next head and content have their own time
	}
	x.out.keepAlive = x.in.req.KeepAlive()
	if !x.in.req.HasContent() {
		x.serve(head, nil, rest)
		return nil
	}
	if string(x.in.req.Method.Of(head)) == http.MethodTrace {
		return errTraceContent
	}
	x.in.decoder = x.in.req.Body()
	// All content was read with the head, as with most forms: it is served from the read buffer.
	if want := x.in.decoder.Length(); want >= 0 && int64(len(rest)) >= want {
		*used += int(want)
		x.serve(head, rest[:want:want], rest[want:])
		return nil
	}
	x.in.head = buffers.Get(head) // the next read overwrites the buffer
	x.in.clock.start(x.sh.now)
	// BeginUpload is false when slow uploads have half of the workers: then this content is collected.
	if x.sh.srv.streamContent && x.sh.srv.workers.BeginUpload() {
		x.in.streaming = true
		x.in.expect100 = x.in.req.Expectation() == parser.ExpectContinue && len(rest) == 0
		x.serve(x.in.head.B, nil, nil)
		return nil // session.step gives rest to streamContent
	}
	x.session.transition(headComplete)
	// A client that has sent content with its head does not wait for 100 Continue: RFC 9110 section 10.1.1.
	if x.in.req.Expectation() == parser.ExpectContinue && len(rest) == 0 {
		x.sh.out = append(x.sh.out, "HTTP/1.1 100 Continue\r\n\r\n"...)
	}
	return x.collect(rest, used)
}

// hasUnderscore reports whether a field has "_" in its name.
func (x *exchange) hasUnderscore(head []byte) bool {
	return slices.ContainsFunc(x.in.req.Fields(), func(f parser.Field) bool {
		return bytes.IndexByte(f.Name.Of(head), '_') >= 0
	})
}

// collect keeps the content in b, in memory or in a file, and serves the request when it is complete. It
// adds what it uses of b to used.
func (x *exchange) collect(b []byte, used *int) error {
	for !x.in.decoder.Done() {
		data, n, err := x.in.decoder.Decode(b, &x.sh.cfg.limits)
		if err != nil {
			return err
		}
		if n == 0 { // b has no further byte of the content, or an incomplete chunk line
			break
		}
		if err := x.in.content.Add(data, &x.sh.cfg.content); err != nil {
			return x.contentError(err)
		}
		x.in.trailer = append(x.in.trailer, x.in.decoder.Trailer(b[:n])...)
		b = b[n:]
		*used += n
		x.in.clock.add(n, x.sh.now)
	}
	// One write to the file for the content of one read, also where it came in many small chunks.
	if err := x.in.content.Flush(); err != nil {
		return x.contentError(err)
	}
	if x.in.decoder.Done() {
		x.serve(x.in.head.B, x.in.content.Bytes(), b)
	}
	return nil
}

// serve runs the application and sends its response. unused is the input behind this request.
func (x *exchange) serve(head, content, unused []byte) {
	x.in.rest, x.in.pipelined = unused, len(unused) > 0
	x.session.transition(requestComplete)
	x.session.hadRequest = true
	x.app.run = runOnLoop
	// With Auto a request for an upgrade is a worker's from the start: its application calls Hijack, and may
	// talk to the client for hours.
	if x.in.streaming || x.sh.srv.usesWorkers() || x.sh.srv.workers != nil && x.sh.cfg.dispatchBy == nil && x.upgrades() {
		x.dispatch(x.copyRequest(head, content))
		return
	}
	x.app.env.Begin(&x.in.req, head, content, &x.sh.info, x)
	if x.in.content.File() != nil {
		x.app.env.ContentFrom(x.in.content.File(), x.in.content.Size())
	}
	if x.sh.cfg.dispatchBy != nil && x.dispatchByOption() { // no copy: DispatchBy may have kept views of the request
		x.dispatch(head, content)
		return
	}
	body, err := x.callServe()
	if content, ok := gateway.BytesOf(body); ok && err == nil && x.respondSmall(content) {
		return
	}
	x.out.source = sourceOf(body)
	switch {
	case x.out.Err != nil:
		x.fail(x.out.Err)
	case err != nil:
		x.fail(err)
	default:
		x.out.bodyDone = body == nil
		x.pull()
	}
}

// respondSmall is pull for the common case, a body that is one small chunk in memory. In any other case it
// reports false and has done nothing.
func (x *exchange) respondSmall(content []byte) bool {
	r := &x.out.Response
	if !r.Started || r.HeadSent || r.Err != nil || x.contentless(r.Code()) || len(content) > copyBytesMax ||
		!x.sock.Alive() || x.sock.Full() {
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

// completeBody ends a response whose body has ended.
func (x *exchange) completeBody() {
	r := &x.out.Response
	if !r.HeadSent { // the body was empty
		if !r.Started {
			x.fail(errNotStarted)
			return
		}
		x.commit(x.contentLength(0, nil, io.EOF))
	}
	if r.Short() { // less than the declared Content-Length
		x.fail(r.TooShort())
		return
	}
	if r.Framing == respond.Chunked {
		x.sh.out = r.End(x.sh.out)
	}
	r.Complete = true
	if x.out.source.kind != noSource {
		x.closeBody()
	}
	x.finishRequest()
}

// noteClosed logs an error that the Close of a body has returned.
func (x *exchange) noteClosed(err error) {
	if err != nil {
		x.log(slog.LevelWarn, closeFailed, slog.Any("error", err))
	}
}

// finishRequest releases x and decides what comes after it.
func (x *exchange) finishRequest() {
	s := x.session
	keep := x.out.keepAlive
	// The application has answered an upload of which a part is still to come. That part would be parsed as
	// the next request: it is skipped, or the connection closed.
	if x.in.streaming {
		if keep && x.canSkipContent() {
			s.skipContent(x.in.decoder)
			return
		}
		keep = false
	}
	if keep {
		s.endRequest(responseDone)
		return
	}
	s.endRequest(lastDone)
	s.sh.flush(s.sock)
	s.sock.Close()
}

// requestLine returns copies of the method and the target. The head is complete.
func (x *exchange) requestLine() (method, target string) {
	if x.in.head != nil { // while content is collected the environ does not have the request yet
		return string(x.in.req.Method.Of(x.in.head.B)), string(x.in.req.Target.Of(x.in.head.B))
	}
	method, target = x.app.env.RequestLine()
	return strings.Clone(method), strings.Clone(target)
}

// log logs a line about this request.
func (x *exchange) log(level slog.Level, msg string, attrs ...slog.Attr) {
	method, target := x.requestLine()
	x.sh.cfg.logRequest(level, msg, method, target, x.sock.RemoteAddr(), attrs...)
}

// logRequest logs a line about a request.
func (c *config) logRequest(level slog.Level, msg, method, target string, remote netip.AddrPort, attrs ...slog.Attr) {
	c.log.LogAttrs(context.Background(), level, msg, append(attrs,
		slog.String("method", method), slog.String("target", target), slog.Any("remote", remote))...)
}
