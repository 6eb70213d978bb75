//go:build linux

package process

import (
	"cmp"
	"context"
	"errors"
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

// Options are those of a Group. A reload sets those before Queue anew.
type Options struct {
	Python  string      // file or name of the interpreter; "" finds one, see Find
	Dir     string      // working directory of the workers; "" is that of this process
	Env     []string    // "NAME=value", beside those of this process
	Config  wire.Config // Slots of each worker among it
	Workers int
	Surge   int // processes beyond Workers while some are replaced; 0 is 1

	BootTimeout     time.Duration // for the load of the application; 0 is no limit
	GracefulTimeout time.Duration // for the requests of a worker that is to end; 0 is no limit
	Recycle         Recycle

	Queue        *os.File      // the workers' end of the queue; it stays the caller's, and open until Stop has returned
	StallTimeout time.Duration // a worker whose control thread is silent for so long is killed; 0 is 60 s

	Log  *slog.Logger
	Host Host

	// RestartDelay is how long a worker waits that replaces one which has died before it served for ServedTime, after
	// so many of them in a row. nil doubles from 1 s to 30 s.
	RestartDelay func(failures int) time.Duration

	// For tests; zero is as the constants have it.
	pingTime    time.Duration
	recycleTime time.Duration
	memoryTime  time.Duration
	oomKills    func() int
}

// Recycle is when a worker is replaced though nothing is wrong with it: another one serves first, and never are two
// replaced at once. Zero values are no limit.
type Recycle struct {
	Requests       int           // that it has begun
	RequestsJitter int           // up to so many more, by chance: the workers do not come to their limit together
	Lifetime       time.Duration // since its start, and up to a tenth more
	Memory         int64         // bytes: Pss, or the resident set where the kernel has no Pss
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
	recycleTime = 100 * time.Millisecond // between two looks whether a worker is to be recycled
	memoryTime  = 10 * time.Second       // between two looks at the memory of a worker

	pingTime  = 15 * time.Second
	stallTime = time.Minute
	stackTime = time.Second     // for the control thread to answer DUMP
	abortTime = time.Second     // between SIGABRT, at which Python writes its stacks, and SIGKILL
	killTime  = 5 * time.Second // for the system to end a process that was killed
)

// generation is what workers of the same code and settings have in common.
type generation struct {
	Options
	number      int    // from 1
	interpreter string // that of Options.Python
	why         string // it was taken
}

// Group is the workers of an application. Those of several generations answer from the same queue while a reload
// replaces them one after the other.
type Group struct {
	o         Options       // of Start; of what a reload changes the generations have what counts
	reloading chan struct{} // has an element while a reload is under way

	mu       sync.Mutex
	gen      *generation              // of workers that are started
	want     int                      // workers that there are to be
	ended    chan struct{}            // closed when the next worker has ended
	renewed  chan struct{}            // closed when no worker of an older generation takes requests any more
	workers  []*Worker                // in the order of their start, until the host has been told of their end
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

// prepare finds what a generation needs on this machine.
func prepare(o Options) (*generation, error) {
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
	o.Surge = max(o.Surge, 1)
	return &generation{Options: o, number: 1, interpreter: python, why: why}, nil
}

// Start starts the first worker, waits until it serves, and starts the others. The error is a *LoadError, a
// *BootError, or that of ctx; no process is left then.
func Start(ctx context.Context, o Options) (*Group, error) {
	gen, err := prepare(o)
	if err != nil {
		return nil, err
	}
	closeOnExec()
	o.StallTimeout, o.pingTime = cmp.Or(o.StallTimeout, stallTime), cmp.Or(o.pingTime, pingTime)
	o.recycleTime, o.memoryTime = cmp.Or(o.recycleTime, recycleTime), cmp.Or(o.memoryTime, memoryTime)
	if o.RestartDelay == nil {
		o.RestartDelay = restartDelay
	}
	if o.oomKills == nil {
		o.oomKills = oomKills
	}
	g := &Group{o: o, gen: gen, want: 1, starting: true, oom: o.oomKills(), pending: make(map[*time.Timer]struct{}),
		reloading: make(chan struct{}, 1), ended: make(chan struct{}), renewed: make(chan struct{}),
		serves: make(chan struct{}),
		empty:  make(chan struct{}), stop: make(chan struct{})}
	g.mu.Lock()
	first, err := g.spawn(gen)
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
	first.logLoaded()
	g.mu.Lock()
	g.want = o.Workers
	g.settleAndUnlock()
	go g.ping()
	go g.recycle()
	return g, nil
}

// proof is what a reload waits for: that a worker of its generation serves.
type proof struct {
	made   func()     // called when it does, before it takes requests
	result chan error // nil, or why it does not
}

// errStopping is the error of a reload that meets a stop.
var errStopping = errors.New("process: the workers are ending")

// Reload starts a worker by other options. When it serves, these are proved: from then on all workers are started by
// them, and those that there were are replaced, Surge at a time, each by one that serves before it ends. It returns
// when none of them takes a request any more. If the first worker does not serve, nothing has changed; the error is
// that of Start. If ctx ends later than that, the rest are replaced all the same. A second Reload waits for the first.
// proved is called before the first new worker takes requests.
func (g *Group) Reload(ctx context.Context, o Options, proved func()) error {
	select {
	case g.reloading <- struct{}{}:
		defer func() { <-g.reloading }()
	case <-g.stop:
		return errStopping
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	gen, err := prepare(o)
	if err != nil {
		return err
	}
	proof := &proof{made: proved, result: make(chan error, 1)}
	g.mu.Lock()
	for !g.stopping && g.leaving() >= gen.Surge { // of the reload before
		ended := g.ended
		g.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		g.mu.Lock()
	}
	if g.stopping {
		g.mu.Unlock()
		return errStopping
	}
	gen.number = g.gen.number + 1
	w, err := g.spawn(gen)
	if err == nil {
		w.proof = proof
	}
	g.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case err = <-proof.result:
	case <-ctx.Done():
		w.Kill("the reload was given up")
		if err = <-proof.result; err != nil {
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		return err
	}
	w.logLoaded()
	g.mu.Lock()
	renewed := g.renewed
	g.mu.Unlock()
	select {
	case <-renewed:
		return nil
	case <-g.stop:
		return errStopping
	case <-ctx.Done():
		return fmt.Errorf("process: the new workers serve; some of the old ones do too still: %w", context.Cause(ctx))
	}
}

// leaving is how many workers take no more requests and have not ended, or were killed before they took any. With mu.
func (g *Group) leaving() (n int) {
	for _, w := range g.workers {
		if !w.ended && (w.draining || w.replaced && !w.serves) {
			n++
		}
	}
	return n
}

// Scale sets how many workers there are to be, 1 and more. Where there are more, the oldest take no more requests,
// and end when they have answered what they run.
func (g *Group) Scale(n int) {
	g.mu.Lock()
	g.want = max(n, 1)
	g.forgetPending() // settle waits anew for those that are missing then
	g.settleAndUnlock()
}

func restartDelay(failures int) time.Duration {
	return min(time.Second<<min(max(failures-1, 0), 10), 30*time.Second)
}

// Size is how many workers there are to be.
func (g *Group) Size() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.want
}

// spawn starts a worker. With mu.
func (g *Group) spawn(gen *generation) (*Worker, error) {
	w, err := start(g, gen, g.numbers+1)
	if err != nil {
		return nil, err
	}
	g.numbers++
	g.workers = append(g.workers, w)
	return w, nil
}

// settle has the workers become those that there are to be. It starts those that are missing: at once, or after the
// delay if the last ones have failed. Those that are too many leave, and those of older generations are replaced in
// turn. It returns workers that the host is to be told of: they take no more requests. With mu.
func (g *Group) settle() (leave []*Worker) {
	if g.stopping || g.starting {
		return nil
	}
	var staying, replaced []*Worker
	serving := 0 // of those that stay
	for _, w := range g.workers {
		switch {
		case w.ended || w.draining || w.proof != nil:
		case w.replaced:
			if w.serves { // else it is being killed
				replaced = append(replaced, w)
			}
		default:
			staying = append(staying, w)
			if w.serves {
				serving++
			}
		}
	}
	remove := func(w *Worker) {
		w.replaced = true
		if w.serves {
			g.drain(w)
			leave = append(leave, w)
		} else {
			w.Kill("it is not needed any more")
		}
	}
	// Those that do not serve yet first, then older generations, then the oldest.
	slices.SortStableFunc(staying, func(a, b *Worker) int {
		return cmp.Or(compareBool(a.serves, b.serves), a.gen.number-b.gen.number)
	})
	for len(staying) > g.want {
		w := staying[0]
		staying = staying[1:]
		if w.serves {
			serving--
		}
		remove(w)
	}
	for i := 0; i < len(staying) && len(replaced)+g.leaving() < g.gen.Surge; i++ {
		w := staying[i]
		if w.gen == g.gen {
			continue
		}
		staying = slices.Delete(staying, i, i+1)
		i--
		w.replaced = true
		if !w.serves {
			w.Kill("a reload replaces it")
			continue
		}
		serving--
		replaced = append(replaced, w)
	}
	for len(replaced) > 0 && serving+len(replaced) > g.want {
		remove(replaced[0])
		replaced = replaced[1:]
	}
	for range g.want - len(g.pending) - len(staying) {
		if g.failures == 0 {
			g.spawnOrWait()
		} else {
			g.wait()
		}
	}
	if !slices.ContainsFunc(staying, g.isOld) && !slices.ContainsFunc(replaced, g.isOld) {
		select {
		case <-g.renewed:
		default:
			close(g.renewed)
		}
	}
	return leave
}

func (g *Group) isOld(w *Worker) bool { return w.gen != g.gen }

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// settleAndUnlock calls settle, unlocks mu and tells the host.
func (g *Group) settleAndUnlock() {
	leave := g.settle()
	g.mu.Unlock()
	for _, w := range leave {
		w.toHost(func() { g.o.Host.Drain(w) })
	}
}

// spawnOrWait starts a worker, or tries again later. With mu.
func (g *Group) spawnOrWait() {
	if _, err := g.spawn(g.gen); err != nil {
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

// forgetPending ends the waits. With mu.
func (g *Group) forgetPending() {
	for timer := range g.pending {
		timer.Stop()
	}
	clear(g.pending)
}

// ready: w has loaded the application. If another one is to be replaced, that one can go now.
func (g *Group) ready(w *Worker) {
	w.host.Lock()
	g.mu.Lock()
	w.serves = true
	first := g.starting
	g.starting = false
	proof := w.proof
	if w.proof = nil; proof != nil { // a reload has its first worker: no other can have begun meanwhile
		g.gen, g.want, g.failures = w.gen, w.gen.Workers, 0
		g.forgetPending() // there is no need to wait with code that serves
		g.renewed = make(chan struct{})
	}
	g.mu.Unlock()
	if proof != nil {
		proof.made()
	}
	g.o.Host.Ready(w)
	w.host.Unlock()

	g.o.Log.Info("worker serves", slog.Int("worker", w.number), slog.Int("pid", w.PID()),
		slog.Duration("after", time.Since(w.started).Round(time.Millisecond)))
	g.mu.Lock()
	g.settleAndUnlock()
	if first {
		close(g.serves)
	}
	if proof != nil {
		proof.result <- nil
	}
}

// drain has w end: it is killed if it has not after GracefulTimeout. The caller tells the host. With mu.
func (g *Group) drain(w *Worker) {
	w.draining = true
	if limit := g.gen.GracefulTimeout; limit > 0 {
		w.grace = time.AfterFunc(limit, func() { w.abort(graceOver(limit)) })
	}
}

func graceOver(limit time.Duration) string {
	return fmt.Sprintf("it has not ended within its time for that, %v", limit)
}

// Replace starts another worker in place of w. When that serves, w gets no more requests, and ends; it is killed after
// GracefulTimeout. One that has not served yet is killed at once. A second call for w does nothing.
func (g *Group) Replace(w *Worker, why string) { g.replace(w, slog.LevelWarn, why) }

func (g *Group) replace(w *Worker, level slog.Level, why string) {
	g.mu.Lock()
	if w.replaced || w.ended || g.stopping || g.starting || w.proof != nil {
		g.mu.Unlock()
		return
	}
	w.replaced = true
	g.o.Log.Log(background, level, "worker is replaced: "+why, slog.Int("worker", w.number), slog.Int("pid", w.PID()))
	if !w.serves {
		w.Kill("it is replaced")
	}
	g.settleAndUnlock()
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
	starting, stopping, proof := g.starting, g.stopping, w.proof
	switch {
	case starting:
		g.startErr, g.stopping = w.bootError(e), true
	case stopping, w.replaced, proof != nil:
	case served >= ServedTime:
		g.failures = 0
	default:
		g.failures++
	}
	g.mu.Unlock()

	if w.serves {
		e.Running = g.o.Host.Running(w)
	}
	if !starting && proof == nil {
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
	g.workers = slices.DeleteFunc(g.workers, func(other *Worker) bool { return other == w })
	close(g.ended)
	g.ended = make(chan struct{})
	if g.stopping && len(g.workers) == 0 {
		g.closeEmpty()
	}
	g.settleAndUnlock()
	if proof != nil {
		proof.result <- w.bootError(e)
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

// recycle looks every recycleTime whether a worker has come to a limit of Recycle.
func (g *Group) recycle() {
	ticker := time.NewTicker(g.o.recycleTime)
	defer ticker.Stop()
	for {
		select {
		case <-g.stop:
			return
		case now := <-ticker.C:
			g.recycleOne(now)
		}
	}
}

// recycleOne replaces the first worker that has come to a limit, unless one is being replaced or leaves.
func (g *Group) recycleOne(now time.Time) {
	g.mu.Lock()
	limits := g.gen.Recycle
	if limits == (Recycle{}) || slices.ContainsFunc(g.workers, func(w *Worker) bool {
		return !w.ended && (w.replaced || w.proof != nil || w.gen != g.gen)
	}) {
		g.mu.Unlock()
		return
	}
	workers := slices.DeleteFunc(slices.Clone(g.workers), func(w *Worker) bool { return w.ended || !w.serves })
	g.mu.Unlock()
	for _, w := range workers {
		if why := w.atLimit(limits, now, g.o.memoryTime); why != "" {
			g.replace(w, slog.LevelInfo, why)
			return
		}
	}
}

// All returns those that have not ended, in the order of their start.
func (g *Group) All() []*Worker {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(g.workers), func(w *Worker) bool { return w.ended })
}

// Info is what a worker is at the moment.
type Info struct {
	Generation int
	State      string // starting, serving or leaving
	Started    time.Time
	Served     uint64 // requests that it has begun
	Memory     int64  // bytes
}

// Info looks at the process.
func (w *Worker) Info() Info {
	w.group.mu.Lock()
	i := Info{Generation: w.gen.number, State: "starting", Started: w.started}
	switch {
	case w.draining || w.group.stopping:
		i.State = "leaving"
	case w.serves:
		i.State = "serving"
	}
	w.group.mu.Unlock()
	i.Served, _ = w.served()
	i.Memory = memory(w.PID())
	return i
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
	g.forgetPending()
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

	g.mu.Lock()
	limit := g.gen.GracefulTimeout
	g.mu.Unlock()
	var grace <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
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
		err = fmt.Errorf("process: %s have not ended within %v and were killed", g.names(), limit)
		g.each(func(w *Worker) { w.abort(graceOver(limit)) })
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
