package nethttp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/gateway"
)

const (
	// bufferBytes is how much of the content is gathered before any of it is sent: an
	// answer that is not longer has a Content-Length. As in net/http.
	bufferBytes = 2 << 10

	// sniffBytes is what http.DetectContentType looks at.
	sniffBytes = 512

	// copyBytes is what ReadFrom reads at once.
	copyBytes = 32 << 10
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

// WriteHeader declares the status and the header as they are now. It sends 1xx statuses
// at once, but 100, which is the server's, and 101, which waits for Hijack.
func (w *response) WriteHeader(code int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case code < 100 || code > 999:
		panic(fmt.Sprintf("nethttp: WriteHeader was called with the code %d; use one of three digits", code))
	case w.env == nil:
	case w.err == http.ErrHijacked:
		fmt.Fprintf(w.env.Errors(), "nethttp: WriteHeader(%d) on a connection that was taken over by Hijack", code)
	case w.code != 0:
		_, file, line, _ := runtime.Caller(1)
		fmt.Fprintf(w.env.Errors(), "nethttp: superfluous WriteHeader(%d) at %s:%d; the status is %d already", code, file, line, w.code)
	case code >= 200 || code == http.StatusSwitchingProtocols:
		w.declare(code)
	case code > http.StatusContinue:
		w.inform(code)
	}
}

// inform sends an interim response with the header as it is now, but for what is not
// for one, to who takes it.
func (w *response) inform(code int) {
	fields := w.buf.fields[:0]
	for name, values := range w.header {
		if kind, err := gateway.CheckHeader(&gateway.Header{Name: name}); err == nil && kind != gateway.ContentLength && kind != gateway.Trailer {
			fields = appendField(fields, name, values)
		}
	}
	sortFields(fields)
	w.buf.fields = fields
	_ = w.env.Inform(code, fields)
}

// bodyAllowed says whether a response with this code may have content.
// RFC 9112 section 6.3, item 1.
func bodyAllowed(code int) bool {
	return code >= 200 && code != http.StatusNoContent && code != http.StatusNotModified
}

// declare takes what the header says now. What is the server's to say, or no field at
// all, is left out.
func (w *response) declare(code int) {
	w.code = code
	fields := w.buf.fields[:0]
	for name, values := range w.header {
		kind, err := gateway.CheckHeader(&gateway.Header{Name: name})
		switch {
		case len(values) == 0:
			continue
		case code == http.StatusSwitchingProtocols: // for Hijack: as it is, but what frames content
			if err != nil && kind == gateway.Plain || kind == gateway.ContentLength || name == "Transfer-Encoding" {
				continue
			}
		case kind == gateway.Connection:
			if hasToken(values, "close") {
				fields = append(fields, gateway.Header{Name: name, Value: "close"})
			}
			continue
		case strings.HasPrefix(name, http.TrailerPrefix):
			w.trails = true
			continue
		case err != nil || code == http.StatusNotModified && name == "Content-Type":
			continue
		case kind == gateway.Trailer:
			w.trails = true
			w.announce(values)
		case kind == gateway.ContentLength:
			if values = values[:1]; !w.declareLength(values[0]) {
				continue
			}
		case kind == gateway.Date || kind == gateway.ServerName:
			values = values[:1]
		}
		fields = appendField(fields, name, values)
	}
	sortFields(fields)
	w.buf.fields = fields
	_, typed := w.header["Content-Type"]
	w.sniffs = !typed && w.header.Get("Content-Encoding") == "" && w.header.Get("Transfer-Encoding") == ""
}

// appendField appends a field line for each value.
func appendField(fields []gateway.Header, name string, values []string) []gateway.Header {
	for _, value := range values {
		fields = append(fields, gateway.Header{Name: name, Value: clean(value)})
	}
	return fields
}

// sortFields sorts them by name, as net/http does.
func sortFields(fields []gateway.Header) {
	slices.SortStableFunc(fields, func(a, b gateway.Header) int { return strings.Compare(a.Name, b.Name) })
}

// announce takes the names of trailer fields.
func (w *response) announce(list []string) {
	for _, names := range list {
		for name := range strings.SplitSeq(names, ",") {
			w.buf.trailers = append(w.buf.trailers, http.CanonicalHeaderKey(textproto.TrimString(name)))
		}
	}
}

// trailer is the trailer fields that the header has now: those that were announced, and
// those with http.TrailerPrefix. What cannot be one is left out.
func (w *response) trailer() (fields []gateway.Header) {
	for key, values := range w.header {
		if name, ok := strings.CutPrefix(key, http.TrailerPrefix); ok {
			fields = appendField(fields, name, values)
		}
	}
	for _, name := range w.buf.trailers {
		fields = appendField(fields, name, w.header[name])
	}
	return slices.DeleteFunc(fields, func(h gateway.Header) bool { return gateway.CheckTrailer(&h) != nil })
}

// declareLength reports whether value is a length, for content that may be there.
func (w *response) declareLength(value string) bool {
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil {
		fmt.Fprintf(w.env.Errors(), "nethttp: the handler has set Content-Length to %q; use a decimal number", value)
		return false
	}
	if !bodyAllowed(w.code) {
		return false
	}
	w.declared = int64(n)
	return true
}

