package nethttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/thrown"
	"github.com/isbjorn/isbjorn/parser"
)

// Handler returns app as an http.Handler, for net/http's server or a mux. It keeps the rules of a server of
// package gateway; where Next returns gateway.ErrWait the goroutine of the handler waits. Errors go to
// slog.Default() as of the call of Handler. It panics if app is nil.
//
// If a handler around it has cut the path, as http.StripPrefix does, SCRIPT_NAME is the part that was cut and
// PATH_INFO the rest. REQUEST_URI is that of the client. A head larger than the default limits of package parser
// is answered by 431, or by 414 if the target is too long. A response has a Content-Type only if the application
// sets one. Over TLS the environ has the keys of gateway.Environ.Get for it. Of what PEP 3333 does not have, an
// application has all that the ResponseWriter can do; Stopping is nil.
func Handler(app gateway.App) http.Handler { return HandlerWith(app, HandlerOptions{}) }

// HandlerOptions are the settings of HandlerWith, for a server that serves an application by net/http.
type HandlerOptions struct {
	// Limits are those of a head, and BodyBytes that of content whose length is declared. The zero value is the
	// defaults of package parser, without a limit of content: a handler of net/http has http.MaxBytesReader.
	Limits parser.Limits

	// Info is what the server says of itself; Scheme is set by each request. The zero value has a Log,
	// slog.Default(), and Multithread.
	Info gateway.ServerInfo

	// Check refuses a request whose head the parser has accepted, if it returns an error. head is what the
	// spans of req point into; both are valid during the call. nil accepts all.
	Check func(req *parser.Request, head []byte) *parser.Error

	// Refuse answers a request that the parser or Check has refused. head is that of the request, as far as
	// net/http knows it. nil answers by http.Error.
	Refuse func(w http.ResponseWriter, r *http.Request, head []byte, why *parser.Error)

	// Failed is called, if it is not nil, for a request that the application has failed by an error. begun says
	// that a part of the response was sent; aborted that it was by gateway.ErrAbort.
	Failed func(begun, aborted bool)
}

// HandlerWith is [Handler] with settings.
func HandlerWith(app gateway.App, options HandlerOptions) http.Handler {
	if app == nil {
		panic("nethttp: Handler was given a nil App; give it the application")
	}
	if options.Limits == (parser.Limits{}) {
		options.Limits = parser.DefaultLimits()
		options.Limits.BodyBytes = -1
	}
	if options.Info.Log == nil {
		options.Info.Log, options.Info.Multithread = slog.Default(), true
	}
	if options.Refuse == nil {
		options.Refuse = func(w http.ResponseWriter, _ *http.Request, _ []byte, why *parser.Error) {
			http.Error(w, http.StatusText(why.Status)+": "+why.Error(), why.Status)
		}
	}
	h := &handler{app: app, HandlerOptions: options, plain: options.Info, secure: options.Info}
	h.plain.Scheme, h.secure.Scheme = "http", "https"
	return h
}

type handler struct {
	HandlerOptions
	app           gateway.App
	plain, secure gateway.ServerInfo
}

// ServeHTTP calls the application for one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := appendHead(nil, r)
	var req parser.Request
	if why := h.check(&req, head); why != nil {
		h.Refuse(w, r, head, why)
		return
	}
	c := &call{w: w, r: r, host: h, woken: make(chan struct{}, 1), owed: -1}
	host := &h.plain
	if r.TLS != nil {
		host = &h.secure
	}
	c.env.Begin(&req, head, nil, host, c)
	defer c.env.End()
	if req.HasContent() {
		_ = http.NewResponseController(w).EnableFullDuplex() // so that the application may read after its first Write
		c.env.ContentStream(r.Body, r.ContentLength)
	}
	if r.ProtoMajor > 1 {
		c.env.Set("SERVER_PROTOCOL", r.Proto)
	}
	mount(&c.env.Environ, r)
	gone := make(chan struct{})
	stop := context.AfterFunc(r.Context(), func() {
		defer close(gone)
		c.env.Cancel(goneCause(r.Context()))
	})
	defer func() {
		if !stop() {
			<-gone
		}
	}()
	returned := false
	defer func() {
		if returned {
			return
		}
		p := thrown.Value(recover())
		if thrown.Is(p, gateway.ErrAbort) {
			panic(http.ErrAbortHandler)
		} else if p != nil {
			panic(p) // the trace still has the frames of the first panic
		}
	}()
	if err := c.run(h.app); err != nil {
		c.fail(err)
	}
	returned = true
}

// check parses a head, and returns why it is refused.
func (h *handler) check(req *parser.Request, head []byte) *parser.Error {
	n, err := req.Parse(head, &h.Limits)
	if refused := (*parser.Error)(nil); errors.As(err, &refused) {
		return refused
	}
	if n != len(head) {
		return errHead
	}
	if h.Check != nil {
		return h.Check(req, head)
	}
	return nil
}

var errHead = &parser.Error{Status: http.StatusBadRequest, Why: "the request is no HTTP message"}

// goneCause is the cause with which the Context of the environ ends where that of the request has: one of package
// gateway, if a server has cancelled it so.
func goneCause(ctx context.Context) error {
	for _, cause := range []error{gateway.ErrStopped, gateway.ErrTimeout} {
		if context.Cause(ctx) == cause {
			return cause
		}
	}
	return gateway.ErrClientGone
}

// appendHead appends the head of r as a client would send it.
func appendHead(b []byte, r *http.Request) []byte {
	target := r.RequestURI
	if target == "" { // a request made by http.NewRequest, in a test
		target = r.URL.RequestURI()
	}
	b = fmt.Appendf(b, "%s %s HTTP/1.%d\r\n", r.Method, target, minor(r))
	field := func(name, value string) {
		b = append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
	}
	if r.Host != "" || minor(r) > 0 {
		field("Host", r.Host)
	}
	for name, values := range r.Header {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding":
			continue // fields of Request, which are appended below and above
		}
		for _, value := range values {
			field(name, value)
		}
	}
	switch {
	case r.ContentLength < 0 && r.Body != nil && minor(r) > 0:
		field("Transfer-Encoding", "chunked")
	case r.ContentLength > 0 || r.ContentLength == 0 && r.Header["Content-Length"] != nil:
		field("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	return append(b, "\r\n"...)
}

// minor is the minor version of HTTP/1; 1 also for later protocols.
func minor(r *http.Request) int {
	if r.ProtoAtLeast(1, 1) {
		return 1
	}
	return 0
}

// mount sets in env how a handler around this one has changed the URL.
func mount(env *gateway.Environ, r *http.Request) {
	if path := env.Path(); r.URL.Path != path && strings.HasPrefix(r.URL.Path, "/") {
		script, _ := strings.CutSuffix(path, r.URL.Path)
		if script != path && strings.HasPrefix(script, "/") {
			env.Set("SCRIPT_NAME", script)
		}
		env.Set("PATH_INFO", r.URL.Path)
		env.Set(gateway.RawPathKey, r.URL.EscapedPath())
	}
	if r.URL.RawQuery != env.Query() {
		env.Set("QUERY_STRING", r.URL.RawQuery)
	}
}
