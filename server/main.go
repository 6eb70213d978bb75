package server

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/isbjorn/isbjorn/gateway"
)

// stopTime is how long Main waits for running requests at the end.
const stopTime = 30 * time.Second

// Main is a whole program around app: the flag -addr (default 127.0.0.1:8080),
// and [Run]. What cannot work is reported on standard error and ends the program
// with status 1, so is -addr together with sockets of systemd, and flags with status
// 2; after an orderly end the status is 0.
//
// A program with flags of its own defines them in package flag before Main, and
// does not call flag.Parse.
func Main(app gateway.App, options ...Option) {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on: host:port, :port or unix:/path")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(flag.CommandLine.Output(), "unexpected argument %q; the address is given by -addr\n", flag.Arg(0))
		flag.Usage()
		os.Exit(2)
	}
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "addr" })
	if err := run(app, *addr, given, options); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Run serves app on addr until a signal ends it, for programs with a main of their
// own. It is called once in a process. If systemd has given sockets (LISTEN_FDS) it
// serves those in place of addr. It prints "listening on ..." for each address, and
// tells systemd that it serves (Type=notify).
//
// SIGINT or SIGTERM: it prints "stopping", stops in order within 30 s, and returns
// nil. A second one stops it at once, with an error.
//
// SIGUSR2: it prints "restarting" and starts the program again, by its name, with
// its arguments, in the directory where it was started. The new process takes the
// listeners over, so that no client is refused, and prints "listening on ..."; then
// the old one prints "stopping", answers what it has, within 30 s, and Run returns
// nil. A new process that ends or takes more than 30 s changes nothing but the log.
// There is no further restart before the old process is gone.
//
// The signals stay with Run when it has returned, so that a late one does not spoil
// the exit status: main returns then.
func Run(app gateway.App, addr string, options ...Option) error {
	return run(app, addr, false, options)
}

// run is Run; given says that the operator has chosen addr.
func run(app gateway.App, addr string, given bool, options []Option) error {
	signals := make(chan os.Signal, 4) // room for one of each kind, and a second
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR2)
	return newSuccession(given).run(app, addr, options, signals, os.Stdout)
}

// run is Run without the process around it.
func (p *succession) run(app gateway.App, addr string, options []Option, signals <-chan os.Signal, stdout io.Writer) error {
	defer p.end()
	s, err := New(app, options...)
	if err != nil {
		return err
	}
	where, err := p.listen(s, addr)
	if err != nil {
		s.Close()
		return err
	}
	for _, at := range where {
		fmt.Fprintf(stdout, "listening on %s\n", at)
	}
	p.ready(s) // before a client is accepted: the old process may kill this one until then
	s.start()

	failed := make(chan error, 1)
	go func() { failed <- s.Wait() }()
	var restarted chan error // nil, or there will be a new process or an error
	for {
		select {
		case err := <-failed:
			return err
		case err := <-restarted:
			if err == nil {
				s.reactor.Leave()
				return s.stop(signals, false, stdout)
			}
			restarted = nil
			s.config.log.Error("restart failed; this process goes on serving", "error", err)
			s.notifyServing() // the other may have said so of itself
		case sig := <-signals:
			switch {
			case sig != syscall.SIGUSR2:
				p.end()
				if restarted != nil && <-restarted == nil { // just before
					s.reactor.Leave()
				} else {
					s.notify(daemon.SdNotifyStopping)
				}
				return s.stop(signals, true, stdout)
			case restarted != nil:
				s.config.log.Warn("SIGUSR2: a restart is under way already")
			default:
				fmt.Fprintln(stdout, "restarting")
				restarted = make(chan error, 1)
				go func() { restarted <- p.handOver(s) }()
			}
		}
	}
}

var errSecondSignal = errors.New("server: stopped at once by a second signal")

// stop ends s in order, or at once when a second signal asks for the end. asked
// says that one has.
func (s *Server) stop(signals <-chan os.Signal, asked bool, stdout io.Writer) error {
	fmt.Fprintln(stdout, "stopping")
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(ctx) }()
	for {
		select {
		case err := <-stopped:
			return err
		case sig := <-signals:
			switch {
			case sig == syscall.SIGUSR2:
				s.config.log.Warn("SIGUSR2: no restart, this process is stopping")
			case asked:
				s.reactor.Halt() // and no waiting: an application may hold a loop
				return errSecondSignal
			default:
				asked = true
			}
		}
	}
}
