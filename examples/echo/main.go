// Echo answers every request with its own content, byte for byte.
//
//	go run ./examples/echo
//	curl --data-binary @README.md http://127.0.0.1:8080/ | cmp - README.md
package main

import (
	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/server"
)

func main() { server.Main(gateway.AppFunc(echo), server.Options{}) }

var headers = []gateway.Header{{Name: "Content-Type", Value: "application/octet-stream"}}

func echo(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if _, err := start("200 OK", headers, nil); err != nil {
		return nil, err
	}
	return env.Input().Body(), nil // a view of the request, or chunks of a large one: never all of it in memory
}
