package loop

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Watch is a descriptor that a loop waits on, and its owner reads and writes: for what is no stream
// of bytes, such as a SOCK_SEQPACKET socketpair, a socket that passes descriptors, an eventfd. All
// methods are for the loop's goroutine.
type Watch struct {
	loop     *Loop
	fd       int
	handler  WatchHandler
	awaiting bool // AwaitWritable was called, and Writable has not come
	att      attachment
}

// WatchHandler receives the events of a Watch, on the loop's goroutine. It must not block.
// Callbacks never nest: Rearm, AwaitWritable and Close call none.
type WatchHandler interface {
	// Readable: there may be something to read, or the other side has ended: a read says which.
	// It comes again when more has arrived, so the handler reads until EAGAIN, or calls Rearm.
	Readable(w *Watch)

	// Writable: there may be room again, as asked for by AwaitWritable.
	Writable(w *Watch)

	// Closed: the descriptor is closed, since the loop ends (ErrStopped) or the poller has refused
	// it for a lack of memory. The last callback. It does not come after Close.
	Closed(w *Watch, err error)
}

// Watch makes the loop wait on fd: Readable is called when it has something to read. The loop owns
// fd from then on, makes it non-blocking and close-on-exec, and closes it. Duplicates share the
// first. After an error fd is the caller's as before: the poller takes no files, for example. For
// the loop's goroutine.
func (l *Loop) Watch(fd int, h WatchHandler) (*Watch, error) {
	switch {
	case l.cleaningUp:
		return nil, errClosed
	case l.reactor.conns.get(fd) != nil || l.watches[fd] != nil:
		return nil, fmt.Errorf("loop: watch descriptor %d: the loop has it already", fd)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("loop: watch descriptor %d: %w", fd, os.NewSyscallError("fcntl", err))
	}
	unix.CloseOnExec(fd)
	w := &Watch{loop: l, fd: fd, handler: h}
	l.poller.attach(&w.att, fd)
	if err := l.poller.addListener(&w.att); err != nil {
		return nil, fmt.Errorf("loop: watch descriptor %d: %w", fd, err)
	}
	l.watches[fd] = w
	return w, nil
}

// FD returns the descriptor, for reads and writes that do not block. It is the loop's. -1 after Close.
func (w *Watch) FD() int { return w.fd }

// AwaitWritable asks for Writable, once: after a write that returned EAGAIN. While it is not asked for
// the poller does not look for room, so that a peer which takes a record wakes nothing.
func (w *Watch) AwaitWritable() {
	if w.fd >= 0 {
		w.awaiting = true
		w.Rearm()
	}
}

// Rearm makes Readable come again if there is something to read, after the other ready descriptors
// have had their turn: for a handler that has not read until EAGAIN.
func (w *Watch) Rearm() {
	if w.fd < 0 {
		return
	}
	rearm := w.loop.poller.rearmListener
	if w.awaiting {
		rearm = w.loop.poller.rearm
	}
	if err := rearm(&w.att); err != nil {
		w.fail(err)
	}
}

// fail ends w by a task, since this may be inside a callback.
func (w *Watch) fail(err error) { w.loop.Do(func() { w.kill(err) }) }

// Send writes b as one record, with oob as its control message (SCM_RIGHTS) if it is not empty. It
// reports false if there is no room: Writable comes when there is. An error is EPIPE or ECONNRESET
// if the other side has ended, and EMSGSIZE for a record larger than the socket's buffer, after
// which others can be sent. It keeps neither slice. For sockets with records (SOCK_SEQPACKET).
func (w *Watch) Send(b, oob []byte) (sent bool, err error) {
	if w.fd < 0 {
		return false, os.ErrClosed
	}
	if len(oob) == 0 && len(b) > 0 {
		_, err = write(w.fd, b)
	} else {
		for err = unix.EINTR; err == unix.EINTR; {
			_, err = unix.SendmsgN(w.fd, b, oob, nil, 0)
		}
	}
	if err == errAgain {
		w.AwaitWritable()
		return false, nil
	}
	return err == nil, err
}

// Close ends the watch and closes the descriptor. No callback follows.
func (w *Watch) Close() {
	if w.fd < 0 {
		return
	}
	delete(w.loop.watches, w.fd)
	w.loop.poller.removeShared(&w.att) // a duplicate, or another process, may have it too
	_ = unix.Close(w.fd)
	w.fd = -1
}

// kill closes w for another reason than Close.
func (w *Watch) kill(err error) {
	if w.fd < 0 {
		return
	}
	w.Close()
	w.loop.inCallback, w.loop.current = true, nil
	w.handler.Closed(w, err)
	w.loop.runDeferred()
}

// event makes the callbacks that r, a hint, says are possible.
func (w *Watch) event(r readiness) {
	l := w.loop
	l.inCallback, l.current = true, nil
	if r&(readable|readToEnd) != 0 {
		w.handler.Readable(w)
	}
	if r&(writable|readToEnd) != 0 && w.awaiting && w.fd >= 0 {
		w.awaiting = false
		if w.handler.Writable(w); !w.awaiting {
			w.Rearm()
		}
	}
	l.runDeferred()
}

// register registers w with a new poller.
func (w *Watch) register() {
	if err := w.loop.poller.addListener(&w.att); err != nil {
		w.fail(err)
	} else if w.awaiting {
		w.Rearm()
	}
}
