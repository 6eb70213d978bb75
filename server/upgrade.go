package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
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

	// names has, for each bound address, the name under which its listeners are handed over: the address as
	// it was given, which the new process is given again ("127.0.0.1:0" for 127.0.0.1:4711), or
	// systemdSockets.
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
	files, err := p.inherited(systemdSockets)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 { // not a restart, or one without sockets of systemd
		files = activation.Files(true)
	}
	if len(files) > 0 {
		return p.adopt(s, systemdSockets, files)
	}
	addrs = slices.Concat(addrs, s.config.bind)
	for i, addr := range addrs {
		if slices.Contains(addrs[:i], addr) {
			return nil, fmt.Errorf("server: address %q is given twice; leave one out", addr)
		}
		at, err := p.open(s, addr)
		if err != nil {
			return nil, err
		}
		where = append(where, at...)
	}
	return where, nil
}

// open gives s the listeners of one address.
func (p *processUpgrade) open(s *Server, addr string) ([]string, error) {
	files, err := p.inherited(addr)
	if err != nil {
		return nil, err
	}
	if len(files) > 0 {
		return p.adopt(s, addr, files)
	}
	bound, err := s.open(addr)
	if err != nil {
		return nil, err
	}
	p.names[bound.String()] = addr
	return []string{display(bound)}, nil
}

// adopt gives s the inherited listeners of a name. It closes files, since the reactor has duplicates.
func (p *processUpgrade) adopt(s *Server, name string, files []*os.File) (where []string, err error) {
	defer closeAll(files)
	for _, f := range files {
		bound, err := s.reactor.AdoptFile(f, name != systemdSockets)
		if err != nil {
			return nil, fmt.Errorf("server: socket of %s: %w", name, err)
		}
		p.names[bound.String()] = name
		if at := display(bound); !slices.Contains(where, at) { // each loop has a listener of its own
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

// end ends upgrades: a new process that does not serve yet is killed, and the descriptors for it are closed.
func (p *processUpgrade) end() {
	if p.upgrader != nil {
		p.upgrader.Stop()
		<-p.upgrader.Exit()
	}
}

// display is an address as a user would type it.
func display(addr net.Addr) string {
	if addr.Network() == "unix" {
		return "unix:" + addr.String()
	}
	return "http://" + addr.String()
}
