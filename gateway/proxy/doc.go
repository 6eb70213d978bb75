// Package proxy has a gateway.App that stands in front of HTTP servers: a reverse proxy.
//
//	app, err := proxy.New(proxy.Options{To: []string{"http://127.0.0.1:9000", "http://127.0.0.1:9001"}})
//	...
//	defer app.Close()
//	server.Main(app, server.Options{Dispatch: server.Pool})
//
// It chooses an upstream for each request, checks whether upstreams are alive, tries another one where
// nothing can have happened twice, and passes fields, content, trailers, interim responses and upgrades on,
// less those that are for one connection only. docs/proxy.md has the tables.
//
// # What it refuses
//
// TRACE (405), a request that has passed this proxy before (508), upgrades other than those listed, and a
// path that would leave the prefix of an upstream (400). It opens no connection to an address that a client
// names: it is no forward proxy.
//
// # Goroutines
//
// The App blocks while the upstream works. Serve it with the option Dispatch: Pool of package server: the
// goroutines of net/http call the Environ, which an application on the event loop must not do. All methods
// may be called from any goroutine.
package proxy
