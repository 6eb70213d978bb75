//go:build linux

package process

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
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

	BootTimeout     time.Duration // for the load of the application; 0 is no limit
	GracefulTimeout time.Duration // for the requests of a worker that is to end; 0 is no limit
	StallTimeout    time.Duration // a worker whose control thread is silent for so long is killed; 0 is 60 s

	Log  *slog.Logger
	Host Host

	// RestartDelay is how long a worker waits that replaces one which has died before it served for ServedTime, after
	// so many of them in a row. nil doubles from 1 s to 30 s.
	RestartDelay func(failures int) time.Duration

	// For tests; zero is as the constants have it.
	pingTime time.Duration
	oomKills func() int
}

// Host is told what happens to workers, one call at a time for each. Its methods do not block.
type Host interface {
	Ready(w *Worker)            // w serves: its streams are the host's until Release
	Drain(w *Worker)            // w gets no more requests; never before Ready or after Exited
	Exited(w *Worker, e *Exit)  // the process has ended; only after Ready
	Running(w *Worker) []string // the requests that w runs, for the report of its death
	Shutdown()                  // Stop begins: the workers' queue ends, and each leaves when it has answered
}

// ServedTime is how long a worker has to have served for its death not to count as a failure to start.
const ServedTime = 10 * time.Second

const (
	pingTime  = 15 * time.Second
	stallTime = time.Minute
	stackTime = time.Second     // for the control thread to answer DUMP
	abortTime = time.Second     // between SIGABRT, at which Python writes its stacks, and SIGKILL
	killTime  = 5 * time.Second // for the system to end a process that was killed
)

// Group is the workers of one generation of an application.
type Group struct {
	o      Options
	python string

	mu       sync.Mutex
	want     int                      // workers that there are to be
	workers  []*Worker                // until the host has been told of their end
	numbers  int                      // of workers so far
	failures int                      // workers in a row that have died early
	pending  map[*time.Timer]struct{} // starts that wait for their delay
	starting bool                     // no worker has served yet: the end of the first one is that of the group
	startErr error                    // why the first one has ended
	stopping bool                     // none is started any more
	oom      int                      // processes that the kernel has killed for memory, at the last look

	serves chan struct{} // closed when the first worker serves
	empty  chan struct{} // closed when stopping and no worker is left
	stop   chan struct{} // closed by Stop
	once   sync.Once     // of stop
}

// Start starts the first worker, waits until it serves, and starts the others. The error is a *LoadError, a
// *BootError, or that of ctx; no process is left then.
func Start(ctx context.Context, o Options) (*Group, error) {
	python, why, err := Find(o.Python, o.Dir)
	if err != nil {
		return nil, err
	}
	if err := raiseFiles(int(o.Config.Slots)); err != nil {
		return nil, &BootError{Python: python, Message: err.Error(),
			Mend: "raise the limit (ulimit -n, LimitNOFILE of systemd), or use fewer threads or greenlets"}
	}
	if o.Dir != "" {
		if info, err := os.Stat(o.Dir); err != nil || !info.IsDir() {
			return nil, &BootError{Python: python, Message: fmt.Sprintf("there is no directory %q to run it in", o.Dir),
				Mend: "chdir names the working directory of the application"}
		}
	}
	closeOnExec()
	o.StallTimeout, o.pingTime = cmp.Or(o.StallTimeout, stallTime), cmp.Or(o.pingTime, pingTime)
	if o.RestartDelay == nil {
		o.RestartDelay = restartDelay
	}
	if o.oomKills == nil {
		o.oomKills = oomKills
	}
	g := &Group{o: o, python: python, want: 1, starting: true, oom: o.oomKills(), pending: make(map[*time.Timer]struct{}),
		serves: make(chan struct{}), empty: make(chan struct{}), stop: make(chan struct{})}
	g.mu.Lock()
	first, err := g.spawn()
	g.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case <-g.serves:
	case <-g.empty:
		return nil, g.startErr
	case <-ctx.Done():
		_ = g.Stop(ctx)
		return nil, context.Cause(ctx)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	attrs := []any{slog.String("app", first.target), slog.String("python", python), slog.String("version", first.version),
		slog.String("found_by", why)}
	if first.found != "" {
		attrs = append(attrs, slog.String("app_by", first.found))
	}
	o.Log.Info("application loaded", attrs...)
	g.want = o.Workers
	g.balance()
	go g.ping()
	return g, nil
}

func restartDelay(failures int) time.Duration {
	return min(time.Second<<min(max(failures-1, 0), 10), 30*time.Second)
}

