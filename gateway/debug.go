package gateway

import (
	"io"
	"slices"
)

// guard belongs to an Environ that Debug and Validate make for one request, in place of the server's,
// and give to the application: it refuses use after the response.
type guard struct {
	of         *Environ         // the one around it
	request    string           // method and target, for messages
	poison     bool             // overwrite memory when it expires
	memory     [][]byte         // what views point into, if poison
	expired    bool             // the response is finished
	wakerTaken bool             // Environ.Waker was called
	report     func(*Violation) // called before a panic, if not nil
	validator  *validator       // of Validate; nil for Debug
}

// guarded makes an Environ with a guard for the request of e. They share what is Set, and the new one
// reads the content in place of e. With poison its views are of copies, which expire overwrites.
func (e *Environ) guarded(poison bool) *Environ {
	e.check()
	method, target := e.RequestLine()
	g := &guard{of: e, request: method + " " + target, poison: poison}
	if e.overlay == nil {
		e.overlay = make(map[string]any)
	}
	req := *e.req
	inner := &Environ{info: e.info, guard: g}
	inner.requestView = requestView{req: &req, head: g.copy(e.head), conn: e.conn, overlay: e.overlay}
	inner.input = Input{b: g.copy(e.input.b), remaining: e.input.remaining, guard: g}
	if e.input.remaining != 0 {
		e.input.b = nil
		inner.input.src = &e.input
	}
	return inner
}

// copy is b, or a copy of it that expire overwrites.
func (g *guard) copy(b []byte) []byte {
	if g.poison {
		b = slices.Clone(b)
		g.track(b)
	}
	return slices.Clip(b)
}

// track notes memory for expire to overwrite.
func (g *guard) track(b []byte) {
	if g.poison && len(b) > 0 {
		g.memory = append(g.memory, b)
	}
}

// poison overwrites b with poisonText.
func poison(b []byte) {
	for n := 0; n < len(b); {
		n += copy(b[n:], poisonText)
	}
}

const poisonText = "<kept beyond its response>"

// expire ends the use of e: from now on its methods panic.
func (e *Environ) expire() {
	g := e.guard
	if g.expired {
		return
	}
	g.expired = true
	for _, b := range g.memory {
		poison(b)
	}
	e.ctx.end()
	e.overlay = map[string]any{} // not nil: each accessor calls check
	e.bodyTaken = true           // so that Bytes and Text call check
	e.input.releaseBlock()
	e.input = Input{src: g, remaining: unknownLength} // whose reads panic
}

// check panics if the response of e is finished.
func (e *Environ) check() {
	if e.guard != nil && e.guard.expired {
		e.guard.panicExpired()
	}
}

// panicExpired panics with the violation of an application that has kept an Environ or its Input.
func (g *guard) panicExpired() {
	v := ruleExpired.violation(g.request, "it is used after Close of the Body")
	if g.report != nil {
		g.report(v)
	}
	panic(v)
}

// Read is the source of the Input after expire.
func (g *guard) Read([]byte) (int, error) { g.panicExpired(); return 0, nil }

// Debug finds what an application keeps beyond its response. It gives the application an Environ of
// its own over a copy of the request, and overwrites the copy when Close of the Body has returned, or
// Serve where there is no Body: a string or slice that was kept then reads "<kept beyond its
// response>". Without Debug it would show another request, now and then. Every later use of the
// Environ or its Input panics with a *Violation that names the request; start and its writer return
// one. The fix is to keep copies: strings.Clone, bytes.Clone, Environ.Clone.
//
// Put it outermost: a middleware around it has the Environ of the server. It copies head and content
// and hides files from sendfile, so it is for tests, and for a while in a server with such a bug. It
// is a middleware and no build tag: one application, in one test, pays for it.
func Debug(app App) App {
	return AppFunc(func(env *Environ, start StartResponse) (body Body, err error) {
		inner := env.guarded(true)
		defer func() {
			if body == nil {
				inner.expire() // no Body, an error, or a panic
			}
		}()
		body, err = app.Serve(inner, inner.guard.start(start))
		return withTraits(body, &guardedBody{body, inner}), err
	})
}

// start is the server's start until the guard has expired.
func (g *guard) start(start StartResponse) StartResponse {
	return func(status string, headers []Header, exc error) (io.Writer, error) {
		if g.expired {
			return nil, ruleExpiredStart.violation(g.request, "start is called after Close of the Body")
		}
		w, err := start(status, headers, exc)
		if err != nil {
			return nil, err
		}
		return guardedWriter{w, g}, nil
	}
}

type guardedWriter struct {
	w io.Writer
	g *guard
}

func (w guardedWriter) Write(p []byte) (int, error) {
	if w.g.expired {
		return 0, ruleExpiredStart.violation(w.g.request, "the writer of start is used after Close of the Body")
	}
	return w.w.Write(p)
}

func (w guardedWriter) Gather() { Gather(w.w) }

func (w guardedWriter) Flush() error {
	if w.g.expired {
		return ruleExpiredStart.violation(w.g.request, "the writer of start is flushed after Close of the Body")
	}
	return Flush(w.w)
}

type guardedBody struct {
	Body
	env *Environ
}

func (b *guardedBody) Close() error {
	defer b.env.expire()
	return b.Body.Close()
}

// withTraits is wrapped, a Body around body, with the optional methods Len and Ready if body has
// them; nil if body is nil.
func withTraits(body, wrapped Body) Body {
	_, ready := body.(Ready)
	switch sized, ok := body.(Sized); {
	case body == nil:
		return nil
	case ok && ready:
		return readySizedBody{sizedBody{wrapped, sized}}
	case ok:
		return sizedBody{wrapped, sized}
	case ready:
		return readyBody{wrapped}
	}
	return wrapped
}

type sizedBody struct {
	Body
	sized Sized
}

func (b sizedBody) Len() int64 { return b.sized.Len() }

type readyBody struct{ Body }

func (readyBody) Ready() {}

type readySizedBody struct{ sizedBody }

func (readySizedBody) Ready() {}
