package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/internal/settings"
)

const (
	// probeTime is how long a name may take to resolve, or an upstream to accept.
	probeTime = time.Second

	// expiryTime is how long before its end a certificate is worth a hint: three weeks, as most renewals come 30 days
	// before it.
	expiryTime = 21 * 24 * time.Hour

	// proxyIdleTime is the idle timeout of the usual load balancers.
	proxyIdleTime = time.Minute
)

// probe finds what the settings alone cannot show: whether what they name is there and can be used.
func probe(config *settings.Config) settings.Mistakes {
	p := prober{config: config}
	if err := complete(config); err != nil {
		p.add(settings.Error, settings.Source{}, "", err.Error())
	}
	for _, addr := range config.List("bind") {
		p.address(addr)
	}
	p.certificates()
	p.limits()
	if config.Text("temp_dir") == "auto" && config.Command != settings.Run { // another one package server has tried
		p.tempDir()
	}
	for _, key := range []string{"log.access", "log.file", "pidfile"} {
		if settings.Find(key, config.Command).For&config.Command != 0 {
			p.writable(key)
		}
	}
	switch config.Command {
	case settings.Proxy:
		for _, to := range config.List("proxy.to") {
			p.upstream(to)
		}
	case settings.Run:
		p.python()
	}
	return p.mistakes
}

type prober struct {
	config   *settings.Config
	mistakes settings.Mistakes
}

func (p *prober) add(severity settings.Severity, at settings.Source, key, message string) {
	at.Column = 0 // without an excerpt
	p.mistakes = append(p.mistakes, &settings.Mistake{Severity: severity, Source: at, Key: key, Message: message})
}

// key adds a mistake about the value of a setting.
func (p *prober) key(key string, severity settings.Severity, format string, args ...any) {
	p.add(severity, p.config.Source(key), key, fmt.Sprintf(format, args...))
}

// address binds an address and lets it go. It does not listen, so no client notices.
func (p *prober) address(addr string) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket == 0 {
			p.key("bind", settings.Error, "%s is there, and no socket", path)
		} else if !strings.HasPrefix(path, "@") {
			p.directory("bind", filepath.Dir(path))
		}
		return
	}
	host, port, ok := tcpAddress(addr)
	if !ok {
		return // a descriptor
	}
	ip, err := resolve(host)
	if err != nil {
		p.key("bind", settings.Error, "%s: %v", addr, err)
		return
	}
	switch err := tryBind(ip, port); {
	case errors.Is(err, syscall.EADDRINUSE):
		h, ok := holderOf(port)
		if !ok {
			p.key("bind", settings.Error, "%s: in use", addr)
			break
		}
		severity := settings.Error
		if h.name == "isbjorn" { // a check beside the running service
			severity = settings.Hint
		}
		p.key("bind", severity, "%s: in use by %s, pid %d", addr, h.name, h.pid)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		p.key("bind", settings.Error, "%s: %v is no address of this machine", addr, ip)
	case errors.Is(err, syscall.EACCES):
		p.key("bind", settings.Error, "%s: ports below 1024 need CAP_NET_BIND_SERVICE; "+
			"isbjorn systemd prints a unit that has it", addr)
	case err != nil:
		p.key("bind", settings.Error, "%s: %v", addr, err)
	}
}

// resolve is the address of a host: the one that a listener would take.
func resolve(host string) (net.IP, error) {
	if host == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if a.IP.To4() != nil {
			return a.IP, nil
		}
	}
	return addrs[0].IP, nil
}

func tryBind(ip net.IP, port int) error {
	family, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: port})
	switch v4 := ip.To4(); {
	case v4 != nil:
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: [4]byte(v4)}
	case ip != nil:
		to = &unix.SockaddrInet6{Port: port, Addr: [16]byte(ip)}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) && ip == nil { // a machine without IPv6
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: port}
		fd, err = unix.Socket(family, unix.SOCK_STREAM, 0)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	return unix.Bind(fd, to)
}

