package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

const (
	// heldBytes is how much content of a request is read before an upstream gets it, if its length is known: so
	// a slow client does not occupy an upstream, and the request can be repeated. 64 KiB, as BodyMemory of
	// package server.
	heldBytes = 64 << 10

	// staleMax is how many more upstreams, or the same again, a request may be sent to because a kept connection
	// has ended under it. It does not count as a failure.
	staleMax = 2

	// interimMax is how many interim responses of an upstream pass before the final one; more are an error.
	interimMax = 16

	// headDelay is how long the head of a response is kept to be sent with the first content.
	headDelay = 5 * time.Millisecond

	// copyBytes is how much content of a response is read at once.
	copyBytes = 32 << 10
)

var (
	errSilent  = errors.New("no byte came within UpstreamTimeout")
	errInterim = errors.New("more than 16 interim responses")
	errNotHTTP = errors.New("malformed response")
	errEarly   = errors.New("it has sent bytes beyond an earlier response")
)

// exchange is one request and its response. Strings are copies, since the goroutines of http.Transport may use
// them after Serve has returned.
type exchange struct {
	app   *App
	env   *gateway.Environ
	start gateway.StartResponse
	ctx   context.Context

	method, path, query string
	host                string // that the client asked for
	client              string // its address, "" on a Unix socket
	header              http.Header
	expects             bool   // the client waits for 100 Continue
	length              int64  // of the content, -1 if unknown
	held                []byte // all of the content, if it is held
	isHeld              bool
	content             *content // that streams, nil if it is held or there is none
	trailers            hopFilter

	mu   sync.Mutex // of env and the writer of start, which the goroutines below use too
	done bool       // Serve has returned
}

// failure is why an attempt has no response.
type failure struct {
	err    error
	status string // for the client
	silent bool   // it says nothing of the upstream: nothing is logged or counted
	stale  bool   // a kept connection has ended before a byte came
	again  bool   // another upstream may be tried
	app    error  // what Serve returns in place of an answer; nil for status
}

// serve chooses upstreams until one has answered.
func (x *exchange) serve() (gateway.Body, error) {
	defer x.end()
	if err := x.readContent(); err != nil {
		return nil, err
	}
	var tried []*upstream
	var fail *failure
	retries := max(x.app.options.Retries, 0)
	for stale, again := 0, true; again; {
		u := x.app.choose(x.client, tried)
		if u == nil {
			break
		}
		body, f, err := x.try(u)
		if f == nil {
			return body, err
		}
		if f.app != nil {
			return nil, f.app
		}
		fail, again = f, f.again
		if again && f.stale && stale < staleMax {
			stale++
			continue
		}
		if !f.silent {
			x.app.line(x.env, u, "proxy: an upstream failed", f.err)
			if !f.stale {
				u.failed(&x.app.options)
			}
		}
		again = again && len(tried) < retries
		tried = append(tried, u)
	}
	if fail == nil {
		seconds := int((x.app.options.HealthInterval*rise + time.Second - 1) / time.Second)
		return refuse(x.env, x.start, "503 Service Unavailable",
			gateway.Header{Name: "Retry-After", Value: strconv.Itoa(seconds)})
	}
	return refuse(x.env, x.start, fail.status)
}

// readContent reads the content that is held.
func (x *exchange) readContent() error {
	in := x.env.Input()
	x.length = int64(in.Len())
	switch {
	case x.length == 0:
		x.isHeld = true
	case x.length > 0 && x.length <= heldBytes && !x.expects:
		b, err := in.ReadAll()
		if err != nil {
			return err // the client is gone, or was too slow
		}
		x.held, x.isHeld = bytes.Clone(b), true
	default:
		x.content = &content{x: x}
	}
	return nil
}

