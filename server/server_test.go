package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

const get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"

func TestHello(t *testing.T) {
	s := start(t, appFunc(hello), Options{})
	c := s.dial()
	for range 3 { // on one connection
		c.send(get)
		resp := c.want("GET", 200, "Hello, World!")
		if resp.ContentLength != 13 || resp.Close || resp.Header.Get("Server") != "isbjorn" || resp.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("header %v, length %d, close %v", resp.Header, resp.ContentLength, resp.Close)
		}
		date, err := http.ParseTime(resp.Header.Get("Date"))
		if d := time.Since(date); err != nil || d < -time.Second || d > 3*time.Second {
			t.Errorf("Date is %q: %v off, %v", resp.Header.Get("Date"), d, err)
		}
	}
}

// The very bytes of the smallest answer.
func TestHelloBytes(t *testing.T) {
	s := start(t, appFunc(hello), Options{ServerHeader: "x"})
	got := s.exchange("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	i := strings.Index(got, "Date: ")
	if i < 0 {
		t.Fatalf("no Date in %q", got)
	}
	got = got[:i+6] + "D" + got[i+6+len(http.TimeFormat):]
	want := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: x\r\nDate: D\r\nContent-Length: 13\r\nConnection: close\r\n\r\nHello, World!"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestKeepAlive(t *testing.T) {
	s := start(t, appFunc(hello), Options{})
	for _, tt := range []struct {
		name, request string
		keeps         bool
		connection    string // field of the answer
	}{
		{"1.1", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", true, ""},
		{"1.1 close", "GET / HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n", false, "close"},
		{"1.0", "GET / HTTP/1.0\r\n\r\n", false, "close"},
		{"1.0 keep-alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true, "keep-alive"},
		{"1.2", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := s.dial()
			c.send(tt.request)
			resp := c.want("GET", 200, "Hello, World!")
			got := resp.Header.Get("Connection") // ReadResponse takes "close" for itself
			if resp.Close && resp.Proto == "HTTP/1.1" {
				got = "close"
			}
			if got != tt.connection {
				t.Errorf("Connection: %q, want %q", got, tt.connection)
			}
			if !tt.keeps {
				c.wantEnd()
				return
			}
			c.send(tt.request)
			c.want("GET", 200, "Hello, World!")
		})
	}
}

// Answers come in order, also to requests of different kinds in one write.
func TestPipelining(t *testing.T) {
	s := start(t, appFunc(echo), Options{})
	var in strings.Builder
	const n = 1000
	for i := range n {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&in, "POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%d", i, len(strconv.Itoa(i)), i)
		case 1:
			fmt.Fprintf(&in, "POST /%d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%d\r\n0\r\n\r\n", i, len(strconv.Itoa(i)), i)
		case 2:
			fmt.Fprintf(&in, "GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", i)
		}
	}
	c := s.dial()
	go c.send(in.String())
	for i := range n {
		want := strconv.Itoa(i)
		if i%3 == 2 {
			want = ""
		}
		c.want("POST", 200, want)
	}
}

// More pipelined requests than the socket's buffers have answers, from a client
// that reads only when all are sent.
func TestPipeliningWithoutReading(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "moves megabytes past what a socket holds")
	s := start(t, appFunc(hello), Options{})
	c := s.dial()
	n := testrun.Rounds(100_000, 50_000) // more answers than the sockets take
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range n / 100 {
			c.send(strings.Repeat(get, 100))
		}
	}()
	other := s.dial() // is served meanwhile
	other.send(get)
	other.want("GET", 200, "Hello, World!")
	for range n {
		c.want("GET", 200, "Hello, World!")
	}
	<-sent
}

func TestEveryCut(t *testing.T) {
	s := start(t, appFunc(echo), Options{})
	for _, request := range []string{
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6;a=b\r\n456789\r\n0\r\nX: y\r\n\r\n",
	} {
		c := s.dial()
		for cut := 1; cut < len(request); cut++ {
			c.send(request[:cut])
			// A second connection's answer shows that the first part was read.
			other := s.dial()
			other.send(get)
			other.want("GET", 200, "")
			_ = other.Close()
			c.send(request[cut:])
			c.want("POST", 200, "0123456789")
		}
	}
}

func TestEchoSizes(t *testing.T) {
	s := start(t, appFunc(echo), Options{})
	c := s.dial()
	for _, n := range []int{0, 1, 100, copyBytesMax, copyBytesMax + 1, 65_000, 65_536, 200_000, 1 << 20} {
		want := pattern(n)
		go c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", n, want))
		c.want("POST", 200, want)
		var chunked strings.Builder
		chunked.WriteString("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
		for rest := want; rest != ""; {
			k := min(len(rest), 7001)
			fmt.Fprintf(&chunked, "%x\r\n%s\r\n", k, rest[:k])
			rest = rest[k:]
		}
		chunked.WriteString("0\r\n\r\n")
		go c.send(chunked.String())
		c.want("PUT", 200, want)
	}
}

// Large uploads, pipelined, from a client that reads late: the socket borrows memory in place of a copy, and the next
// request must not overwrite it.
func TestPipelinedUploadsWithoutReading(t *testing.T) {
	s := start(t, appFunc(echo), Options{})
	c := s.dial()
	var bodies []string
	for i := range 12 {
		bodies = append(bodies, strings.Repeat(string(rune('a'+i)), 1<<20))
	}
	go func() {
		for _, b := range bodies {
			c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(b), b))
		}
	}()
	other := s.dial()
	other.send(get)
	other.want("GET", 200, "")
	for _, b := range bodies {
		c.want("POST", 200, b)
	}
}

func TestHEAD(t *testing.T) {
	for name, tt := range map[string]struct {
		app    gateway.App
		length int64
		te     string
	}{
		"sized":   {appFunc(hello), 13, ""},
		"chunked": {ok(chunks("a", "b")), -1, "chunked"},
		"nil":     {ok(nil), 0, ""},
	} {
		inEachDispatch(t, name, func(t *testing.T, where DispatchMode) {
			c := startOn(where, t, tt.app, Options{}).dial()
			c.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" + "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
			for range 2 {
				resp := c.want("HEAD", 200, "")
				te := strings.Join(resp.TransferEncoding, ",")
				if resp.ContentLength != tt.length || te != tt.te {
					t.Errorf("length %d, transfer coding %q; want %d, %q", resp.ContentLength, te, tt.length, tt.te)
				}
			}
		})
	}
}

