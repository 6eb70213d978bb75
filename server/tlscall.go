package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/thrown"
	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/parser"
	"github.com/isbjorn/isbjorn/server/internal/respond"
	"github.com/isbjorn/isbjorn/server/internal/workers"
)

// tlsCall is one request of a front. The goroutine of net/http waits in serve while a worker runs the application
// (run), which writes and reads through the tlsCall. When RequestTimeout is over, serve answers and returns, and the
// application gets errors from then on: net/http uses the memory of the request again.
//
// It implements http.ResponseWriter, and what http.ResponseController wants.
type tlsCall struct {
	front *front
	conn  *tlsConn
	w     http.ResponseWriter
	rc    *http.ResponseController
	r     *http.Request   // with the Context that cancel ends, and content
	gone  <-chan struct{} // closed when the client has left, or the connection was cut
	slot  workers.Job
	done  chan struct{} // closed when the worker has ended
	began time.Time

	cancel    context.CancelCauseFunc
	abandoned atomic.Bool                  // serve has returned, or is about to
	refused   atomic.Pointer[parser.Error] // the server's answer, in place of the application's
	sent      atomic.Int32                 // SentStatus
	writing   atomic.Bool                  // a write is in progress, maybe waiting for the client

	deadlines sync.Mutex // of abandoned, and of deadlines until then: what waits for the client has mu

	mu       sync.Mutex // of w and what follows
	header   http.Header
	headSent bool
	hijacked bool
	abort    bool // the response ends without an end

	content    tlsContent
	writeWatch watchdog // of HTTP/2: one stream may wait for its client while others do not
}

// ServeHTTP serves a request of net/http.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &tlsCall{
		front: f, conn: r.Context().Value(tlsConnKey{}).(*tlsConn), w: w, rc: http.NewResponseController(w),
		done: make(chan struct{}), began: time.Now(), header: make(http.Header),
	}
	// serve ends the Context where that of net/http ends: it knows the cause.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	defer cancel(nil)
	x.cancel = cancel
	x.r, x.gone = r.WithContext(ctx), r.Context().Done()
	x.content = tlsContent{x: x, body: r.Body}
	if r.Body != nil && r.Body != http.NoBody {
		x.r.Body = &x.content
	}
	if !x.conn.h2 {
		x.conn.enterCall()
		defer x.conn.leaveCall()
	}
	x.serve()
}

// serve has a worker run the application, and waits for it.
func (x *tlsCall) serve() {
	f := x.front
	if f.srv.stopping.Load() { // HTTP/2: this sends GOAWAY
		x.w.Header().Set("Connection", "close")
	}
	if x.misdirected() {
		x.refuseHead(errMisdirected)
		x.finish()
		return
	}
	x.slot.Run = x.run
	if !f.pool.Submit(&x.slot) {
		f.count(refusedBusy)
		x.refuseHead(errBusy)
		x.finish()
		return
	}
	var overdue <-chan time.Time
	if limit := f.srv.config.requestTime; limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		overdue = t.C
	}
	gone := x.gone
	for {
		select {
		case <-x.done:
			x.finish()
			return
		case <-gone:
			if f.srv.stopping.Load() && x.conn.cut.Load() {
				x.sent.CompareAndSwap(0, gateway.StatusNoResponse)
				x.cancel(gateway.ErrStopped)
			} else {
				x.sent.CompareAndSwap(0, gateway.StatusClientClosed)
				x.cancel(gateway.ErrClientGone)
			}
			if gone = nil; f.pool.Remove(&x.slot) { // it waits for a worker
				panic(http.ErrAbortHandler)
			}
		case <-overdue:
			if overdue = nil; x.isHijacked() {
				continue
			}
			x.onRequestTimeout()
			return
		}
	}
}

// misdirected reports whether a request is for another host than the name of its handshake, where clients are asked
// for certificates: what the name lets in is not for another. RFC 9110 section 15.5.20. Without a name the host has to
// be an address.
func (x *tlsCall) misdirected() bool {
	if !x.conn.setup.mutual {
		return false
	}
	host := x.r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	if name := strings.TrimSuffix(x.r.TLS.ServerName, "."); name != "" {
		return !strings.EqualFold(host, name)
	}
	_, err := netip.ParseAddr(host)
	return err != nil
}

var (
	errMisdirected = &parser.Error{Status: 421, Why: "the host is not the name that the client has asked for in its TLS handshake"}
	errContentSize = &parser.Error{Status: 413, Rule: 49, Why: "content over the limit BodyBytes"}
)

