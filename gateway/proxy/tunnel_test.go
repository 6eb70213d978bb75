package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/testrun"
)

const upgrade = "GET /ws?a=1 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, X-Hop\r\nX-Hop: 1\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, X-Hop\r\nUpgrade: WebSocket\r\nX-Hop: 1\r\n" +
	"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

// frame is a WebSocket frame of a client, with text below 126 bytes. RFC 6455 section 5.2.
func frame(text string) string {
	b := []byte{0x81, 0x80 | byte(len(text)), 1, 2, 3, 4}
	for i := range len(text) {
		b = append(b, text[i]^b[2+i%4])
	}
	return string(b)
}

// echoFrames answers each frame of a client by one with its text, until the client ends its side; then it says bye.
func echoFrames(r *request) {
	for {
		head := make([]byte, 6)
		if _, err := io.ReadFull(r.r, head); err != nil {
			r.send("bye")
			return
		}
		text := []byte(r.content(int(head[1] & 0x7f)))
		for i := range text {
			text[i] ^= head[2+i%4]
		}
		r.send(string([]byte{0x81, byte(len(text))}) + string(text))
	}
}

func (c *client) wantFrame(text string) {
	c.t.Helper()
	want := append([]byte{0x81, byte(len(text))}, text...)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c.r, got); err != nil || !bytes.Equal(got, want) {
		c.t.Fatalf("the client got %q, %v; want %q", got, err, want)
	}
}

// A WebSocket works in both directions, with bytes that came in one packet with the request or the answer, and its
// half-close passes.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	b := newBackend(t, func(r *request) bool {
		r.send(switching + string([]byte{0x81, 2}) + "hi") // in one packet with the head
		echoFrames(r)
		return false
	})
	p := serve(t, Options{To: []string{b.url}})
	c := p.dial(t)
	c.send(upgrade + frame("early"))
	a := c.read("GET")
	if a.StatusCode != 101 || a.Header.Get("Connection") != "Upgrade" || !strings.EqualFold(a.Header.Get("Upgrade"), "websocket") ||
		a.Header.Get("Sec-Websocket-Accept") == "" || a.Header["X-Hop"] != nil || a.Header.Get("Via") == "" {
		t.Fatalf("%d %v", a.StatusCode, a.Header)
	}
	c.wantFrame("hi")
	c.wantFrame("early")
	c.send(frame("one") + frame("two"))
	c.wantFrame("one")
	c.wantFrame("two")
	if got := p.Upstreams()[0].InFlight; got != 1 {
		t.Errorf("%d in flight", got)
	}
	_ = c.CloseWrite()
	if rest, err := io.ReadAll(c.r); string(rest) != "bye" || err != nil {
		t.Errorf("after the half-close: %q, %v", rest, err)
	}
	head := b.head()
	if !strings.Contains(head, "\r\nConnection: Upgrade\r\n") || !strings.Contains(head, "\r\nUpgrade: websocket\r\n") || strings.Contains(head, "X-Hop") {
		t.Errorf("the upstream got %q", head)
	}
	eventually(t, "no request in progress", func() bool { return p.Upstreams()[0].InFlight == 0 })
}

// The half-close of an upstream passes too: the client may send on.
func TestWebSocketUpstreamEnds(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	b := newBackend(t, func(r *request) bool {
		r.send(switching)
		_ = r.Conn.(interface{ CloseWrite() error }).CloseWrite()
		rest, _ := io.ReadAll(r.r)
		got <- string(rest)
		return false
	})
	p := serve(t, Options{To: []string{b.url}})
	c := p.dial(t)
	c.send(upgrade)
	c.read("GET")
	if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	c.send("still here")
	_ = c.CloseWrite()
	if rest := <-got; rest != "still here" {
		t.Errorf("the upstream got %q", rest)
	}
}

// Only what is asked for, allowed and possible is an upgrade. The others are requests like any other.
func TestUpgradesThatDoNotPass(t *testing.T) {
	t.Parallel()
	b := newBackend(t, answers(ok))
	p := serve(t, Options{To: []string{b.url}})
	for _, request := range []string{
		get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
		get("/", "Connection: Upgrade", "Upgrade: foo/2"),
		get("/", "Upgrade: websocket"),
		"GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
	} {
		a := p.ask(t, request)
		if a.StatusCode != 200 && a.StatusCode != 400 || a.StatusCode == 200 && strings.Contains(b.head(), "Upgrade") {
			t.Errorf("%q: %d, the upstream got %q", request, a.StatusCode, b.head())
		}
	}
	p.want(t, get("/", "Connection: Upgrade", "Upgrade: h2c, websocket"), 200, "ok")
	if !strings.Contains(b.head(), "\r\nUpgrade: websocket\r\n") {
		t.Errorf("the upstream got %q", b.head())
	}
	none := serve(t, Options{To: []string{b.url}, UpgradeTokens: []string{}})
	none.want(t, upgrade, 200, "ok")
	if strings.Contains(b.head(), "Upgrade") {
		t.Errorf("the upstream got %q", b.head())
	}
	other := newBackend(t, func(r *request) bool {
		r.send("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
		return false
	})
	serve(t, Options{To: []string{other.url}}).want(t, upgrade, 502, "502 Bad Gateway\n")
}

// A tunnel in which nothing passes ends after TunnelTimeout, and soon when the server stops.
func TestQuietTunnels(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	b := newBackend(t, func(r *request) bool { r.send(switching); echoFrames(r); return false })
	p := serve(t, Options{To: []string{b.url}, TunnelTimeout: 50 * time.Millisecond})
	c := p.dial(t)
	c.send(upgrade)
	c.read("GET")
	if rest, _ := io.ReadAll(c.r); len(rest) > 3 {
		t.Errorf("%q", rest)
	}
	p = serve(t, Options{To: []string{b.url}})
	c = p.dial(t)
	c.send(upgrade + frame("a"))
	c.read("GET")
	c.wantFrame("a")
	if err := p.server.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// A tunnel carries what neither side can hold, both ways at once.
func TestTunnelCarriesMuch(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	b := newBackend(t, func(r *request) bool {
		r.send(switching)
		_, _ = io.Copy(r.Conn, io.LimitReader(r.r, size))
		return false
	})
	p := serve(t, Options{To: []string{b.url}})
	c := p.dial(t)
	c.send(upgrade)
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	go func() {
		w := bufio.NewWriter(c)
		for i := range uint32(size / 4) {
			_ = binary.Write(w, binary.BigEndian, i)
		}
		_ = w.Flush()
	}()
	var word [4]byte
	for i := range uint32(size / 4) {
		if _, err := io.ReadFull(c.r, word[:]); err != nil || binary.BigEndian.Uint32(word[:]) != i {
			t.Fatalf("word %d is %x, %v", i, word, err)
		}
	}
}
