package server

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// runProgram runs a program of Debian's, and returns its standard output. The test is skipped where the program is missing.
func runProgram(t *testing.T, pack, name string, args ...string) string {
	t.Helper()
	testrun.Slow(t, "it runs another program")
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is missing: apt-get install %s", name, pack)
	}
	cmd := exec.Command(path, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	timer := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%.2000s\n%.2000s", name, err, out, stderr.Bytes())
	}
	return string(out)
}

func TestTLSCurl(t *testing.T) {
	s := startTLS(t, appFunc(printEnviron), Options{})
	_, port, _ := net.SplitHostPort(s.https.String())
	for option, want := range map[string]string{
		"--http1.1":     "https\non\nTLSv1.3\nHTTP/1.1\n200 1.1",
		"--http2":       "https\non\nTLSv1.3\nHTTP/2.0\n200 2",
		"--tls-max 1.2": "https\non\nTLSv1.2\nHTTP/2.0\n200 2",
	} {
		args := append(strings.Fields(option), "-sS", "--cacert", s.ca.path("ca.pem"), "--resolve", "example.com:"+port+":127.0.0.1",
			"-w", "%{http_code} %{http_version}", "https://example.com:"+port+"/?wsgi.url_scheme,HTTPS,SSL_PROTOCOL,SERVER_PROTOCOL")
		if got := runProgram(t, "curl", "curl", args...); got != want {
			t.Errorf("curl %s: %q, want %q", option, got, want)
		}
	}
	upload := s.ca.path("upload")
	if err := os.WriteFile(upload, []byte(pattern(900_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	e := startTLS(t, appFunc(echo), Options{})
	_, port, _ = net.SplitHostPort(e.https.String())
	for _, option := range []string{"--http1.1", "--http2"} {
		if got := runProgram(t, "curl", "curl", option, "-sSk", "--data-binary", "@"+upload, "https://127.0.0.1:"+port+"/"); got != pattern(900_000) {
			t.Errorf("curl %s: %d bytes came back", option, len(got))
		}
	}
}

// 4 connections with 100 streams each, while the certificate is replaced again and again: none fails.
func TestTLSH2load(t *testing.T) {
	s := startTLS(t, appFunc(hello), Options{})
	stop := make(chan struct{})
	var replacing sync.WaitGroup
	defer replacing.Wait()
	defer close(stop)
	replacing.Go(func() {
		for {
			s.ca.issue("site", time.Time{}, "example.com")
			s.tlsFront().(*front).reload()
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	for range 3 { // new connections too
		out := runProgram(t, "nghttp2-client", "h2load", "-c4", "-m100", "-n8000", "https://"+s.https.String()+"/")
		if !strings.Contains(out, "8000 succeeded, 0 failed, 0 errored, 0 timeout") || !strings.Contains(out, "Application protocol: h2") {
			t.Errorf("h2load: %s", out)
		}
	}
	if log := s.log.String(); !strings.Contains(log, "a certificate was read again") {
		t.Errorf("the log has %.1000s", log)
	}
}

// A browser loads a page with 50 images.
func TestTLSChromium(t *testing.T) {
	var images, h2 atomic.Int64
	gif := []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x01D\x00;")
	var page strings.Builder
	page.WriteString(`<html><body onload="document.body.id = 'loaded' + [...document.images].filter(i => i.naturalWidth > 0).length">`)
	for i := range 50 {
		fmt.Fprintf(&page, `<img src="/%d.gif">`, i)
	}
	s := startTLS(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		kind, body := "text/html", page.String()
		if strings.HasSuffix(env.Path(), ".gif") {
			kind, body = "image/gif", string(gif)
			images.Add(1)
		}
		if env.Protocol() == "HTTP/2.0" {
			h2.Add(1)
		}
		_, err := start("200 OK", []gateway.Header{{Name: "Content-Type", Value: kind}}, nil)
		return gateway.Text(body), err
	}), Options{})
	out := runProgram(t, "chromium", "chromium", "--headless=new", "--no-sandbox", "--ignore-certificate-errors", "--disable-gpu",
		"--user-data-dir="+t.TempDir(), "--dump-dom", "https://"+s.https.String()+"/")
	if !strings.Contains(out, `id="loaded50"`) || images.Load() != 50 || h2.Load() < 51 {
		t.Errorf("%d images, %d requests by HTTP/2\n%.300s", images.Load(), h2.Load(), out)
	}
}
