package server

// phase is where a connection stands. Which follows which is in this file alone.
//
//	reading head --> reading body --> handling --> writing --> reading head
//	     |                |               |           |
//	     +----------------+--- draining <-+-----------+
//
// Short ways: a request whose head and content come together goes from reading
// head to handling, and a response that fits goes from handling straight back to
// reading head. An application that has left content unread has skipping behind its
// response: handling or writing --> skipping --> reading head. Every phase can end in
// closed.
type phase uint8

const (
	closed      phase = iota // the connection is gone
	readingHead              // waiting for a request, or for the rest of its head
	readingBody              // the head is here, the content is still coming
	handling                 // the application runs
	writing                  // the response is pulled as fast as the client reads
	skipping                 // the response is on its way; content that was left unread is thrown away
	draining                 // the last answer is on its way; input is thrown away
	phases
)

// event is what moves a connection from one phase to the next.
type event uint8

const (
	headComplete      event = iota // a head whose content is still to come
	requestComplete                // a head and all its content
	responseSuspended              // the socket is full, or others come first
	responseDone                   // sent, and the connection goes on
	contentLeft                    // the same, when the rest of the content has come
	lastDone                       // the last answer was sent, a refusal included
	connClosed                     // the connection has ended
	events
)

// table is the whole machine. A pair that is not listed is closed: the server
// drops that connection rather than guess (shard.transition).
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
		responseSuspended: writing,
		responseDone:      readingHead,
		contentLeft:       skipping,
		lastDone:          draining,
	},
	writing: {
		responseSuspended: writing,
		responseDone:      readingHead,
		contentLeft:       skipping,
		lastDone:          draining,
	},
	skipping: {
		responseDone: readingHead,
		lastDone:     draining,
	},
	// draining is followed by the end alone.
}

func (p phase) String() string {
	return [phases]string{"closed", "reading head", "reading body", "handling", "writing", "skipping content", "draining"}[p]
}
