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

	"github.com/isbjorn/isbjorn/server/internal/logqueue"

	"github.com/cloudflare/tableflip"
	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// startTime is how long a new process may take until it serves, before it is
// killed and the old one goes on: long enough to read what an application needs,
// short enough that an operator is still there to see the line in the log. A
// variable for tests.
var startTime = 30 * time.Second

// parentExitTime is how long a restart waits to see the last old process gone, which may
// have ended just now.
const parentExitTime = time.Second

// systemdSockets names the sockets of systemd where others have an address.
const systemdSockets = "LISTEN_FDS"

// processUpgrade is where the listeners of this process come from, and where they go
// when a new process takes over.
type processUpgrade struct {
	upgrader       *tableflip.Upgrader // nil: it cannot hand over, err says why
	err            error
	hasParent      bool // there is an old process
	addressesGiven bool // the operator has chosen the addresses

	// names has, for each bound address, the name of its listeners among what is handed
	// over: the address that was asked for, which the new process asks for again
	// ("127.0.0.1:0" of 127.0.0.1:4711), or systemdSockets.
	names map[string]string
}

// oldProcess is the variable in the environment by which tableflip tells a new
// process that there is an old one.
const oldProcess = "TABLEFLIP_HAS_PARENT_7DIU3"

// newProcessUpgrade takes what an old process or systemd have left. Once in a process.
func newProcessUpgrade(given bool) *processUpgrade {
	p := &processUpgrade{addressesGiven: given, hasParent: os.Getenv(oldProcess) != ""}
	p.upgrader, p.err = tableflip.New(tableflip.Options{UpgradeTimeout: startTime})
	_ = os.Unsetenv(oldProcess) // it is for this process, not for programs that the application runs
	return p
}

// listen gives s its listeners: those of the old process, or of systemd, or new
// ones on addrs, or on the default address if there are none, and on those of
// AlsoListen. It returns where they listen.
func (p *processUpgrade) listen(s *Server, addrs []string) (where []string, err error) {
	if p.hasParent && p.err != nil { // its addresses are not there to be opened a second time
		return nil, fmt.Errorf("server: the old process has handed nothing over: %w", p.err)
	}
	p.names = make(map[string]string)
	files, err := p.inherited(systemdSockets)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		files = activation.Files(true)
	}
	if len(files) > 0 && p.addressesGiven {
		closeAll(files)
		return nil, errTwoAddresses
	}
	if len(files) > 0 {
		return p.adopt(s, systemdSockets, files)
	}
	if len(addrs) == 0 {
		if addrs, err = defaultAddress(); err != nil {
			return nil, err
		}
	}
	addrs = slices.Concat(addrs, s.config.alsoListen)
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

// adopt gives s the listeners that came under a name. It closes files, since the
// reactor has duplicates.
func (p *processUpgrade) adopt(s *Server, name string, files []*os.File) (where []string, err error) {
	defer closeAll(files)
	for _, f := range files {
		bound, err := s.reactor.AdoptFile(f, name != systemdSockets)
		if err != nil {
			return nil, fmt.Errorf("server: socket of %s: %w", name, err)
		}
		p.names[bound.String()] = name
		if at := display(bound); !slices.Contains(where, at) { // each loop has one of its own
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

// defaultAddress is where Main listens when the operator does not say: on the port that
// a platform has chosen (Heroku, Cloud Run), for clients elsewhere, or for this
// machine alone.
func defaultAddress() ([]string, error) {
	port := os.Getenv("PORT")
	if port == "" {
		return []string{"127.0.0.1:8080"}, nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("server: the environment has PORT=%q; use a number from 1 to 65535, or say by -addr where to listen", port)
	}
	return []string{"0.0.0.0:" + port}, nil
}

var errTwoAddresses = errors.New("server: there are sockets of systemd (LISTEN_FDS) and -addr; leave -addr out, or the socket unit")

// inherited are the listeners that the old process has left under a name.
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

// fileName is the name between two processes of the i-th listener under name.
func fileName(name string, i int) string { return name + " " + strconv.Itoa(i) }

// ready tells systemd and the old process that this one serves now.
func (r *runner) ready() {
	r.notifyServing() // first: for systemd the end of the old process is that of the service otherwise
	r.notices.Flush(logqueue.FlushTime)
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
	r.notices.Do(len(state), func() {
		if _, err := daemon.SdNotify(false, state); err != nil {
			r.s.config.log.Warn("systemd was not told of this process (NOTIFY_SOCKET)", "error", err)
		}
	})
}

// handOver starts a new process and returns nil when that serves. Otherwise there
// is none, and this one goes on.
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
	_ = p.upgrader.WaitForParent(ctx) // if it is there still, Upgrade says so
	return p.upgrader.Upgrade()
}

// end lets no new process take over any more, kills one that does not serve yet,
// and gives up the descriptors kept for it.
func (p *processUpgrade) end() {
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
