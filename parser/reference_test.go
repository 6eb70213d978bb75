package parser

import (
	"bytes"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// reference parses a head the slow way: byte by byte, each rule where the RFC has it, without
// tables, words of 8 bytes or state between calls. It shares only the limits with the parser.
//
// It returns the head, if it is complete; a status to refuse it with; or neither
// if more bytes are needed.
func reference(b []byte, lim Limits) (head *referenceHead, status int) {
	r := &referenceReader{b: b, lim: lim}
	defer func() {
		switch stop := recover().(type) {
		case nil:
		case referenceRefusal:
			head, status = nil, int(stop)
		case referenceMore:
			head, status = nil, 0
		default:
			panic(stop)
		}
	}()
	return r.read(), 0
}

type referenceHead struct {
	used                                         int
	method, target, form, path, query, authority string
	minor                                        int
	fields                                       [][2]string
	length                                       int64 // -1 for chunked
	keepAlive                                    bool
	expect                                       Expectation
}

type (
	referenceRefusal int
	referenceMore    struct{}
)

type referenceReader struct {
	b     []byte
	i     int
	start int // of the request line; -1 before it is known
	lim   Limits
}

func (r *referenceReader) refuse(status int) { panic(referenceRefusal(status)) }

func (r *referenceReader) want(ok bool) {
	if !ok {
		r.refuse(400)
	}
}

// next returns the next byte, which is then used.
func (r *referenceReader) next() byte {
	if r.i == len(r.b) {
		panic(referenceMore{})
	}
	if r.i-r.start >= r.lim.HeadBytes {
		r.refuse(431)
	}
	r.i++
	return r.b[r.i-1]
}

func (r *referenceReader) read() *referenceHead {
	h := &referenceHead{}

	// One empty line may come first.
	if len(r.b) > 0 && r.b[0] == '\r' {
		if len(r.b) == 1 {
			panic(referenceMore{})
		}
		r.want(r.b[1] == '\n')
		r.i, r.start = 2, 2
	}

	for c := r.next(); c != ' '; c = r.next() {
		r.want(referenceToken(string(c)))
		h.method += string(rune(c))
		if len(h.method) > r.lim.MethodBytes {
			r.refuse(501)
		}
	}
	r.want(h.method != "")

	for c := r.next(); c != ' '; c = r.next() {
		r.want(c > ' ' && c < 0x7f && !strings.ContainsRune("\"#<>", rune(c)))
		origin := c == '/' && h.target == "" || strings.HasPrefix(h.target, "/")
		if origin && !strings.Contains(h.target, "?") {
			r.want(!strings.ContainsRune("\\`{}", rune(c)))
		}
		h.target += string(rune(c))
		if len(h.target) > r.lim.TargetBytes {
			r.refuse(414)
		}
	}
	r.want(h.target != "")

	for _, c := range []byte("HTTP/") {
		r.want(r.next() == c)
	}
	major := r.next()
	r.want('0' <= major && major <= '9')
	r.want(r.next() == '.')
	minor := r.next()
	r.want('0' <= minor && minor <= '9')
	r.want(r.next() == '\r')
	r.want(r.next() == '\n')
	if major != '1' {
		r.refuse(505)
	}
	h.minor = int(minor - '0')
	r.readTarget(h)

	for {
		c := r.next()
		if c == '\r' {
			r.want(r.next() == '\n')
			break
		}
		if len(h.fields) == r.lim.Fields {
			r.refuse(431)
		}
		var name, value []byte
		for ; c != ':'; c = r.next() {
			r.want(referenceToken(string(c)))
			name = append(name, c)
		}
		r.want(len(name) > 0)
		for c = r.next(); c != '\r'; c = r.next() {
			r.want(c == '\t' || c >= ' ' && c != 0x7f)
			value = append(value, c)
		}
		r.want(r.next() == '\n')
		h.fields = append(h.fields, [2]string{string(name), string(bytes.Trim(value, " \t"))})
	}

	r.readHost(h)
	r.readFraming(h)
	if h.form == "authority" {
		r.refuse(501)
	}
	h.keepAlive = !slices.Contains(h.list("connection"), "close") &&
		(h.minor > 0 || slices.Contains(h.list("connection"), "keep-alive"))
	if h.minor > 0 {
		for _, e := range h.list("expect") {
			switch {
			case e == "":
			case e != "100-continue":
				h.expect = ExpectUnknown
			case h.expect == ExpectNothing:
				h.expect = ExpectContinue
			}
		}
	}
	h.used = r.i
	return h
}

func (r *referenceReader) readTarget(h *referenceHead) {
	rest := h.target
	switch {
	case h.method == "CONNECT":
		i := strings.LastIndexByte(rest, ':')
		r.want(i > 0 && referenceHost(rest))
		port, err := strconv.Atoi(rest[i+1:])
		r.want(err == nil && port > 0)
		h.form, h.authority = "authority", rest
		return
	case rest == "*":
		r.want(h.method == "OPTIONS")
		h.form, h.path = "asterisk", rest
		return
	case strings.HasPrefix(rest, "/"):
		h.form = "origin"
	default:
		scheme, after, ok := strings.Cut(rest, "://")
		scheme = strings.ToLower(scheme)
		r.want(ok && (scheme == "http" || scheme == "https"))
		end := strings.IndexAny(after, "/?")
		if end < 0 {
			end = len(after)
		}
		h.form, h.authority, rest = "absolute", after[:end], after[end:]
		r.want(h.authority != "" && referenceHost(h.authority))
	}
	h.path, h.query, _ = strings.Cut(rest, "?")
	r.want(!strings.ContainsAny(h.path, "\\`{}"))
}

func (r *referenceReader) readHost(h *referenceHead) {
	hosts := h.values("host")
	r.want(len(hosts) == 1 || len(hosts) == 0 && h.minor == 0)
	if len(hosts) == 0 {
		return
	}
	r.want(referenceHost(hosts[0]))
	if h.form == "origin" || h.form == "asterisk" {
		h.authority = hosts[0]
	}
}

func (r *referenceReader) readFraming(h *referenceHead) {
	codings, lengths := h.values("transfer-encoding"), h.values("content-length")
	switch {
	case len(codings) > 0:
		r.want(h.minor > 0 && len(lengths) == 0)
		list := h.list("transfer-encoding")
		for i, coding := range list {
			r.want(referenceToken(coding))
			r.want((coding == "chunked") == (i == len(list)-1))
		}
		if len(list) > 1 {
			r.refuse(501)
		}
		h.length = -1
	case len(lengths) > 0:
		r.want(len(lengths) == 1 && lengths[0] != "" && strings.Trim(lengths[0], "0123456789") == "")
		n, err := strconv.ParseInt(lengths[0], 10, 64)
		if err != nil || r.lim.BodyBytes >= 0 && n > r.lim.BodyBytes {
			r.refuse(413)
		}
		h.length = n
	}
}

// values returns the values of all fields of that name.
func (h *referenceHead) values(name string) (values []string) {
	for _, f := range h.fields {
		if strings.ToLower(f[0]) == name {
			values = append(values, f[1])
		}
	}
	return values
}

// list returns the elements of all fields of that name, in lower case.
func (h *referenceHead) list(name string) (elements []string) {
	for _, v := range h.values(name) {
		for e := range strings.SplitSeq(v, ",") {
			elements = append(elements, asciiLower(strings.Trim(e, " \t")))
		}
	}
	return elements
}

func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func referenceToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		digit := '0' <= c && c <= '9'
		if !letter && !digit && (c >= 0x80 || !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c))) {
			return false
		}
	}
	return s != ""
}

