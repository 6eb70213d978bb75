// Package worker has the program that a Python worker runs: it is part of the server's binary, so both are always
// of one version. wsgi/internal/wire has the bytes that go between them, docs/design/wsgi.md what they mean.
package worker

import _ "embed"

// Source is the program, for CPython 3.8 to 3.14.
//
//go:embed worker.py
var Source string

// Boot is the argument of python's -c: it reads Source from [SourceFD]. Nothing of a worker is a file, so the directory
// of the program is not in sys.path, and children that run Python anew do not run the worker.
const Boot = "import os;f=os.fdopen(3,encoding='utf-8');s=f.read();f.close();m=type(os)('isbjorn_worker');" +
	"exec(compile(s,'<isbjorn worker>','exec'),m.__dict__);m.main(s)"

// Descriptors that a worker inherits.
const (
	SourceFD  = 3 + iota // of Source, to be read to its end
	ControlFD            // a stream socket
	QueueFD              // the generation's end of a SOCK_SEQPACKET pair: requests
	BoardFD              // the worker's scoreboard: LineBytes for each slot
	SlotsFD              // for each slot a stream socket, and a SOCK_SEQPACKET socket for descriptors
)

// LineBytes is the size of a slot's line of the scoreboard, in words of 8 bytes.
const LineBytes = 64

// Words of a line. The server writes Cancel and Drain, the worker the others.
const (
	WordState   = iota
	WordRunning // id of the request that has begun and is not done; 0 between
	WordStart   // when it began: CLOCK_MONOTONIC, ns
	WordCount   // requests begun
	WordSeen    // id of the last message that was taken and is known
	WordCancel  // id of the request whose client has left
	WordDrain   // not 0: the slot leaves with the next message, and hands it back
	WordThread  // the thread's id in the system; 0 where Python does not say
)

// States of a slot.
const (
	StateNone    = iota // the application is being loaded
	StateIdle           // waits for a message, or has one that it does not know yet
	StateRunning        // in the application
	StateInput          // waits for content of the request
	StateOutput         // waits until the server takes content
	StateClosing        // in close() of what the application returned
	StateGone           // takes no more messages
)