// spawn starts a worker. With mu.
func (g *Group) spawn() (*Worker, error) {
	w, err := start(g, g.numbers+1)
	if err != nil {
		return nil, err
	}
	g.numbers++
	g.workers = append(g.workers, w)
	return w, nil
}

// balance starts the workers that are missing: at once, or after the delay if the last ones have failed. With mu.
func (g *Group) balance() {
	if g.stopping {
		return
	}
	missing := g.want - len(g.pending)
	for _, w := range g.workers {
		if !w.ended && !w.replaced {
			missing--
		}
	}
	for range missing {
		if g.failures == 0 {
			g.spawnOrWait()
		} else {
			g.wait()
		}
	}
}

// spawnOrWait starts a worker, or tries again later. With mu.
func (g *Group) spawnOrWait() {
	if _, err := g.spawn(); err != nil {
		g.o.Log.Error("a worker cannot be started: " + err.Error())
		g.failures++
		g.wait()
	}
}

// wait starts a worker after the delay. With mu.
func (g *Group) wait() {
	var timer *time.Timer
	timer = time.AfterFunc(g.o.RestartDelay(g.failures), func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if _, ok := g.pending[timer]; ok {
			delete(g.pending, timer)
			g.spawnOrWait()
		}
	})
	g.pending[timer] = struct{}{}
}

// ready: w has loaded the application. If another one is to be replaced, that one can go now.
func (g *Group) ready(w *Worker) {
	w.host.Lock()
	g.mu.Lock()
	w.serves = true
	first := g.starting
	g.starting = false
	var old *Worker
	for _, other := range g.workers {
		if other != w && other.replaced && !other.draining && !other.ended && !g.stopping {
			old = other
			g.drain(old)
			break
		}
	}
	g.mu.Unlock()
	g.o.Host.Ready(w)
	w.host.Unlock()

	g.o.Log.Info("worker serves", slog.Int("worker", w.number), slog.Int("pid", w.PID()),
		slog.Duration("after", time.Since(w.started).Round(time.Millisecond)))
	if first {
		close(g.serves)
	}
	if old != nil {
		old.toHost(func() { g.o.Host.Drain(old) })
	}
}

// drain has w end: it is killed if it has not after GracefulTimeout. The caller tells the host. With mu.
func (g *Group) drain(w *Worker) {
	w.draining = true
	if g.o.GracefulTimeout > 0 {
		w.grace = time.AfterFunc(g.o.GracefulTimeout, func() { w.abort(g.graceOver()) })
	}
}

func (g *Group) graceOver() string {
	return fmt.Sprintf("it has not ended within its time for that, %v", g.o.GracefulTimeout)
}

// Replace starts another worker in place of w. When that serves, w gets no more requests, and ends; it is killed after
// GracefulTimeout. One that has not served yet is killed at once. A second call for w does nothing.
func (g *Group) Replace(w *Worker, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.replaced || w.ended || g.stopping || g.starting {
		return
	}
	w.replaced = true
	g.o.Log.Warn("worker is replaced: "+why, slog.Int("worker", w.number), slog.Int("pid", w.PID()))
	if !w.serves {
		w.Kill("it is replaced")
	}
	g.balance()
}

// exited: the process of w has ended, and all that it has sent was read.
func (g *Group) exited(w *Worker, e *Exit) {
	served := time.Duration(0)
	g.mu.Lock()
	w.ended = true
	if w.serves {
		served = time.Since(w.readyAt)
	}
	if w.grace != nil {
		w.grace.Stop()
	}
	oom := g.o.oomKills()
	e.OOM = e.Signal == syscall.SIGKILL && e.Why == "" && oom > g.oom
	g.oom = oom
	starting, stopping := g.starting, g.stopping
	switch {
	case starting:
		g.startErr, g.stopping = w.bootError(e), true
	case stopping, w.replaced:
	case served >= ServedTime:
		g.failures = 0
	default:
		g.failures++
	}
	g.mu.Unlock()

	if w.serves {
		e.Running = g.o.Host.Running(w)
	}
	if !starting {
		g.report(w, e, stopping)
	}
	w.toHost(func() {
		w.over = true
		if w.serves {
			g.o.Host.Exited(w, e)
		} else {
			w.Release()
		}
	})

	g.mu.Lock()
	defer g.mu.Unlock()
	g.workers = slices.DeleteFunc(g.workers, func(other *Worker) bool { return other == w })
	g.balance()
	if g.stopping && len(g.workers) == 0 {
		g.closeEmpty()
	}
}

// closeEmpty closes empty. With mu.
func (g *Group) closeEmpty() {
	select {
	case <-g.empty:
	default:
		close(g.empty)
	}
}

