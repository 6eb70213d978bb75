package gateway_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
)

// What docs/gateway.md shows.

var plain = []gateway.Header{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}}

// greet greets the name that is the content.
func greet(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if env.Method() != "POST" {
		_, err := start("405 Method Not Allowed", []gateway.Header{{Name: "Allow", Value: "POST"}}, nil)
		return nil, err
	}
	name, err := env.Input().ReadLine(100)
	if err != nil && err != io.EOF {
		return nil, err // the client is gone, or was too slow
	}
	if _, err := start("200 OK", plain, nil); err != nil {
		return nil, err
	}
	return env.Text("Hello, " + string(name) + "!\n"), nil
}

func TestGreet(t *testing.T) {
	app := gateway.Debug(gateway.AppFunc(greet)) // finds what is kept beyond the response
	got := gatewaytest.Call(app, gatewaytest.Request{Method: "POST", Body: "Ada"})
	if got.Err != nil || got.Code != 200 || got.Text() != "Hello, Ada!\n" {
		t.Errorf("%s, %q, %v", got.Status, got.Text(), got.Err)
	}
	if got := gatewaytest.Get(app, "/"); got.Code != 405 || got.Get("Allow") != "POST" {
		t.Errorf("%s, Allow %q", got.Status, got.Get("Allow"))
	}
}

// finished reports each response when it has ended.
func finished(app gateway.App) gateway.App {
	return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		body, err := app.Serve(env, start)
		if body == nil {
			return nil, err
		}
		return &finishedBody{body, env}, err
	})
}

type finishedBody struct {
	gateway.Body // Next is passed on, gateway.ErrWait too
	env          *gateway.Environ
}

// Unwrap says that the chunks are those of the inner Body.
func (b *finishedBody) Unwrap() gateway.Body { return b.Body }

func (b *finishedBody) Close() error {
	err := b.Body.Close()
	fmt.Println("finished", b.env.Path(), err)
	return err
}

func Example_middleware() {
	app := finished(gateway.AppFunc(greet))
	fmt.Print(gatewaytest.Call(app, gatewaytest.Request{Method: "POST", Target: "/greeting", Body: "Ada"}).Text())
	// Output:
	// finished /greeting <nil>
	// Hello, Ada!
}

func Example_ownKeys() {
	authenticated := func(app gateway.App) gateway.App {
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			user, ok := strings.CutPrefix(env.Header("Authorization"), "Bearer ")
			if !ok {
				_, err := start("401 Unauthorized", []gateway.Header{{Name: "WWW-Authenticate", Value: "Bearer"}}, nil)
				return nil, err
			}
			env.Set("myapp.user", user)
			return app.Serve(env, start)
		})
	}
	app := authenticated(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", plain, nil)
		return env.Text(fmt.Sprint(env.Get("myapp.user"), " at ", env.Get("myapp.site"))), err
	}))

	got := gatewaytest.Call(app, gatewaytest.Request{
		Header: []gateway.Header{{Name: "Authorization", Value: "Bearer ada"}},
		Extra:  map[string]any{"myapp.site": "the pole"}, // with a server: its option Environ
	})
	fmt.Println(got.Text())
	// Output: ada at the pole
}

// The author of a middleware checks whether it keeps the rules.
func Example_validateMiddleware() {
	all := func(app gateway.App) gateway.App { // collects the response: the client waits for all of it
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			body, err := app.Serve(env, start)
			if body == nil || err != nil {
				return body, err
			}
			defer body.Close()
			var content []byte
			for {
				b, err := body.Next()
				content = append(content, b...)
				if err == io.EOF {
					return gateway.Bytes(content), nil
				} else if err != nil {
					return nil, err
				}
			}
		})
	}
	checked := gateway.ValidateMiddleware(all, func(v *gateway.Violation) { fmt.Println(v.Rule) })
	app := checked(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", plain, nil)
		return gateway.Chunks([]byte("a"), []byte("b")), err
	}))
	fmt.Println(gatewaytest.Get(app, "/").Text())
	// Output:
	// a middleware yields a chunk, which may be empty, for each one it takes (PEP 3333 "Middleware Handling of Block Boundaries")
}
