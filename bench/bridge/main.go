// Bridge serves one http.Handler by isbjorn or by net/http, for measurements side by side:
// the handler answers "Hello, World!" after it has computed, slept, or neither.
//
//	go run ./bench/bridge -dispatch pool -sleep 1ms
//	go run ./bench/bridge -server nethttp -work 50us
//
// With -inline there is an application of package gateway beside it, at /inline, which
// never blocks and stays on the loop: so one can see what becomes of it while handlers do.
//
//	go run ./bench/bridge -inline -sleep 5ms
//	wrk -c 500 -d 10s http://127.0.0.1:8080/
//	wrk -c 16 -d 5s --latency http://127.0.0.1:8080/inline    # meanwhile
//
// bench/measure/sweep.py runs it with many costs.
package main

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server"
)

var dispatches = map[string]server.DispatchMode{"auto": server.Auto, "inline": server.Inline, "pool": server.Pool}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on, host:port")
	by := flag.String("server", "isbjorn", "who serves: isbjorn or nethttp")
	dispatch := flag.String("dispatch", "auto", "where isbjorn runs the handler: auto, inline or pool")
	sleep := flag.Duration("sleep", 0, "how long the handler sleeps")
	work := flag.Duration("work", 0, "how long the handler computes, about")
	inline := flag.Bool("inline", false, "serve an application that never blocks at /inline")
	flag.Parse()
	where, ok := dispatches[*dispatch]
	if !ok || *sleep < 0 || *work < 0 || flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "usage: bridge [flags]; -dispatch is one of %s, times are not negative\n",
			strings.Join(slices.Sorted(maps.Keys(dispatches)), ", "))
		os.Exit(2)
	}
	handler := answer(*sleep, rounds(*work))
	var err error
	switch *by {
	case "isbjorn":
		app, options := nethttp.App(handler), server.Options{Dispatch: where}
		if *inline {
			app = beside(app)
			options = server.Options{DispatchBy: func(env *gateway.Environ) server.DispatchMode {
				if isInline(env) {
					return server.Inline
				}
				return where
			}}
		}
		err = server.Run(app, *addr, options)
	case "nethttp":
		if *inline {
			mux := http.NewServeMux()
			mux.Handle("/inline", answer(0, 0))
			mux.Handle("/", handler)
			handler = mux
		}
		err = serve(*addr, handler)
	default:
		err = fmt.Errorf("-server is %q; use isbjorn or nethttp", *by)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// answer is the handler.
func answer(sleep time.Duration, rounds int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		compute(rounds)
		if sleep > 0 {
			time.Sleep(sleep)
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "Hello, World!")
	})
}

// compute hashes so many times: an amount of work, where a look at the clock would count
// the time of others too.
func compute(rounds int) {
	var sum [sha256.Size]byte
	for range rounds {
		sum = sha256.Sum256(sum[:])
	}
}

// rounds is how many take d on an idle machine.
func rounds(d time.Duration) int {
	if d == 0 {
		return 0
	}
	const probe = 5000
	least := time.Duration(1<<63 - 1)
	for range 50 {
		began := time.Now()
		compute(probe)
		least = min(least, time.Since(began))
	}
	return int(d * probe / least)
}

var headers = []gateway.Header{{Name: "Content-Type", Value: "text/plain"}}

func isInline(env *gateway.Environ) bool { return env.Path() == "/inline" }

// beside puts an application of the gateway beside app.
func beside(app gateway.App) gateway.App {
	return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if !isInline(env) {
			return app.Serve(env, start)
		}
		_, err := start("200 OK", headers, nil)
		return env.Text("Hello, World!"), err
	})
}

// serve is server.Run for net/http.
func serve(addr string, handler http.Handler) error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", l.Addr())
	s := &http.Server{Handler: handler}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return s.Shutdown(context.Background())
	}
}
