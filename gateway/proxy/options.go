package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/isbjorn/isbjorn/gateway/forwarded"
)

// None is the value of an option for "none": UpstreamTimeout, TunnelTimeout, Retries and MaxFails take it.
const None = -1

// Options are the settings of an App. The zero value of each field but To is its default. [New] refuses what
// cannot work; the error names the option, its value and what would do.
type Options struct {
	// To are the upstreams, one or more: http://host:port, https://host:port or unix:/path, each with a
	// path prefix if the upstream has one: http://host:port/prefix, unix:/path:/prefix. The prefix is put
	// before the path of each request.
	To []string

	// Balance is how an upstream is chosen. Default [Least]: a slow upstream gets less.
	Balance Balance

	// Host is the Host field that upstreams get. Default [KeepHost], that of the client: applications make
	// absolute links of it, and choose by it where one serves several names.
	Host HostMode

	// Forward is by which fields upstreams are told who the client is. Default [XForwarded], which most
	// applications read.
	Forward ForwardMode

	// Trusted are the proxies in front of this one, and what they write: the client's address, scheme and
	// host are taken from their fields, and X-Forwarded-For is appended to theirs. Default none: the fields
	// of every client are replaced.
	Trusted forwarded.Proxies

	// ConnectTimeout is how long connecting to an upstream may take, and after it a TLS handshake. Default
	// 5 s: more than a lost SYN and its second try (1 s, 3 s) take. The answer is then 504, if no other
	// upstream can be tried.
	ConnectTimeout time.Duration

	// UpstreamTimeout is how long an upstream may be silent: take no more content, send no first byte, or no
	// next one. Default 60 s, as in nginx (proxy_read_timeout); None for no limit. The time in which the
	// client is waited for does not count. Before the head the answer is 504, after it the response is cut.
	UpstreamTimeout time.Duration

	// TunnelTimeout is how long no byte may pass on an upgraded connection, in either direction. Default 1 h:
	// WebSocket libraries send a ping each minute or less. None for no limit.
	TunnelTimeout time.Duration

	// Retries is how many other upstreams a request may be sent to after the first has failed it. Default 2;
	// None for no retry. A request is repeated only where no byte of a response has come, and where either
	// no byte of it was sent, or its method is idempotent and its content is held (docs/proxy.md).
	Retries int

	// MaxFails is how many requests in a row an upstream must fail within FailTimeout until it is left out.
	// Default 1, as in nginx; None never leaves it out. If all are left out, all are tried.
	MaxFails int

	// FailTimeout is how long an upstream that has failed is left out. Default 10 s, as in nginx.
	FailTimeout time.Duration

	// HealthPath is the path of a GET by which each upstream is asked whether it is alive: a status below
	// 400 says so. Three failures in a row make it dead, two answers alive. If all are dead the answer is 503.
	// Default none.
	HealthPath string

	// HealthInterval is the time between two such questions, less or more by up to a tenth so that several
	// proxies do not ask at once, and the time an answer may take. Default 2 s: a dead upstream is left out
	// after 6 s.
	HealthInterval time.Duration

	// UpgradeTokens are the protocols that Upgrade may change to. Default websocket. An empty list that is
	// not nil allows none. Others are removed from the request. h2c is refused here: its requests would
	// pass unseen.
	UpgradeTokens []string

	// TLS is the configuration for https upstreams, for roots or a client certificate of one's own. Default
	// nil, which is the roots of the system, and TLS 1.2 or later. New clones it.
	TLS *tls.Config

	// Logger is for a line about each failure of an upstream, one a second and upstream at most. Default
	// slog.Default().
	Logger *slog.Logger
}

// Balance is how an upstream is chosen.
type Balance uint8

const (
	// Least chooses the upstream with the fewest requests in progress, in turn where several have as few.
	Least Balance = iota

	// Hash chooses by the client's address: a client keeps its upstream as long as that is alive, and only
	// the clients of a dead one move.
	Hash

	// RoundRobin chooses in turn.
	RoundRobin
)

// HostMode is the Host field that upstreams get.
type HostMode uint8

const (
	KeepHost     HostMode = iota // that of the client
	UpstreamHost                 // that of the URL in To; localhost for a Unix socket
)

// ForwardMode is by which fields upstreams are told who the client is. The other kind is removed.
type ForwardMode uint8

const (
	XForwarded ForwardMode = iota // X-Forwarded-For, -Proto and -Host
	Forwarded                     // Forwarded, RFC 7239
	NoForward                     // none
)

var (
	balanceNames = []string{Least: "least", Hash: "hash", RoundRobin: "round_robin"}
	hostNames    = []string{KeepHost: "keep", UpstreamHost: "upstream"}
	forwardNames = []string{XForwarded: "x-forwarded", Forwarded: "forwarded", NoForward: "none"}
)

// String returns least, hash or round_robin.
func (b Balance) String() string { return nameOf(balanceNames, int(b)) }

// Set takes what String returns, in letters of either case.
func (b *Balance) Set(s string) error { return setByName(b, balanceNames, s) }

// String returns keep or upstream.
func (h HostMode) String() string { return nameOf(hostNames, int(h)) }

