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

	"github.com/isbjorn/isbjorn/internal/field"
)

// Validate checks both sides of the interface, the application and what calls it,
// against the rules of this package. The first [Violation] fails the response: start,
// its writer, Serve, Next or Close return it from then on. It is a line of the
// server's log, too. See ValidateWith.
func Validate(app App) App { return ValidateWith(app, nil) }

// ValidateWith is Validate with every Violation given to report, in place of the log.
// report may be called from several goroutines. It is also told of what shows when
// there is no call left to return an error: a Body that was never closed, or twice;
// and an Environ that is used too late, where the use panics with the *Violation.
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
func ValidateWith(app App, report func(*Violation)) App {
	return AppFunc(func(env *Environ, start StartResponse) (Body, error) {
		if env == nil || start == nil {
			v := ruleCall.violation("?", "it got nil")
			if report != nil {
				report(v)
			}
			return nil, v
		}
		return (&validator{report: report, startServer: start, length: -1, bodyLen: -1}).serve(app, env)
	})
}

// validator is one request under Validate.
type validator struct {
	report      func(*Violation)
	startServer StartResponse
	env         *Environ // the application's
	info        *ServerInfo
	request     string
	failed      *Violation // the first; sticks

	started, sent          bool
	hijacked               bool
	startCalled            bool // since this was set to false
	code                   int
	length                 int64 // Content-Length; -1 for none
	bodyLen                int64 // Len of the Body; -1 for none
	sentBytes, pulledBytes int64 // bytes of content, and of these those of the Body
	isHEAD                 bool

	body   Body
	file   *FileBody // that the Body hands on; nil if it has none
	closed int
	ended  error // of Serve or Next: no other chunk may be asked for

	chunk    []byte // the application's last one
	sum      uint64 // of it, when it was returned
	sentCopy []byte // what the server got in its place
}

var chunkSeed = maphash.MakeSeed()

// fail reports a violation and returns the error of the response: the first violation, which sticks.
func (v *validator) fail(r *rule, format string, args ...any) *Violation {
	found := r.violation(v.request, fmt.Sprintf(format, args...))
	if v.failed == nil {
		v.failed = found
	}
	v.emit(found)
	return v.failed
}

// emit gives a violation to report, or without one to the server's log.
func (v *validator) emit(found *Violation) {
	switch {
	case v.report != nil:
		v.report(found)
	case v.info.Log != nil:
		v.info.Log.Error(found.Error())
	}
}

func (v *validator) serve(app App, env *Environ) (Body, error) {
	method, target := env.RequestLine()
	v.request, v.info, v.isHEAD = method+" "+target, env.info, method == "HEAD"
	v.checkEnviron(env)
	if v.failed != nil {
		return nil, v.failed
	}
	if env.input.src != nil {
		env.input.src = checkedSource{env.input.src, v}
	}
	v.env = env.guarded(false)
	v.env.guard.report, v.env.guard.validator = v.emit, v
	_ = env.Context() // the end of which is the end of the request
	env.ctx.atEnd = append(env.ctx.atEnd, v.checkClosed)
	defer func() {
		if v.body == nil {
			v.env.expire()
		}
	}()
	body, err := app.Serve(v.env, v.start)
	v.body, v.file = body, FileOf(body)
	if err == nil {
		v.readBodyLen()
	}
	switch {
	case v.failed != nil:
		err = v.failed
	case err != nil:
	case body == nil:
		err = v.checkComplete()
	default:
		err = v.checkLengths()
	}
	v.ended = err
	return withTraits(body, (*validatedBody)(v)), err
}

func isSized(b Body) bool { _, ok := b.(Sized); return ok }

// sizes asks the Body for its length.
func (v *validator) readBodyLen() {
	if sized, ok := v.body.(Sized); ok {
		v.bodyLen = sized.Len()
	}
}

