package nethttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/field"
)

var (
	errNotStarted = errors.New("nethttp: the application returned without calling start")
	errStartTwice = errors.New("nethttp: start was called twice without exc")
	errInformLate = errors.New("nethttp: Inform was called after start")
	errHijackLate = errors.New("nethttp: Hijack was called after a part of the response was sent")
	errInterim    = errors.New("nethttp: a 1xx status is not a final response")
	errTooLong    = errors.New("nethttp: the response is longer than its Content-Length; the rest was cut")
)

// call is the server's side of one request of Handler.
type call struct {
	gateway.NoConn
	env   gateway.ServerEnviron
	w     http.ResponseWriter
	r     *http.Request
	host  *handler
	woken chan struct{}

	code     int // 0 before start
	headers  []gateway.Header
	declared bool  // the application has declared a Content-Length
	owed     int64 // bytes of content still to be sent; -1 if the length is unknown
	sent     bool  // the head was sent
	trailers bool  // Trailer was called: the content is chunked
	hijacked bool  // the connection is the application's
	err      error // of start, which sticks
	ended    bool  // the response is finished
}

// RemoteAddr implements gateway.Conn.
func (c *call) RemoteAddr() netip.AddrPort {
	addr, _ := netip.ParseAddrPort(c.r.RemoteAddr)
	return addr
}

// LocalAddr implements gateway.Conn.
func (c *call) LocalAddr() netip.AddrPort {
	if local, ok := c.r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return local.AddrPort()
	}
	return netip.AddrPort{}
}

// Waker implements gateway.Conn.
func (c *call) Waker() (wake func()) {
	woken := c.woken
	return func() {
		select {
		case woken <- struct{}{}:
		default: // a wake is pending already
		}
	}
}

// CloseInput implements gateway.Conn. It breaks a Read off by a deadline that is past. It is called on the
// goroutine of the handler only, as the header map requires.
func (c *call) CloseInput() {
	c.w.Header().Set("Connection", "close")
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Unix(1, 0))
}

// ReadTrailer implements gateway.Conn. In r.Trailer a field that has not come yet has no values.
func (c *call) ReadTrailer(yield func(name, value string) bool) {
	for name, values := range c.r.Trailer {
		for _, value := range values {
			if !yield(name, value) {
				return
			}
		}
	}
}

// Inform implements gateway.Conn.
func (c *call) Inform(code int, headers []gateway.Header) error {
	if c.code != 0 {
		return errInformLate
	}
	if !c.r.ProtoAtLeast(1, 1) {
		return nil
	}
	header := c.w.Header()
	for _, h := range headers {
		header.Add(h.Name, h.Value)
	}
	c.w.WriteHeader(code)
	for _, h := range headers {
		header.Del(h.Name)
	}
	return nil
}

// Trailer implements gateway.Conn.
func (c *call) Trailer(headers []gateway.Header) error {
	c.trailers = true
	for _, h := range headers {
		c.w.Header().Add(http.TrailerPrefix+http.CanonicalHeaderKey(h.Name), h.Value)
	}
	return nil
}

// Hijack implements gateway.Conn.
func (c *call) Hijack() (net.Conn, []byte, error) {
	if c.sent {
		return nil, nil, errHijackLate
	}
	conn, rw, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	c.hijacked = true
	rest, _ := rw.Reader.Peek(rw.Reader.Buffered())
	return conn, rest, nil
}

// SetReadDeadline implements gateway.Conn.
func (c *call) SetReadDeadline(t time.Time) error {
	return http.NewResponseController(c.w).SetReadDeadline(t)
}

// SetWriteDeadline implements gateway.Conn.
func (c *call) SetWriteDeadline(t time.Time) error {
	return http.NewResponseController(c.w).SetWriteDeadline(t)
}

// SentStatus implements gateway.Conn: a ResponseWriter of a server may know.
func (c *call) SentStatus() int {
	if s, ok := c.w.(interface{ SentStatus() int }); ok {
		return s.SentStatus()
	}
	return 0
}

