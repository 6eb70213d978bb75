package middleware_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/forwarded"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/gateway/middleware"
)

// hello is an application to wrap.
var hello = gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if _, err := start("200 OK", []gateway.Header{{Name: "Content-Type", Value: "text/plain"}}, nil); err != nil {
		return nil, err
	}
	return env.Text("Hello, World!"), nil
})

// get prints the status of the response to a GET, and some headers.
func get(app gateway.App, target string, header []gateway.Header, names ...string) {
	got := gatewaytest.Call(app, gatewaytest.Request{Target: target, Header: header})
	fmt.Println(got.Status)
	for _, name := range names {
		if value := got.Get(name); value != "" {
			fmt.Printf("%s: %s\n", name, value)
		}
	}
}

// must is for constructors whose options are constants, and valid.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func ExampleStack() {
	poweredBy := func(app gateway.App) gateway.App {
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			return app.Serve(env, func(status string, headers []gateway.Header, exc error) (io.Writer, error) {
				return start(status, append(slices.Clip(headers), gateway.Header{Name: "X-Powered-By", Value: "bears"}), exc)
			})
		})
	}
	app := must(middleware.Stack(hello, middleware.Recover, poweredBy))
	get(app, "/", nil, "X-Powered-By")
	// Output:
	// 200 OK
	// X-Powered-By: bears
}

func ExampleAccessLog() {
	log := slog.New(slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { // what is another each time
			if a.Key == slog.TimeKey || a.Key == "duration" {
				return slog.Attr{}
			}
			return a
		},
	}))
	get(middleware.AccessLog(log)(hello), "/greeting", nil)
	// Output:
	// {"level":"INFO","msg":"request","remote":"192.0.2.1","method":"GET","target":"/greeting","protocol":"HTTP/1.1","status":200,"bytes":13,"referer":"","user_agent":""}
	// 200 OK
}

func ExampleCombinedLog() {
	var log strings.Builder
	get(middleware.CombinedLog(&log)(hello), "/", []gateway.Header{{Name: "User-Agent", Value: `"forged"`}})
	line := log.String()
	fmt.Println(line[strings.Index(line, `"GET`):strings.LastIndex(line, `" `)])
	// Output:
	// 200 OK
	// "GET / HTTP/1.1" 200 13 "-" "\"forged\"
}

func ExampleRecover() {
	thin := gateway.AppFunc(func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) {
		panic("the ice is thin")
	})
	get(middleware.Recover(thin), "/", nil)
	// Output:
	// 500 Internal Server Error
}

func ExampleRequestID() {
	app := middleware.RequestID(true)(hello)
	get(app, "/", []gateway.Header{{Name: "X-Request-Id", Value: "from-the-proxy-1"}}, "X-Request-Id")
	// Output:
	// 200 OK
	// X-Request-Id: from-the-proxy-1
}

func ExampleCompress() {
	page := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if _, err := start("200 OK", []gateway.Header{{Name: "Content-Type", Value: "text/html"}}, nil); err != nil {
			return nil, err
		}
		return env.Text(strings.Repeat("<p>bear", 1000)), nil
	})
	app := must(middleware.Compress(middleware.CompressOptions{}))(page)
	get(app, "/", []gateway.Header{{Name: "Accept-Encoding", Value: "gzip, br"}}, "Content-Encoding", "Vary")
	// Output:
	// 200 OK
	// Content-Encoding: gzip
	// Vary: Accept-Encoding
}

func ExampleConditional() {
	app := must(middleware.Conditional(middleware.ConditionalOptions{ETagBytes: 64 << 10}))(hello)
	etag := gatewaytest.Get(app, "/").Get("ETag")
	get(app, "/", []gateway.Header{{Name: "If-None-Match", Value: etag}})
	// Output:
	// 304 Not Modified
}

func ExampleStatic() {
	dir := must(os.MkdirTemp("", "isbjorn"))
	defer os.RemoveAll(dir)
	if err := os.WriteFile(dir+"/bear.txt", []byte("ursus maritimus"), 0o600); err != nil {
		panic(err)
	}
	app := must(middleware.Static(dir, middleware.StaticOptions{}))
	get(app, "/bear.txt", []gateway.Header{{Name: "Range", Value: "bytes=6-"}}, "Content-Type", "Content-Range")
	get(app, "/../bear.txt", nil)
	// Output:
	// 206 Partial Content
	// Content-Type: text/plain; charset=utf-8
	// Content-Range: bytes 6-14/15
	// 404 Not Found
}

func ExampleRateLimit() {
	app := must(middleware.RateLimit(middleware.RateOptions{Rate: 0.1, Burst: 2}))(hello)
	for range 3 {
		get(app, "/", nil, "Retry-After")
	}
	// Output:
	// 200 OK
	// 200 OK
	// 429 Too Many Requests
	// Retry-After: 10
}

func ExampleBodyLimit() {
	app := must(middleware.BodyLimit(4))(hello)
	fmt.Println(gatewaytest.Call(app, gatewaytest.Request{Method: "POST", Body: "12345"}).Status)
	// Output: 413 Content Too Large
}

func ExampleConcurrencyLimit() {
	limit := must(middleware.ConcurrencyLimit(1, 5*time.Second))
	outer := limit(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		get(limit(hello), "/", nil, "Retry-After") // while this one is under way
		return hello(env, start)
	}))
	get(outer, "/", nil)
	// Output:
	// 503 Service Unavailable
	// Retry-After: 5
	// 200 OK
}

func ExampleTrustedProxies() {
	app := must(middleware.TrustedProxies(forwarded.Proxies{
		Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Fields:   []string{"X-Forwarded-For", "X-Forwarded-Proto"}, // what they write in every request
	}))(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		fmt.Println(env.RemoteAddr().Addr(), env.Scheme(), env.Host())
		return hello(env, start)
	}))
	get(app, "/", []gateway.Header{
		{Name: "X-Forwarded-For", Value: "127.0.0.1, 203.0.113.7"}, // the client wrote the first
		{Name: "X-Forwarded-Proto", Value: "https"},
		{Name: "X-Forwarded-Host", Value: "evil.example"}, // the client, too: no proxy writes it
	})
	// Output:
	// 203.0.113.7 https example.com
	// 200 OK
}

func ExampleRouter() {
	user := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		fmt.Println("user", middleware.Param(env, "id"))
		return hello(env, start)
	})
	app := must(middleware.Router(
		middleware.Route{Method: "GET", Path: "/users/{id}", App: user},
		middleware.Mount("/hello", hello),
	))
	get(app, "/users/a%2Fb", nil)
	get(app, "/hello/any/path", nil)
	get(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		env.Set("REQUEST_METHOD", "DELETE")
		return app.Serve(env, start)
	}), "/users/7", nil, "Allow")
	// Output:
	// user a/b
	// 200 OK
	// 200 OK
	// 405 Method Not Allowed
	// Allow: GET, HEAD, OPTIONS
}
