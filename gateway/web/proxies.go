package web

import (
	"fmt"
	"mime"
	"net/netip"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
)

// Proxies are those whose word about the client is taken. The zero value is nobody.
// It is read only: one value may serve every request.
//
// A client can send every field that a proxy can, and a proxy passes on what it does
// not replace. So only one kind of field is read, that which the proxies do write; and
// it is read from its end, which the nearest proxy wrote, as long as the
// writer is one of Trusted. What is left of that may be a lie, and is never read.
type Proxies struct {
	// Trusted are the addresses of the proxies.
	Trusted []netip.Prefix

	// Unix trusts peers on a Unix socket, which have no address: its file mode
	// says who they can be.
	Unix bool

	// Forwarded says that the proxies write the field Forwarded (RFC 7239), and
	// not X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host. The first proxy
	// must replace the latter two or remove them, since they do not say who
	// wrote them.
	Forwarded bool
}

// Check reports the first prefix that cannot be meant.
func (p *Proxies) Check() error {
	for _, prefix := range p.Trusted {
		if !prefix.IsValid() {
			return fmt.Errorf("web: Proxies.Trusted has a prefix that is not valid; make them by netip.ParsePrefix")
		}
		if prefix.Bits() == 0 {
			return fmt.Errorf("web: Proxies.Trusted has %v, which is everybody, so every client could choose its address; list the addresses of the proxies", prefix)
		}
	}
	return nil
}

// Client is who asked, and for what.
type Client struct {
	// Addr is the client's address; its port is 0 if the proxies did not say it.
	// The zero AddrPort is somebody behind a Unix socket.
	Addr netip.AddrPort

	Scheme string // "http" or "https"; or what the server or a middleware said
	Host   string // the authority that was asked for, a view as Environ.Host
}

// hopsMax is how many proxies a request may have come through. Chains of more than
// four are rare; each costs some parsing.
const hopsMax = 32

// Client finds the client of a request: the first address, from the peer on towards
// the client, that is not one of Trusted. Where a proxy does not know who asked it, or
// what it wrote makes no sense, the client is that proxy, and nothing is read
// further. Without a trusted peer all is as the Environ says.
//
// The scheme and the host are those that the outermost proxy said that is trusted,
// else those of the next one.
func (p *Proxies) Client(env *gateway.Environ) Client {
	c := Client{env.RemoteAddr(), env.Scheme(), env.Host()}
	if !p.trust(c.Addr.Addr()) {
		return c
	}
	if p.Forwarded {
		p.forwarded(&c, env.Header("Forwarded"))
	} else {
		p.xForwarded(&c, env)
	}
	return c
}

func (p *Proxies) trust(peer netip.Addr) bool {
	if !peer.IsValid() {
		return p.Unix
	}
	peer = peer.Unmap()
	for _, prefix := range p.Trusted {
		if prefix.Contains(peer) {
			return true
		}
	}
	return false
}

// forwarded walks the field Forwarded. Each element was written by the hop that c
// is at.
func (p *Proxies) forwarded(c *Client, field string) {
	for n := 0; field != "" && n < hopsMax; n++ {
		var element string
		field, element = cutLast(field)
		_, pairs, err := mime.ParseMediaType("hop;" + element) // the same grammar, RFC 7239 section 4
		if err != nil {
			return
		}
		c.scheme(pairs["proto"])
		c.host(pairs["host"])
		if !c.hop(pairs["for"]) || !p.trust(c.Addr.Addr()) {
			return
		}
	}
}

// xForwarded walks the field X-Forwarded-For.
func (p *Proxies) xForwarded(c *Client, env *gateway.Environ) {
	field := env.Header("X-Forwarded-For")
	hops := 0
	for more := true; more && field != "" && hops < hopsMax; hops++ {
		var node string
		field, node = cutLast(field)
		if !c.hop(node) {
			break
		}
		more = p.trust(c.Addr.Addr())
	}
	c.scheme(fromEnd(env.Header("X-Forwarded-Proto"), hops))
	c.host(fromEnd(env.Header("X-Forwarded-Host"), hops))
}

// fromEnd is the element of a list that the hop so far from us wrote, 1 being the
// nearest; the first if there are fewer, for a proxy that replaces the list.
func fromEnd(list string, hops int) (element string) {
	for n := 0; n < max(1, hops) && list != ""; n++ {
		list, element = cutLast(list)
	}
	return element
}

// cutLast cuts the last element off a list, RFC 9110 section 5.6.1. It begins at the
// end so that no quote that a client has opened can swallow what a proxy wrote.
func cutLast(s string) (rest, element string) {
	quoted := false
	for i := len(s) - 1; i >= 0; i-- {
		switch c := s[i]; {
		case c == '"' && !(quoted && escaped(s[:i])):
			quoted = !quoted
		case c == ',' && !quoted:
			return s[:i], strings.Trim(s[i+1:], " \t")
		}
	}
	return "", strings.Trim(s, " \t")
}

// escaped says whether what follows s has a backslash before it that counts.
func escaped(s string) bool { return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 1 }

// hop moves c to the node, RFC 7239 section 6, that asked: an IP address, perhaps
// with a port. It reports false for what is none, such as "unknown".
func (c *Client) hop(node string) bool {
	if addr, err := netip.ParseAddrPort(node); err == nil && addr.Addr().Zone() == "" {
		c.Addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
		return true
	}
	if inner, ok := strings.CutPrefix(node, "["); ok {
		node, ok = strings.CutSuffix(inner, "]")
		if !ok {
			return false
		}
	}
	addr, err := netip.ParseAddr(node)
	if err != nil || addr.Zone() != "" { // a zone is a name of the client's machine, and any text
		return false
	}
	c.Addr = netip.AddrPortFrom(addr.Unmap(), 0)
	return true
}

// scheme takes what a proxy said.
func (c *Client) scheme(s string) {
	for _, known := range []string{"http", "https"} {
		if strings.EqualFold(s, known) {
			c.Scheme = known
		}
	}
}

// hostBytesMax is the longest host that a proxy may say: a domain name and a port.
const hostBytesMax = 255 + len(":65535")

// host takes what a proxy said, if it can be a host: a client may have said it.
func (c *Client) host(s string) {
	if s == "" || len(s) > hostBytesMax {
		return
	}
	for _, b := range []byte(s) {
		if !('a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("-._:[]", b) >= 0) {
			return
		}
	}
	c.Host = s
}
