// Middleware puts an application of a few lines into a stack of middlewares: access
// log, request ids, recovered panics, limits, compression and ETags.
//
//	go run ./examples/middleware
//	curl -i --compressed http://127.0.0.1:8080/
//	curl -i http://127.0.0.1:8080/panic
package main

import (
	"flag"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/middleware"
	"github.com/isbjorn/isbjorn/server"
)

func main() {
	name := flag.String("log", "", "file to append the access log to (default standard output)")
	server.Flags()
	flag.Parse()
	accessLog := os.Stdout
	if *name != "" {
		var err error
		if accessLog, err = os.OpenFile(*name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
			log.Fatal(err)
		}
	}
	app, err := stack(gateway.AppFunc(poem), accessLog)
	if err != nil {
		log.Fatal(err)
	}
	server.Main(app, server.Options{})
}

// stack is the order that is right for most, see package middleware.
func stack(app gateway.App, accessLog io.Writer) (gateway.App, error) {
	rate, err := middleware.RateLimit(middleware.RateOptions{Rate: 1000, Burst: 2000})
	if err != nil {
		return nil, err
	}
	running, err := middleware.ConcurrencyLimit(1000, time.Second)
	if err != nil {
		return nil, err
	}
	body, err := middleware.BodyLimit(64 << 10)
	if err != nil {
		return nil, err
	}
	compress, err := middleware.Compress(middleware.CompressOptions{})
	if err != nil {
		return nil, err
	}
	conditional, err := middleware.Conditional(middleware.ConditionalOptions{ETagBytes: 64 << 10})
	if err != nil {
		return nil, err
	}
	return middleware.Stack(app,
		middleware.CombinedLog(accessLog), middleware.RequestID(false), middleware.Recover,
		rate, running, body, compress, conditional)
}

var (
	headers = []gateway.Header{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}}
	verses  = strings.Repeat("The polar bear goes where it likes.\n", 100)
)

// poem is an application that knows nothing of all this.
func poem(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if env.Path() == "/panic" {
		panic("the ice is thin")
	}
	if _, err := start("200 OK", headers, nil); err != nil {
		return nil, err
	}
	return env.Text(verses), nil
}
