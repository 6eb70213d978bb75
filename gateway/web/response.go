package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/modtime"
)

// Response is a response, and an App that always sends it. The constructors make one with the status 200;
// the methods change it and return it, so that they can be chained.
//
// An error sticks: from then on Err and Serve return it, so that the server answers 500 and logs it. No
// text given to any method can end a line of the head.
//
// A Response of Text, HTML, JSON, Bytes, Redirect or Error may be sent for many requests, also at the same
// time, once it is not changed any more. The content of one of File or Stream can be sent once. HEAD needs
// no code: the server sends the head of GET and closes the content.
type Response struct {
	code    int
	headers []gateway.Header

	content []byte
	body    gateway.Body // in place of content, if not nil
	err     error        // the first
}

// Bytes is a Response with the content b, which must not change any more. contentType is one such as
// "image/png"; "" sends no such field.
func Bytes(contentType string, b []byte) *Response {
	r := &Response{code: 200, content: b}
	if contentType != "" {
		r.Set("Content-Type", contentType)
	}
	return r
}

// Text is a Response with plain text in UTF-8.
func Text(s string) *Response { return Bytes("text/plain; charset=utf-8", []byte(s)) }

// HTML is a Response with a page in UTF-8. Make pages with html/template, which escapes what clients have
// sent.
func HTML(page string) *Response { return Bytes("text/html; charset=utf-8", []byte(page)) }

// JSON is a Response with v as encoding/json renders it. A value that it cannot render is an error that
// sticks.
func JSON(v any) *Response {
	b, err := json.Marshal(v)
	r := Bytes("application/json", b) // always UTF-8, RFC 8259 section 8.1: it has no charset
	if err != nil {
		r.fail(fmt.Errorf("web: JSON: %w", err))
	}
	return r
}

// Error is a Response with a status and a text, to which a line end is added; "" is the text of the status.
func Error(code int, text string) *Response {
	if text == "" {
		text = http.StatusText(code)
	}
	// The text may quote a client, HTML too: a browser must not guess that it is a page.
	return Text(text+"\n").Status(code).Set("X-Content-Type-Options", "nosniff")
}

// Stream is a Response with a Body, which is closed after the Response was sent, or if it is not sent.
// contentType is as in Bytes.
func Stream(contentType string, body gateway.Body) *Response {
	r := Bytes(contentType, nil)
	r.body = body
	return r
}

// errNotRegular is the error of a directory or a pipe: a 404.
var errNotRegular = fmt.Errorf("no regular file: %w", fs.ErrNotExist)

// File is a Response with a file, which a server may send by sendfile. The type is that of
// mime.TypeByExtension, or application/octet-stream; Last-Modified is set if the time of the file depends
// on its content (not before 1980-01-02). A file that does not exist or is not regular is a StatusError of 404.
// Every name is opened: open one that a client has chosen in an os.Root, and use Stream and gateway.File.
func File(name string) (*Response, error) {
	info, err := os.Stat(name) // first: to open a pipe waits for a writer
	var f *os.File
	switch {
	case err != nil:
	case info.Mode().IsRegular():
		f, err = os.Open(name)
	default:
		err = &fs.PathError{Op: "open", Path: name, Err: errNotRegular}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &StatusError{Status: 404, Err: err}
	case err != nil:
		return nil, fmt.Errorf("web: File: %w", err)
	}
	kind := mime.TypeByExtension(filepath.Ext(name))
	if kind == "" {
		kind = "application/octet-stream"
	}
	r := Stream(kind, gateway.File(f))
	if t, ok := modtime.Of(info); ok {
		r.Modified(t)
	}
	return r, nil
}

// Redirect is a redirect to location, a URL or a path, with a status 300 to 303, 307 or 308: mostly 303
// after a form, and 307 or 308 to repeat the same request. Bytes that a URL cannot have are
// percent-encoded, so that no text can break the head; but check where a location leads that a client has
// chosen.
func Redirect(code int, location string) *Response {
	r := (&Response{}).Status(code)
	switch code {
	case 300, 301, 302, 303, 307, 308:
	default:
		r.fail(fmt.Errorf("web: Redirect by status %d; use 300 to 303, 307 or 308", code))
	}
	location = encodeURL(location)
	if _, err := url.Parse(location); err != nil || location == "" {
		r.fail(fmt.Errorf("web: Redirect to %q; use a URL or a path", location))
	}
	return r.Set("Location", location)
}

// encodeURL percent-encodes the bytes that a URI cannot have (RFC 3986 section 2), and leaves percent
// triplets.
func encodeURL(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 || c == '%' && !isTriplet(s[i:]) {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// isTriplet reports whether s begins with a percent triplet.
func isTriplet(s string) bool {
	if len(s) < 3 {
		return false
	}
	_, err := strconv.ParseUint(s[1:3], 16, 8)
	return err == nil
}

// Status sets the status, 200 to 599.
func (r *Response) Status(code int) *Response {
	r.code = code
	if code < 200 || code > 599 {
		r.fail(fmt.Errorf("web: status %d; use one from 200 to 599", code))
	}
	return r
}

// Code is the status.
func (r *Response) Code() int { return r.code }

// Set sets a header, in place of all with its name.
func (r *Response) Set(name, value string) *Response { return r.Del(name).Add(name, value) }

// Add adds a header, beside others with its name. Name and value are checked by gateway.CheckHeader.
func (r *Response) Add(name, value string) *Response {
	h := gateway.Header{Name: name, Value: value}
	if err := gateway.CheckHeader(&h); err != nil {
		return r.fail(err)
	}
	r.headers = append(r.headers, h)
	return r
}

// Del removes the headers called name, in any case.
func (r *Response) Del(name string) *Response {
	r.headers = slices.DeleteFunc(r.headers, func(h gateway.Header) bool { return strings.EqualFold(h.Name, name) })
	return r
}

// Get is the value of the first header called name, in any case; "" if there is none.
func (r *Response) Get(name string) string {
	for _, h := range r.headers {
		if strings.EqualFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

// Cookie adds a Set-Cookie. An invalid cookie (http.Cookie.Valid) is an error that sticks; net/http leaves
// invalid parts out. To remove a cookie send it with a MaxAge of -1 and its Path and Domain.
func (r *Response) Cookie(c *http.Cookie) *Response {
	if err := c.Valid(); err != nil {
		return r.fail(fmt.Errorf("web: Cookie: %w", err))
	}
	return r.Add("Set-Cookie", c.String())
}

// Modified sets Last-Modified.
func (r *Response) Modified(t time.Time) *Response {
	return r.Set("Last-Modified", t.UTC().Format(http.TimeFormat))
}

// fail keeps the first error.
func (r *Response) fail(err error) *Response {
	if r.err == nil {
		r.err = err
	}
	return r
}

// Err is the first error, or nil.
func (r *Response) Err() error { return r.err }

var errServed = errors.New("web: a Response of File or Stream was served twice; make one for each request")

// Serve sends r.
func (r *Response) Serve(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if r.err != nil {
		r.close()
		return nil, r.err
	}
	if _, err := start(strconv.Itoa(r.code)+" "+http.StatusText(r.code), r.headers, nil); err != nil {
		r.close()
		return nil, err
	}
	if r.body == nil {
		return env.Bytes(r.content), nil
	}
	body := r.body
	r.body = nil // the server closes it
	r.fail(errServed)
	return body, nil
}

// close closes a Body that is not sent.
func (r *Response) close() {
	if r.body != nil {
		_ = r.body.Close()
		r.body = nil
		r.fail(errServed)
	}
}
