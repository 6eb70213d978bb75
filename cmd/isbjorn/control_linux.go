package main

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// abstractSockets: this system has sockets without a file.
const abstractSockets = true

// allowed refuses a peer that is neither of this user nor root.
func allowed(c net.Conn) error {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	switch {
	case failed != nil:
		return os.NewSyscallError("getsockopt", failed)
	case int(peer.Uid) != os.Getuid() && peer.Uid != 0 && os.Getuid() != 0:
		return fmt.Errorf("the other side is of user %d", peer.Uid)
	}
	return nil
}

// controlNames are the sockets of the instances of this user in this network namespace.
func controlNames() (names []string) {
	b, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		if i := strings.Index(line, controlPrefix(os.Getuid())); i >= 0 {
			if name := strings.TrimSpace(line[i:]); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}
