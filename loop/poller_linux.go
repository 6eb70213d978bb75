package loop

import (
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"
)

func readinessOf(ev netpoll.IOEvent, _ netpoll.IOFlags) (r readiness) {
	if ev&unix.EPOLLIN != 0 {
		r = readable
	}
	if ev&unix.EPOLLPRI != 0 {
		// Urgent data: a read ends at its mark although there is more behind it,
		// so reading goes on until there is nothing, as after a hangup.
		r |= readable | hangup
	}
	if ev&unix.EPOLLOUT != 0 {
		r |= writable
	}
	if ev&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		r |= hangup | ended
	}
	return r
}

// rearmListener asks for a fresh event of a listener, as rearm does.
func (p *poller) rearmListener(a *attachment) error { return p.np.ModRead(&a.pa, true) }
