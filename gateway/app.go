package gateway

import "io"

// App is an application: one per server, called for every request, from several
// goroutines at once where the server has several loops or runs each request on a
// goroutine of its own (wsgi.multithread).
type App interface {
	// Serve answers one request. It calls start before it returns, or in the
	// first call of its Body's Next, exactly once unless something goes wrong
	// afterwards (see StartResponse). A nil Body is an empty one.
	//
	// With an error the server answers 500, or cuts the connection if a part of
	// the response was sent already; the Body, if there is one, is closed. See
	// ErrAbort for one that it says nothing of.
	Serve(env *Environ, start StartResponse) (Body, error)
}

// Streamer is an App that wants to read the content of a request while the client
// sends it, where the server can give it a goroutine to wait on. Else a server that can
// choose collects the content first, and no slow client keeps a goroutine.
type Streamer interface {
	App
	StreamsContent() bool
}

// AppFunc is a function that is an App.
type AppFunc func(env *Environ, start StartResponse) (Body, error)

// Serve calls f.
func (f AppFunc) Serve(env *Environ, start StartResponse) (Body, error) { return f(env, start) }

// Middleware wraps an App into another.
type Middleware func(App) App

// Header is one field of a response, sent as it is. Name is a token; Value has
// no control characters but HTAB (RFC 9110 sections 5.1 and 5.5).
type Header struct{ Name, Value string }

// StartResponse declares the status ("200 OK") and the headers of a response.
// Nothing is sent by it. Both are checked and copied during the call.
//
// What is wrong with them comes back as the error, which also sticks: the server
// answers 500 even if the application goes on. Hop-by-hop fields other than
// "Connection: close" are wrong, since the connection is the server's.
//
// exc is nil in the first call. A later call must say by exc why the response
// begun is to be replaced; this works while nothing was sent, and returns exc
// otherwise.
//
// The writer is PEP 3333's write(), for code that cannot return a Body: each
// Write is sent before the bytes of the Body. It copies, and on an event loop what a
// slow client does not take waits in memory, elsewhere Write waits: to send much,
// return a Body, which is pulled as fast as the client reads. start and the writer end with the response.
type StartResponse func(status string, headers []Header, exc error) (io.Writer, error)

// Body is a response's content. The server pulls it, chunk by chunk, and does
// not ask for a chunk before the last one is on its way.
//
// A Body that also has a method Len() int64 is sent with that Content-Length;
// otherwise the length is that which the application declared, or unknown.
type Body interface {
	// Next returns the next chunk, valid until the next call of Next or Close.
	// Empty chunks are skipped. io.EOF, with or without a last chunk, ends the
	// content; [ErrWait] says that there is nothing yet; another error aborts
	// the response so that the client sees that it is not whole.
	Next() ([]byte, error)

	// Close is called exactly once, whatever happened.
	Close() error
}

// Sized is a Body whose length is known before it is read. It is that of the response
// as it was declared last: where start is called in Next, Len may change there.
type Sized interface {
	Body
	Len() int64 // bytes, never negative
}
