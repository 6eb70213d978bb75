package nethttp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/isbjorn/isbjorn/gateway"
)

const (
	// bufferBytes is how much of the content is gathered before any of it is sent: an
	// answer that is not longer has a Content-Length. As in net/http.
	bufferBytes = 2 << 10

	// sniffBytes is what http.DetectContentType looks at.
	sniffBytes = 512
)

var errOver = errors.New("nethttp: the ResponseWriter is used after its handler has returned")

// response is the http.ResponseWriter. Content is gathered in buf and goes on from
// there to the write() form; what is still in buf when the handler returns is the Body.
type response struct {
	mu sync.Mutex // a handler may flush from a timer

	x      *exchange
	env    *gateway.Environ // nil when the handler has returned
	start  gateway.StartResponse
	header http.Header
	local  net.Addr // for the Context; nil until it was asked for

	headOnly bool
	sniffs   bool // Content-Type is that of the first bytes
	eaten    bool // HEAD: more content than is gathered
	trails   bool // trailer fields were announced
	done     bool // the handler has returned: what comes from buf is the last

	code     int   // 0 until it is declared
	declared int64 // Content-Length; -1 for none
	written  int64 // bytes of content
	buf      *buffer
	file     *gateway.FileBody // all of the content so far

	w    io.Writer // once start was called
	err  error     // of start; http.ErrHijacked when the connection is the handler's
	last []byte    // of the content, in the memory of buf
}

// buffer is the memory that a response needs until its Body is closed.
type buffer struct {
	content  *bufio.Writer
	fields   []gateway.Header // declared
	trailers []string         // the names that the field "Trailer" had
}

var buffers = sync.Pool{New: func() any { return &buffer{content: bufio.NewWriterSize(nil, bufferBytes)} }}

func (w *response) open(headOnly bool) {
	w.headOnly = headOnly
	w.header = make(http.Header)
	w.buf = buffers.Get().(*buffer)
	w.buf.content.Reset((*sink)(w))
}

// release gives the memory back.
func (w *response) release() {
	clear(w.buf.fields)
	clear(w.buf.trailers)
	w.buf.fields, w.buf.trailers = w.buf.fields[:0], w.buf.trailers[:0]
	w.buf.content.Reset(nil)
	buffers.Put(w.buf)
	w.buf, w.last = nil, nil
}

// end takes the Environ back, also after a panic.
func (w *response) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.env = nil
	if w.file != nil {
		_ = w.file.Close()
		w.file = nil
	}
}

// Header is the map that WriteHeader sends.
func (w *response) Header() http.Header { return w.header }

// Write adds content; nothing else ends when it returns an error.
func (w *response) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.admit(len(p)); err != nil || len(p) == 0 {
		return 0, err
	}
	return w.buf.content.Write(p)
}

// WriteString is Write for a string.
func (w *response) WriteString(s string) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.admit(len(s)); err != nil || len(s) == 0 {
		return 0, err
	}
	return w.buf.content.WriteString(s)
}

// admit prepares for n bytes of content behind what is there.
func (w *response) admit(n int) error {
	switch {
	case w.env == nil:
		return errOver
	case w.err != nil:
		return w.err
	case w.code == 0:
		w.declare(http.StatusOK)
	}
	if n > 0 && !bodyAllowed(w.code) {
		return http.ErrBodyNotAllowed
	}
	if w.written += int64(n); w.declared >= 0 && w.written > w.declared {
		return http.ErrContentLength
	}
	return w.copyFile()
}

// Flush sends what was written, and the head.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *response) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.admit(0); err != nil {
		return err
	}
	w.sniffs = w.sniffs && w.written > 0 // the head is what it is now
	if err := w.buf.content.Flush(); err != nil {
		return err
	}
	if w.w == nil {
		if err := w.begin(); err != nil {
			return err
		}
	}
	err := gateway.Flush(w.w)
	if w.written > 0 && errors.Is(err, errors.ErrUnsupported) {
		return nil // each Write was sent at once
	}
	return supported(err)
}

// supported is err as net/http has it.
func supported(err error) error {
	if errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("%w: %w", http.ErrNotSupported, err)
	}
	return err
}

// sink takes what buf has gathered.
type sink response

// Write is called with mu locked.
func (s *sink) Write(p []byte) (int, error) {
	w := (*response)(s)
	w.sniff(p)
	switch {
	case w.done && w.w == nil && !w.eaten:
		w.last = p
		return len(p), nil
	case w.headOnly:
		w.eaten = true
		return len(p), nil
	case w.w == nil:
		if err := w.begin(); err != nil {
			return 0, err
		}
	}
	return w.w.Write(p)
}

// sniff adds the Content-Type of content that begins with p, if the handler has not.
func (w *response) sniff(p []byte) {
	if w.sniffs && len(p) > 0 {
		w.sniffs = false
		w.buf.fields = append(w.buf.fields, gateway.Header{Name: "Content-Type", Value: http.DetectContentType(p)})
	}
}

// begin calls start. What is written behind it may wait for Flush, as with net/http.
func (w *response) begin() error {
	if w.w, w.err = w.start(statusLine(w.code), w.buf.fields, nil); w.err == nil {
		gateway.Gather(w.w)
	}
	return w.err
}

// finish is the response when the handler has returned.
func (w *response) finish() (gateway.Body, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && w.code == 0 {
		w.declare(http.StatusOK)
	}
	env := w.env
	w.env, w.done = nil, true
	if w.err == http.ErrHijacked {
		w.release()
		return nil, nil
	}
	_ = w.buf.content.Flush()   // a client that is gone is no failure of the handler
	if w.trails || w.w != nil { // else the length is known, and there is no place for them
		if fields := w.trailer(); w.trails || len(fields) > 0 {
			_ = env.Trailer(fields) // what the server has no Trailer for goes without
		}
	}
	body, err := w.rest()
	if body != (*rest)(w) {
		w.release()
	}
	return body, err
}

// rest is what is left to send.
func (w *response) rest() (gateway.Body, error) {
	switch {
	case w.err != nil || w.w != nil:
		return nil, w.err
	case w.file != nil:
		return w.restOfFile()
	case w.headOnly && w.declared < 0 && len(w.last) == 0:
		return unknown{}, w.begin() // GET may have content
	case len(w.last) == 0:
		return nil, w.begin()
	}
	return (*rest)(w), w.begin()
}

// rest is the Body of an answer that buf holds all of.
type rest response

func (b *rest) Next() ([]byte, error) { return b.last, io.EOF }
func (b *rest) Len() int64            { return int64(len(b.last)) }
func (b *rest) Ready()                {}

func (b *rest) Close() error {
	(*response)(b).release()
	return nil
}

// unknown is the Body of an answer to HEAD, of a length that nobody knows.
type unknown struct{}

func (unknown) Next() ([]byte, error) { return nil, io.EOF }
func (unknown) Close() error          { return nil }
func (unknown) Ready()                {}
