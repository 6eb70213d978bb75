// Package wire has the bytes that go between the server and its Python workers: it encodes requests and control
// messages, and decodes and checks what workers send. It does no I/O, keeps no clock and starts no goroutine.
// docs/design/wsgi.md is the specification.
//
// A worker is not trusted: each bound and each state is checked here, and an error of this package means that the
// worker has to be ended. What is from a client is only ever the content of a string whose length this package wrote.
package wire

// Bounds of the protocol, which wsgi/internal/worker/worker.py has too.
const (
	Version = 1 // of the protocol; a worker says its own in HELLO

	MessageBytesMax = 192 << 10 // of a request message: what a socket's send buffer takes as one
	InlineBytesMax  = 64 << 10  // of content within a request message; more goes by descriptor
	FrameBytesMax   = 1 << 20   // of the payload of a frame that is not BODY
	HeadBytesMax    = 1<<16 - 1 // of a response's status and fields
	FieldsMax       = 1024      // of a response
	InterimMax      = 16        // 1xx responses of a request
	WantBytesMax    = 256 << 10 // of input that a worker may ask for at once
)
