package gateway

import "io"

// App is an application: one per server, called for every request. Serve may run on several
// goroutines at once, for different requests: the server has several loops, or runs each request
// on a worker (wsgi.multithread).
type App interface {
	// Serve answers one request. It calls start before it returns, or in the first call of its
	// Body's Next, exactly once unless something fails afterwards (see StartResponse). A nil Body
	// is an empty one.
	//
	// With an error the server answers 500, or cuts the connection if a part of the response was
	// sent already; the Body, if there is one, is closed. The server logs the error, unless it is
	// ErrAbort.
	Serve(env *Environ, start StartResponse) (Body, error)
}

// Streamer is an App that reads the content of a request while the client sends it, where the
// server has a goroutine that may wait for it. Without it a server that can choose, as package
// server with Auto, collects the content before the call, so that a slow client occupies no
// goroutine.
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

// Header is one field of a response, sent as it is. Name is a token; Value has no control
// characters but HTAB (RFC 9110 sections 5.1 and 5.5).
type Header struct{ Name, Value string }

// StartResponse declares the status ("200 OK") and the headers of a response. It sends nothing.
// Both are checked and copied during the call.
//
// A mistake in them is the error that it returns. The error also sticks: the server answers 500
// even if the application goes on. Hop-by-hop fields other than "Connection: close" are mistakes,
// since the server manages the connection.
//
// exc is nil in the first call. A later call passes as exc the error because of which the response
// is replaced; this works until a part of it was sent, and returns exc after that.
//
// The writer is PEP 3333's write(), for code that cannot return a Body: what is written is sent
// before the chunks of the Body. Write copies. On an event loop it never waits, so what a slow
// client does not take stays in memory; on a worker it waits. To send much return a Body, which is
// pulled as fast as the client reads. start and the writer end with the response.
type StartResponse func(status string, headers []Header, exc error) (io.Writer, error)

// Body is the content of a response. The server pulls it chunk by chunk, and sends each
// chunk before it asks for the next one.
//
// A Body with a method Len() int64, see [Sized], is sent with that Content-Length. Otherwise the
// length is the one that the application declared, or unknown: then the content is chunked.
type Body interface {
	// Next returns the next chunk, which stays as it is until the next call of Next or Close.
	// Empty chunks are skipped. io.EOF, with or without a last chunk, ends the content; [ErrWait]
	// says that there is nothing yet; another error aborts the response, so that the client sees
	// that it is not complete.
	Next() ([]byte, error)

	// Close is called exactly once, however the response ended.
	Close() error
}

// Sized is a Body whose length is known before it is read. The length is that of the response as
// declared last: where start is called in Next, Len may change there.
type Sized interface {
	Body
	Len() int64 // bytes, never negative
}
