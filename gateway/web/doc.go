// Package web is a convenient way to write an application of package gateway: a [Request] that
// parses what a client has sent, a [Response] that is an App, and [HandlerFunc], a function from one
// to the other:
//
//	app := web.HandlerFunc(func(r *web.Request) (*web.Response, error) {
//		var order struct{ Item string }
//		if err := r.JSON(&order); err != nil {
//			return nil, err // a StatusError: 400, 413 or 415 with its text
//		}
//		return web.JSON(map[string]string{"ordered": order.Item}).Status(201), nil
//	})
//	server.Main(app, server.Options{})
//
// # Lifetime
//
// What a Request has parsed is a copy: the values of Query, Cookies, Form and JSON may be kept. The
// strings of the Environ itself (Path, Header, Host) are views, as package gateway says, and so is the
// Host of [Request.Client]. The files of a form exist until the request has ended, or Close.
//
// # Errors
//
// A mistake of the client is a [StatusError]. A handler that returns it answers with its status. Every
// other error is one of the application: the server answers 500 and logs it. No input of a client makes
// this package panic.
//
// An invalid value given to a Response, such as a header with a line end, is an error that sticks: the
// Response is then answered with a 500, never with a split head.
//
// # Limits
//
// The server limits the content of every request (its option BodyBytes), by default before the
// application is called. [Options] limits what parsing it may cost.
package web
