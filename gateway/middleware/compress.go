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

// CompressOptions says what is compressed. Its zero value is good.
type CompressOptions struct {
	// MinBytes is the least content of known length that is compressed: below
	// about a packet there is nothing to win. 0 is 1024.
	MinBytes int64

	// Types are the media types that are compressed, "text/*" for all of a kind.
	// nil are those of text, JSON, XML, JavaScript, WebAssembly and SVG.
	Types []string
}

const defaultMinBytes = 1024

var defaultTypes = []string{
	"text/*", "application/json", "application/*+json", "application/xml", "application/*+xml",
	"application/javascript", "application/wasm", "image/svg+xml",
}

// compressBytes is how much content is compressed for one chunk: the most that the
// event loop is held for, and that waits in memory.
const compressBytes = 64 << 10

// Compress sends content by zstd or gzip, whichever the client's Accept-Encoding
// likes better, zstd if both are as good. It leaves alone what is small, of another
// type, encoded already, a part (206), or marked no-transform. Each chunk of a Body of
// unknown length is flushed, so that it arrives at once, and so is each write(), unless
// that is gathered (gateway.Gather): what an http.Handler writes is flushed when that asks.
// HEAD has the fields of GET but for the length, and takes nothing of the content.
//
// An ETag is weakened, as the bytes are others. Content that mixes a secret with what
// an attacker can choose must not be compressed: its length tells (BREACH).
func Compress(o CompressOptions) (gateway.Middleware, error) {
	if o.MinBytes == 0 {
		o.MinBytes = defaultMinBytes
	}
	if o.Types == nil {
		o.Types = defaultTypes
	}
	if o.MinBytes < 0 {
		return nil, fmt.Errorf("middleware: CompressOptions.MinBytes is %d; use a number of bytes, or 0 for %d", o.MinBytes, defaultMinBytes)
	}
	for _, t := range o.Types {
		if major, sub, ok := strings.Cut(t, "/"); !ok || major == "" || sub == "" || strings.Contains(major, "*") || strings.LastIndex(sub, "*") > 0 {
			return nil, fmt.Errorf("middleware: CompressOptions.Types has %q; use a media type such as \"text/*\", \"application/json\" or \"application/*+json\"", t)
		}
	}
	return func(app gateway.App) gateway.App {
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			c := &compressed{options: &o, start: start, coding: acceptedCoding(env.Header("Accept-Encoding")), headOnly: env.Method() == "HEAD"}
			return c.serve(app, env)
		})
	}, nil
}

// compressed is one answer that may be compressed, and its Body if it is.
//
//	declare          keeps what start was called with, if it may be compressed; else it is passed on
//	settled          passes that on at the first Write or Flush, or when Serve has returned, as
//	                 compressed or as it is: by then the length is known, or never will be
//	Write, Next      what comes by either goes through one encoder, in this order
type compressed struct {
	options  *CompressOptions
	start    gateway.StartResponse
	coding   *coding // that the client accepts; nil if none
	headOnly bool    // HEAD: the fields of GET, and nothing is compressed for it

	w        io.Writer    // of start
	gathers  bool         // what is written may wait, see gateway.Gather
	body     gateway.Body // of the application, once Serve has returned
	declared bool
	on       bool             // it is compressed
	status   string           // declared in Serve, and not passed on yet
	headers  []gateway.Header // the same; nil if there is nothing to pass on
	exc      error            // the same

	encoder encoder       // nil before and after content
	out     *bytes.Buffer // what has come out of it; nil before
	given   bool          // Next has given that
	chunk   []byte        // of body, and not yet compressed
	err     error         // that came with it
	left    int64         // bytes that the application still owes; -1 if it did not say
	dirty   bool          // the encoder has content that was not flushed
	flush   bool          // the application has flushed in Next
}

func (c *compressed) serve(app gateway.App, env *gateway.Environ) (gateway.Body, error) {
	body, err := app.Serve(env, c.declare)
	if c.body = body; body == nil {
		c.body = gateway.Text("") // for what was written there is an end to come
	}
	if err == nil {
		err = c.settled()
	}
	if err != nil || c.coding == nil || c.declared && !c.on {
		c.release()
		return body, err
	}
	return c, nil
}