// How each kind of body is framed, for both versions.
func TestFraming(t *testing.T) {
	headers := func(status string, h ...gateway.Header) func(gateway.Body) gateway.App {
		return func(b gateway.Body) gateway.App {
			return appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				_, err := start(status, h, nil)
				return b, err
			})
		}
	}
	length := func(n string) gateway.Header { return gateway.Header{Name: "Content-length", Value: n} }
	for _, tt := range []struct {
		name    string
		app     func(gateway.Body) gateway.App
		body    func() gateway.Body
		status  int
		content string
		framing string // for 1.1: a length, "chunked" or "none"
	}{
		{"one chunk", headers("200 OK"), func() gateway.Body { return gateway.Text("abc") }, 200, "abc", "3"},
		{"empty text", headers("200 OK"), func() gateway.Body { return gateway.Text("") }, 200, "", "0"},
		{"nil", headers("200 OK"), func() gateway.Body { return nil }, 200, "", "0"},
		{"empty stream", headers("200 OK"), func() gateway.Body { return chunks() }, 200, "", "0"},
		{"stream of empty chunks", headers("200 OK"), func() gateway.Body { return chunks("", "", "") }, 200, "", "0"},
		{"stream", headers("200 OK"), func() gateway.Body { return chunks("a", "", "bc") }, 200, "abc", "chunked"},
		{"long stream", headers("200 OK"), func() gateway.Body { return chunks(strings.Split(pattern(300), "")...) }, 200, pattern(300), "chunked"},
		{"declared stream", headers("200 OK", length("3")), func() gateway.Body { return chunks("a", "bc") }, 200, "abc", "3"},
		{"reader", headers("200 OK"), func() gateway.Body { return gateway.Reader(strings.NewReader(pattern(100_000))) }, 200, pattern(100_000), "100000"},
		{"reader without length", headers("200 OK"), func() gateway.Body { return gateway.Reader(io.LimitReader(strings.NewReader(pattern(100_000)), 1<<30)) }, 200, pattern(100_000), "chunked"},
		{"204", headers("204 No Content"), func() gateway.Body { return gateway.Text("never") }, 204, "", "none"},
		{"204 with length", headers("204 No Content", length("5")), func() gateway.Body { return nil }, 204, "", "none"},
		{"304", headers("304 Not Modified"), func() gateway.Body { return gateway.Text("never") }, 304, "", "none"},
		{"304 with length", headers("304 Not Modified", length("5")), func() gateway.Body { return nil }, 304, "", "5"},
		{"no reason", headers("299 "), func() gateway.Body { return gateway.Text("x") }, 299, "x", "1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			made := make(chan *body, 10)
			s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				inner := tt.body()
				if inner == nil {
					return tt.app(nil).Serve(env, start)
				}
				b := &body{Body: inner}
				made <- b
				if _, ok := inner.(gateway.Sized); ok {
					return tt.app(sizedBody{b}).Serve(env, start)
				}
				return tt.app(b).Serve(env, start)
			}), Options{})
			c := s.dial()
			c.send(get)
			resp := c.want("GET", tt.status, tt.content)
			got := "none"
			if len(resp.TransferEncoding) > 0 {
				got = resp.TransferEncoding[0]
			} else if cl := resp.Header.Get("Content-Length"); cl != "" {
				got = cl
			}
			whole := suite == Pool && tt.framing == "chunked" // a worker may have written all before the head is sent: then the length is known
			if got != tt.framing && !(whole && got == strconv.Itoa(len(tt.content))) {
				t.Errorf("1.1: framing %s, want %s", got, tt.framing)
			}
			c.send(get) // the connection is in order
			c.want("GET", tt.status, tt.content)

			c = s.dial()
			c.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
			resp = c.want("GET", tt.status, tt.content)
			if len(resp.TransferEncoding) > 0 {
				t.Error("1.0: chunked")
			}
			if resp.ContentLength < 0 {
				c.wantEnd() // no other way to end it
			} else if tt.framing == "chunked" && !whole {
				t.Errorf("1.0: length %d, want none", resp.ContentLength)
			}
			for len(made) > 0 {
				b := <-made
				eventually(t, "each body is closed once", func() bool { return b.closes() == 1 })
			}
		})
	}
}

// Each chunk is sent before the next one is pulled, of a generator too.
func TestChunksAreNotWithheld(t *testing.T) {
	read := make(chan bool)
	one := func(n int) ([]byte, error) {
		if n > 1 {
			<-read // the client has the one before
		}
		if n > 3 {
			return nil, io.EOF
		}
		return fmt.Appendf(nil, "chunk %d", n), nil
	}
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		n := 0
		if env.Query() == "" {
			return next(func() ([]byte, error) { n++; return one(n) }), err
		}
		return gateway.Stream(func(yield func([]byte, error) bool) {
			for n++; ; n++ {
				if b, err := one(n); err != nil || !yield(b, nil) {
					return
				}
			}
		}), err
	}), Options{StallWarning: None})
	c := s.dial()
	for _, target := range []string{"/", "/?generator"} {
		c.send("GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n")
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; i <= 3; i++ {
			b := make([]byte, 100)
			k, err := resp.Body.Read(b)
			if want := fmt.Sprintf("chunk %d", i); string(b[:k]) != want {
				t.Errorf("%s: read %q, %v; want %q", target, b[:k], err, want)
			}
			read <- true
		}
		if b, err := io.ReadAll(resp.Body); len(b) > 0 || err != nil {
			t.Errorf("%s: then %q, %v", target, b, err)
		}
	}
}

// The write() form: before the body, at once, in order.
func TestWriter(t *testing.T) {
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 OK", nil, nil)
		if err != nil {
			return nil, err
		}
		for _, part := range []string{"one ", "", "two ", pattern(50_000)} {
			if n, err := io.WriteString(w, part); n != len(part) || err != nil {
				t.Errorf("Write: %d, %v", n, err)
			}
		}
		if env.Query() == "nil" {
			return nil, nil
		}
		return env.Text(" three"), nil
	}), Options{})
	c := s.dial()
	c.send(get)
	c.want("GET", 200, "one two "+pattern(50_000)+" three")
	c.send("GET /?nil HTTP/1.1\r\nHost: h\r\n\r\n")
	c.want("GET", 200, "one two "+pattern(50_000))
}

