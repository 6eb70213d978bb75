package server

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

// stopTime is how long Main waits for running requests at the end.
const stopTime = 30 * time.Second

// Main is a whole program around app: it takes the flag -addr (default
// 127.0.0.1:8080), prints where it listens, and serves until SIGINT or SIGTERM.
// Then it stops in order, within 30 s, and exits with status 0; a second signal
// stops it at once with status 1. What cannot work is reported on standard error
// and ends the program with status 1, or 2 for flags.
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
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if err := run(app, *addr, options, signals, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var errSecondSignal = errors.New("server: stopped at once by a second signal")

// run is Main without the process around it.
func run(app gateway.App, addr string, options []Option, signals <-chan os.Signal, stdout io.Writer) error {
	s, err := New(app, options...)
	if err != nil {
		return err
	}
	bound, err := s.Listen(addr)
	if err != nil {
		s.Close()
		return err
	}
	fmt.Fprintf(stdout, "listening on %s\n", display(bound))

	failed := make(chan error, 1)
	go func() { failed <- s.Wait() }()
	select {
	case err := <-failed:
		return err
	case <-signals:
	}
	fmt.Fprintln(stdout, "stopping")
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(ctx) }()
	select {
	case err := <-stopped:
		return err
	case <-signals:
		s.reactor.Halt() // and no waiting: an application may hold a loop
		return errSecondSignal
	}
}

// display is an address as a person would use it.
func display(addr net.Addr) string {
	if addr.Network() == "unix" {
		return "unix:" + addr.String()
	}
	return "http://" + addr.String()
}
