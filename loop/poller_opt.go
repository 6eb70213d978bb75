//go:build poll_opt

package loop

// removeBeforeClose: the kernel has the address of the attachment. If a registration lived
// longer than its descriptor (a child process between fork and exec has a copy), that
// address would point to freed memory.
const removeBeforeClose = true

func (s *source) poll() error { return s.np.Polling() }
