package gateway

import (
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/isbjorn/isbjorn/internal/field"
)

// overlaid looks a key up among those of Set and Delete.
func (e *Environ) overlaid(key string) (v any, ok bool) {
	if e.overlay == nil { // most requests
		return nil, false
	}
	e.check() // an expired guard leaves an empty overlay, so that each accessor comes here
	v, ok = e.overlay[key]
	return v, ok
}

// overlaidText is overlaid for keys whose value is a string; a value of another type reads as "".
func (e *Environ) overlaidText(key string) (s string, ok bool) {
	v, ok := e.overlaid(key)
	s, _ = v.(string)
	return s, ok
}

// The keys of the CGI and WSGI view, in the order of All, which yields the fields of the request
// between the two groups.
var (
	cgiKeys = []string{
		"REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REQUEST_URI", "RAW_URI",
		"CONTENT_TYPE", "CONTENT_LENGTH", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "SERVER_SOFTWARE",
		"REMOTE_ADDR", "REMOTE_PORT",
	}
	wsgiKeys = []string{
		"wsgi.version", "wsgi.url_scheme", "wsgi.input", "wsgi.errors", "wsgi.multithread",
		"wsgi.multiprocess", "wsgi.run_once", "wsgi.input_terminated", "wsgi.file_wrapper", "isbjorn.context",
	}
)

// Get returns the value of a CGI or WSGI key, of one that the deployer added (the option Environ of
// package server), or of one that was Set; nil if there is none. CGI values are strings, views as
// those of the accessors. The others are
//
//	wsgi.version           [2]int{1, 0}
//	wsgi.url_scheme        string, Scheme
//	wsgi.input             *Input
//	wsgi.errors            io.Writer with a method Flush() error, Errors
//	wsgi.multithread       bool
//	wsgi.multiprocess      bool, false: one process serves
//	wsgi.run_once          bool, false
//	wsgi.input_terminated  bool, true: the input ends with the content
//	wsgi.file_wrapper      func(*os.File) Body, File
//	isbjorn.context        context.Context, Context
//
// A request over TLS has these too, by the names of Apache's mod_ssl; all are strings.
//
//	HTTPS              on
//	SSL_PROTOCOL       TLSv1.2 or TLSv1.3
//	SSL_CIPHER         TLS_AES_128_GCM_SHA256, for example: the name in IANA's list
//	SSL_TLS_SNI        the name that the client asked for; absent if it asked for none
//	SSL_CLIENT_VERIFY  SUCCESS, or NONE without a certificate of the client
//	SSL_CLIENT_S_DN    the subject of that certificate, RFC 2253
//	SSL_CLIENT_CERT    that certificate, PEM; made when asked for
func (e *Environ) Get(key string) any {
	if v, ok := e.overlaid(key); ok {
		if v == (deleted{}) {
			return nil
		}
		return v
	}
	return e.original(key)
}

// original is Get without what was Set or deleted: the value from the request or the server.
func (e *Environ) original(key string) any {
	switch key {
	case "REQUEST_METHOD":
		return e.Method()
	case "SCRIPT_NAME":
		return e.ScriptName()
	case "PATH_INFO":
		return e.Path()
	case "QUERY_STRING":
		return e.Query()
	case "REQUEST_URI", "RAW_URI":
		return e.text(e.req.Target)
	case "CONTENT_TYPE":
		return valueOrNil(e.header("content-type"))
	case "CONTENT_LENGTH":
		return valueOrNil(e.header("content-length"))
	case "SERVER_NAME":
		name, _ := e.serverNamePort()
		return name
	case "SERVER_PORT":
		_, port := e.serverNamePort()
		return port
	case "SERVER_PROTOCOL":
		return e.Protocol()
	case "SERVER_SOFTWARE":
		return valueOrNil(e.info.Software, e.info.Software != "")
	case "REMOTE_ADDR":
		remote := e.conn.RemoteAddr()
		return valueOrNil(remote.Addr().String(), remote.IsValid())
	case "REMOTE_PORT":
		remote := e.conn.RemoteAddr()
		return valueOrNil(strconv.Itoa(int(remote.Port())), remote.IsValid())
	case "wsgi.version":
		return [2]int{1, 0}
	case "wsgi.url_scheme":
		return e.Scheme()
	case "wsgi.input":
		return e.Input()
	case "wsgi.errors":
		return e.Errors()
	case "wsgi.multithread":
		return e.info.Multithread
	case "wsgi.multiprocess", "wsgi.run_once":
		return false
	case "wsgi.input_terminated":
		return true
	case "wsgi.file_wrapper":
		return File
	case "isbjorn.context":
		return e.Context()
	case "HTTP_HOST":
		return valueOrNil(e.authority())
	}
	if name, ok := strings.CutPrefix(key, "HTTP_"); ok && name != "CONTENT_TYPE" && name != "CONTENT_LENGTH" {
		return valueOrNil(e.join(func(field []byte) bool { return sameCGIName(field, name) }, name == "COOKIE"))
	}
	if v := e.serverConn().Key(key); v != nil {
		return v
	}
	return e.info.Extra[key]
}

