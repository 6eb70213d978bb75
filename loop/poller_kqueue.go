//go:build darwin || freebsd

package loop

import (
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"
)

func readinessFrom(ev netpoll.IOEvent, flags netpoll.IOFlags) (r readiness) {
	switch ev {
	case unix.EVFILT_READ:
		r = readable
	case unix.EVFILT_WRITE:
		r = writable
	}
	if flags&(unix.EV_EOF|unix.EV_ERROR) != 0 {
		r |= readToEnd | peerEnded
	}
	return r
}

// rearmListener: EV_ADD of a filter that exists makes kqueue examine it again, like EPOLL_CTL_MOD.
func (s *source) rearmListener(a *attachment) error { return s.np.AddRead(&a.pa, true) }
