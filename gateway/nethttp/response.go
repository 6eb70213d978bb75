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
	// bufferBytes is the size of the buffer for content, as in net/http: a response that fits into it has a
	// Content-Length.
	bufferBytes = 2 << 10

	// sniffBytes is how much http.DetectContentType reads.
	sniffBytes = 512
)

var errHandlerReturned = errors.New("nethttp: the ResponseWriter is used after its handler has returned")

// response is the http.ResponseWriter. Content is buffered in buf, and written from there to the writer of
// start; what is still in buf when the handler returns is the Body.
type response struct {
	mu sync.Mutex // a handler may flush from a timer

	x      *exchange
	env    *gateway.Environ // nil when the handler has returned
	start  gateway.StartResponse
	header http.Header
	local  net.Addr // of the Context; nil before its first use

	isHEAD       bool
	sniffType    bool // Content-Type is to be guessed from the first bytes
	headOverflow bool // HEAD: the content did not fit into buf, so its length is unknown
	hasTrailers  bool // trailer fields are to be sent
	handlerDone  bool // the handler has returned: what buf writes now is the last

	code     int   // 0 before WriteHeader
	declared int64 // Content-Length; -1 for none
	written  int64 // bytes of content
	buf      *buffer
	file     *gateway.FileBody // all of the content so far

	startWriter io.Writer // nil before start
	err         error     // of start; http.ErrHijacked after Hijack
	unsent      []byte    // end of the content, in the array of buf
}

// buffer is the memory that a response needs until its Body is closed.
type buffer struct {
	content  *bufio.Writer
	fields   []gateway.Header // declared
	trailers []string         // names in the field "Trailer"
}

var buffers = sync.Pool{New: func() any { return &buffer{content: bufio.NewWriterSize(nil, bufferBytes)} }}

func (w *response) init(headOnly bool) {
	w.isHEAD = headOnly
	w.header = make(http.Header)
	w.buf = buffers.Get().(*buffer)
	w.buf.content.Reset((*bufferSink)(w))
}

// release gives buf back to its pool.
func (w *response) release() {
	clear(w.buf.fields)
	clear(w.buf.trailers)
	w.buf.fields, w.buf.trailers = w.buf.fields[:0], w.buf.trailers[:0]
	w.buf.content.Reset(nil)
	buffers.Put(w.buf)
	w.buf, w.unsent = nil, nil
}

// end drops the Environ, and a file that is not sent.
func (w *response) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.env = nil
	if w.file != nil {
		_ = w.file.Close()
		w.file = nil
	}
}

// Header is the map that WriteHeader reads.
func (w *response) Header() http.Header { return w.header }

// Write adds content. After an error the response goes on: a later Write may succeed.
func (w *response) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.prepareWrite(len(p)); err != nil || len(p) == 0 {
		return 0, err
	}
	return w.buf.content.Write(p)
}

// WriteString is Write for a string.
func (w *response) WriteString(s string) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.prepareWrite(len(s)); err != nil || len(s) == 0 {
		return 0, err
	}
	return w.buf.content.WriteString(s)
}

// prepareWrite checks whether n more bytes of content are allowed, and declares the status 200 if the handler
// has declared none. Caller holds mu.
func (w *response) prepareWrite(n int) error {
	switch {
	case w.env == nil:
		return errHandlerReturned
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
	return w.bufferFile()
}

// Flush sends what was written, and the head.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *response) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.prepareWrite(0); err != nil {
		return err
	}
	w.sniffType = w.sniffType && w.written > 0 // without content yet the head is sent without a type
	if err := w.buf.content.Flush(); err != nil {
		return err
	}
	if w.startWriter == nil {
		if err := w.callStart(); err != nil {
			return err
		}
	}
	err := gateway.Flush(w.startWriter)
	if w.written > 0 && errors.Is(err, errors.ErrUnsupported) {
		return nil // each Write was sent at once
	}
	return asNotSupported(err)
}

// asNotSupported makes errors.ErrUnsupported http.ErrNotSupported, too.
func asNotSupported(err error) error {
	if errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("%w: %w", http.ErrNotSupported, err)
	}
	return err
}

// bufferSink is the writer behind buf.
type bufferSink response

// Write takes what buf has collected. Caller holds mu.
func (s *bufferSink) Write(p []byte) (int, error) {
	w := (*response)(s)
	w.sniff(p)
	switch {
	case w.handlerDone && w.startWriter == nil && !w.headOverflow:
		w.unsent = p
		return len(p), nil
	case w.isHEAD:
		w.headOverflow = true
		return len(p), nil
	case w.startWriter == nil:
		if err := w.callStart(); err != nil {
			return 0, err
		}
	}
	return w.startWriter.Write(p)
}

// sniff adds the Content-Type of content that begins with p, if the handler has set none.
func (w *response) sniff(p []byte) {
	if w.sniffType && len(p) > 0 {
		w.sniffType = false
		w.buf.fields = append(w.buf.fields, gateway.Header{Name: "Content-Type", Value: http.DetectContentType(p)})
	}
}

// callStart calls start. What is written after it may wait for Flush, as with net/http.
func (w *response) callStart() error {
	if w.startWriter, w.err = w.start(statusLine(w.code), w.buf.fields, nil); w.err == nil {
		gateway.Gather(w.startWriter)
	}
	return w.err
}

// finish ends the response when the handler has returned, and returns what Serve returns.
func (w *response) finish() (gateway.Body, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && w.code == 0 {
		w.declare(http.StatusOK)
	}
	env := w.env
	w.env, w.handlerDone = nil, true
	if w.err == http.ErrHijacked {
		w.release()
		return nil, nil
	}
	_ = w.buf.content.Flush()                  // an error is that of a client that has disconnected
	if w.hasTrailers || w.startWriter != nil { // else the response has a length, and no place for them
		if fields := w.trailerFields(); w.hasTrailers || len(fields) > 0 {
			_ = env.Trailer(fields) // a server without Trailer sends none
		}
	}
	body, err := w.remainder()
	if body != (*bufferedBody)(w) {
		w.release()
	}
	return body, err
}

// remainder is the content that is not sent yet.
func (w *response) remainder() (gateway.Body, error) {
	switch {
	case w.err != nil || w.startWriter != nil:
		return nil, w.err
	case w.file != nil:
		return w.fileBody()
	case w.isHEAD && w.declared < 0 && len(w.unsent) == 0:
		return unsizedBody{}, w.callStart() // the length is that of GET, which the handler has not written
	case len(w.unsent) == 0:
		return nil, w.callStart()
	}
	return (*bufferedBody)(w), w.callStart()
}

// bufferedBody is the Body of a response that is in buf completely.
type bufferedBody response

func (b *bufferedBody) Next() ([]byte, error) { return b.unsent, io.EOF }
func (b *bufferedBody) Len() int64            { return int64(len(b.unsent)) }
func (b *bufferedBody) Ready()                {}

func (b *bufferedBody) Close() error {
	(*response)(b).release()
	return nil
}

// unsizedBody is the Body of a response to HEAD of unknown length: it has no Len.
type unsizedBody struct{}

func (unsizedBody) Next() ([]byte, error) { return nil, io.EOF }
func (unsizedBody) Close() error          { return nil }
func (unsizedBody) Ready()                {}
