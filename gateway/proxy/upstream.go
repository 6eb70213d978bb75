package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// idleTime is how long a connection to an upstream is kept between two requests: shorter than the idle
	// timeout of nginx (75 s) and of isbjorn (130 s), so that no request meets a connection that the
	// upstream has just closed.
	idleTime = 50 * time.Second

	// idleConns is how many idle connections are kept for one upstream. An http.Transport keeps 2, so that
	// under load most requests would open a connection.
	idleConns = 256

	// headBytesMax is the largest head of a response, in bytes; more is answered by 502. nginx allows 4 or
	// 8 KiB and an http.Transport 10 MiB, which a broken upstream could fill for each request.
	headBytesMax = 64 << 10

	// readBytes is the size of the read buffer of a connection: most heads with a small content are one read.
	readBytes = 16 << 10

	// keptBytes is the largest record of heads whose memory an idle connection keeps.
	keptBytes = 4 << 10

	// continueTime is how long content is held back for an upstream that does not answer
	// "Expect: 100-continue": 1 s, as curl waits.
	continueTime = time.Second
)

// upstream is one server behind the proxy.
type upstream struct {
	name   string  // as configured, for logs and numbers
	url    url.URL // scheme and host
	prefix string  // before the path of each request; "" or "/prefix"
	conns  *http.Transport

	inFlight atomic.Int64
	requests atomic.Uint64
	failures atomic.Uint64
	dead     atomic.Bool // by the active check

	mu        sync.Mutex
	fails     int       // in a row, the first of them at firstFail
	firstFail time.Time // zero without one
	downUntil time.Time

	log failureLog
}

// parseUpstream makes an upstream of one value of the option To.
func parseUpstream(to string, o *Options) (*upstream, error) {
	refuse := func(why string) (*upstream, error) {
		return nil, fmt.Errorf("proxy: option To has %q: %s; use http://host:port, https://host:port or unix:/path", to, why)
	}
	up := &upstream{name: to}
	network, address := "tcp", ""
	if path, ok := strings.CutPrefix(to, "unix:"); ok {
		path, up.prefix, _ = strings.Cut(path, ":")
		if !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "@") {
			return refuse("the path of the socket is not absolute")
		}
		network, address = "unix", path
		up.url = url.URL{Scheme: "http", Host: "localhost"}
	} else {
		u, err := url.Parse(to)
		switch {
		case err != nil:
			return refuse("it is no URL")
		case u.Scheme != "http" && u.Scheme != "https":
			return refuse("the scheme is missing or unknown")
		case u.Hostname() == "":
			return refuse("it has no host")
		case !isPort(u.Port()):
			return refuse("the port is no number from 1 to 65535")
		case u.User != nil:
			return refuse("it has a user and a password, which are not sent")
		case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
			return refuse("it has a query or a fragment")
		}
		up.prefix = u.EscapedPath()
		up.url = url.URL{Scheme: u.Scheme, Host: u.Host}
	}
	up.prefix = strings.TrimSuffix(up.prefix, "/")
	if up.prefix != "" && (!strings.HasPrefix(up.prefix, "/") || !plainTarget(up.prefix) || strings.HasPrefix(up.prefix, "//")) {
		return refuse("the prefix is no path")
	}
	up.conns = newTransport(network, address, o)
	return up, nil
}

// isPort reports whether a URL may have a port: none, or a number from 1 to 65535.
func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// newTransport makes the connections of one upstream; address is that of its Unix socket, "" for TCP.
func newTransport(network, address string, o *Options) *http.Transport {
	dialer := &net.Dialer{Timeout: o.ConnectTimeout}
	dial := func(ctx context.Context, _, addr string) (net.Conn, error) {
		if address != "" {
			addr = address
		}
		c, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &conn{Conn: c}, nil
	}
	base := new(tls.Config)
	if o.TLS != nil {
		base = o.TLS.Clone()
	}
	base.NextProtos = nil // HTTP/1.1
	dialTLS := func(ctx context.Context, _, addr string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		conf := base
		if conf.ServerName == "" {
			conf = base.Clone()
			conf.ServerName, _, _ = net.SplitHostPort(addr)
		}
		secure := tls.Client(c, conf)
		ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
		defer cancel()
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = c.Close()
			return nil, err
		}
		return &conn{Conn: secure}, nil
	}
	return &http.Transport{
		DialContext:            dial,
		DialTLSContext:         dialTLS,
		DisableCompression:     true, // content passes as it is
		MaxIdleConnsPerHost:    idleConns,
		IdleConnTimeout:        idleTime,
		ExpectContinueTimeout:  continueTime,
		MaxResponseHeaderBytes: headBytesMax,
		ReadBufferSize:         readBytes,
	}
}

// conn is a connection to an upstream.
//
// It counts what was written: a request of which no byte was written may be sent to another upstream, whatever
// its method. And it records the heads of responses: an http.Transport removes the field Connection where it says
// "close", together with the names of other fields in it, and does not see whether a head came after its request.
type conn struct {
	net.Conn
	written atomic.Int64
	writing atomic.Bool // the request is being written, or was
	reset   atomic.Bool // by the peer: what is written is dropped

	mu        sync.Mutex
	recording bool
	early     bool   // bytes came before the request was written
	before    int64  // bytes written before the request
	recorded  []byte // at most headBytesMax
}

