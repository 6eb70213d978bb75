// Package gatewaytest calls a gateway application without a server and without a socket, as
// net/http/httptest does for handlers:
//
//	got := gatewaytest.Get(app, "/greeting?name=Ada")
//	if got.Err != nil || got.Code != 200 || got.Text() != "Hello, Ada" { ... }
//
// The application sees the Environ that a server would show it. Its response is checked by
// gateway.Validate, and collected. To find what it keeps beyond the response, call gateway.Debug(app).
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

// Request is a request to an application. Its zero value is a GET of "/" by HTTP/1.1.
type Request struct {
	Method string           // "" is GET
	Target string           // as on the request line; "" is "/"
	Header []gateway.Header // in this order; Host and Content-Length are added if missing
	Body   string           // the content, all of it there before the call
	HTTP10 bool             // the client speaks HTTP/1.0
	Remote netip.AddrPort   // the client; zero is 192.0.2.1:1234
	Log    *slog.Logger     // takes wsgi.errors; nil drops it
	Extra  map[string]any   // pairs for the environ, as of the option Environ of package server

	// Stream is content that comes after Body, while the application reads it: chunked, or up to
	// the Content-Length of Header. nil is none.
	Stream io.Reader

	// Leave is the number of chunks, writes included, after which the client disconnects: Context is
	// cancelled with gateway.ErrClientGone, the Body is closed, and Err is that error. 0 is never.
	Leave int
}

// Response is the response of an application. All in it are copies.
type Response struct {
	Code   int              // 200
	Status string           // "200 OK"
	Header []gateway.Header // as declared
	Before []Interim        // interim responses
	After  []gateway.Header // of Environ.Trailer; a server sends them where the content is chunked
	Chunks []string         // as sent: those written, then those of the Body; no empty ones, none for HEAD
	Closed int              // calls of Close of the Body: 1, or 0 if there was no Body

	// Err is the error of the response: a *gateway.Violation of a rule, or else that of Serve, Next, or
	// Close. A server answers 500, or cuts the response after Chunks.
	Err error
}

// Interim is an interim response, of Environ.Inform.
type Interim struct {
	Code   int
	Header []gateway.Header
}

// Text is the content.
func (r *Response) Text() string { return strings.Join(r.Chunks, "") }

// Get is the value of the header called name, in any case; several values are joined by ", "; "" if
// there is none.
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

// Call calls app with req, pulls the Body to its end and closes it. Where Next returns
// [gateway.ErrWait] it waits for a call of the function of Environ.Waker. It closes the Body and panics
// again if the application panics.
func Call(app gateway.App, req Request) *Response {
	r := new(Response)
	woken := make(chan struct{}, 1)
	env, err := environ(req, r, woken)
	if err != nil {
		r.Err = err
		return r
	}
	defer env.End()
	c := &call{Response: r, env: env, woken: woken, disconnectAfter: req.Leave, isHEAD: req.Method == "HEAD"}
	r.Err = c.run(gateway.ValidateWith(countCloses(app, r), func(*gateway.Violation) {})) // run returns the first
	return r
}

// countCloses counts the calls of Close of the Body of app in r.
func countCloses(app gateway.App, r *Response) gateway.App {
	return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		body, err := app.Serve(env, start)
		switch b := body.(type) {
		case nil:
			return nil, err
		case gateway.Sized:
			return sizedBody{countedBody{body, r}, b}, err
		}
		return countedBody{body, r}, err
	})
}

type countedBody struct {
	gateway.Body
	r *Response
}

func (c countedBody) Close() error {
	c.r.Closed++
	return c.Body.Close()
}

type sizedBody struct {
	countedBody
	of gateway.Sized
}

func (s sizedBody) Len() int64 { return s.of.Len() }

