package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/parser"
	"github.com/isbjorn/isbjorn/server/internal/workers"
)

// handshakeTime is how long a TLS handshake may take, and handshakesMax how many run at once: each costs as much as
// some fifty requests. Beyond that the oldest is ended, since a client that answers needs a round trip and one that
// stalls takes all of the time. Variables for tests.
var (
	handshakeTime = 10 * time.Second
	handshakesMax = 512
)

const (
	// reloadInterval is how often the files of certificates are read.
	reloadInterval = 10 * time.Second

	// streamsMax is how many requests of one HTTP/2 connection run at once. RFC 9113 section 6.5.2 advises 100 at least.
	streamsMax = 250
)

// front serves the https addresses of a server: it accepts, does the handshakes, and hands the connections to net/http,
// which has HTTP/2; each request runs on a worker. HTTP/1.1 and HTTP/2 are two http.Servers, since they end in two
// ways: HTTP/2 has GOAWAY, and an idle connection of HTTP/1.1 may have a request on its way.
type front struct {
	srv     *Server
	handler http.Handler // the application
	h1, h2  *http.Server
	q1, q2  *connQueue
	pool    *workers.Pool // that of the loops; one of its own with Inline

	released atomic.Bool // another process has the listeners
	open     atomic.Int64
	empty    chan struct{} // closed when no connection is left after drain
	stop     chan struct{} // closed by cut
	stopOnce sync.Once

	mu          sync.Mutex
	started     bool
	stopping    bool // no further connection is accepted
	drained     bool
	listeners   []*tlsListener
	conns       map[*tlsConn]struct{}
	handshaking int
	accepting   sync.WaitGroup

	refusedLog, plainLog, descriptorLog secondLog
	counts                              counts
}

// tlsListener is an address of the front.
type tlsListener struct {
	*net.TCPListener
	front   *front
	setup   *tlsSetup
	running bool
}

func newFront(s *Server) *front {
	c := s.config
	f := &front{
		srv: s, pool: s.workers, conns: make(map[*tlsConn]struct{}),
		empty: make(chan struct{}), stop: make(chan struct{}),
	}
	if f.pool == nil {
		f.pool = workers.New(c.workers, c.queue)
	}
	info := s.info()
	info.Multithread = true
	f.handler = nethttp.HandlerWith(s.app, nethttp.HandlerOptions{
		Limits: c.limits, Info: info,
		Check: func(req *parser.Request, head []byte) *parser.Error { return c.checkHead(req, head) },
		Refuse: func(w http.ResponseWriter, r *http.Request, _ []byte, why *parser.Error) {
			w.(*tlsCall).refuseHead(why)
		},
		Failed: func(begun, abort bool) {
			f.count(failed)
			if begun || abort {
				f.count(aborted)
			}
		},
	})
	f.q1, f.q2 = newConnQueue(), newConnQueue()
	f.h1 = f.newServer(func(p *http.Protocols) { p.SetHTTP1(true) })
	f.h2 = f.newServer(func(p *http.Protocols) { p.SetHTTP2(true) })
	f.h2.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams:      streamsMax,
		MaxReceiveBufferPerStream: max(c.loop.HighWaterBytes, 64<<10),
	}
	return f
}

func (f *front) newServer(set func(*http.Protocols)) *http.Server {
	c := f.srv.config
	s := &http.Server{
		Handler:           f,
		ReadHeaderTimeout: c.headTime,
		IdleTimeout:       c.idleTime,
		MaxHeaderBytes:    c.limits.HeadBytes,
		ErrorLog:          log.New(errorLog{c.log}, "", 0),
		Protocols:         new(http.Protocols),
		ConnState:         f.connState,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, tlsConnKey{}, connOf(c))
		},
	}
	set(s.Protocols)
	return s
}

// tlsConnKey is the key of the *tlsConn in the Context of a request.
type tlsConnKey struct{}

func (f *front) count(c counter) { f.counts[c].Add(1) }

func (f *front) counted(c counter) uint64 { return f.counts[c].Load() }

func (f *front) emptied() <-chan struct{} { return f.empty }

func (f *front) evictAny() bool { return f.evictIdle(nil) }

func (f *front) release() { f.released.Store(true) }

func (f *front) workers() *workers.Pool { return f.pool }

