package server

// phase is the state of a connection. All transitions are in this file; session.transition makes them.
//
//	reading head --> reading body --> handling --> responding --> reading head
//	     |                |               |            |
//	     +----------------+--- draining <-+------------+
//
// Shorter: reading head --> handling if the content comes with the head, and handling --> reading head if the
// response has ended before the loop turns to another event. If the application has left content unread: handling
// or responding --> skipping --> reading head. Every phase may be followed by closed.
type phase uint8

const (
	closed      phase = iota // the connection has ended
	readingHead              // waiting for a request, or for the rest of its head
	readingBody              // the head is complete; its content is collected
	handling                 // the application runs
	responding               // the loop has turned to other events: a worker runs, or the response waits
	skipping                 // the response has ended; content that was left unread is read and dropped
	draining                 // the last answer was given to the socket; input is read and dropped
	phases
)

// event is what changes the phase of a connection.
type event uint8

const (
	headComplete      event = iota // a head whose content is still to come
	requestComplete                // a head and all its content; or the content is streamed
	responseSuspended              // the response waits for the socket, a wake, a worker or other connections
	responseDone                   // the response has ended, and the connection is kept
	contentLeft                    // the same, but content is still to come, which skipping reads
	lastDone                       // the last answer has ended, a refusal included
	connClosed                     // the connection has ended
	events
)

// transitions is the whole state machine. A pair that is not listed is closed: the server aborts the
// connection rather than guess (session.transition).
var transitions = [phases][events]phase{
	readingHead: {
		headComplete:    readingBody,
		requestComplete: handling,
		lastDone:        draining,
	},
	readingBody: {
		requestComplete: handling,
		lastDone:        draining,
	},
	handling: {
		responseSuspended: responding,
		responseDone:      readingHead,
		contentLeft:       skipping,
		lastDone:          draining,
	},
	responding: {
		responseSuspended: responding,
		responseDone:      readingHead,
		contentLeft:       skipping,
		lastDone:          draining,
	},
	skipping: {
		responseDone: readingHead,
		lastDone:     draining,
	},
	// draining is followed by closed only.
}

func (p phase) String() string {
	return [phases]string{"closed", "reading head", "reading body", "handling", "responding", "skipping content", "draining"}[p]
}
