//go:build !linux

package main

import "golang.org/x/sys/unix"

// replaceFD makes old a duplicate of fd.
func replaceFD(fd, old int) error {
	err := unix.Dup2(fd, old)
	unix.CloseOnExec(old)
	return err
}