// Set takes what String returns, in letters of either case.
func (h *HostMode) Set(s string) error { return setByName(h, hostNames, s) }

// String returns x-forwarded, forwarded or none.
func (f ForwardMode) String() string { return nameOf(forwardNames, int(f)) }

// Set takes what String returns, in letters of either case.
func (f *ForwardMode) Set(s string) error { return setByName(f, forwardNames, s) }

func nameOf(names []string, i int) string {
	if i >= len(names) {
		return strconv.Itoa(i)
	}
	return names[i]
}

func setByName[T ~uint8](value *T, names []string, s string) error {
	i := slices.Index(names, strings.ToLower(s))
	if i < 0 {
		return fmt.Errorf("%q is none of %s", s, strings.Join(names, ", "))
	}
	*value = T(i)
	return nil
}

// or returns value, or def where value is the zero value, which stands for the default.
func or[T comparable](value, def T) T {
	var zero T
	if value == zero {
		return def
	}
	return value
}

// complete returns o with all defaults filled in; None stays as it is.
func (o Options) complete() Options {
	o.ConnectTimeout = or(o.ConnectTimeout, 5*time.Second)
	o.UpstreamTimeout = or(o.UpstreamTimeout, 60*time.Second)
	o.TunnelTimeout = or(o.TunnelTimeout, time.Hour)
	o.Retries = or(o.Retries, 2)
	o.MaxFails = or(o.MaxFails, 1)
	o.FailTimeout = or(o.FailTimeout, 10*time.Second)
	o.HealthInterval = or(o.HealthInterval, 2*time.Second)
	if o.UpgradeTokens == nil {
		o.UpgradeTokens = []string{"websocket"}
	}
	o.Logger = or(o.Logger, slog.Default())
	return o
}

// Check returns the error that [New] would return for o. It connects to no upstream.
func (o Options) Check() error {
	o = o.complete()
	_, err := o.upstreams()
	return err
}

// upstreams checks the options, which are complete, and makes the upstreams.
func (o *Options) upstreams() (list []*upstream, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	for i, to := range o.To {
		if slices.Contains(o.To[:i], to) {
			return nil, fmt.Errorf("proxy: option To has %q twice; leave one of them out", to)
		}
		u, err := parseUpstream(to, o)
		if err != nil {
			return nil, err
		}
		list = append(list, u)
	}
	return list, nil
}

// check refuses values that cannot work.
func (o *Options) check() error {
	if len(o.To) == 0 {
		return errors.New("proxy: option To is empty; list the upstreams, such as http://127.0.0.1:9000")
	}
	for _, t := range []struct {
		option string
		d      time.Duration
		none   bool
	}{
		{"ConnectTimeout", o.ConnectTimeout, false}, {"UpstreamTimeout", o.UpstreamTimeout, true},
		{"TunnelTimeout", o.TunnelTimeout, true}, {"FailTimeout", o.FailTimeout, false},
		{"HealthInterval", o.HealthInterval, false},
	} {
		switch {
		case t.d > 0 || t.none && t.d == None:
		case t.none:
			return fmt.Errorf("proxy: option %s is %v; use a positive duration, or -1 for none", t.option, t.d)
		default:
			return fmt.Errorf("proxy: option %s is %v; use a positive duration, or leave it out for the default",
				t.option, t.d)
		}
	}
	for _, t := range []struct {
		option string
		n      int
	}{{"Retries", o.Retries}, {"MaxFails", o.MaxFails}} {
		if t.n < None {
			return fmt.Errorf("proxy: option %s is %d; use a positive number, or -1 for none", t.option, t.n)
		}
	}
	for _, t := range []struct {
		option string
		value  uint8
		names  []string
	}{
		{"Balance", uint8(o.Balance), balanceNames}, {"Host", uint8(o.Host), hostNames},
		{"Forward", uint8(o.Forward), forwardNames},
	} {
		if int(t.value) >= len(t.names) {
			return fmt.Errorf("proxy: option %s is %d; use one of %s", t.option, t.value, strings.Join(t.names, ", "))
		}
	}
	if p := o.HealthPath; p != "" && (p[0] != '/' || strings.HasPrefix(p, "//") || !plainTarget(p)) {
		return fmt.Errorf("proxy: option HealthPath is %q: use a path such as /health", p)
	}
	for _, token := range o.UpgradeTokens {
		lower := strings.ToLower(token)
		switch {
		case !isToken(strings.Replace(token, "/", "", 1)):
			return fmt.Errorf("proxy: option UpgradeTokens has %q: use the name of a protocol, such as websocket", token)
		case lower == "h2c" || strings.HasPrefix(lower, "http/") || strings.HasPrefix(lower, "tls"):
			return fmt.Errorf("proxy: option UpgradeTokens has %q: its requests would pass unseen; leave it out", token)
		}
	}
	if err := o.Trusted.Check(); err != nil {
		return fmt.Errorf("proxy: option Trusted: %w", err)
	}
	return nil
}

// plainTarget reports whether s has only the bytes of a request target: visible ASCII without "#".
func plainTarget(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '#' {
			return false
		}
	}
	return true
}