// valueOrNil is s as a value of Get, or nil if there is none.
func valueOrNil(s string, ok bool) any {
	if !ok {
		return nil
	}
	return s
}

// serverNamePort is SERVER_NAME and SERVER_PORT: from the Host that the client asked for, else the
// address that it connected to, else "localhost" and the port of the scheme.
func (e *Environ) serverNamePort() (name, port string) {
	host := e.Host()
	if i := strings.LastIndexByte(host, ':'); i >= 0 && i > strings.LastIndexByte(host, ']') { // not one inside "[::1]"
		host, port = host[:i], host[i+1:]
	}
	switch {
	case host != "":
		name = host
	default:
		name = "localhost"
		if local := e.conn.LocalAddr(); local.IsValid() {
			name, port = local.Addr().String(), strconv.Itoa(int(local.Port()))
			if local.Addr().Is6() {
				name = "[" + name + "]" // as in a URI, RFC 3875 section 4.1.14
			}
		}
	}
	if port == "" {
		port = "80"
		if e.Scheme() == "https" {
			port = "443"
		}
	}
	return name, port
}

// ServerName is SERVER_NAME and SERVER_PORT: from the Host that the client asked for, else the address that it
// connected to, else "localhost" and the port of the scheme; or what was Set. Neither is empty.
func (e *Environ) ServerName() (name, port string) {
	name, port = e.serverNamePort()
	if s, ok := e.overlaidText("SERVER_NAME"); ok {
		name = s
	}
	if s, ok := e.overlaidText("SERVER_PORT"); ok {
		port = s
	}
	return name, port
}

// Extra yields the keys that have no accessor of their own: those of the connection (TLS), those that the deployer
// added, and those that were Set, sorted within each group; a later pair of the same key counts. A key that was
// deleted comes with nil.
func (e *Environ) Extra() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		e.check()
		conn := e.serverConn()
		for _, key := range conn.Keys() {
			if v := conn.Key(key); v != nil && !yield(key, v) {
				return
			}
		}
		if len(e.info.Extra) > 0 {
			for _, key := range slices.Sorted(maps.Keys(e.info.Extra)) {
				if !yield(key, e.info.Extra[key]) {
					return
				}
			}
		}
		if e.overlay != nil {
			for _, key := range slices.Sorted(maps.Keys(e.overlay)) {
				v := e.overlay[key]
				if v == (deleted{}) {
					v = nil
				}
				if !yield(key, v) {
					return
				}
			}
		}
	}
}

// deleted is the value of a key that Delete removed.
type deleted struct{}

// Set sets a key, for the application and what it wraps. The accessors return the new value too:
// Set("PATH_INFO", ...) changes Path, Set("HTTP_ACCEPT", ...) Header and Headers.
func (e *Environ) Set(key string, value any) {
	e.check()
	if e.overlay == nil {
		e.overlay = make(map[string]any)
	}
	e.overlay[key] = value
}

// Delete removes a key.
func (e *Environ) Delete(key string) { e.Set(key, deleted{}) }

// All yields every key with its value: CGI keys, the request's fields as HTTP_* in the order they
// came, WSGI keys, those of TLS, the deployer's keys, then the other keys that were Set, both sorted.
func (e *Environ) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		seen := make(map[string]bool)
		emit := func(key string) bool {
			if seen[key] {
				return true
			}
			seen[key] = true
			v := e.Get(key)
			return v == nil || yield(key, v)
		}
		for _, key := range cgiKeys {
			if !emit(key) {
				return
			}
		}
		for _, f := range e.req.Fields() {
			name := textOf(f.Name.Of(e.head))
			if e.hidden(f.Name.Of(e.head)) {
				continue
			}
			if !field.Is(name, "content-type") && !field.Is(name, "content-length") && !emit(cgiName(name)) {
				return
			}
		}
		keys := append([]string{"HTTP_HOST"}, wsgiKeys...) // an absolute-form target has a host without a field
		keys = append(keys, e.serverConn().Keys()...)
		keys = append(keys, slices.Sorted(maps.Keys(e.info.Extra))...)
		keys = append(keys, slices.Sorted(maps.Keys(e.overlay))...)
		for _, key := range keys {
			if !emit(key) {
				return
			}
		}
	}
}

// cgiName is the key of a field: HTTP_USER_AGENT for User-Agent.
func cgiName(name string) string {
	switch {
	case field.Is(name, "content-type"):
		return "CONTENT_TYPE"
	case field.Is(name, "content-length"):
		return "CONTENT_LENGTH"
	}
	return "HTTP_" + strings.ReplaceAll(strings.ToUpper(name), "-", "_")
}

// sameCGIName reports whether field is the name of key, which is without its HTTP_: User-Agent is
// that of USER_AGENT.
func sameCGIName(field []byte, key string) bool {
	if len(field) != len(key) {
		return false
	}
	for i, c := range field {
		switch {
		case 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		case c == '-':
			c = '_'
		}
		if c != key[i] {
			return false
		}
	}
	return true
}
