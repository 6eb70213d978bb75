// Package server runs a gateway application over HTTP/1.1.
//
//	log.Fatal(server.ListenAndServe("127.0.0.1:8080", app, server.Options{}))
//
// For an http.Handler there is [ListenAndServeHTTP], or package gateway/nethttp. For a
// whole program with flags, signals, an orderly end, and restarts that
// refuse nobody there is [Main]; [Run] is Main without flags.
//
// The way of a request, file by file:
//
//	loop/conn.go          bytes come in and are offered to
//	server/shard.go  the life of a connection: requests out of bytes, refusals;
//	                   phase.go says what it may do when, as one table, timeout.go
//	                   how long it may take, end.go how it ends
//	server/exchange.go one request: collect the content, call the application,
//	                   answer; pull.go sends a body that comes in pieces
//	server/response.go the answer: framing and content; head.go renders status and
//	                   headers, refusal.go answers what cannot be served
//	loop/send.go       the answers of one read leave in one write
//
// Each loop has a handler with its own exchanges and buffers, so nothing here is
// shared between goroutines but the Server itself.
package server
