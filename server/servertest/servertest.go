// Package servertest is for tests and benchmarks of applications that want the bytes of a whole
// server without its sockets. Where the answer to a request is enough, package gatewaytest calls
// the application alone.
//
//	s, err := server.New(app, server.Options{Loops: 1})
//	// ...
//	m := servertest.OpenMemory(s)
//	m.Feed([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
//	fmt.Printf("%s", m.Out)
package servertest

import (
	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/server"
	"github.com/isbjorn/isbjorn/server/internal/testhook"
)

// OpenMemory opens a connection to s without a socket: bytes in by Feed, bytes out in Out, with
// all of the server between them. s must not listen; one goroutine uses all such connections of s,
// and the application runs on it, as with [server.Inline]. With the option Dispatch: Pool it
// panics: no loop runs that could take an answer from a worker.
func OpenMemory(s *server.Server) *loop.Memory { return testhook.OpenMemory(s) }