func (f *front) len() int { return int(f.open.Load()) }

// add adds a listener, whose connections are accepted after start. It returns the bound address.
func (f *front) add(l *net.TCPListener, setup *tlsSetup) net.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listeners = append(f.listeners, &tlsListener{TCPListener: l, front: f, setup: setup})
	return l.Addr()
}

// start accepts on the listeners that were added since the last start.
func (f *front) start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopping {
		return
	}
	if !f.started {
		f.started = true
		go func() { _ = f.h1.Serve(f.q1) }()
		go func() { _ = f.h2.Serve(f.q2) }()
		go f.renew()
	}
	f.srv.tickets.Rotate(time.Now())
	for _, l := range f.listeners {
		if l.running {
			continue
		}
		l.running = true
		if l.setup.certs != nil {
			l.setup.certs.Warn()
		}
		l.setup.setTickets(f.srv)
		f.accepting.Go(l.run)
	}
}

func (t *tlsSetup) setTickets(s *Server) {
	if t.label != "" {
		t.config.SetSessionTicketKeys(s.tickets.Keys(t.label))
	}
}

// renew reads certificates that have changed, and makes new ticket keys each day.
func (f *front) renew() {
	t := time.NewTicker(reloadInterval)
	defer t.Stop()
	for {
		select {
		case <-f.stop:
			return
		case now := <-t.C:
			f.reload()
			if f.srv.tickets.Rotate(now) {
				for _, setup := range f.setups() {
					setup.setTickets(f.srv)
				}
			}
		}
	}
}

// reload reads the certificates again.
func (f *front) reload() {
	for _, setup := range f.setups() {
		if setup.certs != nil {
			setup.certs.Reload()
		}
	}
}

// setups are those of the listeners, each once.
func (f *front) setups() (all []*tlsSetup) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.listeners {
		if !slices.Contains(all, l.setup) {
			all = append(all, l.setup)
		}
	}
	return all
}

// appendFiles appends duplicates of the listeners, for a process that continues with them.
func (f *front) appendFiles(files []*os.File) ([]*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.listeners {
		raw, err := l.SyscallConn()
		if err != nil {
			return files, err
		}
		var fd int
		var dupErr error
		if err := raw.Control(func(p uintptr) { fd, dupErr = unix.FcntlInt(p, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
			return files, err
		}
		if dupErr != nil {
			return files, os.NewSyscallError("fcntl", dupErr)
		}
		files = append(files, os.NewFile(uintptr(fd), l.Addr().String()))
	}
	return files, nil
}

// run accepts connections until drain.
func (l *tlsListener) run() {
	defer l.Close()
	var stopped time.Time
	for delay := time.Duration(0); ; {
		c, err := l.AcceptTCP()
		switch {
		case err == nil:
			delay = 0
			l.front.accept(l, c)
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded): // drain has set it
			if !stopped.IsZero() || l.front.released.Load() {
				return
			}
		default: // for want of descriptors, for example
			if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
				l.front.count(noDescriptor)
			}
			l.front.descriptorLog.warn(l.front.srv.config.log, "connections over TLS cannot be accepted", slog.Any("error", err))
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(delay):
			case <-l.front.stop:
			}
		}
		if !l.front.isStopping() {
			continue
		}
		// What waits in the queue of the listener is accepted: the kernel would reset it. A process that has taken the
		// listener over accepts it in place of this one.
		if stopped.IsZero() {
			stopped = time.Now()
		}
		if l.front.released.Load() || time.Since(stopped) > stopIdleTime {
			return
		}
		const queueTime = 5 * time.Millisecond
		_ = l.SetDeadline(time.Now().Add(queueTime))
	}
}

func (f *front) isStopping() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stopping
}

