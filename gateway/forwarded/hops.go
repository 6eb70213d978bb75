package forwarded

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
)

// hop is what one proxy says of the one before it; "" is nothing.
type hop struct{ node, proto, host string }

// xForwarded returns the hops from the right. The lists are as long as one
// another if all proxies append. One that replaces -Proto and -Host makes them
// shorter: then what the right end says is good for all hops.
func (p *Proxies) xForwarded(env *gateway.Environ) func() hop {
	read := func(name string) string {
		if !p.writes(name) {
			return ""
		}
		return env.Header(name)
	}
	nodes, protos, hosts := read(forField), read(protoField), read(hostField)
	return func() hop { return hop{last(&nodes), last(&protos), last(&hosts)} }
}

// standard returns the hops of Forwarded from the right. RFC 7239 section 4.
func standard(env *gateway.Environ) func() hop {
	elements := env.Header(standardField)
	return func() hop { return element(last(&elements)) }
}

// last cuts the last element off a list. A comma in a quoted string does not
// separate. Read from the right, the elements that proxies wrote are right
// whatever stands to the left of them, as a quote that a client left open.
func last(list *string) string {
	s, quoted := *list, false
	for i := len(s) - 1; i >= 0; i-- {
		switch {
		case s[i] == '"':
			quoted = !quoted || escaped(s[:i])
		case s[i] == ',' && !quoted:
			*list = s[:i]
			return strings.Trim(s[i+1:], " \t")
		}
	}
	*list = ""
	return strings.Trim(s, " \t")
}

// lastOf is the last n elements of a list.
func lastOf(list string, n int) string {
	rest := list
	for range n {
		last(&rest)
	}
	return strings.TrimLeft(list[len(rest):], ", \t")
}

// escaped says whether what follows s in a quoted string is a quoted-pair's.
func escaped(s string) bool {
	return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 1
}

// element reads one element of Forwarded: pairs separated by ";", each once. One
// that is malformed says nothing. More is taken as a value than a token, since
// some proxies do not quote ports.
func element(s string) (h hop) {
	seen := map[string]bool{}
	for s != "" {
		name, rest, ok := strings.Cut(s, "=")
		name = strings.ToLower(strings.Trim(name, " \t"))
		if !ok || seen[name] {
			return hop{}
		}
		seen[name] = true
		var value string
		if strings.HasPrefix(rest, `"`) {
			if value, rest, ok = unquote(rest[1:]); !ok {
				return hop{}
			}
			if rest = strings.TrimLeft(rest, " \t"); rest != "" && rest[0] != ';' {
				return hop{}
			}
			rest = strings.TrimPrefix(rest, ";")
		} else {
			value, rest, _ = strings.Cut(rest, ";")
			value = strings.TrimRight(value, " \t")
		}
		switch s = rest; name {
		case "for":
			h.node = value
		case "proto":
			h.proto = value
		case "host":
			h.host = value
		}
	}
	return h
}

// unquote reads a quoted-string behind its first quote. RFC 9110 section 5.6.4.
func unquote(s string) (value, rest string, ok bool) {
	if i := strings.IndexAny(s, `"\`); i >= 0 && s[i] == '"' {
		return s[:i], s[i+1:], true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// node reads an address, with or without a port. IPv6 stands in brackets in
// Forwarded, and without them in X-Forwarded-For. "unknown" and "_hidden" are not
// addresses, and what has a zone is not from another machine. A port may be hidden
// too. RFC 7239 section 6.
func node(s string) (netip.AddrPort, bool) {
	if i := strings.LastIndex(s, ":_"); i >= 0 {
		s = s[:i]
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
			s = s[1 : len(s)-1]
		}
		var addr netip.Addr
		addr, err = netip.ParseAddr(s)
		a = netip.AddrPortFrom(addr, 0)
	}
	return unmap(a), err == nil && a.Addr().Zone() == ""
}

// unmap makes one of the two forms of an IPv4 address.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// hostBytesMax is the longest host: a domain name and a port.
const hostBytesMax = 255 + len(":65535")

// validHost says whether s is a host with or without a port, and nothing that
// could be more in a URL. RFC 9110 section 7.2.
func validHost(s string) bool {
	if len(s) > hostBytesMax {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"#%,/;<>?@\\^`{|}", c) >= 0 {
			return false
		}
	}
	u, err := url.Parse("//" + s)
	if err != nil || u.Hostname() == "" || strings.Contains(u.Hostname(), ":") && s[0] != '[' {
		return false
	}
	if u.Port() == "" {
		return true
	}
	_, err = strconv.ParseUint(u.Port(), 10, 16)
	return err == nil
}
