//go:build poll_opt

package loop

// removeBeforeClose: the kernel holds the address of the attachment. A
// registration that outlived its descriptor (a child process between fork and
// exec still holds a copy) would point at freed memory.
const removeBeforeClose = true

func (s *source) poll() error { return s.np.Polling() }