// accept takes a connection, and does its handshake on a goroutine of its own. Over MaxConnections an idle
// connection is closed for it, or it is closed itself: before a handshake nothing can be answered.
func (f *front) accept(l *tlsListener, raw *net.TCPConn) {
	f.count(accepted)
	c := &tlsConn{Conn: raw, front: f, setup: l.setup, opened: time.Now()}
	c.lastRead.Store(c.opened.UnixNano())
	f.mu.Lock()
	f.conns[c] = struct{}{}
	f.open.Add(1)
	var oldest *tlsConn
	if f.handshaking++; f.handshaking > handshakesMax {
		oldest = f.oldestHandshake(c)
	}
	f.mu.Unlock()
	if oldest != nil {
		_ = oldest.Close()
	}
	if f.srv.connections() > f.srv.config.maxConns && !f.evictIdle(c) {
		f.srv.evictIdleOn(f.srv.reactor.Loops(), func(found bool) {
			if !found {
				f.count(refusedFull)
				f.refusedLog.warn(f.srv.config.log, "no idle connection to close for a new one over TLS, which is closed: raise the option MaxConnections, or lower IdleTimeout and HeadTimeout",
					slog.Int("MaxConnections", f.srv.config.maxConns))
				go c.Close() // not on the loop
			}
		})
	}
	go f.handshake(c)
}

// oldestHandshake is the connection other than c that has been in its handshake for longest. Caller holds mu.
func (f *front) oldestHandshake(c *tlsConn) (oldest *tlsConn) {
	for other := range f.conns {
		if other == c || other.state.Load() != connHandshakes || other.closed.Load() {
			continue
		}
		if oldest == nil || other.opened.Before(oldest.opened) {
			oldest = other
		}
	}
	return oldest
}

// handshake does the handshake and hands the connection to the server of its protocol.
func (f *front) handshake(c *tlsConn) {
	deadline := c.opened.Add(handshakeTime)
	_ = c.SetDeadline(deadline)
	t := tls.Server(c, c.setup.config)
	err := t.HandshakeContext(context.Background())
	_ = c.SetDeadline(time.Time{})
	f.mu.Lock()
	f.handshaking--
	f.mu.Unlock()
	if err != nil {
		f.handshakeFailed(c, err)
		return
	}
	c.tls = t
	q := f.q1
	if t.ConnectionState().NegotiatedProtocol == "h2" {
		q, c.h2 = f.q2, true
	}
	c.state.Store(connIdle) // behind h2, which another goroutine reads of idle connections
	if !q.put(t) {
		_ = t.Close()
	}
}

// handshakeFailed ends a connection without a handshake: a scanner, a client that does not like the certificate or has
// gone. A client that speaks plain HTTP gets an answer that says so.
func (f *front) handshakeFailed(c *tlsConn, err error) {
	defer c.Close()
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader) {
		f.count(refused)
		f.plainLog.warn(f.srv.config.log, "a client speaks plain HTTP to an https address; it has to use https://", slog.Any("remote", c.RemoteAddr()))
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"+
			"Bad Request: this address is for https\n")
		return
	}
	f.srv.config.log.Debug("a TLS handshake has failed", slog.Any("remote", c.RemoteAddr()), slog.Any("error", err))
}

// looksLikeHTTP reports whether a client has sent a method where a TLS record begins.
func looksLikeHTTP(header [5]byte) bool {
	for _, method := range []string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH"} {
		if string(header[:]) == method {
			return true
		}
	}
	return false
}

// connState is http.Server.ConnState.
func (f *front) connState(nc net.Conn, state http.ConnState) {
	c := connOf(nc)
	switch state {
	case http.StateActive:
		c.state.Store(connActive)
	case http.StateIdle:
		c.headBegun.Store(false)
		c.state.Store(connIdle)
		c.lastRead.Store(time.Now().UnixNano())
	case http.StateHijacked:
		c.hijack()
		f.remove(c)
	}
}

// remove forgets a connection that has ended, or that an application has taken over.
func (f *front) remove(c *tlsConn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.conns[c]; !ok {
		return
	}
	delete(f.conns, c)
	f.open.Add(-1)
	f.checkEmpty()
}

// checkEmpty closes empty if no connection is left after drain. Caller holds mu.
func (f *front) checkEmpty() {
	if f.drained && len(f.conns) == 0 {
		select {
		case <-f.empty:
		default:
			close(f.empty)
		}
	}
}

// evictIdle closes the connection that has been idle for longest, other than c. It reports false if there is none.
func (f *front) evictIdle(c *tlsConn) bool {
	f.mu.Lock()
	var idle *tlsConn
	for other := range f.conns {
		if other != c && other.isIdle() && (idle == nil || other.lastRead.Load() < idle.lastRead.Load()) {
			idle = other
		}
	}
	f.mu.Unlock()
	if idle == nil {
		return false
	}
	f.count(evictedIdle)
	idle.end()
	return true
}

