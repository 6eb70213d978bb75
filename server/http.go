package server

import (
	"net/http"

	"github.com/isbjorn/isbjorn/gateway/nethttp"
)

// ListenAndServeHTTP serves an http.Handler on an address until the program ends; nil is
// http.DefaultServeMux. It is [ListenAndServe] of nethttp.App(handler), in place of
// http.ListenAndServe, and returns only with an error. A handler may block: see [Auto].
//
// The options are the defaults. One of them net/http does not have: content of a request
// over 1 MiB is refused, see [BodyBytes]. A handler that takes more needs a server with
// another limit, or with none, which leaves it to handlers (http.MaxBytesReader) as
// net/http does:
//
//	server.New(nethttp.App(handler), server.BodyBytes(-1))
func ListenAndServeHTTP(addr string, handler http.Handler) error {
	return ListenAndServe(addr, nethttp.App(handler))
}
