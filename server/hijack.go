package server

import (
	"errors"
	"fmt"
	"net"

	"github.com/isbjorn/isbjorn/gateway"
)

// hijack is the way of a connection from the loop to the application of a job. The
// worker asks and waits; the loop gives it up when all before it is sent, and the worker
// goes on when the loop has closed its own descriptor and counted the connection out.
type hijack struct {
	requested bool // by the worker, and not yet answered
	conn      net.Conn
	rest      []byte
	err       error
}

var (
	errInline     = fmt.Errorf("server: the application runs on the event loop, and this needs a goroutine of its own, as the option Dispatch: Pool gives it: %w", errors.ErrUnsupported)
	errHijackLate = errors.New("server: Hijack after a part of the response was sent; call it before Write and Flush")
)

// Hijack implements gateway.Conn. An event loop has nothing that it could wait in.
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
	j.wakeLoop()
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

// giveUp gives the connection to the worker, if all is sent that was to be: else it is
// held until then, like a response whose chunk is lent. It reports whether the exchange
// has nothing else to do now. On the loop, with mu.
func (j *job) detachConn() (done bool) {
	x := j.x
	x.sh.flush(x.sock)
	if x.sock.Unsent() > 0 {
		x.out.awaitSent = true
		return true
	}
	j.out.hijack.conn, j.out.hijack.rest, j.out.hijack.err = x.sock.Detach()
	j.out.hijack.requested = false
	if j.out.hijack.err != nil {
		j.cond.Broadcast()
		return !x.sock.Alive()
	}
	x.sh.srv.workers.HijackBegan() // before the connection is counted out
	return true                    // Closed comes next
}

// takenOver tells the worker that the connection is its own. On the loop.
func (j *job) connDetached() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.abandonCause = gateway.ErrHijacked
	j.cond.Broadcast()
}
