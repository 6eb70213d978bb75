//go:build linux

package wsgi

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/wsgi/internal/dispatch"
)

// response is the gateway.Body of a request that Python answers: it waits without a goroutine until a part has come.
// It is also a gateway.Wrapper, for the file that the application may return.
type response struct {
	app   *App
	req   *dispatch.Request
	env   *gateway.Environ
	start gateway.StartResponse
	names []string // of the fields that were encoded

	gone    func() bool   // bound once
	line    func() string // the same
	started bool          // start was called with the application's head
	failure *dispatch.Failure
	file    *gateway.FileBody
	fields  []gateway.Header // of the head with Connection
	block   []byte           // content for the worker
}

// Serve implements gateway.App. It hands the request to the workers and returns: nothing of it waits, but for content
// that is still to come where the server runs it on a goroutine of its own.
func (a *App) Serve(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	x := a.get()
	x.env, x.start = env, start
	x.req = a.queue.Get()
	if err := x.encode(env); err != nil {
		x.drop()
		return nil, err
	}
	l, _ := env.Get(loopKey).(*loop.Loop)
	x.req.Wake, x.req.Gone, x.req.Line = env.Waker(), x.gone, x.line
	a.queue.Submit(x.req, l)
	return x, nil
}

// loopKey is server.LoopKey: this package runs under any server of gateway.App.
const loopKey = "isbjorn.loop"

// Next returns what has come of the answer.
func (x *response) Next() ([]byte, error) {
	if x.file != nil {
		return x.file.Next()
	}
	if x.failure != nil {
		return x.fail()
	}
	part := x.req.Take()
	if part.Wants > 0 {
		x.feed(part.Wants)
	}
	for _, h := range part.Interim {
		_ = x.env.Inform(h.Code, h.Fields) // none for HTTP/1.0, or where the server has no interim responses
	}
	if part.Head != nil {
		if err := x.declare(&part); err != nil {
			return nil, err
		}
	}
	x.failure = part.Failure
	content := part.Content
	switch {
	case part.File != nil:
		x.file = gateway.FileRange(part.File, part.Off, part.N)
		if f := x.failure; f != nil { // it is shorter than the response said; the server asks for nothing behind it
			x.app.current.Load().Log.Error("the application failed", slog.String("request", x.requestLine()),
				slog.String("error", f.Message))
		}
		return content, nil // a server sends the file by itself from here on, see Unwrap
	case x.failure != nil && len(content) == 0:
		return x.fail()
	case part.Head != nil && len(content) == 0 && x.withoutContent(part.Head.Code):
		return nil, nil // the length is that of the head: not 0
	case part.End:
		return content, io.EOF
	case len(content) > 0:
		return content, nil
	}
	return nil, gateway.ErrWait
}

// feed reads content for the worker. It waits for the client, on the goroutine that such a request has.
func (x *response) feed(n int) {
	if cap(x.block) < n {
		x.block = make([]byte, n)
	}
	in := x.env.Input()
	read, err := in.Read(x.block[:n])
	end := err == io.EOF || err == nil && !in.Coming() && in.Len() == 0
	if err == io.EOF {
		err = nil
	}
	x.req.Feed(x.block[:read], end, err)
}

// StreamsContent implements gateway.Streamer.
func (a *App) StreamsContent() bool { return len(a.current.Load().StreamInput) > 0 }

// withoutContent reports whether a response has no content, whatever its length would be.
func (x *response) withoutContent(status int) bool {
	return status == 204 || status == 304 || x.env.Method() == "HEAD"
}

// declare calls start with the head of the application.
func (x *response) declare(part *dispatch.Part) error {
	fields := part.Head.Fields
	if part.Close {
		x.fields = append(append(x.fields[:0], fields...), gateway.Header{Name: "Connection", Value: "close"})
		fields = x.fields
	}
	if _, err := x.start(part.Head.Status, fields, nil); err != nil {
		return err
	}
	x.started = true
	return nil
}

// Errors of a response that was begun; the log of the server has them with the request.
var errCut = errors.New("wsgi: the response is cut")

var statuses = [...]string{
	dispatch.WorkerDied:  "502 Bad Gateway",
	dispatch.Unavailable: "503 Service Unavailable",
	dispatch.TimedOut:    "504 Gateway Timeout",
}

// fail ends a response that is not whole: with an answer of the server's, if nothing was sent, or by an error.
func (x *response) fail() ([]byte, error) {
	f := x.failure
	switch f.Kind {
	case dispatch.ClientGone:
		return nil, gateway.ErrAbort
	case dispatch.AppFailed:
		return nil, errors.New(f.Message)
	}
	var exc error
	if x.started {
		exc = fmt.Errorf("%w: %s", errCut, f.Message)
	}
	fields := []gateway.Header{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}}
	if f.Kind == dispatch.Unavailable {
		fields = append(fields, gateway.Header{Name: "Retry-After", Value: "1"})
	}
	status := statuses[f.Kind]
	if _, err := x.start(status, fields, exc); err != nil {
		return nil, err
	}
	x.app.logFailure(status[:3], x.requestLine(), f.Message)
	return []byte(status[4:] + "\n"), io.EOF
}

// Unwrap implements gateway.Wrapper: the file that the application has returned.
func (x *response) Unwrap() gateway.Body {
	if x.file == nil {
		return nil
	}
	return x.file
}

// Close implements gateway.Body.
func (x *response) Close() error {
	var err error
	if x.file != nil {
		err = x.file.Close()
	}
	x.drop()
	return err
}

// drop gives x and its request back.
func (x *response) drop() {
	x.req.Release()
	x.app.put(x)
}

// isGone reports whether the client has left.
func (x *response) isGone() bool { return x.env.Cancelled() }

func (x *response) requestLine() string {
	method, target := x.env.RequestLine()
	return strings.Clone(method) + " " + strings.Clone(target)
}

// logFailure writes why a client got an error that the application has not sent. Of the same status there is one line
// a second at most.
func (a *App) logFailure(status, line, why string) {
	if n, ok := a.limits.allow(status); ok {
		attrs := []any{slog.String("status", status), slog.String("request", line)}
		if n > 0 {
			attrs = append(attrs, slog.Int("unlogged", n))
		}
		a.current.Load().Log.Error(why, attrs...)
	}
}
