package server

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// line is a field line of n bytes with its CRLF.
func line(n int) string { return "X: " + pattern(n-len("X: \r\n")) + "\r\n" }

// reads answers like hello when it has read the content. Otherwise the connection would end, where a worker leaves
// more than skipBytesMax unread.
func reads(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if _, err := io.Copy(io.Discard, env.Input()); err != nil {
		return nil, err
	}
	return hello(env, start)
}

// Every limit of a request takes what meets it and refuses one more, by default and
// as its option says, and the answer names the option.
func TestLimits(t *testing.T) {
	const head = "GET / HTTP/1.1\r\nHost: h\r\n"
	const inChunks = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, tt := range []struct {
		option  string
		normal  int // by default
		other   int
		set     func(o *Options, n int)
		request func(n int) string
		status  int
	}{
		{"MethodBytes", 32, 7, func(o *Options, n int) { o.MethodBytes = n }, func(n int) string { return strings.Repeat("M", n) + " / HTTP/1.1\r\nHost: h\r\n\r\n" }, 501},
		{"TargetBytes", 8 << 10, 100, func(o *Options, n int) { o.TargetBytes = n }, func(n int) string { return "GET /" + pattern(n-1) + " HTTP/1.1\r\nHost: h\r\n\r\n" }, 414},
		{"HeadBytes", 32 << 10, 9000, func(o *Options, n int) { o.HeadBytes = n }, func(n int) string { return head + line(n-len(head)-len("\r\n")) + "\r\n" }, 431},
		{"Fields", 100, 3, func(o *Options, n int) { o.Fields = n }, func(n int) string { return head + strings.Repeat("a: b\r\n", n-1) + "\r\n" }, 431},
		{"BodyBytes", 1 << 20, 1000, func(o *Options, n int) { o.BodyBytes = int64(n) }, func(n int) string { return upload(pattern(n), 0) }, 413},
		{"BodyBytes", 1 << 20, 1000, func(o *Options, n int) { o.BodyBytes = int64(n) }, func(n int) string { return upload(pattern(n), 10_000) }, 413},
		{"ChunkLineBytes", 1024, 16, func(o *Options, n int) { o.ChunkLineBytes = n }, func(n int) string { return inChunks + "1;" + strings.Repeat("e", n-2) + "\r\nx\r\n0\r\n\r\n" }, 400},
		{"TrailerBytes", 8 << 10, 50, func(o *Options, n int) { o.TrailerBytes = n }, func(n int) string { return inChunks + "0\r\n" + line(n) + "\r\n" }, 431},
		{"TrailerFields", 32, 1, func(o *Options, n int) { o.TrailerFields = n }, func(n int) string { return inChunks + "0\r\n" + strings.Repeat("a: b\r\n", n) + "\r\n" }, 431},
	} {
		for _, n := range []int{tt.normal, tt.other} {
			t.Run(fmt.Sprint(tt.option, n), func(t *testing.T) {
				var options Options
				if n != tt.normal {
					tt.set(&options, n)
				}
				s := start(t, appFunc(reads), options)
				c := s.dial()
				for range 2 {
					c.send(tt.request(n))
					c.want("GET", 200, "Hello, World!")
				}
				go func() { _, _ = io.WriteString(c, tt.request(n+1)) }()
				resp, text := c.read("GET")
				if resp.StatusCode != tt.status || !resp.Close || !strings.Contains(text, tt.option) {
					t.Errorf("one more: answered %d %q, want %d, the name of the option, and the end", resp.StatusCode, text, tt.status)
				}
				c.wantEnd()
			})
		}
	}
}

// A client that is still sending can read an early refusal, also if it sends all before it reads. What it may still
// send is bounded in bytes and in time.
func TestRefusalWhileTheClientSends(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	big := upload(pattern(6<<20), 0)
	t.Run("all is sent", func(t *testing.T) {
		s := start(t, appFunc(echo), Options{})
		for _, chunk := range []int{0, 50_000} {
			c := s.dial()
			c.send(upload(pattern(6<<20), chunk)) // fails if the connection is reset
			if resp, _ := c.read("POST"); resp.StatusCode != 413 || !resp.Close {
				t.Errorf("answered %d, want 413 and the end", resp.StatusCode)
			}
			c.wantEnd()
		}
	})
	t.Run("LingerBytes", func(t *testing.T) {
		s := start(t, appFunc(echo), Options{LingerBytes: 100_000, LingerTime: 200 * time.Millisecond})
		c := s.dial()
		cut := make(chan error, 1)
		go func() {
			for {
				if _, err := io.WriteString(c, big); err != nil {
					cut <- err
					return
				}
			}
		}()
		if resp, _ := c.read("POST"); resp.StatusCode != 413 || !resp.Close {
			t.Errorf("answered %d, want 413 and the end", resp.StatusCode)
		}
		c.wantEnd()
		<-cut
		s.untilConns(0)
	})
	t.Run("LingerTime", func(t *testing.T) {
		s := start(t, appFunc(echo), Options{LingerTime: 20 * time.Millisecond})
		c := s.dial()
		c.send(big[:100])
		if resp, _ := c.read("POST"); resp.StatusCode != 413 {
			t.Errorf("answered %d, want 413", resp.StatusCode)
		}
		s.untilConns(0)
	})
}

// A client of net/http reads the answer to an upload that is refused, also where the upload
// is many times LingerBytes: by the server, and by an application that does not read it.
func TestRefusalOfALargeUpload(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "moves megabytes past what a socket holds")
	refuses := appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("400 Bad Request", nil, nil)
		return nil, err
	})
	for _, tt := range []struct {
		name    string
		options Options
		status  int
	}{
		{"the server", Options{Dispatch: Inline}, 413},
		{"a worker", Options{Dispatch: Pool, BodyBytes: NoLimit}, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, refuses, tt.options.with(Options{LingerBytes: 1 << 20, LingerTime: 2 * time.Second}))
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			for _, chunked := range []bool{false, true} {
				for range 5 {
					content := io.LimitReader(zeros{}, 64<<20)
					req, err := http.NewRequest("POST", "http://"+s.addr.String(), content)
					if err != nil {
						t.Fatal(err)
					}
					if !chunked {
						req.ContentLength = 64 << 20
					}
					resp, err := (&http.Client{Transport: transport}).Do(req)
					if err != nil {
						t.Fatalf("chunked %v: %v", chunked, err)
					}
					_, err = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					if resp.StatusCode != tt.status || err != nil {
						t.Errorf("chunked %v: answered %d, %v; want %d", chunked, resp.StatusCode, err, tt.status)
					}
				}
			}
		})
	}
}
