package server

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/isbjorn/isbjorn/server/internal/logqueue"

	"github.com/cloudflare/tableflip"
	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// startTime is how long a new process may take until it serves. After that it is killed, and the old one
// keeps serving. An application has time to load what it needs, and an operator still sees the line in the
// log. A variable for tests.
var startTime = 30 * time.Second

// parentExitTime is how long a restart waits for the exit of the process before this one, which may be
// happening just now.
const parentExitTime = time.Second

// systemdSockets is the name of the sockets of systemd, in place of an address.
const systemdSockets = "LISTEN_FDS"

// processUpgrade inherits the listeners from an old process or from systemd, and hands them over to a new
// process (package tableflip).
type processUpgrade struct {
	upgrader  *tableflip.Upgrader // nil if no process can be started; err says why
	err       error
	hasParent bool // there is an old process

	// names has, for each bound address, the name under which its listeners are handed over (address.String):
	// what is spoken there, and the address as it was given, which the new process is given again
	// ("http 127.0.0.1:0" for 127.0.0.1:4711), or systemdSockets.
	names map[string]string
}

// oldProcess is the variable in the environment by which tableflip tells a new process that there is an old
// one.
const oldProcess = "TABLEFLIP_HAS_PARENT_7DIU3"

// newProcessUpgrade receives the listeners of an old process. It is called once in a process.
func newProcessUpgrade() *processUpgrade {
	p := &processUpgrade{hasParent: os.Getenv(oldProcess) != ""}
	p.upgrader, p.err = tableflip.New(tableflip.Options{UpgradeTimeout: startTime})
	_ = os.Unsetenv(oldProcess) // it is for this process, not for programs that the application runs
	return p
}

// listen gives s its listeners: those of systemd, or else those on addrs and those of the option Bind, or on
// the default address if there are none. Listeners that the old process has are inherited, others are opened.
// It returns the addresses, for the user.
func (p *processUpgrade) listen(s *Server, addrs []string) (where []string, err error) {
	if p.hasParent && p.err != nil { // the old process still listens, so its addresses cannot be bound again
		return nil, fmt.Errorf("server: the old process has handed nothing over: %w", p.err)
	}
	p.names = make(map[string]string)
	if err := p.inheritTickets(s); err != nil {
		return nil, err
	}
	if where, err = p.listenSystemd(s); err != nil || len(where) > 0 {
		return where, err
	}
	list, err := parseAddresses(slices.Concat(addrs, s.config.bind), s.config.unnamedKind())
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		at, err := p.open(s, a)
		if err != nil {
			return nil, err
		}
		where = append(where, at...)
	}
	return where, nil
}

// listenSystemd gives s the sockets of systemd, or of a supervisor that passes sockets in the same way, or those
// that the old process had from it. One whose name is https (FileDescriptorName, LISTEN_FDNAMES) is for TLS.
func (p *processUpgrade) listenSystemd(s *Server) (where []string, err error) {
	var sockets [len(kindNames)][]*os.File
	defer func() {
		for _, files := range sockets {
			closeAll(files)
		}
	}()
	n := 0
	for k := range sockets {
		if sockets[k], err = p.inherited(systemdAddress(kind(k)).String()); err != nil {
			return nil, err
		}
		n += len(sockets[k])
	}
	if n == 0 { // not a restart, or one without sockets of systemd
		for _, f := range activation.Files(true) {
			k := kindHTTP
			if f.Name() == kindHTTPS.String() {
				k = kindHTTPS
			}
			sockets[k] = append(sockets[k], f)
			n++
		}
	}
	for k, files := range sockets {
		at, err := p.adopt(s, systemdAddress(kind(k)), files)
		if err != nil {
			return nil, err
		}
		where = append(where, at...)
	}
	return where, nil
}

// systemdAddress stands for the sockets of systemd of a kind.
func systemdAddress(k kind) address {
	return address{text: systemdSockets, kind: k, named: true, network: "tcp", at: systemdSockets}
}

// open gives s the listeners of one address.
func (p *processUpgrade) open(s *Server, a address) ([]string, error) {
	files, err := p.inherited(a.String())
	if err != nil {
		return nil, err
	}
	if len(files) > 0 {
		defer closeAll(files)
		return p.adopt(s, a, files)
	}
	bound, err := s.open(a, s.config.tls)
	if err != nil {
		return nil, err
	}
	p.names[bound.String()] = a.String()
	return []string{display(a.kind, bound)}, nil
}

