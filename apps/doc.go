// Package apps is an acceptance test of isbjorn's bridge to net/http: applications
// as others write them, on routers, frameworks and handlers of others, each an ordinary
// http.Handler that runs twice: by net/http's own server and by isbjorn. The same clients
// ask both, and the answers have to be the same, but for what differences_test.go lists.
//
// Package stdtest runs Go's own tests of net/http by isbjorn.
// Program pythons unpacks Pythons for the tests of package wsgi.
//
// It is a module of its own, so that what it needs is no dependency of isbjorn's. It has
// nothing but tests: go test ./... in this directory.
package apps
