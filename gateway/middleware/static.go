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
)

// StaticOptions says which files Static serves. Its zero value is good.
type StaticOptions struct {
	// Index is the file that stands for its directory. "" is index.html.
	Index string

	// DotFiles serves names that begin with a dot as well.
	DotFiles bool

	// NoSymlinks hides symbolic links. Otherwise those that stay inside of the
	// directory are followed; the others never are.
	NoSymlinks bool

	// CacheControl is sent with every file; "" is no such field.
	CacheControl string

	// NotFound answers where there is nothing to serve. nil answers 404.
	NotFound gateway.App
}

// sniffBytes is what http.DetectContentType looks at.
const sniffBytes = 512

// Static is an application that serves the files of a directory, by PATH_INFO. It
// opens the directory once, and a request cannot leave it (os.Root). Names with "..",
// "//", a backslash or an encoded slash (%2F) are not found; directories are redirected to the path with a
// slash, and are not listed.
//
// A file has Last-Modified, and an ETag of its size and time of change, if it has a time that
// says something (gateway.ModTime). Content-Type
// is that of the name's extension, else what the first bytes look like. A Range is
// answered with 206 if it is one range; several are answered as a whole, which a server
// may (RFC 9110 section 14.2) and which nobody can use to multiply work.
//
// The Body is a gateway.FileBody, which a server may send by sendfile. Files are
// opened where the application runs, by default on the server's event loop: the
// directory should be on a local disk.
func Static(dir string, o StaticOptions) (gateway.App, error) {
	if o.Index == "" {
		o.Index = "index.html"
	}
	if strings.ContainsAny(o.Index, "/\\\x00") || o.Index == "." || o.Index == ".." {
		return nil, fmt.Errorf("middleware: StaticOptions.Index is %q; use the name of a file, such as index.html", o.Index)
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
	file, info, err := s.find(env)
	switch {
	case errors.Is(err, errDirectory) && reads(env):
		return redirect(env, start)
	case errors.Is(err, fs.ErrPermission):
		return refuse(env, start, "403 Forbidden")
	case errors.Is(err, errNotHere) && s.NotFound != nil:
		return s.NotFound.Serve(env, start)
	case errors.Is(err, errNotHere):
		return refuse(env, start, "404 Not Found")
	case errors.Is(err, errDirectory) || err == nil && !reads(env):
		if file != nil {
			_ = file.Close()
		}
		return refuse(env, start, "405 Method Not Allowed", gateway.Header{Name: "Allow", Value: "GET, HEAD"})
	case err != nil:
		return nil, err
	}
	body, err := s.answer(env, start, file, info)
	if gateway.FileOf(body) == nil {
		_ = file.Close()
	}
	return body, err
}

var (
	errNotHere   = errors.New("middleware: Static: no such file")
	errDirectory = errors.New("middleware: Static: a directory, asked for without a slash")
)

// find opens the file that a request asks for. A segment with "%2F" in it names no file: a
// Route that guards "/private/{path...}" sees one segment in "/private%2Fsecret.txt".
func (s *static) find(env *gateway.Environ) (*os.File, os.FileInfo, error) {
	path := env.Path()
	if raw, ok := env.RawPath(); ok && strings.Count(raw, "/") != strings.Count(path, "/") {
		return nil, nil, errNotHere
	}
	return s.open(path)
}

// open opens the file for a path, or returns errNotHere, errDirectory,
// fs.ErrPermission, or what is wrong with this machine.
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
		return nil, nil, reason(err)
	case !info.Mode().IsRegular() || slash: // "file/" is no name of a file
		_ = file.Close()
		return nil, nil, errNotHere
	}
	return file, info, nil
}

// name is the name of a file in the root, and whether a slash followed it; not ok if
// it cannot be one.
func (s *static) name(p string) (name string, slash, ok bool) {
	if p == "" {
		return ".", false, true // the place where this is mounted
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

// reason: what is not the client's fault stays what it is.
func reason(err error) error {
	for _, trouble := range []error{fs.ErrPermission, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO} {
		if errors.Is(err, trouble) {
			return err
		}
	}
	return errNotHere
}

// redirect sends the client to the path with a slash. The reference is relative, so
// that it cannot lead to another host.
func redirect(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	to := url.URL{Path: "./" + path.Base(env.ScriptName()+env.Path()) + "/", RawQuery: env.Query()}
	return refuse(env, start, "301 Moved Permanently", gateway.Header{Name: "Location", Value: to.String()})
}

// answer declares the response for a file that is there. The file is the Body's if
// that is a FileBody, and is not used otherwise.
func (s *static) answer(env *gateway.Environ, start gateway.StartResponse, file *os.File, info os.FileInfo) (gateway.Body, error) {
	size := info.Size()
	headers := make([]gateway.Header, 1, 6)
	headers[0] = gateway.Header{Name: "Accept-Ranges", Value: "bytes"}
	etag := ""
	modified, ok := gateway.ModTime(info)
	if ok {
		etag = `"` + strconv.FormatInt(modified.UnixNano(), 36) + "-" + strconv.FormatInt(size, 36) + `"`
		headers = append(headers, gateway.Header{Name: "ETag", Value: etag}, gateway.Header{Name: "Last-Modified", Value: modified.UTC().Format(http.TimeFormat)})
	} else {
		modified = time.Time{} // no precondition is decided by it
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
		switch first, length, ok := oneRange(ranges, size); {
		case ok && length == 0:
			return refuse(env, start, "416 Range Not Satisfiable", gateway.Header{Name: "Content-Range", Value: fmt.Sprintf("bytes */%d", size)})
		case ok:
			status, off, n = "206 Partial Content", first, length
			headers = append(headers, gateway.Header{Name: "Content-Range", Value: fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, size)})
		}
	}
	contentType, err := typeOf(file, info.Name())
	if err != nil {
		return nil, err
	}
	if _, err := start(status, append(headers, gateway.Header{Name: "Content-Type", Value: contentType}), nil); err != nil {
		return nil, err
	}
	return gateway.FileRange(file, off, n), nil
}

// typeOf is the media type of a file.
func typeOf(file *os.File, name string) (string, error) {
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

// ifRange says whether the range is wanted: only of the representation that the
// client has a part of. A date is good if it is that of the file, and old enough to
// tell this file from the one before. RFC 9110 section 13.1.5.
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

// oneRange reads a Range of one range of size bytes. It is not ok if it is another
// unit, malformed, or more than one range: then there is no range. length is 0 if there
// is no such byte. RFC 9110 section 14.1.2.
func oneRange(value string, size int64) (first, length int64, ok bool) {
	unit, set, _ := strings.Cut(value, "=")
	from, to, dash := strings.Cut(strings.Trim(set, " \t"), "-")
	if !strings.EqualFold(unit, "bytes") || !dash {
		return 0, 0, false
	}
	last, ok := position(to)
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
	first, ok = position(from)
	if !ok || to != "" && last < first {
		return 0, 0, false
	}
	return first, max(0, min(last, size-1)-first+1), true
}

// position reads 1*DIGIT. What does not fit is larger than any file.
func position(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	if errors.Is(err, strconv.ErrRange) {
		return 1<<63 - 2, true
	}
	return int64(n), err == nil
}
