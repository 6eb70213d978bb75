//go:build linux

package wsgi

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/wsgi/internal/wire"
)

// encode writes the message of a request: its environ as PEP 3333 wants it, and its content.
func (x *response) encode(env *gateway.Environ) error {
	m := &x.req.Message
	m.Begin()
	m.Add(x.app.current.Load().constant)
	m.Text("REQUEST_METHOD", env.Method())
	m.Text("SCRIPT_NAME", env.ScriptName())
	m.Text("PATH_INFO", env.Path())
	m.Text("QUERY_STRING", env.Query())
	target := env.Target()
	m.Text("REQUEST_URI", target)
	m.Text("RAW_URI", target)
	m.Text("SERVER_PROTOCOL", env.Protocol())
	name, port := env.ServerName()
	m.Text("SERVER_NAME", name)
	m.Text("SERVER_PORT", port)
	var text [64]byte
	if remote := env.RemoteAddr(); remote.IsValid() {
		m.TextBytes(keyRemoteAddr, remote.Addr().AppendTo(text[:0]))
		m.TextBytes(keyRemotePort, strconv.AppendUint(text[:0], uint64(remote.Port()), 10))
	} else { // a Unix socket: applications look these up without asking
		m.Text("REMOTE_ADDR", "")
		m.Text("REMOTE_PORT", "")
	}
	scheme := env.Scheme()
	m.Text("wsgi.url_scheme", scheme)
	if scheme == "https" {
		m.Text("HTTPS", "on")
	}
	hasContent := x.encodeFields(env)
	for key, value := range env.Extra() {
		if s, ok := value.(string); ok && !strings.HasPrefix(key, "isbjorn.") {
			m.Text(key, s)
		}
	}
	return x.encodeContent(env.Input(), hasContent)
}

var keyRemoteAddr, keyRemotePort = []byte("REMOTE_ADDR"), []byte("REMOTE_PORT")

// encodeFields adds the fields of the request, repeated ones as one. It reports whether the request says that it has
// content.
func (x *response) encodeFields(env *gateway.Environ) (hasContent bool) {
	m := &x.req.Message
	x.names = x.names[:0]
	var seen uint64 // a bit for each name that came, by its length and two letters
	for name, value := range env.Headers() {
		switch len(name) {
		case len("host"):
			if strings.EqualFold(name, "host") {
				continue // below: the authority of the target counts for more
			}
		case len("content-type"):
			if strings.EqualFold(name, "content-type") {
				m.Text("CONTENT_TYPE", value)
				continue
			}
		case len("content-length"):
			if strings.EqualFold(name, "content-length") {
				hasContent = true
				continue
			}
		case len("transfer-encoding"):
			if strings.EqualFold(name, "transfer-encoding") { // it was decoded: the length is known
				hasContent = true
				continue
			}
		}
		bit := uint64(1) << ((len(name)*7 + int(name[0]&0x1f)*3 + int(name[len(name)-1]&0x1f)) & 63)
		if seen&bit != 0 && x.sawName(name) {
			m.Field(name, env.Header(name)) // all of them, joined
			continue
		}
		seen |= bit
		x.names = append(x.names, name)
		m.Field(name, value)
	}
	if host := env.Host(); host != "" {
		m.Text("HTTP_HOST", host)
	}
	clear(x.names)
	return hasContent
}

// sawName reports whether a field of that name came before.
func (x *response) sawName(name string) bool {
	for _, other := range x.names {
		if len(other) == len(name) && strings.EqualFold(other, name) {
			return true
		}
	}
	return false
}

// encodeContent adds the content, which is complete: within the message, or as a file that the worker asks for.
func (x *response) encodeContent(in *gateway.Input, hasContent bool) error {
	m := &x.req.Message
	if !hasContent && in.Len() == 0 {
		return m.End(nil, 0)
	}
	if in.Coming() && x.app.streams(x.env) {
		x.req.Streamed = true
		if n := in.Len(); n >= 0 {
			x.contentLength(int64(n))
		}
		return m.End(nil, wire.Stream)
	}
	file, off, size := in.File()
	if file == nil && in.Len() < 0 || in.Len() > wire.InlineBytesMax && (file == nil || off != 0) {
		var err error
		if file, size, err = copyContent(in, x.app.current.Load().TempDir); err != nil {
			return err
		}
		x.req.Owned = file
	}
	if file != nil && size > wire.InlineBytesMax {
		x.req.File = file
		x.contentLength(size)
		return m.End(nil, wire.ByFile)
	}
	content, err := in.ReadAll()
	if err == nil && file != nil && len(content) == 0 && size > 0 { // short after all
		content = make([]byte, size)
		_, err = file.ReadAt(content, 0)
	}
	if err != nil {
		return err
	}
	x.contentLength(int64(len(content)))
	return m.End(content, 0)
}

func (x *response) contentLength(n int64) {
	var text [20]byte
	x.req.Message.TextBytes(keyContentLength, strconv.AppendInt(text[:0], n, 10))
}

var keyContentLength = []byte("CONTENT_LENGTH")

// streams reports whether an application reads the content of a request while it comes.
func (a *App) streams(env *gateway.Environ) bool {
	path := env.Path()
	for _, prefix := range a.current.Load().StreamInput {
		if rest, ok := strings.CutPrefix(path, strings.TrimSuffix(prefix, "/")); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// copyContent makes a file of content that is in none, or partly read. It waits for what has not come, which is only
// where a goroutine may.
func copyContent(in *gateway.Input, dir string) (*os.File, int64, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		if fd, err = unix.MemfdCreate("content", unix.MFD_CLOEXEC); err != nil {
			return nil, 0, os.NewSyscallError("memfd_create", err)
		}
	}
	f := os.NewFile(uintptr(fd), "content")
	n, err := in.WriteTo(f)
	if err != nil {
		_ = f.Close()
		return nil, 0, fmt.Errorf("wsgi: the content of the request: %w", err)
	}
	return f, n, nil
}

// constantPairs are the keys that are the same in each request.
func constantPairs(o *Options) []byte {
	var m wire.Encoder
	m.Begin()
	m.IntPair("wsgi.version", 1, 0)
	m.Bool("wsgi.multithread", o.Threads > 1 || o.Gevent > 0)
	m.Bool("wsgi.multiprocess", o.Workers > 1)
	m.Bool("wsgi.run_once", false)
	m.Bool("wsgi.input_terminated", true)
	m.Text("SERVER_SOFTWARE", o.Software)
	return m.Pairs()
}
