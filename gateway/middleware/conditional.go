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

// ConditionalOptions says which responses get an ETag if the application sets none.
type ConditionalOptions struct {
	// ETagBytes is the largest content that is hashed for an ETag, in bytes: that of a Body of known
	// length in one chunk. 0 makes no ETags. At most 1 MiB, since the hash may be computed on the
	// event loop of the server.
	ETagBytes int64

	// Weak makes these ETags weak ones (RFC 9110 section 8.8.1): for an application that treats
	// responses with equal content as equivalent, but not as equal byte for byte.
	Weak bool
}

const etagBytesMax = 1 << 20

// Conditional answers 304 or 412 in place of a 200 to GET or HEAD where a precondition of the request
// fails, by the ETag and Last-Modified of the response. RFC 9110 section 13. The application has done
// its work by then: only the content is saved. Other methods pass: an application that changes
// something has to check the precondition before.
func Conditional(o ConditionalOptions) (gateway.Middleware, error) {
	if o.ETagBytes < 0 || o.ETagBytes > etagBytesMax {
		return nil, fmt.Errorf("middleware: ConditionalOptions.ETagBytes is %d; use 0 to %d bytes",
			o.ETagBytes, etagBytesMax)
	}
	return func(app gateway.App) gateway.App {
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if !isGetOrHead(env) {
				return app.Serve(env, start)
			}
			c := &conditional{options: o, env: env, start: start}
			return c.serve(app)
		})
	}, nil
}

// conditional is one response to a GET or HEAD, and its Body if it needs one.
type conditional struct {
	options ConditionalOptions
	env     *gateway.Environ
	start   gateway.StartResponse
	inner   gateway.Body

	started   bool             // the application has called start
	w         io.Writer        // of start
	gather    bool             // gateway.Gather was called
	status    string           // of a 200 that may get an ETag: argument of start, not passed on yet
	headers   []gateway.Header // the same; nil if none are to be passed on
	errorText string           // the content of a 412
	replaced  bool             // by 304 or 412: no content of the application is sent

	chunk     []byte // the first of inner, taken by addETag and not returned yet
	chunkErr  error  // the error that came with chunk
	haveChunk bool   // chunk and chunkErr are set
}

func (c *conditional) serve(app gateway.App) (gateway.Body, error) {
	body, err := app.Serve(c.env, c.declare)
	c.inner = body
	s, ok := body.(gateway.Sized)
	switch {
	case err != nil:
		return body, err
	// The response waits for its ETag, and the Body is small enough. A file is sent by sendfile instead.
	case ok && c.headers != nil && s.Len() <= c.options.ETagBytes && gateway.FileOf(body) == nil:
		err = c.addETag(s.Len())
	default:
		err = c.passStart()
	}
	switch {
	case err != nil || !c.replaced && (body == nil || c.started && !c.haveChunk):
		return body, err // unchanged
	case body == nil: // a 412 has a text, which Next returns
		c.inner = gateway.Text("")
	}
	if c.replaced || !ok {
		return c, nil
	}
	return sizedConditional{c, s}, nil
}

// sizedConditional is a conditional with a length: that of the application's Body, or of errorText.
type sizedConditional struct {
	*conditional
	of gateway.Sized
}

func (s sizedConditional) Len() int64 {
	if s.replaced {
		return int64(len(s.errorText))
	}
	return s.of.Len()
}

// declare is the start of the application.
func (c *conditional) declare(status string, headers []gateway.Header, exc error) (io.Writer, error) {
	if exc == nil { // a second call without exc is an error of the outer start, which needs the first call
		if err := c.passStart(); err != nil {
			return nil, err
		}
	}
	c.started, c.headers, c.gather, c.replaced, c.errorText = true, nil, false, false, ""
	if exc != nil || statusCode(status) != http.StatusOK {
		return c.start(status, headers, exc)
	}
	etag := headerValue(headers, "ETag")
	if etag == "" && c.options.ETagBytes > 0 && c.inner == nil && validHeaders(headers) {
		c.status, c.headers = strings.Clone(status), cloneHeaders(headers)
		return (*pendingWriter)(c), nil
	}
	return c.startChecked(etag, status, headers)
}

// startChecked calls start with a 200, or with the 304 or 412 of a precondition that fails.
func (c *conditional) startChecked(etag, status string, headers []gateway.Header) (w io.Writer, err error) {
	instead, fields, failed := c.checkPreconditions(etag, headers)
	if failed {
		status, headers = instead, fields
	}
	if w, err = c.start(status, headers, nil); err != nil {
		return nil, err
	}
	if failed {
		w = discardWriter{w}
	}
	return w, nil
}

// passStart passes the arguments of start on, without an ETag, if that was not done yet.
func (c *conditional) passStart() (err error) {
	headers := c.headers
	if c.headers = nil; headers != nil {
		if c.w, err = c.startChecked("", c.status, headers); err == nil && c.gather {
			gateway.Gather(c.w)
		}
	}
	return err
}

// pendingWriter is the writer of a response that may get an ETag. Content that is written is sent
// before the end is known, so it cannot be hashed: the first Write sends the head without an ETag.
type pendingWriter conditional

