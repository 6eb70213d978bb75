// Package forwarded finds out from whom a request really came when there are
// reverse proxies in front: what they say in X-Forwarded-For, -Proto and -Host, or
// in Forwarded (RFC 7239).
//
// Anybody can send these fields. So a field is believed only if the operator has listed
// the proxy that it comes from, and has said that this proxy writes the field (see
// Proxies.Fields); and of a list only the part that such proxies have written. Each proxy
// adds what it saw at the right end. The walk begins there: as long as the speaker is
// listed, what it said of the one before it is believed. What is further left may be the
// client's own invention, and is dropped.
package forwarded

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
)

// Proxies says which peers are proxies of the operator's, and which fields they write.
// It must not change while it is used. The zero value trusts no peer: no field counts, and
// Apply deletes all of them.
type Proxies struct {
	// Prefixes are the addresses of the proxies.
	Prefixes []netip.Prefix

	// Unix makes every peer on a Unix socket a proxy.
	Unix bool

	// Fields are the names of the fields that the proxies write, or remove, in every
	// request. nil is X-Forwarded-For alone, which is what nginx (proxy_add_x_forwarded_for)
	// and HAProxy (option forwardfor) are mostly told to write; with Standard it is
	// Forwarded. Any other field that tells of the client or how it asked, such as
	// X-Forwarded-Host, X-Forwarded-Proto or X-Real-IP, is passed on by such a proxy as
	// the client sent it; so Apply deletes each one that is not listed, from
	// any peer.
	//
	// X-Forwarded-For, -Proto and -Host are read. A field of another name, such as
	// X-SSL-Client-Verify, may be listed as well: then it reaches the application only
	// if it comes from a proxy.
	Fields []string

	// Standard says that the proxies write Forwarded. It is read then, in place of
	// X-Forwarded-For, -Proto and -Host, and those are deleted.
	Standard bool
}

// Check says what cannot work.
func (p *Proxies) Check() error {
	for i, prefix := range p.Prefixes {
		if !prefix.IsValid() || prefix.Addr().Is4In6() {
			return fmt.Errorf("forwarded: Prefixes[%d] is %v; use an IPv4 or IPv6 prefix, such as 10.0.0.0/8", i, prefix)
		}
		if prefix.Bits() == 0 {
			return fmt.Errorf("forwarded: Prefixes[%d] is %v, which is everybody, so that every client could choose its address; list the addresses of the proxies", i, prefix)
		}
	}
	for i, name := range p.Fields {
		if err := gateway.CheckHeader(&gateway.Header{Name: name}); err != nil || strings.Contains(name, "_") {
			return fmt.Errorf("forwarded: Fields[%d] is %q; use the name of a field with \"-\", such as X-Forwarded-Proto", i, name)
		}
		switch isForwarded := sameField(name, standardField); {
		case isForwarded && !p.Standard:
			return fmt.Errorf("forwarded: Fields[%d] is %s, which is not read without Standard; set Standard, or leave it out", i, name)
		case !isForwarded && p.Standard && isList(name):
			return fmt.Errorf("forwarded: Fields[%d] is %s, which is not read with Standard; leave one of them out", i, name)
		}
	}
	if p.Standard && !p.writes(standardField) {
		return errors.New("forwarded: Fields lacks Forwarded, which is what Standard reads; add it, or leave Fields nil")
	}
	return nil
}

// The fields that are read.
const (
	forField      = "X-Forwarded-For"
	protoField    = "X-Forwarded-Proto"
	hostField     = "X-Forwarded-Host"
	standardField = "Forwarded"
)

var (
	usualFields    = []string{forField}
	standardFields = []string{standardField}
)

// fields is Fields with its default.
func (p *Proxies) fields() []string {
	switch {
	case p.Fields != nil:
		return p.Fields
	case p.Standard:
		return standardFields
	}
	return usualFields
}

// writes reports whether the proxies write the field.
func (p *Proxies) writes(name string) bool {
	return slices.ContainsFunc(p.fields(), func(field string) bool { return sameField(name, field) })
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
	o, hops := p.walk(env)
	return o, hops > 0
}