// drain ends the connections in order: it accepts what has come, tells HTTP/2 clients by GOAWAY, and closes connections
// of HTTP/1.1 when they have been idle for a second. Requests that come until then are answered, and the answer says
// close (tlsCall.serve).
func (f *front) drain() {
	f.mu.Lock()
	f.stopping = true
	for _, l := range f.listeners {
		if l.running {
			_ = l.SetDeadline(time.Now())
		} else {
			_ = l.Close()
		}
	}
	f.mu.Unlock()
	f.accepting.Wait()
	began, told := time.Now(), false
	f.mu.Lock()
	f.drained = true
	f.checkEmpty()
	f.mu.Unlock()
	const turn = 20 * time.Millisecond
	for {
		idle, handshakes := f.idleSince(time.Now().Add(-stopIdleTime))
		if !told && (!handshakes || time.Since(began) > stopIdleTime) {
			told = true
			go func() { _ = f.h2.Shutdown(context.Background()) }() // it sends GOAWAY at once
		}
		for _, c := range idle {
			c.end()
		}
		select {
		case <-f.empty:
			return
		case <-f.stop:
			return
		case <-time.After(turn):
		}
	}
}

// idleSince returns the connections of HTTP/1.1 that have been idle since t, with nothing unread, and whether there are
// handshakes.
func (f *front) idleSince(t time.Time) (idle []*tlsConn, handshakes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		handshakes = handshakes || c.state.Load() == connHandshakes
		if c.isIdle() && !c.h2 && c.lastRead.Load() <= t.UnixNano() && !c.unread() {
			idle = append(idle, c)
		}
	}
	return idle, handshakes
}

// cut ends what is left.
func (f *front) cut() {
	f.stopOnce.Do(func() { close(f.stop) })
	f.mu.Lock()
	f.stopping, f.drained = true, true
	var rest []*tlsConn
	for c := range f.conns {
		rest = append(rest, c)
	}
	for _, l := range f.listeners {
		_ = l.Close()
	}
	f.checkEmpty()
	f.mu.Unlock()
	for _, c := range rest {
		f.count(stopped)
		if f.srv.cutting.Load() {
			f.srv.config.log.Warn("shutdown: out of time, a connection over TLS is cut", slog.Any("remote", c.RemoteAddr()), slog.String("phase", c.phase()))
		}
		c.cut.Store(true)
		_ = c.Close()
	}
	_ = f.h1.Close()
	_ = f.h2.Close()
	f.q1.Close()
	f.q2.Close()
	if f.pool != f.srv.workers {
		f.pool.Stop()
	}
}

// connQueue is a net.Listener whose connections come from handshakes.
type connQueue struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newConnQueue() *connQueue {
	return &connQueue{conns: make(chan net.Conn), done: make(chan struct{})}
}

// put hands a connection to the server. It reports false if that has stopped.
func (q *connQueue) put(c net.Conn) bool {
	select {
	case q.conns <- c:
		return true
	case <-q.done:
		return false
	}
}

func (q *connQueue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

func (q *connQueue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

func (q *connQueue) Addr() net.Addr { return &net.TCPAddr{} }

// errorLog is where net/http writes its lines.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	level := slog.LevelWarn
	switch {
	case strings.HasPrefix(text, "http: panic"):
		level = slog.LevelError
	case strings.HasPrefix(text, "http: TLS handshake error"), strings.HasPrefix(text, "http2: "), strings.HasPrefix(text, "timeout waiting for"),
		strings.HasPrefix(text, "http: URL query contains semicolon"): // what clients do
		level = slog.LevelDebug
	}
	l.log.Log(context.Background(), level, text)
	return len(line), nil
}

// secondLog is rateLimitedLog for any goroutine.
type secondLog struct {
	mu    sync.Mutex
	last  time.Time
	count int
}

func (w *secondLog) warn(log *slog.Logger, msg string, attrs ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count++
	if now := time.Now(); now.Sub(w.last) >= time.Second {
		log.Warn(msg, append(attrs, slog.Int("times", w.count))...)
		w.last, w.count = now, 0
	}
}

// remoteOf is the address of the peer; zero if it is none of TCP.
func remoteOf(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		ap := tcp.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
