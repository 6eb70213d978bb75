package middleware

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

// ConditionalOptions says which answers get an ETag when the application gives none.
type ConditionalOptions struct {
	// ETagBytes is the largest content that is hashed for an ETag: that of a Body
	// of known length in one chunk. 0 makes none. At most 1 MiB, as it may be
	// hashed on the server's event loop.
	ETagBytes int64

	// Weak makes these ETags weak: for content that is not the same byte for byte
	// each time, in the eyes of the application, though it hashes the same.
	Weak bool
}

const etagBytesMax = 1 << 20

// Conditional answers 304 or 412 in place of a 200 to GET or HEAD if the request's
// preconditions say so, by the ETag and Last-Modified of the answer. RFC 9110
// section 13. The application has done its work then; what is saved is the content.
// Other methods pass: only the application can check before it changes something.
func Conditional(o ConditionalOptions) (gateway.Middleware, error) {
	if o.ETagBytes < 0 || o.ETagBytes > etagBytesMax {
		return nil, fmt.Errorf("middleware: ConditionalOptions.ETagBytes is %d; use 0 to %d bytes", o.ETagBytes, etagBytesMax)
	}
	return func(app gateway.App) gateway.App {
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if !reads(env) {
				return app.Serve(env, start)
			}
			c := &conditional{options: o, env: env, start: start}
			return c.serve(app)
		})
	}, nil
}

// conditional is one answer to a GET or HEAD, and its Body where that is needed.
type conditional struct {
	options ConditionalOptions
	env     *gateway.Environ
	start   gateway.StartResponse
	inner   gateway.Body

	started bool
	w       io.Writer        // of start
	gathers bool             // what is written may wait, see gateway.Gather
	status  string           // of a 200 that may get an ETag, declared in Serve and not passed on yet
	headers []gateway.Header // the same; nil if there is nothing to pass on
	instead string           // the content of a 412
	bare    bool             // 304 or 412: the content is not the application's

	first    []byte // taken from inner, and not yet given
	firstErr error  // that came with it
	have     bool   // first and firstErr are there
}

func (c *conditional) serve(app gateway.App) (gateway.Body, error) {
	body, err := app.Serve(c.env, c.declare)
	c.inner = body
	s, ok := body.(gateway.Sized)
	switch {
	case err != nil:
		return body, err
	case ok && c.headers != nil && s.Len() <= c.options.ETagBytes && gateway.FileOf(body) == nil:
		err = c.hash(s.Len())
	default:
		err = c.settle()
	}
	switch {
	case err != nil || !c.bare && (body == nil || c.started && !c.have):
		return body, err // as it was
	case body == nil: // what was written is not sent, and a 412 has a text
		c.inner = gateway.Text("")
	}
	if c.bare || !ok {
		return c, nil
	}
	return sizedConditional{c, s}, nil
}

// sizedConditional is a conditional with the length of the application's Body, as
// long as that is what is sent.
type sizedConditional struct {
	*conditional
	of gateway.Sized
}

func (s sizedConditional) Len() int64 {
	if s.bare {
		return int64(len(s.instead))
	}
	return s.of.Len()
}

func (c *conditional) declare(status string, headers []gateway.Header, exc error) (io.Writer, error) {
	if exc == nil { // what was declared before stays, and this is an error
		if err := c.settle(); err != nil {
			return nil, err
		}
	}
	c.started, c.headers, c.gathers, c.bare, c.instead = true, nil, false, false, ""
	if exc != nil || code(status) != http.StatusOK {
		return c.start(status, headers, exc)
	}
	etag := get(headers, "ETag")
	if etag == "" && c.options.ETagBytes > 0 && c.inner == nil && valid(headers) {
		c.status, c.headers = strings.Clone(status), clone(headers)
		return (*undecided)(c), nil
	}
	return c.pass(etag, status, headers)
}

// pass declares a 200, or what is to be answered in its place if a precondition fails.
func (c *conditional) pass(etag, status string, headers []gateway.Header) (w io.Writer, err error) {
	instead, fields, failed := c.check(etag, headers)
	if failed {
		status, headers = instead, fields
	}
	if w, err = c.start(status, headers, nil); err != nil {
		return nil, err
	}
	if failed {
		w = bareWriter{w}
	}
	return w, nil
}

// settle passes on what was declared, without an ETag, if that is still to be done.
func (c *conditional) settle() (err error) {
	headers := c.headers
	if c.headers = nil; headers != nil {
		if c.w, err = c.pass("", c.status, headers); err == nil && c.gathers {
			gateway.Gather(c.w)
		}
	}
	return err
}

// undecided is the writer of an answer that may get an ETag: not if it is used.
type undecided conditional

