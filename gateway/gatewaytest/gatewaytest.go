// Package gatewaytest calls a gateway application without a server and without a
// socket, as net/http/httptest does for handlers:
//
//	got := gatewaytest.Get(app, "/greeting?name=Ada")
//	if got.Err != nil || got.Code != 200 || got.Text() != "Hello, Ada" { ... }
//
// The application sees what a server would show it. Its answer is checked by
// gateway.Validate, and put together as a server would. To find what it keeps beyond
// the response, call gateway.Debug(app).
package gatewaytest

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strconv"
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
	Body   string           // the content, all of it there before the call
	HTTP10 bool             // the client speaks HTTP/1.0
	Remote netip.AddrPort   // the client; zero is 192.0.2.1:1234
	Log    *slog.Logger     // takes wsgi.errors; nil drops it
	Extra  map[string]any   // the deployer's pairs

	// Stream is content that comes after Body, while the application reads it: chunked, or up to
	// the Content-Length of Header. nil is none.
	Stream io.Reader

	// Leave is when the client is gone: after so many chunks were sent, writes
	// included. Then the context is cancelled with gateway.ErrClientGone and the body
	// closed, and Err is that error. 0 is never.
	Leave int
}

// Response is what an application answered. Nothing in it is the application's.
type Response struct {
	Code   int              // 200
	Status string           // "200 OK"
	Header []gateway.Header // as declared
	Before []Interim        // responses before it
	After  []gateway.Header // as given to Environ.Trailer; a server sends them where the content is chunked
	Chunks []string         // as sent: what was written, then what the body gave; no empty ones, none for HEAD
	Closed int              // how often the body was closed: 1, or 0 if there was none

	// Err is what went wrong: a *gateway.Violation of a rule, or else the error of Serve,
	// Next, or Close. A server answers 500, or cuts the response where Chunks end.
	Err error
}

// Interim is what an application gave to Environ.Inform.
type Interim struct {
	Code   int
	Header []gateway.Header
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
	env, err := environ(req, r, woken)
	if err != nil {
		r.Err = err
		return r
	}
	defer env.End()
	c := &call{Response: r, env: env, woken: woken, leave: req.Leave, headOnly: req.Method == "HEAD"}
	r.Err = c.run(gateway.ValidateWith(closes(app, r), func(*gateway.Violation) {})) // which returns it, too
	return r
}

// closes counts how often the body of app is closed.
func closes(app gateway.App, r *Response) gateway.App {
	return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		body, err := app.Serve(env, start)
		switch b := body.(type) {
		case nil:
			return nil, err
		case gateway.Sized:
			return sized{counted{body, r}, b}, err
		}
		return counted{body, r}, err
	})
}

type counted struct {
	gateway.Body
	r *Response
}

func (c counted) Close() error {
	c.r.Closed++
	return c.Body.Close()
}

type sized struct {
	counted
	of gateway.Sized
}

func (s sized) Len() int64 { return s.of.Len() }

// call is the server's side of one request.
type call struct {
	*Response
	env      *gateway.ServerEnviron
	woken    <-chan struct{}
	leave    int
	headOnly bool
	sent     bool  // the head, as far as the application can see
	sticks   error // what start or a write returned
}

func (c *call) run(app gateway.App) (err error) {
	body, err := app.Serve(&c.env.Environ, c.start)
	if body != nil {
		defer func() { // also if Next panics
			if closed := body.Close(); err == nil {
				err = closed
			}
		}()
	}
	for err == nil && c.sticks == nil && body != nil && !c.bare() {
		var b []byte
		if b, err = body.Next(); err == nil || err == io.EOF || err == gateway.ErrWait {
			c.send(b)
		}
		if err == gateway.ErrWait {
			if err = nil; c.sticks == nil {
				<-c.woken
			}
		}
	}
	switch {
	case c.sticks != nil:
		return c.sticks
	case err == io.EOF:
		return nil
	}
	return err
}

// bare says that the response is known to have no content.
func (c *call) bare() bool {
	return c.Status != "" && (c.headOnly || c.Code == 204 || c.Code == 304)
}

// start is gateway.StartResponse. Validate has checked what it is given.
func (c *call) start(status string, headers []gateway.Header, exc error) (io.Writer, error) {
	switch {
	case c.sticks != nil:
		return nil, c.sticks
	case c.sent:
		c.sticks = exc
		return nil, exc
	}
	c.Code, _ = strconv.Atoi(status[:3])
	c.Status, c.Header = strings.Clone(status), cloned(headers)
	return writer{c}, nil
}

func cloned(headers []gateway.Header) (own []gateway.Header) {
	for _, h := range headers {
		own = append(own, gateway.Header{Name: strings.Clone(h.Name), Value: strings.Clone(h.Value)})
	}
	return own
}

// writer is PEP 3333's write().
type writer struct{ c *call }

func (w writer) Write(p []byte) (int, error) {
	if w.c.sticks != nil {
		return 0, w.c.sticks
	}
	w.c.send(p)
	return len(p), nil
}

// Flush is that of gateway.Flush.
func (w writer) Flush() error {
	w.c.sent = true
	return w.c.sticks
}

// send sends a chunk, behind which the client may leave.
func (c *call) send(b []byte) {
	if len(b) == 0 {
		return
	}
	c.sent = true
	if c.headOnly {
		return
	}
	c.Chunks = append(c.Chunks, string(b))
	if len(c.Chunks) == c.leave {
		c.env.Cancel(gateway.ErrClientGone)
		c.sticks = gateway.ErrClientGone
	}
}

// environ is an Environ for req, read by the parser as a server would.
func environ(req Request, r *Response, woken chan<- struct{}) (*gateway.ServerEnviron, error) {
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
	switch {
	case has("Content-Length"):
	case req.Stream != nil && !req.HTTP10:
		b.WriteString("Transfer-Encoding: chunked\r\n")
	case req.Body != "":
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
	conn := conn{remote: req.Remote, local: netip.MustParseAddrPort("192.0.2.80:8080"), woken: woken, r: r, http10: req.HTTP10}
	if !conn.remote.IsValid() {
		conn.remote = netip.MustParseAddrPort("192.0.2.1:1234")
	}
	log := req.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	env := new(gateway.ServerEnviron)
	env.Begin(parsed, head, []byte(req.Body), &gateway.ServerInfo{Scheme: "http", Software: "gatewaytest", Log: log, Extra: req.Extra}, conn)
	if req.Stream != nil {
		length := parsed.Body()
		env.ContentStream(req.Stream, length.Length()-int64(len(req.Body)))
	}
	return env, nil
}

// conn is a connection that is nothing but its addresses, and what wakes a response or
// adds to it.
type conn struct {
	gateway.NoConn
	remote, local netip.AddrPort
	woken         chan<- struct{}
	r             *Response
	http10        bool
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

// Inform implements gateway.Conn.
func (c conn) Inform(code int, headers []gateway.Header) error {
	if !c.http10 {
		c.r.Before = append(c.r.Before, Interim{code, cloned(headers)})
	}
	return nil
}

// Trailer implements gateway.Conn.
func (c conn) Trailer(headers []gateway.Header) error {
	c.r.After = append(c.r.After, cloned(headers)...)
	return nil
}
