// Package forwarded finds out from whom a request really came when there are
// reverse proxies in front: what they say in X-Forwarded-For, -Proto and -Host, or
// in Forwarded (RFC 7239).
//
// Anybody can send these fields. So a field is believed only as far as proxies
// that the operator has listed have written it. Each proxy adds what it saw at the
// right end. The walk begins there: as long as who spoke is listed, what it said of
// the one before it is believed. What is further left, strangers have written.
package forwarded

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
)

// Proxies says which peers are proxies of the operator's, and how they speak.
// It must not change while it is used.
type Proxies struct {
	// Prefixes are the addresses of the proxies.
	Prefixes []netip.Prefix

	// Unix makes every peer on a Unix socket a proxy.
	Unix bool

	// Standard says that the proxies write Forwarded. Otherwise they write
	// X-Forwarded-For, -Proto and -Host. Only the one kind is read: most proxies
	// pass the other on as the client sent it. For the same reason they must
	// write or remove every field of their kind.
	Standard bool
}

// Check says what cannot work.
func (p *Proxies) Check() error {
	if len(p.Prefixes) == 0 && !p.Unix {
		return errors.New("forwarded: no proxies; list their addresses in Prefixes, or set Unix")
	}
	for i, prefix := range p.Prefixes {
		if !prefix.IsValid() || prefix.Addr().Is4In6() {
			return fmt.Errorf("forwarded: Prefixes[%d] is %v; use an IPv4 or IPv6 prefix, such as 10.0.0.0/8", i, prefix)
		}
		if prefix.Bits() == 0 {
			return fmt.Errorf("forwarded: Prefixes[%d] is %v, which is everybody, so that every client could choose its address; list the addresses of the proxies", i, prefix)
		}
	}
	return nil
}

// Origin is where a request came from.
type Origin struct {
	// Remote is the client: the first address, from the right, that is not a
	// proxy's. The port is 0 if nobody said it. The zero AddrPort is a client on
	// a Unix socket.
	Remote netip.AddrPort
	Scheme string // what the client used: "http" or "https"
	Host   string // what the client asked for; a view, as everything of an Environ
}

// Resolve returns where a request came from, and whether its peer is a proxy. If
// it is not, the fields say nothing. Where a proxy says less than it could, or
// something that cannot be, what is known already stays.
func (p *Proxies) Resolve(env *gateway.Environ) (o Origin, proxy bool) {
	o = Origin{Remote: unmap(env.RemoteAddr()), Scheme: env.Scheme(), Host: env.Host()}
	if !p.has(o.Remote) {
		return o, false
	}
	next := xForwarded(env)
	if p.Standard {
		next = standard(env)
	}
	for range hopsMax {
		h := next()
		for _, scheme := range []string{"http", "https"} {
			if strings.EqualFold(h.proto, scheme) {
				o.Scheme = scheme
			}
		}
		if validHost(h.host) {
			o.Host = h.host
		}
		remote, ok := node(h.node)
		if !ok { // the end, or "unknown"
			break
		}
		if o.Remote = remote; !p.has(remote) {
			break
		}
	}
	return o, true
}

// hopsMax is how many proxies a request may have come through. Chains of more than
// four are rare; each costs some parsing.
const hopsMax = 32

// Apply makes env tell what Resolve found: REMOTE_ADDR, REMOTE_PORT,
// wsgi.url_scheme and HTTP_HOST. It deletes the fields that nobody may believe:
// those that did not come from a proxy, and those of the kind that is not read.
func (p *Proxies) Apply(env *gateway.Environ) {
	o, proxy := p.Resolve(env)
	for name := range env.Headers() {
		if isX, isStandard := kind(name); isX && !(proxy && !p.Standard) || isStandard && !(proxy && p.Standard) {
			env.Delete("HTTP_" + strings.ReplaceAll(strings.ToUpper(name), "-", "_"))
		}
	}
	if !proxy {
		return
	}
	if o.Remote != unmap(env.RemoteAddr()) {
		env.Set("REMOTE_ADDR", o.Remote.Addr().String())
		env.Delete("REMOTE_PORT")
		if port := o.Remote.Port(); port != 0 {
			env.Set("REMOTE_PORT", strconv.Itoa(int(port)))
		}
	}
	if o.Scheme != env.Scheme() {
		env.Set("wsgi.url_scheme", o.Scheme)
	}
	if o.Host != env.Host() {
		env.Set("HTTP_HOST", o.Host)
	}
}

// kind says whether a field is one that proxies write, and of which kind. Some
// frameworks believe X-Real-IP and more of the X-Forwarded fields than are read here.
func kind(name string) (x, standard bool) {
	const prefix = "x-forwarded-"
	x = len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) || strings.EqualFold(name, "x-real-ip")
	return x, strings.EqualFold(name, "forwarded")
}

// has says whether a peer is a proxy.
func (p *Proxies) has(peer netip.AddrPort) bool {
	if !peer.IsValid() {
		return p.Unix
	}
	for _, prefix := range p.Prefixes {
		if prefix.Contains(peer.Addr()) {
			return true
		}
	}
	return false
}

// hop is what one proxy says of the one before it; "" is nothing.
type hop struct{ node, proto, host string }

// xForwarded returns the hops from the right. The lists are as long as one
// another if all proxies append. One that replaces -Proto and -Host makes them
// shorter: then what the right end says is good for all hops.
func xForwarded(env *gateway.Environ) func() hop {
	nodes := env.Header("X-Forwarded-For")
	protos, hosts := env.Header("X-Forwarded-Proto"), env.Header("X-Forwarded-Host")
	return func() hop { return hop{last(&nodes), last(&protos), last(&hosts)} }
}

// standard returns the hops of Forwarded from the right. RFC 7239 section 4.
func standard(env *gateway.Environ) func() hop {
	elements := env.Header("Forwarded")
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
