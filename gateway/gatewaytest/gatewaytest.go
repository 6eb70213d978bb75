// Package gatewaytest calls a gateway application without a server and without a
// socket, as net/http/httptest does for handlers:
//
//	got := gatewaytest.Get(app, "/greeting?name=Ada")
//	if got.Err != nil || got.Code != 200 || got.Text() != "Hello, Ada" { ... }
//
// The application sees what a server would show it, and what it answers is checked
// and put together as a server would.
package gatewaytest

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/parser"
)

// Request is a request to an application. Its zero value is a GET of "/" by
// HTTP/1.1.
type Request struct {
	Method string           // "" is GET
	Target string           // as on the request line; "" is "/"
	Header []gateway.Header // in this order; Host and Content-Length are added if they are not there
	Body   string           // the content
	HTTP10 bool             // the client speaks HTTP/1.0
	Remote netip.AddrPort   // the client; zero is 192.0.2.1:1234
	Log    *slog.Logger     // takes wsgi.errors; nil drops it
}

// Response is what an application answered. Nothing in it is the application's.
type Response struct {
	Code   int              // 200
	Status string           // "200 OK"
	Header []gateway.Header // as declared
	Chunks []string         // what was written, then what the body gave; no empty ones
	Closed int              // how often the body was closed: 1, or 0 if there was none
	Err    error            // what went wrong: the application's error, or a rule that it broke
}

// Text is the content.
func (r *Response) Text() string { return strings.Join(r.Chunks, "") }

// Get is the value of the header called name, in any case, the values of several
// joined by ", "; "" if there is none.
func (r *Response) Get(name string) string {
	var values []string
	for _, h := range r.Header {
		if strings.EqualFold(h.Name, name) {
			values = append(values, h.Value)
		}
	}
	return strings.Join(values, ", ")
}

// Get calls app with a GET of target.
func Get(app gateway.App, target string) *Response { return Call(app, Request{Target: target}) }

// Call calls app with req, pulls the body to its end and closes it. Where the body says
// [gateway.ErrWait] it waits for the call that wakes it. A panic of the application
// comes through, after its body was closed.
func Call(app gateway.App, req Request) *Response {
	r := new(Response)
	woken := make(chan struct{}, 1)
	env, err := environ(req, woken)
	if err != nil {
		r.Err = err
		return r
	}
	defer env.End()
	r.Err = r.call(app, env, woken)
	return r
}

var (
	errStartTwice = errors.New("gatewaytest: start was called twice without exc")
	errNotStarted = errors.New("gatewaytest: content, or the end of it, without a call of start")
)

func (r *Response) call(app gateway.App, env *gateway.Environ, woken <-chan struct{}) (err error) {
	started, sent := false, false
	var sticks error
	start := func(status string, headers []gateway.Header, exc error) (io.Writer, error) {
		switch {
		case sticks != nil:
			return nil, sticks
		case started && exc == nil:
			sticks = errStartTwice
			return nil, sticks
		case started && sent:
			sticks = exc
			return nil, sticks
		}
		code, err := gateway.CheckStatus(status)
		for i := range headers {
			if err == nil {
				_, err = gateway.CheckHeader(&headers[i])
			}
		}
		if sticks = err; err != nil {
			return nil, err
		}
		started = true
		r.Code, r.Status, r.Header = code, strings.Clone(status), nil
		for _, h := range headers {
			r.Header = append(r.Header, gateway.Header{Name: strings.Clone(h.Name), Value: strings.Clone(h.Value)})
		}
		return writer{r, &sent}, nil
	}
	body, err := app.Serve(env, start)
	if body != nil {
		defer func() {
			r.Closed++
			err = errors.Join(err, body.Close())
		}()
	}
	for err == nil && sticks == nil && body != nil {
		var b []byte
		b, err = body.Next()
		if len(b) > 0 {
			if !started {
				return errNotStarted
			}
			sent = true
			r.Chunks = append(r.Chunks, string(b))
		}
		if err == gateway.ErrWait {
			<-woken
			err = nil
		}
	}
	switch {
	case sticks != nil:
		return sticks
	case err != nil && err != io.EOF:
		return err
	case !started:
		return errNotStarted
	}
	return nil
}

// writer is PEP 3333's write().
type writer struct {
	r    *Response
	sent *bool
}

func (w writer) Write(p []byte) (int, error) {
	if len(p) > 0 {
		*w.sent = true
		w.r.Chunks = append(w.r.Chunks, string(p))
	}
	return len(p), nil
}

// environ is an Environ for req, read by the parser as a server would.
func environ(req Request, woken chan<- struct{}) (*gateway.Environ, error) {
	var b strings.Builder
	method, target, version := req.Method, req.Target, "HTTP/1.1"
	if method == "" {
		method = "GET"
	}
	if target == "" {
		target = "/"
	}
	if req.HTTP10 {
		version = "HTTP/1.0"
	}
	fmt.Fprintf(&b, "%s %s %s\r\n", method, target, version)
	has := func(name string) bool {
		for _, h := range req.Header {
			if strings.EqualFold(h.Name, name) {
				return true
			}
		}
		return false
	}
	if !has("Host") {
		b.WriteString("Host: example.com\r\n")
	}
	for _, h := range req.Header {
		fmt.Fprintf(&b, "%s: %s\r\n", h.Name, h.Value)
	}
	if req.Body != "" && !has("Content-Length") {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(req.Body))
	}
	b.WriteString("\r\n")
	head := []byte(b.String())
	parsed, limits := new(parser.Request), parser.DefaultLimits()
	n, err := parsed.Parse(head, &limits)
	if err != nil {
		return nil, fmt.Errorf("gatewaytest: the request is not right: %w", err)
	}
	if n != len(head) {
		return nil, fmt.Errorf("gatewaytest: the request is not right: %q", head)
	}
	conn := conn{req.Remote, netip.MustParseAddrPort("192.0.2.80:8080"), woken}
	if !conn.remote.IsValid() {
		conn.remote = netip.MustParseAddrPort("192.0.2.1:1234")
	}
	log := req.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	env := new(gateway.Environ)
	env.Begin(parsed, head, []byte(req.Body), &gateway.Host{Scheme: "http", Software: "gatewaytest", Log: log}, conn)
	return env, nil
}

// conn is a connection that is nothing but its addresses, and what wakes a response.
type conn struct {
	remote, local netip.AddrPort
	woken         chan<- struct{}
}

func (c conn) RemoteAddr() netip.AddrPort { return c.remote }
func (c conn) LocalAddr() netip.AddrPort  { return c.local }

func (c conn) Waker() (wake func()) {
	return func() {
		select {
		case c.woken <- struct{}{}:
		default: // it is awake already
		}
	}
}
