// Hertz is examples/hello on cloudwego/hertz with its default transport, netpoll.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/app/server"
	"github.com/cloudwego/hertz/pkg/common/hlog"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on, host:port")
	flag.Parse()
	hlog.SetOutput(io.Discard)
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	h := server.New(server.WithListener(l), server.WithDisablePrintRoute(true))
	h.GET("/", hello)
	fmt.Printf("listening on http://%s\n", l.Addr())
	log.Fatal(h.Run())
}

func hello(_ context.Context, ctx *app.RequestContext) {
	ctx.SetContentType("text/plain")
	ctx.SetBodyString("Hello, World!")
}
