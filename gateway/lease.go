package gateway

import (
	"io"
	"slices"
)

// lease is an Environ of its own for one request, which Debug and Validate lend to
// an application in place of the server's: it knows when it is over.
type lease struct {
	of       *Environ
	request  string   // method and target, for messages
	spoil    bool     // overwrite memory when it is over
	memory   [][]byte // that views point into, if spoil
	over     bool
	waker    bool          // was asked for
	breached func(*Breach) // told before a panic; nil for nobody
	v        *validator    // of Validate
}

// lend makes a leased Environ for the request of e. What is Set in one shows in the
// other. With spoil all its views are of memory of its own. It reads the content in
// place of e.
func (e *Environ) lend(spoil bool) *Environ {
	e.check()
	method, target := e.RequestLine()
	l := &lease{of: e, request: method + " " + target, spoil: spoil}
	if e.overlay == nil {
		e.overlay = make(map[string]any)
	}
	req := *e.req
	lent := &Environ{loan: loan{req: &req, head: l.copy(e.head), conn: e.conn, overlay: e.overlay}, host: e.host, lease: l}
	lent.input = Input{b: l.copy(e.input.b), rest: e.input.rest, lease: l}
	if e.input.rest != 0 {
		e.input.b = nil
		lent.input.src = &e.input
	}
	return lent
}

// copy is b, or the lease's own copy if it is to be spoiled.
func (l *lease) copy(b []byte) []byte {
	if l.spoil {
		b = slices.Clone(b)
		l.own(b)
	}
	return slices.Clip(b)
}

// own notes memory that views of the lease point into.
func (l *lease) own(b []byte) {
	if l.spoil && len(b) > 0 {
		l.memory = append(l.memory, b)
	}
}

// poison is what memory is overwritten with.
const poison = "<kept beyond its response>"

func spoil(b []byte) {
	for n := 0; n < len(b); {
		n += copy(b[n:], poison)
	}
}

// release ends the lease of e.
func (e *Environ) release() {
	l := e.lease
	if l.over {
		return
	}
	l.over = true
	for _, b := range l.memory {
		spoil(b)
	}
	e.ending.end()
	e.overlay = map[string]any{} // where each look-up comes to check
	e.lent = true                // the same for Bytes and Text
	e.input.giveBlock()
	e.input = Input{src: l, rest: unknown}
}

// check panics if e was lent and the lease is over.
func (e *Environ) check() {
	if e.lease != nil && e.lease.over {
		e.lease.used()
	}
}

// used panics: somebody has kept the Environ or its Input.
func (l *lease) used() {
	b := ruleKept.broken(l.request, "it is used after Close of the Body")
	if l.breached != nil {
		l.breached(b)
	}
	panic(b)
}

// Read is that of the Input when the lease is over.
func (l *lease) Read([]byte) (int, error) { l.used(); return 0, nil }

// Debug shows what an application keeps beyond its response. The application gets an
// Environ of its own over a copy of the request. When Close of the Body has returned,
// or Serve where there is no Body, the copy is overwritten: a string or slice that was
// kept then reads "<kept beyond its response>", where otherwise it would show another
// request, now and then. Every use of the Environ or its Input panics with a *Breach
// that names the request, and start and its writer return one. The mend is to keep
// copies: strings.Clone, bytes.Clone, Environ.Clone.
//
// It is a middleware, and no build tag, so that one application can be looked at, in
// one test, and nothing else pays for it. Put it outermost: for a middleware around it
// the Environ is the server's own. It copies head and content, hides files from
// sendfile, and is for tests and for hunting such a bug.
func Debug(app App) App {
	return AppFunc(func(env *Environ, start StartResponse) (body Body, err error) {
		lent := env.lend(true)
		defer func() {
			if body == nil {
				lent.release() // after a panic, too
			}
		}()
		body, err = app.Serve(lent, lent.lease.start(start))
		return like(body, &leasedBody{body, lent}), err
	})
}

// start is the server's as long as the lease lasts.
func (l *lease) start(start StartResponse) StartResponse {
	return func(status string, headers []Header, exc error) (io.Writer, error) {
		if l.over {
			return nil, ruleKeptStart.broken(l.request, "start is called after Close of the Body")
		}
		w, err := start(status, headers, exc)
		if err != nil {
			return nil, err
		}
		return leasedWriter{w, l}, nil
	}
}

type leasedWriter struct {
	w io.Writer
	l *lease
}

func (w leasedWriter) Write(p []byte) (int, error) {
	if w.l.over {
		return 0, ruleKeptStart.broken(w.l.request, "the writer of start is used after Close of the Body")
	}
	return w.w.Write(p)
}

func (w leasedWriter) Gather() { Gather(w.w) }

func (w leasedWriter) Flush() error {
	if w.l.over {
		return ruleKeptStart.broken(w.l.request, "the writer of start is flushed after Close of the Body")
	}
	return Flush(w.w)
}

type leasedBody struct {
	Body
	env *Environ
}

func (b *leasedBody) Close() error {
	defer b.env.release()
	return b.Body.Close()
}

// like is wrapped, a Body around body, with the length of body if that is Sized, and
// Ready if that is.
func like(body, wrapped Body) Body {
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