// adopt gives s the inherited listeners of an address. The caller closes files: s has duplicates.
func (p *processUpgrade) adopt(s *Server, a address, files []*os.File) (where []string, err error) {
	for _, f := range files {
		own := a.text != systemdSockets && a.network != "fd"
		bound, err := s.adopt(a, s.config.tls, f, own)
		if err != nil {
			return nil, fmt.Errorf("server: socket of %s: %w", a.text, err)
		}
		p.names[bound.String()] = a.String()
		if at := display(a.kind, bound); !slices.Contains(where, at) { // each loop has a listener of its own
			where = append(where, at)
		}
	}
	return where, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// inherited returns the listeners that the old process has handed over under a name.
func (p *processUpgrade) inherited(name string) (files []*os.File, err error) {
	if p.upgrader == nil {
		return nil, nil
	}
	for {
		f, err := p.upgrader.File(fileName(name, len(files)))
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("server: listener %s of the old process: %w", name, err)
		}
		if f == nil {
			return files, nil
		}
		files = append(files, f)
	}
}

// fileName is the name by which tableflip hands over the i-th listener of name.
func fileName(name string, i int) string { return name + " " + strconv.Itoa(i) }

// ready tells systemd and the old process that this one serves now.
func (r *runner) ready() {
	// First: the old process ends after Ready, and systemd would take that for the end of the service.
	r.notifyServing()
	r.notices.Flush(logqueue.FlushTime)
	if r.upgrader != nil {
		if err := r.upgrader.Ready(); err != nil {
			r.log(slog.LevelWarn, "the old process has already exited; this one serves", "error", err)
		}
	}
}

// notifyServing tells systemd that this process is the service.
func (r *runner) notifyServing() {
	r.notify(daemon.SdNotifyReady + "\nMAINPID=" + strconv.Itoa(os.Getpid()))
}

// notify sends state to systemd, if it has asked for that (Type=notify). See sd_notify(3).
func (r *runner) notify(state string) {
	r.notices.Do(len(state), func() {
		if _, err := daemon.SdNotify(false, state); err != nil {
			r.s.config.log.Warn("systemd could not be notified of this process (NOTIFY_SOCKET)", "error", err)
		}
	})
}

// start starts a new process with the listeners of this one, and returns nil when it serves. After an error
// there is no new process, and this one keeps serving.
func (p *processUpgrade) start(s *Server) error {
	if p.upgrader == nil {
		return fmt.Errorf("no new process can be started: %w", p.err)
	}
	files, err := s.reactor.Files()
	if f := s.tlsFront(); f != nil && err == nil {
		if files, err = f.appendFiles(files); err == nil {
			err = p.handOverTickets(s)
		}
	}
	number := make(map[string]int) // of listeners, by name
	for _, f := range files {
		// A listener without a name is one that the application has opened, by OnStart.
		if name := p.names[f.Name()]; err == nil && name != "" {
			err = p.upgrader.AddFile(fileName(name, number[name]), f)
			number[name]++
		}
		_ = f.Close()
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), parentExitTime)
	defer cancel()
	_ = p.upgrader.WaitForParent(ctx) // if the parent still runs, Upgrade returns an error that says so
	return p.upgrader.Upgrade()
}

// ticketKeys is the name of the pipe with the keys of TLS sessions.
const ticketKeys = "session ticket keys"

// handOverTickets gives the keys of TLS sessions to the new process, through a pipe: they are secrets, which neither
// the environment nor a file may have.
func (p *processUpgrade) handOverTickets(s *Server) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	defer w.Close()
	if _, err := s.tickets.WriteTo(w); err != nil { // some hundred bytes, which a pipe always holds
		return err
	}
	return p.upgrader.AddFile(ticketKeys, r)
}

// inheritTickets takes the keys of TLS sessions from the old process, if there is one that has some.
func (p *processUpgrade) inheritTickets(s *Server) error {
	if p.upgrader == nil {
		return nil
	}
	f, err := p.upgrader.File(ticketKeys)
	if err != nil || f == nil {
		return err
	}
	defer f.Close()
	if _, err := s.tickets.ReadFrom(f); err != nil {
		return fmt.Errorf("server: session ticket keys of the old process: %w", err)
	}
	return nil
}

// end ends upgrades: a new process that does not serve yet is killed, and the descriptors for it are closed.
func (p *processUpgrade) end() {
	if p.upgrader != nil {
		p.upgrader.Stop()
		<-p.upgrader.Exit()
	}
}
