package middleware

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
)

// StaticOptions are the options of Static. The zero value has the defaults.
type StaticOptions struct {
	// Index are the names of the files of which the first that is there is served for a directory. nil is
	// index.html; an empty list is none.
	Index []string

	// Fallback is the name of a file in the directory, such as index.html, for an application in one page
	// that routes in the browser. It answers GET and HEAD of a path that names no file, with 200 and
	// "Cache-Control: no-cache", where Accept takes text/html, and does not prefer application/json. A path
	// whose last segment has the extension of a known file type (/app.js, not /v1.2) is not found as
	// before: a page in place of a script hides the mistake. So is a path that no file can have, such as
	// one with a dot file. "" is no such file.
	Fallback string

	// List answers for a directory without an index with a page of its files, or with JSON where Accept
	// prefers application/json to text/html. Names that begin with a dot are not in it, nor what is not
	// served. It has at most 2,000 entries of the first 10,000 names, and says if there are more.
	List bool

	// DotFiles serves names that begin with a dot as well. Without it only those below /.well-known/ are
	// (RFC 8615), which certificates and other programs ask for.
	DotFiles bool

	// NoSymlinks hides symbolic links. Without it those are followed that stay inside the directory;
	// others never are.
	NoSymlinks bool

	// CacheControl is sent with every file; "" is no such field.
	CacheControl string

	// CacheControlFor is the Cache-Control of the file with a name, such as "js/app.3f2a91bc.js"; for ""
	// it is CacheControl. [HashedNames] is one. It may be called from any goroutine, once for several
	// responses. nil is none.
	CacheControlFor func(name string) string

	// Precompressed are the extensions of files with the compressed content of the file beside them, as
	// "app.css.br" for "app.css": zst, br and gz. The client's Accept-Encoding decides, and the order here
	// where it weights them equally. One that is older than its file is ignored. nil is none.
	Precompressed []string

	// OpenFiles is how many files are kept open at once, with what is known of them; those of at most
	// 16 KiB are kept as bytes, 32 MiB in all. Each is compared with its path once a second, and a path
	// without a file is looked up as often, so a change is seen within a second. One that is not asked
	// for is closed within a minute. At most a quarter of the limit of open files is used. 0 keeps none.
	OpenFiles int

	// ErrorPages are the names of files in the directory, by the status that they are sent with: 403, 404,
	// 405, 412 or 416. Without one the answer is a line of text.
	ErrorPages map[int]string

	// NotFound answers where there is no such file, in place of a page for 404. nil answers 404.
	NotFound gateway.App
}

// Static is an application that serves the files of a directory, by PATH_INFO. It opens the directory
// once, and no request reaches a file outside it (os.Root). Names with "..", "//", a backslash or an
// encoded slash (%2F) are not found. A directory without a slash at the end is redirected to the path
// with one.
//
// A response has Last-Modified, and an ETag of the size and the time of change, unless the time does not
// depend on the content (before 1980-01-02). Content-Type is by the extension of the name: by a table of
// the types of the web, then by that of the machine, else by the first bytes. One Range is answered with
// 206. Several are answered with the whole file, as RFC 9110 section 14.2 allows: a request for many
// overlapping ranges costs no more than one for the file.
//
// Where a Precompressed file is beside a file, each coding has an ETag of its own, a Range is one of the
// coded content, and every answer has "Vary: Accept-Encoding". If-Range with a date does not match: two
// codings may have the same. A client that accepts nothing that is there gets the file as it is.
//
// The Body is a gateway.FileBody, which a server may send by sendfile, or the bytes of a small file that
// is kept. A file that is replaced while it is sent, by a rename, is sent to its end as it was. Files are
// opened on the goroutine of the application, by default the event loop of the server: the directory
// should be on a local disk.
func Static(dir string, o StaticOptions) (gateway.App, error) {
	s := &static{StaticOptions: o}
	if err := s.check(); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("middleware: the directory of Static: %w", err)
	}
	s.root = root
	return s, nil
}

// check checks the options, and makes what depends on them.
func (s *static) check() error {
	if s.Index = slices.Clone(s.Index); s.Index == nil {
		s.Index = []string{"index.html"}
	}
	for _, name := range s.Index {
		if !isFileName(name) || strings.Contains(name, "/") {
			return fmt.Errorf("middleware: StaticOptions.Index has %q; use the name of a file, such as index.html", name)
		}
	}
	if s.Fallback != "" && !isFileName(s.Fallback) {
		return fmt.Errorf("middleware: StaticOptions.Fallback is %q; use the name of a file in the directory, "+
			"such as index.html", s.Fallback)
	}
	s.fallbackKey = string(fallbackMark) + s.Fallback
	s.pages = map[int]string{}
	for code, name := range s.ErrorPages {
		switch code {
		case 403, 404, 405, 412, 416:
		default:
			return fmt.Errorf("middleware: StaticOptions.ErrorPages has %d; Static answers 403, 404, 405, 412 and 416", code)
		}
		if !isFileName(name) {
			return fmt.Errorf("middleware: StaticOptions.ErrorPages has %q for %d; use the name of a file in the "+
				"directory, such as 404.html", name, code)
		}
		s.pages[code] = string(errorPageMark) + name
	}
	if err := gateway.CheckHeader(&gateway.Header{Name: "Cache-Control", Value: s.CacheControl}); err != nil {
		return fmt.Errorf("middleware: StaticOptions.CacheControl: %w", err)
	}
	for _, ext := range s.Precompressed {
		coding, ok := sidecarCodings[ext]
		if !ok || slices.Contains(s.sidecars, sidecar{"." + ext, coding}) {
			return fmt.Errorf("middleware: StaticOptions.Precompressed has %q; use zst, br and gz, each once", ext)
		}
		s.sidecars = append(s.sidecars, sidecar{"." + ext, coding})
	}
	if s.OpenFiles < 0 {
		return fmt.Errorf("middleware: StaticOptions.OpenFiles is %d; use a number of files, or 0 for none", s.OpenFiles)
	}
	if s.OpenFiles > 0 {
		s.cache = newFileCache(s.OpenFiles)
	}
	return nil
}

