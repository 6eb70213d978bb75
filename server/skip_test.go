package server

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

// unread answers without reading the content: at once, or as path says.
func unread(goOn <-chan bool) gateway.App {
	return streamer{func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		const text = "not read"
		switch env.Path() {
		case "/read":
			return readAll(env, start)
		case "/part":
			_, _ = io.ReadFull(env.Input(), make([]byte, 2))
		case "/large":
			_, err := start("200 OK", nil, nil)
			return chunks(strings.Repeat(text, 100_000), text), err
		case "/stays": // the response is whole before its application has returned
			w, err := start("200 OK", []gateway.Header{{Name: "Content-Length", Value: fmt.Sprint(len(text))}}, nil)
			_, _ = io.WriteString(w, text)
			<-goOn
			return nil, err
		}
		_, err := start("200 OK", nil, nil)
		return gateway.Text(text), err
	}}
}

func onWorkers(t *testing.T, test func(t *testing.T, d DispatchMode)) {
	for name, d := range map[string]DispatchMode{"Auto": Auto, "Pool": Pool} {
		t.Run(name, func(t *testing.T) { test(t, d) })
	}
}

// A little content that an application leaves unread, and that comes after its answer, does not end the connection.
func TestUnreadContent(t *testing.T) {
	most := strings.Repeat("x", skipBytesMax)
	for _, tt := range []struct {
		name, target, fields string
		first, rest          string // of the content: with the head, and behind the answer
		status               int
		says, ends           bool // Connection: close; the connection ends
	}{
		{"length", "/", "Content-Length: 5", "", "hello", 200, false, false},
		{"length, some with the head", "/", "Content-Length: 5", "he", "llo", 200, false, false},
		{"some read", "/part", "Content-Length: 5", "he", "llo", 200, false, false},
		{"large answer", "/large", "Content-Length: 5", "", "hello", 200, false, false},
		{"the application stays", "/stays", "Content-Length: 5", "", "hello", 200, false, false},
		{"chunked", "/", "Transfer-Encoding: chunked", "", "5\r\nhello\r\n0\r\n\r\n", 200, false, false},
		{"chunked, the end", "/", "Transfer-Encoding: chunked", "5\r\nhello\r\n", "0\r\nX-A: b\r\n\r\n", 200, false, false},
		{"most", "/", "Content-Length: 262144", "", most, 200, false, false},
		{"too much", "/", "Content-Length: 262145", "", most + "x", 200, true, true},
		{"much, chunked", "/", "Transfer-Encoding: chunked", "", "40001\r\n" + most + "x\r\n0\r\n\r\n", 200, false, false},
		{"too much, chunked", "/", "Transfer-Encoding: chunked", "", "60000\r\n" + most + most[:1<<17] + "\r\n0\r\n\r\n", 200, false, true},
		{"Expect", "/", "Content-Length: 5\r\nExpect: 100-continue", "", "", 200, true, true},
		{"no chunk", "/", "Transfer-Encoding: chunked", "", "zz\r\n", 200, false, true},
		{"the client asks for the end", "/", "Connection: close\r\nContent-Length: 5", "", "hello", 200, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onWorkers(t, func(t *testing.T, d DispatchMode) {
				goOn := make(chan bool)
				defer close(goOn)
				s := startOn(d, t, unread(goOn), Options{LingerBytes: 300_000})
				c := s.dial()
				c.send("POST " + tt.target + " HTTP/1.1\r\nHost: h\r\n" + tt.fields + "\r\n\r\n" + tt.first)
				resp, body := c.read("POST")
				if resp.StatusCode != tt.status || !strings.HasPrefix(body, "not read") || resp.Close != tt.says {
					t.Fatalf("%d %.20q, close: %t", resp.StatusCode, body, resp.Close)
				}
				if tt.ends {
					_, _ = io.WriteString(c, tt.rest)
					c.wantEnd()
					return
				}
				c.send(tt.rest + "POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" + "POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab")
				c.want("POST", 200, "3 <nil>")
				c.send("cd")
				c.want("POST", 200, "4 <nil>")
			})
		})
	}
}

// Skipped content has the timeouts of other content. It delays a stop no longer than an idle connection does, and the
// client gets no second answer.
func TestUnreadContentDoesNotCome(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		options Options
		stop    bool
	}{
		"timeout":  {Options{BodyTimeout: 50 * time.Millisecond}, false},
		"Shutdown": {Options{BodyTimeout: time.Hour}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onWorkers(t, func(t *testing.T, d DispatchMode) {
				t.Parallel()
				s := startOn(d, t, unread(nil), tt.options)
				c := s.dial()
				c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
				c.want("POST", 200, "not read")
				if tt.stop {
					s.waitPhases(skipping, 1)
					ctx, cancel := shortly()
					defer cancel()
					go func() { _ = s.Shutdown(ctx) }()
				}
				c.wantEnd()
			})
		})
	}
}

// An answer before unread content did not say close, and then the server stops: the request behind the content is
// answered, and that answer says close.
func TestUnreadContentAtShutdown(t *testing.T) {
	for name, content := range map[string]string{"length": "Content-Length: 5\r\n\r\nhello", "chunked": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			onWorkers(t, func(t *testing.T, d DispatchMode) {
				s := startOn(d, t, unread(nil), Options{})
				head, rest, _ := strings.Cut(content, "\r\n\r\n")
				c := s.dial()
				c.send("POST / HTTP/1.1\r\nHost: h\r\n" + head + "\r\n\r\n")
				c.want("POST", 200, "not read")
				s.waitPhases(skipping, 1)
				stopped := make(chan error)
				go func() {
					ctx, cancel := shortly()
					defer cancel()
					stopped <- s.Shutdown(ctx)
				}()
				s.waitStopping()
				c.send(rest + get)
				if resp := c.want("GET", 200, "not read"); !resp.Close {
					t.Error("the last answer does not say close")
				}
				c.wantEnd()
				_ = c.Close()
				if err := <-stopped; err != nil {
					t.Errorf("Shutdown: %v", err)
				}
			})
		})
	}
}
