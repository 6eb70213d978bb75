package proxy

import (
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
)

// hopFilter drops the fields of a message that are for its connection alone: those that every proxy knows, and
// those that its field Connection names. RFC 9110 section 7.6.1.
type hopFilter struct {
	named []string // by Connection, in lower case
}

// filterOf is the filter for a message with these values of Connection.
func filterOf(connection ...string) hopFilter {
	return hopFilter{named: slices.Collect(tokens(connection...))}
}

// hopFields are the fields of one connection, in lower case; all that begin with "proxy-" are, too. Trailer and
// Transfer-Encoding are made anew for each side, and so are TE, Connection and Upgrade as far as they pass.
var hopFields = map[string]bool{
	"connection": true, "keep-alive": true, "te": true, "trailer": true, "transfer-encoding": true,
	"upgrade": true, "http2-settings": true,
}

// drops reports whether a field does not pass. "Proxy" is the variable HTTP_PROXY to a CGI program, and names
// with "_" are those with "-" to one.
func (f hopFilter) drops(name string) bool {
	name = strings.ToLower(name)
	return hopFields[name] || name == "proxy" || strings.HasPrefix(name, "proxy-") ||
		strings.Contains(name, "_") || slices.Contains(f.named, name)
}

// tokens yields the elements of list fields, in lower case and without empty ones. RFC 9110 section 5.6.1.
func tokens(values ...string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, value := range values {
			for token := range strings.SplitSeq(value, ",") {
				if token = strings.Trim(token, " \t"); token != "" && !yield(strings.ToLower(token)) {
					return
				}
			}
		}
	}
}

func hasToken(value, token string) bool {
	for t := range tokens(value) {
		if t == token {
			return true
		}
	}
	return false
}

// isToken reports whether s is a token, RFC 9110 section 5.6.2.
func isToken(s string) bool {
	return gateway.CheckHeader(&gateway.Header{Name: "X-" + s}) == nil && s != ""
}

// ownFields are the request fields that the proxy, or http.Transport, writes itself.
var ownFields = map[string]bool{
	"host": true, "content-length": true, "expect": true, "via": true, "max-forwards": true,
	"forwarded": true, "x-forwarded-for": true, "x-forwarded-proto": true, "x-forwarded-host": true,
}

// requestHeader is the header for the upstream: what passes, and then the fields of the proxy, so that no
// Connection of a client removes those. peer is the address of the peer; the Environ shows the client. The
// header has copies.
func (a *App) requestHeader(env *gateway.Environ, peer netip.AddrPort) http.Header {
	h := make(http.Header, 16)
	filter := filterOf(env.Header("Connection"))
	for name, value := range env.Headers() {
		if !ownFields[strings.ToLower(name)] && !filter.drops(name) {
			name = headerKey(strings.Clone(name))
			h[name] = append(h[name], strings.Clone(value))
		}
	}
	if h["User-Agent"] == nil {
		h["User-Agent"] = []string{""} // else http.Transport adds its own
	}
	var connection []string
	if hasToken(env.Header("TE"), "trailers") {
		h["Te"], connection = []string{"trailers"}, append(connection, "TE")
	}
	if upgrade := a.upgradeOf(env); upgrade != "" {
		h["Upgrade"], connection = []string{upgrade}, append(connection, "Upgrade")
	}
	if connection != nil {
		h["Connection"] = []string{strings.Join(connection, ", ")}
	}
	h["Via"] = []string{appendList(env.Header("Via"), strings.TrimPrefix(env.Protocol(), "HTTP/")+" "+a.pseudonym)}
	if n, err := strconv.ParseUint(env.Header("Max-Forwards"), 10, 63); err == nil && env.Method() == http.MethodOptions {
		h["Max-Forwards"] = []string{strconv.FormatUint(n-1, 10)} // 0 was answered by Serve
	} else if value := env.Header("Max-Forwards"); value != "" {
		h["Max-Forwards"] = []string{strings.Clone(value)} // it has a meaning for OPTIONS and TRACE alone
	}
	a.addForwarded(h, env, peer)
	return h
}

// headerKey is the key of a field for http.Transport. Idempotency-Key keeps no canonical form: a Transport that
// finds it there sends a POST twice where a connection has ended.
func headerKey(name string) string {
	switch key := http.CanonicalHeaderKey(name); key {
	case "Idempotency-Key", "X-Idempotency-Key":
		return strings.ToLower(key)
	default:
		return key
	}
}

// appendList appends an element to a list, in new memory.
func appendList(list, element string) string {
	if list == "" {
		return strings.Clone(element)
	}
	return list + ", " + element
}

