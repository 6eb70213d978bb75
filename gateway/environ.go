package gateway

import (
	"bytes"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/isbjorn/isbjorn/parser"
)

// Environ is one request as the application sees it: typed accessors, and the CGI and WSGI keys by
// Get, Set, Delete and All. See the package comment for how long its values are valid.
//
// Two kinds of fields are hidden in every view: those with "_" in their name, which CGI names cannot
// tell from "-", unless an option of the server shows them; and Proxy, which CGI programs would take
// for the variable HTTP_PROXY (httpoxy).
type Environ struct {
	requestView
	info *ServerInfo

	input   Input
	scratch []byte // decoded paths and joined values; reused up to scratchBytesMax

	ctx   requestContext
	guard *guard // of Debug or Validate; nil in the server's own Environ
}

// requestView is the part of an Environ that End resets: views of the request, and what depends on
// them.
type requestView struct {
	req  *parser.Request
	head []byte // what req's spans point into
	conn Conn

	chunk     chunk // the Body of Bytes and Text
	bodyTaken bool  // the application has chunk

	overlay     map[string]any // keys of Set and Delete; nil if there are none
	path        string         // decoded, from the first call of Path on
	pathDecoded bool
}

func (e *Environ) text(s parser.Span) string { return textOf(s.Of(e.head)) }

// Method is the request method, case-sensitive (REQUEST_METHOD).
func (e *Environ) Method() string {
	if s, ok := e.overlaidText("REQUEST_METHOD"); ok {
		return s
	}
	return e.text(e.req.Method)
}

// Target is the request target as it was sent (REQUEST_URI).
func (e *Environ) Target() string {
	if s, ok := e.overlaidText("REQUEST_URI"); ok {
		return s
	}
	return e.text(e.req.Target)
}

// RequestLine is the method and the target as the client sent them, whatever was Set since: for
// logs. It may be called from any goroutine until the response is finished.
func (e *Environ) RequestLine() (method, target string) {
	return e.text(e.req.Method), e.text(e.req.Target)
}

// Path is the path of the target, percent-decoded (PATH_INFO). A "%" that does not begin a valid
// triplet stays as it is. It is "/" for an absolute-form without a path and for "OPTIONS *".
func (e *Environ) Path() string {
	if s, ok := e.overlaidText("PATH_INFO"); ok {
		return s
	}
	if !e.pathDecoded {
		e.pathDecoded = true
		raw := e.req.Path.Of(e.head)
		switch {
		case len(raw) == 0 || raw[0] != '/':
			e.path = "/"
		case bytes.IndexByte(raw, '%') < 0:
			e.path = textOf(raw)
		default: // the only case that copies
			e.path = e.scratchText(func(dst []byte) []byte { return appendDecoded(dst, raw) })
		}
	}
	return e.path
}

// RawPathKey is the key of RawPath where a part of the path has moved from PATH_INFO to SCRIPT_NAME.
// A middleware that moves one sets all three.
const RawPathKey = "isbjorn.raw_path"

