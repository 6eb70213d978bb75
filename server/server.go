package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
)

// Server serves one application. Its methods may be called from any goroutine.
type Server struct {
	app     gateway.App
	config  *config
	reactor *loop.Reactor

	shutdown sync.Once
	last     sync.Once
	empty    chan struct{} // closed when the last connection went after Shutdown
}

// New makes a server for app. It refuses options that cannot work, naming them.
func New(app gateway.App, options ...Option) (*Server, error) {
	if app == nil {
		return nil, errors.New("server: the application is nil")
	}
	c, err := newConfig(options)
	if err != nil {
		return nil, err
	}
	s := &Server{app: app, config: c, empty: make(chan struct{})}
	s.reactor, err = loop.New(c.loop, func(l *loop.Loop) loop.Handler { return newHandler(s, l) })
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	return s, nil
}

// ListenAndServe serves app on an address until the program ends. It returns
// only with an error.
func ListenAndServe(addr string, app gateway.App) error {
	s, err := New(app)
	if err != nil {
		return err
	}
	return s.ListenAndServe(addr)
}

// ListenAndServe serves on an address until Shutdown or Close, and returns nil
// then. addr is "host:port", ":port" for every address of the machine, or
// "unix:/path". To serve on several addresses call it, or Listen, for each.
func (s *Server) ListenAndServe(addr string) error {
	if _, err := s.Listen(addr); err != nil {
		return err
	}
	return s.Wait()
}

// Listen begins to serve on an address, as ListenAndServe does, and returns
// the address bound: for port 0 the kernel chooses one.
func (s *Server) Listen(addr string) (net.Addr, error) {
	network, address, err := splitAddress(addr)
	if err != nil {
		return nil, err
	}
	bound, err := s.reactor.Listen(network, address)
	if err != nil {
		return nil, fmt.Errorf("server: address %q: %w", addr, err)
	}
	s.reactor.Start()
	return bound, nil
}

// Serve serves connections of l, a TCP or Unix listener, until Shutdown or
// Close, and closes it then.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if err := s.reactor.Adopt(l); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	s.reactor.Start()
	return s.Wait()
}

// splitAddress tells Unix from TCP addresses.
func splitAddress(addr string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		if path == "" {
			return "", "", fmt.Errorf("server: address %q has no path; use unix:/path/to/socket", addr)
		}
		return "unix", path, nil
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return "", "", fmt.Errorf("server: address %q is neither host:port nor :port nor unix:/path: %w", addr, err)
	}
	return "tcp", addr, nil
}

// Wait returns when the server has stopped: nil after Shutdown or Close.
func (s *Server) Wait() error { return s.reactor.Wait() }

// freshGrace is what a connection that has sent nothing yet gets at Shutdown:
// its first request may be on the way.
const freshGrace = time.Second

// Shutdown stops the server in order: it accepts no more connections, answers
// the requests that have come or are coming, with "Connection: close" on the
// last answer of each connection, closes idle ones, and returns nil when none
// is left. When ctx ends before that, the rest is cut and ctx's error returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.shutdown.Do(func() {
		s.reactor.Start() // a server that never listened stops like any other
		s.reactor.StopAccepting()
		for _, l := range s.reactor.Loops() {
			l.Do(l.Handler().(*handler).stop)
		}
	})
	var err error
	select {
	case <-s.empty:
	case <-ctx.Done():
		if n := s.reactor.Len(); n > 0 {
			s.config.log.Warn("shutdown: out of time", "connections cut", n)
			err = ctx.Err()
		}
	}
	s.reactor.Stop()
	return err
}

// OpenMemory opens a connection without a socket: bytes in by Feed, bytes out in
// Out, with all of the server between them. For tests and benchmarks of
// applications; s must not listen, and one goroutine uses all such connections.
func (s *Server) OpenMemory() *loop.Memory { return s.reactor.Loops()[0].OpenMemory() }

// checkEmpty notes that no connection is left. Called on a loop.
func (s *Server) checkEmpty() {
	if s.reactor.Len() == 0 {
		s.last.Do(func() { close(s.empty) })
	}
}

// Close stops the server at once and cuts every connection.
func (s *Server) Close() { s.reactor.Stop() }