var newlines = strings.NewReplacer("\r", " ", "\n", " ")

// clean is a value as net/http sends it: on one line, without space at its ends.
func clean(value string) string { return textproto.TrimString(newlines.Replace(value)) }

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

// ReadFrom adds what is left of src. A file, or an io.LimitedReader of one, that is all
// of the content becomes a gateway.FileBody, which the server may send by sendfile(2).
// For io.Copy from a file the handler declares the Content-Length; http.ServeContent does.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	if n, ok := w.takeFile(src); ok {
		return n, nil
	}
	block := copyBlocks.Get().(*[copyBytes]byte)
	defer copyBlocks.Put(block)
	return io.CopyBuffer(struct{ io.Writer }{w}, src, block[:])
}

var copyBlocks = sync.Pool{New: func() any { return new([copyBytes]byte) }}

// file is an *os.File, or what its WriteTo gives to ReadFrom in its place. It may be
// some other type that has a file and reads it in a way of its own: net/http takes it
// all the same if there is a Content-Length, and so does takeFile.
type file interface {
	fs.File
	io.Seeker
	syscall.Conn
	Name() string
}

// takeFile makes src the file of the response, and reads it as far as it will be sent.
// It reports false if it cannot, or if there is no use in it.
func (w *response) takeFile(src io.Reader) (n int64, ok bool) {
	n = math.MaxInt64
	limited, _ := src.(*io.LimitedReader)
	if limited != nil {
		src, n = limited.R, limited.N
	}
	f, ok := src.(file)
	if !ok {
		return 0, false
	}
	_, itself := src.(*os.File)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.admit(0) != nil || !itself && w.declared < 0 || w.written > 0 || w.headOnly || !bodyAllowed(w.code) {
		return 0, false
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	off, err := f.Seek(0, io.SeekCurrent)
	if n = min(n, info.Size()-off); err != nil || n <= bufferBytes || w.declared >= 0 && n > w.declared {
		return 0, false
	}
	own, err := dup(f) // the handler closes its own when it returns
	if err != nil {
		return 0, false
	}
	if _, err := f.Seek(n, io.SeekCurrent); err != nil {
		_ = own.Close()
		return 0, false
	}
	if limited != nil {
		limited.N -= n
	}
	w.file, w.written = gateway.FileRange(own, off, n), n
	return n, true
}

// dup is f by another descriptor.
func dup(f file) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var own int
	var failed error
	if err := raw.Control(func(fd uintptr) { own, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, os.NewSyscallError("fcntl", failed)
	}
	return os.NewFile(uintptr(own), f.Name()), nil
}

// copyFile sends the file as other content, for there is more behind it.
func (w *response) copyFile() error {
	if w.file == nil {
		return nil
	}
	file := w.file
	w.file = nil
	defer file.Close()
	f, off, n := file.Range()
	_, err := io.Copy(struct{ io.Writer }{w.buf.content}, io.NewSectionReader(f, off, n))
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

// begin calls start.
func (w *response) begin() error {
	w.w, w.err = w.start(statusLine(w.code), w.buf.fields, nil)
	return w.err
}

// finish is the response when the handler has returned. With now it is sent as far as
// it can be before Serve returns.
func (w *response) finish(now bool) (gateway.Body, error) {
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
	body, err := w.rest(now)
	if body != (*rest)(w) {
		w.release()
	}
	return body, err
}

// rest is what is left to send.
func (w *response) rest(now bool) (gateway.Body, error) {
	switch {
	case w.err != nil || w.w != nil:
		return nil, w.err
	case w.file != nil:
		return w.restOfFile()
	case w.headOnly && w.declared < 0 && len(w.last) == 0:
		return unknown{}, w.begin() // GET may have content
	case now && len(w.last) > 0:
		if w.declared < 0 && !w.trails {
			w.buf.fields = append(w.buf.fields, gateway.Header{Name: "Content-Length", Value: strconv.Itoa(len(w.last))})
		}
		if err := w.begin(); err != nil {
			return nil, err
		}
		_, _ = w.w.Write(w.last)
		return nil, nil
	case len(w.last) == 0:
		return nil, w.begin()
	}
	return (*rest)(w), w.begin()
}

func (w *response) restOfFile() (gateway.Body, error) {
	var first [sniffBytes]byte
	if w.sniffs {
		f, off, n := w.file.Range()
		k, err := f.ReadAt(first[:min(n, sniffBytes)], off)
		if err != nil {
			return nil, err
		}
		w.sniff(first[:k])
	}
	if err := w.begin(); err != nil {
		return nil, err
	}
	file := w.file
	w.file = nil
	return file, nil
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

// statusLines has those that net/http knows.
var statusLines = func() (t [600]string) {
	for code := range t {
		if text := http.StatusText(code); text != "" {
			t[code] = strconv.Itoa(code) + " " + text
		}
	}
	return t
}()

func statusLine(code int) string {
	if code < len(statusLines) && statusLines[code] != "" {
		return statusLines[code]
	}
	return strconv.Itoa(code) + " status code " + strconv.Itoa(code)
}
