// Fasthttp is examples/hello on valyala/fasthttp.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"

	"github.com/valyala/fasthttp"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on, host:port")
	flag.Parse()
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on http://%s\n", l.Addr())
	s := &fasthttp.Server{Handler: hello, Logger: log.New(io.Discard, "", 0)}
	log.Fatal(s.Serve(l))
}

func hello(ctx *fasthttp.RequestCtx) {
	ctx.SetContentType("text/plain")
	ctx.SetBodyString("Hello, World!")
}
