package loop

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/panjf2000/gnet/v2/pkg/socket"
	"golang.org/x/sys/unix"
)

// accept takes what waits at ln, a batch at most. The connections that exist
// come first: the rest of a longer queue gets a fresh event.
func (l *Loop) accept(ln *listener) {
	ln.retry = false
	for range l.opt.AcceptBatch {
		fd, remote, err := accept(ln.fd)
		switch err {
		case nil:
			l.welcome(ln, fd, remote)
		case errAgain:
			return
		case unix.EINTR, unix.ECONNABORTED: // gone before we came
		case unix.EMFILE, unix.ENFILE:
			ln.complain(l, "no descriptor left for new connections; raise the limit of open files (ulimit -n, LimitNOFILE)", err)
			if !l.refuse(ln) {
				ln.retry = true // at the next tick
				return
			}
		default: // ENOBUFS, ENOMEM, EPERM of a firewall, ENETDOWN ...: others may go on
			ln.complain(l, "accept failed", err)
			ln.retry = true
			return
		}
	}
	if err := l.poller.rearmListener(&ln.att); err != nil {
		ln.retry = true
	}
}

// drainBacklog accepts all that has been connected until now: what the queue can
// hold at most, since others may go on connecting.
func (l *Loop) drainBacklog(ln *listener) {
	for range backlog() {
		fd, remote, err := accept(ln.fd)
		switch err {
		case nil:
			l.welcome(ln, fd, remote)
		case unix.EINTR, unix.ECONNABORTED:
		default:
			return
		}
	}
}

// welcome prepares an accepted descriptor and gives it to a loop.
func (l *Loop) welcome(ln *listener, fd int, remote netip.AddrPort) {
	if ln.tcp && !ln.noDelay {
		_ = socket.SetNoDelay(fd, 1)
	}
	if ln.tcp && !ln.probes {
		_ = setKeepAlive(fd)
	}
	to := l.reactor.place(l, ln)
	to.load.Add(1)
	if to == l {
		l.start(fd, remote)
	} else {
		to.handOver(accepted{fd, remote})
	}
}

// accepted is a connection that has no loop yet.
type accepted struct {
	fd     int
	remote netip.AddrPort
}

// incoming are the connections that other loops hand to this one. They are kept
// here and not in tasks, since a loop that stops leaves its tasks undone.
type incoming struct {
	mu sync.Mutex
	in []accepted
}

func (q *incoming) put(a accepted) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.in = append(q.in, a)
}

func (q *incoming) take() (a accepted, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.in) == 0 {
		q.in = nil
		return a, false
	}
	a, q.in = q.in[0], q.in[1:]
	return a, true
}

// handOver gives a to l, from another loop.
func (l *Loop) handOver(a accepted) {
	l.wakeMu.RLock() // cleanUp comes before, and then l is closed, or after put
	if !l.closed {
		l.incoming.put(a)
		_ = l.poller.wake(l.startIncoming)
		l.wakeMu.RUnlock()
		return
	}
	l.wakeMu.RUnlock()
	l.load.Add(-1)
	_ = unix.Close(a.fd)
}

func (l *Loop) startIncoming() (leave bool) {
	for a, ok := l.incoming.take(); ok; a, ok = l.incoming.take() {
		l.start(a.fd, a.remote)
	}
	return false
}

// refuse answers one peer that no descriptor is left for, with the descriptor
// kept in reserve. It reports false if the reserve is gone too.
func (l *Loop) refuse(ln *listener) bool {
	if l.reserve < 0 {
		if l.reserve = openReserve(); l.reserve < 0 {
			return false
		}
	}
	closeReserve(l.reserve)
	fd, _, err := accept(ln.fd)
	if err == nil {
		if b := l.handler.Refusal(); len(b) > 0 {
			_, _ = write(fd, b)
		}
		_ = unix.Shutdown(fd, unix.SHUT_WR)
		_, _ = read(fd, l.input()) // or the close would reset over the answer
		_ = unix.Close(fd)
	}
	l.reserve = openReserve()
	return err == nil
}

// openReserve takes a descriptor that does nothing; -1 if there is none.
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

// complaintEvery is the least time between two log lines of a listener: trouble
// with accept comes with every connection.
const complaintEvery = time.Second

func (ln *listener) complain(l *Loop, what string, err error) {
	ln.complaints++
	if now := time.Now(); now.Sub(ln.complained) >= complaintEvery {
		l.opt.Log.Warn(what, slog.String("listener", ln.addr.String()), slog.Any("error", err), slog.Int("times", ln.complaints))
		ln.complained, ln.complaints = now, 0
	}
}

// addrPort converts an address of the kernel; zero for Unix sockets.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