// run calls the application and sends its response.
func (c *call) run(app gateway.App) (err error) {
	defer func() { c.ended = true }()
	body, err := app.Serve(&c.env.Environ, c.start)
	if body != nil {
		defer func() { // also after a panic
			if failed := body.Close(); failed != nil {
				c.report(slog.LevelWarn, "closing the body of a response failed", failed)
			}
		}()
	}
	switch {
	case c.hijacked:
		return nil
	case c.err != nil:
		return c.err
	case err != nil:
		return err
	}
	return c.pull(body)
}

func (c *call) pull(body gateway.Body) error {
	known := int64(0)
	if body != nil {
		known = -1
		if sized, ok := body.(gateway.Sized); ok {
			known = sized.Len()
		}
	}
	for ended := body == nil; !ended; {
		if c.code != 0 && (c.r.Method == http.MethodHead || !bodyAllowed(c.code)) {
			break // no content is pulled that is not sent
		}
		if file, ok := body.(*gateway.FileBody); ok && !file.Shared() && c.code != 0 {
			if err := c.sendFile(file, known); err != nil {
				return err
			}
			break
		}
		b, err := body.Next()
		ended = err == io.EOF
		switch {
		case c.err != nil:
			return c.err
		case err != nil && !ended && err != gateway.ErrWait:
			return err
		}
		if len(b) > 0 {
			if ended && !c.sent && known < 0 { // one chunk is all: it has a length
				known = int64(len(b))
			}
			if err := c.send(b, known, !ended); err != nil {
				return err
			}
			ended = ended || c.owed == 0
		}
		if err == gateway.ErrWait && !ended {
			select {
			case <-c.woken:
			case <-c.r.Context().Done():
				return gateway.ErrClientGone
			}
		}
	}
	if c.code == 0 {
		return errNotStarted
	}
	if c.commit(known); c.owed > 0 && c.r.Method != http.MethodHead && bodyAllowed(c.code) {
		return fmt.Errorf("nethttp: the response is %d bytes shorter than its Content-Length", c.owed)
	}
	return nil
}

