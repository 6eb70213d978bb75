// Package server runs a gateway application over HTTP/1.1.
//
//	log.Fatal(server.ListenAndServe("127.0.0.1:8080", app, server.Options{}))
//
// For an http.Handler there is [ListenAndServeHTTP], or package gateway/nethttp. For a
// whole program with flags, signals, an orderly stop, and restarts that refuse no client
// there is [Main]; [Run] is Main without flags.
//
// The way of a request, file by file:
//
//	loop/conn.go        bytes are read and offered to
//	server/shard.go     one loop's part of the server; it has a session for each connection
//	server/session.go   one connection: requests out of bytes; phase.go has what it may do
//	                    when, as one table, timeout.go how long it may take, end.go how it
//	                    ends
//	server/exchange.go  one request: collects the content, calls the application,
//	                    answers; pull.go sends a body that comes in pieces
//	server/handoff.go   the call on the loop; internal/callstate has its states, monitor.go
//	                    finds one that blocks, whose loop then continues on a new goroutine
//	server/dispatch.go  the call on a worker; job.go is the loop's side of it, worker.go
//	                    the worker's
//	server/response.go  the answer: framing and content; internal/respond renders it,
//	                    refusal.go answers what cannot be served
//	loop/send.go        the answers of one read leave in one write
//
// Each loop has a shard with its own sessions, exchanges and buffers. Only the Server, its
// monitor, its workers and its log are shared between goroutines. docs/design.md is the map.
package server
