package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isbjorn/isbjorn/server/internal/certs"
	"github.com/isbjorn/isbjorn/server/internal/logqueue"
	"github.com/isbjorn/isbjorn/server/internal/testhook"
	"github.com/isbjorn/isbjorn/server/internal/workers"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
)

// Server serves one application. Its methods may be called from any goroutine.
type Server struct {
	app           gateway.App
	config        *config
	reactor       *loop.Reactor
	refusals      gateway.RefusalLogger // the application, if its outermost part is an access log; else nil
	workers       *workers.Pool         // nil if the application runs on the loops only
	streamContent bool                  // workers read content as it comes; else it is collected first

	stopping     atomic.Bool
	cutting      atomic.Bool  // the time of Shutdown is over: connections are cut
	accepting    atomic.Int32 // loops that still accept: clients may wait in the queues of their listeners
	shutdown     sync.Once
	emptyOnce    sync.Once     // closes empty
	monitorOnce  sync.Once     // starts the monitor
	monitor      *monitor      // nil unless Dispatch: Auto
	allOnWorkers atomic.Bool   // workers run all: Dispatch: Pool, or the application was seen to block (trial.go)
	warnOnce     sync.Once     // logs a field with "_" in its name
	stopBegan    chan struct{} // closed when Shutdown or Close begins
	empty        chan struct{} // closed after Shutdown when no connection is left

	front   atomic.Pointer[frontend] // of https addresses; nil without any
	tickets certs.Tickets            // of their sessions

	mu         sync.Mutex
	listeners  []net.Listener // those of Serve, for drain
	onShutdown []func()
}

// warnHiddenField logs the first field that the application does not see because of "_" in its name.
func (s *Server) warnHiddenField(name string) {
	s.warnOnce.Do(func() {
		s.config.log.Warn("a request field with \"_\" in its name is not shown to the application, which could not tell it from one with \"-\"; "+
			"this is said once; the option UnderscoreFields refuses such requests, or keeps the fields",
			slog.String("field", strings.Clone(name[:min(len(name), loggedNameBytes)])))
	})
}

// loggedNameBytes is how much of a field's name is logged: the client chose it.
const loggedNameBytes = 100

// New makes a server for app. It returns an error for an option that cannot work, which names the option, its
// value and what would do, and if the loops cannot be made, as for want of descriptors.
func New(app gateway.App, options Options) (*Server, error) {
	if app == nil {
		return nil, errors.New("server: the application is nil")
	}
	c, err := newConfig(options)
	if err != nil {
		return nil, err
	}
	s := &Server{app: app, config: c, stopBegan: make(chan struct{}), empty: make(chan struct{})}
	s.refusals, _ = app.(gateway.RefusalLogger)
	if c.dispatch == Auto {
		s.monitor = newMonitor(s)
	}
	if c.dispatch != Inline {
		s.workers = workers.New(c.workers, c.queue)
		s.allOnWorkers.Store(c.dispatch == Pool)
		streamer, ok := app.(gateway.Streamer)
		s.streamContent = c.dispatch == Pool || ok && streamer.StreamsContent()
	}
	// A warning and no error: the server may never receive content over BodyMemory.
	if o := &c.content; c.tempDirUntried && !s.streamContent {
		if err := o.Try(); err != nil {
			c.log.Warn("no temporary file can be made: requests with content over the option BodyMemory will be answered by 500; "+
				"set TMPDIR in the environment, or the option TempDir, to a directory that the server may write to", slog.String("TempDir", o.Dir), slog.Any("error", err))
		}
	}
	s.reactor, err = loop.New(c.loop, func(l *loop.Loop) loop.Handler { return newShard(s, l) })
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s.accepting.Store(int32(len(s.reactor.Loops())))
	return s, nil
}

// ListenAndServe serves app on an address until the program ends. It returns only with an error: of [New], or
// of [Server.ListenAndServe].
func ListenAndServe(addr string, app gateway.App, options Options) error {
	s, err := New(app, options)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.ListenAndServe(addr)
}

