package server

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// kind is what is spoken on a listener.
type kind uint8

const (
	kindHTTP  kind = iota // HTTP/1.1 on an event loop
	kindHTTPS             // TLS, and in it HTTP/2 or HTTP/1.1
)

var kindNames = [...]string{"http", "https"}

// String returns http or https: the scheme of the kind.
func (k kind) String() string { return nameOf(kindNames[:], int(k)) }

// address is where a server listens, and what it speaks there.
type address struct {
	text    string // as it was given, for errors
	kind    kind
	named   bool   // a scheme says the kind
	network string // tcp, unix or fd
	at      string // host:port, a path, or the number of a descriptor
}

// name is the address without what is spoken there. Two listeners of one server have two names.
func (a address) name() string {
	switch a.network {
	case "unix":
		return "unix:" + a.at
	case "fd":
		return "fd://" + a.at // what is spoken there is in String
	}
	return a.at
}

// String returns the name under which the listeners of the address are handed over at a restart. It has the kind:
// a new process that speaks another one there does not inherit them.
func (a address) String() string { return a.kind.String() + " " + a.name() }

// parseAddress reads an address:
//
//	host:port, :port               TCP; :port is every address of the machine
//	http://host:port, https://...  TCP, and what is spoken there
//	unix:/path, unix:@name         a Unix socket, or one in Linux's abstract namespace
//	fd://N, https+fd://N           a listening socket that the process has inherited as descriptor N
//
// An IPv6 address stands in brackets: [::1]:8080. unnamed is what is spoken on TCP where no scheme says it; fd://N must
// say it unless that is HTTP. The error names the address and what would do.
func parseAddress(text string, unnamed kind) (address, error) {
	a := address{text: text, network: "tcp", at: text}
	scheme, rest, hasScheme := strings.Cut(text, "://")
	switch scheme = strings.ToLower(scheme); {
	case text == "":
		return a, a.refuse("is empty", "use host:port, :port, unix:/path or fd://N")
	case strings.HasPrefix(text, "unix:"):
		return a.unix(strings.TrimPrefix(text, "unix:"))
	case scheme == "http+fd", scheme == "https+fd":
		a.named = true
		if scheme == "https+fd" {
			a.kind = kindHTTPS
		}
		return a.descriptor("//" + rest)
	case strings.HasPrefix(text, "fd:"):
		if unnamed != kindHTTP {
			return a, a.refuse("does not say what is spoken there", "use http+"+text+" or https+"+text)
		}
		return a.descriptor(strings.TrimPrefix(text, "fd:"))
	case !hasScheme:
		a.kind = unnamed
		return a, a.checkTCP("")
	case scheme == "http", scheme == "https":
		a.named = true
		if scheme == "https" {
			a.kind = kindHTTPS
		}
		if strings.HasPrefix(rest, "unix:") {
			return a, a.refuse("has a scheme before a Unix socket", "use "+rest)
		}
		a.at = strings.TrimSuffix(rest, "/")
		return a, a.checkTCP(scheme + "://")
	}
	return a, a.refuse(fmt.Sprintf("has the scheme %q", scheme), "use http:// or https://, or only "+rest)
}

// CheckAddress returns the error of [Server.Listen] for an address that has no meaning: it names the address and what
// would do. It does not look whether the address can be bound.
func CheckAddress(addr string) error {
	_, err := parseAddress(addr, kindHTTP)
	return err
}

// refuse is the error for the address, with why it cannot work and what would do.
func (a address) refuse(why, mend string) error {
	return fmt.Errorf("server: address %q %s; %s", a.text, why, mend)
}

// refuseWithoutCertificate is refuse for an https address of a server that has no certificate.
func (a address) refuseWithoutCertificate() error {
	return a.refuse("needs a certificate", "give the options TLS.Cert and TLS.Key, or use http://")
}

// unix reads what follows "unix:". unix:///path is unix:/path, as URLs of other programs have it.
func (a address) unix(path string) (address, error) {
	a.network = "unix"
	if rest, ok := strings.CutPrefix(path, "//"); ok {
		if path = rest; !strings.HasPrefix(path, "/") {
			return a, a.refuse("has a host before the path", "use unix:/"+path)
		}
	}
	if path == "" {
		return a, a.refuse("has no path", "use unix:/path/to/socket")
	}
	a.at = path
	return a, nil
}

// descriptor reads what follows "fd:".
func (a address) descriptor(number string) (address, error) {
	const firstDescriptor = 3 // behind the standard streams
	a.network = "fd"
	number, ok := strings.CutPrefix(number, "//")
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil || n < firstDescriptor {
		return a, a.refuse("has no descriptor over 2", "use fd://3, or what the socket's owner says")
	}
	if !ok {
		return a, a.refuse("has no //", "use fd://"+number)
	}
	a.at = strconv.FormatUint(n, 10)
	return a, nil
}

// checkTCP checks host:port. scheme stands before it in what the error tells to use.
func (a address) checkTCP(scheme string) error {
	if i := strings.IndexAny(a.at, "/?#@ "); i >= 0 {
		return a.refuse(fmt.Sprintf("has %q behind or before host:port", a.at[i:i+1]), "use "+scheme+"host:port, or unix:/path")
	}
	host, port, err := net.SplitHostPort(a.at)
	number, numberErr := strconv.Atoi(port)
	switch {
	case err != nil:
		return a.refuse("is neither host:port nor :port nor unix:/path", "use "+scheme+withPort(a.at, scheme))
	case port == "":
		return a.refuse("has no port", "use "+scheme+a.at+defaultPort(scheme)+", or 0 for one that is free")
	case numberErr == nil && (number < 0 || number > 65535):
		return a.refuse("has port "+port, "use a number from 0 to 65535")
	case host == "*":
		return a.refuse("has the host *", "use "+scheme+":"+port+" for every address of the machine")
	}
	return nil
}

// withPort is an address that could be meant by one that is not host:port.
func withPort(s, scheme string) string {
	if s == "" {
		return ":" + defaultPort(scheme)
	}
	if _, err := strconv.ParseUint(s, 10, 16); err == nil {
		return ":" + s
	}
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return net.JoinHostPort(addr.String(), defaultPort(scheme))
	}
	if i := strings.LastIndexByte(s, ':'); i >= 0 { // an IPv6 address without brackets, before a port
		if addr, err := netip.ParseAddr(s[:i]); err == nil {
			return net.JoinHostPort(addr.String(), s[i+1:])
		}
		return "host:port"
	}
	return s + ":" + defaultPort(scheme)
}

// defaultPort is the port in an example.
func defaultPort(scheme string) string {
	switch scheme {
	case "http://":
		return "80"
	case "https://":
		return "443"
	}
	return "8080"
}

// parseAddresses reads the addresses of a server, each of which is given once; unnamed is as for parseAddress.
func parseAddresses(texts []string, unnamed kind) ([]address, error) {
	addrs := make([]address, 0, len(texts))
	for _, text := range texts {
		a, err := parseAddress(text, unnamed)
		if err != nil {
			return nil, err
		}
		for i := range addrs {
			// Port 0 is another one each time, but what is handed over at a restart has its name.
			anyPort := a.network == "tcp" && strings.HasSuffix(a.at, ":0")
			if addrs[i].name() == a.name() && (!anyPort || addrs[i].kind == a.kind) {
				return nil, fmt.Errorf("server: address %q is given twice; leave one out", text)
			}
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}

// display is a bound address as a user would type it.
func display(k kind, bound net.Addr) string {
	if bound.Network() == "unix" {
		return "unix:" + bound.String()
	}
	return k.String() + "://" + bound.String()
}
