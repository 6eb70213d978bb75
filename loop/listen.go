package loop

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/panjf2000/gnet/v2/pkg/socket"
	"golang.org/x/sys/unix"
)

// listener is a listening descriptor and the loop it belongs to.
type listener struct {
	loop    *Loop // nil until it has one
	fd      int
	tcp     bool
	noDelay bool // has TCP_NODELAY, and accepted sockets inherit it
	probes  bool // has SO_KEEPALIVE, and accepted sockets inherit it
	shared  bool // others of its group listen on the same address (SO_REUSEPORT)
	addr    net.Addr
	path    *socketPath // of a Unix socket that is ours; nil otherwise
	att     attachment

	retry      bool // accept failed for want of something: try at the next tick
	complaints int
	complained time.Time
}

func (ln *listener) close() {
	if ln.path != nil {
		ln.path.remove()
	}
	_ = unix.Close(ln.fd)
}

// Listen opens listeners on an address and lets the loops accept from them.
// network is "tcp", "tcp4", "tcp6" or "unix"; a Unix address is a path, or a
// name in Linux's abstract space with "@" before it. It returns the address that
// was bound, with the port that the kernel chose for port 0.
//
// On Linux every loop gets a TCP listener of its own (SO_REUSEPORT). Elsewhere,
// and for Unix sockets, one loop accepts and hands out.
func (r *Reactor) Listen(network, address string) (net.Addr, error) {
	lns, err := r.open(network, address)
	if err != nil {
		return nil, fmt.Errorf("loop: listen on %s %s: %w", network, address, err)
	}
	if err := r.attach(lns); err != nil {
		return nil, fmt.Errorf("loop: listen on %s %s: %w", network, address, err)
	}
	return lns[0].addr, nil
}

// Adopt lets the loops accept from a listener that exists already. l must be a
// *net.TCPListener or *net.UnixListener, or have their SyscallConn method; the
// reactor works on a duplicate of its descriptor and leaves l itself alone, so
// the caller closes l, and the file of a Unix socket stays l's. A TCP socket without
// SO_KEEPALIVE gets it.
func (r *Reactor) Adopt(l net.Listener) error {
	sc, ok := l.(syscall.Conn)
	if !ok {
		return fmt.Errorf("loop: adopt %T: no descriptor to be had from it; pass a *net.TCPListener or *net.UnixListener", l)
	}
	if _, err := r.adopt(sc); err != nil {
		return fmt.Errorf("loop: adopt %v: %w", l.Addr(), err)
	}
	return nil
}

// AdoptFile is Adopt for a socket that came from another process, and returns
// the address it listens on. f stays the caller's to close. own says that the
// file of a Unix socket is the reactor's from now on, to be removed at the end, as
// after Listen. What is not a TCP or Unix stream socket that listens is an error.
func (r *Reactor) AdoptFile(f *os.File, own bool) (net.Addr, error) {
	ln, err := r.adopt(f)
	if err != nil {
		return nil, fmt.Errorf("loop: adopt %s: %w", f.Name(), err)
	}
	if own && !ln.tcp && !isAbstract(ln.addr.String()) {
		// Last: until here the file is that of the other process, also if we fail.
		_ = r.onLoop(ln.loop, func(*Loop) error {
			ln.path, _ = ownSocketPath(ln.addr.String()) // an error says that there is none
			return nil
		})
	}
	return ln.addr, nil
}

// adopt attaches a duplicate of the descriptor of sc.
func (r *Reactor) adopt(sc syscall.Conn) (*listener, error) {
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var ln *listener
	var dupErr error
	if err := raw.Control(func(p uintptr) {
		var fd int
		if fd, dupErr = socket.Dup(int(p)); dupErr == nil {
			ln, dupErr = listenerOn(fd)
		}
	}); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, dupErr
	}
	return ln, r.attach([]*listener{ln})
}

// listenerOn is the listener of a socket that listens, as the kernel knows it.
// It closes fd if it is none.
func listenerOn(fd int) (ln *listener, err error) {
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err) // ENOTSOCK
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	if kind != unix.SOCK_STREAM || listens == 0 {
		return nil, errNoListener
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, os.NewSyscallError("getsockname", err)
	}
	ln = &listener{fd: fd}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4, *unix.SockaddrInet6:
		ln.tcp, ln.addr = true, tcpAddr(sa)
		ln.noDelay = inheritsOptions && isOn(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY)
		if !isOn(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE) { // else systemd or another owner has chosen times
			_ = setKeepAlive(fd)
		}
		ln.probes = inheritsOptions && isOn(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
		ln.shared = reusePortSpreads && isOn(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT)
	case *unix.SockaddrUnix:
		ln.addr = &net.UnixAddr{Name: sa.Name, Net: "unix"}
	default:
		return nil, errNoListener
	}
	return ln, os.NewSyscallError("fcntl", unix.SetNonblock(fd, true))
}

var errNoListener = errors.New("not a TCP or Unix stream socket that listens")

