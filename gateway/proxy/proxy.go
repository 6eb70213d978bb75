package proxy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

// App is a reverse proxy. It implements gateway.App and gateway.Streamer.
type App struct {
	options   Options // complete
	upstreams []*upstream
	pseudonym string // in Via, in lower case
	turn      atomic.Uint64

	stop     context.CancelFunc // of the active checks
	watchers sync.WaitGroup
}

// UpstreamKey is the key of the Environ with the upstream of a request, as in the option To: a string, the last
// one if several were tried. For middlewares that log.
const UpstreamKey = "proxy.upstream"

// New returns an App for o, and begins the active checks if o has a HealthPath; Close ends them.
func New(o Options) (*App, error) {
	o = o.complete()
	o.To, o.UpgradeTokens = slices.Clone(o.To), slices.Clone(o.UpgradeTokens)
	a := &App{options: o}
	var err error
	if a.upstreams, err = a.options.upstreams(); err != nil {
		return nil, err
	}
	var id [4]byte
	_, _ = rand.Read(id[:]) // it never fails
	a.pseudonym = "isbjorn-" + hex.EncodeToString(id[:])
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	if o.HealthPath != "" {
		for _, u := range a.upstreams {
			a.watchers.Add(1)
			go a.watch(ctx, u)
		}
	}
	return a, nil
}

// Close ends the active checks and closes idle connections to upstreams. Requests in progress are answered, and
// their connections close in their time. It may be called more than once; its error is always nil.
func (a *App) Close() error {
	a.stop()
	a.watchers.Wait()
	for _, u := range a.upstreams {
		u.conns.CloseIdleConnections()
	}
	return nil
}

// UpstreamStatus is one upstream at the time of the call.
type UpstreamStatus struct {
	Name     string // as in the option To
	Alive    bool   // it gets requests: it is neither dead by the active check nor left out after a failure
	InFlight int64  // requests in progress, and upgraded connections
	Requests uint64 // sent to it, repeated ones too
	Failures uint64 // of those: it refused, was silent, cut the answer or sent a malformed one
}

// Upstreams returns the status of each upstream, in the order of the option To.
func (a *App) Upstreams() []UpstreamStatus {
	now := time.Now()
	list := make([]UpstreamStatus, 0, len(a.upstreams))
	for _, u := range a.upstreams {
		list = append(list, UpstreamStatus{Name: u.name, Alive: u.alive(now), InFlight: u.inFlight.Load(),
			Requests: u.requests.Load(), Failures: u.failures.Load()})
	}
	return list
}

// StreamsContent implements gateway.Streamer: content goes to the upstream while it comes.
func (a *App) StreamsContent() bool { return true }

// Serve implements gateway.App. It sets REMOTE_ADDR and the other keys of the client by Options.Trusted.
func (a *App) Serve(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	switch method := env.Method(); {
	case method == http.MethodTrace: // it would show fields that proxies have added, RFC 9110 section 9.3.8
		return refuse(env, start, "405 Method Not Allowed", gateway.Header{Name: "Allow", Value: allowed})
	case a.viaOwn(env.Header("Via")):
		return refuse(env, start, "508 Loop Detected")
	case method == http.MethodOptions && isZero(env.Header("Max-Forwards")): // RFC 9110 section 7.6.2
		_, err := start("204 No Content", []gateway.Header{{Name: "Allow", Value: allowed}}, nil)
		return nil, err
	}
	if !sendableHost(env.Host()) {
		return refuse(env, start, "400 Bad Request")
	}
	path, query := targetOf(env)
	peer, host := env.RemoteAddr(), strings.Clone(env.Host()) // Apply replaces both
	a.options.Trusted.Apply(env)
	x := &exchange{app: a, env: env, start: start, ctx: env.Context(), path: path, query: query}
	x.method, x.host = strings.Clone(env.Method()), host
	x.header = a.requestHeader(env, peer)
	x.expects = env.Protocol() != "HTTP/1.0" && strings.EqualFold(env.Header("Expect"), "100-continue")
	if client := env.RemoteAddr().Addr(); client.IsValid() {
		x.client = client.Unmap().String()
	}
	return x.serve()
}

// sendableHost reports whether http.Transport sends a Host with these bytes. An error of its own would look like a
// failure of the upstream, so that a client could have all upstreams left out.
func sendableHost(host string) bool {
	for i := range len(host) {
		c := host[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9') &&
			!strings.ContainsRune("!$%&'()*+,-.:;=[]_~", rune(c)) {
			return false
		}
	}
	return true
}

// allowed is the value of Allow. An upstream may know more methods, and each passes.
const allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

func isZero(s string) bool {
	n, err := strconv.ParseUint(s, 10, 63)
	return err == nil && n == 0
}

// refuse answers with an error: a short text that says nothing of the upstreams.
func refuse(env *gateway.Environ, start gateway.StartResponse, status string,
	more ...gateway.Header) (gateway.Body, error) {
	fields := append([]gateway.Header{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}}, more...)
	if _, err := start(status, fields, nil); err != nil {
		return nil, err
	}
	return env.Text(status + "\n"), nil
}

// targetOf is the path and the query, with its "?", as the client sent them; the path that is left where a
// middleware has moved a part of it to SCRIPT_NAME. It is "*" for "OPTIONS *". The strings are copies.
func targetOf(env *gateway.Environ) (path, query string) {
	target := env.Target()
	path, ok := env.RawPath()
	switch {
	case !ok: // a middleware has changed the path
		path = (&url.URL{Path: env.Path()}).EscapedPath()
	case target == "*":
		path = "*"
	}
	if q := env.Query(); q != "" || strings.HasSuffix(target, "?") {
		query = "?" + q
	}
	return strings.Clone(path), query
}

// leavesPrefix reports whether a server could read path as one above its root: by "..", encoded or not, with a
// separator of any kind, or before a path parameter. With a prefix such a path would leave it.
func leavesPrefix(path string) bool {
	depth := 0
	for segment := range strings.FieldsFuncSeq(separators.Replace(path), func(r rune) bool { return r == '/' }) {
		segment, _, _ = strings.Cut(segment, ";")
		switch segment {
		case "..":
			if depth--; depth < 0 {
				return true
			}
		case ".", "":
		default:
			depth++
		}
	}
	return false
}

var separators = strings.NewReplacer("%2F", "/", "%2f", "/", "%5C", "/", "%5c", "/", `\`, "/", "%2E", ".", "%2e", ".",
	"%3B", ";", "%3b", ";")

// requestURL is the URL of a request for an upstream, whose target is exactly prefix, path and query. It is an
// error where package net/url cannot express that.
func (u *upstream) requestURL(path, query string) (*url.URL, error) {
	target := u.url
	if u.prefix != "" && path != "*" {
		if leavesPrefix(path) {
			return nil, fmt.Errorf("proxy: the path %q leaves the prefix %q", path, u.prefix)
		}
		path = u.prefix + path
	}
	if strings.HasPrefix(path, "//") { // as Opaque it would be an authority
		decoded, err := url.PathUnescape(path)
		if err != nil {
			return nil, err
		}
		target.Path, target.RawPath = decoded, path
	} else {
		target.Opaque = path
	}
	if query != "" {
		target.RawQuery, target.ForceQuery = query[1:], true
	}
	if got := target.RequestURI(); got != path+query {
		return nil, fmt.Errorf("proxy: the target %q cannot be sent as it is", path+query)
	}
	return &target, nil
}
