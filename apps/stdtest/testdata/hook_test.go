package http_test

import (
	"context"
	"log"
	"log/slog"
	"net"
	. "net/http"
	"sync"
	"time"

	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server"
)

// This file is a part of net/http's tests in the run of package stdtest, which adds
// IsbjornServe, IsbjornClose and IsbjornShutdown to the server of net/http.

// A stop is as long as net/http's tests wait for one.
const isbjornStopTime = 5 * time.Second

var (
	isbjornMu      sync.Mutex
	isbjornServers = map[*Server][]*server.Server{}
)

func isbjornServersOf(s *Server) []*server.Server {
	isbjornMu.Lock()
	defer isbjornMu.Unlock()
	return isbjornServers[s]
}

func init() {
	IsbjornServe = serveByIsbjorn
	IsbjornClose = func(s *Server) {
		for _, ours := range isbjornServersOf(s) {
			ours.Close()
		}
	}
	IsbjornShutdown = func(s *Server, ctx context.Context) (err error) {
		for _, ours := range isbjornServersOf(s) {
			err = ours.Shutdown(ctx)
		}
		return err
	}
}

// serveByIsbjorn serves l by isbjorn, until l is closed or s is. It reports false for a listener
// that isbjorn does not take: one of a test's own, or of TLS.
func serveByIsbjorn(s *Server, l net.Listener) (err error, ok bool) {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, false
	}
	logger := s.ErrorLog
	if logger == nil {
		logger = log.Default()
	}
	options := server.Options{
		BodyBytes:    server.NoLimit,
		Logger:       slog.New(slog.NewTextHandler(logger.Writer(), nil)),
		Loops:        1,
		ServerHeader: server.NoServerHeader, // tests compare all fields
	}
	for _, limit := range []struct {
		value  time.Duration
		option *time.Duration
	}{
		{s.ReadHeaderTimeout, &options.HeadTimeout}, {s.ReadTimeout, &options.BodyTimeout},
		{s.IdleTimeout, &options.IdleTimeout}, {s.WriteTimeout, &options.WriteTimeout},
	} {
		*limit.option = max(limit.value, 0) // negative: none, as 0
	}
	handler := HandlerFunc(func(w ResponseWriter, r *Request) {
		if h := s.Handler; h != nil {
			h.ServeHTTP(w, r)
		} else {
			DefaultServeMux.ServeHTTP(w, r)
		}
	})
	ours, err := server.New(nethttp.App(handler), options)
	if err != nil {
		return err, true
	}
	isbjornMu.Lock()
	isbjornServers[s] = append(isbjornServers[s], ours)
	isbjornMu.Unlock()
	served := make(chan error, 1)
	own, err := tcp.File() // that of the test is to show when it is closed
	if err != nil {
		return err, true
	}
	adopted, err := net.FileListener(own)
	_ = own.Close()
	if err != nil {
		return err, true
	}
	go func() { served <- ours.Serve(adopted) }()
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err, true
	}
	for {
		select {
		case <-served:
			return ErrServerClosed, true
		case <-time.After(time.Millisecond):
		}
		if err := raw.Control(func(uintptr) {}); err != nil { // l is closed
			ctx, cancel := context.WithTimeout(context.Background(), isbjornStopTime)
			defer cancel()
			_ = ours.Shutdown(ctx)
			return ErrServerClosed, true
		}
	}
}