// agree checks the lengths that are known before the content.
func (v *validator) checkLengths() error {
	switch {
	case v.bodyLen < -1 || v.bodyLen == -1 && isSized(v.body):
		return v.fail(&ruleLengths, "Len is %d", v.bodyLen)
	case v.started && v.length >= 0 && v.bodyLen >= 0 && v.length != v.sentBytes-v.pulledBytes+v.bodyLen && !v.isHEAD && v.code != 304:
		return v.fail(&ruleLengths, "Content-Length is %d, and Len %d", v.length, v.bodyLen)
	}
	return nil
}

// end is called when the server takes the Environ back.
func (v *validator) checkClosed() {
	if v.body != nil && v.closed == 0 {
		v.fail(&ruleClose, "it was not closed when the request ended")
	}
}

// start is the application's StartResponse.
func (v *validator) start(status string, headers []Header, exc error) (io.Writer, error) {
	if v.env.guard.expired {
		return nil, v.fail(&ruleExpiredStart, "start is called after the end")
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
		kind, err := field.Check(h.Name, h.Value)
		if err != nil {
			return nil, v.fail(&ruleHeader, "%v", err)
		}
		if kind != field.ContentLength {
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
	v.started, v.startCalled, v.code, v.length = true, true, code, length
	return validatedWriter{w, v}, nil
}

// count checks n bytes of content that come now.
func (v *validator) countContent(n int) error {
	switch {
	case n == 0:
		return nil
	case !v.started:
		return v.fail(&ruleStart, "content comes before it was called")
	case v.code == 204 || v.code == 304:
		return v.fail(&ruleEmpty, "%d bytes come with %d", n, v.code)
	}
	v.sent = true
	v.sentBytes += int64(n)
	if v.length >= 0 && v.sentBytes > v.length && !v.isHEAD {
		return v.fail(&ruleLengths, "%d bytes come, and Content-Length is %d", v.sentBytes, v.length)
	}
	return nil
}

// whole checks a response whose content has ended.
func (v *validator) checkComplete() error {
	switch {
	case v.hijacked:
		return nil
	case !v.started:
		return v.fail(&ruleStart, "the response ended before it was called")
	case v.isHEAD || v.code == 304:
		return nil
	case v.length >= 0 && v.sentBytes != v.length:
		return v.fail(&ruleLengths, "the content has %d bytes, and Content-Length is %d", v.sentBytes, v.length)
	}
	return nil
}

type validatedWriter struct {
	w io.Writer
	v *validator
}

func (w validatedWriter) Write(p []byte) (int, error) {
	v := w.v
	if v.env.guard.expired {
		return 0, v.fail(&ruleExpiredStart, "its writer is used after the end")
	}
	if v.failed != nil {
		return 0, v.failed
	}
	if v.hijacked {
		return 0, ErrHijacked
	}
	if err := v.countContent(len(p)); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

func (w validatedWriter) Gather() { Gather(w.w) }

func (w validatedWriter) Flush() error {
	v := w.v
	if v.env.guard.expired {
		return v.fail(&ruleExpiredStart, "its writer is flushed after the end")
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
func (v *validator) checkEnviron(env *Environ) {
	wrong := func(key, format string, args ...any) {
		r := ruleEnviron
		if _, ok := env.overlay[key]; ok {
			r.party = MiddlewareSide
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

// validateCall passes the error of a call of Inform or Trailer to each validator of the request:
// the violation of the first that finds one is the result, else err.
func (e *Environ) validateCall(err error, check func(v *validator, err error) error) error {
	for g := e.guard; g != nil; g = g.of.guard {
		if g.validator == nil {
			continue
		}
		if g.validator.failed != nil {
			return g.validator.failed
		}
		if found := check(g.validator, err); found != nil {
			return found
		}
	}
	return err
}

// checkInform checks a call of Inform whose arguments have the error err.
func (v *validator) checkInform(err error) error {
	switch {
	case err != nil:
		return v.fail(&ruleInform, "%v", err)
	case v.started:
		return v.fail(&ruleInform, "start was called before")
	}
	return nil
}

// checkTrailer checks a call of Trailer whose arguments have the error err.
func (v *validator) checkTrailer(err error) error {
	if err != nil {
		return v.fail(&ruleTrailer, "%v", err)
	}
	return nil
}
