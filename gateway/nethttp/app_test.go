package nethttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server"
)

// until reads lines until one has text.
func (c *client) until(text string) {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("%v, and no %q", err, text)
		}
		if strings.Contains(line, text) {
			return
		}
	}
}

// wait fails when nothing comes.
func wait[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(waitMax):
		t.Fatal(what, "did not come")
	}
	return v
}

// Events pass through a proxy as they are sent.
func TestServerSentEvents(t *testing.T) {
	next := make(chan int)
	upstream := serveIsbjorn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range next {
			fmt.Fprintf(w, "data: %d\n\n", i)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		}
	}), server.Options{})
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: upstream.addr})
	proxy.Transport = transport(t)
	c := serveIsbjorn(t, proxy, server.Options{}).dial(t)
	c.send(get)
	for i := range 5 {
		next <- i
		c.until(fmt.Sprint("data: ", i)) // before the next is sent
	}
	close(next)
	c.until("0\r\n")
}

// A handler answers what it has read while the client still sends.
func TestUploadIsStreamed(t *testing.T) {
	p := serveIsbjorn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 100)
		for {
			n, err := r.Body.Read(b)
			if n > 0 {
				fmt.Fprintf(w, "got %s\n", b[:n])
				w.(http.Flusher).Flush()
			}
			if err != nil {
				fmt.Fprintln(w, err)
				return
			}
		}
	}), server.Options{})
	c := p.dial(t)
	c.send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
	c.until("100 Continue")
	for i := range 5 {
		c.send(fmt.Sprintf("1\r\n%d\r\n", i))
		c.until(fmt.Sprint("got ", i))
	}
	c.send("0\r\n\r\n")
	c.until("EOF")
}

// No 100 Continue for a handler that does not read.
func TestExpectIsRefused(t *testing.T) {
	c := serveIsbjorn(t, writes(401, "", "who?"), server.Options{}).dial(t)
	c.send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	if line, err := c.r.ReadString('\n'); line != "HTTP/1.1 401 Unauthorized\r\n" {
		t.Error(line, err)
	}
}

// An upload that is cut is an error, whatever its framing.
func TestCutUpload(t *testing.T) {
	began, failed := make(chan bool, 1), make(chan error, 1)
	p := serveIsbjorn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began <- true
		_, err := io.Copy(io.Discard, r.Body)
		failed <- err
	}), server.Options{})
	for _, framing := range []string{"Content-Length: 50\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"} {
		c := p.dial(t)
		c.send("POST / HTTP/1.1\r\nHost: h\r\n" + framing)
		wait(t, "the handler", began) // a client that disconnects before is not served at all
		_ = c.Close()
		if err := wait(t, "the error", failed); err == nil {
			t.Errorf("%q: whole", framing)
		}
	}
}

// When the client disconnects the Context ends, and writes fail.
func TestClientGone(t *testing.T) {
	cause, failed := make(chan error, 1), make(chan error, 1)
	p := serveIsbjorn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := io.WriteString(w, large); err != nil {
				failed <- err
				break
			}
		}
		<-r.Context().Done()
		cause <- context.Cause(r.Context())
	}), server.Options{})
	c := p.dial(t)
	c.send(get)
	c.until("line 10")
	_ = c.Close()
	if err := wait(t, "the error", failed); err == nil {
		t.Error("no error")
	}
	if err := wait(t, "the cause", cause); err != gateway.ErrClientGone {
		t.Error(err)
	}
}