// declare adds Vary to what may depend on Accept-Encoding.
func (c *compressed) declare(status string, headers []gateway.Header, exc error) (io.Writer, error) {
	if exc == nil { // what was declared before stays, and this is an error
		if err := c.settled(); err != nil {
			return nil, err
		}
	}
	c.declared, c.on, c.headers, c.gathers = true, false, nil, false
	switch {
	case code(status) == 304 || code(status) == 206: // of what is sent with Vary as a 200
		headers = varied(headers)
	case c.options.compressible(status, headers):
		headers = varied(headers)
		switch {
		case c.coding == nil || !valid(headers): // which start says
		case c.body == nil: // this is Serve: the length is not known yet
			c.status, c.headers, c.exc = strings.Clone(status), clone(headers), exc
			return (*compressedWriter)(c), nil
		case c.wanted(headers):
			headers = c.encoded(headers)
		}
	}
	w, err := c.start(status, headers, exc)
	if err != nil || c.coding == nil {
		return w, err
	}
	c.w = w
	return (*compressedWriter)(c), nil
}

// settled passes on what was declared, if that is still to be done.
func (c *compressed) settled() (err error) {
	headers := c.headers
	if c.headers = nil; headers == nil {
		return nil
	}
	if c.wanted(headers) {
		headers = c.encoded(headers)
	}
	if c.w, err = c.start(c.status, headers, c.exc); err == nil && c.gathers {
		gateway.Gather(c.w)
	}
	return err
}

// compressedWriter is the write() form.
type compressedWriter compressed

// gatherBytes is how much comes out of the encoder before it is sent by itself: what the
// encoder gives is a few bytes of a beginning, then a block now and then.
const gatherBytes = 4 << 10

