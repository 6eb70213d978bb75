package web

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/isbjorn/isbjorn/gateway"
)

// HandlerFunc is a function that is a gateway.App, with the DefaultOptions; NewApp takes others.
//
// An error that is or wraps a *StatusError is answered with its status. For any other the server answers
// 500 and logs it. The Body of a Response that is returned together with an error is closed.
type HandlerFunc func(*Request) (*Response, error)

// Serve calls f.
func (f HandlerFunc) Serve(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	return f.serve(&defaults, env, start)
}

// NewApp returns f as an App whose requests have the options o. The error is that of Options.Check, or
// says that f is nil.
func NewApp(f HandlerFunc, o Options) (gateway.App, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if f == nil {
		return nil, errNoHandler
	}
	return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		return f.serve(&o, env, start)
	}), nil
}

var (
	errNoHandler  = errors.New("web: NewApp was given no handler; give it a function")
	errNoResponse = errors.New("web: the handler returned neither a Response nor an error")
)

func (f HandlerFunc) serve(o *Options, env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	response, err := f(NewRequest(env, o))
	if err != nil {
		if response != nil {
			response.close()
		}
		var known *StatusError
		if !errors.As(err, &known) || !known.isClientFacing() {
			return nil, err
		}
		if known.Status >= 500 {
			fmt.Fprintln(env.Errors(), err)
		}
		response = Error(known.Status, known.Text)
	}
	if response == nil {
		return nil, errNoResponse
	}
	return response.Serve(env, start)
}

// StatusError is an error that is answered with its status and text.
type StatusError struct {
	Status int    // 400 to 599; for others the server answers 500
	Text   string // for the client, as text/plain; "" is the text of the status
	Err    error  // the cause, for the log, or nil; never shown to the client
}

func (e *StatusError) isClientFacing() bool { return 400 <= e.Status && e.Status <= 599 }

// Error is for logs: the status, the text and the cause.
func (e *StatusError) Error() string {
	s := fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
	if e.Text != "" {
		s += ": " + e.Text
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *StatusError) Unwrap() error { return e.Err }
