package middleware

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
)

// CompressOptions are the options of Compress. The zero value has the defaults.
type CompressOptions struct {
	// MinBytes is the least content of known length that is compressed. Content that fits into one
	// packet gains nothing. 0 is 1024.
	MinBytes int64

	// Types are the media types that are compressed; "text/*" is all that begin so. nil is those of
	// text, JSON, XML, JavaScript, WebAssembly and SVG.
	Types []string
}

const defaultMinBytes = 1024

var defaultTypes = []string{
	"text/*", "application/json", "application/*+json", "application/xml", "application/*+xml",
	"application/javascript", "application/wasm", "image/svg+xml",
}

// compressBytes is the most content that one Next or Write compresses at a time: it bounds the time on
// the event loop, and the memory for what comes out.
const compressBytes = 64 << 10

// Compress compresses content with zstd or gzip, by the weights of Accept-Encoding, zstd if they are
// equal. It leaves content that is small, of another type, encoded already, a part (206), or marked
// no-transform. Each chunk of a Body of unknown length is flushed, so that the client gets it at once,
// and so is each write(), unless it is gathered (gateway.Gather): what an http.Handler writes is
// flushed when the handler flushes. A response to HEAD has the fields of GET but the length, and none
// of the content is read.
//
// An ETag becomes a weak one, since the bytes differ. Do not compress content that has a secret beside
// text that an attacker can choose: the length shows whether they are equal (BREACH).
func Compress(o CompressOptions) (gateway.Middleware, error) {
	if o.MinBytes == 0 {
		o.MinBytes = defaultMinBytes
	}
	if o.Types == nil {
		o.Types = defaultTypes
	}
	if o.MinBytes < 0 {
		return nil, fmt.Errorf("middleware: CompressOptions.MinBytes is %d; use a number of bytes, or 0 for %d",
			o.MinBytes, defaultMinBytes)
	}
	for _, t := range o.Types {
		major, sub, ok := strings.Cut(t, "/")
		if !ok || major == "" || sub == "" || strings.Contains(major, "*") || strings.LastIndex(sub, "*") > 0 {
			return nil, fmt.Errorf("middleware: CompressOptions.Types has %q; use a media type such as \"text/*\", "+
				"\"application/json\" or \"application/*+json\"", t)
		}
	}
	return func(app gateway.App) gateway.App {
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			c := &compressed{options: &o, start: start, isHEAD: env.Method() == "HEAD"}
			c.coding = acceptedCoding(env.Header("Accept-Encoding"))
			return c.serve(app, env)
		})
	}, nil
}

// compressed is one response that may be compressed, and its Body if it is.
//
//	declare          keeps the arguments of start, if the response may be compressed; else passes them on
//	passStart        passes them on at the first Write or Flush, or when Serve has returned: then the
//	                 length is known if the Body has one, and with it whether to compress
//	Write, Next      pass their content through one encoder, in the order of the calls
type compressed struct {
	options *CompressOptions
	start   gateway.StartResponse
	coding  *coding // the best that the client accepts; nil if it accepts none
	isHEAD  bool    // the fields of GET, and no content

	w        io.Writer    // of start
	gather   bool         // gateway.Gather was called
	body     gateway.Body // of the application, once Serve has returned
	declared bool
	active   bool             // the response is compressed
	status   string           // argument of start, not passed on yet
	headers  []gateway.Header // the same; nil if none are to be passed on
	exc      error            // the same

	encoder      encoder       // nil before the first byte of content, and after the last
	out          *bytes.Buffer // the output of encoder; nil before the first byte
	outReturned  bool          // Next has returned what is in out
	chunk        []byte        // of body, the part that is not compressed yet
	err          error         // the error that came with chunk
	owed         int64         // bytes of content still to come, by its declared length; -1 without one
	unflushed    bool          // encoder has content that was not flushed
	flushPending bool          // the application has called Flush in Next
}

func (c *compressed) serve(app gateway.App, env *gateway.Environ) (gateway.Body, error) {
	body, err := app.Serve(env, c.declare)
	if c.body = body; body == nil {
		c.body = gateway.Text("") // its Next ends the encoding of what was written
	}
	if err == nil {
		err = c.passStart()
	}
	// Without a coding, or with a response that is not compressed, the Body passes through: sendfile stays possible.
	if err != nil || c.coding == nil || c.declared && !c.active {
		c.release()
		return body, err
	}
	return c, nil
}

