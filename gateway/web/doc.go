// Package web is a convenient way to write an application of package gateway: a
// [Request] that reads what a client sent, a [Response] that is an App, and
// [HandlerFunc], which goes from one to the other:
//
//	app := web.HandlerFunc(func(r *web.Request) (*web.Response, error) {
//		var order struct{ Item string }
//		if err := r.JSON(&order); err != nil {
//			return nil, err // the client reads why: 400, 413 or 415
//		}
//		return web.JSON(map[string]string{"ordered": order.Item}).Status(201), nil
//	})
//	server.Main(app, server.Options{})
//
// # Lifetime
//
// What a Request has parsed is copied: the values of Query, Cookies, Form and JSON
// may be kept. What comes from the Environ itself (Path, Header, Host) is a view,
// as package gateway says, and so is the Host of a [Client]. The files of a form
// are there until the request has ended, or Close.
//
// # Errors
//
// What a client did wrong comes back as a [StatusError]. A handler that returns it
// answers with its status. Every other error is the application's own fault: the
// server answers 500 and logs it. Nothing a client sends makes anything here panic.
//
// A wrong value given to a Response, such as a header with a line end, sticks: the
// Response then answers with an error, never with a split head.
//
// # Limits
//
// The server limits the content of every request (its option BodyBytes), by default
// before the application is called. [Options] limits what an application makes of it.
package web