// end breaks the reads and writes of other goroutines off: the Environ becomes that of the next request.
func (x *exchange) end() {
	if x.content != nil {
		x.content.end(x.env)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.done = true
}

// attempt is a request sent to one upstream.
type attempt struct {
	x      *exchange
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer // ends the attempt if the upstream is silent; nil without UpstreamTimeout
	limit  time.Duration

	began     atomic.Bool   // a byte of a response has come
	interim   int           // responses before the final one
	continued chan struct{} // closed by 100 Continue; nil without Expect

	mu       sync.Mutex
	conn     *conn // nil before there is a connection
	reused   bool
	reading  bool // content of the client is waited for
	answered bool // RoundTrip has returned: the silence that counts now is that of the content
}

// wait begins to count the silence of the upstream.
func (t *attempt) wait() {
	if t.timer != nil {
		t.timer.Reset(t.limit)
	}
}

// pause ends the count: the client is waited for.
func (t *attempt) pause() {
	if t.timer != nil {
		t.timer.Stop()
	}
}

// sending is wait and pause for the goroutine that sends the request: reading is whether it waits for the client.
func (t *attempt) sending(reading bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch t.reading = reading; {
	case t.answered:
	case reading:
		t.pause()
	default:
		t.wait()
	}
}

// stopSending ends what sending does, and lets no interim response pass any more: a goroutine of http.Transport may
// still read one when the attempt has been given up.
func (t *attempt) stopSending() {
	t.x.mu.Lock()
	defer t.x.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answered = true
	t.pause()
}

// try sends the request to an upstream and passes the response on. With a failure nothing was answered.
func (x *exchange) try(u *upstream) (gateway.Body, *failure, error) {
	target, err := u.requestURL(x.path, x.query)
	if err != nil {
		return nil, &failure{err: err, status: "400 Bad Request", silent: true}, nil
	}
	x.env.Set(UpstreamKey, u.name)
	u.inFlight.Add(1)
	defer u.inFlight.Add(-1)
	u.requests.Add(1)

	t := &attempt{x: x, limit: x.app.options.UpstreamTimeout}
	if x.expects {
		t.continued = make(chan struct{})
	}
	t.ctx, t.cancel = context.WithCancelCause(x.ctx)
	defer t.cancel(nil)
	if t.limit > 0 {
		t.timer = time.AfterFunc(time.Hour, func() { t.cancel(errSilent) })
		t.timer.Stop()
		defer t.timer.Stop()
	}
	resp, err := u.conns.RoundTrip(x.request(t, u, target))
	t.stopSending()
	if err != nil {
		return nil, t.failure(err), nil
	}
	defer resp.Body.Close()
	if !t.conn.answered(resp, t.interim) {
		_ = t.conn.Close()
		t.began.Store(false) // it is not the response to this request
		return nil, t.failure(errEarly), nil
	}
	if resp.Close {
		t.restoreConnection(resp.Header, t.interim)
	}
	t.conn.record(false)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return t.tunnel(u, resp)
	}
	status, fields, err := x.head(resp)
	if err != nil {
		return nil, &failure{err: err, status: "502 Bad Gateway"}, nil
	}
	u.succeeded()
	body, err := t.respond(u, resp, status, fields)
	return body, nil, err
}

// request makes the request of an attempt.
func (x *exchange) request(t *attempt, u *upstream, target *url.URL) *http.Request {
	r := &http.Request{Method: x.method, URL: target, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: x.header, Host: x.host, ContentLength: x.length, Body: http.NoBody}
	if x.app.options.Host == UpstreamHost || r.Host == "" {
		r.Host = u.url.Host
	}
	switch {
	case x.isHeld && x.length > 0:
		r.Body = io.NopCloser(bytes.NewReader(x.held))
	case !x.isHeld:
		r.Body = &contentOf{content: x.content, attempt: t, trailer: x.trailer(r)}
		if x.length < 0 {
			r.TransferEncoding = []string{"chunked"}
		}
		if x.expects {
			r.Header = r.Header.Clone()
			r.Header["Expect"] = []string{"100-continue"}
		}
	}
	return r.WithContext(httptrace.WithClientTrace(t.ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.conn, t.reused = info.Conn.(*conn), info.Reused
			t.interim = 0
			t.conn.record(true)
			t.wait()
		},
		GotFirstResponseByte: func() { t.began.Store(true) },
		Got1xxResponse:       t.inform,
	}))
}

// trailer is the map for the trailer fields of a request, with the names that the client has announced.
func (x *exchange) trailer(r *http.Request) http.Header {
	if x.length >= 0 {
		return nil
	}
	x.trailers = filterOf(x.env.Header("Connection"))
	r.Trailer = make(http.Header)
	for name := range tokens(x.env.Header("Trailer")) {
		if !x.trailers.dropsTrailer(name) {
			r.Trailer[http.CanonicalHeaderKey(name)] = nil
		}
	}
	return r.Trailer
}

