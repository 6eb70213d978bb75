package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A holder is a process that listens on a port.
type holder struct {
	pid  int
	name string // of its program
}

// holderOf finds the process that listens on a TCP port, by /proc; ok is false where that is not known: on other
// systems, and for processes of other users.
func holderOf(port int) (h holder, ok bool) {
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			// sl local_address rem_address st ... uid timeout inode: see proc_net_tcp in the kernel's documentation.
			fields := strings.Fields(lines.Text())
			const listening = "0A"
			if len(fields) < 10 || fields[3] != listening {
				continue
			}
			_, hex, _ := strings.Cut(fields[1], ":")
			if n, err := strconv.ParseUint(hex, 16, 16); err == nil && int(n) == port {
				sockets["socket:["+fields[9]+"]"] = true
			}
		}
		_ = f.Close()
	}
	if len(sockets) == 0 {
		return holder{}, false
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || !sockets[target] {
			continue
		}
		h.pid, _ = strconv.Atoi(strings.Split(link, "/")[2])
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", h.pid))
		h.name = strings.TrimSpace(string(comm))
		return h, true
	}
	return holder{}, false
}

// holders says who listens on the addresses, and what to do: for an error of one that is in use.
func holders(bind []string) string {
	for _, addr := range bind {
		_, port, ok := tcpAddress(addr)
		if !ok || port == 0 {
			continue
		}
		if h, ok := holderOf(port); ok {
			return fmt.Sprintf(", by %s, pid %d; end it, or give another address by -b", h.name, h.pid)
		}
	}
	return "; end the program that has it, or give another address by -b"
}

// tcpAddress is host and port of an address; ok is false for one that is not TCP.
func tcpAddress(addr string) (host string, port int, ok bool) {
	addr = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(addr, "http://"), "https://"), "/")
	if strings.HasPrefix(addr, "unix:") || strings.HasPrefix(addr, "fd:") {
		return "", 0, false
	}
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, false
	}
	port, err = net.LookupPort("tcp", text)
	return host, port, err == nil
}
