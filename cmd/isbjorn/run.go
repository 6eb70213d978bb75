package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/middleware"
	"github.com/isbjorn/isbjorn/internal/settings"
	"github.com/isbjorn/isbjorn/server"
	"github.com/isbjorn/isbjorn/wsgi"
)

func newRun() *cobra.Command {
	in := &input{command: settings.Run}
	cmd := &cobra.Command{
		Use:   "run [flags] [MODULE:NAME]",
		Short: "run a Python (WSGI) application",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("unexpected argument %q: one application is run; a value of true or false needs =, "+
					"as in --strict=false", args[1])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			in.arguments(args)
			return in.run(cmd, func(config *settings.Config) error { return runPython(in, config) })
		},
	}
	in.defineFlags(cmd)
	return cmd
}

// notYet are settings that the table has and isbjorn run does not heed, with what to do instead.
var notYet = map[string]string{
	"preload":      "each worker imports the application by itself",
	"hooks":        "call what they do from the application",
	"static.map":   "run isbjorn static, or another server, for the files",
	"workers_min":  "the number of workers is fixed: workers",
	"log.max_size": "use logrotate, and SIGUSR1 behind a rotation",
	"log.output":   "what the processes print is always in the log",
	"user":         "start isbjorn as that user: User of systemd, setpriv",
	"group":        "start isbjorn with that group: Group of systemd, setpriv",
	"daemon":       "use a service manager: isbjorn systemd writes a unit",
	"name":         "the processes are called as Python calls them",
	"stats.bind":   "the log has what happens to the processes",
	"reload.watch": "reload by SIGHUP",
	"reload.touch": "reload by SIGHUP",
}

// unheeded are mistakes for settings that would have no effect, alone or beside others.
func unheeded(config *settings.Config) (mistakes settings.Mistakes) {
	for _, s := range settings.Of(settings.Run) {
		text := config.Text(s.Key)
		if mend, not := notYet[s.Key]; not && config.Source(s.Key).Origin > settings.Code && text != s.Default && text != "" {
			severity := settings.Warning
			if s.Key == "user" || s.Key == "group" { // the program would have more rights than it should
				severity = settings.Error
			}
			mistakes = append(mistakes, &settings.Mistake{Severity: severity, Source: config.Source(s.Key), Key: s.Key,
				Message: "isbjorn run does not have it yet; " + mend})
		}
	}
	if config.Number("gevent") > 0 && config.Number("threads") > 1 {
		mistakes = append(mistakes, &settings.Mistake{Severity: settings.Error, Source: config.Source("gevent"), Key: "gevent",
			Message: "threads = " + config.Text("threads") + " is given too; leave one of them out"})
	}
	return mistakes
}

// The exit statuses of an application that does not start, as gunicorn has them.
const (
	statusBoot = 3 // no Python, or it ends
	statusLoad = 4 // the application cannot be loaded
)

func runPython(in *input, config *settings.Config) error {
	if mode, err := strconv.ParseUint(config.Text("umask"), 8, 32); err == nil { // else auto: as it is
		syscall.Umask(int(mode)) // of logs, the file with the process id, and the processes
	}
	log, closeLog, err := newLog(config)
	if err != nil {
		return statusError{statusFailed, err}
	}
	defer closeLog()
	pid := pidFile(config.Text("pidfile"))
	if err := pid.check(); err != nil {
		return statusError{statusFailed, err}
	}
	defer pid.remove()
	options := wsgiOptions(config, log)
	app, err := wsgi.New(options)
	if err != nil {
		return statusError{startStatus(err), err}
	}
	dispatch := server.Inline
	if app.StreamsContent() {
		dispatch = server.Auto // requests whose content comes are on goroutines
	}
	p := &program{in: in, log: log, app: app, config: config, since: time.Now()}
	end := p.takeSignals()
	defer p.controlled()() // to the end: isbjorn stop waits for that
	more := pid.with(server.Options{Dispatch: dispatch, OnReload: p.reload}, func(err error) { log.Error(err.Error()) })
	err = serveLogged(config, log, withPrefix(config, app), more, true)
	end()
	ctx, cancel := context.WithTimeout(context.Background(), options.GracefulTimeout+5*time.Second)
	defer cancel()
	return errors.Join(err, app.Shutdown(ctx))
}