// inform passes an interim response on.
func (t *attempt) inform(code int, header textproto.MIMEHeader) error {
	x := t.x
	if t.interim++; t.interim > interimMax {
		return errInterim
	}
	t.mu.Lock()
	if !t.reading {
		t.wait()
	}
	t.mu.Unlock()
	t.restoreConnection(http.Header(header), t.interim-1)
	if code <= http.StatusSwitchingProtocols { // 100 makes the content flow, and the server sends its own
		if code == http.StatusContinue && t.continued != nil && !t.hasContinued() {
			close(t.continued)
		}
		return nil
	}
	fields, err := x.app.responseFields(http.Header(header), 1)
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !t.isAnswered() {
		_ = x.env.Inform(code, fields) // where the client is gone its Context has ended
	}
	return nil
}

// isAnswered reports whether the attempt has got a response, or was given up.
func (t *attempt) isAnswered() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.answered
}

// hasContinued reports whether 100 Continue has come. It is for requests with Expect.
func (t *attempt) hasContinued() bool {
	select {
	case <-t.continued:
		return true
	default:
		return false
	}
}

// awaitContinue waits, where the upstream has answered without 100 Continue: http.Transport would read the content
// then, and so have the client send what is not wanted any more. It reports false when the exchange has ended.
func (t *attempt) awaitContinue() bool {
	if t.continued == nil || !t.began.Load() || t.hasContinued() {
		return true
	}
	if !t.isAnswered() && !t.conn.hasFinal() {
		return true
	}
	select {
	case <-t.continued:
		return true
	case <-t.ctx.Done():
		return false
	}
}

// restoreConnection puts the field Connection back into the head that came after as many others, if http.Transport
// has removed it: it may name fields of the connection.
func (t *attempt) restoreConnection(header http.Header, after int) {
	if header["Connection"] == nil {
		if values := t.conn.connectionField(after); values != nil {
			header["Connection"] = values
		}
	}
}

// failure classifies an error of RoundTrip.
func (t *attempt) failure(err error) *failure {
	x := t.x
	t.mu.Lock()
	defer t.mu.Unlock()
	connected := t.conn != nil
	untouched := x.isHeld || !x.content.touched.Load()
	unsent := !connected || t.conn.unwritten()
	began := t.began.Load()
	switch {
	case x.ctx.Err() != nil: // the client is gone, or the server has answered or stops
		return &failure{err: err, silent: true, app: gateway.ErrAbort}
	case !x.isHeld && x.content.failure() != nil:
		return &failure{err: err, silent: true, app: x.content.failure()}
	case context.Cause(t.ctx) == errSilent:
		return &failure{err: errSilent, status: "504 Gateway Timeout"}
	}
	f := &failure{err: err, status: "502 Bad Gateway"}
	var timeout net.Error
	if !connected && errors.As(err, &timeout) && timeout.Timeout() {
		f.status = "504 Gateway Timeout"
	}
	if began {
		f.err = fmt.Errorf("%w: %w", errNotHTTP, err)
		return f
	}
	f.again = untouched && (unsent || idempotent[x.method])
	f.stale = connected && t.reused
	return f
}

// idempotent are the methods that may be repeated, RFC 9110 section 9.2.2.
var idempotent = map[string]bool{
	http.MethodGet: true, http.MethodHead: true, http.MethodOptions: true, http.MethodPut: true, http.MethodDelete: true,
}

// head is the status and the fields of a response for the client.
func (x *exchange) head(resp *http.Response) (string, []gateway.Header, error) {
	status := resp.Status
	if _, err := gateway.CheckStatus(status); err != nil {
		status = strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode)
	}
	code, err := gateway.CheckStatus(status)
	if err != nil || code < 200 || code != resp.StatusCode || resp.ProtoMajor != 1 {
		return "", nil, fmt.Errorf("%w: %s with status %q", errNotHTTP, resp.Proto, resp.Status)
	}
	fields, err := x.app.responseFields(resp.Header, resp.ProtoMinor)
	if err != nil {
		return "", nil, err
	}
	if resp.ContentLength >= 0 && code != http.StatusNoContent && code != http.StatusNotModified {
		fields = append(fields, gateway.Header{Name: "Content-Length", Value: strconv.FormatInt(resp.ContentLength, 10)})
	}
	var announced []string
	filter := filterOf(resp.Header["Connection"]...)
	for name := range resp.Trailer {
		if !filter.dropsTrailer(name) {
			announced = append(announced, name)
		}
	}
	if announced != nil && resp.ContentLength < 0 {
		slices.Sort(announced)
		fields = append(fields, gateway.Header{Name: "Trailer", Value: strings.Join(announced, ", ")})
	}
	return status, fields, nil
}