// Faults of an application: what the client gets, and whether the connection stays open.
func TestApplicationFaults(t *testing.T) {
	boom := errors.New("boom")
	plain := func(f func(start gateway.StartResponse) (gateway.Body, error)) gateway.App {
		return appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) { return f(start) })
	}
	started := func(start gateway.StartResponse, h ...gateway.Header) {
		if _, err := start("200 OK", h, nil); err != nil {
			t.Error(err)
		}
	}
	fails := func(b *body, parts ...string) *body {
		b.Body = gateway.Stream(func(yield func([]byte, error) bool) {
			for _, p := range parts {
				if !yield([]byte(p), nil) {
					return
				}
			}
			yield(nil, boom)
		})
		return b
	}
	b := new(body) // of the case at hand
	for _, tt := range []struct {
		name string
		app  gateway.App
		log  string
		cut  bool // the head is sent already: the connection is cut
	}{
		{"error", plain(func(gateway.StartResponse) (gateway.Body, error) { return nil, boom }), "boom", false},
		{"error after start", plain(func(start gateway.StartResponse) (gateway.Body, error) { started(start); return nil, boom }), "boom", false},
		{"error with a body", plain(func(start gateway.StartResponse) (gateway.Body, error) { started(start); return fails(b, "x"), boom }), "boom", false},
		{"panic", plain(func(gateway.StartResponse) (gateway.Body, error) { panic("boom") }), "server_test.go", false},
		{"panic after start", plain(func(start gateway.StartResponse) (gateway.Body, error) { started(start); panic("boom") }), "boom", false},
		{"panic in Next", plain(func(start gateway.StartResponse) (gateway.Body, error) {
			started(start)
			b.Body = next(func() ([]byte, error) { panic("boom") })
			return b, nil
		}), "boom", false},
		{"no start", plain(func(gateway.StartResponse) (gateway.Body, error) { return nil, nil }), "without calling start", false},
		{"no start, a body", plain(func(gateway.StartResponse) (gateway.Body, error) { b.Body = gateway.Text("x"); return b, nil }), "without calling start", false},
		{"start twice", plain(func(start gateway.StartResponse) (gateway.Body, error) {
			started(start)
			_, _ = start("200 OK", nil, nil) // the error sticks
			b.Body = gateway.Text("x")
			return b, nil
		}), "twice", false},
		{"bad status", plain(func(start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("20 OK", nil, nil)
			return nil, nil
		}), "three digits", false},
		{"status 101", plain(func(start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("101 x", nil, nil)
			return nil, nil
		}), "1xx", false},
		{"response splitting", plain(func(start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("200 OK", []gateway.Header{{Name: "X", Value: "a\r\nSet-Cookie: b"}}, nil)
			return nil, nil
		}), "control character", false},
		{"hop-by-hop", plain(func(start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("200 OK", []gateway.Header{{Name: "Transfer-Encoding", Value: "chunked"}}, nil)
			return nil, nil
		}), "server's to send", false},
		{"length twice", plain(func(start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("200 OK", []gateway.Header{{Name: "Content-Length", Value: "1"}, {Name: "content-length", Value: "1"}}, nil)
			return nil, nil
		}), "more than one Content-Length", false},
		{"bad length", plain(func(start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("200 OK", []gateway.Header{{Name: "Content-Length", Value: "+1"}}, nil)
			return nil, nil
		}), "decimal", false},
		{"status with a line of its own", plain(func(start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("200 OK\r\nX: y", nil, nil)
			return nil, nil
		}), "control character", false},
		{"error in the first Next", plain(func(start gateway.StartResponse) (gateway.Body, error) { started(start); return fails(b), nil }), "boom", false},
		{"error after a chunk", plain(func(start gateway.StartResponse) (gateway.Body, error) { started(start); return fails(b, "abc"), nil }), "boom", true},
		{"panic after a chunk", plain(func(start gateway.StartResponse) (gateway.Body, error) {
			started(start)
			n := 0
			b.Body = next(func() ([]byte, error) {
				if n++; n > 1 {
					panic("boom")
				}
				return []byte("abc"), nil
			})
			return b, nil
		}), "boom", true},
		{"too short", plain(func(start gateway.StartResponse) (gateway.Body, error) {
			started(start, gateway.Header{Name: "Content-Length", Value: "10"})
			b.Body = chunks("abc")
			return b, nil
		}), "7 bytes shorter", true},
		{"exc after a chunk", plain(func(start gateway.StartResponse) (gateway.Body, error) {
			w, _ := start("200 OK", nil, nil)
			_, _ = w.Write([]byte("abc"))
			_, err := start("500 Oops", nil, boom)
			return nil, err
		}), "boom", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			*b = body{}
			s := start(t, tt.app, Options{})
			c := s.dial()
			c.send(get)
			if tt.cut {
				if resp, got, err := c.tryRead("GET"); err == nil {
					t.Errorf("a whole response %d %q, want a cut one", resp.StatusCode, got)
				}
			} else {
				c.want("GET", 500, "Internal Server Error\n")
				c.send(get) // the request was in order, and so is the connection
				c.want("GET", 500, "Internal Server Error\n")
			}
			eventually(t, "the log has "+tt.log, func() bool { return strings.Contains(s.log.String(), tt.log) })
			if b.Body != nil {
				want := 2
				if tt.cut {
					want = 1
				}
				eventually(t, "the body is closed", func() bool { return b.closes() == want })
			}
		})
	}
}

// A head with the bytes of the head before, but of other fields, is checked too.
func TestSameHeadIsNoWayAround(t *testing.T) {
	good := []gateway.Header{{Name: "X", Value: "y"}, {Name: "Z", Value: "z"}}
	bad := false
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		var err error
		if bad = !bad; bad {
			_, err = start("200 OK", good, nil)
		} else {
			switch env.Query() {
			case "status":
				_, err = start("200 OK\r\nX: y", good[1:], nil)
			case "value":
				_, err = start("200 OK", []gateway.Header{{Name: "X", Value: "y\r\nZ: z"}}, nil)
			case "name":
				_, err = start("200 OK", []gateway.Header{{Name: "X: y\r\nZ", Value: "z"}}, nil)
			}
		}
		return nil, err
	}), Options{Loops: 1})
	for _, part := range []string{"status", "value", "name"} {
		c := s.dial()
		request := "GET /?" + part + " HTTP/1.1\r\nHost: h\r\n\r\n"
		c.send(request + request)
		c.want("GET", 200, "")
		c.want("GET", 500, "Internal Server Error\n")
	}
}

