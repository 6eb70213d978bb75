// Files serves a directory: with ranges, preconditions and the types of files, and
// without listings or names that begin with a dot.
//
//	go run ./examples/files -dir docs
//	curl -i -r 0-99 http://127.0.0.1:8080/design.md
package main

import (
	"flag"
	"log"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/middleware"
	"github.com/isbjorn/isbjorn/server"
)

func main() {
	files, err := open(".")
	if err != nil {
		log.Fatal(err)
	}
	flag.Func("dir", "directory to serve (default .)", func(dir string) (err error) {
		files, err = open(dir)
		return err
	})
	server.Main(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		return files.Serve(env, start)
	}))
}

func open(dir string) (gateway.App, error) {
	return middleware.Static(dir, middleware.StaticOptions{CacheControl: "no-cache"}) // which is: ask whether it has changed
}
