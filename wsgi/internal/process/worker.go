//go:build linux

package process

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
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
	pong    atomic.Int64 // when the control thread has answered last, ns since started

	// Of the group.
	replaces *Worker // that this one is started for
	replaced bool
	draining bool
	grace    *time.Timer

	mu       sync.Mutex
	version  string
	target   string
	found    string
	readyAt  time.Time
	load     *LoadError
	refused  string // why HELLO was refused
	stacks   string // at the boot timeout
	why      string // why we have killed it
	drained  bool
	dumps    map[uint64]func(string)
	dumpID   uint64
	boot     *time.Timer
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
	case e.Why != "":
		text += ", killed by isbjorn: " + e.Why
	case e.OOM:
		text += ", for memory: oom_kill of the control group has risen"
	}
	return text
}

// start starts a process.
func start(g *Group, number int) (*Worker, error) {
	slots := int(g.o.Config.Slots)
	w := &Worker{group: g, number: number, slots: slots, started: time.Now(), dumps: make(map[uint64]func(string))}
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
		return nil, &BootError{Python: g.python, Message: err.Error()}
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

	w.cmd = exec.Command(g.python, "-c", worker.Boot)
	w.cmd.Dir = g.o.Dir
	w.cmd.Env = environment(g.o.Env)
	w.cmd.Stdout, w.cmd.Stderr = write, write
	w.cmd.ExtraFiles = files[:len(files)-1]
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // signals of the terminal are for us
	if err := w.cmd.Start(); err != nil {
		_ = read.Close()
		return fail(err)
	}
	go w.output.run()
	w.boot = time.AfterFunc(g.o.BootTimeout, w.bootTimeout)
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

func (w *Worker) isReady() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.readyAt.IsZero()
}

