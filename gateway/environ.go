package gateway

import (
	"bytes"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/isbjorn/isbjorn/parser"
)

// Environ is one request as the application sees it: typed accessors, and the
// CGI and WSGI keys by Get, Set, Delete and All. See the package comment for how
// long its values live.
//
// Two kinds of fields do not show, in any view: those with "_" in their name,
// which CGI names cannot tell from "-", unless the server keeps them; and Proxy,
// which CGI programs would take for the variable HTTP_PROXY.
type Environ struct {
	loan
	host *Host

	input   Input
	chunks  chunkList // the pooled Body of Chunks
	scratch []byte    // decoded paths and joined values

	ending ending
	lease  *lease // of Debug and Validate; nil for the server's own
}

// loan is what an Environ has of one request. The zero value is nothing.
type loan struct {
	req  *parser.Request
	head []byte // what req's spans point into
	conn Conn

	chunk chunk // the pooled Body of Bytes and Text
	lent  bool  // chunk was handed out, or chunks

	overlay map[string]any // what Set and Delete did; nil if nothing
	path    string         // decoded PATH_INFO, once it was asked for
	decoded bool
}

// Host is what a server says of itself, the same for every request. It does not
// change while there are requests.
type Host struct {
	Scheme      string         // wsgi.url_scheme
	Software    string         // SERVER_SOFTWARE; "" hides it
	Multithread bool           // Serve may run on several goroutines at once
	Log         *slog.Logger   // takes what is written to Errors
	Extra       map[string]any // the deployer's pairs, see CheckExtra

	// UnderscorePolicy shows fields with "_" in their names. Otherwise Hidden, if it is
	// not nil, is told of each such field that is met in a look-up or a listing, for
	// the server's log. name is a view; it may be called from several goroutines.
	Underscores bool
	Hidden      func(name string)

	// Stopping is what Environ.Stopping returns: closed when the server begins to stop; nil
	// if it does not say so.
	Stopping <-chan struct{}

	// TempFile is what Environ.TempFile returns; nil makes files that are counted nowhere.
	// It may be called from several goroutines.
	TempFile func(dir string) (TempFile, error)
}

// Conn is what the Environ asks of the connection that a request came on. The
// addresses are zero on Unix sockets.
type Conn interface {
	RemoteAddr() netip.AddrPort
	LocalAddr() netip.AddrPort
}

// Begin binds e to a request. For servers, and for tests of applications. All
// that is passed is lent to the application until End.
func (e *Environ) Begin(req *parser.Request, head, content []byte, host *Host, conn Conn) {
	e.req, e.head, e.host, e.conn = req, head, host, conn
	e.input.b = content
}

// ContentFrom makes size bytes of file the content, in place of what Begin was
// given. For servers; file must be readable until End.
func (e *Environ) ContentFrom(file io.ReaderAt, size int64) {
	e.input = Input{file: file, rest: size}
}

// ContentStream makes what src gives the content, after what Begin was given: length
// bytes, or all until io.EOF if length is -1. For servers. src.Read waits for at
// least one byte, or returns an error. io.EOF before length bytes have come is none
// but io.ErrUnexpectedEOF to the application. src is not read again after an error,
// after length bytes, or after End.
func (e *Environ) ContentStream(src io.Reader, length int64) {
	e.input = Input{b: slices.Clip(e.input.b), src: src, rest: max(length, unknown)} // what is behind b is not ours to fill
}

// End takes everything back and cancels Context. For servers, when nobody else is
// in a call of e.
func (e *Environ) End() {
	if e.ending.cancel != nil || e.ending.cause != nil {
		e.ending.end()
	}
	e.input.finish()
	e.chunks.finish()
	if e.scratch = e.scratch[:0]; cap(e.scratch) > scratchBytesMax {
		e.scratch = nil
	}
	e.loan = loan{}
}

// scratchBytesMax is what a pooled Environ keeps for decoded text: a request
// needs it for long paths only.
const scratchBytesMax = 4 << 10

