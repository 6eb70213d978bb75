package middleware

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/isbjorn/isbjorn/gateway"
)

// waiting is a Body that returns ErrWait with its chunks and between them.
type waiting struct {
	left  []string
	asked int
}

func (w *waiting) Next() ([]byte, error) {
	w.asked++
	b := w.left[0]
	if w.left = w.left[1:]; len(w.left) == 0 {
		return []byte(b), io.EOF
	}
	return []byte(b), gateway.ErrWait
}

func (w *waiting) Close() error { return nil }

type sizedWaiting struct {
	*waiting
	n int64
}

func (w *sizedWaiting) Len() int64 { return w.n }

// A response that waits does so with each middleware around it: no chunk is held back meanwhile, and no ErrWait is
// returned that came with an earlier Next, since there may have been a wake.
func TestWait(t *testing.T) {
	compress, err := Compress(CompressOptions{})
	if err != nil {
		t.Fatal(err)
	}
	conditional, err := Conditional(ConditionalOptions{ETagBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	running, err := ConcurrencyLimit(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	chunks := []string{"", "one", "", strings.Repeat("large", compressBytes), "two", ""}
	for name, m := range map[string]gateway.Middleware{
		"AccessLog": AccessLog(slog.New(slog.DiscardHandler)), "Recover": Recover, "ConcurrencyLimit": running, "Conditional": conditional, "Compress": compress,
	} {
		for _, sized := range []bool{false, true} {
			w := &waiting{left: chunks}
			length := int64(len(strings.Join(chunks, "")))
			app := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				_ = env.Waker()
				_, err := start("200 OK", fields("Content-Type", "text/plain"), nil)
				if sized {
					return &sizedWaiting{w, length}, err
				}
				return w, err
			})
			var content, compressed bytes.Buffer
			waits := 0
			drive(t, m(app), func(body gateway.Body) {
				for {
					before := w.asked
					b, err := body.Next()
					compressed.Write(b)
					content.Write(b)
					switch {
					case err == gateway.ErrWait && w.asked == before:
						t.Fatalf("%s, sized %v: ErrWait of an earlier Next", name, sized)
					case err == gateway.ErrWait:
						waits++
					case err == io.EOF:
						return
					case err != nil:
						t.Fatalf("%s, sized %v: %v", name, sized, err)
					}
					if want := len(chunks) - len(w.left); name == "Compress" && err == gateway.ErrWait && want > 1 {
						part, _ := gzip.NewReader(bytes.NewReader(compressed.Bytes()))
						if got, _ := io.ReadAll(part); string(got) != strings.Join(chunks[:want], "") {
							t.Fatalf("%s, sized %v: %d bytes come before it waits, want %d chunks", name, sized, len(got), want)
						}
					}
				}
			})
			if name == "Compress" {
				unzipped, err := gzip.NewReader(&compressed)
				if err != nil {
					t.Fatal(err)
				}
				content.Reset()
				_, _ = content.ReadFrom(unzipped)
			}
			if got := content.String(); got != strings.Join(chunks, "") || waits < 3 {
				t.Errorf("%s, sized %v: %d bytes, and %d times ErrWait", name, sized, len(got), waits)
			}
		}
	}
}

// drive calls pull with the Body of a response to a client that accepts gzip.
func drive(t *testing.T, app gateway.App, pull func(gateway.Body)) {
	t.Helper()
	server := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		body, err := app.Serve(env, start)
		if err != nil {
			t.Fatal(err)
		}
		pull(body)
		err = body.Close()
		if _, errStart := start("200 OK", nil, errBroken); errStart != nil {
			t.Fatal(errStart)
		}
		return nil, err
	})
	if got := call(server, "GET", "/", "Accept-Encoding", "gzip"); got.Err != nil {
		t.Error(got.Err)
	}
}

// A client that disconnects while the response waits is no failure in the log.
func TestAccessLogWait(t *testing.T) {
	kept := &keeper{}
	drive(t, AccessLog(slog.New(kept))(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return &waiting{left: []string{"", "never"}}, err
	})), func(body gateway.Body) { _, _ = body.Next() })
	got := map[string]string{}
	for a := range kept.records[0].Attrs {
		got[a.Key] = a.Value.String()
	}
	if got["status"] != "200" || got["aborted"] != "true" {
		t.Errorf("%v", got)
	}
}
