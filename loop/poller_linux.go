package loop

import "golang.org/x/sys/unix"

func readinessOf(events uint32) (r readiness) {
	if events&unix.EPOLLIN != 0 {
		r = readable
	}
	if events&unix.EPOLLPRI != 0 {
		// Urgent data: a read ends at its mark although there is more behind it,
		// so reading goes on until there is nothing, as after a hangup.
		r |= readable | hangup
	}
	if events&unix.EPOLLOUT != 0 {
		r |= writable
	}
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		r |= hangup | ended
	}
	return r
}