// run runs the application, on a worker.
func (x *tlsCall) run() {
	defer close(x.done)
	returned := false
	defer func() {
		if !returned {
			x.thrown(thrown.Value(recover()))
		}
		if x.isHijacked() {
			x.front.pool.HijackEnded()
		}
	}()
	x.call()
	returned = true
}

// call is the frame that stack looks for.
//
//go:noinline
func (x *tlsCall) call() {
	x.front.handler.ServeHTTP(x, x.r)
	runtime.KeepAlive(x) // so that the trace has its address
}

// thrown ends the response of an application that has panicked with p, or has ended its goroutine (nil).
func (x *tlsCall) thrown(p any) {
	if !thrown.Is(p, http.ErrAbortHandler) && !thrown.Is(p, gateway.ErrAbort) {
		x.front.count(failed)
		if p == nil {
			x.log(slog.LevelError, errGoexit.Error())
		} else {
			x.log(slog.LevelError, panicked, slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		}
		x.mu.Lock()
		sent := x.headSent
		x.mu.Unlock()
		if !sent {
			x.refuse(errInternal)
			return
		}
		x.front.count(aborted)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.abort = true
}

var errInternal = &parser.Error{Status: 500, Why: "the application failed"}

// finish ends the response when the application has returned. It panics with http.ErrAbortHandler for one without an
// end.
func (x *tlsCall) finish() {
	x.abandon(false) // a goroutine of the application may go on
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.hijacked {
		return
	}
	why := x.refused.Load()
	switch {
	case why != nil && !x.headSent && !x.abort:
		x.answer(why)
	case x.abort, why != nil:
		panic(http.ErrAbortHandler)
	}
	for key, values := range x.header {
		if strings.HasPrefix(key, http.TrailerPrefix) {
			x.w.Header()[key] = values
		}
	}
}

// onRequestTimeout answers in place of an application that has taken RequestTimeout.
func (x *tlsCall) onRequestTimeout() {
	f, age := x.front, slog.Duration("age", time.Since(x.began))
	f.count(requestTimeouts)
	why := errRequestTime
	if f.pool.Remove(&x.slot) {
		why = errQueueTime
		x.log(slog.LevelError, "the request waited for a worker longer than the option RequestTimeout: find out what the requests on workers wait for, or raise the option Workers", age)
	} else {
		stack := loop.StackWith(fmt.Sprintf("(*tlsCall).call(%p", x))
		x.log(slog.LevelError, "the application took longer than the option RequestTimeout; its response is abandoned, and its Context cancelled", age, slog.String("stack", string(stack)))
	}
	x.sent.Store(int32(why.Status))
	x.cancel(gateway.ErrTimeout)
	x.abandon(true)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.headSent {
		panic(http.ErrAbortHandler)
	}
	f.count(refused)
	x.answer(why)
}

// abandon ends what the application may do: serve is about to return. With breaks a write and a read in progress
// return.
func (x *tlsCall) abandon(breaks bool) {
	x.deadlines.Lock()
	defer x.deadlines.Unlock()
	x.abandoned.Store(true)
	if breaks && x.writing.Load() {
		_ = x.rc.SetWriteDeadline(longAgo)
	}
	if breaks && x.content.reading.Load() {
		_ = x.rc.SetReadDeadline(longAgo)
	}
}

// longAgo is a deadline that breaks off what waits.
var longAgo = time.Unix(1, 0)

// refuse has finish answer with why, unless a part of the response was sent.
func (x *tlsCall) refuse(why *parser.Error) {
	if x.refused.CompareAndSwap(nil, why) && why != errInternal {
		x.front.count(refused)
		x.sent.Store(int32(why.Status))
	}
}

// refuseHead is refuse for a request that the application does not get, with a line in the log.
func (x *tlsCall) refuseHead(why *parser.Error) {
	x.refuse(why)
	r := gateway.Refusal{
		Remote: remoteOf(x.conn.RemoteAddr()), Status: why.Status, Why: why.Why,
		Line:  x.r.Method + " " + x.r.RequestURI + " " + x.r.Proto,
		Bytes: int64(len(respond.ErrorText(why.Status, why.Why))),
	}
	r.Line = r.Line[:min(len(r.Line), refusedLineMax)]
	if x.r.Method == http.MethodHead {
		r.Bytes = 0
	}
	s := x.front.srv
	if s.refusals != nil {
		s.config.logs.Do(len(r.Line), func() { s.refusals.LogRefusal(r) })
		return
	}
	s.config.log.Info("request refused", slog.Any("remote", r.Remote), slog.String("request", r.Line),
		slog.Int("status", why.Status), slog.Int("rule", why.Rule), slog.String("why", why.Why))
}

// answer sends the answer to a refused request. Over HTTP/1.1 the connection ends behind it. Caller holds mu.
func (x *tlsCall) answer(why *parser.Error) {
	text := respond.ErrorText(why.Status, why.Why)
	if why == errInternal {
		text = "Internal Server Error\n"
	}
	header := x.w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(len(text)))
	x.setServer(header)
	if why.Status == http.StatusServiceUnavailable {
		header.Set("Retry-After", "1")
	}
	if x.r.ProtoMajor == 1 && why != errInternal {
		header.Set("Connection", "close")
	}
	x.headSent = true
	x.w.WriteHeader(why.Status)
	if x.r.Method != http.MethodHead {
		_, _ = io.WriteString(x.w, text)
	}
}

func (x *tlsCall) setServer(header http.Header) {
	if name := x.front.srv.config.serverHeader; name != "" {
		header.Set("Server", name)
	}
}

func (x *tlsCall) log(level slog.Level, msg string, attrs ...slog.Attr) {
	x.front.srv.config.logRequest(level, msg, x.r.Method, x.r.RequestURI, remoteOf(x.conn.RemoteAddr()), attrs...)
}

// What the application calls, on the worker.

// usable returns why nothing more of the application is sent; nil if it is. Caller holds mu.
func (x *tlsCall) usable() error {
	switch why := x.refused.Load(); {
	case x.hijacked:
		return http.ErrHijacked
	case x.abandoned.Load():
		return gateway.ErrTimeout
	case why != nil:
		return uploadError(why)
	}
	return nil
}

// Header implements http.ResponseWriter. The map is the application's: that of net/http may be in use by serve.
func (x *tlsCall) Header() http.Header { return x.header }

// WriteHeader implements http.ResponseWriter.
func (x *tlsCall) WriteHeader(code int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.writeHeader(code)
}

// writeHeader is WriteHeader. Caller holds mu.
func (x *tlsCall) writeHeader(code int) {
	if x.usable() != nil || x.headSent {
		return
	}
	header := x.w.Header()
	if code < 200 {
		before := maps.Clone(header)
		maps.Copy(header, x.header)
		x.w.WriteHeader(code)
		clear(header)
		maps.Copy(header, before)
		return
	}
	stopping := header["Connection"]
	maps.Copy(header, x.header)
	if stopping != nil {
		header["Connection"] = stopping
	}
	if _, own := x.header["Server"]; !own {
		x.setServer(header)
	}
	x.headSent = true
	x.w.WriteHeader(code)
}

// writePiece is how much of a chunk is written in one WriteTimeout of an HTTP/2 stream: the most of a frame.
const writePiece = 16 << 10

// Write implements http.ResponseWriter. Over HTTP/2 the client has WriteTimeout for each 16 KiB; over HTTP/1.1
// tlsConn.Write bounds its time.
func (x *tlsCall) Write(b []byte) (n int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.writeHeader(http.StatusOK)
	x.writing.Store(true)
	defer x.writing.Store(false)
	for {
		if err := x.usable(); err != nil {
			return n, err
		}
		piece := b[n:]
		if x.r.ProtoMajor > 1 {
			piece = piece[:min(len(piece), writePiece)]
		}
		err := x.watchWrite(func() error {
			m, err := x.w.Write(piece)
			n += m
			return err
		})
		if err != nil || n == len(b) {
			return n, err
		}
	}
}

// watchWrite calls f, which may wait for the client. Caller holds mu.
func (x *tlsCall) watchWrite(f func() error) error {
	if x.r.ProtoMajor == 1 {
		return f()
	}
	x.writeWatch.start(x.front.srv.config.loop.WriteTimeout, func() { _ = x.SetWriteDeadline(longAgo) })
	err := f()
	if x.writeWatch.stop() {
		x.front.count(stalled)
		if err == nil {
			err = os.ErrDeadlineExceeded
		}
	}
	return err
}

// FlushError is for http.ResponseController.
func (x *tlsCall) FlushError() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.writeHeader(http.StatusOK)
	x.writing.Store(true)
	defer x.writing.Store(false)
	if err := x.usable(); err != nil {
		return err
	}
	return x.watchWrite(x.rc.Flush)
}

