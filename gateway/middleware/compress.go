package middleware

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

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

// zstdWindowBytes is what a decoder must keep; a stream of more than 8 MiB would be
// refused by browsers (RFC 9659). An encoder takes several times as much.
const zstdWindowBytes = 512 << 10

// Compress sends content by zstd or gzip, whichever the client's Accept-Encoding
// likes better, zstd if both are as good. It leaves alone what is small, of another
// type, encoded already, a part (206), marked no-transform, or written by write().
// Each chunk of a Body of unknown length is flushed, so that it arrives at once.
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
			c := &compressed{options: &o, start: start, coding: acceptedCoding(env.Header("Accept-Encoding"))}
			return c.serve(app, env)
		})
	}, nil
}

// coding is a content coding: RFC 9110 section 8.4.1, RFC 8878.
type coding struct {
	name     string
	encoders sync.Pool // of encoder
}

type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// codings are in the order of preference.
var codings = []*coding{
	{name: "zstd", encoders: sync.Pool{New: func() any {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(zstdWindowBytes))
		if err != nil {
			panic(err) // these options are good, or no test passes
		}
		return e
	}}},
	{name: "gzip", encoders: sync.Pool{New: func() any { return gzip.NewWriter(nil) }}},
}

// acceptedCoding chooses by Accept-Encoding; nil is no coding. RFC 9110 section
// 12.5.3.
func acceptedCoding(header string) (best *coding) {
	if header == "" {
		return nil
	}
	named := map[string]float64{}
	for item := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(item, ";")
		name = strings.ToLower(strings.Trim(name, " \t"))
		named[strings.TrimPrefix(name, "x-")] = quality(params)
	}
	bestQ := named["identity"] // 0 if it is not named: a coding that is accepted wins
	for _, c := range codings {
		q, ok := named[c.name]
		if !ok {
			q = named["*"]
		}
		if q > bestQ || best == nil && q == bestQ && q > 0 {
			best, bestQ = c, q
		}
	}
	return best
}

// quality is the weight in the parameters of an item: 1 if there is none, 0 if it
// is not one. RFC 9110 section 12.4.2.
func quality(params string) float64 {
	params = strings.Trim(params, " \t")
	if params == "" {
		return 1
	}
	name, value, _ := strings.Cut(params, "=")
	q, err := strconv.ParseFloat(value, 64)
	if err != nil || !strings.EqualFold(name, "q") || !(0 <= q && q <= 1) {
		return 0
	}
	return q
}

// compressed is one answer that may be compressed, and its Body if it is.
type compressed struct {
	options *CompressOptions
	start   gateway.StartResponse
	coding  *coding // that the client accepts; nil if none

	body     gateway.Body // of the application, once Serve has returned
	declared bool
	on       bool             // it is compressed
	status   string           // of an answer that may be, declared in Serve
	headers  []gateway.Header // and its headers; nil if it may not

	encoder encoder
	out     bytes.Buffer
	chunk   []byte // of body, and not yet compressed
	err     error  // that came with it
	left    int64  // bytes that the application still owes; -1 if it did not say
	flush   bool   // the application has flushed
}

func (c *compressed) serve(app gateway.App, env *gateway.Environ) (gateway.Body, error) {
	body, err := app.Serve(env, c.declare)
	if err != nil || c.coding == nil || c.declared && c.headers == nil {
		return body, err
	}
	if body == nil {
		body = gateway.Text("")
	}
	c.body = body
	if c.headers == nil { // it will be declared in the first Next
		return c, nil
	}
	if !c.wanted(c.headers) {
		return body, nil
	}
	if _, err := c.start(c.status, c.encoded(c.headers), errReplaced); err != nil {
		return c, err
	}
	return c, nil
}

// declare passes on what may depend on Accept-Encoding with Vary.
func (c *compressed) declare(status string, headers []gateway.Header, exc error) (io.Writer, error) {
	c.declared, c.on, c.headers = true, false, nil
	switch {
	case code(status) == 304 || code(status) == 206: // of what is sent with Vary as a 200
		headers = varied(headers)
	case c.options.compressible(status, headers):
		headers = varied(headers)
		switch {
		case c.coding == nil:
		case c.body == nil: // this is Serve: the length is not known yet
			c.status, c.headers = strings.Clone(status), clone(headers)
		case c.wanted(headers):
			headers = c.encoded(headers)
		}
	}
	w, err := c.start(status, headers, exc)
	if err != nil || c.coding == nil {
		return w, err
	}
	return plainWriter{w, c}, nil
}

// plainWriter writes what is not compressed: then nothing may be.
type plainWriter struct {
	w io.Writer
	c *compressed
}

var errWriteLate = errors.New("middleware: Compress: write() was called in the first Next of the Body; call it in Serve")

func (w plainWriter) Write(p []byte) (int, error) {
	if w.c.on {
		return 0, errWriteLate
	}
	w.c.headers = nil
	return w.w.Write(p)
}

// Flush sends the head, after which Serve can begin to compress no more. In Next all
// that was taken before it is on its way, or goes with what Next gives.
func (w plainWriter) Flush() error {
	w.c.headers, w.c.flush = nil, true
	return gateway.Flush(w.w)
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
	if c.encoder == nil { // or it is a second call of start
		c.encoder = c.coding.encoders.Get().(encoder)
	}
	c.encoder.Reset(&c.out)
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

// Next takes a chunk, or a part of a large one, and gives what of it has come out
// of the encoder.
func (c *compressed) Next() ([]byte, error) {
	kept := len(c.chunk) > 0
	if !kept {
		if c.err != nil && c.err != gateway.ErrWait {
			return nil, c.err
		}
		c.chunk, c.err = c.body.Next() // in which start may be called
		if !c.on {
			b := c.chunk
			c.chunk = nil
			return b, c.err
		}
		if c.left >= 0 {
			if c.left -= int64(len(c.chunk)); c.left < 0 || c.left > 0 && c.err == io.EOF {
				return nil, errLength
			}
			if c.left == 0 && c.err == nil {
				c.err = io.EOF // as a server would not ask for more
			}
		}
	}
	c.out.Reset()
	part := c.chunk[:min(len(c.chunk), compressBytes)]
	c.chunk = c.chunk[len(part):]
	if _, err := c.encoder.Write(part); err != nil {
		return nil, err
	}
	switch {
	case len(c.chunk) > 0:
		return c.out.Bytes(), nil
	case c.err == io.EOF:
		if err := c.encoder.Close(); err != nil {
			return nil, err
		}
	case c.flush || c.err == nil && c.left < 0 || c.err == gateway.ErrWait && len(part) > 0:
		c.flush = false
		if err := c.encoder.Flush(); err != nil {
			return nil, err
		}
	}
	if kept && c.err == gateway.ErrWait {
		return c.out.Bytes(), nil // it may have been woken since
	}
	return c.out.Bytes(), c.err
}

// errLength: compressed content has no length that would show it.
var errLength = errors.New("middleware: Compress: the content has another length than the application declared")

func (c *compressed) Close() error {
	if c.encoder != nil {
		c.encoder.Reset(nil)
		c.coding.encoders.Put(c.encoder)
		c.encoder = nil
	}
	return c.body.Close()
}
