package gateway

import "fmt"

// Kind says what a response field means to the server.
type Kind uint8

const (
	Plain         Kind = iota // passed on
	ContentLength             // the application declares the length
	Date                      // replaces the server's; with an empty value none is sent
	ServerName                // "Server"; the same
	Connection                // only "close" is the application's to say
	Trailer                   // announces trailer fields; makes the response chunked where it can be
	Forbidden                 // hop-by-hop, or "Status": the server's business
)

// KindOf classifies a field name, in any case.
func KindOf(name string) Kind {
	if len(name) == 0 {
		return Plain
	}
	switch name[0] | 0x20 {
	case 'c':
		if fold(name, "content-length") {
			return ContentLength
		}
		if fold(name, "connection") {
			return Connection
		}
	case 'd':
		if fold(name, "date") {
			return Date
		}
	case 's':
		if fold(name, "server") {
			return ServerName
		}
		if fold(name, "status") {
			return Forbidden
		}
	case 'k':
		if fold(name, "keep-alive") {
			return Forbidden
		}
	case 'p':
		if len(name) >= 6 && fold(name[:6], "proxy-") {
			return Forbidden
		}
	case 't':
		if fold(name, "trailer") {
			return Trailer
		}
		if fold(name, "te") || fold(name, "transfer-encoding") {
			return Forbidden
		}
	case 'u':
		if fold(name, "upgrade") {
			return Forbidden
		}
	}
	return Plain
}

// fold compares s with lower, which is in lower case, ignoring the case of s.
func fold(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// CheckStatus checks a status as given to StartResponse: three digits from 100
// to 599, one space, and a reason phrase, which may be empty (RFC 9112 section 4).
func CheckStatus(status string) (code int, err error) {
	if len(status) < 4 || status[3] != ' ' ||
		status[0] < '1' || status[0] > '5' || !digit(status[1]) || !digit(status[2]) {
		return 0, fmt.Errorf("gateway: status %q; use three digits from 100 to 599, a space and a reason, such as \"200 OK\"", status)
	}
	for i := 4; i < len(status); i++ {
		if !valueByte[status[i]] {
			return 0, fmt.Errorf("gateway: status %q has a control character", status)
		}
	}
	return int(status[0]-'0')*100 + int(status[1]-'0')*10 + int(status[2]-'0'), nil
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// CheckHeader checks a field as given to StartResponse and classifies it.
func CheckHeader(h *Header) (Kind, error) {
	if len(h.Name) == 0 {
		return Plain, fmt.Errorf("gateway: a header with the value %q has no name", h.Value)
	}
	for i := range len(h.Name) {
		if !tokenByte[h.Name[i]] {
			return Plain, fmt.Errorf("gateway: header name %q is not a token (RFC 9110 section 5.1)", h.Name)
		}
	}
	for i := range len(h.Value) {
		if !valueByte[h.Value[i]] {
			return Plain, fmt.Errorf("gateway: the value of header %s has a control character: %q", h.Name, h.Value)
		}
	}
	kind := KindOf(h.Name)
	switch kind {
	case Forbidden:
		return kind, fmt.Errorf("gateway: header %s is the server's to send, not the application's", h.Name)
	case Connection:
		if !fold(h.Value, "close") {
			return kind, fmt.Errorf("gateway: header Connection: %q; the application may only say \"close\"", h.Value)
		}
	}
	return kind, nil
}

// tokenByte: the characters of a token, RFC 9110 section 5.6.2.
var tokenByte = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()

// valueByte: what a field value may have, RFC 9110 section 5.5: HTAB, SP,
// visible characters and obs-text.
var valueByte = func() (t [256]bool) {
	for c := range t {
		t[c] = c == '\t' || c >= 0x20 && c != 0x7f
	}
	return t
}()
