package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/isbjorn/isbjorn/server/internal/logqueue"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/isbjorn/isbjorn/gateway"
)

// secondSignal is the time after the first signal from which a second one stops the server at once. An
// earlier one may be the same: timeout(1), service managers and terminals send a signal to a process and to
// its group, microseconds apart.
const secondSignal = time.Second

// Run serves app on addr, and on those of the option [Options.Bind], until a signal ends it, for
// programs with a main of their own. It is called once in a process. If systemd passes sockets (LISTEN_FDS)
// it serves those in place of all addresses. It prints "listening on ..." for each address, and notifies
// systemd when it serves (Type=notify).
//
// SIGINT or SIGTERM: it stops in order within [Options.StopTimeout], prints "stopping", and returns nil, or an
// error if that time was over (see [Server.Shutdown]). A second one, a second or more after the first, stops
// it at once, with an error.
//
// SIGUSR2: it prints "restarting" and starts the program again, by its name, with its arguments, in the
// directory where it was started. The new process inherits the listeners, so that no client is refused, and
// prints "listening on ..."; then the old one prints "stopping", answers its requests, within StopTimeout, and
// Run returns nil. If the new process ends, or takes more than 30 s, the old one keeps serving, and the log
// has a line. Run does not restart again while the old process still runs, nor if it is the first process of
// a container (of a PID namespace): when that ends the kernel kills all others.
//
// SIGHUP: certificates of [Options.TLS] are read again, and [Options.OnReload] is called. Where there is neither it is
// a line in the log, also when the terminal is closed from which the program was started. If SIGHUP was ignored at the
// start, as by nohup(1), it stays ignored.
//
// SIGPIPE is received and dropped: when the reader of standard output or standard error is gone, a write to it
// is an error, and the process keeps running. Lines of Run and of the log are written on goroutines of their
// own: a reader that hangs does not delay what a signal asks for. Lines that cannot be written are lost.
//
// When Run has returned it still receives these signals, so that a late one does not change the exit status
// while main returns.
func Run(app gateway.App, addr string, options Options) error {
	receiveSIGPIPE()
	return run(app, []string{addr}, options)
}

// run is Run on several addresses and those of the option Bind.
func run(app gateway.App, addrs []string, options Options) error {
	signals := make(chan os.Signal, 8) // room for one of each kind, and a second
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR2)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	return newProcessUpgrade().run(app, addrs, options, signals, os.Stdout)
}

// receiveSIGPIPE has SIGPIPE delivered to a channel from which nothing receives. Without it a write to descriptor 1
// or 2 whose reader is gone ends the process (os/signal, SIGPIPE). signal.Ignore has the same effect, but programs
// that the application runs would inherit it.
func receiveSIGPIPE() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// runner is the state of Run.
type runner struct {
	*processUpgrade
	s       *Server
	signals <-chan os.Signal
	stdout  io.Writer
	lines   logqueue.Queue // to stdout
	notices logqueue.Queue // to systemd

	reloaded chan error // of OnReload; nil unless it runs
	again    bool       // SIGHUP came while it runs
	reloads  context.Context
	stops    context.CancelFunc // of reloads
}

// run is Run with the signals and standard output as arguments, for tests.
func (p *processUpgrade) run(
	app gateway.App, addrs []string, options Options, signals <-chan os.Signal, stdout io.Writer,
) error {
	defer p.end()
	s, err := New(app, options)
	if err != nil {
		return err
	}
	where, err := p.listen(s, addrs)
	if err != nil {
		s.Close()
		return err
	}
	r := &runner{processUpgrade: p, s: s, signals: signals, stdout: stdout}
	r.reloads, r.stops = context.WithCancel(context.Background())
	defer r.stops()
	defer r.lines.Flush(logqueue.FlushTime)
	defer r.notices.Flush(logqueue.FlushTime)
	for _, at := range where {
		r.print("listening on " + at)
	}
	for _, f := range s.config.onStart {
		f(s)
	}
	r.lines.Flush(logqueue.FlushTime) // before "stopping" of an old process
	r.ready()                         // before a client is accepted: until then the old process may kill this one
	s.start()
	return r.serve()
}

