package server

import (
	"errors"
	"fmt"
	"net"

	"github.com/isbjorn/isbjorn/gateway"
)

// hijack is the state of Hijack on a worker. The worker requests the connection and waits. The loop sends
// all output and detaches the connection (detachConn); when it has closed its own descriptor and no longer
// counts the connection (connDetached), Hijack returns it.
type hijack struct {
	requested bool // by the worker, and not yet answered by the loop
	conn      net.Conn
	rest      []byte // input that was read and not used; the application's
	err       error
}

var (
	errInline     = fmt.Errorf("server: the application runs on the event loop, and this call needs a goroutine of its own; leave the option Dispatch out, or use Dispatch: Pool: %w", errors.ErrUnsupported)
	errHijackLate = errors.New("server: Hijack after a part of the response was sent; call it before Write and Flush")
)

// Hijack implements gateway.Conn on the loop, by a handoff: an application that uses a connection blocks.
func (x *exchange) Hijack() (net.Conn, []byte, error) {
	if j := x.requireJob(); j != nil {
		return j.Hijack()
	}
	return nil, nil, errInline
}

// Hijack implements gateway.Conn on a worker.
func (j *job) Hijack() (net.Conn, []byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.closedToApp():
		return nil, nil, writerError(j.abandonCause)
	case j.out.headTaken || j.out.flushed || j.out.queue.Len() > 0:
		return nil, nil, errHijackLate
	}
	j.out.hijack = hijack{requested: true}
	j.wakeLoop() // Next calls detachConn
	for j.abandonCause == nil && j.out.hijack.err == nil {
		j.cond.Wait()
	}
	switch {
	case j.abandonCause == gateway.ErrHijacked:
		return j.out.hijack.conn, j.out.hijack.rest, nil
	case j.abandonCause != nil:
		return nil, nil, writerError(j.abandonCause)
	}
	return nil, nil, j.out.hijack.err
}

// detachConn detaches the connection from the loop for the worker. If output is unsent, the exchange is
// suspended until it is sent, as with a borrowed chunk, and asks again. done is whether the exchange must
// wait. On the loop. Caller holds mu.
func (j *job) detachConn() (done bool) {
	x := j.x
	x.sh.flush(x.sock)
	if x.sock.Unsent() > 0 { // an earlier response, or an interim one, to a slow client
		x.out.awaitSent = true
		return true
	}
	j.out.hijack.conn, j.out.hijack.rest, j.out.hijack.err = x.sock.Detach()
	j.out.hijack.requested = false
	if j.out.hijack.err != nil {
		j.cond.Broadcast()
		return !x.sock.Alive()
	}
	x.sh.srv.workers.HijackBegan() // before Closed: Shutdown finds the connection in one of the two counts
	return true                    // Closed comes next
}

// connDetached has Hijack return: the loop no longer has the connection. On the loop.
func (j *job) connDetached() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.abandonCause = gateway.ErrHijacked
	j.cond.Broadcast()
}
