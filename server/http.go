package server

import (
	"net/http"

	"github.com/isbjorn/isbjorn/gateway/nethttp"
)

// ListenAndServeHTTP serves an http.Handler on an address until the program ends; nil is
// http.DefaultServeMux. It replaces http.ListenAndServe: it is [ListenAndServe] of nethttp.App(handler), and
// returns only with an error. A handler may block: see [Auto].
//
// net/http has no limit for the content of a request; here content over 1 MiB is refused, see
// [Options.BodyBytes]. For more, set another limit, or none, and leave it to handlers as with net/http
// (http.MaxBytesReader):
//
//	server.ListenAndServeHTTP("127.0.0.1:8080", handler, server.Options{BodyBytes: server.NoLimit})
func ListenAndServeHTTP(addr string, handler http.Handler, options Options) error {
	return ListenAndServe(addr, nethttp.App(handler), options)
}
