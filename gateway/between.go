package gateway

import (
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
)

// ValidateMiddleware checks m by comparing what it takes with what it gives: a chunk
// for each chunk, no chunk turned into write(), Close passed on. A Breach goes to
// report, and Next or Close returns it. It does not check what Validate does.
func ValidateMiddleware(m Middleware, report func(*Breach)) Middleware {
	key := "isbjorn.between." + strconv.FormatInt(betweens.Add(1), 10)
	return func(app App) App {
		wrapped := m(AppFunc(func(env *Environ, start StartResponse) (Body, error) {
			b, ok := env.Get(key).(*between)
			if !ok { // it called with an Environ of its own making
				return app.Serve(env, start)
			}
			body, err := app.Serve(env, writes(start, &b.wroteIn))
			if body == nil {
				return nil, err
			}
			b.open++
			return like(body, &tap{body,
				func(chunk []byte, err error) error {
					if len(chunk) > 0 || err == nil {
						b.taken++
					}
					b.waits = err == ErrWait
					return err
				},
				func(err error) error { b.open--; return err }}), err
		}))
		return AppFunc(func(env *Environ, start StartResponse) (Body, error) {
			method, target := env.RequestLine()
			b := &between{report: report, request: method + " " + target}
			env.Set(key, b)
			body, err := wrapped.Serve(env, writes(start, &b.wroteOut))
			if body == nil {
				return nil, b.closed(err)
			}
			return like(body, &tap{body, b.next, b.closed}), err
		})
	}
}

var betweens atomic.Int64

// between is both sides of a middleware in one request.
type between struct {
	report            func(*Breach)
	request           string
	taken             int  // chunks that it took since its last one
	waits             bool // the last Next that it called since said ErrWait
	open              int  // bodies that it took and has not closed
	wroteIn, wroteOut int  // bytes by write(), of the application and of its own
}

func (b *between) fail(r *rule, format string, args ...any) error {
	breach := r.broken(b.request, fmt.Sprintf(format, args...))
	b.report(breach)
	return breach
}

func (b *between) next(chunk []byte, err error) error {
	taken, waits := b.taken, b.waits
	b.taken, b.waits = 0, false
	switch {
	case taken > 1:
		return b.fail(&ruleYield, "it took %d for one", taken)
	case waits && len(chunk) == 0 && err == nil:
		return b.fail(&ruleWaits, "it returned nothing instead, and is asked again at once")
	}
	return err
}

func (b *between) closed(err error) error {
	switch {
	case b.open > 0:
		return b.fail(&rulePass, "it did not")
	case b.wroteOut > 0 && b.wroteIn == 0:
		return b.fail(&ruleWrites, "it wrote %d bytes, and the application none", b.wroteOut)
	}
	return err
}

// tap is a Body that is listened to.
type tap struct {
	Body
	next  func(chunk []byte, err error) error
	close func(err error) error
}

func (t *tap) Next() ([]byte, error) {
	chunk, err := t.Body.Next()
	return chunk, t.next(chunk, err)
}

func (t *tap) Close() error { return t.close(t.Body.Close()) }

// writes is start with a writer that counts.
func writes(start StartResponse, n *int) StartResponse {
	return func(status string, headers []Header, exc error) (io.Writer, error) {
		w, err := start(status, headers, exc)
		if err != nil {
			return nil, err
		}
		return counter{w, n}, nil
	}
}

type counter struct {
	w io.Writer
	n *int
}

func (c counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	*c.n += n
	return n, err
}

func (c counter) Flush() error { return Flush(c.w) }
func (c counter) Gather()      { Gather(c.w) }
