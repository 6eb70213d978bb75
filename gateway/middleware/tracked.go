package middleware

import (
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/thrown"
)

// trackedResponse is a response that passes through a middleware unchanged: it notes the status, counts
// the bytes, and calls onEnd. It is a gateway.Wrapper, so a server can send a file inside by sendfile.
type trackedResponse struct {
	start gateway.StartResponse // of the server, or the middleware around
	inner gateway.Body
	onEnd func(*trackedResponse) // called once: when the response is closed, or Serve has failed

	code    int   // of the last start; 0 before the first
	written int64 // bytes by write()
	pulled  int64 // bytes by Next
	length  int64 // declared Content-Length; -1 if there is none
	flushed bool  // Flush was called, so the head was sent
	err     error // of the last Serve or Next: io.EOF after the content, nil if there is more
}

var errPanic = errors.New("middleware: the application panicked")

// serve calls Serve of app with a start that r tracks.
func (r *trackedResponse) serve(app gateway.App, env *gateway.Environ, start gateway.StartResponse) (
	gateway.Body, error) {
	r.start, r.length, r.err = start, -1, errPanic
	defer func() {
		if r.err == nil || r.inner != nil {
			return // Close will call onEnd
		}
		if r.err == errPanic { // still: Serve has panicked, or called runtime.Goexit
			if p := thrown.Value(recover()); p != nil {
				if thrown.Is(p, gateway.ErrAbort) {
					r.err = gateway.ErrAbort
				}
				defer panic(p) // after onEnd; its trace has the first panic too
			}
		}
		r.onEnd(r)
	}()
	body, err := app.Serve(env, r.declare)
	switch {
	case body != nil:
		r.inner = body
	case err == nil:
		r.inner = gateway.Text("") // what was written ends at its Close
	}
	if r.err = err; r.inner == nil {
		return nil, err
	}
	return withLen(r, r.inner), err
}

func (r *trackedResponse) declare(status string, headers []gateway.Header, exc error) (io.Writer, error) {
	w, err := r.start(status, headers, exc)
	if err != nil {
		return nil, err
	}
	r.code, r.length = statusCode(status), declaredLength(headers)
	return countingWriter{w, r}, nil
}

type countingWriter struct {
	w io.Writer
	r *trackedResponse
}

func (c countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.r.written += int64(n)
	return n, err
}

func (c countingWriter) Flush() error {
	c.r.flushed = true
	return gateway.Flush(c.w)
}

func (c countingWriter) Gather() { gateway.Gather(c.w) }

func (r *trackedResponse) Next() ([]byte, error) {
	r.err = errPanic
	b, err := r.inner.Next()
	if r.err = err; err == gateway.ErrWait {
		r.err = nil
	}
	r.pulled += int64(len(b))
	return b, err
}

func (r *trackedResponse) Close() error {
	defer r.onEnd(r) // also after a panic
	return r.inner.Close()
}

func (r *trackedResponse) Unwrap() gateway.Body { return r.inner }

// sentBytes is the content that was passed to the server, at most the declared length: the server cuts
// what is more.
func (r *trackedResponse) sentBytes() int64 {
	n := r.written + r.pulled
	if file := gateway.FileOf(r.inner); file != nil {
		_, _, left := file.Range()
		n = r.written + file.Len() - left
	}
	if length := r.contentLength(); length >= 0 {
		return min(n, length)
	}
	return n
}

// contentLength is the length of the content, declared or of the Body; -1 if it is unknown.
func (r *trackedResponse) contentLength() int64 {
	if s, ok := r.inner.(gateway.Sized); ok && r.length < 0 {
		return r.written + s.Len()
	}
	return r.length
}

// complete reports whether all of the content was passed to the server.
func (r *trackedResponse) complete() bool {
	if length := r.contentLength(); length >= 0 {
		return r.sentBytes() >= length
	}
	return r.err == io.EOF
}

// sizedBody is a Body with a length.
type sizedBody struct {
	gateway.Body
	n int64
}

func (s *sizedBody) Len() int64 { return s.n }

func (s *sizedBody) Unwrap() gateway.Body {
	if w, ok := s.Body.(gateway.Wrapper); ok {
		return w.Unwrap()
	}
	return nil
}

// withLen is outer with the length of inner, if inner has one.
func withLen(outer, inner gateway.Body) gateway.Body {
	if s, ok := inner.(gateway.Sized); ok {
		return &sizedBody{outer, s.Len()}
	}
	return outer
}

// refuse answers with a status and its text.
func refuse(env *gateway.Environ, start gateway.StartResponse, status string, headers ...gateway.Header) (
	gateway.Body, error) {
	if _, err := start(status, append(headers, plainText), nil); err != nil {
		return nil, err
	}
	return env.Text(status[len("NNN "):] + "\n"), nil
}

var plainText = gateway.Header{Name: "Content-Type", Value: "text/plain; charset=utf-8"}

// statusCode is the number of a status; 0 if it is invalid, which start will say.
func statusCode(status string) int {
	n, _ := gateway.CheckStatus(status)
	return n
}

// headerValue is the value of the first header called name, in any case; "" if there is none.
func headerValue(headers []gateway.Header, name string) string {
	for i := range headers {
		if strings.EqualFold(headers[i].Name, name) {
			return headers[i].Value
		}
	}
	return ""
}

// withoutHeaders is a copy of headers without those of names, with room for two more.
func withoutHeaders(headers []gateway.Header, names ...string) []gateway.Header {
	kept := make([]gateway.Header, 0, len(headers)+2)
	for _, h := range headers {
		if !slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, h.Name) }) {
			kept = append(kept, h)
		}
	}
	return kept
}

// cloneHeaders is a copy of headers that may be kept after start has returned.
func cloneHeaders(headers []gateway.Header) []gateway.Header {
	kept := make([]gateway.Header, len(headers))
	for i, h := range headers {
		kept[i] = gateway.Header{Name: strings.Clone(h.Name), Value: strings.Clone(h.Value)}
	}
	return kept
}

// declaredLength is the Content-Length of headers; -1 if there is none.
func declaredLength(headers []gateway.Header) int64 {
	n, err := strconv.ParseInt(headerValue(headers, "Content-Length"), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// isGetOrHead reports whether the method is GET or HEAD.
func isGetOrHead(env *gateway.Environ) bool {
	method := env.Method()
	return method == "GET" || method == "HEAD"
}