func (w *pendingWriter) Write(p []byte) (int, error) {
	c := (*conditional)(w)
	if err := c.passStart(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}

// Gather is that of gateway.Gather.
func (w *pendingWriter) Gather() {
	c := (*conditional)(w)
	if c.gather = true; c.headers == nil {
		gateway.Gather(c.w)
	}
}

// Flush sends the head, without an ETag.
func (w *pendingWriter) Flush() error {
	c := (*conditional)(w)
	if err := c.passStart(); err != nil {
		return err
	}
	return gateway.Flush(c.w)
}

// discardWriter drops the content of a response that is replaced.
type discardWriter struct{ w io.Writer }

func (discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (b discardWriter) Flush() error              { return gateway.Flush(b.w) }
func (b discardWriter) Gather()                   { gateway.Gather(b.w) }

// checkPreconditions returns the status and the headers that replace a 200, if a precondition fails.
func (c *conditional) checkPreconditions(etag string, headers []gateway.Header) (string, []gateway.Header, bool) {
	modified, _ := http.ParseTime(headerValue(headers, "Last-Modified"))
	switch precondition(c.env, etag, modified) {
	case http.StatusNotModified:
		c.replaced = true
		return "304 Not Modified", notModified(headers), true
	case http.StatusPreconditionFailed:
		c.replaced, c.errorText = true, "Precondition Failed\n"
		length := gateway.Header{Name: "Content-Length", Value: fmt.Sprint(len(c.errorText))}
		return "412 Precondition Failed", []gateway.Header{plainText, length}, true
	}
	return "", nil, false
}

// addETag takes the content of n bytes, and calls start: with an ETag if all of it is in one chunk.
func (c *conditional) addETag(n int64) (err error) {
	returned := false
	defer func() {
		if !returned { // Next has panicked, and the server has not got the Body
			_ = c.inner.Close()
		}
	}()
	c.chunk, c.chunkErr = c.inner.Next()
	c.haveChunk = true
	whole := int64(len(c.chunk)) == n && (c.chunkErr == nil || c.chunkErr == io.EOF)
	if headers := c.headers; headers != nil && whole {
		sum := sha256.Sum256(c.chunk)
		etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"` // 128 bits: no collisions in practice
		if c.options.Weak {
			etag = "W/" + etag
		}
		c.headers = nil
		c.w, err = c.startChecked(etag, c.status, append(headers, gateway.Header{Name: "ETag", Value: etag}))
	} else {
		err = c.passStart()
	}
	returned = true
	return err
}

func (c *conditional) Next() ([]byte, error) {
	if c.haveChunk && !c.replaced {
		b, err := c.chunk, c.chunkErr
		c.chunk, c.haveChunk = nil, false
		if err == gateway.ErrWait {
			err = nil // the ErrWait came in Serve: there may have been a wake since
		}
		return b, err
	}
	if !c.replaced {
		b, err := c.inner.Next() // which may call start, and so replace the response
		if !c.replaced {
			return b, err
		}
	}
	return []byte(c.errorText), io.EOF
}

func (c *conditional) Close() error { return c.inner.Close() }

// precondition evaluates the preconditions of a GET or HEAD for a representation, in the order of RFC
// 9110 section 13.2.2: it returns 304 or 412, or 0 if none fails. etag may be empty, modified zero.
func precondition(env *gateway.Environ, etag string, modified time.Time) int {
	modified = modified.Truncate(time.Second) // the precision of Last-Modified
	if list := env.Header("If-Match"); list != "" {
		if !matchesETag(list, etag, true) {
			return http.StatusPreconditionFailed
		}
	} else if since, ok := dateField(env, "If-Unmodified-Since"); ok && !modified.IsZero() && modified.After(since) {
		return http.StatusPreconditionFailed
	}
	if list := env.Header("If-None-Match"); list != "" {
		if matchesETag(list, etag, false) {
			return http.StatusNotModified
		}
	} else if since, ok := dateField(env, "If-Modified-Since"); ok && !modified.IsZero() && !modified.After(since) {
		return http.StatusNotModified
	}
	return 0
}

// dateField reads a field that is one HTTP-date. An invalid one is ignored (RFC 9110 section 13.1.3).
func dateField(env *gateway.Environ, name string) (time.Time, bool) {
	value := env.Header(name)
	if value == "" { // the usual case: an error of ParseTime allocates
		return time.Time{}, false
	}
	t, err := http.ParseTime(value)
	return t, err == nil
}

// matchesETag reports whether etag is in a list of entity tags, or the list is "*". The strong
// comparison matches strong tags only, the weak one ignores the difference. RFC 9110 section 8.8.3.2. A
// malformed list is read up to the first mistake.
func matchesETag(list, etag string, strong bool) bool {
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

// notModified returns the fields of a 200 that belong in a 304: all but those that describe the
// content, and Last-Modified only without an ETag. RFC 9110 section 15.4.5.
func notModified(headers []gateway.Header) []gateway.Header {
	drop := []string{"Content-Type", "Content-Length", "Content-Encoding", "Content-Language", "Content-Range",
		"Accept-Ranges"}
	if headerValue(headers, "ETag") != "" {
		drop = append(drop, "Last-Modified")
	}
	return withoutHeaders(headers, drop...)
}
