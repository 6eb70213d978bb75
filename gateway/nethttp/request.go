package nethttp

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"strings"
	"sync"

	"github.com/isbjorn/isbjorn/gateway"
)

// requestCopy collects the parts of a head that an http.Request keeps: text becomes one string, of which all of
// its strings are parts.
type requestCopy struct {
	text  []byte
	lines []fieldLine
}

// fieldLine is a field line in text.
type fieldLine struct {
	key        string // canonical; "" for a name that is in text, before the value
	value, end int    // offsets of the value in text
}

// copyBytesMax is the largest array of text that is reused.
const copyBytesMax = 16 << 10

var requestCopies = sync.Pool{New: func() any { return new(requestCopy) }}

// add appends s, and returns the offset of its end.
func (d *requestCopy) add(s string) (end int) {
	d.text = append(d.text, s...)
	return len(d.text)
}

// release gives d back to its pool.
func (d *requestCopy) release() {
	if cap(d.text) <= copyBytesMax {
		clear(d.lines) // their keys may be parts of the string of this request
		d.text, d.lines = d.text[:0], d.lines[:0]
		requestCopies.Put(d)
	}
}

// readRequest fills the request from env, as net/http's server does, with copies.
func (x *exchange) readRequest(env *gateway.Environ) error {
	d := requestCopies.Get().(*requestCopy)
	defer d.release()
	method := d.add(env.Method())
	target := d.add(env.Target())
	host := d.add(env.Host())
	d.text = appendAddr(d.text, env.RemoteAddr())
	addr := len(d.text)
	amended := false
	for name, value := range env.Headers() {
		known := lookupName(name)
		if known.special {
			amended = true
		} else if known.key == "" {
			d.add(name)
		} else if known.key == "Host" {
			continue
		}
		at := len(d.text)
		d.lines = append(d.lines, fieldLine{known.key, at, d.add(value)})
	}

	text := string(d.text)
	r := &x.request
	r.Method, r.RequestURI = text[:method], text[method:target]
	r.Host, r.RemoteAddr = text[target:host], text[host:addr]
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	if env.Protocol() == "HTTP/1.0" {
		r.Proto, r.ProtoMinor, r.Close = "HTTP/1.0", 0, true
	}
	if env.Scheme() == "https" {
		if r.TLS, _ = env.Get(tlsKey).(*tls.ConnectionState); r.TLS != nil && env.Protocol() == "HTTP/2.0" {
			r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
		}
	}
	r.Header = x.header(text, addr, d.lines)
	r.Body, r.ContentLength = http.NoBody, int64(env.Input().Len())
	if amended {
		adjustFields(r)
	}
	if r.ContentLength != 0 {
		r.Body = &x.body
	}
	r.URL = &x.url
	if err := parseTarget(r.URL, r.RequestURI); err != nil {
		return err
	}
	if env.ScriptName() != "" { // a middleware has mounted the handler below a prefix
		r.URL.Path, r.URL.RawPath = strings.Clone(env.Path()), ""
		if raw, ok := env.RawPath(); ok && raw != r.URL.EscapedPath() { // as http.StripPrefix does
			r.URL.RawPath = strings.Clone(raw)
		}
	}
	return nil
}

// header is the map of the lines, of which the first begins at text[at:].
func (x *exchange) header(text string, at int, lines []fieldLine) http.Header {
	h := make(http.Header, len(lines))
	values := x.values[:]
	if len(lines) > len(values) {
		values = make([]string, len(lines))
	}
	for i := range lines {
		l := &lines[i]
		if l.key == "" {
			l.key = http.CanonicalHeaderKey(text[at:l.value])
		}
		values[i] = text[l.value:l.end]
		at = l.end
		h[l.key] = values[i : i+1 : i+1]
	}
	if len(h) < len(lines) { // a field came more than once
		clear(h)
		for i, l := range lines {
			h[l.key] = append(h[l.key], values[i])
		}
	}
	return h
}

// appendAddr appends RemoteAddr; "@" for a Unix socket, as net/http does.
func appendAddr(b []byte, addr netip.AddrPort) []byte {
	if !addr.IsValid() {
		return append(b, '@')
	}
	return addr.AppendTo(b)
}

// plainPathByte has the bytes that are the same in a path and in its percent-encoding.
var plainPathByte = func() (t [256]bool) {
	for c := range t {
		u := url.URL{Path: "/" + string([]byte{byte(c)})}
		t[c] = c != '%' && u.EscapedPath() == u.Path
	}
	return t
}()

// parseTarget is url.ParseRequestURI, without an allocation for most targets.
func parseTarget(u *url.URL, target string) error {
	end := 0
	for end < len(target) && plainPathByte[target[end]] {
		end++
	}
	path, query := target[:end], target[end:]
	if end > 0 && path[0] == '/' && (query == "" || query[0] == '?' && !hasControl(query)) {
		u.Path, u.ForceQuery = path, query == "?"
		if query != "" {
			u.RawQuery = query[1:]
		}
		return nil
	}
	parsed, err := url.ParseRequestURI(target)
	if err == nil {
		*u = *parsed
	}
	return err
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// adjustFields does for some fields what net/http does: it moves Transfer-Encoding and Trailer from the header to
// fields of Request, sets Close, and adds Cache-Control for Pragma.
func adjustFields(r *http.Request) {
	if r.Header["Transfer-Encoding"] != nil { // the server accepts no other than chunked
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
	if connection := r.Header["Connection"]; connection != nil {
		r.Close = hasToken(connection, "close") || r.ProtoMinor == 0 && !hasToken(connection, "keep-alive")
	}
}

// hasToken reports whether the values of a list field have a token. RFC 9110 section 5.6.1.
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
