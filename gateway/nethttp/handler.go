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
// sets one. For later protocols SERVER_PROTOCOL is HTTP/1.1. Of what PEP 3333 does not have, an application has
// Flush, ErrAbort, ErrWait, CloseInput and RequestTrailer; Stopping is nil.
func Handler(app gateway.App) http.Handler {
	if app == nil {
		panic("nethttp: Handler was given a nil App; give it the application")
	}
	limits := parser.DefaultLimits()
	limits.BodyBytes = -1 // a handler of net/http limits content by http.MaxBytesReader
	return &handler{app: app, limits: limits,
		plain:  gateway.ServerInfo{Scheme: "http", Multithread: true, Log: slog.Default()},
		secure: gateway.ServerInfo{Scheme: "https", Multithread: true, Log: slog.Default()},
	}
}

type handler struct {
	app           gateway.App
	limits        parser.Limits
	plain, secure gateway.ServerInfo
}

// ServeHTTP calls the application for one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := appendHead(nil, r)
	var req parser.Request
	n, err := req.Parse(head, &h.limits)
	if err == nil && n != len(head) {
		err = errHead
	}
	if err != nil {
		refused := &parser.Error{Status: http.StatusBadRequest}
		errors.As(err, &refused)
		http.Error(w, http.StatusText(refused.Status)+": "+err.Error(), refused.Status)
		return
	}
	c := &call{w: w, r: r, log: h.plain.Log, woken: make(chan struct{}, 1), owed: -1}
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
	mount(&c.env.Environ, r)
	gone := make(chan struct{})
	stop := context.AfterFunc(r.Context(), func() {
		defer close(gone)
		c.env.Cancel(gateway.ErrClientGone)
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

var errHead = errors.New("nethttp: the request is no HTTP message")

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
