//go:build poll_opt

package loop

import "github.com/panjf2000/gnet/v2/pkg/netpoll"

func readinessFrom(ev netpoll.IOEvent, _ netpoll.IOFlags) readiness { return readinessOf(ev) }

func (s *source) rearmListener(a *attachment) error { return s.np.ModRead(&a.pa, true) }