var copyBuffers = sync.Pool{New: func() any { return new([copyBytes]byte) }}

// respond passes a response on. An error of the upstream cuts the response of the client.
func (t *attempt) respond(u *upstream, resp *http.Response, status string,
	fields []gateway.Header) (gateway.Body, error) {
	x := t.x
	w, err := x.start(status, fields, nil)
	if err != nil {
		return nil, err
	}
	switch {
	case x.method == http.MethodHead && resp.ContentLength < 0:
		return unsized{}, nil
	case x.method == http.MethodHead || resp.ContentLength == 0:
		return nil, nil
	}
	buf := copyBuffers.Get().(*[copyBytes]byte)
	defer copyBuffers.Put(buf)
	flush := time.AfterFunc(headDelay, func() { // the content may be long in coming: an event stream
		x.mu.Lock()
		defer x.mu.Unlock()
		if !x.done {
			_ = gateway.Flush(w)
		}
	})
	defer flush.Stop()
	for {
		t.wait()
		n, err := resp.Body.Read(buf[:])
		t.pause()
		flush.Stop()
		if n > 0 {
			x.mu.Lock()
			_, failed := w.Write(buf[:n])
			x.mu.Unlock()
			if failed != nil {
				return nil, gateway.ErrAbort // the client is gone
			}
		}
		switch {
		case err == io.EOF:
			x.passTrailer(resp)
			return nil, nil
		case err != nil && x.ctx.Err() != nil:
			return nil, gateway.ErrAbort
		case err != nil:
			if context.Cause(t.ctx) == errSilent {
				err = errSilent
			}
			u.failed(&x.app.options)
			x.app.line(x.env, u, "proxy: an upstream has cut its response", err)
			return nil, gateway.ErrAbort
		}
	}
}

// passTrailer passes the trailer fields of a response on.
func (x *exchange) passTrailer(resp *http.Response) {
	filter := filterOf(resp.Header["Connection"]...)
	for name, values := range resp.Trailer {
		for _, value := range values {
			if !filter.dropsTrailer(name) {
				// One that a client needs before the content is an error, and is left out.
				_ = x.env.Trailer([]gateway.Header{{Name: name, Value: value}})
			}
		}
	}
}

// unsized is the Body of a response to HEAD whose length is unknown: it has no Len.
type unsized struct{}

func (unsized) Next() ([]byte, error) { return nil, io.EOF }
func (unsized) Close() error          { return nil }

// content is content that goes to an upstream while it comes.
type content struct {
	x       *exchange
	touched atomic.Bool // it was read: it cannot be sent again

	mu     sync.Mutex
	closed atomic.Bool
	err    error // of the client
}

// failure is the error of the client, nil for none.
func (c *content) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// end breaks off a Read in which a goroutine of http.Transport still waits: an upstream may answer before it has
// all of the content.
func (c *content) end(env *gateway.Environ) {
	c.closed.Store(true)
	if !c.mu.TryLock() {
		env.CloseInput()
		c.mu.Lock()
	}
	c.mu.Unlock()
}

// contentOf is the Body of a request: content, as one attempt reads it.
type contentOf struct {
	*content
	attempt *attempt
	trailer http.Header // of the request
	over    atomic.Bool // closed by http.Transport
}

// Read reads from the client, whose time does not count as that of the upstream.
func (b *contentOf) Read(p []byte) (int, error) {
	if !b.attempt.awaitContinue() {
		return 0, http.ErrBodyReadAfterClose
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() || b.over.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	b.touched.Store(true)
	b.attempt.sending(true)
	n, err := b.x.env.Input().Read(p)
	b.attempt.sending(false)
	switch {
	case err == io.EOF && b.trailer != nil:
		for name, value := range b.x.env.RequestTrailer() {
			if !b.x.trailers.dropsTrailer(name) {
				b.trailer.Add(strings.Clone(name), strings.Clone(value))
			}
		}
		b.trailer = nil
	case err != nil && err != io.EOF && !b.closed.Load():
		b.err = err
	}
	return n, err
}

// Close implements io.Closer. It does not wait for a Read on another goroutine.
func (b *contentOf) Close() error {
	b.over.Store(true)
	return nil
}
