package server

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// monotonic is the line that systemd wants beside RELOADING=1: see sd_notify(3).
func monotonic() string {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return ""
	}
	return "\nMONOTONIC_USEC=" + strconv.FormatInt(t.Nano()/1000, 10)
}