// isFileName reports whether name can be that of a file in the directory.
func isFileName(name string) bool {
	return fs.ValidPath(name) && name != "." && !strings.ContainsAny(name, "\\\x00")
}

type static struct {
	StaticOptions
	root        *os.Root
	fallbackKey string         // of the entry of Fallback
	pages       map[int]string // keys of the entries of ErrorPages
	sidecars    []sidecar      // of Precompressed
	cache       *fileCache     // nil without OpenFiles
}

func (s *static) Serve(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	p := env.Path()
	if !isOnePath(env, p) {
		return s.missing(env, start, false)
	}
	e, err := s.find(p)
	switch {
	case err != nil:
		return nil, err
	case e.kind == isFile && isGetOrHead(env):
		return s.serveFile(env, start, e)
	case e.kind == isMissing || e.kind == isNoName:
		return s.missing(env, start, e.kind == isMissing)
	case e.kind == isForbidden:
		return s.refuse(env, start, "403 Forbidden")
	case !isGetOrHead(env): // POST of a file or a directory
		e.closeOpened()
		return s.refuse(env, start, "405 Method Not Allowed", gateway.Header{Name: "Allow", Value: "GET, HEAD"})
	case e.kind == isDirectory:
		return redirect(env, start)
	}
	return s.list(env, start, e.name)
}

// isOnePath reports whether p, the path of the request, has the same segments as the path that was sent. One
// with "%2F" is no name: a Route that protects "/private/{path...}" does not match "/private%2Fsecret.txt",
// which is one segment.
func isOnePath(env *gateway.Environ, p string) bool {
	if p != "" && p[0] != '/' {
		return false
	}
	raw, ok := env.RawPath()
	return !ok || len(raw) == len(p) || strings.Count(raw, "/") == strings.Count(p, "/")
}

// missing answers where there is no file. named is set if a file could have the name.
func (s *static) missing(env *gateway.Environ, start gateway.StartResponse, named bool) (gateway.Body, error) {
	if named && s.Fallback != "" && isGetOrHead(env) && wantsPage(env) {
		e, err := s.find(s.fallbackKey)
		switch {
		case err != nil:
			return nil, err
		case e.kind == isFile:
			return s.serveFile(env, start, e)
		}
	}
	if s.NotFound != nil {
		return s.NotFound.Serve(env, start)
	}
	return s.refuse(env, start, "404 Not Found")
}

// wantsPage reports whether a request is one for a page of an application in the browser, see Fallback.
func wantsPage(env *gateway.Environ) bool {
	if _, known := webTypes[extension(env.Path())]; known {
		return false
	}
	return prefers(env.Header("Accept"), "text/html", "application/json")
}

// refuse is refuse with the page of ErrorPages, if there is one.
func (s *static) refuse(env *gateway.Environ, start gateway.StartResponse, status string, headers ...gateway.Header) (
	gateway.Body, error) {
	key, ok := s.pages[statusCode(status)]
	if !ok {
		return refuse(env, start, status, headers...)
	}
	e, err := s.find(key)
	if err != nil || e.kind != isFile {
		return refuse(env, start, status, headers...)
	}
	c, err := s.content(e, 0)
	if err != nil {
		return refuse(env, start, status, headers...)
	}
	if _, err := start(status, append(headers, c.headers...), nil); err != nil {
		c.release()
		return nil, err
	}
	return c.body(env, 0, c.size), nil
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
	if !s.DotFiles && hasDotFile(name) {
		return "", false, false
	}
	return name, slash, true
}

// hasDotFile reports whether a segment of name begins with a dot, other than the first if that is
// .well-known (RFC 8615).
func hasDotFile(name string) bool {
	if rest, ok := strings.CutPrefix(name, ".well-known"); ok && (rest == "" || rest[0] == '/') {
		name = "-" + rest
	}
	return name[0] == '.' || strings.Contains(name, "/.")
}

// redirect redirects to the path with a slash. The reference is relative: one such as "//host/" would
// lead to another host.
func redirect(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	to := url.URL{Path: "./" + path.Base(env.ScriptName()+env.Path()) + "/", RawQuery: env.Query()}
	return refuse(env, start, "301 Moved Permanently", gateway.Header{Name: "Location", Value: to.String()})
}
