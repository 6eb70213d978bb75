package apps

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// An event is at the client before the next is made, through a proxy as well.
func TestServerSentEvents(t *testing.T) {
	next := make(chan int)
	app := only(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		for {
			select {
			case i := <-next:
				fmt.Fprintf(w, "id: %d\ndata: event %d\n\n", i, i)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
	onEachWithProxy(t, app, func(t *testing.T, s *site) {
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		go func() { next <- 0 }()
		r, _ := http.NewRequestWithContext(ctx, "GET", s.url("/"), nil)
		resp, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		in := bufio.NewReader(resp.Body)
		for i := range 20 {
			if i > 0 {
				give(t, "an event", next, i)
			}
			for _, want := range []string{fmt.Sprintf("id: %d\n", i), fmt.Sprintf("data: event %d\n", i), "\n"} {
				if line, err := in.ReadString('\n'); line != want {
					t.Fatalf("%q %v", line, err)
				}
			}
		}
	})
}

// board is long polling: who asks waits for the next news.
type board struct {
	mu     sync.Mutex
	cond   chan struct{} // closed by news
	news   string
	asking chan struct{}
	left   chan error
}

func (b *board) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		news, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.news = string(news)
		close(b.cond)
		b.cond = make(chan struct{})
		w.WriteHeader(http.StatusAccepted)
		return
	}
	b.mu.Lock()
	come := b.cond
	b.mu.Unlock()
	b.asking <- struct{}{}
	select {
	case <-come:
		b.mu.Lock()
		defer b.mu.Unlock()
		_, _ = io.WriteString(w, b.news)
	case <-r.Context().Done():
		b.left <- r.Context().Err()
	}
}

func TestLongPolling(t *testing.T) {
	const most = 50
	var b *board
	app := func(testing.TB) http.Handler {
		b = &board{cond: make(chan struct{}), asking: make(chan struct{}, most), left: make(chan error, most)}
		return b
	}
	onEach(t, app, func(t *testing.T, s *site) {
		// Who leaves ends the context of its request, and nobody else's.
		ctx, leave := context.WithCancel(t.Context())
		var leaving, staying sync.WaitGroup
		for range most / 2 {
			leaving.Go(func() {
				r, _ := http.NewRequestWithContext(ctx, "GET", s.url("/"), nil)
				if _, err := s.client.Do(r); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
			staying.Go(func() {
				if got := s.do(&request{}); !strings.Contains(got.text, `"it is done"`) {
					t.Error(got)
				}
			})
		}
		for range most {
			wait(t, "a client that asks", b.asking)
		}
		leave()
		leaving.Wait()
		for range most / 2 {
			if err := wait(t, "the end of a context", b.left); err != context.Canceled {
				t.Error(err)
			}
		}
		if got := s.do(&request{method: "POST", body: "it is done"}); !strings.Contains(got.text, "202 Accepted") {
			t.Error(got)
		}
		staying.Wait()
		if n := len(b.left); n > 0 {
			t.Error(n, "more left")
		}
	})
}

// downloadBytes is far more than sockets and servers buffer.
const downloadBytes = 48 << 20

// A client that stops reading holds nobody up but its own handler, and gets all when it
// goes on: from a file, which isbjorn sends by sendfile(2), and from a reader.
func TestLargeDownload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large.bin")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	line := make([]byte, 1<<20)
	for i := range downloadBytes / len(line) {
		for j := range line {
			line[j] = byte(i + j>>8 + j)
		}
		sum.Write(line)
		if _, err := f.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%x", sum.Sum(nil))
	sent := make(chan struct{}, 1)
	app := only(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/small" {
			fmt.Fprintln(w, "small")
			return
		}
		f, err := os.Open(path)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		var content io.ReadSeeker = f
		if r.URL.Path == "/reader" {
			content = struct{ io.ReadSeeker }{f}
		}
		http.ServeContent(w, r, "large.bin", time.Time{}, content)
		sent <- struct{}{}
	}))
	onEach(t, app, func(t *testing.T, s *site) {
		for _, target := range []string{"/file", "/reader"} {
			resp, err := s.client.Get(s.url(target))
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.New()
			n, err := io.CopyN(sum, resp.Body, 100_000)
			for range 20 {
				if got := s.do(&request{target: "/small"}); !strings.Contains(got.text, `"small\n"`) {
					t.Error(got)
				}
			}
			if target == "/reader" && len(sent) > 0 {
				t.Error("all was taken from the handler while its client did not read")
			}
			if err == nil {
				var rest int64
				rest, err = io.Copy(sum, resp.Body)
				n += rest
			}
			_ = resp.Body.Close()
			if got := fmt.Sprintf("%x", sum.Sum(nil)); err != nil || n != downloadBytes || got != want || resp.ContentLength != downloadBytes {
				t.Errorf("%s: %d bytes of %d, %s, %v", target, n, resp.ContentLength, got, err)
			}
			wait(t, "the end of the handler", sent)
		}
	})
}

// A handler reads an upload in pieces, and answers each, or before the end.
func TestLargeUpload(t *testing.T) {
	app := only(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		most := r.ContentLength
		if r.URL.Path == "/refuse" {
			most = 1 << 20
		}
		sum, piece := sha256.New(), make([]byte, 64<<10)
		n, err := io.CopyBuffer(sum, struct{ io.Reader }{io.LimitReader(r.Body, most)}, piece)
		if r.URL.Path == "/refuse" {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
		fmt.Fprintf(w, "%d %x %v", n, sum.Sum(nil), err)
	}))
	const size = 8 << 20
	content := strings.Repeat(large, size/len(large)+1)[:size]
	onEach(t, app, func(t *testing.T, s *site) {
		resp, err := s.client.Post(s.url("/"), "text/plain", strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if want := fmt.Sprintf("%d %x <nil>", size, sha256.Sum256([]byte(content))); string(got) != want || err != nil {
			t.Errorf("%s, %v; want %s", got, err, want)
		}

		// The answer comes while the client has much left to send; then the server ends
		// what nobody will read.
		c := s.dial(t)
		fmt.Fprintf(c, "POST /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", int64(1<<40), content[:1<<20])
		resp, err = http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err = io.ReadAll(resp.Body)
		if want := fmt.Sprintf("%d %x <nil>", 1<<20, sha256.Sum256([]byte(content[:1<<20]))); resp.StatusCode != 413 || string(got) != want || err != nil {
			t.Errorf("%s: %s, %v; want %s", resp.Status, got, err, want)
		}
		if !resp.Close {
			t.Error("the connection is to go on behind content that does not come")
		}
		for sent := 0; err == nil; sent += size {
			if _, err = io.WriteString(c, content); sent > 1<<30 {
				t.Fatal("the server takes for ever what nobody reads")
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}