// ListenAndServe serves on an address, and on those of the option [Options.Bind], until Shutdown or
// Close, and then returns nil. It returns an error at once if an address is invalid or cannot be bound. addr
// is as for [Server.Listen].
func (s *Server) ListenAndServe(addr string) error {
	return s.serveAddresses([]string{addr})
}

// serveAddresses serves on addresses and on those of the option Bind.
func (s *Server) serveAddresses(addrs []string) error {
	list, err := parseAddresses(append(addrs, s.config.bind...), s.config.unnamedKind())
	if err != nil {
		return err
	}
	for _, a := range list {
		if _, err := s.open(a, s.config.tls); err != nil {
			return err
		}
	}
	s.start()
	return s.Wait()
}

// Listen serves on an address like ListenAndServe, but returns at once, with the bound address: for port 0
// the kernel chooses one. addr is one of
//
//	host:port, :port   TCP; :port is every address of the machine
//	http://host:port   the same, plain
//	https://host:port  the same over TLS, with HTTP/2 and HTTP/1.1
//	unix:/path         a Unix socket; unix:@name in Linux's abstract namespace
//	fd://N             a listening TCP or Unix socket that the process has inherited as descriptor N
//	https+fd://N       the same over TLS
//
// An IPv6 address stands in brackets: [::1]:8080. With a certificate in [Options.TLS], or [WithTLS], host:port is
// https. The descriptor N stays open when the server has stopped.
func (s *Server) Listen(addr string, options ...ListenOption) (net.Addr, error) {
	return s.listen(addr, s.config.unnamedKind(), options)
}

// listen is Listen; unnamed is what is spoken on host:port.
func (s *Server) listen(addr string, unnamed kind, options []ListenOption) (net.Addr, error) {
	var o listenOptions
	for _, f := range options {
		f(&o)
	}
	if o.tls != nil {
		unnamed = kindHTTPS
	}
	a, err := parseAddress(addr, unnamed)
	if err != nil {
		return nil, err
	}
	setup := s.config.tls
	if o.tls != nil {
		if a.kind != kindHTTPS {
			return nil, a.refuse("is not for TLS", "use host:port or https://host:port, or leave WithTLS out")
		}
		if setup, err = tlsSupport.setup(o.tls, a.name(), s.config.log); err != nil {
			return nil, err
		}
	}
	bound, err := s.open(a, setup)
	if err == nil {
		s.start()
	}
	return bound, err
}

// start starts the loops and the monitor, if they do not run yet.
func (s *Server) start() {
	s.reactor.Start()
	if f := s.tlsFront(); f != nil {
		f.start()
	}
	if s.config.dispatch == Auto {
		s.monitorOnce.Do(func() { go s.monitor.run() })
	}
}

// usesWorkers reports whether workers run all requests.
func (s *Server) usesWorkers() bool {
	return s.allOnWorkers.Load() && s.config.dispatchBy == nil
}

// open is Listen without start: new connections wait in the kernel's accept queue. setup is for https addresses.
func (s *Server) open(a address, setup *tlsSetup) (bound net.Addr, err error) {
	switch {
	case s.stopping.Load():
		return nil, errStopping
	case a.kind == kindHTTPS && setup == nil:
		return nil, a.refuseWithoutCertificate()
	case a.network == "fd":
		bound, err = s.openDescriptor(a, setup)
	case a.kind == kindHTTPS:
		var l *net.TCPListener
		if l, err = loop.ListenTCP(a.at); err == nil {
			bound = s.frontOf().add(l, setup)
		}
		err = withoutAddress(err)
	default:
		bound, err = s.reactor.Listen(a.network, a.at)
		err = withoutAddress(err)
	}
	if err != nil {
		return nil, fmt.Errorf("server: address %q: %w", a.text, err)
	}
	return bound, nil
}

// openDescriptor is open for fd://N. Programs that the application starts do not inherit N.
func (s *Server) openDescriptor(a address, setup *tlsSetup) (net.Addr, error) {
	n, err := strconv.Atoi(a.at)
	if err != nil {
		return nil, err
	}
	fd, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w; start the program with a listening socket as descriptor %d", os.NewSyscallError("fcntl", err), n)
	}
	unix.CloseOnExec(n)
	f := os.NewFile(uintptr(fd), a.text)
	defer f.Close() // the reactor has its own
	bound, err := s.adopt(a, setup, f, false)
	return bound, withoutAddress(err)
}