// certificates that end soon are worth a hint. What is wrong with one package server has said.
func (p *prober) certificates() {
	certs, keys := p.config.List("tls.cert"), p.config.List("tls.key")
	for i, name := range certs {
		pair, err := tls.LoadX509KeyPair(name, keys[i])
		if err != nil {
			continue
		}
		if end := pair.Leaf.NotAfter; time.Until(end) > 0 && time.Until(end) < expiryTime {
			p.key("tls.cert", settings.Hint, "%s expires on %s", name, end.Format(time.DateOnly))
		}
	}
}

// limits are compared with those of the machine, and of what is in front.
func (p *prober) limits() {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil {
		if n := p.config.Number("max_connections"); n > 0 && uint64(n) > uint64(files.Max) {
			p.key("max_connections", settings.Warning, "%d, and the limit of open files is %d; "+
				"raise it (LimitNOFILE, ulimit -n)", n, files.Max)
		}
	}
	if d := p.config.Duration("idle_timeout"); len(p.config.List("trusted_proxies")) > 0 && d < proxyIdleTime {
		p.key("idle_timeout", settings.Hint, "a proxy in front that keeps connections longer "+
			"sends requests into closed ones; 130s suits most")
	}
}

// tempDir makes a file in the default directory, as the server does.
func (p *prober) tempDir() {
	dir := os.TempDir()
	f, err := os.CreateTemp(dir, "isbjorn-check-*")
	if err != nil {
		p.key("temp_dir", settings.Warning, "no temporary file can be made in %s (%v): "+
			"content over body_memory gets 500", dir, withoutName(err))
		return
	}
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// writable looks whether the file of a setting can be made.
func (p *prober) writable(key string) {
	name := p.config.Text(key)
	if name == "" || name == "-" || name == "off" {
		return
	}
	if info, err := os.Stat(name); err == nil {
		if info.IsDir() {
			p.key(key, settings.Error, "%s is a directory", name)
		} else if err := unix.Access(name, unix.W_OK); err != nil {
			p.key(key, settings.Error, "%s: %v", name, err)
		}
		return
	}
	p.directory(key, filepath.Dir(name))
}

// directory looks whether a file can be made in a directory.
func (p *prober) directory(key, dir string) {
	err := unix.Access(dir, unix.W_OK|unix.X_OK)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.key(key, settings.Error, "there is no directory %s; mkdir -p %s", dir, dir)
	case err != nil:
		p.key(key, settings.Error, "%s: %v", dir, err)
	}
}

// upstream is asked for a connection. One that does not accept now may do so later.
func (p *prober) upstream(to string) {
	network, at := "unix", strings.TrimPrefix(to, "unix:")
	if at == to {
		u, err := url.Parse(to)
		if err != nil {
			return // Load has said it
		}
		network, at = "tcp", u.Host
		if u.Port() == "" {
			at = net.JoinHostPort(u.Hostname(), u.Scheme)
		}
	} else if path, _, ok := strings.Cut(at, ":"); ok { // with a prefix
		at = path
	}
	conn, err := net.DialTimeout(network, at, probeTime)
	if err != nil {
		p.key("proxy.to", settings.Hint, "%s does not accept connections now: %v", to, err)
		return
	}
	_ = conn.Close()
}

// python looks at what a Python application needs; the application itself is not imported.
func (p *prober) python() {
	if p.config.Text("app") == "" {
		p.add(settings.Error, settings.Source{}, "app", "no application, and no [static] or [proxy]; "+
			"write app = \"module:name\", root in [static], or to in [proxy]")
	}
	for _, key := range []string{"chdir", "python.path"} {
		for _, dir := range p.config.List(key) {
			if err := isDirectory(dir); err != nil {
				p.key(key, settings.Error, "%s: %v", dir, err)
			}
		}
	}
	if name := p.config.Text("hooks"); name != "" {
		if err := exists(name); err != nil {
			p.key("hooks", settings.Error, "%s: %v", name, err)
		}
	}
}
