package nethttp

import (
	"context"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/isbjorn/isbjorn/gateway"
)

// App returns handler as a gateway.App; nil is http.DefaultServeMux. The handler is
// meant to block where it likes, and so is for a server that gives each request a
// goroutine of its own, as the option Dispatch(Pool) of package server does.
//
// The *http.Request and all that comes from it are copies, and may be kept for ever;
// its Body and the ResponseWriter end when the handler returns, with errors. Of what
// net/http's own server does for a handler, these are different:
//
//   - [http.Hijacker] and deadlines are not there: [http.ResponseController] returns
//     [http.ErrNotSupported].
//   - Flush sends what was written, the head with the first byte of it.
//   - Trailers are neither received nor sent, and 1xx statuses not sent; but 100
//     Continue is, by the server, when the Body is first read.
//   - A panic before anything was sent is answered by 500, [http.ErrAbortHandler] too.
//   - Request fields with "_" in their names show only if the server keeps them, and
//     Proxy never (see gateway.Environ). Response fields that are the server's to send
//     (gateway.Forbidden) are dropped; a status over 599, or a control character in a
//     field's value, is answered by 500.
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
	x := &exchange{response: response{env: env, start: start, declared: -1}, content: content{in: env.Input()}}
	defer x.end()
	r, err := a.request(env, x)
	if err != nil {
		return refuse(env, start)
	}
	defer func() {
		if p := recover(); p == http.ErrAbortHandler {
			body, err = nil, http.ErrAbortHandler
		} else if p != nil {
			panic(p) // the stack is still that of the first
		}
	}()
	x.response.open(r.Method == http.MethodHead)
	if r.RequestURI == "*" && r.Method == http.MethodOptions {
		return x.response.finish(false) // net/http's server answers for itself, too
	}
	a.handler.ServeHTTP(&x.response, r)
	// What still reads waits for the client. The client is not to wait for that.
	reading := !x.content.mu.TryLock()
	if !reading {
		x.content.mu.Unlock()
	}
	return x.response.finish(reading)
}

// refuse answers a target that the parser of the server takes and package net/url
// does not.
func refuse(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	_, err := start("400 Bad Request", []gateway.Header{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}, {Name: "Connection", Value: "close"}}, nil)
	return env.Text("400 Bad Request"), err
}

// exchange is what one request needs, in one piece.
type exchange struct {
	response response
	content  content
	values   [8]string // of the request's header, unless there are more
}

// end takes the Environ back: the server gives it to the next request.
func (x *exchange) end() {
	x.response.end()
	x.content.closed.Store(true)
	x.content.mu.Lock()
	defer x.content.mu.Unlock()
	x.content.in = nil
}

// content is the Body of a request.
type content struct {
	closed atomic.Bool
	mu     sync.Mutex // a transport may read while the handler writes
	in     *gateway.Input
}

// Read reads from the client; errors of an upload that was cut are the server's.
func (c *content) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	return c.in.Read(p)
}

// Close does not wait for a Read that is under way.
func (c *content) Close() error {
	c.closed.Store(true)
	return nil
}

// request is env as net/http has it, in memory of its own.
func (a *app) request(env *gateway.Environ, x *exchange) (*http.Request, error) {
	remote := [len("[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255%]:65535") + 64]byte{}
	addr := appendAddr(remote[:0], env.RemoteAddr())
	size, count := len(env.Method())+len(env.Target())+len(env.Host())+len(addr), 0
	for name, value := range env.Headers() {
		size += len(name) + len(value)
		count++
	}
	var memory strings.Builder // all that is kept of the head
	memory.Grow(size)
	keep := func(s string) string {
		at := memory.Len()
		memory.WriteString(s)
		return memory.String()[at:]
	}
	r := http.Request{
		Method:     keep(env.Method()),
		RequestURI: keep(env.Target()),
		Host:       keep(env.Host()),
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, count),
		Body:   http.NoBody,
	}
	if env.Protocol() == "HTTP/1.0" {
		r.Proto, r.ProtoMinor = "HTTP/1.0", 0
	}
	memory.Write(addr)
	r.RemoteAddr = memory.String()[memory.Len()-len(addr):]
	values := x.values[:]
	if count > len(values) {
		values = make([]string, count)
	}
	for name, value := range env.Headers() {
		key := http.CanonicalHeaderKey(keep(name))
		value = keep(value)
		if before, ok := r.Header[key]; ok {
			r.Header[key] = append(before, value)
		} else if key != "Host" {
			values[0] = value
			r.Header[key], values = values[:1:1], values[1:]
		}
	}
	r.ContentLength = int64(env.Input().Len())
	fixHeader(&r)
	if r.ContentLength != 0 {
		r.Body = &x.content
	}
	var err error
	if r.URL, err = url.ParseRequestURI(r.RequestURI); err != nil {
		return nil, err
	}
	if env.ScriptName() != "" { // a middleware has mounted the handler there
		r.URL.Path, r.URL.RawPath = strings.Clone(env.Path()), ""
	}
	return r.WithContext(context.WithValue(env.Context(), http.ServerContextKey, a.server)), nil
}

// appendAddr appends RemoteAddr: "@" for a Unix socket.
func appendAddr(b []byte, addr netip.AddrPort) []byte {
	if !addr.IsValid() {
		return append(b, '@')
	}
	return addr.AppendTo(b)
}

// fixHeader moves what net/http keeps outside of the header, or adds to it.
func fixHeader(r *http.Request) {
	if r.Header["Transfer-Encoding"] != nil { // the server takes no other than chunked
		r.TransferEncoding, r.ContentLength = []string{"chunked"}, -1
		delete(r.Header, "Transfer-Encoding")
		for _, names := range r.Header["Trailer"] {
			for name := range strings.SplitSeq(names, ",") {
				if r.Trailer == nil {
					r.Trailer = make(http.Header)
				}
				r.Trailer[http.CanonicalHeaderKey(textproto.TrimString(name))] = nil
			}
		}
		delete(r.Header, "Trailer")
	}
	if p := r.Header["Pragma"]; len(p) > 0 && p[0] == "no-cache" && r.Header["Cache-Control"] == nil {
		r.Header["Cache-Control"] = []string{"no-cache"}
	}
	connection := r.Header["Connection"]
	r.Close = hasToken(connection, "close") || r.ProtoMinor == 0 && !hasToken(connection, "keep-alive")
}

// hasToken looks for a token in a list, RFC 9110 section 5.6.1.
func hasToken(list []string, token string) bool {
	for _, line := range list {
		for item := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(textproto.TrimString(item), token) {
				return true
			}
		}
	}
	return false
}
