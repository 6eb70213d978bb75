// Pool is an echo on workers, which blocks until each part of the content has come.
package main

import (
	"bytes"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/server"
)

func main() { server.Main(gateway.AppFunc(echo), server.Options{Dispatch: server.Pool}) }

var headers = []gateway.Header{{Name: "Content-Type", Value: "application/octet-stream"}}

func echo(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	var content bytes.Buffer
	if _, err := content.ReadFrom(env.Input()); err != nil {
		return nil, err
	}
	if _, err := start("200 OK", headers, nil); err != nil {
		return nil, err
	}
	return gateway.Chunks(content.Next(content.Len()/2), content.Bytes()), nil
}
