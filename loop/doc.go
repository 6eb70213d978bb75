// Package loop is the reactor: it owns sockets and time, and knows no HTTP.
//
// A [Reactor] runs one [Loop] per core. Each loop is one goroutine that waits
// on epoll or kqueue, reads what has come, hands it to a [Handler] and writes
// what the handler sends. The way through the package, in reading order:
//
//	reactor.go  starts and stops the loops, ticks, places connections
//	listen.go   makes or adopts listeners (TCP, Unix)
//	accept.go   accepts in batches and survives a lack of descriptors
//	loop.go     one turn: an event becomes a call on a connection
//	conn.go        a connection: read, offer input, timeouts
//	send.go     what the handler sends goes out at once
//	out.go      or waits: bytes and file ranges
//	close.go    flush, FIN, drain, and the sudden ends
//	timer.go    the coarse timer wheel
//	callTracker.go     notices a loop that does not come round
//	memory.go   a connection without a socket, for tests of handlers
//	poller.go   the seam to the poller, and tasks; poller_epoll.go asks epoll,
//	            poller_netpoll.go gnet's netpoll, for kqueue
//
// # Rules that everything here keeps
//
// Events are hints. The poller is edge-triggered and a descriptor can be closed
// and used again inside one batch of events, so an event never proves anything:
// it only makes the loop try a read or a write, and the kernel's answer to that
// decides. A stale event costs one call that returns EAGAIN.
//
// Pausing is not reading. A connection is registered once, for reading and
// writing, and never touched again in the poller; what is remembered instead is
// whether an edge was seen and not yet used up ([Conn] field readable). The one
// exception is re-arming: a connection that still has input after one full read
// asks for a fresh edge, which puts it behind all the others that are ready.
//
// Callbacks never nest. While a handler's callback runs for a connection,
// nothing it calls on that connection calls back; a failed write or an Abort
// takes effect when the callback returns. Closed is the last callback, once.
//
// # Goroutines
//
// Everything of a Loop and its Conns belongs to the loop's goroutine: the
// handler's callbacks run there, all but Late and Held. From elsewhere only
// [Loop.Do] and the methods of Reactor may be called.
package loop
