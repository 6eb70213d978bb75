// Package field checks the fields of a response, and classifies them by what they mean to the
// server that sends them.
package field

import (
	"fmt"
	"strings"
)

// Kind is what a response field means to the server.
type Kind uint8

const (
	Plain         Kind = iota // sent as it is
	ContentLength             // declares the length of the content
	Date                      // replaces the server's own; with an empty value none is sent
	ServerName                // "Server": as Date
	Connection                // the application may say "close", and nothing else
	Trailer                   // names the trailer fields: the response is chunked where the client can take that
	Forbidden                 // hop-by-hop, or "Status": only the server sends it
)

// KindOf classifies a field name, in any case.
func KindOf(name string) Kind {
	if len(name) == 0 {
		return Plain
	}
	switch name[0] | 0x20 {
	case 'c':
		if Is(name, "content-length") {
			return ContentLength
		}
		if Is(name, "connection") {
			return Connection
		}
	case 'd':
		if Is(name, "date") {
			return Date
		}
	case 's':
		if Is(name, "server") {
			return ServerName
		}
		if Is(name, "status") { // the name of CGI's status line, RFC 3875 section 6.3.3
			return Forbidden
		}
	case 'k':
		if Is(name, "keep-alive") {
			return Forbidden
		}
	case 'p':
		if len(name) >= 6 && Is(name[:6], "proxy-") {
			return Forbidden
		}
	case 't':
		if Is(name, "trailer") {
			return Trailer
		}
		if Is(name, "te") || Is(name, "transfer-encoding") {
			return Forbidden
		}
	case 'u':
		if Is(name, "upgrade") {
			return Forbidden
		}
	}
	return Plain
}

// Is reports whether name is lower, which is in lower case, ignoring the case of name.
func Is(name, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// Check checks a field of a response and classifies it. The errors quote name and value, so a
// value with a line end cannot forge a line of a log.
func Check(name, value string) (Kind, error) {
	if len(name) == 0 {
		return Plain, fmt.Errorf("gateway: a header with the value %q has no name", value)
	}
	for i := range len(name) {
		if !tokenByte[name[i]] {
			return Plain, fmt.Errorf("gateway: header name %q is not a token (RFC 9110 section 5.1)", name)
		}
	}
	if !ValidValue(value) {
		return Plain, fmt.Errorf("gateway: the value of header %s has a control character: %q", name, value)
	}
	kind := KindOf(name)
	switch kind {
	case Forbidden:
		return kind, fmt.Errorf("gateway: header %s is the server's to send, not the application's", name)
	case Connection:
		if !Is(value, "close") {
			return kind, fmt.Errorf("gateway: header Connection: %q; the application may only say \"close\"", value)
		}
	}
	return kind, nil
}

// CheckTrailer checks a trailer field of a response: as Check does, and it is no field that a client needs before the
// content.
func CheckTrailer(name, value string) error {
	if _, err := Check(name, value); err != nil {
		return err
	}
	if lower := strings.ToLower(name); notAfterContent[lower] || strings.HasPrefix(lower, "if-") {
		return fmt.Errorf("gateway: header %s has no meaning after the content; pass it to start", name)
	}
	return nil
}

// notAfterContent has the fields that cannot be trailers, besides those that only the server
// sends: RFC 9110 section 6.5.1.
var notAfterContent = map[string]bool{
	// framing and routing
	"content-length": true, "connection": true, "host": true, "trailer": true,
	// how a message is to be taken
	"cache-control": true, "expect": true, "max-forwards": true, "pragma": true, "range": true,
	// authentication
	"authorization": true, "cookie": true, "set-cookie": true, "www-authenticate": true,
	// control data of responses
	"age": true, "date": true, "expires": true, "location": true, "retry-after": true, "vary": true, "warning": true,
	// what the content is
	"content-encoding": true, "content-range": true, "content-type": true,
}

// ValidValue reports whether a field value, or a reason phrase, has no control characters but
// HTAB (RFC 9110 section 5.5: HTAB, SP, visible characters and obs-text).
func ValidValue(s string) bool {
	for i := range len(s) {
		if !valueByte[s[i]] {
			return false
		}
	}
	return true
}

// tokenByte has the characters of a token, RFC 9110 section 5.6.2.
var tokenByte = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()

var valueByte = func() (t [256]bool) {
	for c := range t {
		t[c] = c == '\t' || c >= 0x20 && c != 0x7f
	}
	return t
}()