// declare is the start of the application. It adds Vary where the response depends on Accept-Encoding.
func (c *compressed) declare(status string, headers []gateway.Header, exc error) (io.Writer, error) {
	if exc == nil { // a second call without exc is an error of the outer start, which needs the first call
		if err := c.passStart(); err != nil {
			return nil, err
		}
	}
	c.declared, c.active, c.headers, c.gather = true, false, nil, false
	switch {
	case statusCode(status) == 304 || statusCode(status) == 206: // the 200 for this target has Vary too
		headers = addVary(headers)
	case c.options.compressible(status, headers):
		headers = addVary(headers)
		switch {
		case c.coding == nil || !validHeaders(headers): // start returns the error
		case c.body == nil: // in Serve: the Body, which may have a length, is not there yet
			c.status, c.headers, c.exc = strings.Clone(status), cloneHeaders(headers), exc
			return (*compressedWriter)(c), nil
		case c.largeEnough(headers):
			headers = c.startEncoding(headers)
		}
	}
	w, err := c.start(status, headers, exc)
	if err != nil || c.coding == nil {
		return w, err
	}
	c.w = w
	return (*compressedWriter)(c), nil
}

// passStart passes the arguments of start on, if that was not done yet.
func (c *compressed) passStart() (err error) {
	headers := c.headers
	if c.headers = nil; headers == nil {
		return nil
	}
	if c.largeEnough(headers) {
		headers = c.startEncoding(headers)
	}
	if c.w, err = c.start(c.status, headers, c.exc); err == nil && c.gather {
		gateway.Gather(c.w)
	}
	return err
}

// compressedWriter is the write() form.
type compressedWriter compressed

// gatherBytes is the least output of the encoder that is sent without a flush: an encoder puts out a
// few bytes at the beginning, then a block now and then.
const gatherBytes = 4 << 10

