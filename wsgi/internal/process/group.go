//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/isbjorn/isbjorn/wsgi/internal/wire"
)

// Options are those of a Group.
type Options struct {
	Python  string      // file or name of the interpreter; "" finds one, see Find
	Dir     string      // working directory of the workers; "" is that of this process
	Env     []string    // "NAME=value", beside those of this process
	Config  wire.Config // Slots of each worker among it
	Workers int
	Queue   *os.File // the workers' end of the queue; it stays the caller's, and open until Stop has returned

	BootTimeout     time.Duration // for the load of the application
	GracefulTimeout time.Duration // for the requests of a worker that is to end

	Log  *slog.Logger
	Host Host

	// RestartDelay is how long a worker waits that replaces one which has died before it served for ServedTime, after
	// so many of them in a row. nil doubles from 1 s to 30 s.
	RestartDelay func(failures int) time.Duration
}

// Host is told what happens to workers. Its methods do not block.
type Host interface {
	Ready(w *Worker)            // w serves: its streams are the host's until Release
	Drain(w *Worker)            // w gets no more requests
	Exited(w *Worker, e *Exit)  // the process has ended
	Running(w *Worker) []string // the requests that w runs, for the report of its death
}

// ServedTime is how long a worker has to have served for its death not to count as a failure to start.
const ServedTime = 10 * time.Second

const (
	pingTime  = 15 * time.Second
	stallTime = time.Minute     // without an answer to a ping a worker is killed
	stackTime = time.Second     // for the control thread to answer DUMP
	abortTime = time.Second     // between SIGABRT, at which Python writes its stacks, and SIGKILL
	helloTime = 3 * time.Second // of Start, to say why a worker does not begin at all
)

// Group is the workers of one generation of an application.
type Group struct {
	o      Options
	python string

	mu       sync.Mutex
	workers  []*Worker // those that live
	numbers  int
	failures int // workers in a row that have died early
	stopping bool
	pending  map[*time.Timer]bool // restarts that wait
	empty    chan struct{}        // closed when stopping and no worker is left
	first    chan error           // the outcome of the first worker
	stopPing chan struct{}
	stopOnce sync.Once
	oomKills int
}

// Start starts the first worker, waits until it serves, and starts the others. The error is a *LoadError or a
// *BootError; no process is left then.
func Start(ctx context.Context, o Options) (*Group, error) {
	python, why, err := Find(o.Python, o.Dir)
	if err != nil {
		return nil, err
	}
	g := &Group{o: o, python: python, pending: make(map[*time.Timer]bool), empty: make(chan struct{}),
		first: make(chan error, 1), stopPing: make(chan struct{}), oomKills: oomKills()}
	if g.o.RestartDelay == nil {
		g.o.RestartDelay = restartDelay
	}
	g.mu.Lock()
	_, err = g.spawn()
	g.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case err = <-g.first:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = g.Stop(ended)
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.workers[0]
	attrs := []any{slog.String("app", w.target), slog.String("python", python), slog.String("version", w.version),
		slog.String("found_by", why)}
	if w.found != "" {
		attrs = append(attrs, slog.String("app_by", w.found))
	}
	o.Log.Info("application loaded", attrs...)
	for range o.Workers - 1 {
		g.spawnOrRetry()
	}
	go g.ping()
	return g, nil
}

func restartDelay(failures int) time.Duration {
	return min(time.Second<<min(max(failures-1, 0), 10), 30*time.Second)
}

// spawn starts a worker. With mu.
func (g *Group) spawn() (*Worker, error) {
	g.numbers++
	w, err := start(g, g.numbers)
	if err != nil {
		return nil, err
	}
	g.workers = append(g.workers, w)
	return w, nil
}

// spawnOrRetry starts a worker, or tries again later. With mu.
func (g *Group) spawnOrRetry() {
	if _, err := g.spawn(); err != nil {
		g.o.Log.Error("a worker cannot be started", slog.Any("error", err))
		g.failures++
		g.restartLater()
	}
}

// restartLater starts a worker when the delay is over. With mu.
func (g *Group) restartLater() {
	delay := time.Duration(0)
	if g.failures > 0 {
		delay = g.o.RestartDelay(g.failures)
	}
	if delay == 0 {
		g.spawnOrRetry()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(delay, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if delete(g.pending, timer); !g.stopping {
			g.spawnOrRetry()
		}
	})
	g.pending[timer] = true
}

// ready: w has loaded the application.
func (g *Group) ready(w *Worker) {
	g.o.Host.Ready(w)
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case g.first <- nil:
	default:
	}
	if old := w.replaces; old != nil {
		g.drain(old)
	}
	if g.stopping {
		w.stop()
	}
	g.o.Log.Info("worker serves", slog.Int("worker", w.number), slog.Int("pid", w.PID()),
		slog.Duration("after", time.Since(w.started).Round(time.Millisecond)))
}

// drain ends w in order, or when its time is over by force. With mu.
func (g *Group) drain(w *Worker) {
	if w.draining {
		return
	}
	w.draining = true
	if !slices.Contains(g.workers, w) {
		return
	}
	go g.o.Host.Drain(w)
	w.grace = time.AfterFunc(g.o.GracefulTimeout, func() {
		w.abort(fmt.Sprintf("it has not ended within graceful_timeout = %v", g.o.GracefulTimeout))
	})
}