// RawPath is Path as it was sent, not decoded: "a%2Fb" is one segment in it, and two in Path. ok is
// false if it is not known: PATH_INFO was Set, and RawPathKey was not Set to text that decodes to it.
func (e *Environ) RawPath() (raw string, ok bool) {
	raw, moved := e.overlaidText(RawPathKey)
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

// scratchText returns what f appends as a string that is valid as long as the request.
func (e *Environ) scratchText(f func(dst []byte) []byte) string {
	n := len(e.scratch)
	e.scratch = f(e.scratch) // if the array moves, older strings still point into the old one
	if e.guard != nil {
		e.guard.track(e.scratch[:cap(e.scratch)])
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

// ScriptName is the part of the path that led to the application (SCRIPT_NAME); empty unless a
// middleware such as Mount has Set it.
func (e *Environ) ScriptName() string {
	s, _ := e.overlaidText("SCRIPT_NAME")
	return s
}

// Query is the query of the target, not decoded, without "?" (QUERY_STRING).
func (e *Environ) Query() string {
	if s, ok := e.overlaidText("QUERY_STRING"); ok {
		return s
	}
	return e.text(e.req.Query)
}

// Protocol is the version that the client sent, "HTTP/1.1" or "HTTP/1.0" (SERVER_PROTOCOL); 1.1 also
// for later minor versions (RFC 9110 section 6.2). It is "HTTP/2.0" for a request by HTTP/2.
func (e *Environ) Protocol() string {
	if s, ok := e.overlaidText("SERVER_PROTOCOL"); ok {
		return s
	}
	if e.req.Minor == 0 {
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

// Scheme is "http", or what a middleware has Set, such as TrustedProxies behind a proxy that ends TLS
// (wsgi.url_scheme).
func (e *Environ) Scheme() string {
	if s, ok := e.overlaidText("wsgi.url_scheme"); ok {
		return s
	}
	return e.info.Scheme
}

// Host is the host that the client asked for: the authority of the target, else the Host field
// (RFC 9112 section 3.2.2). It may be empty.
func (e *Environ) Host() string {
	if s, ok := e.overlaidText("HTTP_HOST"); ok {
		return s
	}
	return e.text(e.req.Authority)
}

// authority is Host of the request itself; ok is false if it has neither an authority nor the field.
func (e *Environ) authority() (host string, ok bool) {
	if e.req.Authority.Len == 0 {
		_, ok = e.req.Known(parser.Host)
		return "", ok
	}
	return e.text(e.req.Authority), true
}

// RemoteAddr is the address of the peer, or the one that a middleware has Set, such as that of the
// client behind a proxy (REMOTE_ADDR, REMOTE_PORT); the zero AddrPort on a Unix socket.
func (e *Environ) RemoteAddr() netip.AddrPort {
	return e.overlaidAddr(e.conn.RemoteAddr(), "REMOTE_ADDR", "REMOTE_PORT")
}

// LocalAddr is the address that the peer connected to, or the one that a middleware has Set
// (SERVER_ADDR, SERVER_PORT); the zero AddrPort on a Unix socket. Unless it was Set, SERVER_PORT is
// the port of Host, which may be another.
func (e *Environ) LocalAddr() netip.AddrPort {
	return e.overlaidAddr(e.conn.LocalAddr(), "SERVER_ADDR", "SERVER_PORT")
}

// overlaidAddr is ap with the parts replaced that were Set.
func (e *Environ) overlaidAddr(ap netip.AddrPort, addrKey, portKey string) netip.AddrPort {
	if s, ok := e.overlaidText(addrKey); ok {
		addr, _ := netip.ParseAddr(s)
		ap = netip.AddrPortFrom(addr, ap.Port())
	}
	if s, ok := e.overlaidText(portKey); ok {
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

// Errors is a writer to the server's log (wsgi.errors): each Write is one line, with the method and
// the target of the request. It also has PEP 3333's flush, a method Flush() error.
func (e *Environ) Errors() io.Writer { return errorLog{e} }

type errorLog struct{ e *Environ }

func (w errorLog) Write(p []byte) (int, error) {
	// Clones: a slog.Handler may keep the record beyond the request.
	method, target := strings.Clone(w.e.Method()), strings.Clone(w.e.Target())
	w.e.info.Log.Error(string(bytes.TrimRight(p, "\n")), slog.String("method", method), slog.String("target", target))
	return len(p), nil
}

// String is for environs that are printed.
func (errorLog) String() string { return "the server's log" }

// Flush does nothing: every Write is a line of the log.
func (errorLog) Flush() error { return nil }

// Clone returns a copy that may be kept. It has the unread content in memory, and waits for what has
// not come. Its Context is not that of the request, and is never cancelled; what needs the connection,
// such as Inform and Hijack, returns errors.ErrUnsupported.
func (e *Environ) Clone() *Environ {
	e.check()
	req := *e.req
	c := &Environ{info: e.info, input: e.input.clone()}
	c.req, c.head = &req, bytes.Clone(e.head)
	c.conn = addresses{remote: e.conn.RemoteAddr(), local: e.conn.LocalAddr(), keys: connKeys(e.conn)}
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

// addresses is the Conn of a Clone.
type addresses struct {
	NoConn
	remote, local netip.AddrPort
	keys          map[string]any
}

// connKeys is what Key of c gives, for a Clone; nil if it gives nothing.
func connKeys(c Conn) (keys map[string]any) {
	for _, key := range c.Keys() {
		if v := c.Key(key); v != nil {
			if keys == nil {
				keys = make(map[string]any)
			}
			keys[key] = v
		}
	}
	return keys
}

func (a addresses) Key(key string) any { return a.keys[key] }
func (a addresses) Keys() []string     { return slices.Sorted(maps.Keys(a.keys)) }

func (a addresses) RemoteAddr() netip.AddrPort { return a.remote }
func (a addresses) LocalAddr() netip.AddrPort  { return a.local }
