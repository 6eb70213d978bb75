package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/cloudflare/tableflip"
	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// startTime is how long a new process may take until it serves, before it is
// killed and the old one goes on: long enough to read what an application needs,
// short enough that an operator is still there to see the line in the log. A
// variable for tests.
var startTime = 30 * time.Second

// goneTime is how long a restart waits to see the last old process gone, which may
// have ended just now.
const goneTime = time.Second

// systemdSockets names the sockets of systemd where others have an address.
const systemdSockets = "LISTEN_FDS"

// succession is where the listeners of this process come from, and where they go
// when a new process takes over.
type succession struct {
	upgrader *tableflip.Upgrader // nil: it cannot hand over, err says why
	err      error
	second   bool   // there is an old process
	given    bool   // the operator has chosen the address
	name     string // of the listeners among what is handed over: the address asked for, or systemdSockets
}

// oldProcess is the variable in the environment by which tableflip tells a new
// process that there is an old one.
const oldProcess = "TABLEFLIP_HAS_PARENT_7DIU3"

// newSuccession takes what an old process or systemd have left. Once in a process.
func newSuccession(given bool) *succession {
	p := &succession{given: given, second: os.Getenv(oldProcess) != ""}
	p.upgrader, p.err = tableflip.New(tableflip.Options{UpgradeTimeout: startTime})
	_ = os.Unsetenv(oldProcess) // it is for this process, not for programs that the application runs
	return p
}

// listen gives s its listeners: those of the old process, or of systemd, or new
// ones on addr. It returns where they listen.
func (p *succession) listen(s *Server, addr string) ([]string, error) {
	if p.second && p.err != nil { // its address is not there to be opened a second time
		return nil, fmt.Errorf("server: the old process has handed nothing over: %w", p.err)
	}
	p.name = systemdSockets
	files, err := p.inherited()
	if err == nil && len(files) == 0 {
		files = activation.Files(true)
	}
	if err == nil && len(files) == 0 {
		p.name = addr
		files, err = p.inherited()
	}
	defer func() {
		for _, f := range files {
			_ = f.Close() // the reactor has its own
		}
	}()
	if err != nil {
		return nil, fmt.Errorf("server: listeners of the old process: %w", err)
	}
	if len(files) == 0 {
		bound, err := s.open(addr)
		if err != nil {
			return nil, err
		}
		return []string{display(bound)}, nil
	}
	if p.given && p.name == systemdSockets {
		return nil, errTwoAddresses
	}
	var where []string
	for _, f := range files {
		bound, err := s.reactor.AdoptFile(f, p.name != systemdSockets)
		if err != nil {
			return nil, fmt.Errorf("server: socket of %s: %w", p.name, err)
		}
		if at := display(bound); !slices.Contains(where, at) {
			where = append(where, at)
		}
	}
	return where, nil
}

var errTwoAddresses = errors.New("server: there are sockets of systemd (LISTEN_FDS) and -addr; leave -addr out, or the socket unit")

// inherited are the listeners that the old process has left under p.name.
func (p *succession) inherited() (files []*os.File, err error) {
	if p.upgrader == nil {
		return nil, nil
	}
	for {
		f, err := p.upgrader.File(fileName(p.name, len(files)))
		if f == nil {
			return files, err
		}
		files = append(files, f)
	}
}

// fileName is the name of the i-th listener of an address between two processes.
func fileName(name string, i int) string { return name + " " + strconv.Itoa(i) }

// ready tells systemd and the old process that this one serves now.
func (r *runner) ready() {
	r.notifyServing() // first: for systemd the end of the old process is that of the service otherwise
	r.logs.flush()
	if r.upgrader != nil {
		if err := r.upgrader.Ready(); err != nil {
			r.log(slog.LevelWarn, "the old process is gone already; this one serves", "error", err)
		}
	}
}

// notifyServing tells systemd that this process is the service.
func (r *runner) notifyServing() {
	r.notify(daemon.SdNotifyReady + "\nMAINPID=" + strconv.Itoa(os.Getpid()))
}

// notify tells systemd about this process, if it wants to know (Type=notify).
func (r *runner) notify(state string) {
	r.logs.do(func() {
		if _, err := daemon.SdNotify(false, state); err != nil {
			r.s.config.log.Warn("systemd was not told of this process (NOTIFY_SOCKET)", "error", err)
		}
	})
}

// handOver starts a new process and returns nil when that serves. Otherwise there
// is none, and this one goes on.
func (p *succession) handOver(s *Server) error {
	if p.upgrader == nil {
		return fmt.Errorf("no new process can be started: %w", p.err)
	}
	files, err := s.reactor.Files()
	for i, f := range files {
		if err == nil {
			err = p.upgrader.AddFile(fileName(p.name, i), f)
		}
		_ = f.Close()
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), goneTime)
	defer cancel()
	_ = p.upgrader.WaitForParent(ctx) // if it is there still, Upgrade says so
	return p.upgrader.Upgrade()
}

// end lets no new process take over any more, kills one that does not serve yet,
// and gives up the descriptors kept for it.
func (p *succession) end() {
	if p.upgrader != nil {
		p.upgrader.Stop()
		<-p.upgrader.Exit()
	}
}

// display is an address as a person would use it.
func display(addr net.Addr) string {
	if addr.Network() == "unix" {
		return "unix:" + addr.String()
	}
	return "http://" + addr.String()
}
