//go:build linux

package process

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/wsgi/internal/wire"
	"github.com/isbjorn/isbjorn/wsgi/internal/worker"
)

// Worker is one Python process. All methods may be called from any goroutine.
type Worker struct {
	group   *Group
	gen     *generation
	number  int
	cmd     *exec.Cmd
	started time.Time
	slots   int
	data    []int // our ends
	lane    []int
	board   []byte // mapped; nil after Release
	control *net.UnixConn
	output  *output
	rss     atomic.Int64 // bytes, at the last look
	chance  float64      // of 0 to 1: how much of the jitter of a limit is its own
	pings   atomic.Int32 // that have no answer yet
	boot    *time.Timer  // of BootTimeout; nil without

	host sync.Mutex // one call of the host at a time
	over bool       // the host knows of the end; with host

	// With mu of the group.
	serves   bool        // READY has come
	proof    *proof      // of a reload, until it serves or has ended; nil for other workers
	replaced bool        // another one takes its place
	draining bool        // it gets no more requests
	ended    bool        // the process has ended
	grace    *time.Timer // of a worker that drains; nil without

	looked time.Time // at its memory; of the goroutine of recycle

	// Of the goroutine that reads what the worker says, until it has ended or called Group.ready.
	said    bool // HELLO has come
	version string
	target  string
	found   string // how the application was found
	readyAt time.Time
	load    *LoadError
	refused string // why HELLO was refused
	drained bool

	mu       sync.Mutex
	why      string // why we have killed it
	aborts   bool
	stacks   string                                  // at its abort
	dumps    map[uint64]func(stacks string, ok bool) // nil when the process has ended
	dumpID   uint64
	released bool
}

// Exit is how a process has ended.
type Exit struct {
	PID     int
	Status  int
	Signal  syscall.Signal // 0 if it has exited
	Why     string         // why we have killed it; "" if we have not
	OOM     bool           // the kernel has killed a process of the control group for memory meanwhile
	Drained bool           // it has ended in order
	Age     time.Duration
	Served  uint64   // requests that it has begun
	Running []string // the requests that it ran
}

func (e *Exit) String() string {
	var text string
	switch {
	case e.Signal != 0:
		text = fmt.Sprintf("signal %d (%s)", int(e.Signal), unix.SignalName(e.Signal))
	default:
		text = fmt.Sprintf("status %d", e.Status)
	}
	switch {
	case e.Signal == 0 && e.Drained:
		text += ", in order"
	case e.Signal == 0 && e.Why != "":
		text += "; isbjorn was to kill it: " + e.Why
	case e.Why != "":
		text += ", killed by isbjorn: " + e.Why
	case e.OOM: // with SIGKILL alone
		text += ", by the kernel for lack of memory: oom_kill of the control group has risen"
	case slices.Contains([]syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT}, e.Signal):
		text += ", not sent by isbjorn"
	}
	return text
}