// Write compresses p before anything of the Body that was not taken.
func (w *compressedWriter) Write(p []byte) (n int, err error) {
	c := (*compressed)(w)
	if err := c.settled(); err != nil {
		return 0, err
	}
	if !c.on {
		return c.w.Write(p)
	}
	if err := c.owe(len(p)); err != nil {
		c.err = err // what was written before must not look whole
		return 0, err
	}
	if c.headOnly {
		return len(p), nil
	}
	// In Next, what comes out later would come out as a chunk.
	eager := !c.gathers || c.body != nil
	for n < len(p) {
		part := p[n:min(len(p), n+compressBytes)]
		if err := c.encode(part); err != nil {
			return n, err
		}
		if err := c.pass(eager && n+len(part) == len(p)); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// Gather is that of gateway.Gather.
func (w *compressedWriter) Gather() {
	c := (*compressed)(w)
	if c.gathers = true; c.headers == nil {
		gateway.Gather(c.w)
	}
}

// pass writes what has come out of the encoder, if that is worth it or all is to come out.
func (c *compressed) pass(all bool) error {
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

// Flush sends what was written until now. In Next all that was taken before it is on its
// way, or goes with what Next gives.
func (w *compressedWriter) Flush() error {
	c := (*compressed)(w)
	if err := c.settled(); err != nil {
		return err
	}
	if c.body != nil {
		c.flush = true
	} else if err := c.pass(true); err != nil {
		return err
	}
	return gateway.Flush(c.w)
}

// compressible says whether an answer could be compressed for some client.
func (o *CompressOptions) compressible(status string, headers []gateway.Header) bool {
	switch code(status) {
	case 0, 204, 206, 304:
		return false
	}
	if get(headers, "Content-Encoding") != "" || get(headers, "Content-Range") != "" ||
		strings.Contains(strings.ToLower(get(headers, "Cache-Control")), "no-transform") {
		return false
	}
	t, _, _ := strings.Cut(strings.ToLower(get(headers, "Content-Type")), ";")
	t = strings.Trim(t, " \t")
	for _, pattern := range o.Types {
		before, after, wild := strings.Cut(pattern, "*")
		if t == pattern || wild && len(t) > len(before)+len(after) && strings.HasPrefix(t, before) && strings.HasSuffix(t, after) {
			return true
		}
	}
	return false
}

// valid says whether start will take headers as they are.
func valid(headers []gateway.Header) bool {
	return !slices.ContainsFunc(headers, func(h gateway.Header) bool { return gateway.CheckHeader(&h) != nil })
}

// wanted says whether an answer that may be compressed is large enough, as far as
// one knows.
func (c *compressed) wanted(headers []gateway.Header) bool {
	c.left = declaredLength(headers)
	if s, ok := c.body.(gateway.Sized); ok && c.left < 0 {
		c.left = s.Len()
	}
	return c.left < 0 || c.left >= c.options.MinBytes
}

// encoded begins to compress; it returns the headers for it.
func (c *compressed) encoded(headers []gateway.Header) []gateway.Header {
	c.on = true
	c.release() // it may be a second call of start
	etag := get(headers, "ETag")
	headers = append(without(headers, "Content-Length", "Accept-Ranges", "ETag"), gateway.Header{Name: "Content-Encoding", Value: c.coding.name})
	if etag != "" {
		opaque, _ := cutWeak(etag)
		headers = append(headers, gateway.Header{Name: "ETag", Value: "W/" + opaque})
	}
	return headers
}

// varied is headers with Vary: Accept-Encoding. RFC 9110 section 12.5.5.
func varied(headers []gateway.Header) []gateway.Header {
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
	return append(without(headers), gateway.Header{Name: "Vary", Value: "Accept-Encoding"})
}

// owe notes n bytes more of content, and refuses what is more than was declared.
func (c *compressed) owe(n int) error {
	if c.left >= 0 {
		if c.left -= int64(n); c.left < 0 {
			c.left = 0
			return errLength
		}
	}
	return nil
}

// errLength: compressed content has no length that would show it.
var errLength = errors.New("middleware: Compress: the content has another length than the application declared")

// encode takes content into the encoder, which is made when there is some. What Next has
// given is not needed any more.
func (c *compressed) encode(part []byte) error {
	switch {
	case c.encoder == nil:
		c.encoder = c.coding.encoders.Get().(encoder)
		c.out = outputs.Get().(*bytes.Buffer)
		c.encoder.Reset(c.out)
	case c.given:
		c.out.Reset()
	}
	c.given = false
	c.dirty = c.dirty || len(part) > 0
	_, err := c.encoder.Write(part)
	return err
}

// flushEncoder has all that was encoded come out.
func (c *compressed) flushEncoder() error {
	if !c.dirty {
		return nil
	}
	c.dirty = false
	return c.encoder.Flush()
}

// release gives the memory back.
func (c *compressed) release() {
	c.releaseEncoder()
	if c.out != nil {
		c.out.Reset()
		outputs.Put(c.out)
		c.out = nil
	}
	c.given, c.dirty = false, false
}

func (c *compressed) releaseEncoder() {
	if c.encoder != nil {
		c.encoder.Reset(nil)
		c.coding.encoders.Put(c.encoder)
		c.encoder = nil
	}
}

// Next takes a chunk, or a part of a large one, and gives what of it has come out
// of the encoder.
func (c *compressed) Next() ([]byte, error) {
	kept := len(c.chunk) > 0
	if !kept {
		if c.err != nil && c.err != gateway.ErrWait || c.on && c.headOnly {
			return nil, cmp.Or(c.err, io.EOF)
		}
		c.chunk, c.err = c.body.Next() // in which start may be called, and its writer
		if !c.on {
			b := c.chunk
			c.chunk = nil
			return b, c.err
		}
		if c.headOnly { // the head is decided now, and nothing more wanted
			c.chunk = nil
			return nil, nil
		}
		if err := c.owe(len(c.chunk)); err != nil || c.left > 0 && c.err == io.EOF {
			return nil, errLength
		}
		if c.left == 0 && c.err == nil {
			c.err = io.EOF // as a server would not ask for more
		}
	}
	part := c.chunk[:min(len(c.chunk), compressBytes)]
	c.chunk = c.chunk[len(part):]
	if err := c.encode(part); err != nil {
		return nil, err
	}
	c.given = true
	switch {
	case len(c.chunk) > 0:
		return c.out.Bytes(), nil
	case c.err == io.EOF:
		err := c.encoder.Close()
		c.releaseEncoder() // a client may be slow to take the rest
		if err != nil {
			return nil, err
		}
	case c.flush || c.err == nil && c.left < 0 || c.err == gateway.ErrWait && len(part) > 0:
		c.flush = false
		if err := c.flushEncoder(); err != nil {
			return nil, err
		}
	}
	if kept && c.err == gateway.ErrWait {
		return c.out.Bytes(), nil // it may have been woken since
	}
	return c.out.Bytes(), c.err
}

func (c *compressed) Close() error {
	c.release()
	return c.body.Close()
}
