// Package server runs a gateway application over HTTP/1.1, and over TLS with HTTP/2.
//
//	log.Fatal(server.ListenAndServe("127.0.0.1:8080", app, server.Options{}))
//
// For an http.Handler there is [ListenAndServeHTTP], or package gateway/nethttp. [Main] is a whole program,
// with flags, signals, an orderly stop, and restarts that refuse no client; [Run] is Main without flags.
//
// The files, in the order in which a request uses them:
//
//	loop/conn.go        reads bytes and calls shard.Input
//	server/shard.go     one loop's part of the server, with a session for each connection
//	server/session.go   one connection: parses requests; phase.go has its states as one table,
//	                    timeout.go its timeouts, end.go its end
//	server/exchange.go  one request: collects the content, calls the application and sends the
//	                    response; pull.go sends a body that comes in pieces
//	server/call.go      the call on the loop; internal/callstate has its states, monitor.go
//	                    finds a call that blocks, whose loop then continues on a new goroutine
//	server/dispatch.go  the call on a worker; job.go is the loop's side of it, worker.go
//	                    the worker's
//	server/response.go  the response: framing and content; internal/respond renders it,
//	                    refusal.go answers requests that cannot be served
//	loop/send.go        sends the answers to one read in one write
//
// Requests over TLS take another way, through net/http: tlsfront.go accepts and hands over, tlsconn.go is the
// socket, tlscall.go one request; internal/certs has the certificates.
//
// Each loop has a shard with its own sessions, exchanges and buffers. Only the Server, its monitor, its
// workers and its log are shared between goroutines. docs/design.md is the map.
package server