// start starts a process.
func start(g *Group, gen *generation, number int) (*Worker, error) {
	slots := int(gen.Config.Slots)
	w := &Worker{group: g, gen: gen, number: number, chance: rand.Float64(), slots: slots,
		started: time.Now(), dumps: make(map[uint64]func(string, bool))}
	var files []*os.File // the worker's ends
	defer func() {
		for _, f := range files {
			if f != g.o.Queue && f != nil {
				_ = f.Close()
			}
		}
	}()
	fail := func(err error) (*Worker, error) {
		w.Release()
		return nil, &BootError{Python: gen.interpreter, Message: err.Error()}
	}
	source, err := memoryFile("worker", int64(len(worker.Source)))
	if err != nil {
		return fail(err)
	}
	files = append(files, source)
	if _, err := source.WriteAt([]byte(worker.Source), 0); err != nil {
		return fail(err)
	}
	ours, theirs, err := socketPair(unix.SOCK_STREAM)
	if err != nil {
		return fail(err)
	}
	files = append(files, theirs, g.o.Queue)
	file := os.NewFile(uintptr(ours), "control")
	conn, err := net.FileConn(file)
	_ = file.Close()
	if err != nil {
		return fail(err)
	}
	w.control = conn.(*net.UnixConn)
	board, err := memoryFile("scoreboard", int64(slots*worker.LineBytes))
	if err != nil {
		return fail(err)
	}
	files = append(files, board)
	w.board, err = unix.Mmap(int(board.Fd()), 0, slots*worker.LineBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fail(err)
	}
	for range slots {
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_SEQPACKET} {
			ours, theirs, err := socketPair(kind)
			if err != nil {
				return fail(err)
			}
			files = append(files, theirs)
			if kind == unix.SOCK_STREAM {
				w.data = append(w.data, ours)
			} else {
				w.lane = append(w.lane, ours)
			}
		}
	}
	read, write, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	files = append(files, write)
	w.output = newOutput(read, g.o.Log, number)

	w.cmd = exec.Command(gen.interpreter, "-c", worker.Boot)
	w.cmd.Dir = gen.Dir
	w.cmd.Env = environment(gen.Env)
	w.cmd.Stdout, w.cmd.Stderr = write, write
	w.cmd.ExtraFiles = files[:len(files)-1]
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // signals of the terminal are for us
	if err := w.cmd.Start(); err != nil {
		_ = read.Close()
		return fail(err)
	}
	go w.output.run()
	if gen.BootTimeout > 0 {
		w.boot = time.AfterFunc(gen.BootTimeout, func() {
			w.abort(fmt.Sprintf("the application was not loaded within boot_timeout = %v", gen.BootTimeout))
		})
	}
	go w.live()
	return w, nil
}

func memoryFile(name string, size int64) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := f.Truncate(size); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// socketPair makes a pair, of which our end does not block.
func socketPair(kind int) (ours int, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, nil, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return -1, nil, os.NewSyscallError("fcntl", err)
	}
	return fds[0], os.NewFile(uintptr(fds[1]), "worker"), nil
}

// hidden are variables for this process alone: sockets and notices of a service manager, and of a restart.
var hidden = []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
	"TABLEFLIP_HAS_PARENT_7DIU3", "TABLEFLIP_PARENT_READY_7DIU3"}

// environment is that of a worker.
func environment(more []string) []string {
	env := slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.Contains(hidden, name)
	})
	env = append(env, more...)
	for _, pair := range env {
		if strings.HasPrefix(pair, "PYTHONUNBUFFERED=") {
			return env
		}
	}
	return append(env, "PYTHONUNBUFFERED=1") // what is printed is in the log at once
}

// Number counts the workers of a group from 1.
func (w *Worker) Number() int { return w.number }

// PID is the id of the process.
func (w *Worker) PID() int { return w.cmd.Process.Pid }

// Slots is how many requests it runs at once.
func (w *Worker) Slots() int { return w.slots }

// Data is our end of the stream of a slot, which does not block. It is open until Release.
func (w *Worker) Data(slot int) int { return w.data[slot] }

// Lane is the same for descriptors.
func (w *Worker) Lane(slot int) int { return w.lane[slot] }

// word is a word of the scoreboard.
func (w *Worker) word(slot, word int) *uint64 {
	return (*uint64)(unsafe.Pointer(&w.board[slot*worker.LineBytes+word*8]))
}

// Load reads a word of the scoreboard, until Release; also after the process has ended.
func (w *Worker) Load(slot, word int) uint64 { return atomic.LoadUint64(w.word(slot, word)) }

// Store writes a word of the scoreboard, until Release.
func (w *Worker) Store(slot, word int, v uint64) { atomic.StoreUint64(w.word(slot, word), v) }

// Release closes the streams and the scoreboard. The host calls it once it is done with them, after Exited.
func (w *Worker) Release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.released {
		return
	}
	w.released = true
	for _, fd := range append(slices.Clone(w.data), w.lane...) {
		_ = unix.Close(fd)
	}
	if w.board != nil {
		_ = unix.Munmap(w.board)
		w.board = nil
	}
	if w.control != nil {
		_ = w.control.Close()
	}
}