func (e *Environ) text(s parser.Span) string { return textOf(s.Of(e.head)) }

// Method is the request method, case-sensitive (REQUEST_METHOD).
func (e *Environ) Method() string {
	if s, ok := e.setText("REQUEST_METHOD"); ok {
		return s
	}
	return e.text(e.req.Method)
}

// Target is the request target as it was sent (REQUEST_URI).
func (e *Environ) Target() string {
	if s, ok := e.setText("REQUEST_URI"); ok {
		return s
	}
	return e.text(e.req.Target)
}

// RequestLine is the method and the target as the client sent them, whatever was
// Set since. For servers; between Begin and End also from other goroutines.
func (e *Environ) RequestLine() (method, target string) {
	return e.text(e.req.Method), e.text(e.req.Target)
}

// Path is the path of the target, percent-decoded (PATH_INFO). A "%" that does
// not begin a valid triplet stays as it is. "/" for an absolute-form without a
// path and for "OPTIONS *".
func (e *Environ) Path() string {
	if s, ok := e.setText("PATH_INFO"); ok {
		return s
	}
	if !e.decoded {
		e.decoded = true
		raw := e.req.Path.Of(e.head)
		switch {
		case len(raw) == 0 || raw[0] != '/':
			e.path = "/"
		case bytes.IndexByte(raw, '%') < 0:
			e.path = textOf(raw)
		default:
			e.path = e.keep(func(dst []byte) []byte { return appendDecoded(dst, raw) })
		}
	}
	return e.path
}

// RawPathKey is the key of what RawPath returns where a part of the path has moved from
// PATH_INFO to SCRIPT_NAME. A middleware that moves one sets it together with these two.
const RawPathKey = "isbjorn.raw_path"

// RawPath is Path as it was sent, not decoded: "a%2Fb" is one segment there, and two in
// Path. ok is false if that is not known: PATH_INFO was Set, and not RawPathKey to what it
// decodes from.
func (e *Environ) RawPath() (raw string, ok bool) {
	raw, moved := e.setText(RawPathKey)
	if !moved {
		if raw = e.text(e.req.Path); raw == "" || raw[0] != '/' {
			raw = "/" // as Path
		}
		if e.overlay == nil {
			return raw, true
		}
	}
	if strings.IndexByte(raw, '%') < 0 {
		return raw, raw == e.Path()
	}
	return raw, string(appendDecoded(nil, bytesOf(raw))) == e.Path()
}

// keep returns what f appends, as a string that lives as long as the request.
func (e *Environ) keep(f func(dst []byte) []byte) string {
	n := len(e.scratch)
	e.scratch = f(e.scratch) // older strings keep the old array if it moves
	if e.lease != nil {
		e.lease.own(e.scratch[:cap(e.scratch)])
	}
	return textOf(e.scratch[n:])
}