// withoutAddress is an error of the reactor without the address, which the caller names.
func withoutAddress(err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		return cause
	}
	return err
}

// adopt serves what a listening socket accepts, of which it makes a duplicate. With own the server removes the
// file of a Unix socket at the end.
func (s *Server) adopt(a address, setup *tlsSetup, f *os.File, own bool) (net.Addr, error) {
	if a.kind != kindHTTPS {
		return s.reactor.AdoptFile(f, own)
	}
	if setup == nil {
		return nil, a.refuseWithoutCertificate()
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("not a TCP socket that listens: %w", err)
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		_ = l.Close()
		return nil, errors.New("not a TCP socket: TLS is for TCP alone; give it without https")
	}
	return s.frontOf().add(tcp, setup), nil
}

// frontOf returns the front of the server's https addresses, and makes it for the first of them.
func (s *Server) frontOf() frontend {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.tlsFront()
	if f == nil {
		f = tlsSupport.front(s)
		s.front.Store(&f)
	}
	return f
}

// tlsFront returns the front of the server's https addresses; nil without any.
func (s *Server) tlsFront() frontend {
	if f := s.front.Load(); f != nil {
		return *f
	}
	return nil
}

// connections is how many there are, on loops and over TLS.
func (s *Server) connections() int {
	n := s.reactor.Len()
	if f := s.tlsFront(); f != nil {
		n += f.len()
	}
	return n
}

// releaseListeners says that another process has the listeners now: see loop.Reactor.ReleaseListeners.
func (s *Server) releaseListeners() {
	s.reactor.ReleaseListeners()
	if f := s.tlsFront(); f != nil {
		f.release()
	}
}

// Serve serves connections of l, a TCP or Unix listener, until Shutdown or Close, and then closes l and
// returns nil. It returns an error at once if the server was stopped, or l is of another kind.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if s.stopping.Load() {
		return errStopping
	}
	if err := s.reactor.Adopt(l); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	s.mu.Lock()
	s.listeners = append(s.listeners, l)
	s.mu.Unlock()
	s.start()
	return s.Wait()
}

var errStopping = errors.New("server: it was stopped; make a new one")

// Wait waits until the server has stopped: nil after Shutdown or Close, else the error of a loop. On a server
// that does not listen yet it waits too.
func (s *Server) Wait() error { return s.reactor.Wait() }

// Shutdown stops the server in order. It accepts no more connections, answers the requests that have come or
// are coming, with "Connection: close" on the last answer of each connection, and closes connections that
// have been idle for a second. It waits for applications that have taken a connection over by Hijack to
// return, and returns nil when no connection is left. If ctx ends before that, the other connections are cut,
// each with a line in the log, and the error of ctx is returned; hijacked connections stay with their
// applications. If an application blocks its loop and does not return, the log and the error say so.
//
// Applications learn that a stop begins by [gateway.Environ.Stopping], nethttp.Stopping or OnShutdown: so
// they can end responses that have no end.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.config.logs.Flush(logqueue.FlushTime)
	s.shutdown.Do(func() {
		s.beginStop()
		s.mu.Lock()
		for _, f := range s.onShutdown {
			go f()
		}
		s.mu.Unlock()
		s.reactor.Start() // drain needs running loops, also on a server that never listened
		go s.drain()
	})
	err := s.awaitConnections(ctx)
	stats := s.Stats()
	if stats.Connections+stats.Hijacked == 0 {
		err = nil // the last connection has ended together with ctx
	}
	if err != nil {
		s.cutting.Store(true)
	}
	if f := s.tlsFront(); f != nil {
		f.cut()
	}
	s.reactor.Halt()
	blocked := false
	select {
	case <-s.reactor.Done():
	case <-time.After(haltGrace): // an application does not return to its loop, and nothing can end it
		blocked = true
	}
	if s.workers != nil && !blocked {
		s.stopWorkers()
	}
	if err != nil {
		s.config.log.Warn("shutdown: out of time; the context, or the option StopTimeout, says how long it may take",
			slog.Uint64("connections cut", s.Stats().Stopped), slog.Int("hijacked", stats.Hijacked))
	}
	if blocked {
		s.config.log.Warn("shutdown: an application blocks its loop and does not return; the connections of that loop cannot be reached",
			slog.Int("connections", s.reactor.Len()))
		err = errLoopBlocked
	}
	return err
}