// A response is complete also if the body panics in Close, and the connection stays open.
func TestPanicInClose(t *testing.T) {
	t.Parallel()
	inEachDispatch(t, "4 MiB", func(t *testing.T, where DispatchMode) {
		s := startOn(where, t, appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 OK", nil, nil)
			return panicsInClose{gateway.Text(pattern(4 << 20))}, err
		}), Options{})
		c := s.dial()
		for n := range 2 {
			c.send(get)
			c.want("GET", 200, pattern(4<<20))
			eventually(t, "the log tells", func() bool { return strings.Count(s.log.String(), "boom") > n })
		}
		_ = c.Close()
		s.wantStats(Stats{Accepted: 1, Failed: 2})
	})
}

type panicsInClose struct{ gateway.Sized }

func (panicsInClose) Close() error { panic("boom") }

// exc before anything is sent replaces status and headers.
func TestStartWithExc(t *testing.T) {
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, _ = start("200 OK", []gateway.Header{{Name: "X-Old", Value: "1"}, {Name: "Content-Length", Value: "99"}}, nil)
		_, err := start("503 Later", []gateway.Header{{Name: "X-New", Value: "1"}}, errors.New("replaced"))
		return env.Text("later"), err
	}), Options{})
	c := s.dial()
	c.send(get)
	resp := c.want("GET", 503, "later")
	if resp.Header.Get("X-Old") != "" || resp.Header.Get("X-New") != "1" {
		t.Errorf("header %v", resp.Header)
	}
}

// start may be called late, in the first Next.
func TestStartInNext(t *testing.T) {
	s := start(t, appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		n := 0
		return next(func() ([]byte, error) {
			if n++; n > 1 {
				return nil, io.EOF
			}
			_, err := start("201 Created", nil, nil)
			return []byte("late"), err
		}), nil
	}), Options{})
	c := s.dial()
	c.send(get)
	c.want("GET", 201, "late")
	c.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
	c.want("HEAD", 201, "")
}

// More than Content-Length is cut, and the next response is where it belongs.
func TestTooLong(t *testing.T) {
	for _, parts := range [][]string{{"abcdef"}, {"ab", "cdef"}, {"abc", "def"}} {
		s := start(t, appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 OK", []gateway.Header{{Name: "Content-Length", Value: "3"}}, nil)
			return chunks(parts...), err
		}), Options{})
		c := s.dial()
		c.send(get + get)
		c.want("GET", 200, "abc")
		c.want("GET", 200, "abc")
		if len(parts[0]) != 3 && !strings.Contains(s.log.String(), "longer than its Content-Length") {
			t.Errorf("%q: nothing in the log", parts)
		}
	}
}

// What is too long is pulled no further.
func TestTooLongIsNotPulled(t *testing.T) {
	for name, dispatch := range map[string]DispatchMode{"Auto": Auto, "Inline": Inline, "Pool": Pool} {
		b := new(body)
		s := startOn(dispatch, t, appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 OK", []gateway.Header{{Name: "Content-Length", Value: "3"}}, nil)
			b.Body = next(func() ([]byte, error) { return []byte("ab"), nil }) // without an end
			return b, err
		}), Options{})
		c := s.dial()
		c.send(get)
		c.want("GET", 200, "aba")
		eventually(t, name+": the body is closed", func() bool { return b.closes() == 1 })
	}
}

func TestApplicationHeaders(t *testing.T) {
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", []gateway.Header{
			{Name: "date", Value: "Sat, 01 Jan 2000 00:00:00 GMT"}, {Name: "Server", Value: "mine"}, {Name: "Connection", Value: "close"},
			{Name: "Set-Cookie", Value: "a=1"}, {Name: "Set-Cookie", Value: "b=2"},
		}, nil)
		return env.Text("x"), err
	}), Options{})
	c := s.dial()
	c.send(get)
	resp := c.want("GET", 200, "x")
	if d, n := resp.Header["Date"], resp.Header["Server"]; len(d) != 1 || !strings.Contains(d[0], "2000") || len(n) != 1 || n[0] != "mine" {
		t.Errorf("Date %q, Server %q; want the application's alone", d, n)
	}
	if got := resp.Header["Set-Cookie"]; len(got) != 2 {
		t.Errorf("Set-Cookie %q", got)
	}
	if !resp.Close {
		t.Error("the application's close was not passed on")
	}
	c.wantEnd()

	s = start(t, appFunc(hello), Options{ServerHeader: NoServerHeader})
	c = s.dial()
	c.send(get)
	if resp := c.want("GET", 200, "Hello, World!"); resp.Header["Server"] != nil || resp.Header["Date"] == nil {
		t.Errorf("header %v, want no Server but Date", resp.Header)
	}
}

