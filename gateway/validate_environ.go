package gateway

import (
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// checkEnviron checks the keys of the environ, of which the server has set some and middlewares others.
func (v *validator) checkEnviron(env *Environ) {
	wrong := func(key, format string, args ...any) {
		r := ruleEnviron
		if _, ok := env.overlay[key]; ok { // it was Set
			r.party = middlewareSide
		}
		_ = v.fail(&r, key+" "+format, args...)
	}
	text := func(key string) string {
		s, ok := env.Get(key).(string)
		if !ok && env.Get(key) != nil {
			wrong(key, "is a %T and no string", env.Get(key))
		}
		return s
	}
	for _, key := range []string{"REQUEST_METHOD", "SERVER_NAME"} {
		if text(key) == "" {
			wrong(key, "is empty")
		}
	}
	for _, key := range []string{"SCRIPT_NAME", "PATH_INFO"} {
		if s := text(key); s != "" && s[0] != '/' {
			wrong(key, "is %q and does not begin with /", s)
		}
	}
	switch script, path := text("SCRIPT_NAME"), text("PATH_INFO"); {
	case script == "/":
		wrong("SCRIPT_NAME", "is \"/\", which is the first byte of PATH_INFO")
	case script == "" && path == "":
		wrong("PATH_INFO", "is empty, as SCRIPT_NAME")
	}
	if env.Get("QUERY_STRING") == nil {
		wrong("QUERY_STRING", "is not there")
	}
	if p := text("SERVER_PROTOCOL"); p != "HTTP/1.1" && p != "HTTP/1.0" && p != "HTTP/2.0" {
		wrong("SERVER_PROTOCOL", "is %q", p)
	}
	for _, key := range []string{"SERVER_PORT", "REMOTE_PORT"} {
		if s := text(key); s != "" || env.Get(key) != nil || key == "SERVER_PORT" {
			if _, err := strconv.ParseUint(s, 10, 16); err != nil {
				wrong(key, "is %q and no port", s)
			}
		}
	}
	if s := text("REMOTE_ADDR"); env.Get("REMOTE_ADDR") != nil {
		if _, err := netip.ParseAddr(s); err != nil {
			wrong("REMOTE_ADDR", "is %q and no address", s)
		}
	}
	if s := text("CONTENT_LENGTH"); s != "" {
		n, err := strconv.ParseUint(s, 10, 63)
		if err != nil {
			wrong("CONTENT_LENGTH", "is %q and no number", s)
		} else if left := env.input.unread(); left > int64(n) {
			_ = v.fail(&ruleContent, "CONTENT_LENGTH is %d, and the input has %d", n, left)
		}
	}
	for key, value := range env.All() {
		isField := strings.HasPrefix(key, "HTTP_")
		s, isText := value.(string)
		switch {
		case key == "HTTP_CONTENT_TYPE" || key == "HTTP_CONTENT_LENGTH":
			wrong(key, "is there, and has its own key without HTTP_")
		case !isField && !slices.Contains(cgiKeys, key):
		case !isText:
			wrong(key, "is a %T and no string", value)
		case key == "PATH_INFO" || key == "SCRIPT_NAME": // decoded, so that %0A is a line feed
		case strings.ContainsAny(s, "\r\n\x00"):
			wrong(key, "is %q, with a control character", s)
		}
	}
	if s, _ := env.Get("wsgi.url_scheme").(string); s != "http" && s != "https" {
		wrong("wsgi.url_scheme", "is %q", s)
	}
	if got := env.Get("wsgi.version"); got != [2]int{1, 0} {
		wrong("wsgi.version", "is %v and not [2]int{1, 0}", got)
	}
	if got := env.Get("wsgi.input_terminated"); got != true {
		wrong("wsgi.input_terminated", "is %v and not true", got)
	}
	for _, key := range []string{"wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once"} {
		if _, ok := env.Get(key).(bool); !ok {
			wrong(key, "is %v and no bool", env.Get(key))
		}
	}
	if _, ok := env.Get("wsgi.input").(io.Reader); !ok {
		wrong("wsgi.input", "is no io.Reader")
	}
	if _, ok := env.Get("wsgi.errors").(interface {
		io.Writer
		Flush() error
	}); !ok {
		wrong("wsgi.errors", "is no io.Writer with a method Flush() error")
	}
	if _, ok := env.Get("wsgi.file_wrapper").(func(*os.File) Body); !ok {
		wrong("wsgi.file_wrapper", "is no func(*os.File) Body")
	}
}
