package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// httpSocket is the environment variable that makes TestListenAndServeHTTP the program
// that it asks: it is the Unix socket to serve on.
const httpSocket = "TEST_ISBJORN_HTTP"

// It serves a handler that blocks, and http.DefaultServeMux for nil, in a program of its
// own, since it never ends.
func TestListenAndServeHTTP(t *testing.T) {
	if path := os.Getenv(httpSocket); path != "" {
		serveHTTP(path)
		return
	}
	const patience = 20 * time.Second
	dir, err := os.MkdirTemp("", "http") // shorter than t.TempDir: the path of a socket has its limit
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	program := exec.Command(os.Args[0], "-test.run=^TestListenAndServeHTTP$")
	program.Env, program.Stderr = append(os.Environ(), httpSocket+"="+path, "GOMAXPROCS=1"), os.Stderr // one loop
	stdin, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stdin.Close() // which ends it
		if err := program.Wait(); err != nil {
			t.Error(err)
		}
	}()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: patience}

	ask := func(path, content string) (int, string) {
		resp, err := client.Post("http://h"+path, "text/plain", strings.NewReader(content))
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		got, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, resp.Header.Get("Server") + " " + string(got)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // until it listens
		if code, got := ask("/", ""); code == 404 {
			break
		} else if time.Now().After(end) {
			t.Fatal(got)
		}
	}
	waiter := make(chan string, 1)
	go func() {
		_, got := ask("/wait", "")
		waiter <- got
	}()
	if code, got := ask("/go", "on"); code != 200 || got != "isbjorn it waits" {
		t.Errorf("beside a handler that waits: %d, %q", code, got)
	}
	if got := <-waiter; got != "isbjorn on" {
		t.Errorf("who has waited: %q", got)
	}
	if code, got := ask("/go", strings.Repeat("x", 1<<20+1)); code != 413 {
		t.Errorf("content over the default of BodyBytes: %d, %s", code, got)
	}

	if err := ListenAndServeHTTP("nowhere", nil, Options{}); err == nil || !strings.Contains(err.Error(), `"nowhere"`) {
		t.Errorf("it does not name the address: %v", err)
	}
}

// serveHTTP is that program.
func serveHTTP(path string) {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0) // the test is over
	}()
	waits, goOn := make(chan string), make(chan string)
	http.HandleFunc("/wait", func(w http.ResponseWriter, _ *http.Request) {
		waits <- "it waits"
		_, _ = io.WriteString(w, <-goOn)
	})
	http.HandleFunc("/go", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, <-waits)
		content, _ := io.ReadAll(r.Body)
		goOn <- string(content)
	})
	panic(ListenAndServeHTTP("unix:"+path, nil, Options{}))
}
