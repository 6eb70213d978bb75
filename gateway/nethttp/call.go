package nethttp

import (
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
	errInterim    = errors.New("nethttp: a 1xx status is not a final response")
	errTooLong    = errors.New("nethttp: the response is longer than its Content-Length; the rest was cut")
)

// call is the server's side of one request.
type call struct {
	gateway.NoConn
	env   gateway.ServerEnviron
	w     http.ResponseWriter
	r     *http.Request
	log   *slog.Logger
	woken chan struct{}

	code     int // 0 until start was called
	headers  []gateway.Header
	declared bool  // a Content-Length
	left     int64 // bytes still owed; -1 if no length is known
	sent     bool  // the head
	err      error // sticks: what was wrong in a call of start
	over     bool
}

// RemoteAddr is the peer's address; zero on a Unix socket.
func (c *call) RemoteAddr() netip.AddrPort {
	addr, _ := netip.ParseAddrPort(c.r.RemoteAddr)
	return addr
}

// LocalAddr is the address that the peer connected to.
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
		default: // it is awake already
		}
	}
}

// CloseInput implements gateway.Conn. On the goroutine of the handler.
func (c *call) CloseInput() {
	c.w.Header().Set("Connection", "close")
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Unix(1, 0)) // long past
}

// ReadTrailer implements gateway.Conn. A name that has not come yet has no value.
func (c *call) ReadTrailer(yield func(name, value string) bool) {
	for name, values := range c.r.Trailer {
		for _, value := range values {
			if !yield(name, value) {
				return
			}
		}
	}
}

// run calls the application and sends what it answers.
func (c *call) run(app gateway.App) (err error) {
	defer func() { c.over = true }()
	body, err := app.Serve(&c.env.Environ, c.start)
	if body != nil {
		defer func() { // also after a panic
			if failed := body.Close(); failed != nil {
				c.say(slog.LevelWarn, "closing the body of a response failed", failed)
			}
		}()
	}
	switch {
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
			break
		}
		if file, ok := body.(*gateway.FileBody); ok && c.code != 0 {
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
			if ended && !c.sent && known < 0 {
				known = int64(len(b))
			}
			if err := c.send(b, known, !ended); err != nil {
				return err
			}
			ended = ended || c.left == 0
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
	if c.commit(known); c.left > 0 && c.r.Method != http.MethodHead && bodyAllowed(c.code) {
		return fmt.Errorf("nethttp: the response is %d bytes shorter than its Content-Length", c.left)
	}
	return nil
}

// sendFile has net/http send what is left of a file, by sendfile(2) where it can.
func (c *call) sendFile(body *gateway.FileBody, known int64) error {
	f, off, n := body.Range()
	if _, err := f.Seek(off, io.SeekStart); err != nil {
		return err
	}
	c.commit(known)
	if c.left >= 0 && n > c.left {
		c.say(slog.LevelError, errTooLong.Error(), nil)
		n = c.left
	}
	sent, err := io.CopyN(c.w, f, n)
	body.Advance(sent)
	if c.left >= 0 {
		c.left -= sent
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// start is gateway.StartResponse.
func (c *call) start(status string, headers []gateway.Header, exc error) (io.Writer, error) {
	err := c.err
	switch {
	case c.over:
		return nil, net.ErrClosed
	case err != nil:
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

// declare takes what start was called with, and checks it.
func (c *call) declare(status string, headers []gateway.Header) error {
	code, err := gateway.CheckStatus(status)
	if err != nil {
		return err
	}
	if code < 200 {
		return errInterim
	}
	c.code, c.headers, c.declared, c.left = code, c.headers[:0], false, -1
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
			c.declared, c.left = true, int64(n)
		}
		c.headers = append(c.headers, gateway.Header{Name: strings.Clone(headers[i].Name), Value: strings.Clone(headers[i].Value)})
	}
	return nil
}

// commit sends the head, if it was not. known is the length of the content, -1 if
// nobody knows.
func (c *call) commit(known int64) {
	if c.sent {
		return
	}
	c.sent = true
	header := c.w.Header()
	for _, h := range c.headers {
		if kind := field.KindOf(h.Name); h.Value == "" && (kind == field.Date || kind == field.ServerName) {
			header[http.CanonicalHeaderKey(h.Name)] = nil // none is sent
			continue
		}
		header.Add(h.Name, h.Value)
	}
	if _, ok := header["Content-Type"]; !ok {
		header["Content-Type"] = nil // and not what the content looks like
	}
	if !c.declared && known >= 0 && bodyAllowed(c.code) {
		header.Set("Content-Length", strconv.FormatInt(known, 10))
		c.left = known
	}
	c.w.WriteHeader(c.code)
}

// send sends a chunk, and on its way if there may be more.
func (c *call) send(b []byte, known int64, more bool) error {
	if c.code == 0 {
		return errNotStarted
	}
	c.commit(known)
	if c.r.Method == http.MethodHead || !bodyAllowed(c.code) {
		return nil
	}
	if c.left >= 0 {
		if int64(len(b)) > c.left {
			c.say(slog.LevelError, errTooLong.Error(), nil)
			b = b[:c.left]
		}
		c.left -= int64(len(b))
	}
	if _, err := c.w.Write(b); err != nil {
		return gone{err}
	}
	if more {
		_ = http.NewResponseController(c.w).Flush() // what cannot be flushed comes later
	}
	return nil
}

// gone is the error of a client that does not take its answer.
type gone struct{ error }

// writer is the write() form.
type writer call

func (w *writer) Write(p []byte) (int, error) {
	c := (*call)(w)
	switch {
	case c.over:
		return 0, net.ErrClosed
	case c.err != nil:
		return 0, c.err
	case len(p) == 0:
		return 0, nil
	case c.sent && c.left == 0:
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
	case c.over:
		return net.ErrClosed
	case c.err != nil:
		return c.err
	}
	c.commit(-1)
	return http.NewResponseController(c.w).Flush()
}

// fail answers 500, or aborts if a part of the response was sent.
func (c *call) fail(err error) {
	if errors.Is(err, gateway.ErrAbort) {
		panic(http.ErrAbortHandler)
	}
	var left gone
	if !errors.As(err, &left) && err != gateway.ErrClientGone {
		c.say(slog.LevelError, "the application failed", err)
	}
	if c.sent {
		panic(http.ErrAbortHandler)
	}
	http.Error(c.w, "Internal Server Error", http.StatusInternalServerError)
}

// say logs something about this request.
func (c *call) say(level slog.Level, msg string, err error) {
	attrs := []slog.Attr{slog.String("method", c.r.Method), slog.String("target", c.r.RequestURI), slog.String("remote", c.r.RemoteAddr)}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	c.log.LogAttrs(c.r.Context(), level, msg, attrs...)
}