// live reads what the worker says, and waits for its end.
func (w *Worker) live() {
	end := make(chan struct{}) // of what it says
	go func() {
		defer close(end)
		if err := w.readControl(); err != nil {
			w.Kill(err.Error())
		}
	}()
	_ = w.cmd.Wait()
	w.bootOver()
	select { // what it has said before its end; a child of the application may have the stream still
	case <-end:
	case <-time.After(time.Second):
		_ = w.control.SetReadDeadline(time.Now())
		<-end
	}
	w.output.finish()
	e := &Exit{PID: w.PID(), Age: time.Since(w.started), Drained: w.drained}
	if status, _ := w.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		e.Signal = status.Signal()
	} else {
		e.Status = status.ExitStatus()
	}
	e.Served, _ = w.served()
	w.mu.Lock()
	e.Why = w.why
	dumps := w.dumps
	w.dumps = nil
	w.mu.Unlock()
	for _, done := range dumps {
		done("the worker has ended before it gave its stacks", false)
	}
	w.group.exited(w, e)
}

func (w *Worker) bootOver() {
	if w.boot != nil {
		w.boot.Stop()
	}
}

// toHost makes a call of the host for w, unless that knows of its end.
func (w *Worker) toHost(f func()) {
	w.host.Lock()
	defer w.host.Unlock()
	if !w.over {
		f()
	}
}

// readControl reads the control stream to its end.
func (w *Worker) readControl() error {
	var decoder wire.Control
	var buf []byte
	chunk := make([]byte, 16<<10)
	for {
		n, err := w.control.Read(chunk)
		buf = append(buf, chunk[:n]...)
		for {
			f, used, err := decoder.Next(buf)
			if err == nil && used > 0 {
				err = w.frame(&f)
			}
			if err != nil {
				return err
			}
			if used == 0 {
				break
			}
			buf = buf[used:]
		}
		if err != nil {
			return nil
		}
	}
}

// frame takes one control frame.
func (w *Worker) frame(f *wire.Frame) error {
	texts := func(n int) ([]string, error) { return wire.DecodeTexts(f.Payload, n) }
	switch f.Type {
	case wire.FrameHello:
		t, err := texts(6)
		if err != nil {
			return err
		}
		w.said, w.version = true, t[2]+" "+t[1]
		switch {
		case t[0] != strconv.Itoa(wire.Version):
			w.refused = "it speaks protocol " + t[0]
		case t[5] != "ok":
			w.refused = fmt.Sprintf("this Python (%s) does not read the server's messages (%s); use CPython 3.8 to 3.14",
				w.version, t[5])
		}
		if w.refused != "" {
			return errors.New(w.refused)
		}
		w.send(wire.AppendConfig(nil, &w.gen.Config))
	case wire.FrameReady:
		t, err := texts(3)
		if err != nil {
			return err
		}
		w.bootOver()
		w.target, w.found, w.readyAt = t[0], t[1], time.Now()
		w.group.ready(w)
	case wire.FrameLoadError:
		t, err := texts(4)
		if err != nil {
			return err
		}
		w.load = &LoadError{Kind: t[0], Message: t[1], Mend: t[2], Traceback: t[3]}
	case wire.FrameDrained:
		w.drained = true
	case wire.FrameStacks:
		t, err := texts(1)
		if err != nil {
			return err
		}
		w.dumped(f.ID, t[0], true)
	case wire.FrameLog:
		t, err := texts(2)
		if err != nil {
			return err
		}
		level := slog.LevelWarn
		if t[0] == "error" {
			level = slog.LevelError
		}
		attrs := []any{slog.Int("worker", w.number)}
		if f.ID != 0 {
			attrs = append(attrs, slog.Uint64("request", f.ID))
		}
		w.group.o.Log.Log(background, level, t[1], attrs...)
	case wire.FramePong:
		w.pings.Store(0)
	case wire.FrameLeave:
		go w.group.Replace(w, "it got SIGTERM")
	}
	return nil
}