// walk is Resolve; hops is how many elements of the lists are believed, 0 if the peer is
// not a proxy.
func (p *Proxies) walk(env *gateway.Environ) (o Origin, hops int) {
	o = Origin{Remote: unmap(env.RemoteAddr()), Scheme: env.Scheme(), Host: env.Host()}
	if !p.has(o.Remote) {
		return o, 0
	}
	next := p.xForwarded(env)
	if p.Standard {
		next = standard(env)
	}
	for hops < hopsMax {
		h := next()
		hops++
		if scheme := schemeOf(h.proto); scheme != "" {
			o.Scheme = scheme
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
	return o, hops
}

// hopsMax is how many proxies a request may have come through. Chains of more than
// four are rare; each costs some parsing.
const hopsMax = 32

// schemeOf is the scheme of HTTP for what a proxy says; "" for what it cannot say. Traefik
// says "wss" of the request that opens a WebSocket over TLS, which is one of https
// (RFC 6455 section 4.1).
func schemeOf(proto string) string {
	switch strings.ToLower(proto) {
	case "http", "ws":
		return "http"
	case "https", "wss":
		return "https"
	}
	return ""
}

// Apply makes env tell what Resolve found: REMOTE_ADDR, REMOTE_PORT,
// wsgi.url_scheme and HTTP_HOST. It deletes the fields that cannot be believed: those
// that proxies write (see Proxies.Fields) if the peer is not a proxy, and from any peer
// those that tell of the client and that its proxies do not write. Of lists it keeps the
// part that proxies have written.
func (p *Proxies) Apply(env *gateway.Environ) {
	o, hops := p.walk(env)
	for name := range env.Headers() {
		switch writes := p.writes(name); {
		case writes && hops > 0:
			believe(env, name, hops)
		case writes, tells(name):
			env.Delete(key(name))
		}
	}
	if hops == 0 {
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

// believe leaves of a field that came by a proxy what the proxies have written: not its
// spelling with "_" (see sameField), and no more than hops elements of a list.
func believe(env *gateway.Environ, name string, hops int) {
	value := env.Header(strings.ReplaceAll(name, "_", "-"))
	kept := value
	if isList(name) {
		kept = lastOf(value, hops)
	}
	switch {
	case kept == "":
		env.Delete(key(name))
	case kept != value || strings.Contains(name, "_"):
		env.Set(key(name), kept)
	}
}

// key is that of a field in the Environ.
func key(name string) string { return "HTTP_" + strings.ReplaceAll(strings.ToUpper(name), "-", "_") }

// sameField compares names as keys of the Environ. Where a server shows fields with "_"
// in their names, X_Forwarded_For has the key of X-Forwarded-For, and an application that
// looks by keys would take the one for the other.
func sameField(name, field string) bool {
	return len(name) == len(field) && hasPrefix(name, field)
}

// hasPrefix is sameField for the beginning of a name.
func hasPrefix(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		c, d := name[i], prefix[i]
		if c == '_' {
			c = '-'
		}
		if c != d && (c|0x20 != d|0x20 || c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}

// tells reports whether a field is one of those by which proxies tell of the client, and
// that some framework or other believes: chi reads True-Client-IP, echo X-Url-Scheme, gin
// those of some providers.
func tells(name string) bool {
	const prefix = "X-Forwarded-"
	return len(name) > len(prefix) && hasPrefix(name, prefix) ||
		slices.ContainsFunc(telling, func(field string) bool { return sameField(name, field) })
}

var telling = []string{
	standardField, "X-Real-IP", "True-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-Original-Forwarded-For", "X-Original-Host",
	"X-Url-Scheme", "X-Scheme", "Front-End-Https", "CF-Connecting-IP", "Fastly-Client-IP", "Fly-Client-IP", "X-Appengine-Remote-Addr",
}

// isList reports whether proxies add to the right end of a field.
func isList(name string) bool {
	return slices.ContainsFunc(lists, func(field string) bool { return sameField(name, field) })
}

var lists = []string{forField, protoField, hostField, standardField, "X-Forwarded-Port", "X-Forwarded-Server"}

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
