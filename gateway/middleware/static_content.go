package middleware

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/modtime"
)

// keptFileBytes is the largest file that is kept as bytes. The server copies so much behind a head; more is
// sent by the kernel.
const keptFileBytes = 16 << 10

// content is one representation of a file, ready to be sent. It does not change.
type content struct {
	size     int64
	etag     string
	modified time.Time // zero if it says nothing
	headers  []gateway.Header
	bare     []gateway.Header // those of a 304
	vary     []gateway.Header // those of a 412 and a 416

	bytes []byte       // all of it, if it is kept as bytes
	file  *os.File     // else
	cache *fileCache   // that counts it; nil if none keeps it: then one response has it
	refs  atomic.Int32 // entries that have it, and responses that send file
}

// serveFile answers a GET or HEAD of a file.
func (s *static) serveFile(env *gateway.Environ, start gateway.StartResponse, e *pathEntry) (gateway.Body, error) {
	k := 0
	if len(e.variants) > 1 {
		k = e.chooseVariant(env.Header("Accept-Encoding"))
	}
	c, err := s.content(e, k)
	if k > 0 && isAbsent(err) { // since the last look at the directory
		c, err = s.content(e, 0)
	}
	e.closeOpened() // where it was not used
	switch {
	case errors.Is(err, fs.ErrPermission):
		return s.refuse(env, start, "403 Forbidden")
	case err == errNotHere:
		return s.missing(env, start, false)
	case err != nil:
		return nil, err
	}
	body, sent, err := s.serveContent(env, start, e, c)
	if !sent {
		c.release()
	}
	return body, err
}

func isAbsent(err error) bool { return err == errNotHere || errors.Is(err, fs.ErrPermission) }

// content returns the content of a variant, of which a response now has a reference.
func (s *static) content(e *pathEntry, k int) (*content, error) {
	if c := e.contents[k]; c != nil && c.acquire() {
		return c, nil
	}
	v := &e.variants[k]
	file, info := e.opened, v.info
	if k == 0 && file != nil {
		e.opened = nil
	} else {
		var err error
		if file, info, err = s.openName(v.name); err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			closeFile(file)
			return nil, errNotHere
		}
	}
	c, err := s.newContent(e, v, file, info)
	if err != nil {
		closeFile(file)
		return nil, err
	}
	if s.cache != nil && isUnchanged(info, v.info) { // else e would pass for that of another file later
		s.cache.keep(e, k, c)
	}
	if c.file == nil {
		_ = c.Close() // responses have no reference to bytes
	}
	return c, nil
}

// newContent makes the content of a file of e that is open. It owns the file.
func (s *static) newContent(e *pathEntry, v *variant, file *os.File, info os.FileInfo) (*content, error) {
	c := &content{size: info.Size(), file: file}
	c.refs.Store(1)
	mediaType, err := s.mediaType(e, v, file)
	if err != nil {
		return nil, err
	}
	if e.mark() == errorPageMark {
		c.headers = []gateway.Header{{Name: "Content-Type", Value: mediaType}}
	} else {
		s.addHeaders(c, e, v, info, mediaType)
	}
	if s.cache != nil && c.size <= keptFileBytes {
		b := make([]byte, c.size+1)
		if n, err := file.ReadAt(b, 0); int64(n) == c.size && err == io.EOF { // else it changes just now
			c.bytes, c.file = b[:n:n], nil
			closeFile(file)
		}
	}
	return c, nil
}

// mediaType is the media type of e. If its name does not tell, the file without a coding does.
func (s *static) mediaType(e *pathEntry, v *variant, file *os.File) (string, error) {
	if t := typeByName(e.name); t != "" {
		return t, nil
	}
	if v.coding == "" {
		return typeByContent(file)
	}
	plain, info, err := s.openName(e.name)
	if err != nil {
		return "", err
	}
	defer closeFile(plain)
	if !info.Mode().IsRegular() {
		return "", errNotHere
	}
	return typeByContent(plain)
}

