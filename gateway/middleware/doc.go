// Package middleware is what most applications want around them: each piece is one
// small file and knows of none of the others.
//
// # The order
//
// [Stack] puts the first one outside. What is outside sees what those inside have
// made. This order is right for most:
//
//	app, err := middleware.Stack(router,
//		accessLog,          // sees every answer, as the first the server's refusals too; who asked it hears from proxies
//		proxies,            // all below want to know who asks
//		requestID,
//		middleware.Recover, // a panic of all below is a 500, and is logged
//		rate, body,         // refuse before there is work
//		compress,
//		conditional,        // inside of compress: the ETag is that of the plain content
//	)
//
// # To write one
//
// A middleware is a function from an App to an App. What it does before it calls
// the inner Serve, it does with the Environ: read, Set, Delete, or answer by
// itself. To see or to change the status and the headers it hands the inner
// application a start of its own, which calls the outer one:
//
//	func poweredBy(app gateway.App) gateway.App {
//		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
//			return app.Serve(env, func(status string, headers []gateway.Header, exc error) (io.Writer, error) {
//				return start(status, append(slices.Clip(headers), gateway.Header{Name: "X-Powered-By", Value: "bears"}), exc)
//			})
//		})
//	}
//
// These are the rules (PEP 3333, "Middleware: Components that Play Both Sides").
//
//   - The headers are the application's: add to a copy, as slices.Clip makes append do.
//   - start may be called in Serve or as late as in the first Next, and again with an
//     exc that is not nil, which replaces the response as long as nothing was sent.
//     That is also how a middleware replaces what it has passed on already; but the server
//     forgets trailer fields then, so one that changes headers by the content calls the outer
//     start when it knows: at the first Write or Flush, or when Serve has returned.
//   - Return the writer that start gives, or one that writes to it and passes Flush and
//     Gather on (gateway.Flush, gateway.Gather). Do not turn chunks into writes, nor writes
//     into chunks.
//   - A Body that is not handed on is closed. One that is wrapped is closed by the
//     wrapper's Close, which comes exactly once, whatever happened. A middleware that
//     calls Next in its own Serve closes the Body if that panics: nobody else can.
//   - A wrapper gives at least one chunk for each that it takes; an empty one will do.
//     It does not take the next before it was asked for it.
//   - A wrapper that changes no length has Len if the inner Body has it
//     (gateway.Sized). One that changes no bytes has Unwrap (gateway.Wrapper), so that
//     others find a file behind it, and a server may send that without reading it.
//   - A wrapper hands gateway.ErrWait on.
//   - All of the Environ is lent until Close has returned: clone what is kept longer.
//   - By default applications run on the server's event loop (its option Dispatch): do
//     not wait in a middleware that is for anybody.
package middleware

import (
	"errors"
	"fmt"

	"github.com/isbjorn/isbjorn/gateway"
)

// Stack puts app into middlewares, the first of them outside. One that is nil is an
// error.
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
