package middleware

import (
	"io"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/server"
)

// Trailer fields of an application are sent with middlewares around it that change the headers by its content.
func TestTrailersBehindAll(t *testing.T) {
	conditional, err := Conditional(ConditionalOptions{ETagBytes: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", fields("Content-Type", "text/plain"), nil)
		if err == nil {
			err = env.Trailer(fields("X-Sum", "1"))
		}
		return env.Text(prose(5000)), err
	})
	for name, m := range map[string]gateway.Middleware{"Compress": compressOf(t, CompressOptions{}), "Conditional": conditional} {
		for where, dispatch := range dispatches {
			c := dial(t, gateway.Validate(m(gateway.Validate(app))), "tcp", server.Options{Dispatch: dispatch})
			resp := c.ask("GET", "/", "Accept-Encoding: gzip")
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.Trailer.Get("X-Sum") != "1" {
				t.Errorf("%s, %s: %v, %v", name, where, resp.Trailer, err)
			}
			if decided := map[string]string{"Compress": "Content-Encoding", "Conditional": "ETag"}[name]; resp.Header.Get(decided) == "" {
				t.Errorf("%s, %s: no %s", name, where, decided)
			}
		}
	}
}
