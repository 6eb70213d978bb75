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
)

// Response is an answer, and an App that always gives it. The constructors make one
// of status 200; the methods change it and return it, so that they can be chained.
//
// What is wrong sticks: from then on Err returns it, and Serve, so that the server
// answers 500 and logs it. No text given to any method can end a line of the head.
//
// A Response of Text, HTML, JSON, Bytes, Redirect or Error may serve many requests,
// also at the same time, when it is not changed any more. One of File or Stream has
// content that can be sent once. For HEAD nothing special is to be done: the
// server sends the head that GET would have, and closes the content.
type Response struct {
	code    int
	headers []gateway.Header

	content []byte
	body    gateway.Body // in place of content, if not nil
	err     error        // sticks
}

// Bytes answers with b, which must not change any more. contentType is such as
// "image/png"; "" sends none.
func Bytes(contentType string, b []byte) *Response {
	r := &Response{code: 200, content: b}
	if contentType != "" {
		r.Set("Content-Type", contentType)
	}
	return r
}

// Text answers with plain text in UTF-8.
func Text(s string) *Response { return Bytes("text/plain; charset=utf-8", []byte(s)) }

// HTML answers with a page in UTF-8. Make it by html/template, which quotes what
// others have written.
func HTML(page string) *Response { return Bytes("text/html; charset=utf-8", []byte(page)) }

// JSON answers with v as encoding/json writes it. A value that it cannot write is an
// error that sticks.
func JSON(v any) *Response {
	b, err := json.Marshal(v)
	r := Bytes("application/json", b) // always UTF-8, RFC 8259 section 8.1: it has no charset
	if err != nil {
		r.fail(fmt.Errorf("web: JSON: %w", err))
	}
	return r
}

// Error answers with a status and a text, to which a line end is added; "" is the
// text of the status.
func Error(code int, text string) *Response {
	if text == "" {
		text = http.StatusText(code)
	}
	return Text(text+"\n").Status(code).Set("X-Content-Type-Options", "nosniff") // it may quote the client
}

// Stream answers with a Body, which is closed when the Response was served, or is
// not to be. contentType is as in Bytes.
func Stream(contentType string, body gateway.Body) *Response {
	r := Bytes(contentType, nil)
	r.body = body
	return r
}

// errNotRegular is what a directory or a pipe is to a client: not there.
var errNotRegular = fmt.Errorf("no regular file: %w", fs.ErrNotExist)

// File answers with a file, which a server sends without copying it. The type is that
// of mime.TypeByExtension, application/octet-stream if it is not known; Last-Modified
// is set if the file's time says something (gateway.ModTime). What is no regular file, or is not there, is a StatusError of 404. Any name is
// opened: one that a client has chosen belongs to an os.Root, see Stream and
// gateway.File.
func File(name string) (*Response, error) {
	info, err := os.Stat(name) // before it is opened, since a pipe would hold us
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
	if t, ok := gateway.ModTime(info); ok {
		r.Modified(t)
	}
	return r, nil
}

// Redirect sends the client to location, a URL or a path, with a status 300 to 303,
// 307 or 308: mostly 303 after a form, 307 or 308 to have the same request made again.
// What cannot be in a URL is percent-encoded, so any text is safe, but not any place
// is: check a location that a client has chosen.
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

// encodeURL percent-encodes what cannot be in a URI, RFC 3986 section 2, and leaves
// the triplets that are there.
func encodeURL(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 || c == '%' && !triplet(s[i:]) {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// triplet says whether s begins with one.
func triplet(s string) bool {
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

// Set sets a header, in place of those that have its name.
func (r *Response) Set(name, value string) *Response { return r.Del(name).Add(name, value) }

// Add adds a header beside those that have its name. The name, and the value, are
// checked as package gateway says.
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

// Cookie adds a Set-Cookie. A cookie that is not valid (http.Cookie.Valid) is an
// error that sticks; net/http would leave out what is wrong. To remove a cookie send
// it with a MaxAge of -1, and the Path and Domain that it has.
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

// Err is the first thing that was wrong, or nil.
func (r *Response) Err() error { return r.err }

var errServed = errors.New("web: a Response of File or Stream was served twice; make one for each request")

// Serve answers with r.
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
	r.body = nil // the server's now
	r.fail(errServed)
	return body, nil
}

// close closes a Body that is not to be served.
func (r *Response) close() {
	if r.body != nil {
		_ = r.body.Close()
		r.body = nil
		r.fail(errServed)
	}
}