// Write compresses p, before the chunks of the Body that were not taken yet.
func (w *compressedWriter) Write(p []byte) (n int, err error) {
	c := (*compressed)(w)
	if err := c.passStart(); err != nil {
		return 0, err
	}
	if !c.active {
		return c.w.Write(p)
	}
	if err := c.countOwed(len(p)); err != nil {
		c.err = err // Next returns it, so that the response is cut
		return 0, err
	}
	if c.isHEAD {
		return len(p), nil
	}
	// In Next (body != nil) the output is written at once even if gathered: later it would be part of
	// the chunk that Next returns, after what the application writes in between.
	eager := !c.gather || c.body != nil
	for n < len(p) {
		part := p[n:min(len(p), n+compressBytes)]
		if err := c.encode(part); err != nil {
			return n, err
		}
		if err := c.writeEncoded(eager && n+len(part) == len(p)); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// Gather is that of gateway.Gather.
func (w *compressedWriter) Gather() {
	c := (*compressed)(w)
	if c.gather = true; c.headers == nil {
		gateway.Gather(c.w)
	}
}

// writeEncoded writes the output of the encoder: after a flush of it if all is set, else if it is at
// least gatherBytes.
func (c *compressed) writeEncoded(all bool) error {
	if all {
		if err := c.flushEncoder(); err != nil {
			return err
		}
	}
	if c.out == nil || c.out.Len() == 0 || !all && c.out.Len() < gatherBytes {
		return nil
	}
	_, err := c.w.Write(c.out.Bytes())
	c.out.Reset()
	return err
}

// Flush sends what was written until now. In Next it flushes the chunk that Next returns: what came
// before is sent already.
func (w *compressedWriter) Flush() error {
	c := (*compressed)(w)
	if err := c.passStart(); err != nil {
		return err
	}
	if c.body != nil {
		c.flushPending = true
	} else if err := c.writeEncoded(true); err != nil {
		return err
	}
	return gateway.Flush(c.w)
}

// compressible reports whether a response would be compressed for a client that accepts a coding.
func (o *CompressOptions) compressible(status string, headers []gateway.Header) bool {
	switch statusCode(status) {
	case 0, 204, 206, 304:
		return false
	}
	if headerValue(headers, "Content-Encoding") != "" || headerValue(headers, "Content-Range") != "" ||
		strings.Contains(strings.ToLower(headerValue(headers, "Cache-Control")), "no-transform") {
		return false
	}
	t, _, _ := strings.Cut(strings.ToLower(headerValue(headers, "Content-Type")), ";")
	t = strings.Trim(t, " \t")
	for _, pattern := range o.Types {
		before, after, wild := strings.Cut(pattern, "*")
		matches := strings.HasPrefix(t, before) && strings.HasSuffix(t, after) && len(t) > len(before)+len(after)
		if t == pattern || wild && matches {
			return true
		}
	}
	return false
}

// validHeaders reports whether start accepts headers.
func validHeaders(headers []gateway.Header) bool {
	return !slices.ContainsFunc(headers, func(h gateway.Header) bool { return gateway.CheckHeader(&h) != nil })
}

// largeEnough reports whether the content is of at least MinBytes, or of unknown length. It sets owed.
func (c *compressed) largeEnough(headers []gateway.Header) bool {
	c.owed = declaredLength(headers)
	if s, ok := c.body.(gateway.Sized); ok && c.owed < 0 {
		c.owed = s.Len()
	}
	return c.owed < 0 || c.owed >= c.options.MinBytes
}

// startEncoding makes the response a compressed one, and returns the headers of that.
func (c *compressed) startEncoding(headers []gateway.Header) []gateway.Header {
	c.active = true
	c.release() // a second call of start, with exc, begins anew
	etag := headerValue(headers, "ETag")
	headers = append(withoutHeaders(headers, "Content-Length", "Accept-Ranges", "ETag"),
		gateway.Header{Name: "Content-Encoding", Value: c.coding.name})
	if etag != "" {
		opaque, _ := cutWeak(etag)
		headers = append(headers, gateway.Header{Name: "ETag", Value: "W/" + opaque})
	}
	return headers
}

// addVary returns headers with Vary: Accept-Encoding. RFC 9110 section 12.5.5.
func addVary(headers []gateway.Header) []gateway.Header {
	for _, h := range headers {
		if !strings.EqualFold(h.Name, "Vary") {
			continue
		}
		for item := range strings.SplitSeq(h.Value, ",") {
			if item = strings.Trim(item, " \t"); item == "*" || strings.EqualFold(item, "Accept-Encoding") {
				return headers
			}
		}
	}
	return append(withoutHeaders(headers), gateway.Header{Name: "Vary", Value: "Accept-Encoding"})
}

// countOwed counts n bytes of content, and returns an error if they are more than the declared length.
func (c *compressed) countOwed(n int) error {
	if c.owed >= 0 {
		if c.owed -= int64(n); c.owed < 0 {
			c.owed = 0
			return errLength
		}
	}
	return nil
}

// errLength is needed since the compressed response has no Content-Length that would show the mistake.
var errLength = errors.New("middleware: Compress: the content has another length than the application declared")

// encode puts content into the encoder. It acquires one for the first bytes, and drops the output that
// Next has returned before.
func (c *compressed) encode(part []byte) error {
	switch {
	case c.encoder == nil:
		c.encoder = c.coding.encoders.Get().(encoder)
		c.out = outputs.Get().(*bytes.Buffer)
		c.encoder.Reset(c.out)
	case c.outReturned:
		c.out.Reset()
	}
	c.outReturned = false
	c.unflushed = c.unflushed || len(part) > 0
	_, err := c.encoder.Write(part)
	return err
}

// flushEncoder puts out all that was encoded.
func (c *compressed) flushEncoder() error {
	if !c.unflushed {
		return nil
	}
	c.unflushed = false
	return c.encoder.Flush()
}

// release gives encoder and output back to their pools.
func (c *compressed) release() {
	c.releaseEncoder()
	if c.out != nil {
		c.out.Reset()
		outputs.Put(c.out)
		c.out = nil
	}
	c.outReturned, c.unflushed = false, false
}

func (c *compressed) releaseEncoder() {
	if c.encoder != nil {
		c.encoder.Reset(nil)
		c.coding.encoders.Put(c.encoder)
		c.encoder = nil
	}
}

// Next takes a chunk, or a part of a large one, and returns the output of the encoder so far.
func (c *compressed) Next() ([]byte, error) {
	kept := len(c.chunk) > 0
	if !kept {
		if c.err != nil && c.err != gateway.ErrWait || c.active && c.isHEAD {
			return nil, cmp.Or(c.err, io.EOF)
		}
		c.chunk, c.err = c.body.Next() // which may call start and its writer
		if !c.active {
			b := c.chunk
			c.chunk = nil
			return b, c.err
		}
		if c.isHEAD { // start was called: the head is complete
			c.chunk = nil
			return nil, nil
		}
		if err := c.countOwed(len(c.chunk)); err != nil || c.owed > 0 && c.err == io.EOF {
			return nil, errLength
		}
		if c.owed == 0 && c.err == nil {
			c.err = io.EOF // the declared length is reached: a server stops here, too
		}
	}
	part := c.chunk[:min(len(c.chunk), compressBytes)]
	c.chunk = c.chunk[len(part):]
	if err := c.encode(part); err != nil {
		return nil, err
	}
	c.outReturned = true
	switch {
	case len(c.chunk) > 0:
		return c.out.Bytes(), nil
	case c.err == io.EOF:
		err := c.encoder.Close()
		c.releaseEncoder() // before a slow client takes the last chunk
		if err != nil {
			return nil, err
		}
	case c.flushPending || c.err == nil && c.owed < 0 || c.err == gateway.ErrWait && len(part) > 0:
		c.flushPending = false
		if err := c.flushEncoder(); err != nil {
			return nil, err
		}
	}
	if kept && c.err == gateway.ErrWait {
		return c.out.Bytes(), nil // the ErrWait came with an earlier part: there may have been a wake since
	}
	return c.out.Bytes(), c.err
}

func (c *compressed) Close() error {
	c.release()
	return c.body.Close()
}
