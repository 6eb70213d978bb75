package gateway

import (
	"errors"
	"fmt"
	"io"
)

// What is beyond PEP 3333's idea: an application that needs it asks its server, and
// works on without it where the answer is errors.ErrUnsupported.

// ErrAbort is the error, alone or wrapped, of an application that wants its response to
// end here, and nothing said of it: returned by Serve or Next, or thrown by either as a
// panic. What was sent does not look whole, unless it is, with its Content-Length; if
// nothing was, the client sees the end of the connection and no answer. An error of
// start counts for more.
var ErrAbort = errors.New("gateway: the application aborts its response")

// Flusher is a writer of [StartResponse] that can send at once. Those of a server's own
// are, and a middleware that wraps one passes Flush on: see [Flush].
type Flusher interface {
	// Flush sends what was declared and written until now, the head too if there is no
	// content yet. So the length of the content has to be declared, or is unknown: it is
	// chunked, or ends with the connection for HTTP/1.0. After it start can replace
	// nothing any more. On a goroutine of the application's own Flush does not wait for
	// the client. An error is that of a Write.
	Flush() error
}

// Flush flushes w, a writer of start or one that wraps such a writer. The error is
// errors.ErrUnsupported if w is no [Flusher].
func Flush(w io.Writer) error {
	if f, ok := w.(Flusher); ok {
		return f.Flush()
	}
	return errNoFlush
}

var errNoFlush = fmt.Errorf("gateway: this writer cannot flush: %w", errors.ErrUnsupported)
