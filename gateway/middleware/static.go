package middleware

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/modtime"
)

// StaticOptions are the options of Static. The zero value has the defaults.
type StaticOptions struct {
	// Index is the name of the file that is served for a directory. "" is index.html.
	Index string

	// DotFiles serves names that begin with a dot as well.
	DotFiles bool

	// NoSymlinks hides symbolic links. Without it those are followed that stay inside the directory;
	// others never are.
	NoSymlinks bool

	// CacheControl is sent with every file; "" is no such field.
	CacheControl string

	// NotFound answers where there is no such file. nil answers 404.
	NotFound gateway.App
}

// sniffBytes is how much http.DetectContentType reads.
const sniffBytes = 512

// Static is an application that serves the files of a directory, by PATH_INFO. It opens the directory
// once, and no request reaches a file outside it (os.Root). Names with "..", "//", a backslash or an
// encoded slash (%2F) are not found. A directory without a slash at the end is redirected to the path
// with one; directories are not listed.
//
// A response has Last-Modified, and an ETag of the size and the time of change, unless the time does not
// depend on the content (before 1980-01-02). Content-Type is by the extension of the name, else by the
// first bytes. One Range is answered with 206. Several are answered with the whole file, as RFC 9110
// section 14.2 allows: a request for many overlapping ranges costs no more than one for the file.
//
// The Body is a gateway.FileBody, which a server may send by sendfile. Files are opened on the goroutine
// of the application, by default the event loop of the server: the directory should be on a local disk.
func Static(dir string, o StaticOptions) (gateway.App, error) {
	if o.Index == "" {
		o.Index = "index.html"
	}
	if strings.ContainsAny(o.Index, "/\\\x00") || o.Index == "." || o.Index == ".." {
		return nil, fmt.Errorf("middleware: StaticOptions.Index is %q; use the name of a file, such as index.html",
			o.Index)
	}
	if err := gateway.CheckHeader(&gateway.Header{Name: "Cache-Control", Value: o.CacheControl}); err != nil {
		return nil, fmt.Errorf("middleware: StaticOptions.CacheControl: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("middleware: the directory of Static: %w", err)
	}
	return &static{o, root}, nil
}

type static struct {
	StaticOptions
	root *os.Root
}

func (s *static) Serve(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	file, info, err := s.openRequested(env)
	switch {
	case errors.Is(err, errDirectory) && isGetOrHead(env):
		return redirect(env, start)
	case errors.Is(err, fs.ErrPermission):
		return refuse(env, start, "403 Forbidden")
	case errors.Is(err, errNotHere) && s.NotFound != nil:
		return s.NotFound.Serve(env, start)
	case errors.Is(err, errNotHere):
		return refuse(env, start, "404 Not Found")
	case errors.Is(err, errDirectory) || err == nil && !isGetOrHead(env): // POST of a file or a directory
		if file != nil {
			_ = file.Close()
		}
		return refuse(env, start, "405 Method Not Allowed", gateway.Header{Name: "Allow", Value: "GET, HEAD"})
	case err != nil:
		return nil, err
	}
	body, err := s.serveFile(env, start, file, info)
	if gateway.FileOf(body) == nil {
		_ = file.Close()
	}
	return body, err
}

var (
	errNotHere   = errors.New("middleware: Static: no such file")
	errDirectory = errors.New("middleware: Static: a directory, requested without a slash")
)

// openRequested opens the file of a request. A segment with "%2F" is no name: a Route that protects
// "/private/{path...}" does not match "/private%2Fsecret.txt", which is one segment.
func (s *static) openRequested(env *gateway.Environ) (*os.File, os.FileInfo, error) {
	path := env.Path()
	if raw, ok := env.RawPath(); ok && strings.Count(raw, "/") != strings.Count(path, "/") {
		return nil, nil, errNotHere
	}
	return s.open(path)
}

// open opens the file for a path. The error is errNotHere, errDirectory, fs.ErrPermission, or one of the
// machine, such as a lack of descriptors.
func (s *static) open(p string) (*os.File, os.FileInfo, error) {
	name, slash, ok := s.name(p)
	if !ok {
		return nil, nil, errNotHere
	}
	file, info, err := s.openName(name)
	if err == nil && info.IsDir() {
		_ = file.Close()
		if !slash {
			return nil, nil, errDirectory
		}
		slash = false
		file, info, err = s.openName(path.Join(name, s.Index))
	}
	switch {
	case err != nil:
		return nil, nil, openError(err)
	case !info.Mode().IsRegular() || slash: // a device, a FIFO, or "file/"
		_ = file.Close()
		return nil, nil, errNotHere
	}
	return file, info, nil
}

// name returns the name of a file in the root for a path, and whether a slash followed it; ok is false if
// no file has such a name.
func (s *static) name(p string) (name string, slash, ok bool) {
	if p == "" {
		return ".", false, true // the prefix of a Mount, without a slash
	}
	if p == "/" {
		return ".", true, true
	}
	name, slash = strings.CutSuffix(strings.TrimPrefix(p, "/"), "/")
	if p[0] != '/' || !fs.ValidPath(name) || strings.ContainsAny(name, "\\\x00") {
		return "", false, false
	}
	if !s.DotFiles && (name[0] == '.' || strings.Contains(name, "/.")) {
		return "", false, false
	}
	return name, slash, true
}

func (s *static) openName(name string) (*os.File, os.FileInfo, error) {
	for i := range len(name) + 1 {
		if s.NoSymlinks && (i == len(name) || name[i] == '/') {
			info, err := s.root.Lstat(name[:i])
			if err == nil && info.Mode()&fs.ModeSymlink != 0 {
				err = errNotHere
			}
			if err != nil {
				return nil, nil, err
			}
		}
	}
	file, err := s.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would wait for a writer
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
	}
	return file, info, err
}