// Write hides the error of a peer that has reset the connection after a part of the request: it may have answered
// before, and http.Transport does not read the answer once a write has failed. The next read has the answer or the
// error.
func (c *conn) Write(p []byte) (int, error) {
	c.writing.Store(true)
	if c.reset.Load() {
		return len(p), nil
	}
	n, err := c.Conn.Write(p)
	written := c.written.Add(int64(n))
	if err == nil || !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		return n, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if written == c.before {
		return n, err
	}
	c.reset.Store(true)
	return len(p), nil
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recording {
		c.early = c.early || n > 0 && !c.writing.Load()
		c.recorded = append(c.recorded, p[:min(n, headBytesMax-len(c.recorded))]...)
	}
	return n, err
}

// CloseWrite is for tunnels: it passes the end of one direction on.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// unwritten reports whether no byte of the request was written.
func (c *conn) unwritten() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written.Load() == c.before
}

// answered reports whether a response, after as many interim ones, came after its request. If it did not, it is what
// the upstream has sent beyond an earlier response, such as content in answer to HEAD: an http.Transport that uses the
// connection again at that moment takes it for the response to the next request.
func (c *conn) answered(resp *http.Response, interim int) (ok bool) {
	status := fmt.Sprintf("%s %d", resp.Proto, resp.StatusCode)
	c.mu.Lock()
	early, first := c.early, bytes.HasPrefix(c.recorded, []byte(status))
	c.mu.Unlock()
	switch {
	case early:
		return false
	case interim == 0:
		return first
	}
	c.eachHead(func(line string, _ textproto.MIMEHeader) {
		ok = ok || interim == 0 && strings.HasPrefix(line, status)
		interim--
	})
	return ok
}

// record begins to record the heads of the responses to one request, or ends it.
func (c *conn) record(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recording = on; on {
		if c.reset.Load() { // the next request must not be lost
			_ = c.Conn.Close()
			c.reset.Store(false)
		}
		c.early, c.before = false, c.written.Load()
		c.writing.Store(false)
	}
	if c.recorded = c.recorded[:0]; !on && cap(c.recorded) > keptBytes {
		c.recorded = nil
	}
}

// connectionField returns the values of Connection in the head after as many others.
func (c *conn) connectionField(after int) (values []string) {
	c.eachHead(func(_ string, header textproto.MIMEHeader) {
		if after--; after == -1 {
			values = header["Connection"]
		}
	})
	return values
}

// hasFinal reports whether the head of a final response has come.
func (c *conn) hasFinal() (final bool) {
	c.eachHead(func(line string, _ textproto.MIMEHeader) {
		_, code, _ := strings.Cut(line, " ")
		final = final || !strings.HasPrefix(code, "1") || strings.HasPrefix(code, "101")
	})
	return final
}

// eachHead calls do for the heads that are recorded, and for content that looks like one.
func (c *conn) eachHead(do func(statusLine string, header textproto.MIMEHeader)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := textproto.NewReader(bufio.NewReader(bytes.NewReader(c.recorded)))
	for {
		line, err := r.ReadLine()
		if err != nil {
			return
		}
		header, err := r.ReadMIMEHeader()
		if err != nil {
			return
		}
		do(line, header)
	}
}

// alive reports whether u is neither dead nor left out.
func (u *upstream) alive(now time.Time) bool {
	if u.dead.Load() {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return !now.Before(u.downUntil)
}

// failed counts a failure of u.
func (u *upstream) failed(o *Options) {
	u.failures.Add(1)
	if o.MaxFails == None {
		return
	}
	now := time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.firstFail.IsZero() || now.Sub(u.firstFail) > o.FailTimeout {
		u.fails, u.firstFail = 0, now
	}
	if u.fails++; u.fails >= o.MaxFails {
		u.downUntil = now.Add(o.FailTimeout)
	}
}

// succeeded ends the count of failures.
func (u *upstream) succeeded() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.fails, u.firstFail, u.downUntil = 0, time.Time{}, time.Time{}
}

// choose returns the upstream for a request that the upstreams in tried have failed, or nil if there is no
// other. client is the address of the client for Hash, "" if it is unknown. Those that are only left out
// are chosen where no other is alive: being left out is a guess.
func (a *App) choose(client string, tried []*upstream) *upstream {
	now := time.Now()
	if u := a.chooseWhere(client, tried, func(u *upstream) bool { return u.alive(now) }); u != nil {
		return u
	}
	return a.chooseWhere(client, tried, func(u *upstream) bool { return !u.dead.Load() })
}

func (a *App) chooseWhere(client string, tried []*upstream, allowed func(*upstream) bool) (best *upstream) {
	hashed := a.options.Balance == Hash && client != ""
	first := 0
	if !hashed {
		first = int(a.turn.Add(1) % uint64(len(a.upstreams)))
	}
	var bestRank uint64
	for i := range a.upstreams {
		u := a.upstreams[(first+i)%len(a.upstreams)]
		if contains(tried, u) || !allowed(u) {
			continue
		}
		var rank uint64 // the lowest is chosen, the first one of those
		switch {
		case hashed:
			rank = rendezvous(client, u.name)
		case a.options.Balance != RoundRobin:
			rank = uint64(max(u.inFlight.Load(), 0))
		}
		if best == nil || rank < bestRank {
			best, bestRank = u, rank
		}
	}
	return best
}

func contains(list []*upstream, u *upstream) bool {
	for _, other := range list {
		if other == u {
			return true
		}
	}
	return false
}

// rendezvous is the rank of an upstream for a client, by highest random weight hashing: if an upstream dies
// only its own clients move. It is the same in every process.
func rendezvous(client, name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(client))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(name))
	// The finalizer of MurmurHash3: FNV alone leaves the high bits of similar texts alike.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
