// Clock answers with the time in UTC, in two ways that a client cannot tell apart:
// under /app by an App as package gateway has it, under /web with package web.
//
//	go run ./examples/clock
//	curl -i http://127.0.0.1:8080/app http://127.0.0.1:8080/web
package main

import (
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/web"
	"github.com/isbjorn/isbjorn/server"
)

func main() { server.Main(gateway.AppFunc(clock), server.Options{}) }

var notFound = web.Error(404, "this clock is at /app and /web")

func clock(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	switch env.Path() {
	case "/app":
		return byApp(env, start)
	case "/web":
		return byWeb.Serve(env, start)
	}
	return notFound.Serve(env, start)
}

func now() string { return time.Now().UTC().Format(time.RFC3339) + "\n" }

var headers = []gateway.Header{
	{Name: "Content-Type", Value: "text/plain; charset=utf-8"},
	{Name: "Cache-Control", Value: "no-store"},
}

func byApp(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if _, err := start("200 OK", headers, nil); err != nil {
		return nil, err
	}
	return env.Text(now()), nil
}

var byWeb = web.HandlerFunc(func(*web.Request) (*web.Response, error) {
	return web.Text(now()).Set("Cache-Control", "no-store"), nil
})
