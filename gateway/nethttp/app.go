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

// App returns handler as a gateway.App; nil is http.DefaultServeMux. The handler may block
// where it likes: package server's Dispatch: Auto, its default, finds out whether it does,
// and Dispatch: Pool says so from the start.
//
// The *http.Request and all that comes from it are copies, and may be kept for ever;
// its Body and the ResponseWriter end when the handler returns, with errors. The
// ResponseWriter has what that of net/http's own server has, [http.Hijacker],
// [http.CloseNotifier] and all of [http.ResponseController] among it; where a server has
// no such thing the error is [http.ErrNotSupported]. Of what net/http's server does for a
// handler, these are different:
//
//   - A panic before anything was sent is answered by 500, but for [http.ErrAbortHandler].
//   - Hijack is an error after Write or Flush, and while content of the request is
//     unread: see gateway.Environ. Between WriteHeader and the handler's own bytes there
//     is no framing but the handler's.
//   - Trailers of the response have to be fields that gateway.CheckTrailer takes.
//   - WriteHeader(100) does nothing: the server sends 100 Continue when the Body is first
//     read. HTTP/1.0 clients get no 1xx. The status 101 is for Hijack, and answered by
//     500 without it, like one over 599 and a control character in a field's value.
//   - The Context ends with the response, which may be a moment after the handler, and
//     for a cause, see gateway.Environ.
//   - Request fields with "_" in their names show only if the server keeps them, and
//     Proxy never (see gateway.Environ). Response fields that are the server's to send
//     (Keep-Alive, Proxy-*, TE, Transfer-Encoding, Upgrade) are dropped, Upgrade among them but with 101, and those that
//     Connection names.
//   - Content that is left unread is thrown away behind the answer, not before it.
//   - [http.MaxBytesReader] does not close the connection of who sends more.
func App(handler http.Handler) gateway.App {
	if handler == nil {
		handler = http.DefaultServeMux
	}
	return &app{handler: handler, server: &http.Server{Handler: handler}}
}

type app struct {
	handler http.Handler
	// server is the value of http.ServerContextKey. httputil.ReverseProxy takes it as
	// the sign that it may panic to abort a response, and without it makes one that was
	// cut look whole.
	server *http.Server
}

// StreamsContent says yes: see gateway.Streamer.
func (a *app) StreamsContent() bool { return true }

// Serve runs the handler for one request.
func (a *app) Serve(env *gateway.Environ, start gateway.StartResponse) (body gateway.Body, err error) {
	x := a.begin(env, start)
	defer x.end(env)
	if err := x.read(env); err != nil {
		return refuse(env, start)
	}
	r := &x.request
	x.response.open(r.Method == http.MethodHead)
	if r.RequestURI == "*" && r.Method == http.MethodOptions {
		return x.response.finish() // net/http's server answers for itself, too
	}
	returned := false
	defer func() {
		if !returned {
			err = errorOf(thrown.Value(recover()))
		}
	}()
	a.handler.ServeHTTP(&x.response, r)
	returned = true
	return x.response.finish()
}

// errorOf is what Serve returns for a handler that has panicked with p. It goes on with
// a panic that says no more than that; p is nil if the handler ends its goroutine.
func errorOf(p any) error {
	if thrown.Is(p, http.ErrAbortHandler) {
		return gateway.ErrAbort
	}
	if p != nil {
		panic(p) // the stack is still that of the first
	}
	return nil
}

// refuse answers a target that the parser of the server takes and package net/url
// does not.
func refuse(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	_, err := start("400 Bad Request", []gateway.Header{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}, {Name: "Connection", Value: "close"}}, nil)
	return env.Text("400 Bad Request"), err
}

// exchange is what one request needs, in one piece but for its text and the two maps.
// A handler may keep any part of it, so it is not used again.
type exchange struct {
	app      *app
	request  http.Request
	url      url.URL
	ending   ending
	response response
	content  content
	values   [12]string // of the request's header, unless there are more: browsers send about as many
}

// noRequest is what requests are made of: only its methods can set a Context.
var noRequest http.Request

// begin makes an exchange.
func (a *app) begin(env *gateway.Environ, start gateway.StartResponse) *exchange {
	x := &exchange{app: a, response: response{env: env, start: start, declared: -1}, content: content{env: env}, ending: ending{env: env, stopping: env.Stopping()}}
	x.response.x, x.ending.x, x.content.x = x, x, x
	x.request = *noRequest.WithContext(&x.ending)
	return x
}

// end is all that a server does for a handler that has returned, panicked or ended its
// goroutine. The Environ is that of the next request then: nothing uses it after end.
func (x *exchange) end(env *gateway.Environ) {
	x.response.end()
	x.ending.end()
	x.content.end(env)
	if form := x.request.MultipartForm; form != nil {
		_ = form.RemoveAll() // a file that is not there any more was removed by the handler
	}
}

// content is the Body of a request.
type content struct {
	closed atomic.Bool
	mu     sync.Mutex // a transport may read while the handler writes
	env    *gateway.Environ
	x      *exchange
	ended  bool // Read has said io.EOF
}

// Read reads from the client; errors of an upload that was cut are the server's.
func (c *content) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := c.env.Input().Read(p)
	switch {
	case err == io.EOF && !c.ended:
		c.ended = true
		c.x.takeTrailer()
	case err != nil && err != io.EOF && c.closed.Load():
		err = http.ErrBodyReadAfterClose // not the deadline that end has made of it
	}
	return n, err
}

// takeTrailer makes the trailer fields those of the request, in the map of the names that
// it has announced if there is one: copies of the request have that, too.
func (x *exchange) takeTrailer() {
	for name, value := range x.content.env.RequestTrailer() {
		if x.request.Trailer == nil {
			x.request.Trailer = make(http.Header)
		}
		x.request.Trailer.Add(strings.Clone(name), strings.Clone(value))
	}
}

// end closes the content for good. A goroutine that the handler has left in Read may wait
// for the client there, which may send nothing before it has the answer: the read is
// broken off.
func (c *content) end(env *gateway.Environ) {
	c.closed.Store(true)
	if !c.mu.TryLock() {
		env.CloseInput()
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	c.env = nil
}

// Close does not wait for a Read that is under way.
func (c *content) Close() error {
	c.closed.Store(true)
	return nil
}
