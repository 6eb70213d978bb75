package loop

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/panjf2000/gnet/v2/pkg/socket"
	"golang.org/x/sys/unix"
)

// Attach makes fd, a connected stream socket, a connection of the loop with the handler h: TCP, a
// Unix socket, an end of a socketpair. It is served as those that the loop accepts, but counts in
// [Reactor.Attached] and not in Len, and Conns leaves it out. Opened is called when the present
// callback or task has returned.
//
// The loop owns fd from then on, makes it non-blocking and close-on-exec, and closes it. Duplicates
// share the first, and keep the socket open after that. After an error fd is the caller's as
// before, and h is not called. For the loop's goroutine: from others within [Loop.Do].
func (l *Loop) Attach(fd int, h ConnHandler) (*Conn, error) {
	remote, err := connectedStream(fd)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, fmt.Errorf("loop: attach descriptor %d: %w", fd, err)
	}
	unix.CloseOnExec(fd)
	c, err := l.startConnecting(fd, remote, h)
	if err != nil {
		return nil, fmt.Errorf("loop: attach descriptor %d: %w", fd, err)
	}
	c.progressOrDefer()
	return c, nil
}

// AttachDuplicate is Attach for a duplicate of the descriptor of s: an *os.File, *net.TCPConn or
// *net.UnixConn, which stays the caller's. While it is open the peer sees no end of the connection
// unless the loop has sent FIN (Close, CloseWrite).
func (l *Loop) AttachDuplicate(s syscall.Conn, h ConnHandler) (*Conn, error) {
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, dupErr := -1, error(nil)
	if err := raw.Control(func(p uintptr) { fd, dupErr = unix.FcntlInt(p, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, os.NewSyscallError("fcntl", dupErr)
	}
	c, err := l.Attach(fd, h)
	if err != nil {
		_ = unix.Close(fd)
	}
	return c, err
}

// Dial connects to an address, without waiting: h gets Opened when c is connected, or Closed alone
// with an error that wraps the kernel's and names the address. network is "tcp" with a literal
// address and port ("127.0.0.1:80", "[fe80::1%eth0]:80"; nothing is resolved), or "unix" with a path
// ("@name" is in Linux's abstract namespace). timeout bounds the time until Opened: Closed gets
// [ErrDialTimeout]; 0 leaves that to the kernel, which takes about two minutes. Close, Drop and
// Abort before Opened cancel it. What is sent before Opened is dropped, and a timeout that is set
// before it has no effect.
//
// A Unix listener whose queue is full refuses at once: Closed gets EAGAIN. So it does with EMFILE if
// no descriptor is left. Dial itself returns an error if the address can never work or the reactor
// has stopped, and calls h not at all then.
//
// The connection counts as one of Attach. For the loop's goroutine.
func (l *Loop) Dial(network, address string, timeout time.Duration, h ConnHandler) (c *Conn, err error) {
	sa, remote, err := literal(network, address)
	if err != nil {
		return nil, fmt.Errorf("loop: dial %s %q: %w", network, address, err)
	}
	if l.cleaningUp {
		return nil, errClosed
	}
	fd, err := connect(sa)
	if err == nil || err == unix.EINPROGRESS {
		var startErr error
		if c, startErr = l.startConnecting(fd, remote, h); startErr != nil {
			_ = unix.Close(fd)
			err = startErr
		}
	}
	switch {
	case c == nil:
		c = l.newAttached(-1, remote, h)
		c.kill(fmt.Errorf("loop: dial %s %s: %w", network, address, err))
	case err == nil:
		c.progressOrDefer()
	case timeout > 0:
		c.setWriteDeadline(timeout)
	default:
		c.setWriteDeadline(timeoutMax)
	}
	return c, nil
}

// connect opens a socket and begins to connect it. After EINPROGRESS the descriptor is valid.
func connect(sa unix.Sockaddr) (fd int, err error) {
	family := unix.AF_UNIX
	switch sa.(type) {
	case *unix.SockaddrInet4:
		family = unix.AF_INET
	case *unix.SockaddrInet6:
		family = unix.AF_INET6
	}
	if fd, err = socketFD(family); err != nil {
		return -1, err
	}
	if family != unix.AF_UNIX {
		_ = socket.SetNoDelay(fd, 1)
		_ = setKeepAlive(fd)
	}
	switch err = unix.Connect(fd, sa); err {
	case nil, unix.EINPROGRESS:
		return fd, err
	case unix.EINTR: // the kernel continues, as after EINPROGRESS
		return fd, unix.EINPROGRESS
	}
	_ = unix.Close(fd)
	return -1, err
}

// literal returns the address that the text names; remote is that of TCP.
func literal(network, address string) (sa unix.Sockaddr, remote netip.AddrPort, err error) {
	switch network {
	case "unix":
		if address == "" || len(address) > unixPathMax {
			return nil, remote, fmt.Errorf("the path has %d bytes; use 1 to %d", len(address), unixPathMax)
		}
		return &unix.SockaddrUnix{Name: address}, remote, nil
	case "tcp":
		remote, err = netip.ParseAddrPort(address)
		if err != nil || remote.Port() == 0 {
			return nil, remote, errors.New("use a literal address and a port, such as 127.0.0.1:80 or [::1]:80")
		}
		ip := remote.Addr().Unmap()
		remote = netip.AddrPortFrom(ip, remote.Port())
		if ip.Is4() {
			return &unix.SockaddrInet4{Port: int(remote.Port()), Addr: ip.As4()}, remote, nil
		}
		sa6 := &unix.SockaddrInet6{Port: int(remote.Port()), Addr: ip.As16()}
		if ip.Zone() != "" {
			sa6.ZoneId, err = zoneID(ip.Zone())
		}
		return sa6, remote, err
	}
	return nil, remote, errors.New("use tcp or unix")
}

// zoneID returns the number of a zone, which is a number or the name of an interface.
func zoneID(zone string) (uint32, error) {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	iface, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, err
	}
	return uint32(iface.Index), nil
}

// connectedStream returns the peer's address of fd, and an error if fd is no connected stream socket.
func connectedStream(fd int) (netip.AddrPort, error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockopt", err)
	}
	if kind != unix.SOCK_STREAM {
		return netip.AddrPort{}, errors.New("it is no stream socket; use Watch")
	}
	sa, err := unix.Getpeername(fd)
	return addrPort(sa), os.NewSyscallError("getpeername", err)
}

