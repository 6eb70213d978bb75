// Package nethttp is the bridge between package gateway and net/http, in both directions: [App] makes a
// gateway.App of an http.Handler, and [Handler] an http.Handler of a gateway.App.
//
//	server.New(nethttp.App(mux), server.Options{})
package nethttp
