package gatewaytest_test

import (
	"fmt"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
)

func greet(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	name, err := env.Input().ReadAll()
	if err != nil {
		return nil, err
	}
	if _, err := start("200 OK", []gateway.Header{{Name: "Content-Type", Value: "text/plain"}}, nil); err != nil {
		return nil, err
	}
	return env.Text("Hello, " + string(name) + "!"), nil
}

func ExampleCall() {
	got := gatewaytest.Call(gateway.AppFunc(greet), gatewaytest.Request{Method: "POST", Body: "Ada"})
	fmt.Println(got.Status, got.Get("Content-Type"), got.Text(), got.Err)
	// Output: 200 OK text/plain Hello, Ada! <nil>
}

// The error for an application that breaks a rule names the rule and the fix.
func ExampleGet() {
	forgets := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		return env.Text("Hello!"), nil
	})
	fmt.Println(gatewaytest.Get(forgets, "/").Err)
	// Output: gateway: the application broke a rule: start is called before there is content, and before the response ends; but content comes before it was called; call it before Serve returns, or in the first Next (GET /)
}

// A client that disconnects: the rest of the stream is not pulled, and its cleanup runs.
func ExampleRequest() {
	endless := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return gateway.Stream(func(yield func([]byte, error) bool) {
			defer fmt.Println("cleaned up")
			for yield([]byte("tick "), nil) {
			}
		}), err
	})
	got := gatewaytest.Call(endless, gatewaytest.Request{Leave: 3})
	fmt.Println(got.Text(), got.Err)
	// Output:
	// cleaned up
	// tick tick tick  gateway: the client is gone
}
