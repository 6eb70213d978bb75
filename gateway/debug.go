package gateway

import (
	"io"
	"slices"
)

// lease is an Environ of its own for one request, which Debug and Validate lend to
// an application in place of the server's: it knows when it is over.
type guard struct {
	of         *Environ
	request    string   // method and target, for messages
	poison     bool     // overwrite memory when it is over
	memory     [][]byte // that views point into, if spoil
	expired    bool
	wakerTaken bool             // was asked for
	report     func(*Violation) // told before a panic; nil for nobody
	validator  *validator       // of Validate
}

// lend makes a leased Environ for the request of e. What is Set in one shows in the
// other. With spoil all its views are of memory of its own. It reads the content in
// place of e.
func (e *Environ) guarded(spoil bool) *Environ {
	e.check()
	method, target := e.RequestLine()
	g := &guard{of: e, request: method + " " + target, poison: spoil}
	if e.overlay == nil {
		e.overlay = make(map[string]any)
	}
	req := *e.req
	lent := &Environ{requestView: requestView{req: &req, head: g.copy(e.head), conn: e.conn, overlay: e.overlay}, info: e.info, guard: g}
	lent.input = Input{b: g.copy(e.input.b), remaining: e.input.remaining, lease: g}
	if e.input.remaining != 0 {
		e.input.b = nil
		lent.input.src = &e.input
	}
	return lent
}

// copy is b, or the lease's own copy if it is to be spoiled.
func (g *guard) copy(b []byte) []byte {
	if g.poison {
		b = slices.Clone(b)
		g.track(b)
	}
	return slices.Clip(b)
}

// own notes memory that views of the lease point into.
func (g *guard) track(b []byte) {
	if g.poison && len(b) > 0 {
		g.memory = append(g.memory, b)
	}
}

// poison is what memory is overwritten with.
const poisonText = "<kept beyond its response>"

func poison(b []byte) {
	for n := 0; n < len(b); {
		n += copy(b[n:], poisonText)
	}
}

// release ends the lease of e.
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
	e.overlay = map[string]any{} // where each look-up comes to check
	e.bodyTaken = true           // the same for Bytes and Text
	e.input.releaseBlock()
	e.input = Input{src: g, remaining: unknownLength}
}

// check panics if e was lent and the lease is over.
func (e *Environ) check() {
	if e.guard != nil && e.guard.expired {
		e.guard.panicExpired()
	}
}

// used panics: somebody has kept the Environ or its Input.
func (g *guard) panicExpired() {
	v := ruleExpired.violation(g.request, "it is used after Close of the Body")
	if g.report != nil {
		g.report(v)
	}
	panic(v)
}

// Read is that of the Input when the lease is over.
func (g *guard) Read([]byte) (int, error) { g.panicExpired(); return 0, nil }

// Debug shows what an application keeps beyond its response. The application gets an
// Environ of its own over a copy of the request. When Close of the Body has returned,
// or Serve where there is no Body, the copy is overwritten: a string or slice that was
// kept then reads "<kept beyond its response>", where otherwise it would show another
// request, now and then. Every use of the Environ or its Input panics with a *Violation
// that names the request, and start and its writer return one. The mend is to keep
// copies: strings.Clone, bytes.Clone, Environ.Clone.
//
// It is a middleware, and no build tag, so that one application can be looked at, in
// one test, and nothing else pays for it. Put it outermost: for a middleware around it
// the Environ is the server's own. It copies head and content, hides files from
// sendfile, and is for tests and for hunting such a bug.
func Debug(app App) App {
	return AppFunc(func(env *Environ, start StartResponse) (body Body, err error) {
		lent := env.guarded(true)
		defer func() {
			if body == nil {
				lent.expire() // after a panic, too
			}
		}()
		body, err = app.Serve(lent, lent.guard.start(start))
		return withTraits(body, &guardedBody{body, lent}), err
	})
}

// start is the server's as long as the lease lasts.
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

// like is wrapped, a Body around body, with the length of body if that is Sized, and
// Ready if that is.
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
