// Package middleware has the middlewares that most applications want. Each is a small file (Static is
// several), and depends on none of the others.
//
// # The order
//
// [Stack] puts the first one outside. A middleware sees the responses of all inside it. This order
// suits most applications:
//
//	app, err := middleware.Stack(router,
//		accessLog,          // sees every response, and as the first also what the server refuses
//		proxies,            // all below need the address of the client; accessLog reads it at the end
//		requestID,
//		middleware.Recover, // makes a panic of all below a 500, and logs it
//		rate, body,         // refuse before there is work
//		compress,
//		conditional,        // inside compress: the ETag is that of the content before compression
//	)
//
// # To write one
//
// A middleware is a function from an App to an App. Before it calls the inner Serve it can read, Set
// and Delete keys of the Environ, or answer by itself. To see or to change the status and the headers
// it gives the inner application a start of its own, which calls the outer one:
//
//	func poweredBy(app gateway.App) gateway.App {
//		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
//			return app.Serve(env, func(status string, headers []gateway.Header, exc error) (io.Writer, error) {
//				by := gateway.Header{Name: "X-Powered-By", Value: "bears"}
//				return start(status, append(slices.Clip(headers), by), exc)
//			})
//		})
//	}
//
// These are the rules (PEP 3333, "Middleware: Components that Play Both Sides").
//
//   - The headers belong to the application: add to a copy, as slices.Clip makes append do.
//   - start may be called in Serve or as late as in the first Next, and again with an exc that is
//     not nil, which replaces the response as long as nothing was sent. A middleware can replace by
//     that what it has passed on already; but the server forgets trailer fields then, so one that
//     changes headers by the content calls the outer start once it has the content: at the first
//     Write or Flush, or when Serve has returned.
//   - Return the writer of start, or one that writes to it and passes Flush and Gather on
//     (gateway.Flush, gateway.Gather). Do not turn chunks into writes, nor writes into chunks.
//   - Close a Body that is not passed on. The Close of a wrapper, which the server calls exactly
//     once, closes the inner Body. A middleware that calls Next in its own Serve closes the Body if
//     that panics: the server has not got it yet.
//   - A wrapper yields at least one chunk, which may be empty, for each that it takes. It does not
//     take the next one before its Next is called.
//   - A wrapper that changes no length has Len if the inner Body has it (gateway.Sized). One that
//     changes no bytes has Unwrap (gateway.Wrapper), so that a server finds a file inside and may
//     send it without reading it.
//   - A wrapper passes gateway.ErrWait on.
//   - All of the Environ is valid until Close has returned: clone what is kept longer.
//   - By default applications run on the event loop of the server (its option Dispatch): a
//     middleware for all applications does not wait.
package middleware

import (
	"errors"
	"fmt"

	"github.com/isbjorn/isbjorn/gateway"
)

// Stack wraps app in middlewares, the first of them outside. A nil middleware is an error.
func Stack(app gateway.App, middlewares ...gateway.Middleware) (gateway.App, error) {
	if app == nil {
		return nil, errors.New("middleware: the application of Stack is nil")
	}
	for i := len(middlewares) - 1; i >= 0; i-- {
		if middlewares[i] == nil {
			return nil, fmt.Errorf("middleware: number %d of Stack is nil; look at the error of its constructor", i)
		}
		app = middlewares[i](app)
	}
	return app, nil
}
