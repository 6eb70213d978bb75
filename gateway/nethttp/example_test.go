package nethttp_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server"
)

// A mux of net/http behind isbjorn.
func ExampleApp() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Hello, %s!", r.PathValue("name"))
	})
	s, err := server.New(nethttp.App(mux), server.Dispatch(server.Pool))
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
