package middleware

import (
	"bufio"
	"compress/gzip"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/server"
)

// Every middleware that wraps the writer passes Flush on: the client has the head, and each part, while the application
// waits.
func TestFlushThroughAll(t *testing.T) {
	compress, err := Compress(CompressOptions{})
	if err != nil {
		t.Fatal(err)
	}
	conditional, err := Conditional(ConditionalOptions{ETagBytes: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	body, err := BodyLimit(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	crowd, err := ConcurrencyLimit(10, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	for _, dispatch := range dispatches {
		goOn := make(chan struct{}, 3)
		var app gateway.App = gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", fields("Content-Type", "text/plain"), nil)
			if err != nil {
				return nil, err
			}
			for _, part := range []string{"", "one", "two"} {
				_, _ = io.WriteString(w, part)
				if err := gateway.Flush(w); err != nil {
					t.Errorf("Flush: %v", err)
				}
				<-goOn
			}
			return gateway.Text("three"), nil
		})
		for _, m := range []gateway.Middleware{
			gateway.Debug, gateway.Validate, conditional, compress, Recover, crowd, body, RequestID(false), AccessLog(quiet), CombinedLog(io.Discard),
		} {
			app = gateway.ValidateMiddleware(m, func(v *gateway.Violation) { t.Error(v) })(app)
		}
		s, err := server.New(app, server.Options{Logger: quiet, Dispatch: dispatch})
		if err != nil {
			t.Fatal(err)
		}
		addr, err := s.Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%v, %v", resp, err)
		} else {
			content := reading{resp.Body, "gzip"}
			for _, part := range []string{"one", "two", "three"} {
				goOn <- struct{}{}
				b := make([]byte, len(part))
				if _, err := io.ReadFull(&content, b); err != nil || string(b) != part {
					t.Errorf("read %q, %v; want %q", b, err, part)
				}
			}
		}
		close(goOn)
		_ = c.Close()
		s.Close()
	}
}

// For a 304 Flush sends the head and no content.
func TestFlushConditional(t *testing.T) {
	conditional, err := Conditional(ConditionalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := call(conditional(gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 OK", fields("ETag", `"x"`), nil)
		if err != nil {
			return nil, err
		}
		_, _ = io.WriteString(w, "content")
		return nil, gateway.Flush(w)
	})), "GET", "/", "If-None-Match", `"x"`)
	if got.Err != nil || got.Code != 304 || got.Text() != "" {
		t.Errorf("%+v", got)
	}
}

// After Flush no ETag is made.
func TestFlushBeforeETag(t *testing.T) {
	conditional, err := Conditional(ConditionalOptions{ETagBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	got := call(conditional(gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 OK", nil, nil)
		if err == nil {
			err = gateway.Flush(w)
		}
		return gateway.Text("content"), err
	})), "GET", "/")
	if got.Err != nil || got.Code != 200 || got.Text() != "content" {
		t.Errorf("%+v", got)
	}
}

// flushing is a Body of known length that flushes in Next.
type flushing struct {
	w     io.Writer
	parts []string
}

func (f *flushing) Next() ([]byte, error) {
	if err := gateway.Flush(f.w); err != nil {
		return nil, err
	}
	part := f.parts[0]
	if f.parts = f.parts[1:]; len(f.parts) == 0 {
		return []byte(part), io.EOF
	}
	return []byte(part), nil
}

func (f *flushing) Close() error { return nil }

// Compress does not flush content of known length, except for Flush.
func TestFlushCompressed(t *testing.T) {
	compress, err := Compress(CompressOptions{})
	if err != nil {
		t.Fatal(err)
	}
	part := strings.Repeat("compressible ", 100)
	got := call(compress(gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 OK", fields("Content-Type", "text/plain", "Content-Length", "3900"), nil)
		return &flushing{w, []string{part, part, part}}, err
	})), "GET", "/", "Accept-Encoding", "gzip")
	if got.Err != nil || got.Get("Content-Encoding") != "gzip" || len(got.Chunks) != 3 {
		t.Fatalf("%+v", got)
	}
	z, err := gzip.NewReader(strings.NewReader(got.Chunks[0]))
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(part))
	if _, err := io.ReadFull(z, b); err != nil || string(b) != part {
		t.Errorf("the first chunk has %d bytes, %v", len(b), err)
	}
}

// A head that is flushed before there is content says that it is compressed, unless its length is known and small.
func TestFlushBeforeCompress(t *testing.T) {
	compress := compressOf(t, CompressOptions{})
	for length, want := range map[string]string{"": "gzip", "7": "", "1024": "gzip"} {
		content := "content"
		if length == "1024" {
			content = page[:1024]
		}
		headers := fields("Content-Type", "text/plain")
		if length != "" {
			headers = append(headers, gateway.Header{Name: "Content-Length", Value: length})
		}
		got := call(compress(gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", headers, nil)
			if err == nil {
				err = gateway.Flush(w)
			}
			return gateway.Text(content), err
		})), "GET", "/", "Accept-Encoding", "gzip")
		if got.Err != nil || got.Get("Content-Encoding") != want || decode(t, want, got.Text()) != content {
			t.Errorf("length %q: %s %v", length, show(got), got.Header)
		}
	}
}