// send writes to the control stream; a worker that does not read it for a second is not waited for.
func (w *Worker) send(b []byte) {
	_ = w.control.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = w.control.Write(b)
}

// Dump asks for the stacks of all threads. done gets them on another goroutine; if the control thread does not answer
// within a second, done is told that.
func (w *Worker) Dump(done func(stacks string)) {
	w.dump(func(stacks string, _ bool) { done(stacks) })
}

// dump is Dump; done is also told whether these are stacks.
func (w *Worker) dump(done func(stacks string, ok bool)) {
	w.mu.Lock()
	if w.dumps == nil {
		w.mu.Unlock()
		go done("the worker has ended", false)
		return
	}
	w.dumpID++
	id := w.dumpID
	w.dumps[id] = done
	w.mu.Unlock()
	time.AfterFunc(stackTime, func() {
		w.dumped(id, "the worker gives no stacks: its control thread does not run, as when code in C holds Python's lock", false)
	})
	go w.send(wire.AppendControl(nil, wire.FrameDump, id))
}

func (w *Worker) dumped(id uint64, stacks string, ok bool) {
	w.mu.Lock()
	done := w.dumps[id]
	delete(w.dumps, id)
	w.mu.Unlock()
	if done != nil {
		done(stacks, ok)
	}
}

// Kill ends the process at once. The report of its death says why, unless it was ending already: that its streams have
// ended may be the first that is seen of it.
func (w *Worker) Kill(why string) {
	if !exiting(w.PID()) {
		w.note(why)
	}
	_ = w.cmd.Process.Kill()
}

// exiting reports whether a process is about to end, or has: PF_EXITING of the kernel.
func exiting(pid int) bool {
	const flag, field = 4, 8 // the ninth field: see proc_pid_stat(5)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // from the third on
	flags, err := strconv.ParseUint(string(fields[field-2]), 10, 64)
	return err == nil && flags&flag != 0
}

// note keeps the first reason for an end.
func (w *Worker) note(why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.why == "" {
		w.why = why
	}
}

// abort ends the process: first the stacks of its threads go to the log, or into the error of a worker that does not
// serve. If its control thread gives none, Python's fault handler prints them at SIGABRT.
func (w *Worker) abort(why string) {
	w.mu.Lock()
	again := w.aborts
	w.aborts = true
	w.mu.Unlock()
	if again {
		return
	}
	w.note(why)
	w.dump(func(stacks string, ok bool) {
		w.mu.Lock()
		if ok {
			w.stacks = stacks
		}
		w.mu.Unlock()
		w.group.aborts(w, why+"\n"+stacks)
		if ok {
			_ = w.cmd.Process.Kill()
			return
		}
		_ = w.cmd.Process.Signal(syscall.SIGABRT)
		time.AfterFunc(abortTime, func() { _ = w.cmd.Process.Kill() })
	})
}

// served is how many requests it has begun. Not ok after Release.
func (w *Worker) served() (n uint64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.released {
		return 0, false
	}
	for slot := range w.slots {
		n += w.Load(slot, worker.WordCount)
	}
	return n, true
}

// logLoaded says which application serves, and by which Python.
func (w *Worker) logLoaded() {
	attrs := []any{slog.String("app", w.target), slog.String("python", w.gen.interpreter),
		slog.String("version", w.version), slog.String("found_by", w.gen.why)}
	if w.found != "" {
		attrs = append(attrs, slog.String("app_by", w.found))
	}
	if w.gen.number > 1 {
		attrs = append(attrs, slog.Int("generation", w.gen.number))
	}
	w.group.o.Log.Info("application loaded", attrs...)
}

