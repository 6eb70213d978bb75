package proxy_test

import (
	"github.com/isbjorn/isbjorn/gateway/proxy"
	"github.com/isbjorn/isbjorn/server"
)

// What docs/proxy.md shows.
func proxyMain() error {
	app, err := proxy.New(proxy.Options{
		To:         []string{"http://127.0.0.1:9000", "unix:/run/app.sock"},
		HealthPath: "/health",
	})
	if err != nil {
		return err
	}
	defer app.Close()
	return server.Run(app, "127.0.0.1:8080", server.Options{Dispatch: server.Pool})
}

func Example() { _ = proxyMain }