// Bad input gets its status, "Connection: close" and the end; the server lives.
func TestRefusals(t *testing.T) {
	s := start(t, appFunc(echo), Options{BodyBytes: 1000, HeadBytes: 2000, TargetBytes: 500, Fields: 20})
	for _, tt := range []struct {
		name, in string
		status   int
	}{
		{"garbage", "\x16\x03\x01\x02\x00", 400},
		{"space before colon", "GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400},
		{"bare LF", "GET / HTTP/1.1\nHost: h\n\n", 400},
		{"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
		{"two hosts", "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400},
		{"two lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
		{"length and chunked", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"two types", "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: a/b\r\ncontent-type: a/b\r\n\r\n", 400},
		{"bad chunk", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx", 400},
		{"unknown coding", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
		{"version 2", "GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505},
		{"CONNECT", "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", 501},
		{"expectation", "POST / HTTP/1.1\r\nHost: h\r\nExpect: more\r\nContent-Length: 1\r\n\r\nx", 417},
		{"announced content too large", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000000\r\n\r\n", 413},
		{"content one too large", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n", 413},
		{"chunks too large", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n", 413},
		{"head too large", "GET / HTTP/1.1\r\nHost: h\r\nX: " + pattern(2000), 431},
		{"too many fields", "GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("a: b\r\n", 20) + "\r\n", 431},
		{"target too long", "GET /" + pattern(501), 414},
		{"after a good one", get + "x y z\r\n\r\n", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, mode := range []string{"whole", "drip"} {
				c := s.dial()
				if mode == "whole" {
					c.send(tt.in + get) // nothing after a refusal is served
				} else {
					for i := range len(tt.in) {
						if _, err := io.WriteString(c, tt.in[i:i+1]); err != nil {
							break
						}
					}
				}
				if strings.HasPrefix(tt.in, get) {
					c.want("GET", 200, "")
				}
				resp, text := c.read("GET")
				if resp.StatusCode != tt.status || !resp.Close || resp.ContentLength != int64(len(text)) || resp.Header.Get("Date") == "" {
					t.Errorf("%s: answered %d %v %q, want %d with Connection: close, Content-Length and Date", mode, resp.StatusCode, resp.Header, text, tt.status)
				}
				c.wantEnd()
				_ = c.Close()
			}
		})
	}
	if got := s.exchange("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n" + pattern(1000)); !strings.HasSuffix(got, pattern(1000)) {
		t.Errorf("content of exactly the limit: %.200q", got)
	}
	c := s.dial()
	c.send(get)
	c.want("GET", 200, "")
}

// A client that closes its side inside a request gets 400. Between two requests the connection is closed.
func TestEndOfInput(t *testing.T) {
	s := start(t, appFunc(echo), Options{})
	for in, want := range map[string]string{
		"":     "",
		"\r\n": "",
		"GET ": "HTTP/1.1 400 ",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nab": "HTTP/1.1 400 ",
		get: "HTTP/1.1 200 ",
	} {
		if got := s.exchange(in); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%q answered %.100q, want %q", in, got, want)
		}
	}
}

func TestExpectContinue(t *testing.T) {
	s := start(t, appFunc(echo), Options{})
	const head = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
	c := s.dial()
	c.send(head)
	if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 100 {
		t.Fatalf("%v, %v; want 100", resp, err)
	}
	c.send("abc")
	c.want("POST", 200, "abc")
	if got := s.exchange(head + "abc"); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("with the content already here: %q, want no 100", got)
	}
	if got := s.exchange(strings.Replace(head, "1.1", "1.0", 1)); !strings.HasPrefix(got, "HTTP/1.1 400") {
		t.Errorf("1.0: %q, want no 100", got)
	}
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	const short = 30 * time.Millisecond
	t.Run("head", func(t *testing.T) {
		t.Parallel()
		s := start(t, appFunc(hello), Options{HeadTimeout: short})
		c := s.dial()
		c.send(get)
		c.want("GET", 200, "Hello, World!")
		stop := make(chan struct{})
		go func() { // drips do not extend it
			for _, b := range "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 10_000) {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					_, _ = io.WriteString(c, string(b))
				}
			}
		}()
		resp, text := c.read("GET")
		close(stop)
		if resp.StatusCode != 408 || !strings.Contains(text, "HeadTimeout") || !resp.Close {
			t.Errorf("answered %d %q, want 408 that names HeadTimeout", resp.StatusCode, text)
		}
	})
	t.Run("each head has its own", func(t *testing.T) {
		t.Parallel()
		s := start(t, appFunc(hello), Options{HeadTimeout: 600 * time.Millisecond})
		c := s.dial()
		c.send("GET / HTTP/1.1\r\nHo")
		for began := time.Now(); time.Since(began) < 900*time.Millisecond; {
			c.send("st: h\r\n\r\nGET / HTTP/1.1\r\nHo") // ends one, begins the next
			c.want("GET", 200, "Hello, World!")
			time.Sleep(20 * time.Millisecond) // a client that takes its time
		}
	})
	t.Run("body", func(t *testing.T) {
		t.Parallel()
		s := start(t, appFunc(reads), Options{BodyTimeout: short})
		c := s.dial()
		c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na")
		if resp, text := c.read("GET"); resp.StatusCode != 408 || !strings.Contains(text, "BodyTimeout") {
			t.Errorf("answered %d %q, want 408 that names BodyTimeout", resp.StatusCode, text)
		}
	})
	const n = 5000
	seconds := testrun.Rounds(2, 1) // of BodyTimeout
	for name, tt := range map[string]struct {
		pieces, pause int // in ms
		status        int
		text          string // in the answer
	}{
		"200 bytes a second": {n, 5, 408, "BodyRate"},
		"2000 bytes a second, for longer than BodyTimeout": {25, 50 * seconds, 200, pattern(n)}, // or 4000
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, appFunc(echo), Options{BodyTimeout: time.Duration(seconds) * time.Second, BodyRate: 1000})
			c := s.dial()
			c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\n")
			c.send(pattern(500000)) // this buys no time for the next
			c.want("POST", 200, pattern(500000))
			c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + strconv.Itoa(n) + "\r\n\r\n")
			stop := make(chan struct{})
			defer close(stop)
			go func() { // steady progress, well within BodyTimeout
				for _, piece := range slices.Collect(slices.Chunk([]byte(pattern(n)), n/tt.pieces)) {
					_, _ = c.Write(piece)
					select {
					case <-stop:
						return
					case <-time.After(time.Duration(tt.pause) * time.Millisecond):
					}
				}
			}()
			if resp, text := c.read("POST"); resp.StatusCode != tt.status || !strings.Contains(text, tt.text) {
				t.Errorf("answered %d %.80q, want %d %.80q", resp.StatusCode, text, tt.status, tt.text)
			}
		})
	}
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		s := start(t, appFunc(hello), Options{IdleTimeout: 10 * short}) // the first request comes within it
		fresh := s.dial()
		c := s.dial()
		c.send(get)
		c.want("GET", 200, "Hello, World!")
		c.wantEnd()
		fresh.wantEnd()
	})
	t.Run("write", func(t *testing.T) {
		t.Parallel()
		b := &body{Body: gateway.Reader(io.LimitReader(zeros{}, 1<<30))}
		s := start(t, ok(b), Options{WriteTimeout: short})
		c := s.dial()
		c.send(get)
		eventually(t, "the body is closed", func() bool { return b.closes() == 1 })
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A client that disconnects in the middle of a response: the body is closed, once.
func TestClientLeaves(t *testing.T) {
	for _, sized := range []bool{false, true} {
		b := &body{Body: gateway.Reader(io.LimitReader(zeros{}, 1<<30))}
		var app gateway.App = ok(b)
		if sized {
			app = ok(&body{Body: b}) // any Body
		}
		s := start(t, app, Options{})
		c := s.dial()
		c.send(get)
		_, _ = io.ReadFull(c.r, make([]byte, 100_000))
		_ = c.SetLinger(0)
		_ = c.Close()
		eventually(t, "the body is closed", func() bool { return b.closes() == 1 })
		s.untilConns(0)
	}
}

// Views of the request stay valid while its response waits for a slow reader and other connections send.
func TestViewsStayWhileAResponseIsSuspended(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "moves megabytes past what a socket holds")
	const n = 60
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		target, field := env.Target(), env.Header("X-Field")
		content, _ := env.Input().ReadAll()
		if _, err := start("200 OK", nil, nil); err != nil {
			return nil, err
		}
		if env.Query() == "" {
			return env.Bytes(content), nil
		}
		return gateway.Stream(func(yield func([]byte, error) bool) {
			for i := range n {
				if !yield(fmt.Appendf(nil, "%d %s %s %s %s\n", i, target, field, content, pattern(50_000)), nil) {
					return
				}
			}
		}), nil
	}), Options{Loops: 1})
	type slow struct {
		c    *client
		want string
	}
	var readers []slow
	for i := range 8 {
		c := s.dial()
		target, field, content := fmt.Sprintf("/%d?held", i), strings.Repeat(string(rune('a'+i)), 20), strings.Repeat(string(rune('A'+i)), 30)
		c.send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nX-Field: %s\r\nContent-Length: %d\r\n\r\n%s", target, field, len(content), content))
		var want strings.Builder
		for k := range n {
			fmt.Fprintf(&want, "%d %s %s %s %s\n", k, target, field, content, pattern(50_000))
		}
		readers = append(readers, slow{c, want.String()})
	}
	noise := s.dial()
	for i := range 200 {
		b := strings.Repeat("!", 100*i)
		noise.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(b), b))
		noise.want("POST", 200, b)
	}
	for _, r := range readers {
		if _, got := r.c.read("POST"); got != r.want {
			t.Errorf("a held response has changed: %d bytes, want %d", len(got), len(r.want))
		}
	}
}

