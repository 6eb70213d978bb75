// Nbio is examples/hello on lesismal/nbio, which serves an http.Handler.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on, host:port")
	flag.Parse()
	logging.SetLevel(logging.LevelNone)
	engine := nbhttp.NewEngine(nbhttp.Config{
		Network: "tcp",
		Addrs:   []string{*addr},
		Handler: http.HandlerFunc(hello),
		Listen: func(network, addr string) (net.Listener, error) {
			l, err := net.Listen(network, addr)
			if err == nil {
				fmt.Printf("listening on http://%s\n", l.Addr())
			}
			return l, err
		},
	})
	if err := engine.Start(); err != nil {
		log.Fatal(err)
	}
	select {}
}

func hello(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", "13") // or it answers in chunks, unlike the others
	_, _ = io.WriteString(w, "Hello, World!")
}