// openError returns errNotHere for err, unless err has a cause that the client is not at fault for.
func openError(err error) error {
	for _, trouble := range []error{fs.ErrPermission, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO} {
		if errors.Is(err, trouble) {
			return err
		}
	}
	return errNotHere
}

// redirect redirects to the path with a slash. The reference is relative: one such as "//host/" would
// lead to another host.
func redirect(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	to := url.URL{Path: "./" + path.Base(env.ScriptName()+env.Path()) + "/", RawQuery: env.Query()}
	return refuse(env, start, "301 Moved Permanently", gateway.Header{Name: "Location", Value: to.String()})
}

// serveFile answers a request for a file. If the Body that it returns is a FileBody, that closes the
// file; else the caller does.
func (s *static) serveFile(env *gateway.Environ, start gateway.StartResponse, file *os.File, info os.FileInfo) (
	gateway.Body, error) {
	size := info.Size()
	headers := make([]gateway.Header, 1, 6)
	headers[0] = gateway.Header{Name: "Accept-Ranges", Value: "bytes"}
	etag := ""
	modified, ok := modtime.Of(info)
	if ok {
		etag = `"` + strconv.FormatInt(modified.UnixNano(), 36) + "-" + strconv.FormatInt(size, 36) + `"`
		headers = append(headers, gateway.Header{Name: "ETag", Value: etag},
			gateway.Header{Name: "Last-Modified", Value: modified.UTC().Format(http.TimeFormat)})
	} else {
		modified = time.Time{} // not for preconditions either
	}
	if s.CacheControl != "" {
		headers = append(headers, gateway.Header{Name: "Cache-Control", Value: s.CacheControl})
	}
	status, off, n := "200 OK", int64(0), size
	switch precondition(env, etag, modified) {
	case http.StatusNotModified:
		_, err := start("304 Not Modified", notModified(headers), nil)
		return nil, err
	case http.StatusPreconditionFailed:
		return refuse(env, start, "412 Precondition Failed")
	}
	if ranges := env.Header("Range"); ranges != "" && env.Method() == "GET" && ifRange(env, etag, modified) {
		switch first, length, ok := parseRange(ranges, size); {
		case ok && length == 0:
			unsatisfied := gateway.Header{Name: "Content-Range", Value: fmt.Sprintf("bytes */%d", size)}
			return refuse(env, start, "416 Range Not Satisfiable", unsatisfied)
		case ok:
			status, off, n = "206 Partial Content", first, length
			sent := fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, size)
			headers = append(headers, gateway.Header{Name: "Content-Range", Value: sent})
		}
	}
	mediaType, err := contentType(file, info.Name())
	if err != nil {
		return nil, err
	}
	headers = append(headers, gateway.Header{Name: "Content-Type", Value: mediaType})
	if _, err := start(status, headers, nil); err != nil {
		return nil, err
	}
	return gateway.FileRange(file, off, n), nil
}

// contentType is the media type of a file, by its extension, else by its first bytes.
func contentType(file *os.File, name string) (string, error) {
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t, nil
	}
	var b [sniffBytes]byte
	n, err := file.ReadAt(b[:], 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	return http.DetectContentType(b[:n]), nil
}

// ifRange reports whether If-Range allows a 206: the client has a part of this version of the file. A
// date allows it if it is that of the file and more than a second old: within a second the file may
// have changed again. RFC 9110 section 13.1.5.
func ifRange(env *gateway.Environ, etag string, modified time.Time) bool {
	value := env.Header("If-Range")
	if value == "" {
		return true
	}
	if since, err := http.ParseTime(value); err == nil {
		return modified.Truncate(time.Second).Equal(since) && time.Since(modified) > time.Second
	}
	return value == etag
}

// parseRange reads a Range of one range of a file of size bytes. ok is false for another unit, a
// malformed value, or several ranges: then the field is ignored. length is 0 if the file has no byte of
// the range. RFC 9110 section 14.1.2.
func parseRange(value string, size int64) (first, length int64, ok bool) {
	unit, set, _ := strings.Cut(value, "=")
	from, to, dash := strings.Cut(strings.Trim(set, " \t"), "-")
	if !strings.EqualFold(unit, "bytes") || !dash {
		return 0, 0, false
	}
	last, ok := parsePosition(to)
	switch {
	case from == "":
		if !ok {
			return 0, 0, false
		}
		length = min(last, size)
		return size - length, length, true
	case to == "":
		last = size - 1
	case !ok:
		return 0, 0, false
	}
	first, ok = parsePosition(from)
	if !ok || to != "" && last < first {
		return 0, 0, false
	}
	return first, max(0, min(last, size-1)-first+1), true
}

// parsePosition reads 1*DIGIT. A number that does not fit counts as larger than any file.
func parsePosition(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	if errors.Is(err, strconv.ErrRange) {
		return 1<<63 - 2, true
	}
	return int64(n), err == nil
}