// sendFile sends the range of a file by io.Copy to the ResponseWriter, where net/http uses sendfile(2).
func (c *call) sendFile(body *gateway.FileBody, known int64) error {
	f, off, n := body.Range()
	if _, err := f.Seek(off, io.SeekStart); err != nil {
		return err
	}
	c.commit(known)
	if c.owed >= 0 && n > c.owed {
		c.report(slog.LevelError, errTooLong.Error(), nil)
		n = c.owed
	}
	sent, err := io.CopyN(c.w, f, n)
	body.Advance(sent)
	if c.owed >= 0 {
		c.owed -= sent
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// start is the gateway.StartResponse of the application.
func (c *call) start(status string, headers []gateway.Header, exc error) (io.Writer, error) {
	err := c.err
	switch {
	case c.ended:
		return nil, net.ErrClosed
	case err != nil:
	case c.hijacked:
		err = gateway.ErrHijacked
	case c.code != 0 && exc == nil:
		err = errStartTwice
	case c.sent:
		err = exc
	default:
		err = c.declare(status, headers)
	}
	if c.err = err; err != nil {
		return nil, err
	}
	return (*writer)(c), nil
}

// declare checks the arguments of start and copies them.
func (c *call) declare(status string, headers []gateway.Header) error {
	code, err := gateway.CheckStatus(status)
	if err != nil {
		return err
	}
	if code < 200 {
		return errInterim
	}
	c.code, c.headers, c.declared, c.owed = code, c.headers[:0], false, -1
	seen := [field.Forbidden]bool{}
	for i := range headers {
		kind, err := field.Check(headers[i].Name, headers[i].Value)
		if err != nil {
			return err
		}
		if kind != field.Plain {
			if seen[kind] && kind != field.Connection {
				return fmt.Errorf("nethttp: more than one %s in the response", headers[i].Name)
			}
			seen[kind] = true
		}
		if kind == field.ContentLength {
			n, err := strconv.ParseUint(headers[i].Value, 10, 63)
			if err != nil {
				return fmt.Errorf("nethttp: the response's Content-Length is %q; use a decimal number", headers[i].Value)
			}
			c.declared, c.owed = true, int64(n)
		}
		copied := gateway.Header{Name: strings.Clone(headers[i].Name), Value: strings.Clone(headers[i].Value)}
		c.headers = append(c.headers, copied)
	}
	return nil
}

// commit sends the head, unless it was sent. known is the length of the content, -1 if it is unknown.
func (c *call) commit(known int64) {
	if c.sent {
		return
	}
	c.sent = true
	header := c.w.Header()
	for _, h := range c.headers {
		if kind := field.KindOf(h.Name); h.Value == "" && (kind == field.Date || kind == field.ServerName) {
			header[http.CanonicalHeaderKey(h.Name)] = nil // net/http then sends none of its own
			continue
		}
		header.Add(h.Name, h.Value)
	}
	if _, ok := header["Content-Type"]; !ok {
		header["Content-Type"] = nil // net/http then does not guess it from the content
	}
	if !c.declared && known >= 0 && bodyAllowed(c.code) && !c.trailers && header["Trailer"] == nil {
		header.Set("Content-Length", strconv.FormatInt(known, 10))
		c.owed = known
	}
	c.w.WriteHeader(c.code)
}

// send sends a chunk, and flushes it if there may be more.
func (c *call) send(b []byte, known int64, more bool) error {
	if c.code == 0 {
		return errNotStarted
	}
	c.commit(known)
	if c.r.Method == http.MethodHead || !bodyAllowed(c.code) {
		return nil
	}
	if c.owed >= 0 {
		if int64(len(b)) > c.owed {
			c.report(slog.LevelError, errTooLong.Error(), nil)
			b = b[:c.owed]
		}
		c.owed -= int64(len(b))
	}
	if _, err := c.w.Write(b); err != nil {
		return clientGone{err}
	}
	if more {
		_ = http.NewResponseController(c.w).Flush() // a writer that cannot flush sends it later
	}
	return nil
}

// clientGone is the error of a Write to a client that has disconnected.
type clientGone struct{ error }

// writer is the write() form.
type writer call

func (w *writer) Write(p []byte) (int, error) {
	c := (*call)(w)
	switch {
	case c.ended:
		return 0, net.ErrClosed
	case c.err != nil:
		return 0, c.err
	case len(p) == 0:
		return 0, nil
	case c.sent && c.owed == 0:
		return 0, errTooLong
	}
	if err := c.send(p, -1, true); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush is that of gateway.Flush.
func (w *writer) Flush() error {
	c := (*call)(w)
	switch {
	case c.ended:
		return net.ErrClosed
	case c.err != nil:
		return c.err
	}
	c.commit(-1)
	return http.NewResponseController(c.w).Flush()
}

// fail answers 500, or aborts if a part of the response was sent.
func (c *call) fail(err error) {
	aborted := errors.Is(err, gateway.ErrAbort)
	var left clientGone
	gone := errors.As(err, &left) || err == gateway.ErrClientGone || c.abandoned()
	if c.host.Failed != nil && !gone {
		c.host.Failed(c.sent, aborted)
	}
	if aborted {
		panic(http.ErrAbortHandler)
	}
	if !gone {
		c.report(slog.LevelError, "the application failed", err)
	}
	if c.sent {
		panic(http.ErrAbortHandler)
	}
	http.Error(c.w, "Internal Server Error", http.StatusInternalServerError)
}

// abandoned reports whether a server has ended the Context of the request: it has answered, and logged why.
func (c *call) abandoned() bool {
	cause := context.Cause(c.r.Context())
	return cause == gateway.ErrTimeout || cause == gateway.ErrStopped
}

// report logs msg with the method and the target of the request.
func (c *call) report(level slog.Level, msg string, err error) {
	attrs := []slog.Attr{slog.String("method", c.r.Method), slog.String("target", c.r.RequestURI),
		slog.String("remote", c.r.RemoteAddr)}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	c.host.Info.Log.LogAttrs(c.r.Context(), level, msg, attrs...)
}