// live reads what the worker says, and waits for its end.
func (w *Worker) live() {
	said := make(chan struct{})
	go func() {
		defer close(said)
		if err := w.readControl(); err != nil {
			w.Kill(err.Error())
		}
	}()
	err := w.cmd.Wait()
	w.boot.Stop()
	select { // what it has said before its end; a child of the application may have the descriptor still
	case <-said:
	case <-time.After(time.Second):
		_ = w.control.SetReadDeadline(time.Now())
		<-said
	}
	w.output.finish()
	e := &Exit{PID: w.PID(), Age: time.Since(w.started)}
	var status syscall.WaitStatus
	if state := w.cmd.ProcessState; state != nil {
		status, _ = state.Sys().(syscall.WaitStatus)
	}
	switch {
	case status.Signaled():
		e.Signal = status.Signal()
	case status.Exited():
		e.Status = status.ExitStatus()
	case err != nil:
		e.Status = -1
	}
	for slot := range w.slots {
		e.Served += w.Load(slot, worker.WordCount)
	}
	w.mu.Lock()
	e.Why, e.Drained = w.why, w.drained
	dumps := w.dumps
	w.dumps = nil
	w.mu.Unlock()
	for _, done := range dumps {
		done("the worker has ended before it gave its stacks")
	}
	w.group.exited(w, e)
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
				err = w.said(&f)
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

// said takes one control frame.
func (w *Worker) said(f *wire.Frame) error {
	texts := func(n int) ([]string, error) { return wire.DecodeTexts(f.Payload, n) }
	switch f.Type {
	case wire.FrameHello:
		t, err := texts(6)
		if err != nil {
			return err
		}
		w.mu.Lock()
		w.version = t[2] + " " + t[1]
		switch {
		case t[0] != strconv.Itoa(wire.Version):
			w.refused = "it speaks protocol " + t[0]
		case t[5] != "ok":
			w.refused = fmt.Sprintf("this Python (%s %s) does not read the server's messages (%s); use CPython 3.8 to 3.14", t[2], t[1], t[5])
		}
		refused := w.refused
		w.mu.Unlock()
		if refused != "" {
			return errors.New(refused)
		}
		w.send(wire.AppendConfig(nil, &w.group.o.Config))
	case wire.FrameReady:
		t, err := texts(3)
		if err != nil {
			return err
		}
		w.boot.Stop()
		w.mu.Lock()
		w.target, w.found, w.readyAt = t[0], t[1], time.Now()
		w.mu.Unlock()
		w.pong.Store(int64(time.Since(w.started)))
		w.group.ready(w)
	case wire.FrameLoadError:
		t, err := texts(4)
		if err != nil {
			return err
		}
		w.mu.Lock()
		w.load = &LoadError{Kind: t[0], Message: t[1], Mend: t[2], Traceback: t[3]}
		w.mu.Unlock()
	case wire.FrameDrained:
		w.mu.Lock()
		w.drained = true
		w.mu.Unlock()
	case wire.FrameStacks:
		t, err := texts(1)
		if err != nil {
			return err
		}
		w.dumped(f.ID, t[0])
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
		w.pong.Store(int64(time.Since(w.started)))
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
	w.mu.Lock()
	if w.dumps == nil {
		w.mu.Unlock()
		go done("the worker has ended")
		return
	}
	w.dumpID++
	id := w.dumpID
	w.dumps[id] = done
	w.mu.Unlock()
	time.AfterFunc(stackTime, func() {
		w.dumped(id, "the worker gives no stacks: code in C holds Python's lock")
	})
	go w.send(wire.AppendControl(nil, wire.FrameDump, id))
}

func (w *Worker) dumped(id uint64, stacks string) {
	w.mu.Lock()
	done := w.dumps[id]
	delete(w.dumps, id)
	w.mu.Unlock()
	if done != nil {
		done(stacks)
	}
}

// Kill ends the process at once. The report of its death says why.
func (w *Worker) Kill(why string) {
	w.note(why)
	_ = w.cmd.Process.Kill()
}

// note keeps the first reason for an end.
func (w *Worker) note(why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.why == "" {
		w.why = why
	}
}

// abort ends the process by SIGABRT, at which Python writes the stacks of its threads, and then by SIGKILL.
func (w *Worker) abort(why string) {
	w.note(why)
	w.Dump(func(stacks string) {
		w.group.o.Log.Error("worker is killed: "+why+"\n"+stacks, slog.Int("worker", w.number), slog.Int("pid", w.PID()))
		_ = w.cmd.Process.Signal(syscall.SIGABRT)
		time.AfterFunc(abortTime, func() { _ = w.cmd.Process.Kill() })
	})
}

// stop has a worker exit that runs nothing.
func (w *Worker) stop() { go w.send(wire.AppendControl(nil, wire.FrameStop, 0)) }

// bootTimeout ends a worker that has not loaded the application in time.
func (w *Worker) bootTimeout() {
	w.Dump(func(stacks string) {
		w.mu.Lock()
		w.stacks = stacks
		w.mu.Unlock()
		w.Kill(fmt.Sprintf("the application was not loaded within boot_timeout = %v", w.group.o.BootTimeout))
	})
}

// look asks whether the control thread answers, and how much memory the process has.
func (w *Worker) look(now time.Time) {
	if !w.isReady() {
		return
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", w.PID())); err == nil {
		if fields := bytes.Fields(b); len(fields) > 1 {
			pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			w.rss.Store(pages * int64(os.Getpagesize()))
		}
	}
	if silent := now.Sub(w.started) - time.Duration(w.pong.Load()); silent > stallTime {
		w.abort(fmt.Sprintf("its control thread has not answered for %v: code in C holds Python's lock", silent.Round(time.Second)))
		return
	}
	go w.send(wire.AppendControl(nil, wire.FramePing, 1))
}

// bootError is the error of a worker that has ended before it served; nil for others.
func (w *Worker) bootError(e *Exit) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !w.readyAt.IsZero():
		return nil
	case w.load != nil:
		return w.load
	}
	b := &BootError{Python: w.group.python, Message: "it ended before the application was loaded: " + e.String(), Output: w.output.last()}
	switch {
	case w.refused != "":
		b.Message = w.refused
	case w.stacks != "":
		b.Message, b.Output = e.Why, w.stacks
		b.Mend = "does the module start a server of its own, as by app.run()? That belongs under if __name__ == \"__main__\":"
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

// oomRose reports whether that has risen since the last call.
func (g *Group) oomRose() bool {
	now := oomKills()
	rose := now > g.oomKills
	g.oomKills = now
	return rose
}