// loadApplication has one worker load the application, and end.
func loadApplication(config *settings.Config) error {
	options := wsgiOptions(config, slog.New(slog.DiscardHandler))
	options.Workers = 1
	app, err := wsgi.New(options)
	if err != nil {
		return statusError{startStatus(err), err}
	}
	return app.Close()
}

func startStatus(err error) int {
	var start *wsgi.StartError
	switch {
	case !errors.As(err, &start):
		return statusUsage
	case start.Usage:
		return statusUsage
	case start.App:
		return statusLoad
	}
	return statusBoot
}

// wsgiOptions are those of the application.
func wsgiOptions(config *settings.Config, log *slog.Logger) wsgi.Options {
	o := wsgi.Options{
		App: config.Text("app"), Factory: config.Bool("factory"), Dir: config.Text("chdir"), Path: config.List("python.path"),
		Env: config.List("env"), Strict: config.Bool("strict"), StreamInput: config.List("stream_input"), Threads: int(config.Number("threads")),
		Gevent: int(max(config.Number("gevent"), 0)), Queue: int(config.Number("worker_queue")),
		QueueTimeout: config.Duration("queue_timeout"), RequestTimeout: config.Duration("request_timeout"),
		SlowTime: config.Duration("log.slow"), BootTimeout: config.Duration("boot_timeout"),
		GracefulTimeout: config.Duration("stop_timeout"), Log: log,
		MaxRequests: int(max(config.Number("max_requests"), 0)), MaxRequestsJitter: int(config.Number("max_requests_jitter")),
		MaxLifetime: config.Duration("max_lifetime"), MaxRSS: max(config.Number("max_rss"), 0),
		ReloadSurge: int(config.Number("reload_surge")),
	}
	if text := config.Text("python.exe"); text != "auto" {
		o.Python = text
	}
	if config.Text("workers") != "auto" {
		o.Workers = int(config.Number("workers"))
	}
	if text := config.Text("temp_dir"); text != "auto" {
		o.TempDir = text
	}
	return o
}

// atReload are the settings that wsgiOptions reads and a reload changes.
var atReload = []string{"app", "factory", "chdir", "python.path", "python.exe", "env", "strict", "stream_input", "threads",
	"gevent", "workers", "worker_queue", "queue_timeout", "request_timeout", "log.slow", "boot_timeout", "stop_timeout",
	"max_requests", "max_requests_jitter", "max_lifetime", "max_rss", "reload_surge"}

// withPrefix has the application under a path: SCRIPT_NAME. What is outside of it is not there.
func withPrefix(config *settings.Config, app gateway.App) gateway.App {
	prefix := strings.TrimRight(config.Text("prefix"), "/")
	if prefix == "" {
		return app
	}
	router, err := middleware.Router(middleware.Mount(prefix, app))
	if err != nil {
		panic(err) // its check has made one
	}
	return router
}

// streaming says of an application, behind middlewares which hide it, that it reads content as it comes.
type streaming struct{ gateway.App }

func (streaming) StreamsContent() bool { return true }

func init() {
	checks["prefix"] = func(prefix string) error {
		if prefix == "" {
			return nil
		}
		if !strings.HasPrefix(prefix, "/") {
			return errors.New("must begin with /")
		}
		if _, err := middleware.Router(middleware.Mount(strings.TrimRight(prefix, "/"), gateway.AppFunc(nil))); err != nil {
			return errors.New("must be a path without { and }, such as /shop")
		}
		return nil
	}
}