// A response that never ends shares its loop with others.
func TestEndlessResponseIsFair(t *testing.T) {
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if env.Path() != "/endless" {
			return hello(env, start)
		}
		_, err := start("200 OK", nil, nil)
		return next(func() ([]byte, error) { return []byte("more "), nil }), err
	}), Options{Loops: 1})
	endless := s.dial()
	endless.send("GET /endless HTTP/1.1\r\nHost: h\r\n\r\n")
	go func() { _, _ = io.Copy(io.Discard, endless.r) }()
	c := s.dial()
	for range 100 {
		c.send(get)
		c.want("GET", 200, "Hello, World!")
	}
}

// A response that takes longer than WriteTimeout is not cut while its client reads.
func TestEndlessResponseIsNoStall(t *testing.T) {
	testrun.Slow(t, "a flood for 1.5 s")
	const patience = 500 * time.Millisecond
	s := start(t, ok(next(func() ([]byte, error) { return []byte("more "), nil })), Options{WriteTimeout: patience})
	c := s.dial()
	c.send(get)
	for began := time.Now(); time.Since(began) < 3*patience; {
		if _, err := c.r.Discard(1000); err != nil {
			t.Fatalf("cut after %v: %v", time.Since(began), err)
		}
	}
}

func TestContextEndsWithTheRequest(t *testing.T) {
	ctxs := make(chan interface{ Done() <-chan struct{} }, 2)
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		ctxs <- env.Context()
		_, err := start("200 OK", nil, nil)
		if env.Query() == "" {
			return env.Text("x"), err
		}
		return gateway.Reader(io.LimitReader(zeros{}, 1<<30)), err
	}), Options{})
	c := s.dial()
	c.send(get)
	c.want("GET", 200, "x")
	<-(<-ctxs).Done()
	c.send("GET /?long HTTP/1.1\r\nHost: h\r\n\r\n")
	ctx := <-ctxs
	select {
	case <-ctx.Done():
		t.Error("cancelled while the client reads")
	default:
	}
	_ = c.Close()
	<-ctx.Done()
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		s := startOn(Inline, t, appFunc(hello), Options{})
		c := s.dial()
		c.send(get)
		c.want("GET", 200, "Hello, World!")
		go func() {
			_, _ = io.Copy(io.Discard, c.r) // until the server ends it
			_ = c.Close()
		}()
		ctx, cancel := shortly()
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := s.Wait(); err != nil {
			t.Errorf("Wait: %v", err)
		}
	})
	t.Run("at work", func(t *testing.T) {
		t.Parallel()
		pulled := make(chan bool)
		s := startOn(Inline, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if env.Path() == "/stream" {
				_, err := start("200 OK", nil, nil)
				n := 0
				return next(func() ([]byte, error) {
					if n++; n == 3000 {
						return nil, io.EOF
					}
					if n == 1 {
						close(pulled)
					}
					return []byte(pattern(1000)), nil
				}), err
			}
			return echo(env, start)
		}), Options{})
		upload := s.dial()
		upload.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc")
		partial := s.dial()
		partial.send("GET / HTTP/1.1\r\nHo")
		fresh := s.dial() // connected, has sent nothing yet
		stream := s.dial()
		stream.send("GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
		<-pulled
		for range 2 { // both loops have read what was sent before
			probe := s.dial()
			probe.send(get)
			probe.want("GET", 200, "")
			_ = probe.Close()
		}
		stopped := make(chan error)
		go func() {
			ctx, cancel := shortly()
			defer cancel()
			stopped <- s.Shutdown(ctx)
		}()
		s.waitStopping()
		if c, err := net.Dial("tcp", s.addr.String()); err == nil {
			_ = c.Close()
			t.Error("the port is open while the server stops")
		}
		upload.send("def")
		if resp := upload.want("POST", 200, "abcdef"); !resp.Close {
			t.Error("the last answer does not say close")
		}
		partial.send("st: h\r\n\r\n")
		partial.want("GET", 200, "")
		fresh.send(get)
		fresh.want("GET", 200, "")
		if _, got := stream.read("GET"); len(got) != 2999*1000 {
			t.Errorf("the running response has %d bytes, want %d", len(got), 2999*1000)
		}
		for _, c := range []*client{upload, partial, fresh, stream} {
			c.wantEnd()
			_ = c.Close()
		}
		if err := <-stopped; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	t.Run("out of time", func(t *testing.T) {
		t.Parallel()
		s := startOn(Inline, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			env.Set("REQUEST_URI", "/rewritten")
			if env.Path() != "/zeros" {
				return echoBody(env, start)
			}
			_, err := start("200 OK", nil, nil)
			return gateway.Reader(io.LimitReader(zeros{}, 1<<40)), err
		}), Options{BodyBytes: NoLimit})
		requests := []struct{ send, doing string }{
			{"", `phase="reading head" unsent=0`},
			{"GET / HTTP/1.1\r\nHo", `phase="reading head" unsent=0 running=(.*)`},
			{"POST /up?a=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc", `phase="reading body" unsent=0 method=POST target="/up\?a=1" running=(.*)`},
			{strings.Replace(upload(pattern(8<<20), 0), " / ", " /waits ", 1), `phase=responding unsent=\d+ method=POST target=/waits running=(.*)`},
			{"GET /zeros HTTP/1.1\r\nHost: h\r\n\r\n", `phase=responding unsent=\d+ method=GET target=/zeros running=(.*)`},
		}
		var clients []*client
		for range requests {
			clients = append(clients, s.dial())
		}
		clients[1].send(get) // long before the head that is cut
		clients[1].want("GET", 200, "")
		for range 5 {
			s.nextTick()
		}
		dated := time.Now()
		s.nextTick()
		for i, r := range requests {
			c := clients[i]
			_ = c.SetReadBuffer(64 << 10) // or the kernel may take a whole answer
			go func() { _, _ = io.WriteString(c, r.send) }()
		}
		eventually(t, "half a head is here", func() bool { return s.started() == 1 })
		s.waitPhases(readingBody, 1)
		s.waitPhases(responding, 2)
		seen := time.Now()
		s.nextTick()
		s.nextTick()
		least := time.Since(seen)
		ctx, cancel := shortly()
		cancel()
		if err := s.Shutdown(ctx); err != context.Canceled {
			t.Errorf("Shutdown: %v, want %v", err, context.Canceled)
		}
		most := time.Since(dated)
		log := s.log.String()
		for i, r := range requests {
			line := regexp.MustCompile(`level=WARN msg="shutdown: out of time, a connection is cut" remote=` + clients[i].LocalAddr().String() + " " + r.doing + "\n").FindStringSubmatch(log)
			if line == nil {
				t.Errorf("no line for %q", r.doing)
			} else if len(line) == 2 {
				if d, err := time.ParseDuration(line[1]); err != nil || d < least || d > most {
					t.Errorf("%s: it ran for %v to %v", line[0], least, most)
				}
			}
		}
		lines := strings.SplitAfter(log, "\n")
		if sum := lines[len(lines)-2]; !strings.Contains(sum, "level=WARN") || !strings.Contains(sum, `"connections cut"=5`) {
			t.Errorf("the last line is %s", sum)
		}
		if strings.Count(log, "level=WARN") != len(requests)+1 {
			t.Errorf("log: %s", log)
		}
	})
	t.Run("out of time with a blocked loop", func(t *testing.T) {
		t.Parallel()
		held, release := make(chan bool), make(chan bool)
		s := startOn(Inline, t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			held <- true
			<-release
			return hello(env, start)
		}), Options{})
		defer close(release)
		const all = 10
		for range all - 1 {
			s.dial().send("GET / HT")
		}
		eventually(t, "half a head each", func() bool { return s.started() == all-1 })
		s.dial().send(get)
		<-held
		ctx, cancel := shortly()
		cancel()
		if err := s.Shutdown(ctx); err != errLoopBlocked {
			t.Errorf("Shutdown: %v, want %v", err, errLoopBlocked)
		}
		log := s.log.String()
		cut := strings.Count(log, "a connection is cut")
		if left := all - cut; cut == 0 || left == 0 || !strings.Contains(log, fmt.Sprintf(`"connections cut"=%d`, cut)) ||
			strings.Count(log, fmt.Sprintf("an application blocks its loop and does not return; the connections of that loop cannot be reached\" connections=%d\n", left)) != 1 {
			t.Errorf("log: %s", log)
		}
	})
	t.Run("cut by Close", func(t *testing.T) {
		t.Parallel()
		s := startOn(Inline, t, appFunc(hello), Options{})
		s.dial().send("GET / HT")
		eventually(t, "half a head is here", func() bool { return s.started() == 1 })
		s.Close()
		if log := s.log.String(); strings.Contains(log, "WARN") {
			t.Errorf("log: %s", log) // it was asked for
		}
	})
	t.Run("never started", func(t *testing.T) {
		t.Parallel()
		s, err := New(appFunc(hello), Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := shortly()
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

func TestServe(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = filepath.Join(t.TempDir(), "s")
		}
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(appFunc(hello), Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error)
		go func() { served <- s.Serve(l) }()
		c, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
		if b, err := io.ReadAll(c); !strings.HasSuffix(string(b), "Hello, World!") {
			t.Errorf("%s: %q, %v", network, b, err)
		}
		_ = c.Close()
		s.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, err := net.Dial(network, l.Addr().String()); err == nil {
			t.Errorf("%s: the listener is open after Serve", network)
		}
	}
}

func TestAddressesRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for addr, want := range map[string]string{
		"": "use host:port", "1.2.3.4.5:80": "no such host", "127.0.0.1:no-such-service": "unknown port",
		"unix:" + file: "a file is there, which is not a socket", "unix:" + filepath.Dir(file): "a directory is there",
		"unix:/" + strings.Repeat("x", 107): "the path has 108 bytes, and the kernel takes 10", "unix:" + file + "-none/s": "no such file or directory; make the directory",
		taken.Addr().String(): "address already in use; another process", "192.0.2.1:0": "cannot assign requested address; this machine has no such address",
	} {
		err := ListenAndServe(addr, appFunc(hello), Options{})
		if err == nil || !strings.Contains(err.Error(), strconv.Quote(addr)) || !strings.Contains(err.Error(), want) {
			t.Errorf("ListenAndServe(%q): %v; want an error that has the address, and %q", addr, err, want)
		} else if addr != "" && strings.Count(err.Error(), addr) != 1 {
			t.Errorf("ListenAndServe(%q): %v; it has the address twice", addr, err)
		}
	}
}

