package nethttp_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server"
)

// A mux of net/http, served by isbjorn.
func ExampleApp() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Hello, %s!", r.PathValue("name"))
	})
	s, err := server.New(nethttp.App(mux), server.Options{Dispatch: server.Pool})
	if err != nil {
		panic(err)
	}
	defer s.Close()
	addr, err := s.Listen("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + addr.String() + "/hello/Ada")
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.Status, string(text))
	// Output: 200 OK Hello, Ada!
}

// An application of the gateway in a mux of net/http.
func ExampleHandler() {
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", []gateway.Header{{Name: "Content-Type", Value: "text/plain"}}, nil)
		return env.Text(env.ScriptName() + " and " + env.Path()), err
	})
	mux := http.NewServeMux()
	mux.Handle("/app/", http.StripPrefix("/app", nethttp.Handler(app)))

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/app/page", nil))
	fmt.Println(w.Code, w.Body)
	// Output: 200 /app and /page
}

// Server-sent events, until the client disconnects or the server stops.
func ExampleStopping() {
	events := make(chan string, 1)
	s, err := server.New(nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case event := <-events:
				fmt.Fprintf(w, "data: %s\n\n", event)
				_ = http.NewResponseController(w).Flush()
			case <-nethttp.Stopping(r.Context()): // the client connects again, to the next process
				return
			case <-r.Context().Done():
				return
			}
		}
	})), server.Options{})
	if err != nil {
		panic(err)
	}
	addr, err := s.Listen("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	events <- "hello"
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + addr.String())
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	stopped := make(chan error)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	text, err := io.ReadAll(resp.Body)
	fmt.Printf("%q %v\n", text, err)
	fmt.Println(<-stopped)
	// Output:
	// "data: hello\n\n" <nil>
	// <nil>
}
