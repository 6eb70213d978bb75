package apps

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	gorilla "github.com/gorilla/websocket"
)

// messageMost is the largest message, in bytes.
const messageMost = 64 << 10

// coderEcho sends back what comes, by github.com/coder/websocket.
func coderEcho(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"echo"}, CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		return // it has answered
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(messageMost)
	for {
		kind, message, err := c.Read(context.Background())
		if err != nil {
			return
		}
		if err := c.Write(context.Background(), kind, message); err != nil {
			return
		}
	}
}

// gorillaEcho is the same by github.com/gorilla/websocket.
func gorillaEcho(w http.ResponseWriter, r *http.Request) {
	up := gorilla.Upgrader{Subprotocols: []string{"echo"}, EnableCompression: true}
	c, err := up.Upgrade(w, r, http.Header{"X-By": {"gorilla"}})
	if err != nil {
		return // it has answered
	}
	defer func() { _ = c.Close() }()
	c.SetReadLimit(messageMost)
	for {
		kind, message, err := c.ReadMessage()
		if err != nil {
			return
		}
		if err := c.WriteMessage(kind, message); err != nil {
			return
		}
	}
}

// sockets are the applications with WebSockets.
var sockets = []struct {
	name string
	app  func(testing.TB) http.Handler
}{
	{"coder", only(http.HandlerFunc(coderEcho))},
	{"gorilla", only(http.HandlerFunc(gorillaEcho))},
	{"coder in chi", func(testing.TB) http.Handler {
		r := chi.NewRouter()
		r.Use(middleware.RequestID, middleware.Recoverer)
		r.Get("/", coderEcho)
		return r
	}},
	{"gorilla in gin", func(testing.TB) http.Handler {
		r := gin.New()
		r.Use(gin.RecoveryWithWriter(io.Discard))
		r.GET("/", gin.WrapF(gorillaEcho))
		return r
	}},
}

// onEachSocket runs a test of the WebSockets on all servers, also through a proxy.
func onEachSocket(t *testing.T, test func(*testing.T, *site)) {
	for _, app := range sockets {
		t.Run(app.name, func(t *testing.T) { onEachWithProxy(t, app.app, test) })
	}
}

func (s *site) socket(t testing.TB, compression websocket.CompressionMode) *websocket.Conn {
	t.Helper()
	c, resp, err := websocket.Dial(t.Context(), s.url("/"), &websocket.DialOptions{
		HTTPClient: s.client, Subprotocols: []string{"echo"}, CompressionMode: compression,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	if resp.StatusCode != http.StatusSwitchingProtocols || c.Subprotocol() != "echo" {
		t.Fatal(resp.Status, c.Subprotocol())
	}
	c.SetReadLimit(messageMost)
	return c
}

// echoes sends messages of all kinds and sizes, and wants them back.
func echoes(t testing.TB, c *websocket.Conn, times int) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range times {
		for _, message := range [][]byte{nil, []byte("short"), []byte(large[:126]), []byte(large[:messageMost-i]), bytes.Repeat([]byte{0, 0xff}, messageMost/2)} {
			for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
				if kind == websocket.MessageText && len(message) > 0 && message[0] == 0 {
					continue // no text
				}
				if err := c.Write(ctx, kind, message); err != nil {
					t.Error(err)
					return
				}
				if gotKind, got, err := c.Read(ctx); gotKind != kind || !bytes.Equal(got, message) || err != nil {
					t.Errorf("%v of %d bytes: %v of %d bytes, %v", kind, len(message), gotKind, len(got), err)
					return
				}
			}
		}
	}
}

func TestWebSocketEcho(t *testing.T) {
	onEachSocket(t, func(t *testing.T, s *site) {
		echoes(t, s.socket(t, websocket.CompressionContextTakeover), 1)
		c := s.socket(t, websocket.CompressionDisabled)
		echoes(t, c, 3)
		ended := make(chan error, 1)
		go func() { // pongs are read
			_, _, err := c.Read(context.Background())
			ended <- err
		}()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := c.Ping(ctx); err != nil {
			t.Error(err)
		}
		if err := c.Close(websocket.StatusNormalClosure, "done"); err != nil {
			t.Errorf("the close handshake: %v", err)
		}
		wait(t, "the end", ended)
	})
}