// addHeaders makes the fields of c.
func (s *static) addHeaders(c *content, e *pathEntry, v *variant, info os.FileInfo, mediaType string) {
	h := make([]gateway.Header, 1, 7)
	h[0] = gateway.Header{Name: "Accept-Ranges", Value: "bytes"}
	if modified, ok := modtime.Of(info); ok {
		c.modified = modified
		tag := strconv.FormatInt(modified.UnixNano(), 36) + "-" + strconv.FormatInt(c.size, 36)
		if v.coding != "" {
			tag += "-" + v.coding
		}
		c.etag = `"` + tag + `"`
		h = append(h, gateway.Header{Name: "ETag", Value: c.etag},
			gateway.Header{Name: "Last-Modified", Value: modified.UTC().Format(http.TimeFormat)})
	}
	if cacheControl := s.cacheControl(e); cacheControl != "" {
		h = append(h, gateway.Header{Name: "Cache-Control", Value: cacheControl})
	}
	vary := ""
	if e.coded {
		vary = "Accept-Encoding"
	}
	if e.mark() == fallbackMark {
		if vary != "" {
			vary += ", "
		}
		vary += "Accept"
	}
	if vary != "" {
		c.vary = []gateway.Header{{Name: "Vary", Value: vary}}
		h = append(h, c.vary[0])
	}
	if v.coding != "" {
		h = append(h, gateway.Header{Name: "Content-Encoding", Value: v.coding})
	}
	c.headers = slices.Clip(append(h, gateway.Header{Name: "Content-Type", Value: mediaType}))
	c.bare = notModified(c.headers)
}

// cacheControl is the Cache-Control of a file; "" is none.
func (s *static) cacheControl(e *pathEntry) string {
	if e.mark() == fallbackMark {
		return "no-cache"
	}
	if s.CacheControlFor != nil {
		if value := s.CacheControlFor(e.name); value != "" {
			return value
		}
	}
	return s.CacheControl
}

// serveContent answers with c, or by the preconditions and the Range of the request. sent is set if the Body
// has c, and with it the reference of the response.
func (s *static) serveContent(env *gateway.Environ, start gateway.StartResponse, e *pathEntry, c *content) (
	body gateway.Body, sent bool, err error) {
	switch precondition(env, c.etag, c.modified) {
	case http.StatusNotModified:
		_, err = start("304 Not Modified", c.bare, nil)
		return nil, false, err
	case http.StatusPreconditionFailed:
		body, err = s.refuse(env, start, "412 Precondition Failed", c.vary...)
		return body, false, err
	}
	status, headers, off, n := "200 OK", c.headers, int64(0), c.size
	if ranges := env.Header("Range"); ranges != "" && env.Method() == "GET" && c.allowsRange(env, e) {
		switch first, length, ok := parseRange(ranges, c.size); {
		case ok && length == 0:
			unsatisfied := gateway.Header{Name: "Content-Range", Value: fmt.Sprintf("bytes */%d", c.size)}
			body, err = s.refuse(env, start, "416 Range Not Satisfiable", append(slices.Clip(c.vary), unsatisfied)...)
			return body, false, err
		case ok:
			status, off, n = "206 Partial Content", first, length
			part := fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, c.size)
			headers = append(slices.Clip(headers), gateway.Header{Name: "Content-Range", Value: part})
		}
	}
	if _, err := start(status, headers, nil); err != nil {
		return nil, false, err
	}
	return c.body(env, off, n), true, nil
}

// allowsRange is ifRange for c. Two codings of a file may have one date.
func (c *content) allowsRange(env *gateway.Environ, e *pathEntry) bool {
	modified := c.modified
	if e.coded {
		modified = time.Time{}
	}
	return ifRange(env, c.etag, modified)
}

// acquire adds a reference of a response. It fails if there is none left, and so the file is closed. Bytes
// need none: the collector keeps them.
func (c *content) acquire() bool { return c.file == nil || c.share() }

// share adds a reference of an entry.
func (c *content) share() bool {
	for {
		n := c.refs.Load()
		if n == 0 {
			return false
		}
		if c.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release ends the reference of a response.
func (c *content) release() {
	if c.file != nil {
		_ = c.Close()
	}
}

// Close ends a reference, with the last of which the file is closed.
func (c *content) Close() error {
	if c.refs.Add(-1) > 0 {
		return nil
	}
	if c.cache != nil {
		c.cache.forget(c)
	}
	if c.file != nil {
		return c.file.Close()
	}
	return nil
}

// body is n bytes of c from off. It takes the reference of the response.
func (c *content) body(env *gateway.Environ, off, n int64) gateway.Body {
	switch {
	case c.file == nil:
		return env.Bytes(c.bytes[off : off+n])
	case c.cache == nil:
		return gateway.FileRange(c.file, off, n)
	}
	return gateway.SharedRange(c.file, off, n, c)
}
