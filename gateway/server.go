package gateway

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/isbjorn/isbjorn/parser"
)

// What a server needs to call applications. An application uses nothing of this file.

// ServerEnviron is the server's side of an Environ: it binds the Environ to a request, and takes
// it back. A server keeps one, by value, for each request that it serves at the same time, reuses
// it, and gives the application the Environ inside:
//
//	env.Begin(&req, head, content, &info, conn)
//	body, err := app.Serve(&env.Environ, start)
//	// pull body until io.EOF, send it, and call its Close
//	env.End()
//
// Cancel may be called from any goroutine, the other methods from the one that serves.
type ServerEnviron struct{ Environ }

// Begin binds the Environ to a request. head is what the spans of req point into, content what
// has come of the content, all of it unless ContentStream says otherwise. All arguments are the
// application's to read until End.
func (e *ServerEnviron) Begin(req *parser.Request, head, content []byte, info *ServerInfo, conn Conn) {
	e.req, e.head, e.info, e.conn = req, head, info, conn
	e.input.b = content
}

// ContentFrom makes size bytes of file the content, in place of that of Begin. file must be
// readable until End.
func (e *ServerEnviron) ContentFrom(file io.ReaderAt, size int64) {
	e.input = Input{file: file, remaining: size}
}

// ContentStream makes what src gives the content, after that of Begin: length bytes, or all until
// io.EOF if length is -1, as for chunked content. src.Read waits for at least one byte, or returns
// an error; io.EOF before length bytes is io.ErrUnexpectedEOF to the application. src is not read
// again after an error, after length bytes, or after End.
func (e *ServerEnviron) ContentStream(src io.Reader, length int64) {
	// The capacity behind the content of Begin holds the next request: Clip keeps ReadLine from
	// appending there.
	e.input = Input{b: slices.Clip(e.input.b), src: src, remaining: max(length, unknownLength)}
}

// Cancel cancels Context; cause is what context.Cause returns, such as ErrClientGone. The first
// cause counts. Between Begin and End, from any goroutine. Where the application has not called
// Context, Cancel notes the cause and makes no context.
func (e *ServerEnviron) Cancel(cause error) {
	c := &e.ctx
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = cause
	}
	if c.ctx != nil {
		c.cancel(cause)
	}
}

// End unbinds the Environ from its request and cancels Context. It is called after Close of the
// Body, while no method of the Environ runs on another goroutine. A second End does nothing.
func (e *ServerEnviron) End() {
	if e.ctx.cancel != nil || e.ctx.cause != nil {
		e.ctx.end()
	}
	e.input.release()
	if e.scratch = e.scratch[:0]; cap(e.scratch) > scratchBytesMax {
		e.scratch = nil
	}
	e.requestView = requestView{}
}

// scratchBytesMax is the memory for decoded text that End keeps for the next request: only long
// paths need more.
const scratchBytesMax = 4 << 10

// ServerInfo is what a server says of itself, the same for every request. It does not change
// while there are requests.
type ServerInfo struct {
	Scheme      string         // wsgi.url_scheme
	Software    string         // SERVER_SOFTWARE; "" hides it
	Multithread bool           // Serve may run on several goroutines at once
	Log         *slog.Logger   // takes what is written to Errors
	Extra       map[string]any // the deployer's pairs, see CheckExtra

	// Underscores shows fields with "_" in their names. Without it Hidden, if not nil, is called
	// for each such field in a look-up or a listing, for the server's log. name is a view, valid
	// during the call, which may come from several goroutines at once.
	Underscores bool
	Hidden      func(name string)

	// Stopping is what Environ.Stopping returns: closed when the server begins to stop; nil if
	// the server does not say so.
	Stopping <-chan struct{}

	// TempFile is what Environ.TempFile returns, for a server that limits the room of all such
	// files; nil makes files without a limit. It may be called from several goroutines.
	TempFile func(dir string) (TempFile, error)
}

