// Package nethttp is the bridge between package gateway and net/http, in both
// directions: [App] makes a gateway.App of an http.Handler, and [Handler] an
// http.Handler of a gateway.App.
//
// A handler blocks, so a server is to give each a goroutine of its own:
//
//	server.New(nethttp.App(mux), server.Dispatch(server.Pool))
package nethttp
