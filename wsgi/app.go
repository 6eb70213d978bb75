//go:build linux

package wsgi

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/wsgi/internal/dispatch"
	"github.com/isbjorn/isbjorn/wsgi/internal/process"
	"github.com/isbjorn/isbjorn/wsgi/internal/wire"
)

// App is a Python application in its workers. It implements gateway.App, for any number of servers.
type App struct {
	options  Options // complete
	constant []byte  // pairs of the environ that are the same in each request
	queue    *dispatch.Queue
	group    *process.Group
	limits   rate

	mu        sync.Mutex
	responses []*response
}

// New starts the workers, and returns when the first of them serves. The error is a *StartError if the application
// cannot be loaded, or its Python not be run; then nothing is left running.
func New(o Options) (*App, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	a := &App{options: o, constant: constantPairs(&o)}
	a.queue, err = dispatch.New(dispatch.Options{
		WaitMax: o.Queue, WaitTimeout: o.QueueTimeout, BootTimeout: o.BootTimeout, Timeout: o.RequestTimeout,
		SlowTime: o.SlowTime, TempDir: o.TempDir, Log: o.Log,
		Replace: func(w dispatch.Worker, why string) { a.group.Replace(w.(*process.Worker), why) },
	})
	if err != nil {
		return nil, err
	}
	slots := o.Threads
	if o.Gevent > 0 {
		slots = o.Gevent
	}
	a.group, err = process.Start(context.Background(), process.Options{
		Python: o.Python, Dir: o.Dir, Env: o.Env, Workers: o.Workers, Queue: a.queue.Theirs(),
		BootTimeout: o.BootTimeout, GracefulTimeout: o.GracefulTimeout, Log: o.Log, Host: host{a.queue},
		Config: wire.Config{Target: o.App, Dir: o.Dir, Path: o.Path, Factory: o.Factory, Strict: o.Strict,
			Slots: int32(slots), Gevent: o.Gevent > 0},
	})
	if err != nil {
		a.queue.Close()
		return nil, startError(err)
	}
	return a, nil
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
