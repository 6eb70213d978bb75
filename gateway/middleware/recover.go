package middleware

import (
	"fmt"
	"io"
	"runtime/debug"
	"strconv"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/thrown"
)

// Recover writes a panic of the application, in Serve or in Next or Close of its Body, with its stack
// to the log of the server (wsgi.errors). The client gets a 500 if nothing was sent, else a response
// that is cut. The server does the same without Recover; with it the middlewares around it, such as
// AccessLog, see the 500. A panic with gateway.ErrAbort becomes that error, and is not logged.
func Recover(app gateway.App) gateway.App {
	return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (body gateway.Body, err error) {
		r := &recoverer{trackedResponse: trackedResponse{onEnd: func(*trackedResponse) {}}, env: env}
		returned := false
		defer func() {
			if returned {
				return
			}
			if err = r.handlePanic(thrown.Value(recover())); err == nil && r.errorText != "" {
				body = gateway.Text(r.errorText)
			}
		}()
		if body, err = r.serve(app, env, start); body != nil {
			body = r.withLen()
		}
		returned = true
		return body, err
	})
}

// recoverer is a trackedResponse that recovers from the panics of its application.
type recoverer struct {
	trackedResponse
	env       *gateway.Environ
	errorText string // content of the 500; "" if the application answers
}

// withLen is r with a length, if the application's Body has one.
func (r *recoverer) withLen() gateway.Body {
	if s, ok := r.inner.(gateway.Sized); ok {
		return sizedRecoverer{r, s}
	}
	return r
}

type sizedRecoverer struct {
	*recoverer
	of gateway.Sized
}

func (s sizedRecoverer) Len() int64 {
	if s.errorText != "" {
		return int64(len(s.errorText))
	}
	return s.of.Len()
}

// Unwrap returns nil once the content is that of the 500.
func (r *recoverer) Unwrap() gateway.Body {
	if r.errorText != "" {
		return nil
	}
	return r.inner
}

func (r *recoverer) Next() (b []byte, err error) {
	if r.errorText != "" {
		return nil, io.EOF
	}
	returned := false
	defer func() {
		if returned {
			return
		}
		if err = r.handlePanic(thrown.Value(recover())); err == nil && r.errorText != "" {
			b, err = []byte(r.errorText), io.EOF
		}
	}()
	b, err = r.trackedResponse.Next()
	returned = true
	return b, err
}

func (r *recoverer) Close() (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if p := thrown.Value(recover()); p != nil {
			err = r.logPanic(p)
		}
	}()
	err = r.trackedResponse.Close()
	returned = true
	return err
}

// handlePanic logs a panic with p and starts a 500. It returns an error if that is too late, and nil if
// there was no panic: p is nil where the application has called runtime.Goexit.
func (r *recoverer) handlePanic(p any) error {
	if p == nil {
		return nil
	}
	if thrown.Is(p, gateway.ErrAbort) {
		return p.(error)
	}
	exc := r.logPanic(p)
	if r.code == 0 {
		exc = nil // the application has not called start
	}
	const text = "Internal Server Error\n"
	length := gateway.Header{Name: "Content-Length", Value: strconv.Itoa(len(text))}
	if _, err := r.declare("500 Internal Server Error", []gateway.Header{plainText, length}, exc); err != nil {
		return err // exc, if a part was sent
	}
	r.errorText = text
	return nil
}

// logPanic logs a panic with its stack, and returns it as an error.
func (r *recoverer) logPanic(p any) error {
	err := fmt.Errorf("%w: %v", errPanic, p)
	_, _ = fmt.Fprintf(r.env.Errors(), "%v\n%s", err, debug.Stack())
	return err
}
