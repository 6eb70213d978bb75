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

// reply is an answer on its way through a middleware that changes no content: it
// sees what is declared, counts what passes, and learns of the end. It is a
// gateway.Wrapper, so a server can send a file behind it without reading it.
type reply struct {
	start gateway.StartResponse // of who is outside
	inner gateway.Body
	end   func(*reply) // called once, when the answer is closed or there will be none

	code    int   // declared last; 0 if nothing was
	written int64 // bytes that went through write()
	taken   int64 // bytes that Next gave
	length  int64 // that the Body, or else the head, says; -1 if neither does
	flushed bool  // the head was, by Flush
	err     error // how Serve, start or Next ended: io.EOF after the content, nil if there is more
}

var errPanic = errors.New("middleware: the application panicked")

// serve is Serve of app for an answer that is watched.
func (r *reply) serve(app gateway.App, env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	r.start, r.length, r.err = start, -1, errPanic
	defer func() {
		if r.err == nil || r.inner != nil {
			return // Close ends it
		}
		if r.err == errPanic { // or the application ends its goroutine
			if p := thrown.Value(recover()); p != nil {
				if thrown.Is(p, gateway.ErrAbort) {
					r.err = gateway.ErrAbort
				}
				defer panic(p) // goes on, with the stack of the first
			}
		}
		r.end(r)
	}()
	body, err := app.Serve(env, r.declare)
	switch {
	case body != nil:
		r.inner = body
	case err == nil:
		r.inner = gateway.Text("") // so that there is a Close
	}
	if r.err = err; r.inner == nil {
		return nil, err
	}
	return keepLen(r, r.inner), err
}

func (r *reply) declare(status string, headers []gateway.Header, exc error) (io.Writer, error) {
	w, err := r.start(status, headers, exc)
	if err != nil {
		return nil, err
	}
	r.code, r.length = code(status), declaredLength(headers)
	return countingWriter{w, r}, nil
}

type countingWriter struct {
	w io.Writer
	r *reply
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

func (r *reply) Next() ([]byte, error) {
	r.err = errPanic
	b, err := r.inner.Next()
	if r.err = err; err == gateway.ErrWait {
		r.err = nil
	}
	r.taken += int64(len(b))
	return b, err
}

func (r *reply) Close() error {
	defer r.end(r) // also after a panic
	return r.inner.Close()
}

func (r *reply) Unwrap() gateway.Body { return r.inner }

// bytes is how much content was taken for sending; a server cuts what is more than the
// declared length.
func (r *reply) bytes() int64 {
	n := r.written + r.taken
	if file := gateway.FileOf(r.inner); file != nil {
		_, _, left := file.Range()
		n = r.written + file.Len() - left
	}
	if length := r.known(); length >= 0 {
		return min(n, length)
	}
	return n
}

// known is the length of the content; -1 if it is not known.
func (r *reply) known() int64 {
	if s, ok := r.inner.(gateway.Sized); ok && r.length < 0 {
		return r.written + s.Len()
	}
	return r.length
}

// whole says whether all of the content was taken.
func (r *reply) whole() bool {
	if length := r.known(); length >= 0 {
		return r.bytes() >= length
	}
	return r.err == io.EOF
}

// sized is a Body of a length that another one knows.
type sized struct {
	gateway.Body
	n int64
}

func (s *sized) Len() int64 { return s.n }

func (s *sized) Unwrap() gateway.Body {
	if w, ok := s.Body.(gateway.Wrapper); ok {
		return w.Unwrap()
	}
	return nil
}

// keepLen is outer with the length of inner, if that knows it.
func keepLen(outer, inner gateway.Body) gateway.Body {
	if s, ok := inner.(gateway.Sized); ok {
		return &sized{outer, s.Len()}
	}
	return outer
}

// refuse answers with a status and its text.
func refuse(env *gateway.Environ, start gateway.StartResponse, status string, headers ...gateway.Header) (gateway.Body, error) {
	if _, err := start(status, append(headers, plainText), nil); err != nil {
		return nil, err
	}
	return env.Text(status[len("NNN "):] + "\n"), nil
}

var plainText = gateway.Header{Name: "Content-Type", Value: "text/plain; charset=utf-8"}

// code is the number of a status; 0 if start will not accept it.
func code(status string) int {
	n, _ := gateway.CheckStatus(status)
	return n
}

// get is the value of the first header called name; "" if there is none.
func get(headers []gateway.Header, name string) string {
	for i := range headers {
		if strings.EqualFold(headers[i].Name, name) {
			return headers[i].Value
		}
	}
	return ""
}

// without is a copy of headers that lacks some, with room for more.
func without(headers []gateway.Header, names ...string) []gateway.Header {
	kept := make([]gateway.Header, 0, len(headers)+2)
	for _, h := range headers {
		if !slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, h.Name) }) {
			kept = append(kept, h)
		}
	}
	return kept
}

// clone is a copy of headers that is good when start has returned.
func clone(headers []gateway.Header) []gateway.Header {
	kept := make([]gateway.Header, len(headers))
	for i, h := range headers {
		kept[i] = gateway.Header{Name: strings.Clone(h.Name), Value: strings.Clone(h.Value)}
	}
	return kept
}

// declaredLength is the Content-Length of headers; -1 if there is none.
func declaredLength(headers []gateway.Header) int64 {
	n, err := strconv.ParseInt(get(headers, "Content-Length"), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// reads says whether a request is one of GET or HEAD.
func reads(env *gateway.Environ) bool {
	method := env.Method()
	return method == "GET" || method == "HEAD"
}
