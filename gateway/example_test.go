package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/parser"
)

// An application greets by name.
func ExampleApp() {
	var headers = []gateway.Header{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}}

	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if env.Method() != "GET" {
			_, err := start("405 Method Not Allowed", []gateway.Header{{Name: "Allow", Value: "GET"}}, nil)
			return nil, err
		}
		if _, err := start("200 OK", headers, nil); err != nil {
			return nil, err
		}
		return env.Text("Hello, " + env.Path()[1:] + "!\n"), nil
	})

	call(app, "GET /J%C3%B6rg HTTP/1.1\r\nHost: localhost\r\n\r\n")
	call(app, "DELETE /all HTTP/1.1\r\nHost: localhost\r\n\r\n")
	// Output:
	// 200 OK
	// Content-Type: text/plain; charset=utf-8
	//
	// Hello, Jörg!
	// 405 Method Not Allowed
	// Allow: GET
}

// A middleware adds a field to every response. It wraps start, and passes the Body of the application on
// unchanged.
func ExampleMiddleware() {
	var numbered gateway.Middleware = func(app gateway.App) gateway.App {
		var requests atomic.Int64 // Serve runs on several goroutines at once
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			id := gateway.Header{Name: "X-Request-Id", Value: strconv.FormatInt(requests.Add(1), 10)}
			return app.Serve(env, func(status string, headers []gateway.Header, exc error) (io.Writer, error) {
				return start(status, append(slices.Clip(headers), id), exc)
			})
		})
	}
	hello := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if _, err := start("200 OK", nil, nil); err != nil {
			return nil, err
		}
		return env.Text("Hello, World!\n"), nil
	})

	call(numbered(hello), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	// Output:
	// 200 OK
	// X-Request-Id: 1
	//
	// Hello, World!
}

// printer is the connection of a server that has interim responses, and nothing else of Conn.
type printer struct{ gateway.NoConn }

func (printer) Inform(code int, headers []gateway.Header) error {
	fmt.Println(code, headers)
	return nil
}

// A server calls an application. This one prints what it would send.
func ExampleServerEnviron() {
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if err := env.Inform(103, []gateway.Header{{Name: "Link", Value: "</style.css>"}}); err != nil {
			return nil, err
		}
		_, _, err := env.Hijack()
		fmt.Println(errors.Is(err, errors.ErrUnsupported))
		_, err = start("200 OK", nil, nil)
		return env.Text("Hello, World!"), err
	})

	const head = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	var req parser.Request
	limits := parser.DefaultLimits()
	if _, err := req.Parse([]byte(head), &limits); err != nil {
		fmt.Println(err) // a real server answers 400
		return
	}
	info := &gateway.ServerInfo{Scheme: "http"} // one for all requests
	var env gateway.ServerEnviron               // reused for the next request
	env.Begin(&req, []byte(head), nil, info, printer{})
	defer env.End()
	body, err := app.Serve(&env.Environ, func(status string, _ []gateway.Header, _ error) (io.Writer, error) {
		fmt.Println(status)
		return io.Discard, nil
	})
	if err != nil || body == nil {
		return
	}
	defer body.Close()
	for err == nil {
		var chunk []byte
		chunk, err = body.Next()
		fmt.Printf("%s\n", chunk)
	}
	// Output:
	// 103 [{Link </style.css>}]
	// true
	// 200 OK
	// Hello, World!
}

// call serves one request without a server: it prints what the application
// starts, and the chunks of its Body.
func call(app gateway.App, raw string) {
	var req parser.Request
	limits := parser.DefaultLimits()
	n, err := req.Parse([]byte(raw), &limits)
	if err != nil {
		fmt.Println(err)
		return
	}
	var env gateway.ServerEnviron
	env.Begin(&req, []byte(raw)[:n], []byte(raw)[n:], &gateway.ServerInfo{Scheme: "http"}, gateway.NoConn{})
	defer env.End()

	body, err := app.Serve(&env.Environ, func(status string, headers []gateway.Header, exc error) (io.Writer, error) {
		fmt.Println(status)
		for _, h := range headers {
			fmt.Printf("%s: %s\n", h.Name, h.Value)
		}
		return io.Discard, nil
	})
	if err != nil {
		fmt.Println("failed:", err)
	}
	if body == nil {
		return
	}
	defer body.Close()
	fmt.Println()
	for err == nil {
		var chunk []byte
		chunk, err = body.Next()
		fmt.Printf("%s", chunk)
	}
}