// call is the server's side of one request.
type call struct {
	*Response
	env             *gateway.ServerEnviron
	woken           <-chan struct{} // the function of Environ.Waker was called
	disconnectAfter int
	isHEAD          bool
	sent            bool  // a part of the response was sent: start can replace nothing
	failure         error // of start or a write, which sticks
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
	for err == nil && c.failure == nil && body != nil && !c.noContent() {
		var b []byte
		if b, err = body.Next(); err == nil || err == io.EOF || err == gateway.ErrWait {
			c.send(b)
		}
		if err == gateway.ErrWait {
			if err = nil; c.failure == nil {
				<-c.woken
			}
		}
	}
	switch {
	case c.failure != nil:
		return c.failure
	case err == io.EOF:
		return nil
	}
	return err
}

// noContent reports whether the declared response has no content.
func (c *call) noContent() bool {
	return c.Status != "" && (c.isHEAD || c.Code == 204 || c.Code == 304)
}

// start is the gateway.StartResponse of the application. Validate has checked the arguments.
func (c *call) start(status string, headers []gateway.Header, exc error) (io.Writer, error) {
	switch {
	case c.failure != nil:
		return nil, c.failure
	case c.sent:
		c.failure = exc
		return nil, exc
	}
	c.Code, _ = strconv.Atoi(status[:3])
	c.Status, c.Header = strings.Clone(status), cloneHeaders(headers)
	return writer{c}, nil
}

func cloneHeaders(headers []gateway.Header) (own []gateway.Header) {
	for _, h := range headers {
		own = append(own, gateway.Header{Name: strings.Clone(h.Name), Value: strings.Clone(h.Value)})
	}
	return own
}

// writer is PEP 3333's write().
type writer struct{ c *call }

func (w writer) Write(p []byte) (int, error) {
	if w.c.failure != nil {
		return 0, w.c.failure
	}
	w.c.send(p)
	return len(p), nil
}

// Flush is that of gateway.Flush.
func (w writer) Flush() error {
	w.c.sent = true
	return w.c.failure
}

// send adds a chunk to the response, after which the client may disconnect.
func (c *call) send(b []byte) {
	if len(b) == 0 {
		return
	}
	c.sent = true
	if c.isHEAD {
		return
	}
	c.Chunks = append(c.Chunks, string(b))
	if len(c.Chunks) == c.disconnectAfter {
		c.env.Cancel(gateway.ErrClientGone)
		c.failure = gateway.ErrClientGone
	}
}

// environ is an Environ for req, whose head is parsed as by a server.
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
		return nil, fmt.Errorf("gatewaytest: the request is invalid: %w", err)
	}
	if n != len(head) {
		return nil, fmt.Errorf("gatewaytest: the request is invalid: %q", head)
	}
	conn := conn{remote: req.Remote, local: netip.MustParseAddrPort("192.0.2.80:8080")}
	conn.woken, conn.r, conn.http10 = woken, r, req.HTTP10
	if !conn.remote.IsValid() {
		conn.remote = netip.MustParseAddrPort("192.0.2.1:1234")
	}
	log := req.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	env := new(gateway.ServerEnviron)
	info := &gateway.ServerInfo{Scheme: "http", Software: "gatewaytest", Log: log, Extra: req.Extra}
	env.Begin(parsed, head, []byte(req.Body), info, conn)
	if req.Stream != nil {
		length := parsed.Body()
		env.ContentStream(req.Stream, length.Length()-int64(len(req.Body)))
	}
	return env, nil
}

// conn is a gateway.Conn without a connection: it has addresses, wakes the response, and collects
// interim responses and trailer fields.
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
		default: // a wake is pending already
		}
	}
}

// Inform implements gateway.Conn.
func (c conn) Inform(code int, headers []gateway.Header) error {
	if !c.http10 {
		c.r.Before = append(c.r.Before, Interim{code, cloneHeaders(headers)})
	}
	return nil
}

// Trailer implements gateway.Conn.
func (c conn) Trailer(headers []gateway.Header) error {
	c.r.After = append(c.r.After, cloneHeaders(headers)...)
	return nil
}