// The server is not the one that closes first: load balancers wait for 60 s.
func TestIdleTimeoutDefault(t *testing.T) {
	c, err := newConfig(Options{})
	if caddy := 2 * time.Minute; err != nil || c.idleTime <= caddy {
		t.Errorf("IdleTimeout is %v, %v; want more than Caddy keeps idle connections, %v", c.idleTime, err, caddy)
	}
}

func TestOptionsRefused(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options Options
	}{
		{"Loops", Options{Loops: -1}}, {"Workers", Options{Workers: -1}}, {"MaxConnections", Options{MaxConnections: -1}},
		{"WorkerQueue", Options{WorkerQueue: -2}}, {"LingerBytes", Options{LingerBytes: -1}}, {"MethodBytes", Options{MethodBytes: 6}},
		{"MethodBytes", Options{MethodBytes: -1}}, {"HeadBytes", Options{HeadBytes: -1}}, {"TargetBytes", Options{TargetBytes: -1}},
		{"Fields", Options{Fields: 101}}, {"Fields", Options{Fields: -1}}, {"ChunkLineBytes", Options{ChunkLineBytes: 15}},
		{"TrailerBytes", Options{TrailerBytes: -2}}, {"TrailerFields", Options{TrailerFields: -2}},
		{"BodyBytes", Options{BodyBytes: -2}}, {"BodyRate", Options{BodyRate: -2}}, {"BodyMemory", Options{BodyMemory: -2}},
		{"BodyMemory", Options{BodyMemory: 1 << 40}}, {"TempBytes", Options{TempBytes: -2}},
		{"HighWaterBytes", Options{HighWaterBytes: -1}}, {"HighWaterBytes", Options{HighWaterBytes: 1}},
		{"HighWaterBytes", Options{HighWaterBytes: 4095}}, {"HighWaterBytes", Options{HighWaterBytes: 1 << 40}},
		{"HeadTimeout", Options{HeadTimeout: -1}}, {"BodyTimeout", Options{BodyTimeout: -1}}, {"IdleTimeout", Options{IdleTimeout: -1}},
		{"WriteTimeout", Options{WriteTimeout: -1}}, {"LingerTime", Options{LingerTime: -1}}, {"StopTimeout", Options{StopTimeout: -1}},
		{"RequestTimeout", Options{RequestTimeout: -2}}, {"StallWarning", Options{StallWarning: -2}},
		{"RequestTimeout", Options{RequestTimeout: time.Second, Dispatch: Inline}},
		{"Dispatch", Options{Dispatch: -1}}, {"Dispatch", Options{Dispatch: Pool + 1}},
		{"DispatchBy", Options{Dispatch: Pool, DispatchBy: func(*gateway.Environ) DispatchMode { return Auto }}},
		{"UnderscoreFields", Options{UnderscoreFields: KeepUnderscores + 1}}, {"SocketMode", Options{SocketMode: FileMode(os.ModeDir)}},
		{"ServerHeader", Options{ServerHeader: "a\nb"}}, {"Environ", Options{Environ: map[string]any{"HTTP_X": 1}}},
		{"OnStart", Options{OnStart: []func(*Server){nil}}},
	} {
		_, err := New(appFunc(hello), tt.options)
		if err == nil || !strings.Contains(err.Error(), "option "+tt.name) {
			t.Errorf("%s: %v; want an error that names the option", tt.name, err)
		} else if tt.name != "Environ" && !regexp.MustCompile("; (use|set|leave) ").MatchString(err.Error()) && !strings.Contains(err.Error(), "needs the option Dispatch") {
			t.Errorf("%v; want an error that says what to use", err)
		}
	}
	for _, o := range []Options{
		{BodyBytes: NoLimit}, {BodyRate: None}, {StallWarning: None}, {TempBytes: NoLimit}, {WorkerQueue: None}, {BodyMemory: None},
		{TrailerBytes: None, TrailerFields: None}, {HighWaterBytes: 4096}, {HighWaterBytes: 1 << 30}, {BodyMemory: 1 << 30},
	} {
		if s, err := New(appFunc(hello), o); err != nil {
			t.Error(err)
		} else {
			s.Close()
		}
	}
	if _, err := New(nil, Options{}); err == nil {
		t.Error("New(nil): no error")
	}
}

