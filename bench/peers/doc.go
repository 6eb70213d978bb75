// Package peers is a module of its own with the servers that bench/load measures beside
// ours: a small program for each, so that what they need stays out of the main module.
//
//	go build -C bench/peers -o /tmp/peers/ ./...
//	/tmp/peers/fasthttp -addr 127.0.0.1:8080
//
// Each takes -addr (port 0 is any that is free), prints "listening on http://HOST:PORT",
// answers every request with "Hello, World!" as text/plain, adds Server and Date where
// that is its default, and logs nothing. They are set up as their own documentation says
// for speed.
//
// To add one: a directory with a main.go, a line in the table of bench/load/servers.go.
// celeris (github.com/goceleris/celeris) would belong here. It is left out because the
// public module proxy does not serve it (403 for v1.5.8); where it can be had, it is
// celeris.New with the address, one handler for GET / that answers with String, and
// Start.
package peers
