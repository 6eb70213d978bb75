// Package forwarded finds the client of a request that came through reverse proxies, by
// X-Forwarded-For, -Proto and -Host, or by Forwarded (RFC 7239).
//
// Every client can send these fields. So a field is used only if the operator has listed the address
// of the proxy that sent it, and that proxies write this field (see Proxies.Fields); and of a list only
// the part that such proxies have written. Each proxy appends the address of its peer at the right
// end. The walk begins there: as long as the proxy that has written an element is a listed one, the
// element is used, and its address is the next one to look up. The elements further left may be forged
// by the client, and are dropped.
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

// Proxies are the addresses of the operator's proxies, and the fields that they write. It must not
// change while it is used. The zero value trusts no peer: no field is used, and Apply deletes all of
// them.
type Proxies struct {
	// Prefixes are the addresses of the proxies.
	Prefixes []netip.Prefix

	// Unix makes every peer on a Unix socket a proxy.
	Unix bool

	// Fields are the names of the fields that the proxies write, or remove, in every request. nil is
	// X-Forwarded-For alone, which most configurations of nginx (proxy_add_x_forwarded_for) and HAProxy
	// (option forwardfor) write; with Standard it is Forwarded. Such a proxy passes other fields that
	// describe the client, such as X-Forwarded-Host, X-Forwarded-Proto or X-Real-IP, on as the client
	// sent them; so Apply deletes each one that is not listed, from any peer.
	//
	// X-Forwarded-For, -Proto and -Host are read. A field of another name, such as
	// X-SSL-Client-Verify, may be listed too: it then reaches the application only from a proxy.
	Fields []string

	// Standard says that the proxies write Forwarded. It is read in place of X-Forwarded-For, -Proto and
	// -Host, which are deleted.
	Standard bool
}

