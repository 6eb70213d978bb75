package middleware

import (
	"io"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/server"
)

// A connection that the application has taken over is logged as 101, and not as aborted.
func TestHijackIsLogged(t *testing.T) {
	entries := make(chan *entry, 1)
	app := logMiddleware(nil, func(e *entry) { entries <- e })(Recover(gateway.ValidateWith(gateway.Debug(gateway.AppFunc(
		func(env *gateway.Environ, _ gateway.StartResponse) (gateway.Body, error) {
			conn, _, err := env.Hijack()
			if err != nil {
				return nil, err
			}
			_, _ = io.WriteString(conn, "hello")
			return nil, conn.Close()
		})), func(v *gateway.Violation) { t.Error(v) })))
	for _, dispatch := range []server.DispatchMode{server.Auto, server.Pool} {
		c := dial(t, app, "tcp", server.Options{Dispatch: dispatch})
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
			t.Errorf("dispatch %d: read %q, %v", dispatch, b, err)
		}
		if e := <-entries; e.status != 101 || e.aborted {
			t.Errorf("dispatch %d: %+v", dispatch, e)
		}
	}
}