// beginStop marks the server as stopping and closes the channel of Environ.Stopping, once.
func (s *Server) beginStop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping.Swap(true) {
		close(s.stopBegan)
	}
}

// awaitConnections waits until no connection is left, and then until no hijacked one is: without connections
// no further one can be hijacked. It returns the error of ctx if that ends first.
func (s *Server) awaitConnections(ctx context.Context) error {
	select {
	case <-s.empty:
	case <-s.reactor.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	pool := s.workers
	if f := s.tlsFront(); f != nil {
		select {
		case <-f.emptied():
		case <-s.reactor.Done():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		pool = f.workers()
	}
	if pool == nil {
		return nil
	}
	select {
	case <-pool.NoneHijacked():
	case <-s.reactor.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// OnShutdown has Shutdown call f when it begins, on a goroutine of its own, and does not wait for it. f may
// end work that has no end, such as subscriptions; a single request has gateway.Environ.Stopping for that. If
// Shutdown has begun, f is called at once. It is RegisterOnShutdown of http.Server. A program with [Main] or
// [Run] gets the server by [Options.OnStart].
func (s *Server) OnShutdown(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping.Load() {
		go f()
		return
	}
	s.onShutdown = append(s.onShutdown, f)
}

// stopWorkers waits haltGrace for the applications of abandoned requests. Their Context has ended, so most
// return.
func (s *Server) stopWorkers() {
	s.workers.Stop()
	select {
	case <-s.workers.NoneRunning():
	case <-time.After(haltGrace):
		busy := s.workers.Load().Running
		s.config.log.Warn("applications still run although the server has stopped; they should return when Environ.Context ends", slog.Int("requests", busy))
	}
}

// haltGrace is how long a loop may take to stop at once, and then a worker.
const haltGrace = time.Second

var errLoopBlocked = errors.New("server: an application blocks its loop and does not return")

// drain closes the listeners, and has each loop end its connections in order.
func (s *Server) drain() {
	s.mu.Lock()
	for _, l := range s.listeners {
		_ = l.Close() // the reactor has its own descriptor
	}
	s.mu.Unlock()
	if f := s.tlsFront(); f != nil {
		go f.drain()
	}
	for _, l := range s.reactor.Loops() { // as tasks: an application may block one loop, and the others must stop
		l.Do(l.Handler().(*shard).stop)
	}
}

func init() {
	testhook.OpenMemory = func(s any) *loop.Memory { return s.(*Server).openMemory() }
}

// openMemory is OpenMemory of package servertest.
func (s *Server) openMemory() *loop.Memory {
	if s.config.dispatch == Pool {
		panic("servertest: OpenMemory does not work with the option Dispatch: Pool, since the loop does not run; use Inline")
	}
	s.workers, s.streamContent = nil, false // Auto is Inline: no loop runs that the monitor could sample
	return s.reactor.Loops()[0].OpenMemory()
}

// checkEmpty closes empty if no connection is left and no loop accepts. Called on a loop.
func (s *Server) checkEmpty() {
	if s.accepting.Load() == 0 && s.reactor.Len() == 0 {
		s.emptyOnce.Do(func() { close(s.empty) })
	}
}

// Close stops the server at once: it cuts every connection, and returns when loops and workers have ended, or
// a second after the loops if workers have not. An application must not call it: it would wait for itself.
func (s *Server) Close() {
	defer s.config.logs.Flush(logqueue.FlushTime)
	s.beginStop()
	if f := s.tlsFront(); f != nil {
		f.cut()
	}
	s.reactor.Stop()
	if s.workers != nil {
		s.stopWorkers()
	}
}