// What a handler keeps of a request is a copy; Body and ResponseWriter return errors after the handler.
func TestKept(t *testing.T) {
	type kept struct {
		w http.ResponseWriter
		r *http.Request
	}
	all := make(chan kept, 100)
	p := serveIsbjorn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.PathValue("x"))
		all <- kept{w, r}
	}), server.Options{})
	c := p.dial(t)
	request := func(i int) string {
		return fmt.Sprintf("POST /path/%03d?q=%03d HTTP/1.1\r\nHost: host%03d\r\nX-N: %03d\r\nContent-Length: 3\r\n\r\n%03d", i, i, i, i, i)
	}
	for i := range 100 {
		c.send(request(i))
	}
	for range 100 {
		c.until("HTTP/1.1 200")
	}
	for i := range 100 {
		k := <-all
		want := fmt.Sprintf("%03d", i)
		if r := k.r; r.URL.Path != "/path/"+want || r.URL.RawQuery != "q="+want || r.Host != "host"+want || r.Header.Get("X-N") != want || r.RemoteAddr != c.LocalAddr().String() {
			t.Fatalf("request %s is now %s %s %v %s", want, r.URL, r.Host, r.Header, r.RemoteAddr)
		}
		if _, err := k.w.Write([]byte("late")); err == nil {
			t.Error("Write after return")
		}
		k.w.WriteHeader(500)
		if err := http.NewResponseController(k.w).Flush(); err == nil {
			t.Error("Flush after return")
		}
		if n, err := k.r.Body.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Error("Read after return")
		}
		wait(t, "the end of the context", k.r.Context().Done())
	}
}

func TestResponseController(t *testing.T) {
	got := gatewaytest.Get(nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		_, _, hijacked := c.Hijack()
		for what, err := range map[string]error{"Hijack": hijacked, "SetReadDeadline": c.SetReadDeadline(time.Now()), "SetWriteDeadline": c.SetWriteDeadline(time.Now())} {
			if !errors.Is(err, http.ErrNotSupported) {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, _ = io.WriteString(w, "a")
		if err := errors.Join(c.EnableFullDuplex(), c.Flush()); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, "b")
	})), "/")
	if got.Err != nil || strings.Join(got.Chunks, "|") != "a|b" {
		t.Errorf("%+v", got)
	}
}

// A handler that writes for HEAD as for GET gets no error.
func TestHead(t *testing.T) {
	p := serveIsbjorn(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 10 {
			if _, err := io.WriteString(w, large); err != nil {
				t.Error(err)
			}
			w.(http.Flusher).Flush()
		}
	}), server.Options{})
	if a := p.ask(t, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"); a.status != "200 OK" || a.header.Get("Content-Length") != "" {
		t.Error(a.text())
	}
}

func TestSuperfluousWriteHeader(t *testing.T) {
	p := serveIsbjorn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints) // is not the final one
		w.WriteHeader(http.StatusAccepted)
		w.WriteHeader(http.StatusTeapot)
	}), server.Options{})
	if a := p.ask(t, get); a.status != "202 Accepted" {
		t.Error(a.text())
	}
	if log := p.log.String(); strings.Count(log, "superfluous") != 1 || !strings.Contains(log, "app_test.go:") {
		t.Error(log)
	}
}

// A panic is logged with the stack of the handler; other connections are kept.
func TestPanicIsLogged(t *testing.T) {
	p := serveIsbjorn(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panics() }), server.Options{})
	if a := p.ask(t, get); a.status != "500 Internal Server Error" {
		t.Error(a.text())
	}
	eventually(t, "the log has the stack", func() bool {
		log := p.log.String()
		return strings.Contains(log, "it is broken") && strings.Contains(log, "nethttp_test.panics")
	})
}

//go:noinline
func panics() { panic("it is broken") }

// A control character in a value is a 500, since parsers read it differently.
func TestControlCharacter(t *testing.T) {
	if a := serveIsbjorn(t, writes(0, "A: b\x00c", "x"), server.Options{}).ask(t, get); a.status != "500 Internal Server Error" {
		t.Error(a.text())
	}
}