// Hijack implements http.Hijacker. The connection is not among those of the server any more, and the worker not among
// Workers.
func (x *tlsCall) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.usable(); err != nil {
		return nil, nil, err
	}
	c, rw, err := x.rc.Hijack()
	if err == nil {
		x.hijacked = true
		x.front.pool.HijackBegan()
	}
	return c, rw, err
}

func (x *tlsCall) isHijacked() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.hijacked
}

// EnableFullDuplex is for http.ResponseController.
func (x *tlsCall) EnableFullDuplex() error { return x.whileUsed(x.rc.EnableFullDuplex) }

// SetReadDeadline is for http.ResponseController.
func (x *tlsCall) SetReadDeadline(t time.Time) error {
	return x.whileUsed(func() error { return x.rc.SetReadDeadline(t) })
}

// SetWriteDeadline is for http.ResponseController.
func (x *tlsCall) SetWriteDeadline(t time.Time) error {
	return x.whileUsed(func() error { return x.rc.SetWriteDeadline(t) })
}

// whileUsed calls f while serve waits: the ResponseWriter must not be used later.
func (x *tlsCall) whileUsed(f func() error) error {
	x.deadlines.Lock()
	defer x.deadlines.Unlock()
	if x.abandoned.Load() {
		return gateway.ErrTimeout
	}
	return f()
}

