package forwarded

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
)

// hop is what one proxy has written about its peer; "" is unknown.
type hop struct{ node, proto, host string }

// xForwarded returns the hops of the X-Forwarded fields, from the right. If all proxies append, the
// lists have equal lengths. A proxy that replaces -Proto and -Host makes them shorter: then their last
// values are those of all hops.
func (p *Proxies) xForwarded(env *gateway.Environ) func() hop {
	read := func(name string) string {
		if !p.writes(name) {
			return ""
		}
		return env.Header(name)
	}
	nodes, protos, hosts := read(forField), read(protoField), read(hostField)
	return func() hop { return hop{cutLast(&nodes), cutLast(&protos), cutLast(&hosts)} }
}

// standard returns the hops of Forwarded from the right. RFC 7239 section 4.
func standard(env *gateway.Environ) func() hop {
	elements := env.Header(standardField)
	return func() hop { return parseElement(cutLast(&elements)) }
}

// cutLast cuts the last element off a list. A comma in a quoted string is no separator. Since it reads
// from the right, a quote that a client left open further left changes no element of a proxy.
func cutLast(list *string) string {
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

// lastElements is the last n elements of a list.
func lastElements(list string, n int) string {
	rest := list
	for range n {
		cutLast(&rest)
	}
	return strings.TrimLeft(list[len(rest):], ", \t")
}

// escaped reports whether the byte after s, in a quoted string, is part of a quoted-pair: an odd number
// of backslashes precedes it.
func escaped(s string) bool {
	return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 1
}

// parseElement reads one element of Forwarded: pairs separated by ";", each name once. A malformed one is
// the zero hop. A value may have more than a token does, since some proxies do not quote ports.
func parseElement(s string) (h hop) {
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

// unquote reads a quoted-string, without its first quote. RFC 9110 section 5.6.4.
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

// parseNode reads an address, with or without a port. IPv6 has brackets in Forwarded, and none in
// X-Forwarded-For. "unknown" and "_hidden" are no addresses, nor is one with a zone, which is valid on
// one machine only. The port may be a hidden one, such as "_p". RFC 7239 section 6.
func parseNode(s string) (netip.AddrPort, bool) {
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

// unmap makes an IPv4-mapped IPv6 address an IPv4 address.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// hostBytesMax is the longest host: a domain name and a port.
const hostBytesMax = 255 + len(":65535")

// validHost reports whether s is a host with or without a port, and has no character that could begin
// another part of a URL. RFC 9110 section 7.2.
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