// Conn is the connection of a request, and what its server can do on it. A server embeds [NoConn]
// and implements what it has: later versions may add methods. Header fields are checked before
// Inform and Trailer are called; the slices are the caller's again when the call returns.
//
// The deadlines and CloseInput may be called from any goroutine of the application, the rest from
// the one that serves.
type Conn interface {
	RemoteAddr() netip.AddrPort // zero on a Unix socket
	LocalAddr() netip.AddrPort

	// Waker returns a function that makes the server call Next of a Body that has returned
	// ErrWait. It may be called at any time, from any goroutine, also after the response.
	Waker() (wake func())

	// Inform sends an interim response. After start it returns an error.
	Inform(code int, headers []Header) error

	// Trailer adds trailer fields to the response.
	Trailer(headers []Header) error

	// ReadTrailer yields the trailer fields of the request, as views that are valid until
	// ServerEnviron.End; none before all of the content has been read.
	ReadTrailer(yield func(name, value string) bool)

	// Hijack gives the connection up to the application, and what was read from it beyond the
	// request. It is called when no content is left.
	Hijack() (conn net.Conn, rest []byte, err error)

	// SetReadDeadline and SetWriteDeadline limit the waits for content and for room to write.
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error

	// CloseInput breaks off a Read of content that waits on another goroutine, before Serve has
	// returned.
	CloseInput()

	// Key is the value of a key of the environ that the connection gives, and Keys are these keys:
	// those of TLS, for example. nil is no value.
	Key(key string) any
	Keys() []string

	// SentStatus is the status that the client was or will be sent instead of the declared one:
	// that of a refusal by the server (504 for RequestTimeout, 408 for content that does not
	// come), StatusNoResponse or StatusClientClosed; 0 if it is the declared one.
	SentStatus() int
}

// NoConn is a [Conn] that can do nothing: its addresses are zero, and its errors are
// errors.ErrUnsupported. Servers embed it in their own.
type NoConn struct{}

func unsupported(method string) error {
	return fmt.Errorf("gateway: this server has no %s: %w", method, errors.ErrUnsupported)
}

func (NoConn) RemoteAddr() netip.AddrPort                { return netip.AddrPort{} }
func (NoConn) LocalAddr() netip.AddrPort                 { return netip.AddrPort{} }
func (NoConn) Waker() (wake func())                      { return func() {} }
func (NoConn) Inform(int, []Header) error                { return unsupported("Inform") }
func (NoConn) Trailer([]Header) error                    { return unsupported("Trailer") }
func (NoConn) ReadTrailer(func(name, value string) bool) {}
func (NoConn) Hijack() (net.Conn, []byte, error)         { return nil, nil, unsupported("Hijack") }
func (NoConn) SetReadDeadline(time.Time) error           { return unsupported("SetReadDeadline") }
func (NoConn) SetWriteDeadline(time.Time) error          { return unsupported("SetWriteDeadline") }
func (NoConn) CloseInput()                               {}
func (NoConn) Key(string) any                            { return nil }
func (NoConn) Keys() []string                            { return nil }
func (NoConn) SentStatus() int                           { return 0 }

// serverConn is the connection, or after End one that can do nothing: an application that kept its
// Environ gets an error.
func (e *Environ) serverConn() Conn {
	if e.conn == nil {
		return NoConn{}
	}
	return e.conn
}

// BytesOf returns the content of a Body that Bytes or Text has made, all of it, while nothing of
// it was taken; ok is false for any other Body. A server may send it without calling Next, and its
// Close does nothing.
func BytesOf(body Body) (content []byte, ok bool) {
	if c, is := body.(*chunk); is && !c.used {
		return c.b, true
	}
	return nil, false
}

// Refusal is an answer of the server to a request that reached no application: a malformed head,
// a limit, a timeout, a lack of room. Its texts are copies, and may be kept.
type Refusal struct {
	Remote netip.AddrPort // zero on a Unix socket
	Line   string         // the request line, up to 8 KiB, as far as it came; unchecked input of the client
	Status int
	Bytes  int64  // of content that was sent
	Why    string // for an operator
}

// RefusalLogger is an App that also logs requests which reach no application. A server asks the
// outermost App: middleware.AccessLog and CombinedLog are one, where they stand first in a Stack.
type RefusalLogger interface {
	App

	// LogRefusal is called by one goroutine at a time, which may wait; it is no event loop.
	LogRefusal(r Refusal)
}