// Main's work: where it listens is printed, a signal stops it in order.
func TestRun(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	signals := make(chan os.Signal, 2)
	ended := make(chan error)
	quiet := slog.New(slog.DiscardHandler)
	go func() {
		ended <- new(processUpgrade).run(appFunc(hello), []string{"127.0.0.1:0"}, Options{Logger: quiet}, signals, w)
	}()
	line := make([]byte, 100)
	n, _ := r.Read(line)
	url, ok := strings.CutPrefix(strings.TrimSpace(string(line[:n])), "listening on ")
	if !ok {
		t.Fatalf("printed %q", line[:n])
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	signals <- os.Interrupt
	if err := <-ended; err != nil {
		t.Errorf("run: %v, want nil after one signal", err)
	}
	if err := new(processUpgrade).run(appFunc(hello), []string{"nowhere"}, Options{Logger: quiet}, signals, io.Discard); err == nil {
		t.Error("run on a bad address: no error")
	}
}

// Many clients at once, each checks its own answers.
func TestConcurrentClients(t *testing.T) {
	s := start(t, appFunc(echo), Options{Loops: 3})
	var wg sync.WaitGroup
	var served atomic.Int64
	for i := range 32 {
		wg.Go(func() {
			c := s.dial()
			for k := range 100 {
				b := pattern(k * (i + 1))
				c.send(fmt.Sprintf("POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", k, len(b), b))
				if _, got, err := c.tryRead("POST"); err != nil || got != b {
					t.Errorf("client %d, request %d: %d bytes, %v; want %d", i, k, len(got), err, len(b))
					return
				}
				served.Add(1)
			}
		})
	}
	wg.Wait()
	if served.Load() != 3200 {
		t.Errorf("%d of 3200 served", served.Load())
	}
}
