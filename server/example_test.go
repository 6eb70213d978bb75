package server_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/gateway/middleware"
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
	server.Main(stack)
}

// A program on net/http moves by one line: this was http.ListenAndServe.
func ExampleListenAndServeHTTP() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Hello, %s!\n", r.PathValue("name"))
	})
	log.Fatal(server.ListenAndServeHTTP("127.0.0.1:8080", mux))
}

// An application that waits for a database, or computes for long, runs on workers.
func ExampleDispatch() {
	query := func(ctx context.Context) (string, error) { return "an answer", ctx.Err() }

	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		ctx := env.Context() // ends when nobody waits any more
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
	s, err := server.New(app,
		server.Dispatch(server.Pool),
		server.Workers(200),                   // at once: as many as the database takes
		server.WorkerQueue(1000),              // wait for them; more get 503
		server.RequestTimeout(30*time.Second), // then 504, and the Context ends
	)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	fmt.Println(gatewaytest.Get(app, "/").Text())
	// Output: an answer
}
