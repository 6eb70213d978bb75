//go:build linux

package wsgi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/wsgi/internal/dispatch"
	"github.com/isbjorn/isbjorn/wsgi/internal/process"
	"github.com/isbjorn/isbjorn/wsgi/internal/wire"
)

// App is a Python application in its workers. It implements gateway.App, for any number of servers.
type App struct {
	current atomic.Pointer[settings]
	queue   *dispatch.Queue
	group   *process.Group
	limits  rate

	mu        sync.Mutex
	responses []*response
}

// settings are those of a generation of workers. They are not changed.
type settings struct {
	Options         // complete
	constant []byte // pairs of the environ that are the same in each request
}

// New starts the workers, and returns when the first of them serves. The error is a *StartError if the application
// cannot be loaded, or its Python not be run; then nothing is left running.
func New(o Options) (*App, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	a := &App{}
	a.current.Store(&settings{o, constantPairs(&o)})
	limits := o.limits()
	limits.TempDir, limits.Log = o.TempDir, o.Log
	limits.Replace = func(w dispatch.Worker, why string) { a.group.Replace(w.(*process.Worker), why) }
	if a.queue, err = dispatch.New(limits); err != nil {
		return nil, err
	}
	workers := o.workers()
	workers.Queue, workers.RestartDelay, workers.Log, workers.Host = a.queue.Theirs(), o.restartDelay, o.Log, host{a.queue}
	if a.group, err = process.Start(context.Background(), workers); err != nil {
		a.queue.Close()
		return nil, startError(err)
	}
	return a, nil
}

// limits are the options of the queue that a reload may change.
func (o *Options) limits() dispatch.Options {
	return dispatch.Options{WaitMax: o.Queue, WaitTimeout: o.QueueTimeout, BootTimeout: o.BootTimeout,
		Timeout: o.RequestTimeout, SlowTime: o.SlowTime}
}

// workers are the options of the processes that a reload may change.
func (o *Options) workers() process.Options {
	slots := o.Threads
	if o.Gevent > 0 {
		slots = o.Gevent
	}
	return process.Options{
		Python: o.Python, Dir: o.Dir, Env: o.Env, Workers: o.Workers, Surge: o.ReloadSurge,
		BootTimeout: o.BootTimeout, GracefulTimeout: o.GracefulTimeout,
		Recycle: process.Recycle{Requests: o.MaxRequests, RequestsJitter: o.MaxRequestsJitter, Lifetime: o.MaxLifetime,
			Memory: o.MaxRSS},
		Config: wire.Config{Target: o.App, Dir: o.Dir, Path: o.Path, Factory: o.Factory, Strict: o.Strict,
			Slots: int32(slots), Gevent: o.Gevent > 0},
	}
}

// Reload takes new options, and the code of the application as it is now. It starts one worker by them. When that
// serves, all others are replaced in turn, each by one that serves before it takes no more requests, and Reload
// returns; they end when they have answered what they run. Requests wait for nothing and none is lost. If the first
// does not serve, nothing has changed; the error is as that of New. If ctx ends later, the others are replaced all the
// same. A second Reload waits for the first.
//
// Log and TempDir stay as they were for New, and so does whether there is a StreamInput at all, since a server looks
// for that at its start.
func (a *App) Reload(ctx context.Context, o Options) error {
	o, err := o.complete()
	if err != nil {
		return err
	}
	was := a.current.Load()
	if len(o.StreamInput) > 0 && len(was.StreamInput) == 0 {
		return errors.New("wsgi: option StreamInput: there was none at the start; only a restart can turn it on")
	}
	o.Log, o.TempDir = was.Log, was.TempDir
	return startError(a.group.Reload(ctx, o.workers(), func() {
		a.current.Store(&settings{o, constantPairs(&o)})
		a.queue.SetLimits(o.limits())
	}))
}

// Scale sets the number of workers, 1 to 512, until a Reload does. Of those that are too many the oldest take no more
// requests, and end when they have answered what they run.
func (a *App) Scale(n int) error {
	if n < 1 || n > workersMax {
		return fmt.Errorf("wsgi: %d workers; use 1 to %d", n, workersMax)
	}
	a.group.Scale(n)
	return nil
}

// Size is the number of workers that there are to be.
func (a *App) Size() int { return a.group.Size() }

// Workers returns the processes that are there, in the order of their start.
func (a *App) Workers() []WorkerInfo {
	var list []WorkerInfo
	for _, w := range a.group.All() {
		info := w.Info()
		list = append(list, WorkerInfo{Number: w.Number(), PID: w.PID(), Generation: info.Generation, State: info.State,
			Started: info.Started, Requests: info.Served, Memory: info.Memory, Running: a.queue.Running(w)})
	}
	return list
}

// host passes what happens to processes on to the queue.
type host struct{ q *dispatch.Queue }

func (h host) Ready(w *process.Worker)                   { h.q.Ready(w) }
func (h host) Drain(w *process.Worker)                   { h.q.Drain(w) }
func (h host) Exited(w *process.Worker, _ *process.Exit) { h.q.Exited(w) }
func (h host) Running(w *process.Worker) []string        { return h.q.Running(w) }
func (h host) Shutdown()                                 { h.q.Shutdown() }

// Shutdown ends the workers in order: requests that they have are answered, as far as a server still takes the
// answers, and functions that the application has registered for its end run. When ctx ends, or GracefulTimeout is
// over, they are killed. It is called after the Shutdown of the servers.
func (a *App) Shutdown(ctx context.Context) error {
	err := a.group.Stop(ctx)
	a.queue.Close()
	return err
}

// Close ends the workers at once.
func (a *App) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := a.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// get returns a response whose fields are zero but for what is bound once.
func (a *App) get() *response {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.responses); n > 0 {
		x := a.responses[n-1]
		a.responses = a.responses[:n-1]
		return x
	}
	x := &response{app: a}
	x.gone, x.line = x.isGone, x.requestLine
	return x
}

// responsesMax is how many responses are kept for the next requests.
const responsesMax = 256

// put takes x back.
func (a *App) put(x *response) {
	*x = response{app: x.app, names: x.names, gone: x.gone, line: x.line, fields: x.fields[:0], block: x.block[:0]}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.responses) < responsesMax {
		a.responses = append(a.responses, x)
	}
}

// rate limits lines of the log: one a second for each key.
type rate struct {
	mu    sync.Mutex
	lines map[string]*limit
}

type limit struct {
	last     time.Time
	unlogged int
}

// allow reports whether a line may be written, and how many were not since the last one.
func (r *rate) allow(key string) (unlogged int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lines == nil {
		r.lines = make(map[string]*limit)
	}
	l := r.lines[key]
	if l == nil {
		l = new(limit)
		r.lines[key] = l
	}
	now := time.Now()
	if now.Sub(l.last) < time.Second {
		l.unlogged++
		return 0, false
	}
	unlogged, l.last, l.unlogged = l.unlogged, now, 0
	return unlogged, true
}

var (
	_ gateway.Streamer = (*App)(nil)
	_ gateway.Wrapper  = (*response)(nil)
)

// startError is an error of the processes as one of this package.
func startError(err error) error {
	var load *process.LoadError
	if errors.As(err, &load) {
		return &StartError{App: true, Usage: load.Kind == "usage", err: err}
	}
	var boot *process.BootError
	if errors.As(err, &boot) {
		return &StartError{err: err}
	}
	return err
}
