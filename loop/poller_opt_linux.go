//go:build poll_opt

package loop

import "github.com/panjf2000/gnet/v2/pkg/netpoll"

func readinessFrom(ev netpoll.IOEvent, _ netpoll.IOFlags) readiness { return readinessOf(ev) }

// rearmListener asks for a fresh event of a listener, as rearm does.
func (s *source) rearmListener(a *attachment) error { return s.np.ModRead(&a.pa, true) }
