// Files serves a directory: with ranges, preconditions, the types of files and what was compressed
// beforehand, and without listings or names that begin with a dot.
//
//	go run ./examples/files -dir docs
//	curl -i -r 0-99 http://127.0.0.1:8080/design.md
package main

import (
	"flag"
	"log"

	"github.com/isbjorn/isbjorn/gateway/middleware"
	"github.com/isbjorn/isbjorn/server"
)

func main() {
	dir := flag.String("dir", ".", "directory to serve")
	server.Flags()
	flag.Parse()
	files, err := middleware.Static(*dir, middleware.StaticOptions{
		CacheControl:    "no-cache", // which is: ask whether it has changed
		CacheControlFor: middleware.HashedNames,
		Precompressed:   []string{"zst", "br", "gz"},
	})
	if err != nil {
		log.Fatal(err)
	}
	server.Main(files, server.Options{})
}