// SentStatus is that of gateway.Conn.
func (x *tlsCall) SentStatus() int { return int(x.sent.Load()) }

// tlsContent is the content of a request, within BodyBytes, BodyTimeout and BodyRate.
type tlsContent struct {
	x       *tlsCall
	body    io.ReadCloser
	watch   watchdog
	reading atomic.Bool
	bytes   int64
	waited  time.Duration // in Read: the client's time
}

// Read reads content as it comes. When a limit is exceeded the server answers in place of the application.
func (c *tlsContent) Read(p []byte) (n int, err error) {
	x, cfg := c.x, c.x.front.srv.config
	c.reading.Store(true)
	defer c.reading.Store(false)
	if why := x.refused.Load(); why != nil {
		return 0, uploadError(why)
	}
	if x.abandoned.Load() {
		return 0, gateway.ErrTimeout
	}
	left, late := c.timeLeft()
	c.watch.start(left, func() { _ = x.SetReadDeadline(longAgo) })
	began := time.Now()
	n, err = c.body.Read(p)
	over := c.watch.stop()
	c.waited += time.Since(began)
	c.bytes += int64(n)
	switch limit := cfg.limits.BodyBytes; {
	case limit >= 0 && c.bytes > limit:
		n, late = 0, errContentSize
	case !over:
		return n, err
	case late == errBodyRate:
		x.front.count(rateTimeouts)
	default:
		x.front.count(bodyTimeouts)
	}
	x.refuse(late)
	return n, uploadError(late)
}

// timeLeft is how long the client has for its next content, and the refusal when that is over: BodyTimeout, or what
// BodyRate leaves of it.
func (c *tlsContent) timeLeft() (time.Duration, *parser.Error) {
	cfg := c.x.front.srv.config
	if cfg.bodyRate >= 0 {
		earned := time.Duration(float64(c.bytes) / float64(cfg.bodyRate) * float64(time.Second))
		if left := cfg.bodyTime + earned - c.waited; left < cfg.bodyTime {
			return max(left, time.Millisecond), errBodyRate
		}
	}
	return cfg.bodyTime, errBodyTime
}

// Close implements io.Closer.
func (c *tlsContent) Close() error {
	if c.x.abandoned.Load() {
		return nil
	}
	return c.body.Close()
}

// watchdog calls a function when something takes too long. Its methods are for one goroutine.
type watchdog struct {
	mu    sync.Mutex
	timer *time.Timer
	due   time.Time
	armed bool
	fired bool
	f     func()
}

func (w *watchdog) start(d time.Duration, f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due, w.armed, w.fired, w.f = time.Now().Add(d), true, false, f
	if w.timer == nil {
		w.timer = time.AfterFunc(d, w.fire)
	} else {
		w.timer.Reset(d)
	}
}

func (w *watchdog) fire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.armed && !w.fired && !time.Now().Before(w.due) { // else it is late, for an earlier start
		w.fired = true
		w.f()
	}
}

// stop reports whether the function was called. It is not called after stop.
func (w *watchdog) stop() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
	w.timer.Stop()
	return w.fired
}

// checkHead refuses what the parser accepts, as exchange.onHead does for a request on a loop.
func (c *config) checkHead(req *parser.Request, head []byte) *parser.Error {
	switch {
	case req.Expectation() == parser.ExpectUnknown:
		return errExpectation
	case req.Repeated(parser.ContentType):
		return errTypeTwice
	case c.underscorePolicy == RefuseUnderscores && slices.ContainsFunc(req.Fields(), func(f parser.Field) bool {
		return bytes.IndexByte(f.Name.Of(head), '_') >= 0
	}):
		return errUnderscore
	case req.HasContent() && string(req.Method.Of(head)) == http.MethodTrace:
		return errTraceContent
	}
	return nil
}