// newAttached makes a connection of Attach or Dial, on its list.
func (l *Loop) newAttached(fd int, remote netip.AddrPort, h ConnHandler) *Conn {
	c := &Conn{
		loop: l, handler: &h, state: connecting, attached: true,
		fd: int32(fd), remoteIP: remote.Addr(), remotePort: remote.Port(),
	}
	c.addToLoop()
	l.attachedCount.Add(1)
	return c
}

// startConnecting registers fd as a connection that finishConnect opens. After an error fd is the
// caller's.
func (l *Loop) startConnecting(fd int, remote netip.AddrPort, h ConnHandler) (*Conn, error) {
	switch {
	case l.cleaningUp:
		return nil, errClosed
	case l.reactor.conns.get(fd) != nil || l.watches[fd] != nil:
		return nil, errors.New("the loop has this descriptor already")
	}
	c := l.newAttached(fd, remote, h)
	l.poller.attach(&c.att, fd)
	err := l.poller.add(&c.att)
	if err == nil && !l.reactor.conns.set(fd, c) {
		l.poller.removeShared(&c.att)
		err = errors.New("its number is beyond the table of connections")
	}
	if err != nil {
		c.fd = -1
		c.removeFromLoop()
		return nil, err
	}
	return c, nil
}

// finishConnect opens a connection if the kernel says that it is connected. It reports false if
// it is not, or has failed. An event is no proof: the kernel is asked for the error, and for the peer.
func (c *Conn) finishConnect() bool {
	dialing := c.writeDeadline != 0 // Dial got EINPROGRESS
	if c.checkSocketError(); c.state == dead {
		if dialing {
			c.err = fmt.Errorf("loop: dial tcp %v: %w", c.RemoteAddr(), c.err)
		}
		return false
	}
	if dialing {
		if _, err := unix.Getpeername(int(c.fd)); err != nil {
			return false // ENOTCONN: still connecting
		}
		if c.LocalAddr() == c.RemoteAddr() {
			// Nothing listens: the kernel has chosen that port for our end, and the socket is
			// connected with itself (simultaneous open, RFC 9293 section 3.5).
			c.kill(fmt.Errorf("loop: dial tcp %v: %w", c.RemoteAddr(), unix.ECONNREFUSED))
			return false
		}
	}
	c.state = open
	c.writeDeadline, c.handlerDeadline = 0, 0
	(*c.handler).Opened(c)
	return true
}
