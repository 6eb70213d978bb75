package gateway

import (
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
)

// ValidateMiddleware checks m by comparing what it takes with what it gives: a chunk
// for each chunk, no chunk turned into write(), Close passed on. A Violation goes to
// report, and Next or Close returns it. It does not check what Validate does.
func ValidateMiddleware(m Middleware, report func(*Violation)) Middleware {
	key := "isbjorn.between." + strconv.FormatInt(middlewareChecks.Add(1), 10)
	return func(app App) App {
		wrapped := m(AppFunc(func(env *Environ, start StartResponse) (Body, error) {
			b, ok := env.Get(key).(*middlewareCheck)
			if !ok { // it called with an Environ of its own making
				return app.Serve(env, start)
			}
			body, err := app.Serve(env, countWrites(start, &b.appWrote))
			if body == nil {
				return nil, err
			}
			b.openBodies++
			return withTraits(body, &observedBody{body,
				func(chunk []byte, err error) error {
					if len(chunk) > 0 || err == nil {
						b.pulled++
					}
					b.sawWait = err == ErrWait
					return err
				},
				func(err error) error { b.openBodies--; return err }}), err
		}))
		return AppFunc(func(env *Environ, start StartResponse) (Body, error) {
			method, target := env.RequestLine()
			b := &middlewareCheck{report: report, request: method + " " + target}
			env.Set(key, b)
			body, err := wrapped.Serve(env, countWrites(start, &b.middlewareWrote))
			if body == nil {
				return nil, b.checkClose(err)
			}
			return withTraits(body, &observedBody{body, b.checkNext, b.checkClose}), err
		})
	}
}

var middlewareChecks atomic.Int64

// between is both sides of a middleware in one request.
type middlewareCheck struct {
	report                    func(*Violation)
	request                   string
	pulled                    int  // chunks that it took since its last one
	sawWait                   bool // the last Next that it called since said ErrWait
	openBodies                int  // bodies that it took and has not closed
	appWrote, middlewareWrote int  // bytes by write(), of the application and of its own
}

func (b *middlewareCheck) fail(r *rule, format string, args ...any) error {
	violation := r.violation(b.request, fmt.Sprintf(format, args...))
	b.report(violation)
	return violation
}

func (b *middlewareCheck) checkNext(chunk []byte, err error) error {
	taken, waits := b.pulled, b.sawWait
	b.pulled, b.sawWait = 0, false
	switch {
	case taken > 1:
		return b.fail(&ruleBlocks, "it took %d for one", taken)
	case waits && len(chunk) == 0 && err == nil:
		return b.fail(&rulePassWait, "it returned nothing instead, and is asked again at once")
	}
	return err
}

func (b *middlewareCheck) checkClose(err error) error {
	switch {
	case b.openBodies > 0:
		return b.fail(&rulePassClose, "it did not")
	case b.middlewareWrote > 0 && b.appWrote == 0:
		return b.fail(&ruleNoWrite, "it wrote %d bytes, and the application none", b.middlewareWrote)
	}
	return err
}

// tap is a Body that is listened to.
type observedBody struct {
	Body
	next  func(chunk []byte, err error) error
	close func(err error) error
}

func (t *observedBody) Next() ([]byte, error) {
	chunk, err := t.Body.Next()
	return chunk, t.next(chunk, err)
}

func (t *observedBody) Close() error { return t.close(t.Body.Close()) }

// writes is start with a writer that counts.
func countWrites(start StartResponse, n *int) StartResponse {
	return func(status string, headers []Header, exc error) (io.Writer, error) {
		w, err := start(status, headers, exc)
		if err != nil {
			return nil, err
		}
		return countingWriter{w, n}, nil
	}
}

type countingWriter struct {
	w io.Writer
	n *int
}

func (c countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	*c.n += n
	return n, err
}

func (c countingWriter) Flush() error { return Flush(c.w) }
func (c countingWriter) Gather()      { Gather(c.w) }
