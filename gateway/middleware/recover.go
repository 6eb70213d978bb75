package middleware

import (
	"fmt"
	"io"
	"runtime/debug"
	"strconv"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/thrown"
)

// Recover makes a panic of the application, in Serve or in Next or Close of its
// Body, a message for the server's log (wsgi.errors) with the stack. The client gets
// a 500 if nothing was sent, else an answer that is aborted, so that it does not look
// whole. The server does as much by itself; here it is done inside of middlewares
// that are to see the 500, such as AccessLog. A panic with gateway.ErrAbort becomes that
// error, and no message.
func Recover(app gateway.App) gateway.App {
	return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (body gateway.Body, err error) {
		g := &guard{reply: reply{end: func(*reply) {}}, env: env}
		returned := false
		defer func() {
			if returned {
				return
			}
			if err = g.recovered(thrown.Value(recover())); err == nil && g.instead != "" {
				body = gateway.Text(g.instead)
			}
		}()
		if body, err = g.serve(app, env, start); body != nil {
			body = g.sized()
		}
		returned = true
		return body, err
	})
}

// guard is a reply whose panics end here.
type guard struct {
	reply
	env     *gateway.Environ
	instead string // content in place of the application's
}

// sized is g with a length, if the application's Body has one.
func (g *guard) sized() gateway.Body {
	if s, ok := g.inner.(gateway.Sized); ok {
		return sizedGuard{g, s}
	}
	return g
}

type sizedGuard struct {
	*guard
	of gateway.Sized
}

func (s sizedGuard) Len() int64 {
	if s.instead != "" {
		return int64(len(s.instead))
	}
	return s.of.Len()
}

// Unwrap is that of reply, as long as its content is sent.
func (g *guard) Unwrap() gateway.Body {
	if g.instead != "" {
		return nil
	}
	return g.inner
}

func (g *guard) Next() (b []byte, err error) {
	if g.instead != "" {
		return nil, io.EOF
	}
	returned := false
	defer func() {
		if returned {
			return
		}
		if err = g.recovered(thrown.Value(recover())); err == nil && g.instead != "" {
			b, err = []byte(g.instead), io.EOF
		}
	}()
	b, err = g.reply.Next()
	returned = true
	return b, err
}

func (g *guard) Close() (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if p := thrown.Value(recover()); p != nil {
			err = g.log(p)
		}
	}()
	err = g.reply.Close()
	returned = true
	return err
}

// recovered is what is left of a panic with p: nil if a 500 could be started, or if there
// was none, and the goroutine ends.
func (g *guard) recovered(p any) error {
	if p == nil {
		return nil
	}
	if thrown.Is(p, gateway.ErrAbort) {
		return p.(error)
	}
	exc := g.log(p)
	if g.code == 0 {
		exc = nil // this is the first call
	}
	const text = "Internal Server Error\n"
	length := gateway.Header{Name: "Content-Length", Value: strconv.Itoa(len(text))}
	if _, err := g.declare("500 Internal Server Error", []gateway.Header{plainText, length}, exc); err != nil {
		return err // which is exc if a part was sent
	}
	g.instead = text
	return nil
}

// log logs a panic with its stack, and returns it as an error.
func (g *guard) log(p any) error {
	err := fmt.Errorf("%w: %v", errPanic, p)
	_, _ = fmt.Fprintf(g.env.Errors(), "%v\n%s", err, debug.Stack())
	return err
}
