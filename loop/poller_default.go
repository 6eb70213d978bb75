//go:build !linux && !poll_opt

package loop

// removeBeforeClose: the kernel holds descriptors, not addresses, and close
// ends a registration by itself. One call less for each connection.
const removeBeforeClose = false

func (s *source) poll() error { return s.np.Polling(s.cb) }
