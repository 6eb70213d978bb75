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
	loop      *Loop // nil until assignListeners
	fd        int
	tcp       bool
	noDelay   bool // has TCP_NODELAY, and accepted sockets inherit it
	keepAlive bool // has SO_KEEPALIVE, and accepted sockets inherit it
	reusePort bool // others of its group listen on the same address (SO_REUSEPORT)
	addr      net.Addr
	path      *socketPath // of a Unix socket that is ours; nil otherwise
	att       attachment

	retryAtTick bool // accept failed for want of something: try at the next tick
	warnings    int
	lastWarning time.Time
}

func (ln *listener) close() {
	if ln.path != nil {
		ln.path.remove()
	}
	_ = unix.Close(ln.fd)
}

// Listen opens listeners on an address, and the loops accept from them. network is "tcp",
// "tcp4", "tcp6" or "unix"; a Unix address is a path, or a name in Linux's abstract
// namespace with "@" before it. It returns the address that was bound, with the port that
// the kernel chose for port 0. Errors name the address and what to do about it. From any
// goroutine except a loop's.
//
// On Linux every loop has its own TCP listener (SO_REUSEPORT). Elsewhere, and for Unix
// sockets, one loop accepts for all.
func (r *Reactor) Listen(network, address string) (net.Addr, error) {
	lns, err := r.open(network, address)
	if err != nil {
		return nil, fmt.Errorf("loop: listen on %s %s: %w", network, address, err)
	}
	if err := r.assignListeners(lns); err != nil {
		return nil, fmt.Errorf("loop: listen on %s %s: %w", network, address, err)
	}
	return lns[0].addr, nil
}

// ListenTCP opens a TCP listener as Listen does, for a caller that accepts from it itself: with the same rules for
// addresses, and the same errors.
func ListenTCP(address string) (*net.TCPListener, error) {
	ln, err := openTCP("tcp", address, false, true)
	if err != nil {
		return nil, fmt.Errorf("loop: listen on tcp %s: %w", address, err)
	}
	f := os.NewFile(uintptr(ln.fd), address)
	defer f.Close() // FileListener has its own
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("loop: listen on tcp %s: %w", address, err)
	}
	return l.(*net.TCPListener), nil
}

// Adopt lets the loops accept from an existing listener. l must be a *net.TCPListener or
// *net.UnixListener, or have their SyscallConn method. The reactor uses a duplicate of the
// descriptor: the caller still closes l, and the file of a Unix socket still belongs to l.
// A TCP socket without SO_KEEPALIVE gets it. From any goroutine except a loop's.
func (r *Reactor) Adopt(l net.Listener) error {
	sc, ok := l.(syscall.Conn)
	if !ok {
		return fmt.Errorf("loop: adopt %T: it has no descriptor; pass a *net.TCPListener or *net.UnixListener", l)
	}
	if _, err := r.adopt(sc); err != nil {
		return fmt.Errorf("loop: adopt %v: %w", l.Addr(), err)
	}
	return nil
}

// AdoptFile is Adopt for a socket from another process, and returns the address it listens
// on. The caller still closes f. With own the reactor removes the file of a Unix socket at
// the end, as after Listen. A descriptor that is not a listening TCP or Unix stream socket
// is an error. From any goroutine except a loop's.
func (r *Reactor) AdoptFile(f *os.File, own bool) (net.Addr, error) {
	ln, err := r.adopt(f)
	if err != nil {
		return nil, fmt.Errorf("loop: adopt %s: %w", f.Name(), err)
	}
	if own && !ln.tcp && !isAbstract(ln.addr.String()) {
		// Last, so that after any error above the file still belongs to the other process.
		_ = r.onLoop(ln.loop, func(*Loop) error {
			ln.path, _ = ownSocketPath(ln.addr.String()) // after an error there is no file to remove
			return nil
		})
	}
	return ln.addr, nil
}

// adopt assigns a listener on a duplicate of the descriptor of sc to a loop.
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
	return ln, r.assignListeners([]*listener{ln})
}

// listenerOn returns the listener of fd, with what the kernel knows of it. After an error
// fd is closed: it is not a listening stream socket.
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
		if !isOn(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE) { // on: systemd or another owner has set its times
			_ = setKeepAlive(fd)
		}
		ln.keepAlive = inheritsOptions && isOn(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
		ln.reusePort = reusePortSpreads && isOn(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT)
	case *unix.SockaddrUnix:
		ln.addr = &net.UnixAddr{Name: sa.Name, Net: "unix"}
	default:
		return nil, errNoListener
	}
	return ln, os.NewSyscallError("fcntl", unix.SetNonblock(fd, true))
}

var errNoListener = errors.New("not a TCP or Unix stream socket that listens")

// inheritsOptions: accepted sockets inherit TCP_NODELAY and SO_KEEPALIVE from their listener.
const inheritsOptions = runtime.GOOS == "linux"

// keepAlive is when the kernel probes a silent TCP peer: after idle, then every interval;
// after count probes without an answer the connection fails. So a peer that vanished
// without FIN (power failure, a NAT that dropped its entry) is noticed after 2 min 30 s, as
// by net/http. A variable for tests.
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

// openTCP opens one listener for each loop if the kernel spreads connections over them,
// otherwise one.
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
		// The first has the port that the kernel chose for 0; the others share it.
		address = net.JoinHostPort(host, strconv.Itoa(ln.addr.(*net.TCPAddr).Port))
	}
	return lns, nil
}

// openTCP opens one TCP listener; with share others of this process listen on the same
// address. The first of them binds without SO_REUSEPORT and sets it afterwards: the kernel
// refuses such a bind if any other socket has the address, also one of another process
// with SO_REUSEPORT. Otherwise two servers started on one port would both get a part of
// its connections.
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
		return openTCP("tcp4", address, share, first) // a kernel without IPv6; the address has no family
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
		// Answers are written whole, so Nagle's algorithm only delays them. Accepted
		// sockets inherit the option, which saves a call for each.
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

// bindError adds to an error of bind(2) what to do about it.
func bindError(err error) error {
	cure := ""
	switch err {
	case nil:
		return nil
	case unix.EADDRINUSE:
		cure = "; another process has it: stop that, or use another address"
	case unix.EADDRNOTAVAIL:
		cure = "; this machine has no such address"
	case unix.EACCES:
		cure = "; ports below 1024 need the capability CAP_NET_BIND_SERVICE, " +
			"a Unix socket a directory that the process may write to"
	case unix.ENOENT:
		cure = "; make the directory first"
	}
	return fmt.Errorf("%w%s", os.NewSyscallError("bind", err), cure)
}

// tcpAddr converts a bound address. The IPv6 wildcard stays "[::]" if it takes IPv4 too.
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

// backlog is the argument of listen(2): the largest number. The kernel reduces it to its
// own limit (net.core.somaxconn, kern.ipc.somaxconn).
func backlog() int { return 1<<16 - 1 }