// The head of the answer to a handshake is what net/http sends, and whoever sends frames
// right behind the handshake is heard.
func TestWebSocketHandshake(t *testing.T) {
	onEachSocket(t, func(t *testing.T, s *site) {
		c := s.dial(t)
		// A masked text frame: "hi", with a key of zeros.
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		var head strings.Builder
		for b := make([]byte, 1); !strings.HasSuffix(head.String(), "\r\n\r\n"); head.Write(b) {
			if _, err := io.ReadFull(c, b); err != nil {
				t.Fatal(head.String(), err)
			}
		}
		for _, want := range []string{"HTTP/1.1 101 Switching Protocols\r\n", "\r\nUpgrade: websocket\r\n", "\r\nConnection: Upgrade\r\n", "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"} {
			if !strings.Contains(strings.ToLower(head.String()), strings.ToLower(want)) {
				t.Errorf("no %q in %q", want, head.String())
			}
		}
		for _, not := range []string{"Content-Length", "Transfer-Encoding"} {
			if strings.Contains(head.String(), not) {
				t.Errorf("%s in %q", not, head.String())
			}
		}
		fmt.Fprint(c, "\x81\x82\x00\x00\x00\x00hi")
		got := make([]byte, 4)
		if _, err := io.ReadFull(c, got); string(got) != "\x81\x02hi" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		// Who is cut off without a close frame ends the handler: the server's Close waits for it.
		_ = c.Close()
	})
}

func TestWebSocketCrowd(t *testing.T) {
	onEachSocket(t, func(t *testing.T, s *site) {
		conns := make([]*websocket.Conn, 100)
		if strings.Contains(t.Name(), "_") {
			conns = conns[:10] // in something: each costs more
		}
		for i := range conns { // all are open at once
			conns[i] = s.socket(t, websocket.CompressionDisabled)
		}
		var all sync.WaitGroup
		for _, c := range conns {
			all.Go(func() {
				echoes(t, c, 1)
				if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	})
}

// Shutdown does not end connections that are no longer the server's. isbjorn waits for their
// handlers, net/http does not.
func TestShutdownWithWebSockets(t *testing.T) {
	for _, app := range sockets {
		t.Run(app.name, func(t *testing.T) {
			for _, server := range servers {
				s := server.serve(t, app.app(t))
				conns := []*websocket.Conn{s.socket(t, 0), s.socket(t, 0), s.socket(t, 0)}
				echoes(t, conns[0], 1)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				stopped := make(chan error, 1)
				go func() { stopped <- s.shutdown(ctx) }()
				for _, c := range conns {
					echoes(t, c, 1)
					if err := c.Close(websocket.StatusGoingAway, ""); err != nil {
						t.Errorf("%s: %v", server.name, err)
					}
				}
				if err := <-stopped; err != nil {
					t.Errorf("%s: %v", server.name, err)
				}
			}
		})
	}
}

// A handshake that is none is refused in the same way.
func TestNoWebSocket(t *testing.T) {
	for _, app := range sockets {
		t.Run(app.name, func(t *testing.T) {
			same(t, app.app, []request{
				{name: "another origin", target: "/", header: "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nOrigin: https://example.org"},
				{name: "another version", target: "/", header: "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 12\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="},
				{name: "no key", target: "/", header: "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13"},
			})
		})
	}
}

// What a handler itself is told.
func TestHijack(t *testing.T) {
	got := make(chan error, 1)
	onEach(t, only(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if got <- err; err != nil {
			http.Error(w, err.Error(), http.StatusNotImplemented)
			return
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(patience))
		line, _ := rw.ReadString('\n')
		fmt.Fprintf(rw, "raw %s", line)
		_ = rw.Flush()
	})), func(t *testing.T, s *site) {
		c := s.dial(t)
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\nbehind it\n")
		answer, err := io.ReadAll(c)
		if failed := wait(t, "Hijack", got); failed != nil || string(answer) != "raw behind it\n" || err != nil {
			t.Errorf("%q, %v, %v", answer, failed, err)
		}
	})
}