// addForwarded says who the client is. What trusted proxies have written before is kept (see
// forwarded.Proxies.Apply), and the peer is appended.
func (a *App) addForwarded(h http.Header, env *gateway.Environ, peer netip.AddrPort) {
	client := env.RemoteAddr().Addr().Unmap()
	address := peer.Addr().Unmap()
	switch a.options.Forward {
	case XForwarded:
		list := env.Header("X-Forwarded-For")
		if list == "" && client.IsValid() && client != address { // known by the other kind of field
			list = client.String()
		}
		if address.IsValid() {
			list = appendList(list, address.WithZone("").String())
		}
		if list != "" {
			h["X-Forwarded-For"] = []string{strings.Clone(list)}
		}
		h["X-Forwarded-Proto"] = []string{strings.Clone(env.Scheme())}
		if host := env.Host(); host != "" {
			h["X-Forwarded-Host"] = []string{strings.Clone(host)}
		}
	case Forwarded:
		list := env.Header("Forwarded")
		if list == "" && client.IsValid() && client != address {
			list = "for=" + forwardedNode(client)
		}
		element := "for=" + forwardedNode(address) + ";proto=" + env.Scheme()
		if host := env.Host(); host != "" {
			element += `;host="` + quotedPairs.Replace(host) + `"`
		}
		h["Forwarded"] = []string{appendList(list, element)}
	}
}

var quotedPairs = strings.NewReplacer(`"`, `\"`, `\`, `\\`)

// forwardedNode is an address as in Forwarded, RFC 7239 section 6.
func forwardedNode(addr netip.Addr) string {
	switch {
	case !addr.IsValid():
		return "unknown"
	case addr.Is4():
		return addr.String()
	}
	return `"[` + addr.WithZone("").String() + `]"`
}

// viaOwn reports whether a value of Via has the pseudonym: the request has passed this proxy. RFC 9110
// section 7.6.3.
func (a *App) viaOwn(via string) bool {
	for element := range tokens(via) {
		if _, by, _ := strings.Cut(element, " "); by != "" && strings.Fields(by)[0] == a.pseudonym {
			return true
		}
	}
	return false
}

// upgradeOf is the value of Upgrade for the upstream: what the client asks for and the option UpgradeTokens
// allows; "" for none. RFC 9110 section 7.8.
func (a *App) upgradeOf(env *gateway.Environ) string {
	if env.Protocol() == "HTTP/1.0" || env.Input().Len() != 0 || !hasToken(env.Header("Connection"), "upgrade") {
		return ""
	}
	var allowed []string
	for token := range tokens(env.Header("Upgrade")) {
		if slices.ContainsFunc(a.options.UpgradeTokens, func(t string) bool { return strings.EqualFold(t, token) }) {
			allowed = append(allowed, token)
		}
	}
	return strings.Join(allowed, ", ")
}

// responseFields are the fields of a response, or of an interim one, for the client: what passes, sorted by name,
// and Via. An error says which field is malformed.
func (a *App) responseFields(header http.Header, minor int) ([]gateway.Header, error) {
	filter := filterOf(header["Connection"]...)
	fields := make([]gateway.Header, 0, len(header)+2)
	for _, name := range slices.Sorted(maps.Keys(header)) {
		lower := strings.ToLower(name)
		if filter.drops(name) || lower == "content-length" || lower == "status" || lower == "via" {
			continue
		}
		values := header[name]
		if lower == "date" || lower == "server" {
			values = values[:min(len(values), 1)]
		}
		for _, value := range values {
			field := gateway.Header{Name: name, Value: value}
			if err := gateway.CheckHeader(&field); err != nil {
				return nil, fmt.Errorf("proxy: malformed response: %w", err)
			}
			fields = append(fields, field)
		}
	}
	via := strings.Join(header["Via"], ", ")
	field := gateway.Header{Name: "Via", Value: appendList(via, "1."+strconv.Itoa(minor)+" "+a.pseudonym)}
	if err := gateway.CheckHeader(&field); err != nil {
		return nil, fmt.Errorf("proxy: malformed response: %w", err)
	}
	return append(fields, field), nil
}

// dropsTrailer drops, besides the fields of the connection, trailer fields that would change what the head has said
// if a recipient merged them into it. RFC 9110 section 6.5.1.
func (f hopFilter) dropsTrailer(name string) bool {
	lower := strings.ToLower(name)
	return f.drops(name) || ownFields[lower] || strings.HasPrefix(lower, "x-forwarded-") ||
		gateway.CheckHeader(&gateway.Header{Name: name}) != nil
}
