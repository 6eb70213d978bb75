//go:build !poll_opt

package loop

// removeBeforeClose: the kernel holds descriptors, not addresses, and close
// ends a registration by itself. One call less for each connection.
const removeBeforeClose = false

func (p *poller) poll() error { return p.np.Polling(p.cb) }
