package gateway

import (
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
)

// ValidateMiddleware checks a middleware by comparing what it takes from the application with what
// it gives to the server: a chunk for each chunk, no chunk turned into write(), Close passed on. A
// Violation goes to report, and Next or Close returns it. What Validate checks it does not check.
func ValidateMiddleware(m Middleware, report func(*Violation)) Middleware {
	key := "isbjorn.validate_middleware." + strconv.FormatInt(middlewareChecks.Add(1), 10)
	return func(app App) App {
		inner := m(AppFunc(func(env *Environ, start StartResponse) (Body, error) {
			c, ok := env.Get(key).(*middlewareCheck)
			if !ok { // the middleware calls the application with an Environ that it has made
				return app.Serve(env, start)
			}
			body, err := app.Serve(env, countWrites(start, &c.appWrote))
			if body == nil {
				return nil, err
			}
			c.openBodies++
			return withTraits(body, &observedBody{body, c.appNext, c.appClose}), err
		}))
		return AppFunc(func(env *Environ, start StartResponse) (Body, error) {
			method, target := env.RequestLine()
			c := &middlewareCheck{report: report, request: method + " " + target}
			env.Set(key, c)
			body, err := inner.Serve(env, countWrites(start, &c.middlewareWrote))
			if body == nil {
				return nil, c.checkClose(err)
			}
			return withTraits(body, &observedBody{body, c.checkNext, c.checkClose}), err
		})
	}
}

// middlewareChecks numbers the calls of ValidateMiddleware: each has a key of its own.
var middlewareChecks atomic.Int64

// middlewareCheck has both sides of a middleware in one request.
type middlewareCheck struct {
	report                    func(*Violation)
	request                   string
	pulled                    int  // chunks that the middleware took since its last own one
	sawWait                   bool // the last Next of the application since then returned ErrWait
	openBodies                int  // Bodies that the middleware took and has not closed
	appWrote, middlewareWrote int  // bytes by write()
}

func (c *middlewareCheck) fail(r *rule, format string, args ...any) error {
	violation := r.violation(c.request, fmt.Sprintf(format, args...))
	c.report(violation)
	return violation
}

// appNext notes a Next of the application, and appClose a Close.
func (c *middlewareCheck) appNext(chunk []byte, err error) error {
	if len(chunk) > 0 || err == nil {
		c.pulled++
	}
	c.sawWait = err == ErrWait
	return err
}

func (c *middlewareCheck) appClose(err error) error { c.openBodies--; return err }

// checkNext checks a Next of the middleware.
func (c *middlewareCheck) checkNext(chunk []byte, err error) error {
	pulled, sawWait := c.pulled, c.sawWait
	c.pulled, c.sawWait = 0, false
	switch {
	case pulled > 1:
		return c.fail(&ruleBlocks, "it took %d for one", pulled)
	case sawWait && len(chunk) == 0 && err == nil: // the server calls Next again at once: a busy loop
		return c.fail(&rulePassWait, "it returned an empty chunk instead, and its Next is called again at once")
	}
	return err
}

// checkClose checks the end of the response of the middleware.
func (c *middlewareCheck) checkClose(err error) error {
	switch {
	case c.openBodies > 0:
		return c.fail(&rulePassClose, "it did not")
	case c.middlewareWrote > 0 && c.appWrote == 0:
		return c.fail(&ruleNoWrite, "it wrote %d bytes, and the application none", c.middlewareWrote)
	}
	return err
}

// observedBody is a Body whose results pass through next and close.
type observedBody struct {
	Body
	next  func(chunk []byte, err error) error
	close func(err error) error
}

func (b *observedBody) Next() ([]byte, error) {
	chunk, err := b.Body.Next()
	return chunk, b.next(chunk, err)
}

func (b *observedBody) Close() error { return b.close(b.Body.Close()) }

// countWrites is start with a writer that adds the bytes written to n.
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
