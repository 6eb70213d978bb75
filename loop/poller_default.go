//go:build !linux && !poll_opt

package loop

// removeBeforeClose: kqueue knows the descriptor and no address of ours, and close ends its
// registration. That saves a call for each connection.
const removeBeforeClose = false

func (s *source) poll() error { return s.np.Polling(s.cb) }
