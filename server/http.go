package server

import (
	"net/http"

	"github.com/isbjorn/isbjorn/gateway/nethttp"
)

// ListenAndServeHTTP serves an http.Handler on an address until the program ends; nil is
// http.DefaultServeMux. It is [ListenAndServe] of nethttp.App(handler), in place of
// http.ListenAndServe, and returns only with an error. A handler may block: see [Auto].
//
// One of the defaults net/http does not have: content of a request over 1 MiB is
// refused, see [Options.BodyBytes]. A handler that takes more needs another limit, or none, which
// leaves it to handlers (http.MaxBytesReader) as net/http does:
//
//	server.ListenAndServeHTTP("127.0.0.1:8080", handler, server.Options{BodyBytes: server.NoLimit})
func ListenAndServeHTTP(addr string, handler http.Handler, options Options) error {
	return ListenAndServe(addr, nethttp.App(handler), options)
}