// inheritsOptions: accepted sockets have the TCP_NODELAY and SO_KEEPALIVE of their listener.
const inheritsOptions = runtime.GOOS == "linux"

// keepAlive is when the kernel probes a TCP peer from which nothing comes: after idle, then
// every interval; after count probes without an answer the connection is lost. So a peer
// that vanished without FIN (a machine without power, a NAT that forgot) is noticed after
// 2 min 30 s, as by net/http. A variable for tests.
var keepAlive = struct{ idle, interval, count int }{idle: 15, interval: 15, count: 9} // seconds, seconds, probes

func setKeepAlive(fd int) error {
	return socket.SetKeepAlive(fd, true, keepAlive.idle, keepAlive.interval, keepAlive.count)
}

func isOn(fd, level, option int) bool {
	on, err := unix.GetsockoptInt(fd, level, option)
	return err == nil && on != 0
}

func (r *Reactor) open(network, address string) ([]*listener, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
		return r.openTCP(network, address)
	case "unix":
		ln, err := openUnix(address, r.opt.SocketMode)
		if err != nil {
			return nil, err
		}
		return []*listener{ln}, nil
	}
	return nil, fmt.Errorf("unknown network %q; use tcp, tcp4, tcp6 or unix", network)
}

// openTCP opens one listener, or one for each loop where the kernel spreads
// connections over several.
func (r *Reactor) openTCP(network, address string) (lns []*listener, err error) {
	n := 1
	if reusePortSpreads {
		n = len(r.loops)
	}
	defer func() {
		if err != nil {
			for _, ln := range lns {
				ln.close()
			}
			lns = nil
		}
	}()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	for i := range n {
		ln, err := openTCP(network, address, n > 1, i == 0)
		if err != nil {
			return lns, err
		}
		lns = append(lns, ln)
		// Port 0 has become a number; the others join it.
		address = net.JoinHostPort(host, strconv.Itoa(ln.addr.(*net.TCPAddr).Port))
	}
	return lns, nil
}

// openTCP opens one TCP listener. first says that nobody may hold the address
// yet: it binds without SO_REUSEPORT, which the kernel refuses if any socket is
// there, also one of another process that shares, and begins to share only
// then. Two servers started on one port must not both believe that they have it.
func openTCP(network, address string, share, first bool) (*listener, error) {
	sa, family, tcpaddr, v6only, err := socket.GetTCPSockAddr(network, address)
	if err != nil {
		return nil, err
	}
	if network == "tcp" && tcpaddr.IP.IsUnspecified() {
		v6only = false // "[::]" means every address, of IPv4 too, as in package net
	}
	fd, err := socketFD(family)
	if err == unix.EAFNOSUPPORT && family == unix.AF_INET6 && network == "tcp" && !v6only {
		return openTCP("tcp4", address, share, first) // a kernel without IPv6, and any address will do
	}
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = func() error {
		if family == unix.AF_INET6 {
			only := 0
			if v6only {
				only = 1
			}
			if err := socket.SetIPv6Only(fd, only); err != nil {
				return err
			}
		}
		if err := socket.SetReuseAddr(fd, 1); err != nil {
			return err
		}
		// Answers are written whole: to wait for more gains nothing. Accepted
		// sockets inherit it, which saves a call for each.
		if err := socket.SetNoDelay(fd, 1); err != nil {
			return err
		}
		if share && !first {
			if err := socket.SetReuseport(fd, 1); err != nil {
				return err
			}
		}
		if err := unix.Bind(fd, sa); err != nil {
			return bindError(err)
		}
		if share && first {
			if err := socket.SetReuseport(fd, 1); err != nil {
				return err
			}
		}
		return os.NewSyscallError("listen", unix.Listen(fd, backlog()))
	}()
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return listenerOn(fd)
}

// bindError is an error of bind(2), and what to do about it.
func bindError(err error) error {
	mend := ""
	switch err {
	case nil:
		return nil
	case unix.EADDRINUSE:
		mend = "; another process has it: stop that, or use another address"
	case unix.EADDRNOTAVAIL:
		mend = "; this machine has no such address"
	case unix.EACCES:
		mend = "; ports below 1024 need the capability CAP_NET_BIND_SERVICE, a Unix socket a directory that the process may write to"
	case unix.ENOENT:
		mend = "; make the directory first"
	}
	return fmt.Errorf("%w%s", os.NewSyscallError("bind", err), mend)
}

// tcpAddr is a bound address. An IPv6 wildcard that takes IPv4 too stays "[::]".
func tcpAddr(sa unix.Sockaddr) net.Addr {
	if sa6, ok := sa.(*unix.SockaddrInet6); ok {
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom16(sa6.Addr), uint16(sa6.Port)))
	}
	return net.TCPAddrFromAddrPort(addrPort(sa))
}

// socketFD opens a non-blocking stream socket that no child process inherits.
func socketFD(family int) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// backlog asks for as many waiting connections as the kernel allows: it cuts the
// number down to its own limit (net.core.somaxconn, kern.ipc.somaxconn).
func backlog() int { return 1<<16 - 1 }