// appendDecoded appends s with its percent triplets decoded, RFC 3986 section 2.1.
func appendDecoded(dst, s []byte) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if hi, lo := unhex(s[i+1]), unhex(s[i+2]); hi >= 0 && lo >= 0 {
				dst = append(dst, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		dst = append(dst, s[i])
	}
	return dst
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// ScriptName is the part of the path that led to the application (SCRIPT_NAME);
// empty unless a middleware set it.
func (e *Environ) ScriptName() string {
	s, _ := e.setText("SCRIPT_NAME")
	return s
}

// Query is the query of the target, not decoded, without "?" (QUERY_STRING).
func (e *Environ) Query() string {
	if s, ok := e.setText("QUERY_STRING"); ok {
		return s
	}
	return e.text(e.req.Query)
}

// Protocol is the client's version: "HTTP/1.1" or "HTTP/1.0" (SERVER_PROTOCOL).
// Later minor versions are served as 1.1.
func (e *Environ) Protocol() string {
	if s, ok := e.setText("SERVER_PROTOCOL"); ok {
		return s
	}
	if e.req.Minor == 0 {
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

// Scheme is "http", or what a middleware found out (wsgi.url_scheme).
func (e *Environ) Scheme() string {
	if s, ok := e.setText("wsgi.url_scheme"); ok {
		return s
	}
	return e.host.Scheme
}

// Host is who was asked: the authority of the target, else the Host field. May
// be empty.
func (e *Environ) Host() string {
	if s, ok := e.setText("HTTP_HOST"); ok {
		return s
	}
	return e.text(e.req.Authority)
}

// authority is Host of the request; ok is false if the request does not say it.
func (e *Environ) authority() (host string, ok bool) {
	if e.req.Authority.Len == 0 {
		_, ok = e.req.Known(parser.Host)
		return "", ok
	}
	return e.text(e.req.Authority), true
}

// RemoteAddr is the peer's address, or the one that a middleware has found out
// (REMOTE_ADDR, REMOTE_PORT); the zero AddrPort on a Unix socket.
func (e *Environ) RemoteAddr() netip.AddrPort {
	return e.setAddr(e.conn.RemoteAddr(), "REMOTE_ADDR", "REMOTE_PORT")
}

// LocalAddr is the address that the peer connected to, or the one that a middleware has
// Set (SERVER_ADDR, SERVER_PORT); the zero AddrPort on a Unix socket. A SERVER_PORT that
// nobody has Set is the port that the client asked for, which may be another.
func (e *Environ) LocalAddr() netip.AddrPort {
	return e.setAddr(e.conn.LocalAddr(), "SERVER_ADDR", "SERVER_PORT")
}

// setAddr is ap with those of its parts replaced that were Set.
func (e *Environ) setAddr(ap netip.AddrPort, addrKey, portKey string) netip.AddrPort {
	if s, ok := e.setText(addrKey); ok {
		addr, _ := netip.ParseAddr(s)
		ap = netip.AddrPortFrom(addr, ap.Port())
	}
	if s, ok := e.setText(portKey); ok {
		port, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			port = 0
		}
		ap = netip.AddrPortFrom(ap.Addr(), uint16(port))
	}
	return ap
}

// Input is the request's content (wsgi.input).
func (e *Environ) Input() *Input { return &e.input }

// Errors takes text for the server's log (wsgi.errors). It is logged with the
// request's method and target.
func (e *Environ) Errors() ErrorStream { return errorLog{e} }

// ErrorStream is where an application reports errors. Flush returns when all that
// was written is where the server keeps it.
type ErrorStream interface {
	io.Writer
	Flush() error
}

type errorLog struct{ e *Environ }

func (w errorLog) Write(p []byte) (int, error) {
	w.e.host.Log.Error(string(bytes.TrimRight(p, "\n")), slog.String("method", strings.Clone(w.e.Method())), slog.String("target", strings.Clone(w.e.Target()))) // a handler may keep them
	return len(p), nil
}

// String is for those who print an environ.
func (errorLog) String() string { return "the server's log" }

// Flush does nothing: every Write is a line of the log.
func (errorLog) Flush() error { return nil }

// Clone returns a copy that lives as long as anybody holds it, with all of the
// content that is left, in memory: it waits for content that has not come. Its Context goes on when the request has ended.
func (e *Environ) Clone() *Environ {
	e.check()
	req := *e.req
	c := &Environ{
		loan:  loan{req: &req, head: bytes.Clone(e.head), conn: addresses{e.conn.RemoteAddr(), e.conn.LocalAddr()}},
		host:  e.host,
		input: e.input.clone(),
	}
	for k, v := range e.overlay {
		switch text := v.(type) { // either may be a view
		case string:
			v = strings.Clone(text)
		case []byte:
			v = bytes.Clone(text)
		}
		c.Set(strings.Clone(k), v)
	}
	return c
}

// addresses is a Conn that has ended.
type addresses struct{ remote, local netip.AddrPort }

func (a addresses) RemoteAddr() netip.AddrPort { return a.remote }

func (a addresses) LocalAddr() netip.AddrPort { return a.local }
