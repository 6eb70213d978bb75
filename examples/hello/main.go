// Hello answers every request with 13 bytes of text.
//
//	go run ./examples/hello
//	curl -i http://127.0.0.1:8080/
package main

import (
	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/server"
)

func main() { server.Main(gateway.AppFunc(hello), server.Options{}) }

var headers = []gateway.Header{{Name: "Content-Type", Value: "text/plain"}}

func hello(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if _, err := start("200 OK", headers, nil); err != nil {
		return nil, err
	}
	return env.Text("Hello, World!"), nil
}
