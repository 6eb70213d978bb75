package nethttp_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server"
)

// What a server does for a handler when it has returned, panicked or ended its goroutine.

// Files that ParseMultipartForm has written are removed, with every way out of a handler.
func TestFormIsRemoved(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir) // package mime/multipart asks os.TempDir
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1); err != nil {
			t.Error(err)
			return
		}
		files, err := os.ReadDir(dir)
		if err != nil || len(files) != 1 {
			t.Errorf("%d files, %v; want the one of the form", len(files), err)
		}
		switch r.URL.Path {
		case "/panic":
			panic(http.ErrAbortHandler)
		case "/closed":
			_ = r.MultipartForm.RemoveAll()
		}
		_, _ = io.WriteString(w, "done")
	})
	onWorkers(t, h, func(t *testing.T, p testServer) {
		for _, target := range []string{"/", "/closed", "/panic"} {
			p.ask(t, strings.Replace(multipart(large), "/", target, 1))
			eventually(t, "no file is left", func() bool {
				files, err := os.ReadDir(dir)
				return err == nil && len(files) == 0
			})
		}
	}, server.Options{})
}

// A response is sent at once, with "close", while another goroutine of its handler waits for content: the Read returns
// an error.
func TestReadUnderWay(t *testing.T) {
	failed := make(chan error, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := make(chan bool)
		go func() {
			_, _ = r.Body.Read(make([]byte, 2))
			close(began)
			_, err := io.ReadAll(r.Body)
			failed <- err
		}()
		<-began
		eventually(t, "the reader waits for content", readerWaits)
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		case "/302":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/413":
			http.Error(w, "too much", http.StatusRequestEntityTooLarge)
		case "/length":
			w.Header().Set("Content-Length", "4")
			_, _ = io.WriteString(w, "text")
		case "/flushed":
			w.(http.Flusher).Flush()
		case "/trailer":
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.WriteString(w, "text")
			w.Header().Set("X-Sum", "1")
		case "/large":
			_, _ = io.WriteString(w, large)
		}
	})
	ask := func(t *testing.T, p testServer, target string) {
		c := p.dial(t)
		c.send("POST " + target + " HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nab")
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(target, err)
		}
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Error(target, err)
		}
		if code := resp.StatusCode; code == http.StatusRequestTimeout || strings.HasPrefix(target, "/302") && code != http.StatusFound {
			t.Error(target, resp.Status)
		}
		if !resp.Close && target != "/flushed" && target != "/large" { // a head that leaves before its handler is done
			t.Error(target, "the answer does not say close")
		}
		if target == "/trailer" && resp.Trailer.Get("X-Sum") != "1" {
			t.Error(target, resp.Trailer)
		}
		if err := wait(t, "the end of the reader", failed); !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("%s: the reader has got %v", target, err)
		}
		if _, err := io.ReadAll(c.r); err != nil {
			t.Error(target, err)
		}
	}
	targets := []string{"/", "/204", "/302", "/413", "/length", "/flushed", "/trailer", "/large"}
	onWorkers(t, h, func(t *testing.T, p testServer) {
		for _, target := range targets {
			ask(t, p, target)
		}
	}, server.Options{BodyTimeout: time.Hour})
	t.Run("App behind Handler", func(t *testing.T) {
		ask(t, serveNetHTTP(t, nethttp.Handler(nethttp.App(h))), "/204")
	})
}

// readerWaits reports whether a goroutine waits in Read of a request's Body. One that gets there later finds the Body
// closed, and then the connection may be kept.
func readerWaits() bool {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		state, _, _ := strings.Cut(stack, "\n")
		if strings.Contains(stack, "nethttp.(*requestBody).Read(") && (strings.Contains(state, "sync.Cond.Wait") || strings.Contains(state, "IO wait")) {
			return true
		}
	}
	return false
}

// The last bytes of a handler and the end of the response are sent together, also after a Flush: a client that reads to
// the end of a value and no further, as a decoder of JSON does, then has all of the response, and can reuse the
// connection.
func TestEndLeavesWithContent(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"flushed": func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "the end")
		},
		"flushed twice": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "some")
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "the ")
			_, _ = io.WriteString(w, "end")
		},
		"one write of more than is gathered before the head": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, large[:3000]+"the end")
		},
		"flushed, with a trailer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "the end")
			w.Header().Set("X-Sum", "1")
		},
	} {
		for _, d := range []server.DispatchMode{server.Inline, server.Auto, server.Pool} {
			p := serveIsbjorn(t, h, server.Options{Dispatch: d})
			c := p.dial(t)
			for range 50 {
				c.send(get)
				var answer strings.Builder
				for b := make([]byte, 64<<10); ; {
					n, err := c.Read(b)
					if err != nil {
						t.Fatal(err)
					}
					answer.Write(b[:n])
					if _, end, ok := strings.Cut(answer.String(), "end"); ok {
						if !strings.Contains(answer.String(), "Content-Length") && !strings.HasSuffix(end, "\r\n\r\n") {
							t.Fatalf("%s, dispatch %d: the end comes behind %q", name, d, answer.String()[max(0, answer.Len()-40):])
						}
						break
					}
				}
			}
		}
	}
}

// Gathered content is sent when it is some KiB, and when the handler waits for room.
func TestGatheredIsSent(t *testing.T) {
	goOn := make(chan bool)
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 5000 {
			_, _ = io.WriteString(w, "a line\n")
		}
		<-goOn
		_, _ = io.WriteString(w, "the end")
	})
	for name, options := range map[string]server.Options{
		"Auto":                {Dispatch: server.Auto},
		"Pool":                {Dispatch: server.Pool},
		"Pool with less room": {Dispatch: server.Pool, HighWaterBytes: 4096},
	} {
		t.Run(name, func(t *testing.T) {
			c := serveIsbjorn(t, h, options).dial(t)
			c.send(get)
			if _, err := io.ReadFull(c.r, make([]byte, 30_000)); err != nil {
				t.Fatal(err)
			}
			goOn <- true
			c.until("the end")
		})
	}
}

// panic(nil) is a panic, also where recover does not tell it from none.
func TestPanicNil(t *testing.T) {
	t.Setenv("GODEBUG", "panicnil=1")
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		panic(nil)
	})
	cut := func(t *testing.T, p testServer) {
		if a := p.ask(t, get); !a.cut {
			t.Error(a.text())
		}
	}
	onWorkers(t, h, cut, server.Options{})
	t.Run("App behind Handler", func(t *testing.T) { cut(t, serveNetHTTP(t, nethttp.Handler(nethttp.App(h)))) })
}