// serve handles signals until the server has stopped.
func (r *runner) serve() error {
	failed := make(chan error, 1)
	go func() { failed <- r.s.Wait() }()
	var restarted chan error // nil unless a restart is in progress: then nil when the new process serves, or an error
	for {
		select {
		case err := <-failed:
			return err
		case err := <-restarted:
			if err == nil {
				r.s.releaseListeners()
				return r.stop(time.Time{}, false)
			}
			restarted = nil
			r.log(slog.LevelError, "restart failed; this process keeps serving", "error", err)
			r.notifyServing() // the new process may have made itself the main one of the service
		case err := <-r.reloaded:
			r.reloadEnded(err)
		case sig := <-r.signals:
			switch {
			case sig == syscall.SIGHUP:
				r.hangup()
			case sig != syscall.SIGUSR2:
				r.end()
				replaced := restarted != nil && <-restarted == nil // the restart has succeeded just before
				if replaced {
					r.s.releaseListeners()
				}
				// The time counts from here: while end waited the same signal, sent to the group too, was queued.
				return r.stop(time.Now(), !replaced)
			case restarted != nil:
				r.log(slog.LevelWarn, "SIGUSR2: a restart is already in progress")
			case r.reloaded != nil:
				r.log(slog.LevelWarn, "SIGUSR2: no restart while a reload is in progress; send it again")
			case os.Getpid() == 1:
				r.log(slog.LevelWarn, "SIGUSR2: no restart: this is the first process of a container (of its PID namespace), and when it ends all others are killed; "+
					"start a new container beside this one instead, and then stop this one (a rollout)")
			default:
				r.print("restarting")
				restarted = make(chan error, 1)
				go func() { restarted <- r.start(r.s) }()
			}
		}
	}
}

var errSecondSignal = errors.New("server: stopped at once by a second signal")

// stop ends the server in order, or at once after a second signal. first is when the first signal came; zero
// if none has. last says that no other process has the listeners.
func (r *runner) stop(first time.Time, last bool) error {
	r.stops()
	ctx, cancel := context.WithTimeout(context.Background(), r.s.config.stopTime)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- r.s.Shutdown(ctx) }()
	if last {
		r.notify(daemon.SdNotifyStopping)
	}
	r.print("stopping")
	for {
		select {
		case err := <-stopped:
			return err
		case sig := <-r.signals:
			switch {
			case sig == syscall.SIGHUP:
				r.hangup()
			case sig == syscall.SIGUSR2:
				r.log(slog.LevelWarn, "SIGUSR2: no restart, this process is stopping")
			case first.IsZero():
				first = time.Now()
			case time.Since(first) >= secondSignal:
				r.s.reactor.Halt() // without a wait for the loops: an application may block one
				r.s.config.logs.Flush(logqueue.FlushTime)
				return errSecondSignal
			}
		}
	}
}

// hangup answers SIGHUP: certificates are read again, and OnReload is called.
func (r *runner) hangup() {
	if reload := r.s.config.onReload; reload != nil {
		if f := r.s.tlsFront(); f != nil {
			f.reload()
		}
		switch {
		case r.reloads.Err() != nil:
			r.log(slog.LevelWarn, "SIGHUP: no reload, this process is stopping")
		case r.reloaded != nil:
			r.again = true
			r.log(slog.LevelInfo, "SIGHUP: a reload is in progress; one more follows it")
		default:
			r.notify(daemon.SdNotifyReloading + monotonic())
			ended := make(chan error, 1)
			r.reloaded = ended
			go func() { ended <- reload(r.reloads) }()
		}
		return
	}
	if f := r.s.tlsFront(); f != nil {
		r.log(slog.LevelInfo, "SIGHUP: certificates are read again; SIGUSR2 starts the program again, SIGTERM ends it")
		f.reload()
		return
	}
	r.log(slog.LevelWarn, "SIGHUP: the server has nothing to reload; SIGUSR2 starts the program again, SIGTERM ends it")
}

// reloadEnded takes the result of OnReload.
func (r *runner) reloadEnded(err error) {
	r.reloaded = nil
	if err != nil {
		r.log(slog.LevelError, "reload failed; all goes on as before: "+err.Error())
	}
	r.notifyServing()
	if r.again {
		r.again = false
		r.hangup()
	}
}

func (r *runner) print(line string) { r.lines.Print(r.stdout, line) }

func (r *runner) log(level slog.Level, msg string, args ...any) {
	r.s.config.log.Log(context.Background(), level, msg, args...)
}
