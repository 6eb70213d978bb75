package loop

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/panjf2000/gnet/v2/pkg/socket"
	"golang.org/x/sys/unix"
)

// accept accepts from the queue of ln, AcceptBatch connections at most. What is left of a
// longer queue gets a fresh event, which comes after those of the ready connections.
func (l *Loop) accept(ln *listener) {
	ln.retryAtTick = false
	for range l.opt.acceptBatch {
		fd, remote, err := accept(ln.fd)
		switch err {
		case nil:
			l.placeAccepted(ln, fd, remote)
		case errAgain:
			return
		case unix.EINTR, unix.ECONNABORTED: // the peer has reset it in the queue
		case unix.EMFILE, unix.ENFILE:
			ln.warn(l, "no descriptor left for new connections; raise the limit of open files (ulimit -n, LimitNOFILE)", err)
			if !l.refuseOne(ln) {
				ln.retryAtTick = true // edge-triggered: there may be no event until another client connects
				return
			}
		default: // ENOBUFS, ENOMEM, EPERM of a firewall, ENETDOWN ...: it may work again later
			ln.warn(l, "accept failed", err)
			ln.retryAtTick = true
			return
		}
	}
	if err := l.poller.rearmListener(&ln.att); err != nil {
		ln.retryAtTick = true
	}
}

// acceptAll accepts all connections that wait in the queue of ln, but no more than the
// queue has room for: new ones may come all the time.
func (l *Loop) acceptAll(ln *listener) {
	for range backlog() {
		fd, remote, err := accept(ln.fd)
		switch err {
		case nil:
			l.placeAccepted(ln, fd, remote)
		case unix.EINTR, unix.ECONNABORTED:
		default:
			return
		}
	}
}

// placeAccepted sets the options of an accepted socket and gives it to a loop.
func (l *Loop) placeAccepted(ln *listener, fd int, remote netip.AddrPort) {
	if ln.tcp && !ln.noDelay {
		_ = socket.SetNoDelay(fd, 1)
	}
	if ln.tcp && !ln.keepAlive {
		_ = setKeepAlive(fd)
	}
	to := l.reactor.leastLoaded(l, ln)
	to.connCount.Add(1)
	if to == l {
		l.startConn(fd, remote)
	} else {
		to.enqueueAccepted(accepted{fd, remote})
	}
}

// accepted is an accepted socket on its way to a loop.
type accepted struct {
	fd     int
	remote netip.AddrPort
}

// incoming are the sockets that other loops have accepted for this one. They are kept here
// and not in tasks: a loop that stops drops its tasks, and would leave the sockets open.
type incoming struct {
	mu sync.Mutex
	in []accepted
}

func (q *incoming) push(a accepted) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.in = append(q.in, a)
}

func (q *incoming) pop() (a accepted, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.in) == 0 {
		q.in = nil
		return a, false
	}
	a, q.in = q.in[0], q.in[1:]
	return a, true
}

// enqueueAccepted gives a to l. On the goroutine of another loop.
func (l *Loop) enqueueAccepted(a accepted) {
	// cleanUp locks wakeMu: it runs before this, and closed is true, or after put, and then
	// it closes a.
	l.wakeMu.RLock()
	if !l.closed {
		l.incoming.push(a)
		_ = l.poller.wake(l.startAccepted)
		l.wakeMu.RUnlock()
		return
	}
	l.wakeMu.RUnlock()
	l.connCount.Add(-1)
	_ = unix.Close(a.fd)
}

// startAccepted is the task behind enqueueAccepted.
func (l *Loop) startAccepted() (stop bool) {
	for a, ok := l.incoming.pop(); ok; a, ok = l.incoming.pop() {
		l.startConn(a.fd, a.remote)
	}
	return false
}

// refuseOne accepts one peer with the spare descriptor, sends it the handler's Refusal and
// closes. Otherwise the peers would wait in the queue until their own timeouts. It reports
// false if there is no spare descriptor, or accept failed.
func (l *Loop) refuseOne(ln *listener) bool {
	if l.reserveFD < 0 {
		if l.reserveFD = openReserve(); l.reserveFD < 0 {
			return false
		}
	}
	closeReserve(l.reserveFD)
	fd, _, err := accept(ln.fd)
	if err == nil {
		if b := l.handler.Refusal(); len(b) > 0 {
			_, _ = write(fd, b)
		}
		_ = unix.Shutdown(fd, unix.SHUT_WR)
		_, _ = read(fd, l.readSpace()) // a close with unread input is a reset, which destroys the answer
		_ = unix.Close(fd)
	}
	l.reserveFD = openReserve()
	return err == nil
}

// openReserve opens a spare descriptor; -1 if there is none.
func openReserve() int {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}

func closeReserve(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

// warnInterval is the least time between two log lines of a listener: accept fails for
// every connection then.
const warnInterval = time.Second

// warn logs what and err, with the number of times since the last line.
func (ln *listener) warn(l *Loop, what string, err error) {
	ln.warnings++
	if now := time.Now(); now.Sub(ln.lastWarning) >= warnInterval {
		l.opt.Log.Warn(what, slog.String("listener", ln.addr.String()), slog.Any("error", err), slog.Int("times", ln.warnings))
		ln.lastWarning, ln.warnings = now, 0
	}
}

// addrPort converts an address of the kernel; the zero AddrPort for Unix sockets.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
