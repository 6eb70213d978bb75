//go:build !linux

package server

// monotonic is for systemd, which is on Linux alone.
func monotonic() string { return "" }