// Replace starts another worker in place of w. When that serves, or w has died, w gets no more requests, and ends; it
// is killed after GracefulTimeout. A second call for w does nothing.
func (g *Group) Replace(w *Worker, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.replaced || g.stopping || !slices.Contains(g.workers, w) {
		return
	}
	w.replaced = true
	g.o.Log.Warn("worker is replaced: "+why, slog.Int("worker", w.number), slog.Int("pid", w.PID()))
	fresh, err := g.spawn()
	if err != nil {
		g.o.Log.Error("a worker cannot be started", slog.Any("error", err))
		g.drain(w)
		w.replaced = false // its end starts another one
		return
	}
	fresh.replaces = w
}

// exited: the process of w has ended, and all that it has sent was read.
func (g *Group) exited(w *Worker, e *Exit) {
	e.Running = nil
	if w.isReady() {
		e.Running = g.o.Host.Running(w)
	}
	g.mu.Lock()
	g.workers = slices.DeleteFunc(g.workers, func(other *Worker) bool { return other == w })
	if w.grace != nil {
		w.grace.Stop()
	}
	e.OOM = e.Signal == syscall.SIGKILL && e.Why == "" && g.oomRose()
	stopping := g.stopping
	bootErr := w.bootError(e)
	select {
	case g.first <- bootErr:
		bootErr = nil
	default:
	}
	g.mu.Unlock()

	g.report(w, e, bootErr, stopping)
	if w.isReady() {
		g.o.Host.Exited(w, e)
	} else {
		w.Release()
	}

	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.stopping:
		if len(g.workers) == 0 {
			g.closeEmpty()
		}
	case w.replaced: // another one was started
	default:
		if e.Age >= ServedTime && w.isReady() || e.Drained {
			g.failures = 0
		} else {
			g.failures++
		}
		var next *Worker
		for _, other := range g.workers {
			if other.replaces == w {
				next = other
			}
		}
		if next == nil {
			g.restartLater()
			if w.replaces != nil && slices.Contains(g.workers, w.replaces) {
				w.replaces.replaced = false // it serves on; the next that asks replaces it
			}
		}
	}
}

func (g *Group) closeEmpty() {
	select {
	case <-g.empty:
	default:
		close(g.empty)
	}
}

// report writes why a worker has ended.
func (g *Group) report(w *Worker, e *Exit, bootErr error, stopping bool) {
	attrs := []any{slog.Int("worker", w.number), slog.Int("pid", e.PID), slog.String("end", e.String()),
		slog.Duration("age", e.Age.Round(time.Millisecond)), slog.Uint64("requests", e.Served)}
	if len(e.Running) > 0 {
		attrs = append(attrs, slog.Any("running", e.Running))
	}
	switch {
	case !w.isReady():
		if bootErr != nil && !stopping {
			g.o.Log.Error("worker did not start", append(attrs, slog.Any("error", bootErr))...)
		}
	case e.Drained && e.Status == 0 && e.Signal == 0:
		g.o.Log.Info("worker ended", attrs...)
	default:
		if w.rss.Load() > 0 {
			attrs = append(attrs, slog.Int64("rss_mib", w.rss.Load()>>20))
		}
		g.o.Log.Error("worker died", attrs...)
	}
}

// ping looks every pingTime whether the workers' control threads answer.
func (g *Group) ping() {
	ticker := time.NewTicker(pingTime)
	defer ticker.Stop()
	for {
		select {
		case <-g.stopPing:
			return
		case now := <-ticker.C:
			for _, w := range g.Workers() {
				w.look(now)
			}
		}
	}
}

// Workers returns those that live.
func (g *Group) Workers() []*Worker {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.workers)
}

// Python is the interpreter.
func (g *Group) Python() string { return g.python }

// Stop ends the workers: the host has shut their queue down, so that each leaves when it has answered what it has.
// After GracefulTimeout, or when ctx ends, their stacks are in the log and they are killed; at once if ctx has ended
// already. The error is that of ctx, or that of the timeout. It returns when no process is left. A second call waits
// for the first.
func (g *Group) Stop(ctx context.Context) error {
	g.mu.Lock()
	g.stopping = true
	for timer := range g.pending {
		timer.Stop()
	}
	clear(g.pending)
	workers := slices.Clone(g.workers)
	if len(workers) == 0 {
		g.closeEmpty()
	}
	g.mu.Unlock()
	g.stopOnce.Do(func() { close(g.stopPing) })
	for _, w := range workers {
		if !w.isReady() || ctx.Err() != nil {
			w.stop()
		}
	}
	grace := time.NewTimer(g.o.GracefulTimeout)
	defer grace.Stop()
	var err error
	select {
	case <-g.empty:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
		for _, w := range g.Workers() {
			w.Kill("isbjorn ends at once")
		}
	case <-grace.C:
		err = errGrace
		for _, w := range g.Workers() {
			w.abort(fmt.Sprintf("it has not ended within graceful_timeout = %v", g.o.GracefulTimeout))
		}
	}
	<-g.empty
	return err
}

var errGrace = errors.New("process: workers have not ended within the graceful timeout, and were killed")
