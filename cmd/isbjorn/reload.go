package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/isbjorn/isbjorn/internal/settings"
	"github.com/isbjorn/isbjorn/wsgi"
)

// program is a Python application that isbjorn run serves, with what its operator may change.
type program struct {
	in  *input
	log *slog.Logger
	app *wsgi.App

	since time.Time

	mu     sync.Mutex
	config *settings.Config // that the workers have
}

// reload takes the settings anew, and the code of the application as it is now. After an error nothing has changed.
func (p *program) reload(ctx context.Context) error {
	reopenAll()
	p.log.Info("reload: settings and application are read again")
	var hints bytes.Buffer
	config, err := p.in.load(&hints)
	if err != nil {
		return err
	}
	for line := range strings.Lines(hints.String()) {
		p.log.Info(strings.TrimSpace(line))
	}
	options := wsgiOptions(config, p.log)
	if err := p.app.Reload(ctx, options); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	waits := changes(p.config, config)
	p.config = config
	p.log.Info("reloaded: all workers have the new settings and code", slog.Int("workers", p.app.Size()))
	for _, change := range waits {
		p.log.Warn(change + " waits for a restart: SIGUSR2")
	}
	return nil
}

// changes are the settings that differ and that a reload does not change.
func changes(before, now *settings.Config) (lines []string) {
	for _, s := range settings.Of(settings.Run) {
		was, is := before.Text(s.Key), now.Text(s.Key)
		if s.List {
			was, is = strings.Join(before.List(s.Key), ", "), strings.Join(now.List(s.Key), ", ")
		}
		if was != is && !slices.Contains(atReload, s.Key) {
			lines = append(lines, fmt.Sprintf("%s: %q instead of %q", s.Key, is, was))
		}
	}
	return lines
}

// takeSignals has TTIN and TTOU start and end a worker, and QUIT write what runs to the log before it stops the server
// as TERM does, until end is called.
func (p *program) takeSignals() (end func()) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGQUIT)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case sig := <-signals:
				switch sig {
				case syscall.SIGTTIN:
					p.scale("SIGTTIN", 1)
				case syscall.SIGTTOU:
					p.scale("SIGTTOU", -1)
				case syscall.SIGQUIT:
					for _, w := range p.app.Workers() {
						p.log.Warn("SIGQUIT: "+w.State, slog.Int("worker", w.Number), slog.Int("pid", w.PID),
							slog.Uint64("requests", w.Requests), slog.Any("running", w.Running))
					}
					_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
				}
			}
		}
	}()
	return func() {
		close(stop)
		<-done
	}
}

func (p *program) scale(why string, more int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := max(p.app.Size()+more, 1)
	if err := p.app.Scale(n); err != nil {
		p.log.Warn(why + ": " + err.Error())
		return
	}
	p.log.Info(fmt.Sprintf("%s: %d workers", why, n))
}
