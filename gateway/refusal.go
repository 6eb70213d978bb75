package gateway

import "net/netip"

// Statuses that are never sent: for logs, as nginx has them.
const (
	StatusNoResponse   = 444 // the connection was ended without an answer: ErrAbort, or the server stopped
	StatusClientClosed = 499 // the client left before there was an answer
)

// StatusSender is a Conn that knows which status the client was sent, where that is not the
// one that start declared.
type StatusSender interface {
	// SentStatus is of a refusal by the server in place of the application's answer (504
	// for RequestTimeout, 408 for content that does not come), StatusNoResponse or
	// StatusClientClosed; 0 if no other than the declared one was sent, or is to be.
	SentStatus() int
}

// SentStatus is the status that the client was sent in place of what start declared, see
// [StatusSender]; 0 if there is none. For middlewares that log, when the response is
// closed.
func (e *Environ) SentStatus() int {
	if s, ok := e.conn.(StatusSender); ok {
		return s.SentStatus()
	}
	return 0
}

// Refusal is an answer of the server to a request that it gave to no application: a
// malformed head, a limit, a timeout, a lack of room. Its texts may be kept.
type Refusal struct {
	Remote netip.AddrPort // zero on a Unix socket
	Line   string         // the request line, as far as it is known, of at most 8 KiB: as it came, and hostile
	Status int
	Bytes  int64  // of content that was sent
	Why    string // for an operator
}

// RefusalLogger is an App that logs requests, and is told of those that do not reach it.
// A server asks the outermost one: middleware.AccessLog and CombinedLog are, where they
// stand first in a Stack.
type RefusalLogger interface {
	App

	// LogRefusal is called by one goroutine at a time, which may wait: no event loop.
	LogRefusal(r Refusal)
}
