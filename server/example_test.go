package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/forwarded"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/gateway/middleware"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/gateway/web"
	"github.com/isbjorn/isbjorn/server"
)

// A whole program, with package web and some middlewares.
func Example() {
	app := web.HandlerFunc(func(r *web.Request) (*web.Response, error) {
		query, err := r.Query()
		if err != nil {
			return nil, err // 400, and why
		}
		return web.Text("Hello, " + query.Get("name") + "!\n"), nil
	})
	stack, err := middleware.Stack(app, middleware.AccessLog(slog.Default()), middleware.Recover)
	if err != nil {
		log.Fatal(err)
	}
	server.Main(stack, server.Options{})
}

// A program on net/http moves by one line: this was http.ListenAndServe.
func ExampleListenAndServeHTTP() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Hello, %s!\n", r.PathValue("name"))
	})
	log.Fatal(server.ListenAndServeHTTP("127.0.0.1:8080", mux, server.Options{}))
}

// The same over TLS, with HTTP/2: this was http.ListenAndServeTLS.
func ExampleListenAndServeHTTPS() {
	mux := http.NewServeMux()
	log.Fatal(server.ListenAndServeHTTPS(":443", mux, server.Options{TLS: server.TLSOptions{
		Cert: []string{"example.com.pem"}, Key: []string{"example.com.key"},
	}}))
}

// A program that serves the Stats of its server, and ends requests that wait when a stop begins.
func ExampleOptions_onStart() {
	var stats atomic.Pointer[server.Server]
	ending := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(stats.Load().Stats())
	})
	mux.HandleFunc("GET /wait", func(w http.ResponseWriter, r *http.Request) {
		select { // for news, or the end
		case <-ending:
		case <-r.Context().Done():
		}
	})
	server.Main(nethttp.App(mux), server.Options{OnStart: []func(*server.Server){
		func(s *server.Server) {
			stats.Store(s)
			s.OnShutdown(func() { close(ending) })
		},
	}})
}

// A program with a flag of its own.
func ExampleFlags() {
	size := flag.Int64("size", 1<<20, "most bytes of an upload")
	server.Flags()
	flag.Parse()
	server.Main(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return env.Input().Body(), err
	}), server.Options{BodyBytes: *size})
}

// A whole program around an http.Handler: the flag -addr, signals, a stop in order, restarts that refuse no client.
func ExampleMain_netHTTP() {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /upload", func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 10<<20)
		// ...
	})
	server.Main(nethttp.App(mux), server.Options{
		BodyBytes:      server.NoLimit,   // limits are the handlers', as with net/http
		Workers:        200,              // at once, of those that block
		RequestTimeout: 30 * time.Second, // then 504, and the Context ends
	})
}

// In place of http.Server, its Shutdown too.
func ExampleNew_netHTTP() {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "Hello, World!") })
	s, err := server.New(nethttp.App(mux), server.Options{BodyBytes: server.NoLimit})
	if err != nil {
		log.Fatal(err)
	}
	addr, err := s.Listen("127.0.0.1:0") // it serves
	if err != nil {
		log.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + addr.String())
	if err != nil {
		log.Fatal(err)
	}
	_ = resp.Body.Close()
	fmt.Println(resp.Status)

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		log.Print(err)
	}
	// Output: 200 OK
}

// Behind a proxy on the same machine a handler sees the client's address and host.
func ExampleNew_behindAProxy() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, r.RemoteAddr, r.Host, r.Header["X-Forwarded-Proto"])
	})
	trust, err := middleware.TrustedProxies(forwarded.Proxies{
		Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, // or Unix: true
		Fields:   []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"},
	})
	if err != nil {
		log.Fatal(err)
	}
	app := trust(nethttp.App(handler))
	s, err := server.New(app, server.Options{Dispatch: server.Pool})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	says := []gateway.Header{{Name: "X-Forwarded-For", Value: "192.0.2.7"}, {Name: "X-Forwarded-Host", Value: "www.example.com"}, {Name: "X-Forwarded-Proto", Value: "https"}}
	for _, peer := range []string{"127.0.0.1:4000", "192.0.2.9:4000"} { // the proxy, and a stranger
		request := gatewaytest.Request{Header: says, Remote: netip.MustParseAddrPort(peer)}
		fmt.Print(gatewaytest.Call(app, request).Text())
	}
	// Output:
	// 192.0.2.7:0 www.example.com [https]
	// 192.0.2.9:4000 example.com []
}

// An application that waits for a database, or computes for long, runs on workers.
func ExampleOptions_workers() {
	query := func(ctx context.Context) (string, error) { return "an answer", ctx.Err() }

	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		ctx := env.Context() // ends when the client has disconnected
		answer, err := query(ctx)
		if errors.Is(context.Cause(ctx), gateway.ErrClientGone) {
			return nil, err // or gateway.ErrStopped, gateway.ErrTimeout
		}
		if err != nil {
			return nil, err
		}
		_, err = start("200 OK", nil, nil)
		return env.Text(answer), err
	})
	s, err := server.New(app, server.Options{
		Dispatch:       server.Pool,
		Workers:        200,              // at once: as many as the database takes
		WorkerQueue:    1000,             // wait for them; more get 503
		RequestTimeout: 30 * time.Second, // then 504, and the Context ends
	})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	fmt.Println(gatewaytest.Get(app, "/").Text())
	// Output: an answer
}