// Check returns an error that says what is wrong with p, or nil.
func (p *Proxies) Check() error {
	for i, prefix := range p.Prefixes {
		if !prefix.IsValid() || prefix.Addr().Is4In6() {
			return fmt.Errorf("forwarded: Prefixes[%d] is %v; use an IPv4 or IPv6 prefix, such as 10.0.0.0/8",
				i, prefix)
		}
		if prefix.Bits() == 0 {
			return fmt.Errorf("forwarded: Prefixes[%d] is %v, which is every address, so that a client could choose its own; "+
				"list the addresses of the proxies", i, prefix)
		}
	}
	for i, name := range p.Fields {
		if err := gateway.CheckHeader(&gateway.Header{Name: name}); err != nil || strings.Contains(name, "_") {
			return fmt.Errorf("forwarded: Fields[%d] is %q; use the name of a field with \"-\", such as X-Forwarded-Proto",
				i, name)
		}
		switch isForwarded := sameField(name, standardField); {
		case isForwarded && !p.Standard:
			return fmt.Errorf("forwarded: Fields[%d] is %s, which is not read without Standard; "+
				"set Standard, or leave it out", i, name)
		case !isForwarded && p.Standard && isList(name):
			return fmt.Errorf("forwarded: Fields[%d] is %s, which is not read with Standard; leave one of them out",
				i, name)
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
	defaultFields  = []string{forField}
	standardFields = []string{standardField}
)

// fields is Fields, or its default.
func (p *Proxies) fields() []string {
	switch {
	case p.Fields != nil:
		return p.Fields
	case p.Standard:
		return standardFields
	}
	return defaultFields
}

// writes reports whether the proxies write the field.
func (p *Proxies) writes(name string) bool {
	return slices.ContainsFunc(p.fields(), func(field string) bool { return sameField(name, field) })
}

// Origin is the client of a request, and what it asked for.
type Origin struct {
	// Remote is the address of the client: the first one, from the right, that is not a proxy's. The
	// port is 0 if it is unknown. The zero AddrPort is a client on a Unix socket.
	Remote netip.AddrPort
	Scheme string // of the client's request: "http" or "https"
	Host   string // of the client's request; a view, as all strings of an Environ
}

// Resolve returns the client of a request, and whether the peer is a proxy. If it is not, no field is
// used. A field that is absent or malformed changes nothing in what the other fields say.
func (p *Proxies) Resolve(env *gateway.Environ) (o Origin, proxy bool) {
	o, hops := p.walk(env)
	return o, hops > 0
}

// walk is Resolve; hops is how many elements of the lists are used, 0 if the peer is not a proxy.
func (p *Proxies) walk(env *gateway.Environ) (o Origin, hops int) {
	o = Origin{Remote: unmap(env.RemoteAddr()), Scheme: env.Scheme(), Host: env.Host()}
	if !p.isProxy(o.Remote) {
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
		remote, ok := parseNode(h.node)
		if !ok { // the end of the list, or "unknown"
			break
		}
		if o.Remote = remote; !p.isProxy(remote) { // the client, which may have forged the rest
			break
		}
	}
	return o, hops
}

// hopsMax is the longest chain of proxies. Chains of more than four are rare; the limit bounds the
// parsing of a list that a client has made long.
const hopsMax = 32

// schemeOf is "http" or "https" for the value of a proxy; "" for an invalid one. Traefik writes "wss" for
// the request that opens a WebSocket over TLS, which is one of https (RFC 6455 section 4.1).
func schemeOf(proto string) string {
	switch strings.ToLower(proto) {
	case "http", "ws":
		return "http"
	case "https", "wss":
		return "https"
	}
	return ""
}

// Apply sets REMOTE_ADDR, REMOTE_PORT, wsgi.url_scheme and HTTP_HOST to the result of Resolve. It deletes
// the fields that a client may have forged: those that proxies write (see Proxies.Fields) if the peer is
// not a proxy, and from any peer those that describe the client and that the proxies do not write. Of
// lists it keeps the part that proxies have written.
func (p *Proxies) Apply(env *gateway.Environ) {
	o, hops := p.walk(env)
	for name := range env.Headers() {
		switch writes := p.writes(name); {
		case writes && hops > 0:
			keepTrusted(env, name, hops)
		case writes, describesClient(name):
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

// keepTrusted reduces a field that a proxy has sent to what proxies have written: the field with "-", not
// the one with "_" (see sameField), and the last hops elements of a list.
func keepTrusted(env *gateway.Environ, name string, hops int) {
	value := env.Header(strings.ReplaceAll(name, "_", "-"))
	kept := value
	if isList(name) {
		kept = lastElements(value, hops)
	}
	switch {
	case kept == "":
		env.Delete(key(name))
	case kept != value || strings.Contains(name, "_"):
		env.Set(key(name), kept)
	}
}

// key is the key of a field in the Environ.
func key(name string) string { return "HTTP_" + strings.ReplaceAll(strings.ToUpper(name), "-", "_") }

// sameField reports whether two names have the same key in the Environ. Where a server shows fields with
// "_" in their names, X_Forwarded_For has the key of X-Forwarded-For, and an application that reads keys
// would take one for the other.
func sameField(name, field string) bool {
	return len(name) == len(field) && hasPrefix(name, field)
}

// hasPrefix is sameField for a prefix of name.
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

// describesClient reports whether a field is one by which proxies describe the client, and which some
// framework uses: chi reads True-Client-IP, echo X-Url-Scheme, gin those of some providers.
func describesClient(name string) bool {
	const prefix = "X-Forwarded-"
	return len(name) > len(prefix) && hasPrefix(name, prefix) ||
		slices.ContainsFunc(clientFields, func(field string) bool { return sameField(name, field) })
}

var clientFields = []string{
	standardField, "X-Real-IP", "True-Client-IP", "X-Client-IP", "X-Cluster-Client-IP",
	"X-Original-Forwarded-For", "X-Original-Host", "X-Url-Scheme", "X-Scheme", "Front-End-Https",
	"CF-Connecting-IP", "Fastly-Client-IP", "Fly-Client-IP", "X-Appengine-Remote-Addr",
}

// isList reports whether a field is a list to which proxies append.
func isList(name string) bool {
	return slices.ContainsFunc(listFields, func(field string) bool { return sameField(name, field) })
}

var listFields = []string{forField, protoField, hostField, standardField, "X-Forwarded-Port", "X-Forwarded-Server"}

// isProxy reports whether a peer is a listed proxy.
func (p *Proxies) isProxy(peer netip.AddrPort) bool {
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
