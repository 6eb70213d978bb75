package gateway

import (
	"fmt"
	"hash/maphash"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Validate checks both sides of the interface, the application and what calls it,
// against the rules of this package. The first [Breach] fails the response: start,
// its writer, Serve, Next or Close return it from then on. It is a line of the
// server's log, too. See ValidateWith.
func Validate(app App) App { return ValidateWith(app, nil) }

// ValidateWith is Validate with every Breach given to report, in place of the log.
// report may be called from several goroutines. It is also told of what shows when
// there is no call left to return an error: a Body that was never closed, or twice;
// and an Environ that is used too late, where the use panics with the *Breach.
//
// It is a middleware for tests, or for a while in production: it copies each chunk,
// and hides files from sendfile. What it returns waits (ErrWait), is Sized and Ready
// as what it got. Around a middleware and inside of it,
//
//	app = gateway.Validate(middleware(gateway.Validate(app)))
//
// the middleware is the application of the outer one and the server of the inner:
// one that does not pass Close on, or pulls on after the end, is found by the inner
// one. For what both sides have to be compared see ValidateMiddleware.
func ValidateWith(app App, report func(*Breach)) App {
	return AppFunc(func(env *Environ, start StartResponse) (Body, error) {
		if env == nil || start == nil {
			b := ruleCall.broken("?", "it got nil")
			if report != nil {
				report(b)
			}
			return nil, b
		}
		return (&validator{report: report, startServer: start, length: -1, size: -1}).serve(app, env)
	})
}

// validator is one request under Validate.
type validator struct {
	report      func(*Breach)
	startServer StartResponse
	env         *Environ // the application's
	host        *Host
	request     string
	failed      *Breach // the first; sticks

	started, sent bool
	hijacked      bool
	declared      bool // since this was set to false
	code          int
	length        int64 // Content-Length; -1 for none
	size          int64 // Len of the Body; -1 for none
	got, pulled   int64 // bytes of content, and of these those of the Body
	headOnly      bool

	body   Body
	file   *FileBody // that the Body hands on; nil if it has none
	closed int
	over   error // of Serve or Next: no other chunk may be asked for

	chunk []byte // the application's last one
	sum   uint64 // of it, when it was returned
	lent  []byte // what the server got in its place
}

var chunkSeed = maphash.MakeSeed()

// fail notes a breach. The first one sticks.
func (v *validator) fail(r *rule, format string, args ...any) *Breach {
	b := r.broken(v.request, fmt.Sprintf(format, args...))
	if v.failed == nil {
		v.failed = b
	}
	v.say(b)
	return v.failed
}

func (v *validator) say(b *Breach) {
	switch {
	case v.report != nil:
		v.report(b)
	case v.host.Log != nil:
		v.host.Log.Error(b.Error())
	}
}

func (v *validator) serve(app App, env *Environ) (Body, error) {
	method, target := env.RequestLine()
	v.request, v.host, v.headOnly = method+" "+target, env.host, method == "HEAD"
	v.environ(env)
	if v.failed != nil {
		return nil, v.failed
	}
	if env.input.src != nil {
		env.input.src = checkedSource{env.input.src, v}
	}
	v.env = env.lend(false)
	v.env.lease.breached, v.env.lease.v = v.say, v
	_ = env.Context() // the end of which is the end of the request
	env.ending.after = append(env.ending.after, v.end)
	defer func() {
		if v.body == nil {
			v.env.release()
		}
	}()
	body, err := app.Serve(v.env, v.start)
	v.body, v.file = body, FileOf(body)
	if err == nil {
		v.sizes()
	}
	switch {
	case v.failed != nil:
		err = v.failed
	case err != nil:
	case body == nil:
		err = v.whole()
	default:
		err = v.agree()
	}
	v.over = err
	return like(body, (*validBody)(v)), err
}

func isSized(b Body) bool { _, ok := b.(Sized); return ok }

// sizes asks the Body for its length.
func (v *validator) sizes() {
	if sized, ok := v.body.(Sized); ok {
		v.size = sized.Len()
	}
}

// agree checks the lengths that are known before the content.
func (v *validator) agree() error {
	switch {
	case v.size < -1 || v.size == -1 && isSized(v.body):
		return v.fail(&ruleAgrees, "Len is %d", v.size)
	case v.started && v.length >= 0 && v.size >= 0 && v.length != v.got-v.pulled+v.size && !v.headOnly && v.code != 304:
		return v.fail(&ruleAgrees, "Content-Length is %d, and Len %d", v.length, v.size)
	}
	return nil
}

// end is called when the server takes the Environ back.
func (v *validator) end() {
	if v.body != nil && v.closed == 0 {
		v.fail(&ruleClose, "it was not closed when the request ended")
	}
}

// start is the application's StartResponse.
func (v *validator) start(status string, headers []Header, exc error) (io.Writer, error) {
	if v.env.lease.over {
		return nil, v.fail(&ruleKeptStart, "start is called after the end")
	}
	if v.failed != nil {
		return nil, v.failed
	}
	if v.hijacked {
		return nil, ErrHijacked
	}
	if v.started && exc == nil {
		return nil, v.fail(&ruleTwice, "it was called again without exc")
	}
	code, err := CheckStatus(status)
	if err == nil && code < 200 {
		err = fmt.Errorf("status %q is interim", status)
	}
	if err != nil {
		return nil, v.fail(&ruleStatus, "%v", err)
	}
	length := int64(-1)
	for i := range headers {
		h := &headers[i]
		kind, err := CheckHeader(h)
		if err != nil {
			return nil, v.fail(&ruleHeader, "%v", err)
		}
		if kind != ContentLength {
			continue
		}
		n, err := strconv.ParseUint(h.Value, 10, 63)
		if err != nil || length >= 0 || code == 204 {
			return nil, v.fail(&ruleLength, "it is %q, with the status %q, and was %d before (-1: not declared)", h.Value, status, length)
		}
		length = int64(n)
	}
	w, err := v.startServer(status, headers, exc)
	switch {
	case err == nil && w == nil:
		return nil, v.fail(&ruleWriter, "it returned neither")
	case err == nil && v.sent && exc != nil:
		return nil, v.fail(&ruleWriter, "it took exc (%v) after content", exc)
	case err != nil:
		return nil, err
	}
	v.started, v.declared, v.code, v.length = true, true, code, length
	return validWriter{w, v}, nil
}

// count checks n bytes of content that come now.
func (v *validator) count(n int) error {
	switch {
	case n == 0:
		return nil
	case !v.started:
		return v.fail(&ruleStart, "content comes before it was called")
	case v.code == 204 || v.code == 304:
		return v.fail(&ruleEmpty, "%d bytes come with %d", n, v.code)
	}
	v.sent = true
	v.got += int64(n)
	if v.length >= 0 && v.got > v.length && !v.headOnly {
		return v.fail(&ruleAgrees, "%d bytes come, and Content-Length is %d", v.got, v.length)
	}
	return nil
}

// whole checks a response whose content has ended.
func (v *validator) whole() error {
	switch {
	case v.hijacked:
		return nil
	case !v.started:
		return v.fail(&ruleStart, "the response ended before it was called")
	case v.headOnly || v.code == 304:
		return nil
	case v.length >= 0 && v.got != v.length:
		return v.fail(&ruleAgrees, "the content has %d bytes, and Content-Length is %d", v.got, v.length)
	}
	return nil
}

type validWriter struct {
	w io.Writer
	v *validator
}

func (w validWriter) Write(p []byte) (int, error) {
	v := w.v
	if v.env.lease.over {
		return 0, v.fail(&ruleKeptStart, "its writer is used after the end")
	}
	if v.failed != nil {
		return 0, v.failed
	}
	if v.hijacked {
		return 0, ErrHijacked
	}
	if err := v.count(len(p)); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

func (w validWriter) Gather() { Gather(w.w) }

func (w validWriter) Flush() error {
	v := w.v
	if v.env.lease.over {
		return v.fail(&ruleKeptStart, "its writer is flushed after the end")
	}
	if v.failed != nil {
		return v.failed
	}
	err := Flush(w.w)
	v.sent = v.sent || err == nil
	return err
}

// checkedSource is a server's source of content.
type checkedSource struct {
	src io.Reader
	v   *validator
}

func (s checkedSource) Read(p []byte) (int, error) {
	n, err := s.src.Read(p)
	if n < 0 || n > len(p) || n == 0 && err == nil && len(p) > 0 {
		return 0, s.v.fail(&ruleSource, "it gave %d bytes for %d that were asked for, and the error %v", n, len(p), err)
	}
	return n, err
}

// environ checks what the server, or a middleware, says of the request.
func (v *validator) environ(env *Environ) {
	wrong := func(key, format string, args ...any) {
		r := ruleEnviron
		if _, ok := env.overlay[key]; ok {
			r.culprit = Between
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
	if p := text("SERVER_PROTOCOL"); p != "HTTP/1.1" && p != "HTTP/1.0" {
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
		} else if left := env.input.left(); left > int64(n) {
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
		case strings.ContainsAny(s, "\r\n\x00") && key != "PATH_INFO" && key != "SCRIPT_NAME": // which are decoded
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
	if _, ok := env.Get("wsgi.errors").(ErrorStream); !ok {
		wrong("wsgi.errors", "is no ErrorStream")
	}
	if _, ok := env.Get("wsgi.file_wrapper").(func(*os.File) Body); !ok {
		wrong("wsgi.file_wrapper", "is no func(*os.File) Body")
	}
}
