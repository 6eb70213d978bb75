package nethttp

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/thrown"
)

// App returns handler as a gateway.App; nil is http.DefaultServeMux. The handler may block: package
// server finds out whether it does with Dispatch: Auto, its default, and runs it on workers from the
// start with Dispatch: Pool.
//
// The *http.Request and all that comes from it are copies, and may be kept; the methods of its Body and
// of the ResponseWriter return errors once the handler has returned. The ResponseWriter has all of
// net/http's own, [http.Hijacker], [http.CloseNotifier] and [http.ResponseController] included; what the
// server under it does not have is [http.ErrNotSupported]. These are different from net/http's server:
//
//   - A panic before anything was sent is answered by 500, but for [http.ErrAbortHandler].
//   - Hijack is an error after Write or Flush, and while content of the request is unread: see
//     gateway.Environ. After WriteHeader and Hijack the bytes of the handler are sent without framing.
//   - Trailers of the response have to be fields that gateway.Environ.Trailer accepts.
//   - WriteHeader(100) does nothing: the server sends 100 Continue when the Body is first read. HTTP/1.0
//     clients get no 1xx. The status 101 is for Hijack; without it it is answered by 500, as a status
//     over 599 and a control character in the value of a field.
//   - The Context ends with the response, which may be a moment after the handler has returned, and with
//     a cause, see gateway.Environ.
//   - Request fields with "_" in their names are hidden unless the server shows them, and Proxy always is
//     (see gateway.Environ). Response fields that only the server sends (Keep-Alive, Proxy-*, TE,
//     Transfer-Encoding, Upgrade unless with 101) are dropped, and those that Connection names.
//   - Unread content is read and dropped after the response, not before it.
//   - [http.MaxBytesReader] does not close the connection of a client that sends more.
func App(handler http.Handler) gateway.App {
	if handler == nil {
		handler = http.DefaultServeMux
	}
	return &app{handler: handler, server: &http.Server{Handler: handler}}
}

type app struct {
	handler http.Handler
	// server is the value of http.ServerContextKey. httputil.ReverseProxy panics to abort a response only
	// if there is one; without it a response that the backend has cut looks complete to the client.
	server *http.Server
}

// StreamsContent implements gateway.Streamer: handlers read the Body while it comes, as with net/http.
func (a *app) StreamsContent() bool { return true }

// Serve runs the handler for one request.
func (a *app) Serve(env *gateway.Environ, start gateway.StartResponse) (body gateway.Body, err error) {
	x := a.newExchange(env, start)
	defer x.end(env)
	if err := x.readRequest(env); err != nil {
		return refuse(env, start)
	}
	r := &x.request
	x.response.init(r.Method == http.MethodHead)
	if r.RequestURI == "*" && r.Method == http.MethodOptions {
		return x.response.finish() // "OPTIONS *" does not reach a handler of net/http either
	}
	returned := false
	defer func() {
		if !returned {
			err = panicError(thrown.Value(recover()))
		}
	}()
	a.handler.ServeHTTP(&x.response, r)
	returned = true
	return x.response.finish()
}

// panicError returns the error of Serve for a handler that has panicked with http.ErrAbortHandler, or has
// called runtime.Goexit (p is nil). Other panics go on: the server logs them.
func panicError(p any) error {
	if thrown.Is(p, http.ErrAbortHandler) {
		return gateway.ErrAbort
	}
	if p != nil {
		panic(p) // the trace still has the frames of the first panic
	}
	return nil
}

// refuse answers a target that the parser of the server accepts and package net/url does not.
func refuse(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	_, err := start("400 Bad Request", []gateway.Header{
		{Name: "Content-Type", Value: "text/plain; charset=utf-8"}, {Name: "Connection", Value: "close"},
	}, nil)
	return env.Text("400 Bad Request"), err
}

// exchange is one request and its response, in one allocation but for the text and the two maps. A handler
// may keep any part of it, so it is not reused.
type exchange struct {
	app      *app
	request  http.Request
	url      url.URL
	ctx      requestContext
	response response
	body     requestBody
	values   [12]string // of the request's header, if they fit: browsers send about as many
}

// noRequest is copied for each request: only WithContext can set a Context.
var noRequest http.Request

// newExchange makes an exchange for a request.
func (a *app) newExchange(env *gateway.Environ, start gateway.StartResponse) *exchange {
	x := &exchange{app: a}
	x.response = response{env: env, start: start, declared: -1}
	x.body = requestBody{env: env}
	x.ctx = requestContext{env: env, stopping: env.Stopping()}
	x.response.x, x.ctx.x, x.body.x = x, x, x
	x.request = *noRequest.WithContext(&x.ctx)
	return x
}

// end runs when the handler has returned, panicked or called runtime.Goexit. After it nothing uses the
// Environ, which becomes that of the next request.
func (x *exchange) end(env *gateway.Environ) {
	x.response.end()
	x.ctx.end()
	x.body.end(env)
	if form := x.request.MultipartForm; form != nil {
		_ = form.RemoveAll() // an error means that the handler has removed them
	}
}

// requestBody is the Body of a request.
type requestBody struct {
	closed atomic.Bool
	mu     sync.Mutex // an http.Transport may read while the handler writes
	env    *gateway.Environ
	x      *exchange
	eof    bool // Read has returned io.EOF
}

// Read reads the content. The error of an upload that was cut is that of gateway.Input.
func (c *requestBody) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := c.env.Input().Read(p)
	switch {
	case err == io.EOF && !c.eof:
		c.eof = true
		c.x.readTrailer()
	case err != nil && err != io.EOF && c.closed.Load():
		err = http.ErrBodyReadAfterClose // instead of the deadline by which end has broken the read off
	}
	return n, err
}

// readTrailer adds the trailer fields to Request.Trailer: to the map that has the announced names, if there
// is one, since copies of the request share it.
func (x *exchange) readTrailer() {
	for name, value := range x.body.env.RequestTrailer() {
		if x.request.Trailer == nil {
			x.request.Trailer = make(http.Header)
		}
		x.request.Trailer.Add(strings.Clone(name), strings.Clone(value))
	}
}

// end closes the content. If a goroutine of the handler still waits in Read, end breaks the read off: the
// client may send no more before it has the response.
func (c *requestBody) end(env *gateway.Environ) {
	c.closed.Store(true)
	if !c.mu.TryLock() {
		env.CloseInput()
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	c.env = nil
}

// Close does not wait for a Read on another goroutine.
func (c *requestBody) Close() error {
	c.closed.Store(true)
	return nil
}