func (w *undecided) Write(p []byte) (int, error) {
	c := (*conditional)(w)
	if err := c.settle(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}

// Gather is that of gateway.Gather.
func (w *undecided) Gather() {
	c := (*conditional)(w)
	if c.gathers = true; c.headers == nil {
		gateway.Gather(c.w)
	}
}

// Flush sends the head: it is too late for another.
func (w *undecided) Flush() error {
	c := (*conditional)(w)
	if err := c.settle(); err != nil {
		return err
	}
	return gateway.Flush(c.w)
}

// bareWriter takes content that is not sent.
type bareWriter struct{ w io.Writer }

func (bareWriter) Write(p []byte) (int, error) { return len(p), nil }
func (b bareWriter) Flush() error              { return gateway.Flush(b.w) }
func (b bareWriter) Gather()                   { gateway.Gather(b.w) }

// check returns what is to be declared in place of a 200, if a precondition fails.
func (c *conditional) check(etag string, headers []gateway.Header) (string, []gateway.Header, bool) {
	modified, _ := http.ParseTime(get(headers, "Last-Modified"))
	switch precondition(c.env, etag, modified) {
	case http.StatusNotModified:
		c.bare = true
		return "304 Not Modified", notModified(headers), true
	case http.StatusPreconditionFailed:
		c.bare, c.instead = true, "Precondition Failed\n"
		return "412 Precondition Failed", []gateway.Header{plainText, {Name: "Content-Length", Value: fmt.Sprint(len(c.instead))}}, true
	}
	return "", nil, false
}

// hash takes the content of n bytes, and declares the answer: with its ETag if it is one chunk.
func (c *conditional) hash(n int64) (err error) {
	returned := false
	defer func() {
		if !returned { // a panic: nobody else has the body
			_ = c.inner.Close()
		}
	}()
	c.first, c.firstErr = c.inner.Next()
	c.have = true
	if headers := c.headers; headers != nil && int64(len(c.first)) == n && (c.firstErr == nil || c.firstErr == io.EOF) {
		sum := sha256.Sum256(c.first)
		etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"` // 128 bits: no two contents meet
		if c.options.Weak {
			etag = "W/" + etag
		}
		c.headers = nil
		c.w, err = c.pass(etag, c.status, append(headers, gateway.Header{Name: "ETag", Value: etag}))
	} else {
		err = c.settle()
	}
	returned = true
	return err
}

func (c *conditional) Next() ([]byte, error) {
	if c.have && !c.bare {
		b, err := c.first, c.firstErr
		c.first, c.have = nil, false
		if err == gateway.ErrWait {
			err = nil // it may have been woken since
		}
		return b, err
	}
	if !c.bare {
		b, err := c.inner.Next() // in which start may be called
		if !c.bare {
			return b, err
		}
	}
	return []byte(c.instead), io.EOF
}

func (c *conditional) Close() error { return c.inner.Close() }

// precondition evaluates the preconditions of a GET or HEAD for a representation:
// 0 to go on, or the status to answer. etag may be empty and modified zero. In the
// order of RFC 9110 section 13.2.2.
func precondition(env *gateway.Environ, etag string, modified time.Time) int {
	modified = modified.Truncate(time.Second) // as the client was told
	if list := env.Header("If-Match"); list != "" {
		if !listed(list, etag, true) {
			return http.StatusPreconditionFailed
		}
	} else if since, ok := date(env, "If-Unmodified-Since"); ok && !modified.IsZero() && modified.After(since) {
		return http.StatusPreconditionFailed
	}
	if list := env.Header("If-None-Match"); list != "" {
		if listed(list, etag, false) {
			return http.StatusNotModified
		}
	} else if since, ok := date(env, "If-Modified-Since"); ok && !modified.IsZero() && !modified.After(since) {
		return http.StatusNotModified
	}
	return 0
}

// date reads a field that is one HTTP-date. One that is invalid counts for nothing.
func date(env *gateway.Environ, name string) (time.Time, bool) {
	t, err := http.ParseTime(env.Header(name))
	return t, err == nil
}

// listed says whether etag is in a list of entity tags, or the list is "*". In the
// strong comparison weak tags are like none, in the weak one like strong ones.
// RFC 9110 section 8.8.3.2. A list that is malformed counts up to there.
func listed(list, etag string, strong bool) bool {
	opaque, weak := cutWeak(etag)
	for {
		list = strings.TrimLeft(list, " \t,")
		if strings.HasPrefix(list, "*") {
			return true
		}
		tag, w := cutWeak(list)
		if !strings.HasPrefix(tag, `"`) {
			return false
		}
		end := strings.IndexByte(tag[1:], '"')
		if end < 0 {
			return false
		}
		end += len(`""`)
		if tag[:end] == opaque && !(strong && (w || weak)) {
			return true
		}
		list = tag[end:]
	}
}

func cutWeak(etag string) (opaque string, weak bool) { return strings.CutPrefix(etag, "W/") }

// notModified is what of the fields of a 200 belongs in a 304: all but those that
// describe the content. Last-Modified is for those who have no ETag. RFC 9110
// section 15.4.5.
func notModified(headers []gateway.Header) []gateway.Header {
	drop := []string{"Content-Type", "Content-Length", "Content-Encoding", "Content-Language", "Content-Range", "Accept-Ranges"}
	if get(headers, "ETag") != "" {
		drop = append(drop, "Last-Modified")
	}
	return without(headers, drop...)
}
