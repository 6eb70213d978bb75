// Package gateway is the interface between a server and an application: what
// WSGI (PEP 3333) is for Python, in Go. It defines both sides of the contract and
// opens no socket.
//
// An [App] is called once for each request. It reads the [Environ], declares the
// status and the headers by calling start, and returns a [Body], from which the
// server pulls the response:
//
//	var headers = []gateway.Header{{Name: "Content-Type", Value: "text/plain"}}
//
//	func hello(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
//		if _, err := start("200 OK", headers, nil); err != nil {
//			return nil, err
//		}
//		return env.Text("Hello, World!"), nil
//	}
//
// # Lifetime
//
// An Environ and every string and slice that comes from it are views of the server's memory. They
// are valid until the response is finished, that is until Close of the Body has returned; after
// that the memory has another request. To keep something longer copy it (strings.Clone,
// bytes.Clone), or all of it with [Environ.Clone]. Slices are read-only. [Debug] finds what is kept
// too long.
//
// # Goroutines
//
// An Environ belongs to the goroutine that serves its request. An application that starts others
// gives them copies, or waits for them. Serve itself runs on several goroutines at once, for
// different requests.
//
// # Blocking
//
// A server runs an application on its event loop, where the other connections of that loop wait
// for it; or on a worker, a goroutine for this request, where it may block, and reads content while
// it comes. The deployer chooses by the option Dispatch of package server: Inline or Pool; or
// Auto, the default: the loop, until the application was seen to block. On the loop an application
// neither blocks nor computes for long; to wait for an event it returns [ErrWait].
//
// # Servers
//
// A server keeps a [ServerEnviron] for each request: it calls Begin before Serve, ContentFrom or
// ContentStream where the content is not all in memory, Cancel when the response is no longer
// wanted, and End after Close of the Body. What it can do beyond PEP 3333 are the methods of its
// [Conn], which embeds [NoConn] for the rest, and Flush and Gather of the writers of start.
//
// # Rules
//
// The comments of [App], [StartResponse], [Body] and [Input] are the contract. [Validate] checks
// both sides of it while an application runs; package gatewaytest calls applications in tests, with
// the same checks.
package gateway
