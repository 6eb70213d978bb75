package middleware

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/server"
)

// A connection that the application has taken over is no failure to the log.
func TestHijackIsLogged(t *testing.T) {
	entries := make(chan *entry, 1)
	app := logged(nil, func(e *entry) { entries <- e })(Recover(gateway.ValidateWith(gateway.Debug(gateway.AppFunc(
		func(env *gateway.Environ, _ gateway.StartResponse) (gateway.Body, error) {
			conn, _, err := env.Hijack()
			if err != nil {
				return nil, err
			}
			_, _ = io.WriteString(conn, "hello")
			return nil, conn.Close()
		})), func(b *gateway.Breach) { t.Error(b) })))
	s, err := server.New(app, server.Logger(slog.New(slog.DiscardHandler)), server.Dispatch(server.Pool))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	addr, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		t.Errorf("read %q, %v", b, err)
	}
	if e := <-entries; e.status != 101 || e.aborted {
		t.Errorf("%+v", e)
	}
}
