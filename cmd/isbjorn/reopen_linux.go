package main

import "golang.org/x/sys/unix"

// replaceFD makes old a duplicate of fd.
func replaceFD(fd, old int) error { return unix.Dup3(fd, old, unix.O_CLOEXEC) }