// referenceHost checks uri-host [ ":" port ].
func referenceHost(s string) bool {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && i > strings.LastIndexByte(s, ']') {
		host, port = s[:i], s[i+1:]
		if host == "" {
			return false
		}
	}
	if len(port) > 5 || strings.Trim(port, "0123456789") != "" {
		return false
	}
	if n, _ := strconv.Atoi(port); n > 65535 {
		return false
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if !ok {
			return false
		}
		if address, err := netip.ParseAddr(inner); err == nil {
			return address.Is6() && address.Zone() == ""
		}
		version, address, ok := strings.Cut(inner, ".")
		return ok && len(version) > 1 && (version[0] == 'v' || version[0] == 'V') &&
			strings.Trim(version[1:], "0123456789abcdefABCDEF") == "" &&
			address != "" && referenceName(address, ":")
	}
	for i := 0; i < len(host); i++ {
		if host[i] == '%' {
			if len(host)-i < 3 || strings.Trim(host[i+1:i+3], "0123456789abcdefABCDEF") != "" {
				return false
			}
			i += 2
		} else if !referenceName(host[i:i+1], "") {
			return false
		}
	}
	return true
}

// referenceName reports whether s has only unreserved bytes, sub-delims without
// ',', and the extra ones.
func referenceName(s, extra string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		digit := '0' <= c && c <= '9'
		if !letter && !digit && (c >= 0x80 || !strings.ContainsRune("-._~!$&'()*+;="+extra, rune(c))) {
			return false
		}
	}
	return true
}