// atLimit says why a worker is to be recycled; "" if it is not. For the goroutine of recycle.
func (w *Worker) atLimit(limits Recycle, now time.Time, memoryTime time.Duration) string {
	if limits.Requests > 0 {
		limit := uint64(limits.Requests) + uint64(w.chance*float64(limits.RequestsJitter+1))
		if n, _ := w.served(); n >= limit {
			return fmt.Sprintf("it has begun %d requests, max_requests is %d", n, limits.Requests)
		}
	}
	if limit := limits.Lifetime; limit > 0 {
		limit += time.Duration(w.chance * float64(limit) / 10)
		if age := now.Sub(w.started); age >= limit {
			return fmt.Sprintf("it is %v old, max_lifetime is %v", age.Round(time.Second), limits.Lifetime)
		}
	}
	if limits.Memory > 0 && now.Sub(w.looked) >= memoryTime {
		w.looked = now
		if n := memory(w.PID()); n > limits.Memory {
			return fmt.Sprintf("it has %d MiB, max_rss is %d MiB", n>>20, limits.Memory>>20)
		}
	}
	return ""
}

// memory is what a process has for itself and its part of what it shares, in bytes (Pss); where the kernel does not
// count that, its resident set. 0 if it has ended.
func memory(pid int) int64 {
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid)); err == nil {
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
				return kib << 10
			}
		}
	}
	return resident(pid)
}

// resident is the resident set of a process, in bytes; 0 if it has ended.
func resident(pid int) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if fields := bytes.Fields(b); len(fields) > 1 {
		pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
		return pages * int64(os.Getpagesize())
	}
	return 0
}

// look asks whether the control thread answers, at most silent times, and how much memory the process has.
func (w *Worker) look(silent int32) {
	if n := resident(w.PID()); n > 0 {
		w.rss.Store(n)
	}
	if w.pings.Add(1) > silent {
		w.abort(fmt.Sprintf("its control thread has not answered for %v: code in C holds Python's lock, or the process is stopped",
			time.Duration(silent)*w.group.o.pingTime))
		return
	}
	go w.send(wire.AppendControl(nil, wire.FramePing, 1))
}

// bootError is the error of a worker that has ended before it served.
func (w *Worker) bootError(e *Exit) error {
	if w.load != nil {
		return w.load
	}
	b := &BootError{Python: w.gen.interpreter, Message: "it ended before the application was loaded: " + e.String(), Output: w.output.last()}
	w.mu.Lock()
	stacks, aborted := w.stacks, w.aborts
	w.mu.Unlock()
	switch {
	case w.refused != "":
		b.Message = w.refused
	case aborted:
		b.Message, b.Mend = e.Why, "if it needs longer, raise boot_timeout; a server of its own, as app.run() is, belongs under "+
			`if __name__ == "__main__":`
		if stacks != "" {
			b.Output = stacks
		}
		for _, server := range []string{"run_simple", "serve_forever", "quickstart", "run_forever"} {
			if strings.Contains(b.Output, server) {
				b.Mend = `it runs a server of its own, as by app.run(): that belongs under if __name__ == "__main__":`
			}
		}
	case !w.said:
		b.Mend = "isbjorn run needs CPython 3.8 to 3.14"
	}
	return b
}

// oomKills is how many processes the kernel has killed for memory in our control group.
func oomKills() int {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		events, _ := os.ReadFile(filepath.Join("/sys/fs/cgroup", path, "memory.events"))
		for line := range strings.Lines(string(events)) {
			if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
				kills, _ := strconv.Atoi(strings.TrimSpace(n))
				return kills
			}
		}
	}
	return 0
}

// closeOnExec has no process inherit what this one has inherited and does not know of: a worker gets the descriptors
// of the protocol alone. What Go opens is closed already, and os/exec passes on what it is told to.
func closeOnExec() {
	if unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	entries, _ := os.ReadDir("/proc/self/fd") // before Linux 5.11
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// raiseFiles has processes that are started from now on begin with our limit of open files, if the usual one could be
// too low for the streams of so many slots: Go raises its own, and gives the old one to its children otherwise.
func raiseFiles(slots int) error {
	const usual, room = 1024, 512 // room is for Python and the application
	need := worker.SlotsFD + 2*slots + room
	if need <= usual {
		return nil
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	if limit.Cur < uint64(need) {
		return fmt.Errorf("%d slots need %d open files, and the limit (RLIMIT_NOFILE) is %d", slots, need, limit.Cur)
	}
	return os.NewSyscallError("setrlimit", syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
}
