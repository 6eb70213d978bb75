package apps

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// proxyTo is a reverse proxy as it is written before one upstream.
func proxyTo(t testing.TB, upstream *site) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: upstream.addr})
			r.SetXForwarded()
		},
		ModifyResponse: func(r *http.Response) error {
			if r.Header.Get("X-Refuse") != "" {
				return errors.New("refused")
			}
			r.Header.Set("X-Proxied", "1")
			return nil
		},
		Transport: newClient(t).Transport,
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		proxy.ServeHTTP(w, r)
	})
}

func TestReverseProxy(t *testing.T) {
	upstream := byNetHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Keep-Alive", "timeout=5")
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "not for the client")
		switch r.URL.Path {
		case "/large":
			_, _ = io.WriteString(w, large)
			return
		case "/length":
			w.Header().Set("Content-Length", fmt.Sprint(len(large)))
			_, _ = io.WriteString(w, large)
			return
		case "/moved":
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		case "/nothing":
			w.WriteHeader(http.StatusNoContent)
			return
		case "/same":
			w.Header().Set("ETag", `"1"`)
			w.WriteHeader(http.StatusNotModified)
			return
		case "/refused":
			w.Header().Set("X-Refuse", "1")
			return
		case "/cookies":
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "1"})
			http.SetCookie(w, &http.Cookie{Name: "b", Value: "2"})
			return
		case "/early":
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/abort/content":
			w.Header().Set("Content-Length", "100000")
			_, _ = io.WriteString(w, large[:50_000])
			panic(http.ErrAbortHandler)
		case "/abort/chunks":
			_, _ = io.WriteString(w, large[:50_000])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		content, err := io.ReadAll(r.Body)
		fmt.Fprintln(w, r.Host == "example.com", r.URL, r.ContentLength, r.TransferEncoding, len(content), err)
		for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For", "X-Hop", "Te", "X-Empty", "User-Agent"} {
			fmt.Fprintf(w, "%s: %q\n", name, r.Header[name])
		}
	}))
	app := func(t testing.TB) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/", proxyTo(t, upstream))
		none, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = none.Close() // nobody listens there
		mux.Handle("/down", proxyTo(t, &site{addr: none.Addr().String()}))
		return mux
	}
	same(t, app, []request{
		{target: "/a%2fb/c?d=e;f&g=%20"},
		{name: "fields", target: "/", header: "X-Forwarded-For: 192.0.2.1\nConnection: X-Hop\nX-Hop: 1\nTe: trailers\nX-Empty:"},
		{method: "HEAD", target: "/"},
		{method: "HEAD", target: "/length"},
		{method: "POST", target: "/", body: "content"},
		{name: "POST large", method: "POST", target: "/", body: large},
		{name: "Expect", method: "POST", target: "/", header: "Expect: 100-continue", body: large},
		{method: "DELETE", target: "/"},
		{method: "OPTIONS", target: "/"},
		{target: "/large"},
		{target: "/length"},
		{name: "range passes", target: "/length", header: "Range: bytes=0-1"},
		{target: "/moved"},
		{target: "/nothing"},
		{target: "/same"},
		{target: "/cookies"},
		{target: "/refused"},
		{method: "POST", target: "/early", body: "content"},
		{target: "/down"},
		{target: "/abort"},
		{target: "/abort/content", varies: `"line.*"`}, // how much of it came
		{target: "/abort/chunks", varies: `"line.*"`},
	})
}

// onEachWithProxy is onEach for the application itself, and through a proxy on the
// same server.
func onEachWithProxy(t *testing.T, app func(testing.TB) http.Handler, test func(*testing.T, *site)) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) { test(t, server.serve(t, app(t))) })
		t.Run(server.name+" proxied", func(t *testing.T) {
			test(t, server.serve(t, proxyTo(t, server.serve(t, app(t)))))
		})
	}
}

// A client reads what the server has made of the first of its content before it sends
// the next.
func TestBothWays(t *testing.T) {
	app := only(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		if err := c.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		in := bufio.NewScanner(r.Body)
		for in.Scan() {
			fmt.Fprintln(w, strings.ToUpper(in.Text()))
			if err := c.Flush(); err != nil {
				t.Error(err)
			}
		}
		fmt.Fprintln(w, "end", in.Err())
	}))
	onEachWithProxy(t, app, func(t *testing.T, s *site) {
		content, send := io.Pipe()
		defer send.Close()
		go fmt.Fprintln(send, "line", 0)
		r, _ := http.NewRequest("POST", s.url("/"), content)
		resp, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		in := bufio.NewReader(resp.Body)
		for i := range 20 {
			if i > 0 {
				fmt.Fprintln(send, "line", i)
			}
			if line, err := in.ReadString('\n'); line != fmt.Sprintf("LINE %d\n", i) {
				t.Fatal(line, err)
			}
		}
		_ = send.Close()
		if rest, err := io.ReadAll(in); string(rest) != "end <nil>\n" || err != nil {
			t.Errorf("%q %v", rest, err)
		}
	})
}

// What is large passes both ways at once, whole.
func TestProxiedEcho(t *testing.T) {
	app := only(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Error(err)
		}
	}))
	content := strings.Repeat(large, 8)
	onEachWithProxy(t, app, func(t *testing.T, s *site) {
		for _, body := range []io.Reader{strings.NewReader(content), struct{ io.Reader }{strings.NewReader(content)}} {
			resp, err := s.client.Post(s.url("/"), "text/plain", body)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if string(got) != content || err != nil {
				t.Errorf("%d bytes of %d, %v", len(got), len(content), err)
			}
		}
	})
}

// A client that leaves ends the request of the upstream.
func TestClientLeavesProxy(t *testing.T) {
	began, ended := make(chan bool), make(chan error, 1)
	app := only(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began <- true
		<-r.Context().Done()
		ended <- r.Context().Err()
	}))
	onEachWithProxy(t, app, func(t *testing.T, s *site) {
		ctx, leave := context.WithCancel(t.Context())
		go func() {
			<-began
			leave()
		}()
		r, _ := http.NewRequestWithContext(ctx, "GET", s.url("/"), nil)
		if _, err := s.client.Do(r); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := wait(t, "the end of the upstream's context", ended); err != context.Canceled {
			t.Error(err)
		}
	})
}