// report writes why a worker has ended.
func (g *Group) report(w *Worker, e *Exit, stopping bool) {
	attrs := []any{slog.Int("worker", w.number), slog.Int("pid", e.PID), slog.String("end", e.String()),
		slog.Duration("age", e.Age.Round(time.Millisecond))}
	if w.serves {
		attrs = append(attrs, slog.Uint64("requests", e.Served))
	}
	asked := stopping || w.replaced
	switch {
	case asked && (e.Drained && e.Signal == 0 || !w.serves || e.Why == endsAtOnce):
		g.o.Log.Info("worker ended", attrs...)
		return
	case !w.serves:
		g.o.Log.Error("worker did not start: "+w.bootError(e).Error(), attrs...)
		return
	}
	if len(e.Running) > 0 {
		attrs = append(attrs, slog.Any("running", e.Running))
	}
	if rss := w.rss.Load(); rss > 0 {
		attrs = append(attrs, slog.Int64("rss_mib", rss>>20))
	}
	if last := lastLines(w.output.last()); last != "" {
		attrs = append(attrs, slog.String("printed_last", last))
	}
	g.o.Log.Error("worker died", attrs...)
}

// aborts writes why a worker is killed, and its stacks. Those of one that does not serve are in its error.
func (g *Group) aborts(w *Worker, text string) {
	g.mu.Lock()
	serves := w.serves
	g.mu.Unlock()
	if serves {
		g.o.Log.Error("worker is killed: "+text, slog.Int("worker", w.number), slog.Int("pid", w.PID()))
	}
}

// lastLines are the last 20 lines of text.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(len(lines)-20, 0):], "\n")
}

// ping looks every pingTime whether the workers' control threads answer.
func (g *Group) ping() {
	ticker := time.NewTicker(g.o.pingTime)
	defer ticker.Stop()
	for {
		select {
		case <-g.stop:
			return
		case <-ticker.C:
		}
		for _, w := range g.Workers() {
			w.look(int32((g.o.StallTimeout + g.o.pingTime - 1) / g.o.pingTime))
		}
	}
}

// Workers returns those that live and serve.
func (g *Group) Workers() []*Worker {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(g.workers), func(w *Worker) bool { return w.ended || !w.serves })
}

const endsAtOnce = "isbjorn ends at once"

// Stop ends the workers: the host shuts their queue down, so that each leaves when it has answered what it has. Those
// that do not serve yet are killed. After GracefulTimeout the stacks of the others are in the log and they are
// killed, and when ctx ends at once. It returns when no process is left. The error says which had to be killed; it
// wraps that of ctx. A second call waits too.
func (g *Group) Stop(ctx context.Context) error {
	g.mu.Lock()
	g.stopping = true
	for timer := range g.pending {
		timer.Stop()
	}
	clear(g.pending)
	for _, w := range g.workers {
		if !w.serves {
			w.Kill("isbjorn ends")
		}
	}
	if len(g.workers) == 0 {
		g.closeEmpty()
	}
	g.mu.Unlock()
	g.once.Do(func() {
		close(g.stop)
		g.o.Host.Shutdown()
	})

	var grace <-chan time.Time
	if g.o.GracefulTimeout > 0 {
		timer := time.NewTimer(g.o.GracefulTimeout)
		defer timer.Stop()
		grace = timer.C
	}
	var err error
	select {
	case <-g.empty:
		return nil
	default:
	}
	select {
	case <-g.empty:
		return nil
	case <-ctx.Done():
	case <-grace:
		err = fmt.Errorf("process: %s have not ended within %v and were killed", g.names(), g.o.GracefulTimeout)
		g.each(func(w *Worker) { w.abort(g.graceOver()) })
		select {
		case <-g.empty:
			return err
		case <-time.After(stackTime + abortTime + killTime):
		case <-ctx.Done():
		}
	}
	if err == nil {
		err = fmt.Errorf("process: %s had no time to end and were killed: %w", g.names(), context.Cause(ctx))
	}
	g.each(func(w *Worker) { w.Kill(endsAtOnce) })
	select {
	case <-g.empty:
		return err
	case <-time.After(killTime):
		return fmt.Errorf("process: the system does not end %s", g.names())
	}
}

// each calls f for all workers that have not ended.
func (g *Group) each(f func(w *Worker)) {
	g.mu.Lock()
	workers := slices.Clone(g.workers)
	g.mu.Unlock()
	for _, w := range workers {
		f(w)
	}
}

// names are the processes that are there, for a message.
func (g *Group) names() string {
	var names []string
	g.each(func(w *Worker) { names = append(names, fmt.Sprintf("worker %d (pid %d)", w.number, w.PID())) })
	return strings.Join(names, ", ")
}
