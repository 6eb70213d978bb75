package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"sync"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
)

// An application that fails after start replaces the response. The server refuses that once a part was sent.
func ExampleStartResponse() {
	render := func() ([]byte, error) { return nil, errors.New("no template") }

	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if _, err := start("200 OK", []gateway.Header{{Name: "Content-Type", Value: "text/html"}}, nil); err != nil {
			return nil, err
		}
		page, err := render()
		if err != nil {
			_, err = start("503 Service Unavailable", []gateway.Header{{Name: "Retry-After", Value: "10"}}, err)
			return env.Text("come back later\n"), err
		}
		return env.Bytes(page), nil
	})

	got := gatewaytest.Get(app, "/")
	fmt.Print(got.Status, ", ", got.Get("Retry-After"), ", ", got.Text())
	// Output: 503 Service Unavailable, 10, come back later
}

// Code that needs a writer gets one from start. Its bytes go before those of the Body.
func ExampleStartResponse_write() {
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 OK", []gateway.Header{{Name: "Content-Type", Value: "text/plain"}}, nil)
		if err != nil {
			return nil, err
		}
		_, err = fmt.Fprintf(w, "%s of %s\n", env.Method(), env.Path())
		return nil, err
	})

	fmt.Print(gatewaytest.Get(app, "/all").Text())
	// Output: GET of /all
}

// A Stream makes each chunk when the client has taken the one before.
func ExampleStream() {
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if _, err := start("200 OK", nil, nil); err != nil {
			return nil, err
		}
		var line []byte // may be used again: a chunk is valid until the next is asked for
		return gateway.Stream(func(yield func([]byte, error) bool) {
			for n := 3; n > 0; n-- {
				line = fmt.Appendf(line[:0], "%d...\n", n)
				if !yield(line, nil) {
					return // the client is gone
				}
			}
		}), nil
	})

	fmt.Print(gatewaytest.Get(app, "/").Text())
	// Output:
	// 3...
	// 2...
	// 1...
}

// A File is sent with its length, by sendfile(2) where the server can, and closed.
func ExampleFile() {
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		f, err := os.Open("testdata/motd.txt")
		if err != nil {
			return nil, err
		}
		body := gateway.File(f)
		if _, err := start("200 OK", []gateway.Header{{Name: "Content-Type", Value: "text/plain"}}, nil); err != nil {
			return body, err // which closes f
		}
		return body, nil
	})

	fmt.Print(gatewaytest.Get(app, "/").Text())
	// Output: Ice is nice.
}

// The CGI view has the request's fields as HTTP_*, beside the typed accessors.
func ExampleEnviron_Get() {
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		fmt.Println(env.Get("REQUEST_METHOD"), env.Get("QUERY_STRING"), env.Get("HTTP_USER_AGENT"), env.Get("HTTP_X_ABSENT"))
		fmt.Println(env.Method(), env.Query(), env.Header("User-Agent"))
		_, err := start("204 No Content", nil, nil)
		return nil, err
	})

	gatewaytest.Call(app, gatewaytest.Request{Target: "/?a=b", Header: []gateway.Header{{Name: "User-Agent", Value: "curl"}}})
	// Output:
	// GET a=b curl <nil>
	// GET a=b curl
}

func ExampleEnviron_All() {
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		for key, value := range env.All() {
			if strings.HasPrefix(key, "HTTP_") {
				fmt.Println(key, "=", value)
			}
		}
		_, err := start("204 No Content", nil, nil)
		return nil, err
	})

	gatewaytest.Call(app, gatewaytest.Request{Header: []gateway.Header{{Name: "Accept", Value: "text/html"}, {Name: "Accept", Value: "*/*"}}})
	// Output:
	// HTTP_HOST = example.com
	// HTTP_ACCEPT = text/html, */*
}

// A goroutine that runs longer than the response gets a Clone.
func ExampleEnviron_Clone() {
	var audits sync.WaitGroup
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		request := env.Clone()
		audits.Go(func() { fmt.Println("audited", request.Method(), request.Path()) })
		_, err := start("202 Accepted", nil, nil)
		return nil, err
	})

	gatewaytest.Get(app, "/order")
	audits.Wait()
	// Output: audited GET /order
}

func ExampleInput_Lines() {
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		n := 0
		for line, err := range env.Input().Lines() {
			if err != nil {
				return nil, err // the content is not whole
			}
			n++
			fmt.Printf("%d %q\n", n, line)
		}
		_, err := start("204 No Content", nil, nil)
		return nil, err
	})

	gatewaytest.Call(app, gatewaytest.Request{Method: "POST", Body: "one\ntwo"})
	// Output:
	// 1 "one\n"
	// 2 "two"
}

// A test runs an application under Validate, and reports the violations.
func ExampleValidateWith() {
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, _ = start("200 OK", []gateway.Header{{Name: "Content-Length", Value: "5"}}, nil)
		return gateway.Reader(io.LimitReader(strings.NewReader("Hello, World!"), 13)), nil
	})

	checked := gateway.ValidateWith(app, func(v *gateway.Violation) {
		fmt.Println(v.Party)
		fmt.Println(v.Rule)
		fmt.Println(v.Found)
		fmt.Println(v.Fix)
	})
	gatewaytest.Get(checked, "/")
	// Output:
	// application
	// the content has as many bytes as Content-Length and Len of the Body say (RFC 9112 section 6.3)
	// 13 bytes come, and Content-Length is 5
	// count them again, or leave the length out
}

// An application keeps a view of its request. Debug shows that at once.
func ExampleDebug() {
	var last string
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		last = env.Path() // should be strings.Clone(env.Path())
		_, err := start("204 No Content", nil, nil)
		return nil, err
	})

	if err := gatewaytest.Get(gateway.Debug(app), "/the/path/of/this/request").Err; err != nil {
		log.Fatal(err)
	}
	fmt.Println(last)
	// Output: t beyond its response><ke
}