// The files of http.ServeContent reach the server as files.
func TestFileReachesServer(t *testing.T) {
	dir := files(t)
	open := func(w http.ResponseWriter, use func(f *os.File)) {
		f, err := os.Open(filepath.Join(dir, "large.txt"))
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		use(f)
	}
	fileServer := http.FileServer(http.Dir(dir))
	for _, tt := range []struct {
		name, target, fields string
		handler              http.HandlerFunc
		off, n               int64 // 0 bytes: no file
	}{
		{"whole", "/large.txt", "", fileServer.ServeHTTP, 0, int64(len(large))},
		{"range", "/large.txt", "bytes=100-9999", fileServer.ServeHTTP, 100, 9900},
		{"small", "/small.txt", "", fileServer.ServeHTTP, 0, 0},
		{"io.Copy with a length", "/", "", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(large)))
			open(w, func(f *os.File) { _, _ = io.Copy(w, f) })
		}, 0, int64(len(large))},
		{"io.Copy", "/", "", func(w http.ResponseWriter, _ *http.Request) {
			open(w, func(f *os.File) { _, _ = io.Copy(w, f) })
		}, 0, 0},
		{"io.CopyN", "/", "", func(w http.ResponseWriter, _ *http.Request) {
			open(w, func(f *os.File) { _, _ = io.CopyN(w, f, 5000) })
		}, 0, 5000},
		{"with text before it", "/", "", func(w http.ResponseWriter, _ *http.Request) {
			open(w, func(f *os.File) { fmt.Fprint(w, "text"); _, _ = io.Copy(w, f) })
		}, 0, 0},
		{"with text behind it", "/", "", func(w http.ResponseWriter, _ *http.Request) {
			open(w, func(f *os.File) { _, _ = io.CopyN(w, f, 5000); fmt.Fprint(w, "text") })
		}, 0, 0},
	} {
		seen := false
		got := gatewaytest.Call(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			body, err := nethttp.App(tt.handler).Serve(env, start)
			if file := gateway.FileOf(body); file != nil {
				_, off, n := file.Range()
				if seen = true; off != tt.off || n != tt.n {
					t.Errorf("%s: %d bytes from %d", tt.name, n, off)
				}
			}
			return body, err
		}), gatewaytest.Request{Target: tt.target, Header: []gateway.Header{{Name: "Range", Value: tt.fields}}})
		if seen != (tt.n > 0) || got.Err != nil || !strings.Contains(got.Text(), "line 2") && tt.target != "/small.txt" || tt.n > 0 && got.Text() != large[tt.off:tt.off+tt.n] {
			t.Errorf("%s: a file: %t; %v, %d bytes", tt.name, seen, got.Err, len(got.Text()))
		}
	}
}

// A handler that a middleware has mounted sees the rest of the path.
func TestMounted(t *testing.T) {
	app := nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path, " ", r.RequestURI) }))
	got := gatewaytest.Get(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		env.Set("SCRIPT_NAME", "/api")
		env.Set("PATH_INFO", "/v1/x")
		return app.Serve(env, start)
	}), "/api/v1/x")
	if got.Err != nil || got.Text() != "/v1/x /api/v1/x" {
		t.Errorf("%+v", got)
	}
}

// App uses nothing of a request after its response.
func TestDebug(t *testing.T) {
	for _, h := range []http.HandlerFunc{describe, writes(0, "A: b", large), writes(204, ""), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }} {
		var r *http.Request
		got := gatewaytest.Call(gateway.Debug(nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			r = req
			h(w, req)
		}))), gatewaytest.Request{Method: "POST", Target: "/a?b", Body: "content", Header: []gateway.Header{{Name: "X-A", Value: "b"}}})
		var violation *gateway.Violation
		if errors.As(got.Err, &violation) {
			t.Error(violation)
		}
		if r.URL.String() != "/a?b" || r.Header.Get("X-A") != "b" || len(r.Header) != 2 || r.RemoteAddr != "192.0.2.1:1234" {
			t.Errorf("%v %v %v", r.URL, maps.Clone(r.Header), r.RemoteAddr)
		}
	}
}
