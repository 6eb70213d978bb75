package gateway

import (
	"fmt"
	"hash/maphash"
	"io"
	"strconv"

	"github.com/isbjorn/isbjorn/internal/field"
)

// Validate checks both sides of the interface, the application and what calls it, against the rules of
// this package. The first [Violation] fails the response: start, its writer, Serve, Next or Close
// return it from then on. Each is also a line of the server's log. See ValidateWith.
func Validate(app App) App { return ValidateWith(app, nil) }

// ValidateWith is Validate with report in place of the log. report is called for every Violation, maybe
// on several goroutines at once, also for those that no call can return: a Body that was never closed,
// or twice; an Environ that is used after the response, where the use panics with the *Violation.
//
// It is a middleware for tests, or for a while in production: it copies each chunk, and hides files
// from sendfile. The Body that it returns is Sized and Ready, and waits (ErrWait), where that of the
// application does. With
//
//	app = gateway.Validate(middleware(gateway.Validate(app)))
//
// the middleware is the application of the outer Validate and the server of the inner one, which finds
// that it does not pass Close on, or calls Next after the end. ValidateMiddleware finds what needs both
// sides.
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

// validator is the state of one request under Validate.
type validator struct {
	report      func(*Violation)
	startServer StartResponse
	env         *Environ // the application's
	info        *ServerInfo
	request     string
	failed      *Violation // the first, which sticks

	started, sent          bool
	hijacked               bool
	startCalled            bool // since validatedBody.Next has set this to false
	code                   int
	length                 int64 // Content-Length; -1 for none
	bodyLen                int64 // Len of the Body; -1 for none
	sentBytes, pulledBytes int64 // bytes of the content, and those of them that are of the Body
	isHEAD                 bool

	body   Body
	file   *FileBody // of the Body, see FileOf; nil if it has none
	closed int       // calls of Close
	ended  error     // of Serve or Next, after which Next must not be called

	chunk    []byte // the last one of the application
	sum      uint64 // hash of chunk when it was returned
	sentCopy []byte // the copy of chunk that the server got
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
	_ = env.Context() // so that the end of the request calls checkClosed
	env.ctx.atEnd = append(env.ctx.atEnd, v.checkClosed)
	defer func() {
		if v.body == nil { // no Body, or a panic; else Close does it
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

// readBodyLen reads the length of a Sized Body.
func (v *validator) readBodyLen() {
	if sized, ok := v.body.(Sized); ok {
		v.bodyLen = sized.Len()
	}
}

// checkLengths compares Content-Length with Len of the Body and what was written before it.
func (v *validator) checkLengths() error {
	switch {
	case v.bodyLen < -1 || v.bodyLen == -1 && isSized(v.body):
		return v.fail(&ruleLengths, "Len is %d", v.bodyLen)
	case v.isHEAD || v.code == 304: // the length is that of the content of a GET
	case v.started && v.length >= 0 && v.bodyLen >= 0 && v.length != v.sentBytes-v.pulledBytes+v.bodyLen:
		return v.fail(&ruleLengths, "Content-Length is %d, and Len %d", v.length, v.bodyLen)
	}
	return nil
}

// checkClosed runs at the end of the request.
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
			return nil, v.fail(&ruleLength, "it is %q, with the status %q, and was %d before (-1: not declared)",
				h.Value, status, length)
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

// countContent checks and counts n more bytes of content.
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

// checkComplete checks a response at the end of its content.
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

// checkedSource is the source of ContentStream: it checks what Read returns.
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
