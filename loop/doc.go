// Package loop is the reactor: it owns sockets and timers, and knows no HTTP.
//
// A [Reactor] runs one [Loop] per core. Each loop is one goroutine that waits
// on epoll or kqueue, reads input, passes it to a [Handler] and writes what the
// handler sends. The files in reading order:
//
//	reactor.go     starts and stops the loops, sends ticks, assigns listeners
//	listen.go      makes or adopts listeners (TCP, Unix); socketfile.go the file of a Unix socket
//	accept.go      accepts in batches, also when descriptors run out
//	loop.go        the loop's goroutine: events, tasks, ticks
//	conn.go        a connection: read, offer input, timeouts
//	send.go        writes what the handler sends at once
//	out.go         and queues the rest: bytes and file ranges
//	close.go       flush, FIN, lingering close; abort
//	detach.go      a connection becomes a net.Conn of the caller
//	dial.go        connections that were not accepted: attached, or dialed
//	watch.go       descriptors that are no streams
//	timer.go       the coarse timer wheel
//	stall.go       reports a loop that a callback blocks
//	handoff.go     moves a loop to a new goroutine
//	memory.go      a connection without a socket, for tests of handlers
//	poller.go      the interface to the poller, and tasks; poller_epoll.go for Linux,
//	               poller_netpoll.go (gnet's netpoll) for kqueue
//
// # Invariants
//
// Events are hints. The poller is edge-triggered, and a descriptor can be closed
// and reused inside one batch of events, so an event proves nothing: it only makes
// the loop try a read or a write, and the kernel's answer to that decides. A stale
// event costs one call that returns EAGAIN.
//
// To pause is not to read. A connection is registered once, for reading and writing,
// and its registration never changes. The loop remembers instead whether an edge was
// seen and not yet used up (field readable of [Conn]). The one exception is re-arming,
// which is the loop's fairness: a connection that still has input after one full read
// asks for a fresh edge. The poller queues that behind all descriptors that are ready.
//
// Callbacks never nest. While a callback of the handler runs, nothing it calls on a
// connection calls back; a failed write or an Abort takes effect when the callback
// returns. Closed is the last callback of a connection, and comes once.
//
// # Goroutines
//
// A Loop, its Conns and Watches belong to the loop's goroutine: all callbacks of the handler run
// there, except TickMissed. Other goroutines may call [Loop.Do], the methods
// of Reactor, and what says "from any goroutine".
package loop
